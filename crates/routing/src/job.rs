//! What is to be loaded and unloaded, and who wishes it.

use std::sync::Arc;
use std::time::Duration;

use proto::{BackendState, ModelName};

/// Tells the jobs of one router apart.
pub type JobId = u64;

/// A model to load or to unload. One at a time for each backend.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which one it is.
    pub id: JobId,
    /// Where.
    pub backend: Arc<BackendState>,
    /// The model, as the backend wants to be asked for it.
    pub model: String,
    /// Tokens of context to load it with; `None`: name none.
    pub context: Option<u64>,
    /// Whether it only makes vectors: such a model is loaded by another call.
    pub is_embedding: bool,
    /// What for.
    pub why: Why,
}

/// What a job is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// So many requests wait for the model.
    Wanted {
        /// Requests that wait.
        waiting: usize,
    },
    /// Requests need more context than it is loaded with.
    Grows {
        /// The context before.
        from: u64,
    },
    /// Its place is needed for another model.
    MakesRoom {
        /// The other model.
        wanted: ModelName,
    },
    /// Somebody wished it.
    Wished,
}

/// Why a job was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFault {
    /// What happened, in words for people.
    pub reason: String,
    /// Whether there was not enough memory.
    pub is_memory: bool,
    /// Whether it may go better if tried again soon.
    pub retry: bool,
}

/// What somebody wishes for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That it is in memory, with at least this context where one is named. Comes after every request that waits;
    /// forgotten after ten minutes.
    Load {
        /// Tokens.
        context: Option<u64>,
    },
    /// That it is not: done as soon as nobody uses it or waits for it.
    Unload,
    /// That others go first when room is needed, for so long after its last use. `None`: as long as there is memory of
    /// it.
    Keep(Option<Duration>),
    /// That no new request is sent there and that it leaves memory, because it is about to be deleted. Lasts until the
    /// backend has no such model any more, or [`Wish::Forget`].
    Delete,
    /// That all wishes for it are forgotten.
    Forget,
}

/// What has become of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wished {
    /// It will be done as soon as nobody is in the way.
    Pending,
    /// It was done, or there was nothing to do. Who came later may have undone it.
    Done,
    /// It was tried in vain: why, in words for people.
    Failed(String),
}
