//! What members tell each other beside what settles who lives and leads: who belongs to the fleet, and where members are.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Decoder, Encode, Encoder};

use super::bounds::{list, text};
use super::placing::{Ask, Beat, Ended, Refused, Speeds, Ticket, Withdrawn, Work};
use super::{MAX_MESSAGE, Message, NotAMessage};
use crate::NodeId;

/// Statements of one message, at most; the rest comes in further ones.
pub const MAX_STATEMENTS: usize = 512;

/// Members of one [`Addresses`], at most.
pub const MAX_PLACES: usize = 128;

/// Addresses of one member, at most.
pub const MAX_ADDRESSES: usize = 8;

/// Bytes of the longest address as text: an IPv6 address in brackets, with its port.
const LONGEST_ADDRESS: usize = 64;

/// Any message on the control connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Envelope {
    /// For the core that settles who lives and who leads.
    Membership(Message),
    /// Who belongs to the fleet.
    Roster(Roster),
    /// Where members may be found.
    Addresses(Addresses),
    /// What the sender remembers of all journals, as its [digest](super::Vector::digest): who has another one may ask.
    News(u64),
    /// A request wants a place.
    Ask(Ask),
    /// A request has a place.
    Ticket(Ticket),
    /// A request gets no place.
    Refused(Refused),
    /// Requests wait.
    Beat(Beat),
    /// Requests want no place any more.
    Withdrawn(Withdrawn),
    /// A request is over.
    Ended(Ended),
    /// What the sender's backends work on.
    Work(Work),
    /// How fast the sender's models are.
    Speeds(Speeds),
}

/// Which roster the sender has, and perhaps some or all of its statements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Roster {
    /// Tells sets of statements apart.
    #[cbor(n(0), default, with = "minicbor::bytes")]
    pub digest: [u8; 16],
    /// Signed statements, each as its signer encoded it; at most [`MAX_STATEMENTS`].
    #[cbor(n(1), default, decode_with = "list::<Ctx, ByteVec, MAX_STATEMENTS>")]
    pub statements: Vec<ByteVec>,
    /// Whether more statements follow in the next message.
    #[cbor(n(2), default)]
    pub more: bool,
}

/// Where members may be found, as far as the sender knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Addresses {
    /// At most [`MAX_PLACES`].
    #[cbor(n(0), default, decode_with = "list::<Ctx, Place, MAX_PLACES>")]
    pub members: Vec<Place>,
}

/// Where one member may be found.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Place {
    /// Who.
    #[n(0)]
    pub node: NodeId,
    /// `ip:port`, those that worked last first; at most [`MAX_ADDRESSES`].
    #[cbor(n(1), default, decode_with = "list::<Ctx, Address, MAX_ADDRESSES>")]
    pub addresses: Vec<Address>,
}

/// An address as text.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Address(#[cbor(n(0), decode_with = "text::<Ctx, LONGEST_ADDRESS>")] pub String);

// Numbers on the wire: never given to anything else, nor to what `Message` is.
const ROSTER: u64 = 16;
const ADDRESSES: u64 = 17;
const NEWS: u64 = 18;
const ASK: u64 = 32;
const TICKET: u64 = 33;
const REFUSED: u64 = 34;
const BEAT: u64 = 35;
const WITHDRAWN: u64 = 36;
const ENDED: u64 = 37;
const WORK: u64 = 38;
const SPEEDS: u64 = 39;

impl Envelope {
    /// The message as bytes: a map whose one key is the kind.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::with_capacity(160));
        let written = match self {
            Envelope::Membership(message) => return message.encode(),
            Envelope::Roster(roster) => e.map(1).and_then(|e| e.u64(ROSTER)?.encode(roster)?.ok()),
            Envelope::Addresses(addresses) => e.map(1).and_then(|e| e.u64(ADDRESSES)?.encode(addresses)?.ok()),
            Envelope::News(digest) => e.map(1).and_then(|e| e.u64(NEWS)?.u64(*digest)?.ok()),
            Envelope::Ask(it) => e.map(1).and_then(|e| e.u64(ASK)?.encode(it)?.ok()),
            Envelope::Ticket(it) => e.map(1).and_then(|e| e.u64(TICKET)?.encode(it)?.ok()),
            Envelope::Refused(it) => e.map(1).and_then(|e| e.u64(REFUSED)?.encode(it)?.ok()),
            Envelope::Beat(it) => e.map(1).and_then(|e| e.u64(BEAT)?.encode(it)?.ok()),
            Envelope::Withdrawn(it) => e.map(1).and_then(|e| e.u64(WITHDRAWN)?.encode(it)?.ok()),
            Envelope::Ended(it) => e.map(1).and_then(|e| e.u64(ENDED)?.encode(it)?.ok()),
            Envelope::Work(it) => e.map(1).and_then(|e| e.u64(WORK)?.encode(it)?.ok()),
            Envelope::Speeds(it) => e.map(1).and_then(|e| e.u64(SPEEDS)?.encode(it)?.ok()),
        };
        written.expect("writing to memory cannot fail");
        e.into_writer()
    }

    /// Reads a message of any kind that this version knows.
    pub fn decode(bytes: &[u8]) -> Result<Envelope, NotAMessage> {
        match Message::decode(bytes) {
            Ok(message) => return Ok(Envelope::Membership(message)),
            Err(NotAMessage::Unknown) => {}
            Err(other) => return Err(other),
        }
        debug_assert!(bytes.len() <= MAX_MESSAGE, "longer ones are refused above");
        let mut d = Decoder::new(bytes);
        let entries = d.map()?.unwrap_or(u64::MAX);
        for _ in 0..entries {
            match d.u64()? {
                ROSTER => return Ok(Envelope::Roster(d.decode()?)),
                ADDRESSES => return Ok(Envelope::Addresses(d.decode()?)),
                NEWS => return Ok(Envelope::News(d.u64()?)),
                ASK => return Ok(Envelope::Ask(d.decode()?)),
                TICKET => return Ok(Envelope::Ticket(d.decode()?)),
                REFUSED => return Ok(Envelope::Refused(d.decode()?)),
                BEAT => return Ok(Envelope::Beat(d.decode()?)),
                WITHDRAWN => return Ok(Envelope::Withdrawn(d.decode()?)),
                ENDED => return Ok(Envelope::Ended(d.decode()?)),
                WORK => return Ok(Envelope::Work(d.decode()?)),
                SPEEDS => return Ok(Envelope::Speeds(d.decode()?)),
                _ => d.skip()?,
            }
        }
        Err(NotAMessage::Unknown)
    }
}
