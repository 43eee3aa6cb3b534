//! Says in the log what of a request would have loaded the model again, once in a while for each app and model.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proto::Moment;

use crate::door::Protection;

/// The same is not said again sooner.
const AGAIN: Duration = Duration::from_secs(3600);
/// Different things that are remembered to have been said; a further one is said each time until some of them are old.
const REMEMBERED: usize = 1024;

/// What has been said.
#[derive(Default)]
pub(crate) struct Notices {
    hasher: RandomState,
    said: Mutex<HashMap<u64, Moment>>,
}

impl Notices {
    /// Tells whoever reads the log what `app` asks of `model` that a model in memory does not go with: `fields`, with
    /// commas between.
    pub(crate) fn tell(&self, protection: Protection, app: Option<&str>, model: &str, fields: &str, now: Moment) {
        if fields.is_empty() || !self.is_due(self.hasher.hash_one((app, model, fields)), now) {
            return;
        }
        let app = app.unwrap_or("unknown");
        match protection {
            Protection::Strip => {
                tracing::info!(app, model, fields, "Context protection left out what would load the model again");
            }
            Protection::Warn => {
                tracing::warn!(app, model, fields, "Context protection is off: this may load the model again");
            }
            Protection::Pass => {}
        }
    }

    fn is_due(&self, what: u64, now: Moment) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(&what).is_some_and(|at| now.since(*at) < AGAIN) {
            return false;
        }
        if said.len() >= REMEMBERED {
            said.retain(|_, at| now.since(*at) < AGAIN);
        }
        if said.len() < REMEMBERED {
            said.insert(what, now);
        }
        true
    }
}

/// Of fields that had no effect, those that have to do with the model's stay in memory.
pub(crate) fn protected<'a>(ignored: impl Iterator<Item = &'a str>) -> String {
    let is_machine = |field: &&str| field.starts_with("options.") || matches!(*field, "keep_alive" | "shift");
    ignored.filter(is_machine).collect::<Vec<&str>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_an_hour() {
        let notices = Notices::default();
        let at = |minutes: u64| Moment::at(Duration::from_secs(60 * minutes));
        for (what, minutes, is_due) in
            [(1, 1, true), (1, 2, false), (2, 2, true), (1, 60, false), (1, 61, true), (1, 120, false)]
        {
            assert_eq!(notices.is_due(what, at(minutes)), is_due, "{what} at {minutes}");
        }
        for what in 0..3 * REMEMBERED as u64 {
            notices.is_due(what, at(121));
            assert!(notices.said.lock().unwrap().len() <= REMEMBERED);
        }
        assert!(notices.is_due(9, at(1000)), "old ones make room");
        assert!(!notices.is_due(9, at(1001)));
    }

    #[test]
    fn only_what_concerns_the_model_in_memory_is_said() {
        let all = ["think", "keep_alive", "options.num_ctx", "user", "shift", "options.num_gpu"];
        assert_eq!(protected(all.into_iter()), "keep_alive, options.num_ctx, shift, options.num_gpu");
    }
}
