//! What the owner said about sharing, as it is kept in `node.json`.

use std::collections::BTreeMap;
use std::time::Duration;

use capacity::{Capacity, Input, RuleId, Wish};
use proto::{Clock, Moment};
use serde::{Deserialize, Serialize};

/// Programs that are kept, at most.
pub(super) const MOST_IGNORED: usize = 256;
/// A pause that is read lasts no longer than this: the clock may have been set back meanwhile.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

/// What the owner said. Times are milliseconds since 1970: moments do not outlive a start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    /// `on`, `off`, `fleet-only`, `pause` or `finish`. Anything else counts as a pause: the owner wanted something.
    state: String,
    /// When the pause ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
    /// Until when the machine shares anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    anyway_until_ms: Option<u64>,
    /// Rules that were switched, whatever the settings say.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rules: BTreeMap<String, bool>,
    /// Programs that are no meeting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<String>,
}

impl Kept {
    /// What is to be kept of `capacity`, with the rules that the owner switched.
    pub(super) fn of(capacity: &Capacity, rules: &BTreeMap<RuleId, bool>, ignored: &[String], clock: Clock) -> Kept {
        let (now, unix_ms) = (clock.now(), clock.unix_ms());
        let ms = |until: Moment| {
            let left = u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX);
            unix_ms.saturating_add(left)
        };
        let wish = capacity.wish();
        Kept {
            state: word(wish).to_owned(),
            until_ms: if let Wish::Paused(until) = wish { until.map(ms) } else { None },
            anyway_until_ms: capacity.anyway().map(ms),
            rules: rules.iter().map(|(rule, on)| (rule.as_str().to_owned(), *on)).collect(),
            ignored: ignored.to_vec(),
        }
    }

    /// The rules that the owner switched.
    pub(super) fn switched(&self) -> BTreeMap<RuleId, bool> {
        self.rules.iter().filter_map(|(rule, on)| Some((RuleId::named(rule)?, *on))).collect()
    }

    /// The programs that the owner named.
    pub(super) fn ignored(&self) -> Vec<String> {
        self.ignored.iter().take(MOST_IGNORED).cloned().collect()
    }

    /// What of it concerns the wish.
    pub(super) fn inputs(&self, clock: Clock) -> Vec<Input> {
        let (now, unix_ms) = (clock.now(), clock.unix_ms());
        let moment = |ms: u64| now + Duration::from_millis(ms.saturating_sub(unix_ms)).min(LONGEST);
        let wish = match self.state.as_str() {
            "" | "on" => Wish::On,
            "off" => Wish::Off,
            "fleet-only" => Wish::FleetOnly,
            "finish" => Wish::Finish,
            "pause" => Wish::Paused(self.until_ms.map(moment)),
            _ => Wish::Paused(None),
        };
        let anyway = self.anyway_until_ms.map(|ms| Input::Anyway(Some(moment(ms))));
        std::iter::once(Input::Wish(wish)).chain(anyway).collect()
    }
}

/// The word for a wish, as it is said by people and programs.
pub(super) fn word(wish: Wish) -> &'static str {
    match wish {
        Wish::On => "on",
        Wish::Off => "off",
        Wish::FleetOnly => "fleet-only",
        Wish::Paused(_) => "pause",
        Wish::Finish => "finish",
    }
}
