//! Who a node is, how often it started, and which term of leadership it lives in.

use std::fmt;
use std::str::FromStr;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

/// A node's identity: its Ed25519 public key.
///
/// Shown as its first [`NodeId::SHORT`] characters, which is enough for people; [`NodeId::full`] is what is stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; 32]);

impl NodeId {
    /// Characters of the shown form: 40 bits.
    pub const SHORT: usize = 8;

    /// Characters of the full form: 256 bits and four zero bits.
    pub const FULL: usize = 52;

    // The alphabet of request ids: no i, l, o, u.
    const ALPHABET: &'static [u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

    /// The node whose public key is `key`.
    pub const fn new(key: [u8; 32]) -> NodeId {
        NodeId(key)
    }

    /// The public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The whole identity as text, which [`str::parse`] reads back.
    pub fn full(&self) -> String {
        (0..NodeId::FULL).map(|place| char::from(self.digit(place))).collect()
    }

    /// The character at `place`: five bits, the first ones first.
    fn digit(&self, place: usize) -> u8 {
        let value = (0..5).fold(0, |value, bit| {
            let at = place * 5 + bit;
            let is_set = self.0.get(at / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0);
            (value << 1) | usize::from(is_set)
        });
        Self::ALPHABET[value]
    }
}

/// Text that is not the full form of a node's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node's identity is {} letters and digits", NodeId::FULL)]
pub struct NotANodeId;

impl FromStr for NodeId {
    type Err = NotANodeId;

    fn from_str(text: &str) -> Result<NodeId, NotANodeId> {
        if text.len() != NodeId::FULL {
            return Err(NotANodeId);
        }
        let mut key = [0; 32];
        for (place, letter) in text.bytes().enumerate() {
            let value = Self::ALPHABET.iter().position(|known| *known == letter).ok_or(NotANodeId)?;
            for bit in (0..5).filter(|bit| value & (16 >> bit) != 0) {
                let at = place * 5 + bit;
                *key.get_mut(at / 8).ok_or(NotANodeId)? |= 0x80 >> (at % 8);
            }
        }
        Ok(NodeId(key))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut short = [0; NodeId::SHORT];
        for (place, letter) in short.iter_mut().enumerate() {
            *letter = self.digit(place);
        }
        f.pad(std::str::from_utf8(&short).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl<C> Encode<C> for NodeId {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for NodeId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<NodeId, DecodeError> {
        let at = d.position();
        let key = d.bytes()?.try_into();
        key.map(NodeId).map_err(|_| DecodeError::message("an identity has 32 bytes").at(at))
    }
}

/// How often a node has started: kept on disk and raised by one before the first message of each start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Incarnation(#[n(0)] pub u64);

/// A term of leadership: each claim takes a number above all that its author ever saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epoch {
    /// The last epoch. Far more than can be lived through; a message that says a later one is taken for this one, so
    /// that whoever lies about it can neither overflow nor outrun the others.
    pub const LAST: Epoch = Epoch(1 << 53);

    /// Epoch `number`, at most [`Epoch::LAST`].
    pub const fn new(number: u64) -> Epoch {
        if number < Epoch::LAST.0 { Epoch(number) } else { Epoch::LAST }
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The one after it; [`Epoch::LAST`] is its own.
    pub const fn next(self) -> Epoch {
        Epoch::new(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<C> Encode<C> for Epoch {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.u64(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Epoch {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Epoch, DecodeError> {
        d.u64().map(Epoch::new)
    }
}

/// How well a node suits as the leader. Coarse on purpose: it decides who claims first, and never unseats anyone.
///
/// Its numbers on the wire leave gaps; one that is not known here counts as the next lower one that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Must not lead: its owner says so.
    Never,
    /// Leads if nobody else is there: on battery, in a meeting.
    Low,
    /// A machine like any other.
    #[default]
    Normal,
    /// Stays where it is: plugged in and wired, a desktop or a server.
    High,
    /// Its owner wants it to lead.
    Chosen,
}

impl Priority {
    /// Every class with its number on the wire, which never changes.
    const NUMBERS: [(Priority, u8); 5] =
        [(Priority::Never, 0), (Priority::Low, 2), (Priority::Normal, 4), (Priority::High, 6), (Priority::Chosen, 8)];

    fn number(self) -> u8 {
        Self::NUMBERS[self as usize].1
    }

    fn of_number(number: u8) -> Priority {
        let known = Self::NUMBERS.iter().rev().find(|(_, known)| *known <= number);
        known.map_or(Priority::Never, |(priority, _)| *priority)
    }
}

impl<C> Encode<C> for Priority {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.u8(self.number())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Priority {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Priority, DecodeError> {
        // A newer program may know more classes than fit a byte.
        Ok(Priority::of_number(u8::try_from(d.u64()?).unwrap_or(u8::MAX)))
    }
}

/// What a node may do in its fleet, as the fleet's roster says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// May use the fleet; serves nothing, leads nothing, changes nothing, sees no traces.
    Guest,
    /// Uses, serves and may lead.
    Member,
    /// A member that may also add and remove others.
    Admin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_shown_short_and_kept_whole() {
        let mut key = [0; 32];
        for (place, byte) in key.iter_mut().enumerate() {
            *byte = (place * 7) as u8;
        }
        let id = NodeId::new(key);
        assert_eq!(id.full().len(), NodeId::FULL);
        assert!(id.full().starts_with(&id.to_string()));
        assert_eq!(id.to_string().len(), NodeId::SHORT);
        assert_eq!(id.full().parse(), Ok(id));
        assert_eq!(NodeId::new([255; 32]).to_string(), "zzzzzzzz");
        for wrong in ["", "zzzzzzzz", &"u".repeat(52), &"é".repeat(26), &"z".repeat(52)] {
            assert_eq!(wrong.parse::<NodeId>(), Err(NotANodeId), "{wrong}");
        }
    }

    #[test]
    fn epochs_end_without_overflow() {
        assert_eq!(Epoch::new(u64::MAX), Epoch::LAST);
        assert_eq!(Epoch::LAST.next(), Epoch::LAST);
        assert_eq!(Epoch::new(4).next().number(), 5);
    }

    #[test]
    fn classes_that_are_not_known_count_as_the_next_lower() {
        for (number, priority) in [
            (0, Priority::Never),
            (1, Priority::Never),
            (2, Priority::Low),
            (5, Priority::Normal),
            (7, Priority::High),
            (8, Priority::Chosen),
            (255, Priority::Chosen),
        ] {
            assert_eq!(Priority::of_number(number), priority, "{number}");
        }
        assert!(Priority::NUMBERS.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(Priority::NUMBERS.iter().all(|(priority, number)| priority.number() == *number));
    }
}
