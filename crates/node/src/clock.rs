//! The one place that reads clocks.
//!
//! A laptop that slept for an hour must know it: what was waited for is over, what was known is old. So moments count
//! sleep, and [`slept`] tells how much of it there was.

use std::time::Duration;

use proto::{Clock, Moment};

/// The clock of this node.
pub(crate) const fn clock() -> Clock {
    Clock::new(now, unix_ms)
}

fn now() -> Moment {
    Moment::at(system::with_sleep())
}

fn unix_ms() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "the one place")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// How long this machine has slept since it was started. Only differences mean anything.
pub(crate) fn slept() -> Duration {
    system::with_sleep().saturating_sub(system::without_sleep())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::time::Duration;

    use rustix::time::{ClockId, Timespec, clock_gettime};

    pub(super) fn with_sleep() -> Duration {
        span(clock_gettime(ClockId::Boottime))
    }

    pub(super) fn without_sleep() -> Duration {
        span(clock_gettime(ClockId::Monotonic))
    }

    fn span(time: Timespec) -> Duration {
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

#[cfg(target_vendor = "apple")]
mod system {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    use rustix::time::{ClockId, clock_gettime};

    // CLOCK_MONOTONIC goes on while a Mac sleeps; std's Instant (CLOCK_UPTIME_RAW) does not (clock_gettime(3)).
    pub(super) fn with_sleep() -> Duration {
        let time = clock_gettime(ClockId::Monotonic);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    pub(super) fn without_sleep() -> Duration {
        static START: OnceLock<(Instant, Duration)> = OnceLock::new();
        #[allow(clippy::disallowed_methods, reason = "the one place")]
        let (start, offset) = START.get_or_init(|| (Instant::now(), with_sleep()));
        *offset + start.elapsed()
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
mod system {
    use std::sync::OnceLock;
    use std::time::{Duration, Instant};

    // On Windows Instant is the performance counter, which goes on during sleep.
    pub(super) fn with_sleep() -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        #[allow(clippy::disallowed_methods, reason = "the one place")]
        let start = START.get_or_init(Instant::now);
        start.elapsed()
    }

    // Not told apart there: a jump of the clock is seen as late timers instead.
    pub(super) fn without_sleep() -> Duration {
        with_sleep()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_go_forward_and_know_the_year() {
        let clock = clock();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(clock.unix_ms() > 1_700_000_000_000);
        assert!(slept() < Duration::from_secs(365 * 24 * 3600));
    }
}
