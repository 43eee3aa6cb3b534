//! Why a request gets no backend.

use std::time::Duration;

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
    /// Backends have the model, but none could serve within [`crate::Settings::queue_wait`].
    #[error("no backend with model `{model}` is able to serve at the moment")]
    Unavailable {
        /// The first of the models that any backend has, or else the one that was asked for.
        model: String,
        /// When to try again; at least a second.
        retry_after: Duration,
    },
    /// The prompt is longer than any backend can hold of this model, going by how long such prompts usually are.
    #[error("the prompt needs a context of {needed} tokens; the most that any backend offers for this model is {most}")]
    ContextTooLong {
        /// Tokens of the prompt and of the least room for an answer.
        needed: u64,
        /// Tokens that the model can be given.
        most: u64,
    },
    /// The model could not be loaded, and no other backend has it.
    #[error("model `{model}` could not be loaded: {reason}")]
    LoadFailed {
        /// The model that was asked for, in comparable form.
        model: String,
        /// What the backend said, in words.
        reason: String,
        /// When it is tried again; at least a second.
        retry_after: Duration,
    },
    /// Every backend that could serve was tried.
    #[error("all {tried} backends that could serve were tried")]
    Exhausted {
        /// Backends that were tried.
        tried: usize,
    },
    /// It would have had to wait, and was not to ([`crate::Ask::most_ahead`]). No fault of anybody's: ask again.
    #[error("there is no room for it at the moment")]
    Occupied,
    /// Machines have the model, but none of them could be reached and would take the request within the time that
    /// requests wait for that.
    #[error("no machine that has model `{model}` can take it: {}", .why.join(", "))]
    OutOfReach {
        /// The first of the models that any machine has.
        model: String,
        /// Each machine and what keeps it, in words: `anna is offline`. At most eight.
        why: Vec<String>,
        /// When to try again; at least a second.
        retry_after: Duration,
    },
    /// Machines have the model, but none of them may or can ever serve this request.
    #[error("no machine that has model `{model}` may serve this request: {}", .why.join(", "))]
    Unfit {
        /// The first of the models that any machine has.
        model: String,
        /// Each machine and what forbids it, in words. At most eight.
        why: Vec<String>,
    },
    /// This node is about to stop.
    #[error("this node is stopping and takes no new requests")]
    Draining,
}
