//! The router itself: four verbs around the queue and the backends.

use std::collections::VecDeque;

use proto::{BackendId, ModelName, Moment};

use crate::{Input, Output, QueueView, Refusal, Settings};

/// Places the requests of one machine on its backends.
#[derive(Debug)]
pub struct Router {
    #[expect(dead_code, reason = "in use with the next commit")]
    settings: Settings,
    outputs: VecDeque<Output>,
}

impl Router {
    /// A router without backends. `seed` decides only who goes first among equals.
    pub fn new(settings: Settings, seed: u64) -> Router {
        let _ = seed;
        Router { settings, outputs: VecDeque::new() }
    }

    /// Takes in that `input` happened at `now`.
    pub fn handle(&mut self, input: Input, now: Moment) {
        let _ = now;
        if let Input::Arrive(key, _) = input {
            self.outputs.push_back(Output::Refuse(key, Refusal::NoBackend));
        }
    }

    /// When [`Router::handle_timeout`] must be called at the latest; `None`: time alone changes nothing.
    pub fn poll_timeout(&self) -> Option<Moment> {
        None
    }

    /// Takes in that it is `now`. Calling it too early does no harm.
    pub fn handle_timeout(&mut self, now: Moment) {
        let _ = now;
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Requests being worked on by any backend.
    pub fn in_flight(&self) -> u32 {
        0
    }

    /// Requests that wait.
    pub fn queued(&self) -> u32 {
        0
    }

    /// Requests being worked on by `backend`; 0 for one that is not known.
    pub fn load(&self, backend: &BackendId) -> u32 {
        let _ = backend;
        0
    }

    /// Requests that `backend` works on at once for `model`; without a model, the most it does for any of its models.
    pub fn slots(&self, backend: &BackendId, model: Option<&ModelName>) -> Option<u32> {
        let _ = (backend, model);
        None
    }

    /// Every model of every backend that has or had work, sorted by backend, then model.
    pub fn queue_by_model(&self) -> Vec<QueueView> {
        Vec::new()
    }
}
