use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue};

use super::*;

/// Milliseconds of a clock that stands until it is moved.
static NOW: AtomicU64 = AtomicU64::new(0);

fn at(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds))
}

fn key(name: &str, text: &str, rpm: Option<u32>, at_once: Option<u32>) -> Key {
    Key { name: name.to_owned(), hash: Sha256::digest(text.as_bytes()).into(), rpm, at_once }
}

fn headers(sent: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    sent.iter().map(pair).collect()
}

#[test]
fn a_key_is_found_however_clients_send_it() {
    let keys = Keys::default();
    keys.set(&[key("nas", "herd-nas", None, None), key("phone", "herd-phone", None, None)]);
    for (sent, holder) in [
        (&[("authorization", "Bearer herd-nas")][..], Some("nas")),
        (&[("authorization", "bearer  herd-phone ")], Some("phone")),
        (&[("x-api-key", "herd-phone")], Some("phone")),
        (&[("authorization", "Bearer sk-other"), ("x-api-key", "herd-nas")], Some("nas")),
        // `any:herd-nas` and `herd-nas:`.
        (&[("authorization", "Basic YW55OmhlcmQtbmFz")], Some("nas")),
        (&[("authorization", "Basic aGVyZC1uYXM6")], Some("nas")),
        (&[("authorization", "Basic aGVyZC1uYXM")], None),
        (&[("authorization", "Basic ****")], None),
        (&[("authorization", "Bearer herd-na")], None),
        (&[("authorization", "Bearer herd-nass")], None),
        (&[("authorization", "Bearer ")], None),
        (&[("authorization", "herd-nas")], None),
        (&[("x-api-key", "")], None),
        (&[], None),
    ] {
        let found = keys.holder(&headers(sent)).map(|holder| holder.name.to_string());
        assert_eq!(found.as_deref(), holder, "{sent:?}");
    }
    let long = "x".repeat(LONGEST + 1);
    keys.set(&[key("long", &long, None, None)]);
    assert!(keys.holder(&headers(&[("x-api-key", &long)])).is_none());
}

#[test]
fn a_key_that_is_taken_back_opens_nothing_and_the_others_count_on() {
    let keys = Keys::default();
    let (nas, phone) = (key("nas", "herd-nas", Some(1), None), key("phone", "herd-phone", None, None));
    keys.set(&[nas.clone(), phone]);
    let clock = Clock::new(|| at(5), || 0);
    let enter = || keys.holder(&headers(&[("x-api-key", "herd-nas")])).unwrap().enter(clock, true);
    assert!(enter().is_ok());
    keys.set(&[nas]);
    assert!(enter().is_err(), "its request of this minute is not forgotten");
    assert!(keys.holder(&headers(&[("x-api-key", "herd-phone")])).is_none());
}

#[test]
fn limits_say_when_to_come_back() {
    let keys = Keys::default();
    keys.set(&[key("nas", "herd-nas", Some(3), Some(2))]);
    let holder = keys.holder(&headers(&[("x-api-key", "herd-nas")])).unwrap();
    let clock = Clock::new(|| Moment::at(Duration::from_millis(NOW.load(Ordering::Relaxed))), || 0);
    let set = |ms| NOW.store(ms, Ordering::Relaxed);
    set(1_000);
    let first = holder.enter(clock, true).unwrap();
    let second = holder.enter(clock, true).unwrap();
    let limited = |limit, retry_after_s| Some(Limited { limit, retry_after_s });
    assert_eq!(holder.enter(clock, true).err(), limited(Limit::AtOnce(2), 1), "how long one takes is not known yet");
    assert!(holder.enter(clock, false).is_ok(), "lists are not counted");
    set(9_000);
    drop(first);
    let third = holder.enter(clock, true).unwrap();
    assert_eq!(holder.enter(clock, true).err(), limited(Limit::AtOnce(2), 4), "two of eight seconds each");
    drop((second, third));
    set(9_500);
    assert_eq!(holder.enter(clock, true).err(), limited(Limit::PerMinute(3), 52), "the first leaves at 61 s");
    set(60_999);
    assert_eq!(holder.enter(clock, true).err(), limited(Limit::PerMinute(3), 1));
    set(61_000);
    assert!(holder.enter(clock, true).is_ok());
}

#[test]
fn guesses_are_limited_per_address() {
    let keys = Keys::default();
    let (one, other) = ("10.0.0.5".parse().unwrap(), "10.0.0.6".parse().unwrap());
    for _ in 0..MOST_FAILURES {
        assert_eq!(keys.failed(one, at(10)), Ok(()));
    }
    assert_eq!(keys.failed(one, at(30)), Err(Duration::from_secs(40)));
    assert_eq!(keys.failed(other, at(30)), Ok(()));
    assert_eq!(keys.failed(one, at(70)), Ok(()));
    // All addresses of one machine's network count as one.
    for number in 0..MOST_FAILURES {
        assert_eq!(keys.failed(format!("fd00::{number:x}").parse().unwrap(), at(70)), Ok(()));
    }
    assert!(keys.failed("fd00::ffff".parse().unwrap(), at(70)).is_err());
    assert!(keys.failed("fd01::1".parse().unwrap(), at(70)).is_ok());
}

#[test]
fn addresses_that_guess_are_bounded() {
    let keys = Keys::default();
    for number in 0..(MOST_ADDRESSES as u32 + 100) {
        assert_eq!(keys.failed(IpAddr::V4((0x0a00_0000 + number).into()), at(u64::from(number) / 100)), Ok(()));
    }
    assert_eq!(keys.failures.lock().unwrap().len(), MOST_ADDRESSES);
}
