//! Estimates from how fast requests ended of late when those that wait will have gone.

use std::time::Duration;

use proto::Moment;

const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(600);

/// The mean time between two ends while somebody waits; the last few count most.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: Option<Moment>,
    gap: Option<Duration>,
}

impl Pace {
    /// A request ended; only the ends while `somebody_waits` tell how fast the backends are.
    pub(crate) fn ended(&mut self, somebody_waits: bool, now: Moment) {
        if let Some(last) = self.last.filter(|_| somebody_waits) {
            let gap = now.since(last).min(MOST);
            self.gap = Some(self.gap.map_or(gap, |mean| (mean * 7 + gap) / 8));
        }
        self.last = somebody_waits.then_some(now);
    }

    /// Time until `waiting` requests have gone, in whole seconds from 1 to 600; 1 while nothing is known.
    pub(crate) fn time_for(&self, waiting: usize) -> Duration {
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let time = self.gap.unwrap_or_default().saturating_mul(waiting).clamp(LEAST, MOST);
        Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_refused_is_told_when_to_come_back() {
        let at = |ms| Moment::at(Duration::from_millis(ms));
        for (ends, waiting, secs) in [
            (vec![], 1024, 1),
            (vec![0, 100, 200], 5, 1),
            (vec![0, 100, 200], 21, 3),
            (vec![0, 4000], 10, 40),
            (vec![0, 4000], 100_000, 600),
        ] {
            let mut pace = Pace::default();
            for ms in &ends {
                pace.ended(true, at(*ms));
            }
            assert_eq!(pace.time_for(waiting).as_secs(), secs, "{ends:?} {waiting}");
        }
    }

    #[test]
    fn an_idle_night_is_no_slowness() {
        let at = |secs| Moment::at(Duration::from_secs(secs));
        let mut pace = Pace::default();
        for (secs, somebody_waits) in [(0, true), (1, true), (2, false), (40_000, true), (40_001, true)] {
            pace.ended(somebody_waits, at(secs));
        }
        assert_eq!(pace.time_for(10).as_secs(), 10);
    }
}
