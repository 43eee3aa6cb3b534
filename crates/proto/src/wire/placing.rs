//! How a door has its requests placed by the leader, and what nodes tell each other of their work.
//!
//! A door sends [`Ask`] for each request, gets [`Ticket`] or [`Refused`], meanwhile [`Beat`]s, and says [`Ended`] or
//! [`Withdrawn`] when it is over. Numbers of requests are the door's own. Prompts never travel this way.

use minicbor::{Decode, Encode};

use super::bounds::{list, text};
use crate::NodeId;

/// Models that one request may name, at most: the wanted one and its fallbacks.
pub const MAX_WANTED: usize = 32;

/// Bytes of a model's name, at most.
pub const MAX_NAME: usize = 1024;

/// Tags of a request, at most.
pub const MAX_TAGS: usize = 32;

/// Backends and nodes that a request has failed at, at most.
pub const MAX_EXCLUDED: usize = 64;

/// Candidates that are told with a ticket, at most.
pub const MAX_SCORED: usize = 32;

/// Waiting requests that one [`Beat`] tells of, at most.
pub const MAX_PLACES_TOLD: usize = 512;

/// Models of one [`Work`] or [`Speeds`], at most.
pub const MAX_LANES: usize = 512;

/// Doors of one [`LaneWork`], at most.
pub const MAX_ISSUERS: usize = 64;

/// What placement needs to know of a request: not the prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ask {
    /// The door's number for this attempt.
    #[cbor(n(0), default)]
    pub id: u64,
    /// The path of the call.
    #[cbor(n(1), default, decode_with = "text::<Ctx, 64>")]
    pub api: String,
    /// The model, then its fallbacks.
    #[cbor(n(2), default, decode_with = "list::<Ctx, Name, MAX_WANTED>")]
    pub models: Vec<Name>,
    /// Bytes of the prompt's text.
    #[cbor(n(3), default)]
    pub text_bytes: u64,
    /// Images of the prompt.
    #[cbor(n(4), default)]
    pub images: u32,
    /// The most tokens that the answer may have.
    #[n(5)]
    pub max_tokens: Option<u64>,
    /// Tokens of context that the client names.
    #[n(6)]
    pub context_wanted: Option<u64>,
    /// Whether a prompt that is too long may be cut.
    #[cbor(n(7), default)]
    pub cuts: bool,
    /// Whether the answer is streamed.
    #[cbor(n(8), default)]
    pub streams: bool,
    /// The app.
    #[cbor(n(9), default, decode_with = "text::<Ctx, 64>")]
    pub app: String,
    /// What the requests of one conversation have in common.
    #[n(10)]
    pub session: Option<u64>,
    /// Tags, at most [`MAX_TAGS`].
    #[cbor(n(11), default, decode_with = "list::<Ctx, Name, MAX_TAGS>")]
    pub tags: Vec<Name>,
    /// How far it may go: 0 the node, 1 the fleet, 2 the cloud. What is not known counts as the node.
    #[cbor(n(12), default)]
    pub zone: u8,
    /// 0 somebody waits for it; 1 it can wait.
    #[cbor(n(13), default)]
    pub priority: u8,
    /// Milliseconds since it came in.
    #[cbor(n(14), default)]
    pub age_ms: u64,
    /// Where it has failed.
    #[cbor(n(15), default, decode_with = "list::<Ctx, Excluded, MAX_EXCLUDED>")]
    pub excluded: Vec<Excluded>,
    /// The only node that may serve it.
    #[n(16)]
    pub only: Option<NodeId>,
    /// Whether it is refused where it would have to wait: a second try beside a first one.
    #[cbor(n(17), default)]
    pub now_only: bool,
    /// Microseconds that an answer of the leader takes to come, as this door has learnt.
    #[cbor(n(18), default)]
    pub rtt_us: u32,
    /// The key that the client showed, where it needed one.
    #[cbor(n(19), default, decode_with = "text::<Ctx, 64>")]
    pub client_key: String,
    /// Whether it offers tools.
    #[cbor(n(20), default)]
    pub tools: bool,
}

/// A name of bounded length.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Name(#[cbor(n(0), decode_with = "text::<Ctx, MAX_NAME>")] pub String);

/// Where a request has failed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Excluded {
    /// The node.
    #[n(0)]
    pub node: NodeId,
    /// The backend there; none: all of them.
    #[n(1)]
    pub backend: Option<Name>,
}

/// "Send it there."
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Ticket {
    /// The door's number.
    #[cbor(n(0), default)]
    pub id: u64,
    /// Where.
    #[n(1)]
    pub node: NodeId,
    /// The backend there that the choice was made by.
    #[cbor(n(2), default, decode_with = "text::<Ctx, 64>")]
    pub backend: String,
    /// Which of [`Ask::models`] it is to serve.
    #[cbor(n(3), default)]
    pub model: u32,
    /// Requests that may be ahead of it there.
    #[cbor(n(4), default)]
    pub ahead: u32,
    /// Milliseconds to the first content after which a second try beside this one is worth it.
    #[n(5)]
    pub patience_ms: Option<u64>,
    /// What the decision saw, the chosen one first.
    #[cbor(n(6), default, decode_with = "list::<Ctx, Scored, MAX_SCORED>")]
    pub scored: Vec<Scored>,
}

/// One candidate of a decision. What is not finite counts as zero.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Scored {
    /// The shown name of its node.
    #[cbor(n(0), default, decode_with = "text::<Ctx, 64>")]
    pub node: String,
    /// The backend there.
    #[cbor(n(1), default, decode_with = "text::<Ctx, 64>")]
    pub backend: String,
    /// Requests that it worked on.
    #[cbor(n(2), default)]
    pub in_flight: u32,
    /// Requests that it works on at once.
    #[cbor(n(3), default)]
    pub slots: u32,
    /// Whether the model was in memory.
    #[cbor(n(4), default)]
    pub loaded: bool,
    /// The seven documented signals, in their order.
    #[cbor(n(5), default, decode_with = "list::<Ctx, f64, 16>")]
    pub points: Vec<f64>,
    /// Load, queue, prefill, decode, link.
    #[cbor(n(6), default, decode_with = "list::<Ctx, f64, 16>")]
    pub predicted_ms: Vec<f64>,
}

/// "Nobody."
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Refused {
    /// The door's number.
    #[cbor(n(0), default)]
    pub id: u64,
    /// The cause, as a number of HTTP.
    #[cbor(n(1), default)]
    pub status: u16,
    /// In words.
    #[cbor(n(2), default, decode_with = "text::<Ctx, 2048>")]
    pub words: String,
    /// Seconds after which it may be tried again.
    #[n(3)]
    pub retry_after_s: Option<u32>,
    /// What kind of refusal it is, for programs.
    #[cbor(n(4), default, decode_with = "text::<Ctx, 64>")]
    pub code: String,
}

/// "I have your requests", while any of them waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Beat {
    /// Those that wait, at most [`MAX_PLACES_TOLD`]; more are not told of.
    #[cbor(n(0), default, decode_with = "list::<Ctx, Waiting, MAX_PLACES_TOLD>")]
    pub waiting: Vec<Waiting>,
    /// How many wait.
    #[cbor(n(1), default)]
    pub total: u32,
}

/// How a request stands in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Waiting {
    /// The door's number.
    #[cbor(n(0), default)]
    pub id: u64,
    /// How many go before it.
    #[cbor(n(1), default)]
    pub position: u32,
    /// Milliseconds until its turn, where that can be told.
    #[n(2)]
    pub eta_ms: Option<u64>,
}

/// Requests whose clients have left while they waited, or that are placed without the leader now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Withdrawn {
    /// The door's numbers.
    #[cbor(n(0), default, decode_with = "list::<Ctx, u64, MAX_PLACES_TOLD>")]
    pub ids: Vec<u64>,
}

/// A request that had a ticket is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ended {
    /// The door's number.
    #[cbor(n(0), default)]
    pub id: u64,
    /// 0 answered, 1 its client left, 2 refused, 3 full, 4 failed, 5 broke off, 6 bounced, 7 too slow.
    #[cbor(n(1), default)]
    pub ending: u8,
    /// Milliseconds from sending it to the first content.
    #[n(2)]
    pub first_ms: Option<u64>,
    /// Milliseconds from sending it to its end.
    #[cbor(n(3), default)]
    pub took_ms: u64,
}

/// What the backends of a node work on. Said on change, soon after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Work {
    /// Goes up with each message of one run of the node.
    #[cbor(n(0), default)]
    pub number: u64,
    /// Whether it takes requests of others.
    #[cbor(n(1), default)]
    pub shares: bool,
    /// Models with work, or that cannot be used just now; of all others: nothing.
    #[cbor(n(2), default, decode_with = "list::<Ctx, LaneWork, MAX_LANES>")]
    pub lanes: Vec<LaneWork>,
    /// Microseconds that an answer of the leader takes to come, as this node has learnt.
    #[cbor(n(3), default)]
    pub rtt_us: u32,
}

/// What one model of one backend works on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LaneWork {
    /// The backend.
    #[cbor(n(0), default, decode_with = "text::<Ctx, 64>")]
    pub backend: String,
    /// One of the model's names.
    #[cbor(n(1), default, decode_with = "text::<Ctx, MAX_NAME>")]
    pub model: String,
    /// Requests that it works on or that wait there, by who placed them.
    #[cbor(n(2), default, decode_with = "list::<Ctx, Issued, MAX_ISSUERS>")]
    pub issued: Vec<Issued>,
    /// Requests that it works on at once, as known or learnt.
    #[cbor(n(3), default)]
    pub slots: u32,
    /// Requests that wait there.
    #[cbor(n(4), default)]
    pub waiting: u32,
    /// Milliseconds until it will be in memory, while it is being loaded.
    #[n(5)]
    pub loading_ms: Option<u64>,
    /// Milliseconds for which nothing should be sent there: its backend rests, or the model could not be loaded.
    #[n(6)]
    pub rests_ms: Option<u64>,
}

/// Requests of one author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Issued {
    /// Who placed them.
    #[n(0)]
    pub by: NodeId,
    /// How many.
    #[cbor(n(1), default)]
    pub requests: u32,
}

/// How fast the models of a node have been. Said when it has changed noticeably, at most each few seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Speeds {
    /// What has been learnt.
    #[cbor(n(0), default, decode_with = "list::<Ctx, LaneSpeed, MAX_LANES>")]
    pub lanes: Vec<LaneSpeed>,
}

/// How fast one model of one backend has been.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LaneSpeed {
    /// The backend.
    #[cbor(n(0), default, decode_with = "text::<Ctx, 64>")]
    pub backend: String,
    /// One of the model's names.
    #[cbor(n(1), default, decode_with = "text::<Ctx, MAX_NAME>")]
    pub model: String,
    /// Milliseconds that loading it takes.
    #[n(2)]
    pub load_ms: Option<u64>,
    /// Tokens of a prompt that it reads in a thousand seconds.
    #[n(3)]
    pub prefill_mtps: Option<u64>,
    /// Tokens of an answer that it writes in a thousand seconds.
    #[n(4)]
    pub decode_mtps: Option<u64>,
    /// Microseconds that a request holds its slot, on average.
    #[n(5)]
    pub service_us: Option<u64>,
    /// The longest of the last times to the first content, in milliseconds, while it was in memory.
    #[n(6)]
    pub first_ms: Option<u64>,
    /// The most tokens of context that it can have there.
    #[n(7)]
    pub most_context: Option<u64>,
}
