//! The app's clock: the one place in it that reads one.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use proto::{Clock, Moment};

/// The clock. Time that the machine slept may be missing from it: nothing here depends on that.
pub(crate) const fn clock() -> Clock {
    Clock::new(now, unix_ms)
}

fn now() -> Moment {
    static START: OnceLock<Instant> = OnceLock::new();
    #[allow(clippy::disallowed_methods, reason = "the one place")]
    let now = Instant::now();
    Moment::at(now.saturating_duration_since(*START.get_or_init(|| now)))
}

fn unix_ms() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "the one place")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
