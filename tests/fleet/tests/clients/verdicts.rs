//! What was found true of an app's requests, held against what is known not to be true yet.

use std::collections::{BTreeMap, BTreeSet};

/// Something that does not hold yet: app, backend, what, and the title under which it is described.
pub(crate) type NotYet = (&'static str, &'static str, &'static str, &'static str);

/// What was looked at for one app before one backend.
pub(crate) struct Verdicts {
    app: &'static str,
    backend: &'static str,
    looked_at: BTreeSet<String>,
    wrong: BTreeMap<String, Vec<String>>,
}

impl Verdicts {
    pub(crate) fn new(app: &'static str, backend: &'static str) -> Verdicts {
        Verdicts { app, backend, looked_at: BTreeSet::new(), wrong: BTreeMap::new() }
    }

    /// The app that is looked at.
    pub(crate) fn app(&self) -> &'static str {
        self.app
    }

    /// Notes whether `what` holds, and if not, why.
    pub(crate) fn hold(&mut self, what: &str, found: Result<(), String>) {
        self.looked_at.insert(what.to_owned());
        if let Err(why) = found {
            self.wrong.entry(what.to_owned()).or_default().push(why);
        }
    }

    /// Notes whether `what` holds.
    pub(crate) fn is(&mut self, what: &str, holds: bool, why: impl FnOnce() -> String) {
        self.hold(what, if holds { Ok(()) } else { Err(why()) });
    }

    /// Says all that does not hold, and all that was not expected to hold and does.
    pub(crate) fn end(self, not_yet: &[NotYet]) -> Result<(), String> {
        let expected: BTreeMap<&str, &str> = not_yet
            .iter()
            .filter(|(app, backend, ..)| (*app, *backend) == (self.app, self.backend))
            .map(|(_, _, what, title)| (*what, *title))
            .collect();
        let mut faults = Vec::new();
        for (what, whys) in &self.wrong {
            match expected.get(what.as_str()) {
                Some(title) => eprintln!("{} on {}: {what}: not yet: {title}", self.app, self.backend),
                None => faults.push(format!("{what}:\n    {}", whys[..whys.len().min(3)].join("\n    "))),
            }
        }
        for (what, title) in expected {
            if !self.looked_at.contains(what) {
                faults.push(format!("{what}: nothing was looked at; it was expected to fail ({title})"));
            } else if !self.wrong.contains_key(what) {
                faults.push(format!("{what}: holds now; take it out of NOT_YET ({title})"));
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(format!("{} on {}:\n  {}", self.app, self.backend, faults.join("\n  ")))
    }
}
