//! The task that watches, and the handle through which it is asked.

use std::sync::Arc;

use proto::{BackendId, BackendState, Clock};
use tokio_util::sync::CancellationToken;

use crate::{Note, Pace, Settings};

/// Called with all backends, sorted by id, whenever anything about one of them changed.
pub(crate) type OnChange = Box<dyn Fn(Vec<Arc<BackendState>>) + Send + Sync>;

/// Watches the places of its [`Settings`] while it runs.
pub struct Watcher {
    settings: Settings,
    pace: Pace,
    clock: Clock,
    on_change: OnChange,
}

/// Asks the running [`Watcher`] to look sooner, and for what it noticed.
#[derive(Clone, Debug)]
pub struct Handle {}

impl Watcher {
    /// Prepares to watch; nothing is asked before [`Watcher::run`].
    ///
    /// `on_change` is called from the watcher's tasks, one call at a time, with all backends sorted by id. It must not
    /// block.
    pub fn new(settings: Settings, clock: Clock, on_change: OnChange) -> (Watcher, Handle) {
        (Watcher { settings, pace: Pace::default(), clock, on_change }, Handle {})
    }

    /// Looks at another pace than the usual one.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Watcher {
        self.pace = pace;
        self
    }

    /// Watches until `stop` is cancelled; returns when every task has ended.
    pub async fn run(self, stop: CancellationToken) {
        let _ = (&self.settings, &self.pace, &self.clock, &self.on_change);
        stop.cancelled().await;
    }
}

impl Handle {
    /// Its models changed (pulled, deleted, loaded): list them now.
    pub fn refresh(&self, id: &BackendId) {
        let _ = id;
    }

    /// A request there failed: look now whether it is still up.
    pub fn suspect(&self, id: &BackendId) {
        let _ = id;
    }

    /// Looks at every place now.
    pub fn refresh_all(&self) {}

    /// Waits until every place was looked at once, or [`Pace::first_look`] is over. May be dropped half-way.
    pub async fn first_look(&self) {}

    /// What was found that is not used, sorted by place.
    pub fn notes(&self) -> Vec<Note> {
        Vec::new()
    }
}
