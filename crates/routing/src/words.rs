//! What a router is told and what it answers.

use std::sync::Arc;
use std::time::Duration;

use proto::{Api, BackendId, BackendState, Candidate, KeepAlive, ModelName, Moment, NodeId};

use crate::Refusal;
use crate::job::{Job, JobFault, JobId, Wish};

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
    /// Bytes of the prompt's text, tools and system text included. How many tokens that is, is learnt for each model.
    pub text_bytes: u64,
    /// Images and other media in the prompt; each counts as about a thousand tokens until it is known better.
    pub media: u32,
    /// Tokens that the client lets the answer have at most, where it says so.
    pub max_tokens: Option<u64>,
    /// The context that the client names (`num_ctx`), in tokens. Below 4 is the same as none: it would load a model
    /// with four tokens.
    pub context_wanted: Option<u64>,
    /// Whether a client of this call expects a prompt that is too long to be cut in silence (Ollama's calls, unless
    /// `truncate` is false), rather than an error.
    pub cuts: bool,
    /// How long the client wishes the model to stay in memory afterwards. Recorded, and never more than a wish.
    pub keep_alive: Option<KeepAlive>,
    /// Backends that were tried already. Not empty means: a retry, which goes before new requests of its app.
    pub excluded: Vec<BackendId>,
    /// Whether the answer is streamed. Of one that is not, nothing is known until it is whole, so it is never overdue.
    pub streams: bool,
    /// When the request came in; a retry keeps the moment of its first attempt.
    pub waited_since: Moment,
    /// Requests that may wait before it for a slot: where it would have to wait behind as many, it is refused at once
    /// ([`Refusal::Occupied`]). A load of its model is waited for all the same. `None`: it waits whatever there is.
    pub most_ahead: Option<u32>,
    /// The node that placed it here; only told on ([`crate::Router::work`]).
    pub issuer: Option<NodeId>,
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
    /// An [`Output::Load`] or [`Output::Unload`] has ended. Each must end so, once; unknown ids are ignored.
    JobEnded {
        /// [`Job::id`].
        id: JobId,
        /// Whether it was done, and otherwise what the backend said.
        result: Result<(), JobFault>,
    },
    /// A backend counted the tokens of an answered request.
    Counted {
        /// The model that served it.
        model: ModelName,
        /// [`Ask::text_bytes`] of the request.
        text_bytes: u64,
        /// [`Ask::media`] of the request.
        media: u32,
        /// Tokens of the whole prompt, those included that came from a cache.
        prompt_tokens: u64,
        /// Tokens of the answer, where it came to its own end.
        completion_tokens: Option<u64>,
    },
    /// A backend told how long parts of an answered request took. Unknown names are ignored.
    Timed {
        /// The backend.
        backend: BackendId,
        /// The model that served it.
        model: ModelName,
        /// Tokens of the prompt.
        prompt_tokens: u64,
        /// How long reading the prompt took.
        prefill: Option<Duration>,
        /// Tokens of the answer.
        completion_tokens: u64,
        /// How long writing the answer took.
        decode: Option<Duration>,
    },
    /// Memory that models may use, as it is now.
    Memory {
        /// The backend that it is for; `None`: all backends of this machine.
        backend: Option<BackendId>,
        /// Bytes that are free.
        free_bytes: u64,
        /// Bytes that would be free without any model.
        total_bytes: u64,
    },
    /// Somebody wishes that a model were in memory, or were not. Done when it disturbs nobody.
    Wish {
        /// The model.
        model: ModelName,
        /// The backend; `None`: each that has the model, or for [`Wish::Load`] one of them.
        backend: Option<BackendId>,
        /// What is wished.
        wish: Wish,
    },
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
    /// Have the backend load a model, by a call that nobody's leaving can cut; ends with [`Input::JobEnded`].
    Load(Job),
    /// Have the backend unload a model that none of our requests uses, and wait until it is gone; ends as above.
    Unload(Job),
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
    /// The context to name to the backend (`num_ctx`): exactly the one that the model is loaded with, because any other
    /// would load it again. `None`: name none.
    pub context: Option<u64>,
    /// What became of the context that the request needs.
    pub verdict: Verdict,
    /// How much of [`Grant::queued`] was spent on loading the model, the room for it included; `None`: it was in memory.
    pub loaded_for: Option<Duration>,
}

/// What `X-Fleet-Context` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The request fits the context that the model was loaded with.
    Kept,
    /// The model was loaded again with more context for this request.
    Grown,
    /// Nothing can hold the whole prompt: the backend will cut it.
    Cut,
    /// The backend sees to the context itself, or does not say what it has.
    Passed,
}

impl Verdict {
    /// The header's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Kept => "kept",
            Verdict::Grown => "grown",
            Verdict::Cut => "cut",
            Verdict::Passed => "passed",
        }
    }
}
