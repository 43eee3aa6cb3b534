//! Times of the wire as times of the owner.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tray::Until;

/// `time`, RFC 3339, in this machine's time zone, seen from `now_ms` (milliseconds since 1970).
pub(super) fn until(time: &str, now_ms: u64) -> Option<Until> {
    let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
    between(time, &now.to_zoned(TimeZone::system()))
}

fn between(time: &str, now: &Zoned) -> Option<Until> {
    let then = time.parse::<Timestamp>().ok()?.to_zoned(now.time_zone().clone());
    let days = now.date().until(then.date()).ok()?.get_days();
    let part = |number: i8| u8::try_from(number).ok();
    Some(Until { days: u16::try_from(days).unwrap_or(0), hour: part(then.hour())?, minute: part(then.minute())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_owners() {
        let now: Zoned = "2026-11-21T22:30:00+01:00[+01:00]".parse().unwrap();
        let at = |days, hour, minute| Some(Until { days, hour, minute });
        for (time, expected) in [
            ("2026-11-21T22:00:00Z", at(0, 23, 0)),
            ("2026-11-21T23:30:00Z", at(1, 0, 30)),
            ("2026-11-22T07:00:00+01:00", at(1, 7, 0)),
            ("2026-12-24T07:00:00Z", at(33, 8, 0)),
            ("2026-11-20T07:00:00Z", at(0, 8, 0)),
            ("tomorrow", None),
        ] {
            assert_eq!(between(time, &now), expected, "{time}");
        }
    }
}
