//! Keys for clients on other machines: made and taken back here, known to every member as settings of the fleet.
//!
//! A key is shown once, when it is made. What is kept of it is its SHA-256, its limits and the day.

use std::collections::BTreeMap;

use bytes::Bytes;
use gateway::{ChangeError, Key};
use proto::view::KeyView;
use proto::wire::Setting;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::driver::Driver;

/// What the names of these settings begin with; then the key's own name.
const PREFIX: &str = "key/";
/// Keys that a fleet has at most; the next one is refused.
const MOST: usize = 64;
/// What every key begins with, so that it is known for what it is wherever it turns up.
const MARK: &str = "herd-";
/// RFC 4648's alphabet in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A key as the fleet knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FleetKey {
    pub(crate) key: Key,
    /// The day on which it was made, `2026-11-21`.
    created: String,
}

/// The value of the setting.
#[derive(Serialize, Deserialize)]
struct Line {
    /// SHA-256, 64 hexadecimal digits.
    hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rpm: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_once: Option<u32>,
    #[serde(default)]
    created: String,
}

/// The keys among `settings`, by name. What cannot be understood opens nothing.
pub(crate) fn keys(settings: &BTreeMap<String, Setting>) -> Vec<FleetKey> {
    let named = settings.range(PREFIX.to_owned()..).take_while(|(key, _)| key.starts_with(PREFIX));
    named.filter_map(|(key, setting)| one(&key[PREFIX.len()..], setting.value.as_deref()?)).take(MOST).collect()
}

fn one(name: &str, value: &str) -> Option<FleetKey> {
    let Line { hash, rpm, at_once, created } = serde_json::from_str(value).ok()?;
    let created = created.chars().filter(|c| !c.is_control()).take(16).collect();
    Some(FleetKey { key: Key { name: name.to_owned(), hash: from_hex(&hash)?, rpm, at_once }, created })
}

impl FleetKey {
    /// What people are shown of it.
    pub(crate) fn view(&self) -> KeyView {
        let Key { name, rpm, at_once, .. } = &self.key;
        KeyView { name: name.clone(), created: self.created.clone(), rpm: *rpm, at_once: *at_once }
    }
}

impl Driver {
    /// Makes a key; the answer shows it, for the first and last time.
    pub(super) async fn add_key(
        &mut self,
        name: &str,
        rpm: Option<u32>,
        at_once: Option<u32>,
    ) -> Result<Bytes, ChangeError> {
        let known = keys(&self.papers.memory.settings);
        let is_taken = |known: &FleetKey| known.key.name.to_lowercase() == name.to_lowercase();
        if known.iter().any(is_taken) {
            return Err(ChangeError::Refused(format!("there is a key called `{name}` already; revoke it first")));
        }
        if known.len() >= MOST {
            return Err(ChangeError::Refused(format!("a fleet has {MOST} keys at most; revoke one first")));
        }
        let text = random_key()?;
        let created = day(self.place.clock.unix_ms());
        let line = Line { hash: hex(&Sha256::digest(text.as_bytes())), rpm, at_once, created: created.clone() };
        let value = serde_json::to_string(&line).map_err(|error| ChangeError::Failed(error.to_string()))?;
        let setting = format!("{PREFIX}{name}");
        self.set(setting.clone(), Some(value.clone())).await;
        if self.papers.memory.settings.get(&setting).and_then(|setting| setting.value.as_deref()) != Some(&*value) {
            return Err(not_set());
        }
        tracing::info!(key = name, "a key for clients on other machines was made");
        let answer = json!({ "name": name, "key": text, "created": created, "rpm": rpm, "at_once": at_once });
        Ok(answer.to_string().into())
    }

    /// Takes a key back: it opens nothing any more, on any machine that hears of it.
    pub(super) async fn revoke_key(&mut self, name: &str) -> Result<Bytes, ChangeError> {
        let known = keys(&self.papers.memory.settings);
        let exact = known.iter().find(|known| known.key.name == name);
        let found = exact.or_else(|| known.iter().find(|known| known.key.name.to_lowercase() == name.to_lowercase()));
        let Some(found) = found else {
            let name = name.escape_debug();
            return Err(ChangeError::NotFound(format!("no key is called `{name}`; `herd keys` lists them")));
        };
        let setting = format!("{PREFIX}{}", found.key.name);
        self.set(setting.clone(), None).await;
        if self.papers.memory.settings.get(&setting).is_some_and(|setting| setting.value.is_some()) {
            return Err(not_set());
        }
        tracing::info!(key = found.key.name, "a key for clients on other machines was taken back");
        Ok("{}".into())
    }
}

fn not_set() -> ChangeError {
    ChangeError::Refused("the fleet does not take that: a guest changes no keys, and settings are bounded".to_owned())
}

/// 160 random bits as text.
fn random_key() -> Result<String, ChangeError> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes)
        .map_err(|error| ChangeError::Failed(format!("this system gives no random numbers: {error}")))?;
    Ok(format!("{MARK}{}", base32(&bytes)))
}

fn base32(bytes: &[u8; 20]) -> String {
    let mut text = String::with_capacity(32);
    for five in bytes.chunks_exact(5) {
        let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        text.extend((0..8).rev().map(|digit| char::from(ALPHABET[(bits >> (5 * digit) & 31) as usize])));
    }
    text
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// The day, in UTC: it says roughly when, and nothing about where.
fn day(unix_ms: u64) -> String {
    let at = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    at.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use proto::{Epoch, NodeId};

    use super::*;

    fn setting(key: &str, value: Option<&str>) -> (String, Setting) {
        let (name, value) = (key.to_owned(), value.map(str::to_owned));
        let author = NodeId::new([1; 32]);
        (key.to_owned(), Setting { key: name, value, epoch: Epoch::new(1), counter: 1, author })
    }

    #[test]
    fn what_is_no_key_opens_nothing() {
        let hash = "ab".repeat(32);
        let good = format!("{{\"hash\":\"{hash}\",\"rpm\":60,\"created\":\"2026-11-21\"}}");
        let settings = BTreeMap::from([
            setting("fleet.name", Some("Home")),
            setting("key/broken", Some("{")),
            setting("key/nas", Some(&good)),
            setting("key/revoked", None),
            setting("key/short", Some("{\"hash\":\"abcd\"}")),
            setting("key/wide", Some(&format!("{{\"hash\":\"{}\"}}", "é".repeat(32)))),
            setting("name.x", Some("den")),
        ]);
        let found = keys(&settings);
        assert_eq!(found.iter().map(|key| key.key.name.as_str()).collect::<Vec<_>>(), ["nas"]);
        assert_eq!((found[0].key.hash, found[0].key.rpm, found[0].key.at_once), ([0xab; 32], Some(60), None));
        assert_eq!(found[0].view().created, "2026-11-21");
    }

    #[test]
    fn more_keys_than_a_fleet_has_are_not_looked_at() {
        let value = format!("{{\"hash\":\"{}\"}}", "ab".repeat(32));
        let settings = (0..100).map(|number| setting(&format!("key/{number:03}"), Some(&value))).collect();
        assert_eq!(keys(&settings).len(), MOST);
    }

    #[test]
    fn keys_are_long_and_unlike() {
        let (one, other) = (random_key().unwrap(), random_key().unwrap());
        assert_ne!(one, other);
        assert_eq!((one.len(), one.starts_with(MARK)), (37, true));
        let mut bytes = [0; 20];
        bytes[19] = 31;
        assert_eq!(base32(&bytes), format!("{}7", "a".repeat(31)));
        bytes[0] = 0b1000_0000;
        assert!(base32(&bytes).starts_with('q'));
    }

    #[test]
    fn days_are_told_in_utc() {
        assert_eq!((day(0), day(1_795_219_200_000)), ("1970-01-01".to_owned(), "2026-11-21".to_owned()));
    }
}
