//! Notices that two machines live under one identity.

use std::time::Duration;

use proto::Moment;

use crate::peer::Stamp;

/// Turns from one sequence of pulses to the other that prove two authors. A restart, or a backup that was restored, is one.
const TURNS: u8 = 3;

/// Turns further apart than this are separate stories.
const WINDOW: Duration = Duration::from_secs(60);

/// How often it is told.
const AGAIN: Duration = Duration::from_secs(600);

/// Follows the stamps under one identity. One machine's only grow, over all its starts; those of two interleave.
#[derive(Debug, Default)]
pub(crate) struct Twin {
    high: Option<Stamp>,
    low: Option<Stamp>,
    /// Whether `high` grew since `low` did.
    is_high_next: bool,
    turns: u8,
    last_turn: Moment,
    told: Option<Moment>,
}

impl Twin {
    /// Whether there were two a moment ago.
    pub(crate) fn is_known(&self, now: Moment) -> bool {
        self.told.is_some_and(|told| now.since(told) < AGAIN)
    }

    /// Takes in a stamp; whether it should be told now that there are two.
    pub(crate) fn notice(&mut self, stamp: Stamp, now: Moment) -> bool {
        if self.high.is_none_or(|high| stamp > high) {
            self.high = Some(stamp);
            self.is_high_next = true;
            return false;
        }
        // A late or repeated one is not later than what came the same way before.
        let is_low_growing = self.low.is_none_or(|low| stamp > low);
        if !is_low_growing || !std::mem::take(&mut self.is_high_next) {
            self.low = self.low.max(Some(stamp));
            return false;
        }
        self.low = Some(stamp);
        self.turns = if now.since(self.last_turn) > WINDOW { 1 } else { self.turns.saturating_add(1) };
        self.last_turn = now;
        let is_due = self.turns >= TURNS && self.told.is_none_or(|told| now.since(told) >= AGAIN);
        if is_due {
            self.told = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Incarnation;

    fn told(stamps: &[(u64, u64)]) -> bool {
        let mut twin = Twin::default();
        let mut now = Moment::at(Duration::from_secs(100));
        stamps.iter().fold(false, |told, &(incarnation, seq)| {
            now = now + Duration::from_secs(1);
            told | twin.notice(Stamp { incarnation: Incarnation(incarnation), seq }, now)
        })
    }

    #[test]
    fn two_authors_are_told_from_restarts() {
        for (stamps, is_twin) in [
            (&[(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)][..], false),
            // A late pulse, repeated ones, and a backup that brought an old number of starts.
            (&[(1, 1), (2, 1), (1, 2), (2, 2), (2, 3)], false),
            (&[(1, 5), (1, 5), (1, 6), (1, 6), (1, 7), (1, 7)], true),
            (&[(1, 5), (1, 6), (1, 6), (1, 6), (1, 6), (1, 6), (1, 7)], false),
            (&[(9, 5), (9, 6), (4, 1), (4, 2), (4, 3), (4, 4), (5, 1)], false),
            (&[(9, 5), (4, 1), (9, 6), (4, 2), (9, 7), (4, 3)], true),
            (&[(4, 900), (4, 5), (4, 901), (4, 6), (4, 902), (4, 7)], true),
        ] {
            assert_eq!(told(stamps), is_twin, "{stamps:?}");
        }
    }
}
