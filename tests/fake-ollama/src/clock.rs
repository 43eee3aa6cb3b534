//! The only place of the stand-in that reads a clock; it is a test tool and has no `proto::Clock` to ask.

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The present moment, for durations and expiry.
#[allow(clippy::disallowed_methods, reason = "a stand-in for a real program tells real time; this is its one reader")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Time since 1970.
#[allow(clippy::disallowed_methods, reason = "a stand-in for a real program tells real time; this is its one reader")]
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970, as the OpenAI-like answers tell time.
pub(crate) fn unix_seconds() -> u64 {
    since_1970().as_secs()
}

/// The present time as Ollama writes it: RFC 3339 in UTC with nanoseconds.
pub(crate) fn stamp() -> String {
    stamp_of(since_1970())
}

/// `at` (since 1970) in RFC 3339, UTC, nanoseconds without their trailing zeros.
pub(crate) fn stamp_of(at: Duration) -> String {
    let nanos = i128::try_from(at.as_nanos()).unwrap_or(i128::MAX);
    jiff::Timestamp::from_nanosecond(nanos).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// Appends the present time to a line that is being built, without a `String` in between.
pub(crate) fn push_stamp(line: &mut String) {
    let nanos = i128::try_from(since_1970().as_nanos()).unwrap_or(i128::MAX);
    let at = jiff::Timestamp::from_nanosecond(nanos).unwrap_or(jiff::Timestamp::MAX);
    write!(line, "{at}").expect("writing to a String cannot fail");
}
