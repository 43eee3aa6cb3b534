//! The beat of the fleet: small, each second, to every member.

use minicbor::{Decode, Encode};

use super::MAX_MEMBERS;
use super::bounds::{bytes, write_bytes};
use crate::{Epoch, Incarnation, NodeId, Priority};

/// "I live", with what settles who leads and whom the sender hears.
///
/// At most 150 bytes when the fleet has 50 members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pulse {
    /// Which start of the sender this is.
    #[cbor(n(0), default)]
    pub incarnation: Incarnation,
    /// Grows with every pulse of one incarnation; gaps are normal.
    #[cbor(n(1), default)]
    pub seq: u64,
    /// How well the sender suits as the leader.
    #[cbor(n(2), default)]
    pub priority: Priority,
    /// Whether the sender only watches for now and will not claim, because it started or woke a moment ago.
    #[cbor(n(3), default)]
    pub observing: bool,
    /// The highest epoch that the sender ever saw.
    #[cbor(n(4), default)]
    pub epoch: Epoch,
    /// Whom the sender follows (itself, if it leads); `None` while it knows of no leader or doubts that it lives.
    #[n(5)]
    pub claim: Option<Claim>,
    /// Tells rosters apart: `hears` can be read only with the roster that it was written with.
    #[cbor(n(6), default)]
    pub roster: u64,
    /// One bit for each member of the roster in the order of their ids, the lowest bit of the first byte first: whether
    /// the sender hears it without help from others. Its own bit is not set.
    #[cbor(n(7), default, encode_with = "write_bytes", decode_with = "bytes::<Ctx, { MAX_MEMBERS / 8 }>")]
    pub hears: Vec<u8>,
    /// Tells maps of settings apart.
    #[cbor(n(8), default)]
    pub settings: u64,
}

/// A leader, and how its follower knows that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Claim {
    /// Who leads.
    #[n(0)]
    pub leader: NodeId,
    /// Since which epoch.
    #[n(1)]
    pub epoch: Epoch,
    /// The incarnation of the leader's last pulse that is known of.
    #[cbor(n(2), default)]
    pub incarnation: Incarnation,
    /// Its `seq`. Only the leader makes new ones, so news of a leader that is gone cannot go round and round.
    #[cbor(n(3), default)]
    pub seq: u64,
    /// How many follow it, itself included, as it last said.
    #[cbor(n(4), default)]
    pub size: u32,
    /// How well it suits.
    #[cbor(n(5), default)]
    pub priority: Priority,
    /// Nodes from the leader to the sender: 0 is the leader itself, 1 hears it without help.
    #[cbor(n(6), default)]
    pub hops: u8,
}

/// The last message of a node that stops on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Leaving {
    /// Which start of the sender ends.
    #[cbor(n(0), default)]
    pub incarnation: Incarnation,
    /// Who should lead next, if the sender led.
    #[n(1)]
    pub successor: Option<NodeId>,
}
