//! What a router is told and what it answers.

use std::sync::Arc;
use std::time::Duration;

use proto::{Api, BackendId, BackendState, Candidate, ModelName, Moment};

/// What the owner of the machine may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Requests that may wait at once; the next one is refused. 0: nobody waits.
    ///
    /// Too small, and bursts of agents are turned away; too large, and clients wait for what they have long given up.
    pub queue_size: usize,
    /// How long a request waits while no backend may serve it; while backends are merely busy there is no limit.
    ///
    /// Shorter than a restart of a backend, and the restart is seen by clients; much longer, and they see a hang.
    pub queue_wait: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { queue_size: 1024, queue_wait: Duration::from_secs(30) }
    }
}

/// The caller's number for one attempt of one request; a retry comes with a new one.
pub type Key = u64;

/// What placement needs to know of a request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The call.
    pub api: Api,
    /// The model asked for, then its fallbacks in order of preference. Never empty.
    pub models: Vec<ModelName>,
    /// Who asks; the queue is fair between apps. All that do not say count as one.
    pub app: Option<Arc<str>>,
    /// Tokens of prompt and answer, as estimated: what the app is charged for in the queue.
    pub estimated_tokens: u64,
    /// Backends that were tried already. Not empty means: a retry, which goes before new requests of its app.
    pub excluded: Vec<BackendId>,
    /// Whether the answer is streamed. Of one that is not, nothing is known until it is whole, so it is never overdue.
    pub streams: bool,
    /// When the request came in; a retry keeps the moment of its first attempt.
    pub waited_since: Moment,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A request wants a backend. Answered by exactly one grant or refusal, unless it leaves before. A key that waits
    /// or works already is ignored.
    Arrive(Key, Ask),
    /// The client went away, while waiting or while being answered; its slot is free again. Unknown keys are ignored.
    Leave(Key),
    /// The first byte of content came from the backend. Unknown keys are ignored.
    FirstContent(Key),
    /// The attempt is over; its slot is free again. Unknown keys are ignored.
    Finish(Key, Ending),
    /// All backends of this machine, as they are now; those that are missing are gone.
    Backends(Vec<Arc<BackendState>>),
    /// From now on everything new is refused, and so is what waits; what works may finish.
    Drain,
}

/// How an attempt at a backend ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Answered to the end.
    Answered,
    /// The client left; says nothing about the backend.
    ClientLeft,
    /// The backend refused a mistake of the client's: it works.
    Refused4xx,
    /// The backend said that it is full: 429 or 503.
    Busy503,
    /// No connection, or a 5xx, before any content.
    Failed,
    /// The answer broke off after content had come.
    Broke,
}

/// What should be done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send the request to this backend; ends with [`Input::Finish`] or [`Input::Leave`].
    Grant(Key, Grant),
    /// Tell the client no.
    Refuse(Key, Refusal),
    /// A granted request has no content yet, its backend hangs or is gone, and another one could take it; or its first
    /// content is overdue and another one has a slot for it right now: end it there with [`Input::Finish`] as failed
    /// and ask again, excluding that backend. Said once for each grant.
    ///
    /// Overdue: the model was in memory when the request was granted, and since then more than 20 s and more than four
    /// times the longest of the last 16 first contents of that model there have passed.
    Move(Key),
}

/// A backend for a request.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Where to send it, as known when it was chosen.
    pub backend: Arc<BackendState>,
    /// Which of [`Ask::models`] it is to serve.
    pub model: usize,
    /// Every backend that had room, the chosen one first, with what the decision saw.
    pub candidates: Vec<Candidate>,
    /// Time between this attempt's arrival and the grant; zero when there was room at once.
    pub queued: Duration,
}

/// Why a request gets no backend.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Backends answer, but none, up or down, has any of the models.
    #[error("no backend has model `{model}`")]
    UnknownModel {
        /// The model that was asked for, in comparable form.
        model: String,
    },
    /// No backend is known to have any of the models, and none answers.
    #[error("no inference server answers on this machine")]
    NoBackend,
    /// Backends have the model, but none of them answers this call.
    #[error("no backend with model `{model}` answers this call; it is on {}", .backends.join(", "))]
    NotSpoken {
        /// The first of the models that any backend has.
        model: String,
        /// The backends that have it, as `name (kind)`, sorted.
        backends: Vec<String>,
    },
    /// As many requests wait as may wait.
    #[error("{waiting} requests are waiting already")]
    QueueFull {
        /// Requests that wait.
        waiting: usize,
        /// When room is likely, going by how fast requests ended of late; at least a second.
        retry_after: Duration,
    },
    /// Backends have the model, but none could serve within [`Settings::queue_wait`].
    #[error("no backend with model `{model}` is able to serve at the moment")]
    Unavailable {
        /// The first of the models that any backend has, or else the one that was asked for.
        model: String,
        /// When to try again; at least a second.
        retry_after: Duration,
    },
    /// Every backend that could serve was tried.
    #[error("all {tried} backends that could serve were tried")]
    Exhausted {
        /// Backends that were tried.
        tried: usize,
    },
    /// This node is about to stop.
    #[error("this node is stopping and takes no new requests")]
    Draining,
}

/// What goes on at one model of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// The backend.
    pub backend: BackendId,
    /// The model.
    pub model: ModelName,
    /// Requests that wait for it. One that several backends could serve is counted at one of them only.
    pub pending: u32,
    /// Requests that it works on.
    pub in_flight: u32,
    /// Requests answered, refusals of a client's mistake included, since the backend was found.
    pub completed: u64,
    /// Attempts that failed since then.
    pub failed: u64,
    /// Requests that it works on at once, as known now.
    pub slots: u32,
}
