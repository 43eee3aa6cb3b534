//! The settings of the fleet: last writer wins, bounded, the same on every node that was told the same.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use proto::wire::{MAX_KEY, MAX_SETTINGS, MAX_VALUE, Setting, Settings};
use proto::{Epoch, NodeId};

use crate::SettingRefused;
use crate::peer::hash;

/// Bytes of settings in one message: leaves room for the numbers around them.
const CHUNK: usize = 48 * 1024;

/// At most [`MAX_SETTINGS`] settings. When two halves of a fleet that were apart have more together, those whose names
/// come last are lost, on every node the same.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    entries: BTreeMap<String, Setting>,
    hash: u64,
}

impl Shared {
    pub(crate) fn new(stored: Vec<Setting>) -> Shared {
        let mut shared = Shared::default();
        for setting in stored {
            shared.merge(setting);
        }
        shared
    }

    /// Tells this map from others.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn entries(&self) -> Vec<Setting> {
        self.entries.values().cloned().collect()
    }

    /// The owner sets `key`; the entry that must be told to the others, if that changes anything.
    pub(crate) fn set(
        &mut self,
        key: &str,
        value: Option<String>,
        epoch: Epoch,
        author: NodeId,
    ) -> Result<Option<Setting>, SettingRefused> {
        if key.len() > MAX_KEY {
            return Err(SettingRefused::LongKey);
        }
        if value.as_ref().is_some_and(|value| value.len() > MAX_VALUE) {
            return Err(SettingRefused::LongValue);
        }
        let old = self.entries.get(key);
        if old.map(|old| &old.value).unwrap_or(&None) == &value {
            return Ok(None);
        }
        if old.is_none() && self.entries.len() >= MAX_SETTINGS {
            return Err(SettingRefused::Full);
        }
        let (epoch, counter) = old.map_or((epoch, 1), |old| (epoch.max(old.epoch), old.counter.saturating_add(1)));
        let setting = Setting { key: key.to_owned(), value, epoch, counter, author };
        self.entries.insert(key.to_owned(), setting.clone());
        self.rehash();
        Ok(Some(setting))
    }

    /// Takes in an entry of another node; what changed by it.
    pub(crate) fn merge(&mut self, setting: Setting) -> Vec<Setting> {
        let is_long = setting.value.as_ref().is_some_and(|value| value.len() > MAX_VALUE);
        if is_long || setting.key.len() > MAX_KEY {
            return vec![];
        }
        let mut changed = vec![setting.clone()];
        match self.entries.entry(setting.key.clone()) {
            Entry::Occupied(mut known) if is_later(&setting, known.get()) => drop(known.insert(setting)),
            Entry::Occupied(_) => return vec![],
            Entry::Vacant(room) => drop(room.insert(setting)),
        }
        if self.entries.len() > MAX_SETTINGS
            && let Some((key, last)) = self.entries.pop_last()
        {
            if key == changed[0].key {
                return vec![];
            }
            changed.push(Setting { value: None, ..last });
        }
        self.rehash();
        changed
    }

    fn rehash(&mut self) {
        let numbers = |setting: &Setting| [setting.epoch.number(), setting.counter];
        let bytes = self.entries.values().flat_map(|setting| {
            let text = setting.key.bytes().chain([255]).chain(setting.value.iter().flat_map(|value| value.bytes()));
            let end = [if setting.value.is_some() { 255 } else { 254 }];
            let numbers = numbers(setting).into_iter().flat_map(u64::to_be_bytes);
            text.chain(end).chain(numbers).chain(*setting.author.as_bytes())
        });
        self.hash = if self.entries.is_empty() { 0 } else { hash(bytes) };
    }
}

/// Whether `new` was written after `old`. The value comes last so that even two entries under one number have an order.
fn is_later(new: &Setting, old: &Setting) -> bool {
    fn order(setting: &Setting) -> (Epoch, u64, NodeId, Option<&str>) {
        (setting.epoch, setting.counter, setting.author, setting.value.as_deref())
    }
    order(new) > order(old)
}

/// `settings` in messages that are short enough.
pub(crate) fn chunks(settings: Vec<Setting>) -> Vec<Settings> {
    let mut chunks: Vec<Settings> = Vec::new();
    let mut size = CHUNK;
    for setting in settings {
        let length = 80 + setting.key.len() + setting.value.as_ref().map_or(0, String::len);
        if size + length > CHUNK {
            chunks.push(Settings::default());
            size = 0;
        }
        size += length;
        chunks.last_mut().expect("one was pushed before the first setting").entries.push(setting);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::wire::{MAX_MESSAGE, Message};

    fn node(number: u8) -> NodeId {
        NodeId::new([number; 32])
    }

    fn setting(key: &str, value: Option<&str>, epoch: u64, counter: u64, author: u8) -> Setting {
        Setting {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            epoch: Epoch::new(epoch),
            counter,
            author: node(author),
        }
    }

    #[test]
    fn the_last_writer_wins() {
        let old = setting("k", Some("old"), 3, 7, 5);
        for (new, wins) in [
            (setting("k", Some("new"), 4, 1, 1), true),
            (setting("k", None, 3, 8, 1), true),
            (setting("k", Some("new"), 3, 7, 6), true),
            (setting("k", Some("new"), 3, 7, 4), false),
            (setting("k", Some("new"), 3, 6, 9), false),
            (setting("k", Some("new"), 2, 99, 9), false),
            (old.clone(), false),
        ] {
            let mut shared = Shared::new(vec![old.clone()]);
            assert_eq!(!shared.merge(new.clone()).is_empty(), wins, "{new:?}");
        }
    }

    #[test]
    fn a_setting_beats_what_it_replaces() {
        let mut shared = Shared::new(vec![setting("k", Some("old"), 9, 7, 200)]);
        let new = shared.set("k", Some("new".to_owned()), Epoch::new(2), node(1)).unwrap().unwrap();
        assert_eq!((new.epoch, new.counter), (Epoch::new(9), 8));
        assert_eq!(shared.set("k", Some("new".to_owned()), Epoch::new(2), node(1)), Ok(None));
        assert_eq!(shared.set("unknown", None, Epoch::new(2), node(1)), Ok(None));
    }

    #[test]
    fn too_much_is_refused() {
        let many = (0..MAX_SETTINGS).map(|at| setting(&format!("{at:04}"), Some("v"), 1, 1, 1)).collect();
        let mut shared = Shared::new(many);
        for (key, value, refusal) in [
            ("k".repeat(129), Some("v".to_owned()), SettingRefused::LongKey),
            ("k".to_owned(), Some("v".repeat(4097)), SettingRefused::LongValue),
            ("k".to_owned(), Some("v".to_owned()), SettingRefused::Full),
        ] {
            assert_eq!(shared.set(&key, value, Epoch::new(2), node(1)), Err(refusal));
        }
        assert!(shared.set("0000", Some("w".to_owned()), Epoch::new(2), node(1)).is_ok());
        // Others may bring more: the names that come last go.
        assert!(shared.merge(setting("z", Some("v"), 9, 9, 9)).is_empty());
        let changed = shared.merge(setting("a0", Some("v"), 1, 1, 1));
        assert!(changed.is_empty(), "'a' comes after the digits: {changed:?}");
        let changed = shared.merge(setting("00000", Some("v"), 1, 1, 1));
        assert_eq!(changed[1], setting("0511", None, 1, 1, 1));
        assert_eq!(shared.entries.len(), MAX_SETTINGS);
    }

    #[test]
    fn the_largest_map_goes_in_messages_that_are_short_enough() {
        let long = (0..MAX_SETTINGS).map(|at| setting(&format!("{at:0128}"), Some(&"v".repeat(MAX_VALUE)), 1, 1, 1));
        let chunks = chunks(long.collect());
        assert!(chunks.iter().all(|chunk| Message::Settings(chunk.clone()).encode().len() <= MAX_MESSAGE));
        assert_eq!(chunks.iter().map(|chunk| chunk.entries.len()).sum::<usize>(), MAX_SETTINGS);
    }

    fn some_setting() -> impl Strategy<Value = Setting> {
        ("[a-c]", prop::option::of("[xy]"), 0u64..3, 0u64..3, 0u8..3)
            .prop_map(|(key, value, epoch, counter, author)| setting(&key, value.as_deref(), epoch, counter, author))
    }

    proptest! {
        #[test]
        fn the_order_of_news_does_not_matter(
            settings in prop::collection::vec(some_setting(), 0..20),
            other in any::<prop::sample::Index>(),
        ) {
            let mut turned = settings.clone();
            if !turned.is_empty() {
                let middle = other.index(turned.len());
                turned.rotate_left(middle);
                turned.reverse();
            }
            let (one, two) = (Shared::new(settings), Shared::new(turned));
            prop_assert_eq!(&one.entries, &two.entries);
            prop_assert_eq!(one.hash, two.hash);
        }
    }
}
