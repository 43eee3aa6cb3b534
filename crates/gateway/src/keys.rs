//! Keys of clients on other machines: who holds one, how often each may call, and how often somebody may guess.
//!
//! A key itself is never kept: only its SHA-256 is. A key has 160 random bits, so nothing slower than that is needed.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, header};
use proto::{Clock, Moment};
use sha2::{Digest as _, Sha256};

/// What limits per minute are counted over.
const MINUTE: Duration = Duration::from_secs(60);
/// The most requests per minute that a limit may say: each is remembered for a minute.
pub const MOST_PER_MINUTE: u32 = 10_000;
/// Calls without a valid key that an address may make in a minute; the next is told to wait.
const MOST_FAILURES: u32 = 10;
/// Addresses whose failures are counted; of more, the one that began first is forgotten.
const MOST_ADDRESSES: usize = 1024;
/// Bytes of the longest text that could be a key.
const LONGEST: usize = 128;
/// How much the newest answer counts in the mean of how long answers take.
const NEWEST: f64 = 0.2;

/// A key that the fleet has given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// What it is called.
    pub name: String,
    /// The SHA-256 of it.
    pub hash: [u8; 32],
    /// Requests that it may make in any minute, at most [`MOST_PER_MINUTE`]; `None`: any number.
    pub rpm: Option<u32>,
    /// Requests that it may have answered at once; `None`: any number.
    pub at_once: Option<u32>,
}

/// All keys, and what is known of those who use them and of those who guess.
#[derive(Default)]
pub(crate) struct Keys {
    holders: ArcSwap<Vec<Arc<Holder>>>,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

/// Whoever has one key.
pub(crate) struct Holder {
    key: Key,
    name: Arc<str>,
    meter: Mutex<Meter>,
}

#[derive(Default)]
struct Meter {
    /// When requests of the last minute came.
    recent: VecDeque<Moment>,
    at_once: u32,
    /// Seconds that an answer takes, a moving mean; 0: not known.
    takes_s: f64,
}

/// Calls without a valid key, from one address.
struct Failures {
    since: Moment,
    count: u32,
}

/// Why a request has to wait although its key is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    /// What the limit is.
    pub(crate) limit: Limit,
    /// Seconds until it will be let through, or probably so.
    pub(crate) retry_after_s: u32,
}

/// A limit of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    PerMinute(u32),
    AtOnce(u32),
}

/// A request that was let in by a key: counts as being answered until this is dropped.
pub(crate) struct Pass {
    holder: Arc<Holder>,
    clock: Clock,
    /// Since when; `None`: it is not counted.
    since: Option<Moment>,
}

impl Pass {
    /// What the key is called.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.holder.name
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(since) = self.since else { return };
        let took = self.clock.now().since(since).as_secs_f64();
        let mut meter = self.holder.meter();
        meter.at_once = meter.at_once.saturating_sub(1);
        meter.takes_s = if meter.takes_s > 0.0 { meter.takes_s + NEWEST * (took - meter.takes_s) } else { took };
    }
}

impl Keys {
    /// These are the keys from now on. What is counted of those that stay goes on.
    pub(crate) fn set(&self, keys: &[Key]) {
        let before = self.holders.load();
        let holder = |key: &Key| {
            let known = before.iter().find(|holder| holder.key == *key).cloned();
            known.unwrap_or_else(|| {
                Arc::new(Holder { key: key.clone(), name: key.name.as_str().into(), meter: Mutex::default() })
            })
        };
        self.holders.store(Arc::new(keys.iter().map(holder).collect()));
    }

    /// Whose key was sent.
    pub(crate) fn holder(&self, headers: &HeaderMap) -> Option<Arc<Holder>> {
        let holders = self.holders.load();
        presented(headers).find_map(|text| {
            let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
            // All are looked at, and each to its end, so that nothing can be told from how long it takes.
            holders.iter().fold(None, |found, holder| match is_equal(&holder.key.hash, &hash) {
                true => Some(holder.clone()),
                false => found,
            })
        })
    }

    /// Counts a call without a valid key; the error says how long its address has to wait before it is heard again.
    pub(crate) fn failed(&self, peer: IpAddr, now: Moment) -> Result<(), Duration> {
        let address = neighbourhood(peer);
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_ADDRESSES && !all.contains_key(&address) {
            all.retain(|_, failures| now.since(failures.since) < MINUTE);
            if all.len() >= MOST_ADDRESSES
                && let Some(first) = all.iter().min_by_key(|(_, failures)| failures.since).map(|(address, _)| *address)
            {
                all.remove(&first);
            }
        }
        let failures = all.entry(address).or_insert(Failures { since: now, count: 0 });
        if now.since(failures.since) >= MINUTE {
            *failures = Failures { since: now, count: 0 };
        }
        if failures.count >= MOST_FAILURES {
            return Err(MINUTE - now.since(failures.since));
        }
        failures.count += 1;
        Ok(())
    }
}

impl Holder {
    /// Lets a request in; if `counts`, within the limits of the key.
    pub(crate) fn enter(self: &Arc<Holder>, clock: Clock, counts: bool) -> Result<Pass, Limited> {
        let pass = |since| Pass { holder: self.clone(), clock, since };
        if !counts {
            return Ok(pass(None));
        }
        let now = clock.now();
        let mut meter = self.meter();
        if let Some(most) = self.key.at_once
            && meter.at_once >= most
        {
            // A place is free when the first of them is done.
            let seconds = (meter.takes_s / f64::from(most.max(1))).ceil().clamp(1.0, 60.0);
            return Err(Limited { limit: Limit::AtOnce(most), retry_after_s: seconds as u32 });
        }
        if let Some(most) = self.key.rpm {
            while meter.recent.front().is_some_and(|first| now.since(*first) >= MINUTE) {
                meter.recent.pop_front();
            }
            let most = most.min(MOST_PER_MINUTE);
            if meter.recent.len() >= most as usize {
                let left = meter.recent.front().map_or(MINUTE, |first| MINUTE - now.since(*first));
                return Err(Limited { limit: Limit::PerMinute(most), retry_after_s: whole_seconds(left) });
            }
            meter.recent.push_back(now);
        }
        meter.at_once += 1;
        drop(meter);
        Ok(pass(Some(now)))
    }

    fn meter(&self) -> std::sync::MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `span` in seconds, rounded up, at least one.
pub(crate) fn whole_seconds(span: Duration) -> u32 {
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

/// What may be keys in a request: a bearer token, the password that a browser has asked for, Anthropic's own header.
fn presented(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let authorization = authorization.and_then(|value| value.split_once(' ')).and_then(|(scheme, rest)| {
        let rest = rest.trim();
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => Some(rest.to_owned()),
            "basic" => password(rest),
            _ => None,
        }
    });
    let api_key = headers.get("x-api-key").and_then(|value| value.to_str().ok()).map(|value| value.trim().to_owned());
    authorization.into_iter().chain(api_key).filter(|text| (1..=LONGEST).contains(&text.len()))
}

/// The password of RFC 7617's credentials, or the user name where there is no password.
fn password(credentials: &str) -> Option<String> {
    if credentials.len() > 4 * LONGEST {
        return None;
    }
    let text = String::from_utf8(from_base64(credentials)?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(if password.is_empty() { user } else { password }.to_owned())
}

/// The bytes that `text` stands for (RFC 4648 section 4), with or without `=` at its end.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut held, mut bits) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
        held &= (1 << bits) - 1;
    }
    Some(bytes)
}

/// Takes as long for hashes that are nearly the same as for any others.
fn is_equal(ours: &[u8; 32], theirs: &[u8; 32]) -> bool {
    ours.iter().zip(theirs).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Whoever has an IPv6 address has 2⁶⁴ of them.
fn neighbourhood(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
