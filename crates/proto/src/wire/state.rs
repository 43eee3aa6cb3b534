//! What a node is like and what it knows of the others, in full.

use minicbor::{Decode, Encode};

use super::bounds::{bytes, list, write_bytes};
use super::{MAX_MEMBERS, MAX_PAYLOAD};
use crate::{Incarnation, NodeId, Priority};

/// What changes seldom, sent on change, to a peer that has just connected, and at least each 30 s.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct State {
    /// Which start of the sender this is.
    #[cbor(n(0), default)]
    pub incarnation: Incarnation,
    /// Grows with every change within one incarnation; an older one is not news.
    #[cbor(n(1), default)]
    pub version: u64,
    /// What the layers above tell each other (models, slots, memory, share state), at most [`MAX_PAYLOAD`] bytes.
    #[cbor(n(2), default, encode_with = "write_bytes", decode_with = "bytes::<Ctx, MAX_PAYLOAD>")]
    pub payload: Vec<u8>,
    /// The members that the sender knows something of, at most [`MAX_MEMBERS`].
    #[cbor(n(3), default, decode_with = "list::<Ctx, Digest, MAX_MEMBERS>")]
    pub members: Vec<Digest>,
}

/// What a node knows of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Digest {
    /// Of whom.
    #[n(0)]
    pub node: NodeId,
    /// Its last known start.
    #[cbor(n(1), default)]
    pub incarnation: Incarnation,
    /// How well it suits as the leader.
    #[cbor(n(2), default)]
    pub priority: Priority,
    /// Seconds since the sender knew it alive; `None`: not since the sender started.
    #[n(3)]
    pub age_s: Option<u32>,
}
