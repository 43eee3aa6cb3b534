//! Decides what each backend loads and unloads, so that the server itself never queues, evicts or chooses.
//!
//! An Ollama lets requests for a loaded model overtake waiting loads without limit, and can be wedged by one that names
//! `keep_alive` (measured with 0.33). So a request for a model that is not in memory waits here. One load at a time for
//! each backend, in the order in which models began to be wanted. Where there is no room for one more, a model that
//! nobody uses leaves; if there is none, the one whose turn has lasted longest is held, drained and unloaded.
//! Held back: never more than the lanes of that backend, never longer than the job takes.

mod ended;
mod leaving;
mod outlook;
mod plan;
mod room;
mod times;
mod told;
mod turn;
mod wishes;

use proto::{ModelName, Moment};

pub(crate) use plan::{Demands, plan};
pub(crate) use times::Mean;
pub(crate) use turn::Turn;

use crate::JobId;
use crate::fleet::Backend;
use crate::lane::Lane;
use room::Room;

/// A job that has not ended after this is not waited for any more.
const JOB_LOST: std::time::Duration = std::time::Duration::from_secs(900);
/// For so long after a job what the backend says may be from before it.
const GRACE: std::time::Duration = std::time::Duration::from_secs(2);
/// After a load whose room was uncertain, it is waited so long to see who had to leave for it.
const CONFIRM: std::time::Duration = std::time::Duration::from_secs(1);

/// What goes on at one backend.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    pub(crate) job: Option<Current>,
    pub(crate) room: Room,
    before: Option<Before>,
    /// Until then, or until the backend was looked at, nothing new begins at those that were in memory.
    confirm: Option<Moment>,
}

/// Who was in memory when the last load of ours began: who vanishes by then was made to leave for it.
#[derive(Debug)]
struct Before {
    models: Vec<ModelName>,
    until: Moment,
    /// Whether the load has failed.
    has_failed: bool,
}

impl Before {
    fn has(&self, lane: &Lane) -> bool {
        self.models.iter().any(|name| lane.has(name))
    }
}

/// The job that runs.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) id: JobId,
    pub(crate) model: ModelName,
    pub(crate) began: Moment,
    /// From then on it takes so much longer than expected that it may never end.
    pub(crate) overdue: Moment,
    /// Nothing new begins at the other models before, once none of them works; `None`: one of them does.
    released: Option<Moment>,
    pub(crate) task: Task,
    /// Whether nothing new begins at the other models while it runs.
    holds_others: bool,
    /// Whether the server may have had to wait for other models' answers: then it tells nothing about loads.
    may_wait: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Load {
        context: Option<u64>,
        /// The most that any of those needs who wait for it.
        needed: u64,
        /// Since when it was wanted.
        wanted_since: Moment,
        /// The context before, where the model was in memory.
        from: Option<u64>,
    },
    Unload,
}

impl Loads {
    /// Whether the job that runs loads `lane`.
    pub(crate) fn is_for(&self, lane: &Lane) -> bool {
        self.job.as_ref().is_some_and(|job| job.task != Task::Unload && lane.has(&job.model))
    }

    /// Whether the job that runs takes so long that another backend is worth a try.
    pub(crate) fn is_overdue(&self, now: Moment) -> bool {
        self.job.as_ref().is_some_and(|job| job.overdue <= now)
    }

    /// Whether one model more has room at `backend`, which this belongs to, as far as their number goes.
    pub(crate) fn has_room(&self, backend: &Backend, now: Moment) -> bool {
        let models = backend.lanes.iter().filter(|lane| lane.is_loaded()).count();
        self.room.space(models, 0, None, backend.state.most_loaded, now) != room::Space::Full
    }

    /// The server was started anew: what it was doing is lost, and its limits may be others.
    pub(crate) fn forget(&mut self) {
        *self = Loads { room: self.room.restarted(), ..Loads::default() };
    }
}
