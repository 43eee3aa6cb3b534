//! Gives requests without content to another backend: those whose own is lost, and those whose content is overdue.
//!
//! Who is overdue when is told by [`crate::patience`].

use proto::Moment;

use crate::standing::Standing;
use crate::{Key, Output, Router};

impl Router {
    /// Moves those on lost backends as soon as there is somebody to wait for.
    pub(crate) fn move_stuck(&mut self, now: Moment) {
        self.stuck = 0;
        for (key, running) in &mut self.running {
            if running.has_content || running.is_told_to_move || !self.fleet.backend(running.place).is_lost() {
                continue;
            }
            match self.fleet.standing(&running.want, Some(running.place.backend), now) {
                Standing::Free { .. } | Standing::Busy { .. } => {
                    running.is_told_to_move = true;
                    if let Some(at) = running.look.take() {
                        self.patience.forget(*key, at);
                    }
                    self.outputs.push_back(Output::Move(*key));
                }
                Standing::Stranded { again } => {
                    self.stuck += 1;
                    self.wake = [self.wake, again].into_iter().flatten().min();
                }
                Standing::Hopeless | Standing::Refused(_) => self.stuck += 1,
            }
        }
    }

    /// Looks at those whose time has come and, if a slot has freed, at the oldest that are overdue.
    pub(crate) fn move_overdue(&mut self, now: Moment) {
        if std::mem::take(&mut self.has_freed) {
            for key in self.patience.late(now) {
                if self.look_at(key, now) {
                    return;
                }
            }
        }
        while let Some(key) = self.patience.due(now) {
            self.look_at(key, now);
        }
    }

    /// Tells whether request `key` moves. Whatever comes of it, it is not looked at again before some time has passed.
    fn look_at(&mut self, key: Key, now: Moment) -> bool {
        let Some(running) = self.running.get_mut(&key) else { return false };
        let Some(looked) = running.look else { return false };
        let lane = self.fleet.lane(running.place);
        // A probe waits for others by design; its patience begins anew until it is known what came of it.
        let since = if lane.learning.is_probe(key) { now } else { running.granted };
        // Slow answers that came meanwhile count too.
        let due = since + lane.seen.bound();
        if due > now {
            self.patience.forget(key, looked);
            self.patience.watch(key, due);
            running.look = Some(due);
            return false;
        }
        // While the node stops, asking again would be refused.
        if self.is_draining || !self.fleet.has_room(&running.want, running.place.backend, now) {
            running.look = Some(self.patience.stays(key, looked, now));
            return false;
        }
        self.patience.forget(key, looked);
        running.look = None;
        self.patience.pause(now);
        running.is_told_to_move = true;
        self.outputs.push_back(Output::Move(key));
        true
    }
}
