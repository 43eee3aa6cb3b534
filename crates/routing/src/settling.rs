//! Brings those who wait to rest: grants what can be granted, refuses who has waited in vain, has loaded what is missing.

use std::time::Duration;

use proto::Moment;

use crate::loads::Demands;
use crate::standing::{Standing, Want};
use crate::{Refusal, Router};

/// Told to clients of backends that are away: most restarts take about that long.
const COME_BACK: Duration = Duration::from_secs(5);

/// What is granted may change what must be loaded, which may free what can be granted: so often at once.
const ROUNDS: usize = 4;

impl Router {
    pub(crate) fn settle_waiting(&mut self, now: Moment) {
        if self.loads_are_active {
            self.lose_jobs(now);
        }
        for _ in 0..ROUNDS {
            self.grant_waiting(now);
            let demands = self.look_at_waiting(now);
            if !self.plan_loads(&demands, now) || self.queue.is_empty() {
                return;
            }
        }
    }

    /// Looks how those stand that wait, refuses whose patience is at its end, and answers what they wait for.
    fn look_at_waiting(&mut self, now: Moment) -> Demands {
        let mut demands = Demands::new();
        let fleet = &self.fleet;
        let looked = self.queue.look(
            now,
            self.settings.queue_wait,
            |want| fleet.standing(want, None, now),
            |want, at, waiting| demands.entry(at.place).or_default().add(want, at, waiting),
        );
        self.wake = looked.wake;
        for key in looked.impatient {
            if let Some(request) = self.queue.remove(key) {
                let model = self.fleet.known_model(&request.want);
                self.refuse(key, Refusal::Unavailable { model, retry_after: COME_BACK });
            }
        }
        for (key, refusal) in looked.refused {
            if self.queue.remove(key).is_some() {
                self.refuse(key, refusal);
            }
        }
        if self.queue.is_empty() {
            self.wake = None;
        }
        demands
    }

    pub(crate) fn grant_waiting(&mut self, now: Moment) {
        loop {
            let has_room = |want: &Want| matches!(self.fleet.standing(want, None, now), Standing::Free { .. });
            let Some((key, request)) = self.queue.next(now, has_room) else { return };
            let Standing::Free { model, places } = self.fleet.standing(&request.want, None, now) else { return };
            self.grant(key, request.want, model, places, (request.enqueued, request.with), now);
        }
    }
}
