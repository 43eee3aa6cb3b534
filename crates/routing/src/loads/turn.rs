//! How long a model may stay in memory while another one waits for its room.

use std::time::Duration;

use proto::Moment;

use super::times::{Mean, Rates, Times};
use super::wishes::Wishes;
use crate::lane::InMemory;
use crate::memory::Sizes;

/// No turn ends sooner while its model is used, nor sooner than twice the time it takes to load the other one.
const LEAST: Duration = Duration::from_secs(1);
/// A turn ends after this, or after four times the time of the load, while another model waits.
const USUAL: Duration = Duration::from_secs(10);
/// However long loads take.
const MOST: Duration = Duration::from_secs(60);
/// A turn is this many loads long, so that loading costs a ninth of the time.
const LOADS: u32 = 8;
/// A model counts as used for so long after an answer, within its turn: clients that ask one thing after the other
/// would otherwise lose it in every gap.
const MOST_LINGER: Duration = Duration::from_secs(1);

/// How long a model that is used stays, while another one waits that takes `load` to be loaded.
pub(crate) fn turn_length(load: Duration) -> Duration {
    load.saturating_mul(LOADS).clamp(least(load), bound(load))
}

/// A model that is used is not loaded again, nor unloaded, before it has been there so long.
pub(crate) fn least(load: Duration) -> Duration {
    load.saturating_mul(2).max(LEAST).min(bound(load))
}

pub(crate) fn linger(load: Duration) -> Duration {
    (load / 4).min(MOST_LINGER)
}

/// A load that takes longer than this may never end: it is tried beside it elsewhere, and others need not wait for it.
pub(crate) fn overdue(load: Duration) -> Duration {
    load.saturating_mul(4).max(USUAL)
}

fn bound(load: Duration) -> Duration {
    load.saturating_mul(4).clamp(USUAL, MOST)
}

/// What is known of one model for its loads.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// What the backend said last.
    pub(crate) told: Option<InMemory>,
    /// What was known before that.
    pub(crate) was: Option<InMemory>,
    /// What a job of ours has made of it, while what the backend said may be older.
    pub(super) assumed: Option<Assumed>,
    /// Tokens of context that it was trained for.
    pub(crate) trained: Option<u64>,
    /// When it came into memory.
    pub(crate) began: Moment,
    /// When a request last began or ended here.
    pub(crate) used: Moment,
    /// Since when a load is wanted for those that wait.
    pub(crate) wants_since: Option<Moment>,
    pub(crate) failure: Option<Failure>,
    /// An unload failed: it is not tried again before.
    pub(super) stuck_until: Moment,
    pub(crate) stuck: u32,
    /// More context than this did not work.
    pub(super) ceiling: Option<Grown>,
    pub(crate) grown: Option<Grown>,
    pub(crate) times: Times,
    pub(crate) sizes: Sizes,
    /// How long answers take.
    pub(crate) answers: Mean,
    pub(crate) last_load: Option<LastLoad>,
    pub(crate) wishes: Wishes,
    /// How fast it reads and writes.
    pub(crate) rates: Rates,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Assumed {
    pub(super) memory: Option<InMemory>,
    pub(super) until: Moment,
}

/// A context, remembered for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grown {
    pub(crate) context: u64,
    pub(crate) until: Moment,
}

#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(super) count: u32,
    pub(crate) until: Moment,
    /// Whether those that wait are told, rather than wait for another try.
    pub(crate) is_told: bool,
}

/// The last load that ended well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastLoad {
    /// When it was first wanted.
    pub(crate) began: Moment,
    pub(crate) ended: Moment,
    /// The context before, where the model was in memory.
    pub(crate) from: Option<u64>,
}

impl Turn {
    /// Takes over everything but what the backend says.
    pub(crate) fn inherit(&mut self, old: Turn, was: Option<InMemory>) {
        *self = Turn { told: self.told, trained: self.trained, was, ..old };
    }

    /// How long a load with `context` takes.
    pub(crate) fn load_time(&self, context: Option<u64>) -> Duration {
        self.times.likely(context, self.bytes(context))
    }

    /// Bytes in memory with `context`.
    pub(crate) fn bytes(&self, context: Option<u64>) -> Option<u64> {
        self.sizes.with(context.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_long_as_loads_make_them() {
        let ms = Duration::from_millis;
        for (load, shortest, length) in [
            (0, 1000, 1000),
            (200, 1000, 1600),
            (1000, 2000, 8000),
            (2000, 4000, 10_000),
            (5000, 10_000, 20_000),
            (20_000, 40_000, 60_000),
            (300_000, 60_000, 60_000),
        ] {
            assert_eq!((least(ms(load)), turn_length(ms(load))), (ms(shortest), ms(length)), "{load}");
            assert!(linger(ms(load)) <= least(ms(load)));
        }
        assert_eq!(turn_length(Duration::MAX), MOST);
    }
}
