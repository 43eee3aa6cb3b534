//! What the scheduler is told and what it answers.

use std::sync::Arc;
use std::time::Duration;

use proto::{Api, BackendId, BackendState, Candidate, ModelName, Moment, NodeId};

use crate::{Ending, Refusal};

/// A request of one door: who asks, and the door's number for this attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId {
    /// The node whose door it came in by.
    pub door: NodeId,
    /// The door's own number.
    pub number: u64,
}

/// How placement decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scoring {
    /// Least predicted delay.
    #[default]
    Predicted,
    /// The seven documented signals.
    Points,
}

/// What the owner may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSettings {
    /// Requests that may wait at once in the whole fleet; the next one is refused.
    pub queue_size: usize,
    /// How long a request waits while no node may serve it; while nodes are merely busy there is no limit.
    pub queue_wait: Duration,
    /// How placement decides.
    pub scoring: Scoring,
}

/// How far a request may go. A hard filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Zone {
    /// It stays on the node of its door.
    Node,
    /// It stays within the fleet.
    Fleet,
    /// It may leave the fleet.
    #[default]
    Cloud,
}

/// Whether somebody waits for the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody does.
    #[default]
    Interactive,
    /// It can wait.
    Batch,
}

/// What placement needs to know of a request: not the prompt.
#[derive(Clone, Debug)]
pub struct FleetAsk {
    /// The call.
    pub api: Api,
    /// The model asked for, then its fallbacks in order of preference. Never empty.
    pub models: Vec<ModelName>,
    /// The app; all that do not say count as one.
    pub app: Option<Arc<str>>,
    /// Bytes of the prompt's text.
    pub text_bytes: u64,
    /// Images of the prompt: they need a model that sees.
    pub images: u32,
    /// Whether it offers tools: they need a model that calls them, where models say what they can.
    pub tools: bool,
    /// Tokens that the answer may have at most.
    pub max_tokens: Option<u64>,
    /// The context that the client names, in tokens.
    pub context_wanted: Option<u64>,
    /// Whether a prompt that is too long may be cut.
    pub cuts: bool,
    /// Whether the answer is streamed.
    pub streams: bool,
    /// What the requests of one conversation have in common.
    pub session: Option<u64>,
    /// How far it may go.
    pub zone: Zone,
    /// Whether somebody waits for it.
    pub priority: Priority,
    /// Where it has failed: a node, or one backend of it.
    pub excluded: Vec<(NodeId, Option<BackendId>)>,
    /// The only node that may serve it.
    pub only: Option<NodeId>,
    /// Whether it is refused (`Refusal::Occupied`) where it would have to wait: a second try beside a first one.
    pub now_only: bool,
    /// How long an answer of the scheduler takes to come to this door, as it has learnt.
    pub rtt: Duration,
    /// When the request came in; a retry keeps the moment of its first attempt.
    pub waited_since: Moment,
}

/// A node within reach, this one included.
#[derive(Clone, Debug)]
pub struct NodeReport {
    /// Who.
    pub id: NodeId,
    /// Its shown name.
    pub name: Arc<str>,
    /// Its backends with their models. Of those of other nodes the address means nothing.
    pub backends: Vec<Arc<BackendState>>,
    /// Bytes of its main memory and what of them is free, where known; the same of its GPUs.
    pub memory: Option<(u64, u64)>,
    /// See above.
    pub vram: Option<(u64, u64)>,
    /// Whether it takes requests of others.
    pub shares: bool,
}

/// What the backends of a node work on. Models that are not mentioned do nothing.
#[derive(Clone, Debug, Default)]
pub struct NodeWork {
    /// Lanes with work, or that rest.
    pub lanes: Vec<LaneWork>,
    /// How long an answer of the scheduler takes to come to that node.
    pub rtt: Duration,
}

/// What one model of one backend works on.
#[derive(Clone, Debug)]
pub struct LaneWork {
    /// The backend.
    pub backend: BackendId,
    /// One of the model's names.
    pub model: ModelName,
    /// Requests that it works on or that wait there, by who placed them.
    pub issued: Vec<(NodeId, u32)>,
    /// Requests that it works on at once, as known or learnt; at least 1.
    pub slots: u32,
    /// Requests that wait there.
    pub waiting: u32,
    /// How long until it will be in memory, while it is being loaded.
    pub loading: Option<Duration>,
    /// For how long nothing should be sent there.
    pub rests: Option<Duration>,
}

/// How fast one model of one backend has been.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneSpeed {
    /// The backend.
    pub backend: BackendId,
    /// One of the model's names.
    pub model: ModelName,
    /// How long loading it takes.
    pub load: Option<Duration>,
    /// Tokens of a prompt that it reads in a second.
    pub prefill: Option<f64>,
    /// Tokens of an answer that it writes in a second.
    pub decode: Option<f64>,
    /// How long a request holds its slot, on average.
    pub service: Option<Duration>,
    /// The longest of the last times to the first content while it was in memory.
    pub first: Option<Duration>,
    /// The most tokens of context that it can have there.
    pub most_context: Option<u64>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum FleetInput {
    /// All nodes within reach, this one included. Requests that only those could serve which are missing now wait.
    Nodes(Vec<Arc<NodeReport>>),
    /// Whether one node takes requests of others from now on: faster than the next [`FleetInput::Nodes`].
    Shares(NodeId, bool),
    /// What a node works on now.
    Work(NodeId, NodeWork),
    /// How fast a node's models have been.
    Speeds(NodeId, Vec<LaneSpeed>),
    /// A request wants a place. Answered by exactly one ticket or refusal, unless it leaves before.
    Arrive(AskId, FleetAsk),
    /// Its client went away, or its door places it by itself: with or without a ticket, it is forgotten.
    Leave(AskId),
    /// A request with a ticket is over.
    Ended(AskId, Ended),
    /// Everything of this door is forgotten: it is gone, or follows another leader.
    DoorGone(NodeId),
    /// Everything that waits is forgotten, without a word: another node leads now.
    Retire,
    /// A request was counted by its backend: so many bytes and images were so many tokens.
    Counted {
        /// The model.
        model: ModelName,
        /// Bytes of the prompt's text.
        text_bytes: u64,
        /// Images of the prompt.
        images: u32,
        /// Tokens of the prompt.
        prompt_tokens: u64,
        /// Tokens of the answer, where it came to its own end.
        completion_tokens: Option<u64>,
    },
}

/// How a request with a ticket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub ending: FleetEnding,
    /// From sending it to its first content.
    pub first: Option<Duration>,
    /// From sending it to its end.
    pub took: Duration,
}

/// How an attempt at a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetEnding {
    /// As an attempt at a backend.
    Backend(Ending),
    /// The node had no room for it: what was thought of it is old. No attempt, and no fault of its.
    Bounced,
    /// A second try was faster: it hangs, or is far slower than it was.
    TooSlow,
}

/// What should be done.
#[derive(Clone, Debug)]
pub enum FleetOutput {
    /// Tell the door to send it there.
    Ticket(AskId, FleetTicket),
    /// Tell the door no.
    Refuse(AskId, Refusal),
}

/// "Send it there."
#[derive(Clone, Debug)]
pub struct FleetTicket {
    /// Where.
    pub node: NodeId,
    /// The backend there that the choice was made by; the node may take another.
    pub backend: BackendId,
    /// Which of [`FleetAsk::models`] it is to serve.
    pub model: usize,
    /// Requests that may be ahead of it there beyond the slots: the node bounces it where there are more.
    pub ahead: u32,
    /// From sending it to the first content: longer, and a second try beside this one is worth it; `None`: never.
    pub patience: Option<Duration>,
    /// What the decision saw, the chosen one first.
    pub candidates: Vec<Candidate>,
    /// How long it waited for this.
    pub queued: Duration,
}

/// How a waiting request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub ask: AskId,
    /// How many go before it.
    pub position: u32,
    /// How long until its turn, where that can be told.
    pub eta: Option<Duration>,
}
