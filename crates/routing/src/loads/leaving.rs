//! Tells whether there is room for one model more, and which one leaves if there is not.

use std::time::Duration;

use proto::Moment;

use super::plan::Planning;
use super::room::Space;
use super::turn::{linger, turn_length};

/// A model that somebody merely wishes for replaces only one that was not used for so long.
const LONG_IDLE: Duration = Duration::from_secs(30);

/// Who leaves to make room.
pub(super) enum Victim {
    /// Others may leave, at the latest then.
    At(Moment),
    /// This one leaves.
    Lane(usize),
    /// Nobody can be made to leave.
    None,
}

impl Planning<'_> {
    /// Whether lane `at` has room with `context`, which it may be loaded without.
    pub(super) fn space(&self, at: usize, context: Option<u64>) -> Space {
        let lane = &self.backend.lanes[at];
        let others = || {
            let lanes = self.backend.lanes.iter().enumerate();
            lanes.filter(|(other, lane)| *other != at && lane.is_loaded()).map(|(_, lane)| lane)
        };
        let bytes = others().map(|lane| lane.bytes()).sum();
        let more = lane.turn.bytes(context);
        let room = &self.loads.room;
        if lane.is_loaded() {
            // In its own place, only more memory can be a matter.
            let more = more.zip(lane.memory.and_then(|memory| memory.size)).map(|(more, has)| more.saturating_sub(has));
            return match (others().next(), room.bytes.zip(more)) {
                (Some(_), Some(((free, _), more))) if more > free => Space::Full,
                _ => Space::Certain,
            };
        }
        room.space(others().count(), bytes, more, self.backend.state.most_loaded, self.now)
    }

    /// Who leaves for lane `at`, which takes `load` to be loaded.
    pub(super) fn victim(&mut self, at: usize, load: Duration, for_wish: bool) -> Victim {
        let mut best: Option<((u8, bool, Moment), usize)> = None;
        let mut soonest: Option<Moment> = None;
        for other in 0..self.backend.lanes.len() {
            if other == at || !self.backend.lanes[other].is_loaded() || self.is_stuck(other) {
                continue;
            }
            let is_wanted = self.is_wanted(other);
            let turn = &self.backend.lanes[other].turn;
            let keeps = turn.wishes.keeps(turn.used, self.now);
            let over = turn.began + turn_length(load);
            let (rank, from) = match (is_wanted, for_wish) {
                (true, true) => continue,
                (false, true) if keeps => continue,
                (false, _) if turn.wishes.unload => ((0, keeps, turn.used), self.now),
                (false, true) => ((1, keeps, turn.used), turn.used + LONG_IDLE),
                (false, false) => ((1, keeps, turn.used), over.min(turn.used + linger(load))),
                (true, false) => ((2, false, turn.began), over),
            };
            if from > self.now {
                soonest = Some(soonest.map_or(from, |soonest| soonest.min(from)));
            } else if best.is_none_or(|best| (rank, other) < best) {
                best = Some((rank, other));
            }
        }
        match (best, soonest) {
            (Some((_, victim)), _) => Victim::Lane(victim),
            (None, Some(soonest)) => Victim::At(soonest),
            (None, None) => Victim::None,
        }
    }
}
