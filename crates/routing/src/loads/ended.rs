//! What follows from the end of a job.

use std::time::Duration;

use proto::Moment;

use super::told::REMEMBERED;
use super::turn::{Assumed, Failure, Grown, LastLoad};
use super::{CONFIRM, Current, GRACE, JOB_LOST, Loads, Task};
use crate::fleet::Backend;
use crate::lane::{InMemory, Lane};
use crate::{JobFault, JobId};

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MOST_BACKOFF: Duration = Duration::from_secs(60);
/// A model that cannot be loaded with this is too large itself.
const LEAST_CONTEXT: u64 = 4096;

impl Backend {
    /// The job that runs.
    pub(crate) fn job(&self) -> Option<JobId> {
        self.loads.as_ref()?.job.as_ref().map(|job| job.id)
    }

    /// Takes in that job `id`, if it is one of this backend's, has ended. Tells whether it was.
    pub(crate) fn job_ended(&mut self, id: JobId, result: Result<(), JobFault>, now: Moment) -> bool {
        let Some(mut loads) = self.loads.take() else { return false };
        let job = loads.job.take_if(|job| job.id == id);
        let is_ours = job.is_some();
        if let Some(job) = job {
            if job.holds_others {
                // What was loaded before may have had to leave for it: from now on only what the backend says counts.
                for lane in self.lanes.iter_mut().filter(|lane| !lane.has(&job.model)) {
                    lane.turn.assumed = lane.turn.assumed.filter(|assumed| assumed.memory.is_none());
                    lane.believe(now);
                }
            }
            let others = self.lanes.iter().filter(|lane| lane.is_loaded() && !lane.has(&job.model)).count();
            if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.has(&job.model)) {
                match (&job.task, result) {
                    (Task::Unload, result) => loads.unloaded(lane, result, now),
                    (Task::Load { .. }, Ok(())) => loads.loaded(lane, &job, now),
                    (Task::Load { .. }, Err(fault)) => loads.not_loaded(lane, &job, fault, others, now),
                }
            }
            loads.notice_who_left(&self.lanes, now);
        }
        self.loads = Some(loads);
        if is_ours {
            self.limit_contexts(now);
        }
        is_ours
    }

    /// Gives up a job that should have ended long ago.
    pub(crate) fn lose_job(&mut self, now: Moment) {
        let Some(job) = self.loads.as_ref().and_then(|loads| loads.job.as_ref()) else { return };
        if job.began + JOB_LOST <= now {
            let id = job.id;
            let reason = "the server did not say how it went for a quarter of an hour".to_owned();
            self.job_ended(id, Err(JobFault { reason, is_memory: false, retry: false }), now);
        }
    }
}

impl Loads {
    fn unloaded(&mut self, lane: &mut Lane, result: Result<(), JobFault>, now: Moment) {
        // Wished once, tried once.
        lane.turn.wishes.unload = false;
        match result {
            Ok(()) => {
                self.room.shift(None, lane.memory.and_then(|memory| memory.size));
                lane.turn.assumed = Some(Assumed { memory: None, until: now + GRACE });
                lane.memory = None;
                lane.turn.stuck = 0;
            }
            // Another program holds on to it.
            Err(_) => {
                lane.turn.stuck += 1;
                lane.turn.stuck_until = now + backoff(lane.turn.stuck);
            }
        }
    }

    fn loaded(&mut self, lane: &mut Lane, job: &Current, now: Moment) {
        let Task::Load { context, wanted_since, from, .. } = job.task else { return };
        let turn = &mut lane.turn;
        // Looked at since it was loaded: whoever had to leave for it is known to have left.
        let is_seen = turn.told.is_some_and(|told| from.is_none() || told.context != from);
        let size = turn.bytes(context);
        if !job.may_wait {
            turn.times.add(context, now.since(job.began));
        }
        turn.began = now;
        turn.used = now;
        turn.failure = None;
        lane.failing = None;
        // Those that waited for it begin before the next job does.
        lane.hold = None;
        turn.wishes.load = None;
        turn.last_load = Some(LastLoad { began: wanted_since, ended: now, from });
        turn.assumed = Some(Assumed { memory: Some(InMemory { context, size }), until: now + GRACE });
        if let (Some(context), Some(_)) = (context, from) {
            turn.grown = Some(Grown { context, until: now + REMEMBERED });
        }
        let had = lane.memory.and_then(|memory| memory.size);
        self.room.shift(size, had);
        lane.memory = Some(InMemory { context, size });
        self.watch(job, false, now);
        if is_seen {
            self.confirm = None;
        }
    }

    /// Looks for a while who had to leave for the load that has ended.
    fn watch(&mut self, job: &Current, has_failed: bool, now: Moment) {
        let Some(before) = &mut self.before else { return };
        before.until = now + GRACE;
        before.has_failed = has_failed;
        if job.holds_others && !before.models.is_empty() {
            self.confirm = Some(now + CONFIRM);
        }
    }

    fn not_loaded(&mut self, lane: &mut Lane, job: &Current, fault: JobFault, others: usize, now: Moment) {
        let Task::Load { context, needed, .. } = job.task else { return };
        self.watch(job, true, now);
        lane.turn.wishes.load = None;
        if fault.is_memory {
            let half = context.map_or(0, |context| context / 2);
            if half >= LEAST_CONTEXT && (half >= needed || others == 0) {
                // Whoever needs more is told so.
                lane.turn.ceiling = Some(Grown { context: half, until: now + REMEMBERED });
                lane.turn.grown = None;
                return;
            }
            if others > 0 {
                // The others leave first, one after the other, and it is tried again after each.
                self.room.limit(others, now);
                return;
            }
        }
        let count = lane.turn.failure.as_ref().map_or(0, |failure| failure.count) + 1;
        let until = now + backoff(count);
        lane.turn.failure = Some(Failure { reason: fault.reason, count, until, is_told: !fault.retry || count > 1 });
        lane.failing = Some(until);
    }
}

/// A second, then twice as long each time, up to a minute.
fn backoff(count: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << count.saturating_sub(1).min(6)).min(MOST_BACKOFF)
}
