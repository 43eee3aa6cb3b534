//! Tells what a model is doing, why its requests wait and when the first of them is likely to begin.

use std::time::Duration;

use proto::Moment;

use super::room::Space;
use super::turn::turn_length;
use super::{Loads, Task};
use crate::fleet::Backend;
use crate::lane::{Hold, Lane};
use crate::{LaneState, WaitReason};

impl Loads {
    /// Whether the job that runs is about `lane`.
    pub(crate) fn is_about(&self, lane: &Lane) -> bool {
        self.job.as_ref().is_some_and(|job| lane.has(&job.model))
    }
}

impl Backend {
    /// What the model of `lane` is doing. `waits`: somebody waits for it to be loaded.
    pub(crate) fn lane_state(&self, lane: &Lane, waits: bool) -> LaneState {
        let loads = self.loads.as_ref();
        let is_leaving = matches!(lane.hold, Some(Hold::Swap | Hold::Grow | Hold::Delete))
            || loads.is_some_and(|loads| loads.is_about(lane));
        if loads.is_some_and(|loads| loads.is_for(lane)) {
            LaneState::Loading
        } else if lane.is_loaded() && is_leaving {
            LaneState::Draining
        } else if lane.is_loaded() {
            LaneState::Loaded
        } else if waits {
            LaneState::Waiting
        } else {
            LaneState::Idle
        }
    }

    /// Why the first of those waits that wait for `lane`, which must be loaded for it if there is a `load`, and for how
    /// long it is likely to.
    pub(crate) fn outlook(
        &self,
        lane: &Lane,
        load: Option<Option<u64>>,
        now: Moment,
    ) -> (WaitReason, Option<Duration>) {
        if !self.is_up() {
            return (WaitReason::Unwell, None);
        }
        if let (Some(until), Some(failure)) = (lane.failing.filter(|until| now < *until), &lane.turn.failure) {
            return (WaitReason::Failed { reason: failure.reason.clone() }, Some(until.since(now)));
        }
        let Some(context) = load else { return (WaitReason::Busy, self.until_a_slot(lane)) };
        let takes = lane.turn.load_time(context);
        if let Some(job) = self.loads.as_ref().and_then(|loads| loads.job.as_ref()) {
            let gone = now.since(job.began);
            if lane.has(&job.model) {
                let extra = if job.task == Task::Unload { takes } else { Duration::ZERO };
                let rest = takes.checked_sub(gone).filter(|rest| !rest.is_zero());
                // Of one that should have ended nobody can tell.
                return (WaitReason::Loads, rest.map(|rest| rest + extra));
            }
            let other = self.lanes.iter().find(|other| other.has(&job.model));
            let rest = match (&job.task, other) {
                (Task::Load { context, .. }, Some(other)) => other.turn.load_time(*context).saturating_sub(gone),
                _ => Duration::ZERO,
            };
            return (WaitReason::LoadsAfter { model: job.model.clone() }, Some(rest + takes));
        }
        if lane.is_loaded() {
            let answers = lane.working;
            return (WaitReason::Grows { answers }, self.until_idle(lane).map(|idle| idle + takes));
        }
        match self.in_the_way(lane, takes, now) {
            Some((other, wait)) => {
                let reason = WaitReason::WaitsFor { model: other.model().clone(), answers: other.working };
                (reason, self.until_idle(other).map(|idle| wait + idle + takes))
            }
            None => (WaitReason::Loads, Some(takes)),
        }
    }

    /// The model whose room `lane` is to have, and how much longer its turn lasts.
    fn in_the_way(&self, lane: &Lane, takes: Duration, now: Moment) -> Option<(&Lane, Duration)> {
        let others = || self.lanes.iter().filter(|other| other.is_loaded() && !other.has(lane.model()));
        let held = others().find(|other| other.hold == Some(Hold::Swap));
        if let Some(held) = held {
            return Some((held, Duration::ZERO));
        }
        let loads = self.loads.as_ref()?;
        if loads.room.space(others().count(), 0, None, self.state.most_loaded, now) != Space::Full {
            return None;
        }
        let other = others().min_by_key(|other| other.turn.began)?;
        Some((other, (other.turn.began + turn_length(takes)).since(now)))
    }

    /// Until all that work there have ended, going by how long answers take there; `None`: nothing is known of that.
    fn until_idle(&self, lane: &Lane) -> Option<Duration> {
        if lane.working == 0 { Some(Duration::ZERO) } else { lane.turn.answers.get() }
    }

    fn until_a_slot(&self, lane: &Lane) -> Option<Duration> {
        let slots = self.slots(lane, None).max(1);
        let answer = lane.turn.answers.get()?;
        // Whoever works has half an answer left, in the mean; of several the first has less.
        Some(answer / (slots + 1))
    }
}
