//! What "until tomorrow" means.

use std::time::Duration;

/// When a day begins, in minutes: nobody means midnight.
const MORNING: u64 = 6 * 60;
/// A pause until tomorrow lasts this many minutes at least, also for somebody who is up early.
const LEAST: u64 = 3 * 60;
const DAY: u64 = 24 * 60;

/// How long it is until tomorrow at `minute` of the day: until six in the morning, the next one that is three hours away.
///
/// Changes of the clock in between are not counted.
pub fn until_tomorrow(minute: u16) -> Duration {
    let minute = u64::from(minute) % DAY;
    let ahead = (MORNING + DAY - minute) % DAY;
    Duration::from_secs(60 * if ahead < LEAST { ahead + DAY } else { ahead })
}
