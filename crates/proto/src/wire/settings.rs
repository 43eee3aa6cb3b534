//! The settings of the fleet: one map, in which the last writer wins.

use minicbor::decode::{Decoder, Error};
use minicbor::{Decode, Encode};

use super::bounds::{list, text};
use super::{MAX_KEY, MAX_SETTINGS, MAX_VALUE};
use crate::{Epoch, NodeId};

/// Some or all settings of the sender. The receiver keeps what is later than its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Settings {
    /// At most [`MAX_SETTINGS`]; those of a large map come in several messages.
    #[cbor(n(0), default, decode_with = "list::<Ctx, Setting, MAX_SETTINGS>")]
    pub entries: Vec<Setting>,
}

/// One setting and when it was written: later is a higher (epoch, counter, author).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Setting {
    /// Its name, at most [`MAX_KEY`] bytes.
    #[cbor(n(0), decode_with = "text::<Ctx, MAX_KEY>")]
    pub key: String,
    /// Its value, at most [`MAX_VALUE`] bytes; `None`: it was taken back.
    #[cbor(n(1), decode_with = "read_value", nil = "no_value")]
    pub value: Option<String>,
    /// The highest epoch that its author knew.
    #[cbor(n(2), default)]
    pub epoch: Epoch,
    /// One more than that of the entry it replaced.
    #[cbor(n(3), default)]
    pub counter: u64,
    /// Who wrote it.
    #[n(4)]
    pub author: NodeId,
}

fn read_value<C>(d: &mut Decoder<'_>, context: &mut C) -> Result<Option<String>, Error> {
    match d.datatype()? {
        minicbor::data::Type::Null => d.null().map(|()| None),
        _ => text::<C, MAX_VALUE>(d, context).map(Some),
    }
}

fn no_value() -> Option<Option<String>> {
    Some(None)
}
