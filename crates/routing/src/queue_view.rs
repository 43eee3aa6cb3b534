//! What is shown of each model of each backend.

use std::time::Duration;

use proto::{BackendId, ModelName};

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
    /// What the model is doing.
    pub state: LaneState,
    /// Why its requests wait; `None`: none waits.
    pub reason: Option<WaitReason>,
    /// When the first of those that wait is likely to begin; `None`: nobody can tell.
    pub eta: Option<Duration>,
    /// The context that it is loaded with, in tokens, where known.
    pub context: Option<u64>,
}

/// What a model is doing at a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// It is not in memory, and nobody waits for it.
    Idle,
    /// It is in memory.
    Loaded,
    /// It is being loaded.
    Loading,
    /// It is in memory and begins nothing new, because its room is needed or it is loaded again.
    Draining,
    /// It is not in memory, and requests wait for that.
    Waiting,
}

/// Why requests wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// All slots are in use.
    Busy,
    /// It is being loaded.
    Loads,
    /// It is to be loaded when another load has ended.
    LoadsAfter {
        /// The model being loaded or unloaded.
        model: ModelName,
    },
    /// It is to be loaded when another model, whose room it needs, has finished.
    WaitsFor {
        /// The other model.
        model: ModelName,
        /// Answers that the other model still works on.
        answers: u32,
    },
    /// It is to be loaded again with more context when it has finished its answers.
    Grows {
        /// Answers that it still works on.
        answers: u32,
    },
    /// The last load failed; the next try comes later.
    Failed {
        /// What the backend said.
        reason: String,
    },
    /// The backend is not well.
    Unwell,
}
