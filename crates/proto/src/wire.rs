//! The messages between nodes: CBOR maps with integer keys.
//!
//! A reader skips keys that it does not know and takes the default for those that are missing; no key is ever given
//! another meaning. Durations and ages cross the wire, times of day never. Who sent a message is known from the
//! connection, so no message says so. Nothing a peer sends can make a decoder panic or allocate more than a small
//! multiple of the message's length.

mod bounds;
mod journal;
mod placing;
mod pulse;
mod settings;
mod state;
mod summary;
mod talk;

use minicbor::{Decoder, Encoder};

pub use bounds::{MAX_KEY, MAX_MEMBERS, MAX_MESSAGE, MAX_PAYLOAD, MAX_SETTINGS, MAX_VALUE};
pub use journal::{
    Batch, Cell, Cells, Entry as JournalEntry, Held, MAX_BATCH, MAX_CELLS, MAX_ENTRIES, MAX_JOURNALS, MAX_VECTOR, Run,
    Vector,
};
pub use placing::{
    Ask, Beat, Ended, Excluded, Issued, LaneSpeed, LaneWork, MAX_EXCLUDED, MAX_ISSUERS, MAX_LANES, MAX_NAME,
    MAX_PLACES_TOLD, MAX_SCORED, MAX_TAGS, MAX_WANTED, Name, Refused, Scored, Speeds, Ticket, Waiting, Withdrawn, Work,
};
pub use pulse::{Claim, Leaving, Pulse};
pub use settings::{Setting, Settings};
pub use state::{Digest, State};
pub use summary::{
    Catalog, Entry, InMemory, MAX_BACKENDS, MAX_CATALOG, MAX_GPUS, MAX_MODELS, Machine, MachineGpu, Server, Share,
    Shelf, Summary, Unreadable,
};
pub use talk::{Address, Addresses, Envelope, MAX_ADDRESSES, MAX_PLACES, MAX_STATEMENTS, Place, Roster};

/// One message on the control connection between two members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// "I live", each second.
    Pulse(Pulse),
    /// What the sender is like and what it knows of the others, on change and at least each 30 s.
    State(State),
    /// "I go."
    Leaving(Leaving),
    /// Settings of the fleet that the receiver may lack.
    Settings(Settings),
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAMessage {
    /// It has more than [`MAX_MESSAGE`] bytes.
    #[error("a message of {0} bytes is longer than {MAX_MESSAGE}")]
    TooLong(usize),
    /// It is of a kind that this version does not know: skip it.
    #[error("a message of a kind that this version does not know")]
    Unknown,
    /// It is not what its kind should be.
    #[error("a message that cannot be read: {0}")]
    Broken(String),
}

impl From<minicbor::decode::Error> for NotAMessage {
    fn from(error: minicbor::decode::Error) -> NotAMessage {
        NotAMessage::Broken(error.to_string())
    }
}

// Numbers on the wire: never given to anything else, nor to what `Envelope` knows besides.
const PULSE: u64 = 0;
const STATE: u64 = 1;
const LEAVING: u64 = 2;
const SETTINGS: u64 = 3;

impl Message {
    /// The message as bytes: a map whose one key is the kind.
    ///
    /// Longer than [`MAX_MESSAGE`] only if it holds more than its fields' documentation allows.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::with_capacity(160));
        let written = e.map(1).and_then(|e| match self {
            Message::Pulse(pulse) => e.u64(PULSE)?.encode(pulse),
            Message::State(state) => e.u64(STATE)?.encode(state),
            Message::Leaving(leaving) => e.u64(LEAVING)?.encode(leaving),
            Message::Settings(settings) => e.u64(SETTINGS)?.encode(settings),
        });
        written.expect("writing to memory cannot fail");
        e.into_writer()
    }

    /// Reads a message. What a newer version put beside and behind it is skipped.
    pub fn decode(bytes: &[u8]) -> Result<Message, NotAMessage> {
        if bytes.len() > MAX_MESSAGE {
            return Err(NotAMessage::TooLong(bytes.len()));
        }
        let mut d = Decoder::new(bytes);
        let entries = d.map()?.unwrap_or(u64::MAX);
        for _ in 0..entries {
            match d.u64()? {
                PULSE => return Ok(Message::Pulse(d.decode()?)),
                STATE => return Ok(Message::State(d.decode()?)),
                LEAVING => return Ok(Message::Leaving(d.decode()?)),
                SETTINGS => return Ok(Message::Settings(d.decode()?)),
                _ => d.skip()?,
            }
        }
        Err(NotAMessage::Unknown)
    }
}
