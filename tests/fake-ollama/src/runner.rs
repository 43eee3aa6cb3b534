//! An engine process, the hold of a request on it, and what is counted of a model.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::scheduler::Scheduler;

/// One engine process. Dies once and stays dead; one that hangs says nothing more, and nobody notices while it works.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) dead: AtomicBool,
    pub(crate) hung: AtomicBool,
    /// Woken when the engine dies.
    pub(crate) died: Notify,
    slots: Arc<Semaphore>,
}

impl Engine {
    /// One that works on `slots` requests at a time.
    pub(crate) fn new(slots: usize) -> Engine {
        Engine {
            dead: AtomicBool::new(false),
            hung: AtomicBool::new(false),
            died: Notify::new(),
            slots: Arc::new(Semaphore::new(slots)),
        }
    }
}

/// Counts of one model since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Engines that were started for it, whether they got ready or not.
    pub(crate) starts: AtomicU64,
    /// Engines that got ready.
    pub(crate) loads: AtomicU64,
    pub(crate) evictions: AtomicU64,
    pub(crate) tokens: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) queued: AtomicU64,
}

/// A request's hold on a runner: it is not unloaded before this is dropped.
#[must_use = "the runner may go as soon as this is dropped"]
pub(crate) struct User {
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) id: u64,
    /// Whether the runner was loaded for this very request.
    pub(crate) is_first: bool,
    pub(crate) engine: Arc<Engine>,
    pub(crate) tally: Arc<Tally>,
}

impl User {
    /// Waits for a slot of the runner, first come first served.
    pub(crate) async fn slot(self) -> Slot {
        let permit = {
            let _queued = Counted::up(&self.tally, |tally| &tally.queued);
            // The semaphore is never closed, so this always is a permit.
            self.engine.slots.clone().acquire_owned().await.ok()
        };
        let in_flight = Counted::up(&self.tally, |tally| &tally.in_flight);
        Slot { _permit: permit, _in_flight: in_flight, user: self }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.scheduler.leave(self.id);
    }
}

/// A place in the engine. Given back by dropping it: first the slot, then the hold on the runner.
#[must_use = "the slot is freed as soon as this is dropped"]
pub(crate) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
    _in_flight: Counted,
    pub(crate) user: User,
}

/// Adds one to a count for as long as it lives.
pub(crate) struct Counted {
    tally: Arc<Tally>,
    which: fn(&Tally) -> &AtomicU64,
}

impl Counted {
    pub(crate) fn up(tally: &Arc<Tally>, which: fn(&Tally) -> &AtomicU64) -> Counted {
        which(tally).fetch_add(1, Ordering::Relaxed);
        Counted { tally: tally.clone(), which }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.which)(&self.tally).fetch_sub(1, Ordering::Relaxed);
    }
}
