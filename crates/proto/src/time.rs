//! Time as the rest of the program sees it: told, never read.

use std::time::Duration;

/// A moment on this node's own clock: the time since some fixed start, sleep of the machine included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment `since_start` after the clock's own start.
    pub const fn at(since_start: Duration) -> Moment {
        Moment(since_start)
    }

    /// How long before this moment `earlier` was; zero if it was not.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(span))
    }
}

/// The two clocks of a node. The real ones live in `node::clock`; tests bring their own.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: fn() -> Moment,
    unix_ms: fn() -> u64,
}

impl Clock {
    /// A clock that asks `now` for moments and `unix_ms` for the wall-clock time in milliseconds since 1970.
    pub const fn new(now: fn() -> Moment, unix_ms: fn() -> u64) -> Clock {
        Clock { now, unix_ms }
    }

    /// The present moment. Never goes back.
    pub fn now(self) -> Moment {
        (self.now)()
    }

    /// The wall-clock time, in milliseconds since 1970. For records and ids; may jump, so it decides nothing.
    pub fn unix_ms(self) -> u64 {
        (self.unix_ms)()
    }
}
