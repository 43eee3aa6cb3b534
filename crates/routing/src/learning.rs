//! Learns how many requests a server works on at once, where it does not say.
//!
//! While somebody waits, now and then one request more than known slots is granted: the probe. Content for it while a
//! request that was there before it still runs proves one more slot. If all of these end first, it had to wait for
//! one of them, and the next probe comes later.

use std::time::Duration;

use proto::Moment;

use crate::Key;

pub(crate) const MOST_SLOTS: u32 = 64;
const FIRST_BACKOFF: Duration = Duration::from_secs(30);
const MOST_BACKOFF: Duration = Duration::from_secs(3600);

/// What was learnt of one model at one backend.
#[derive(Debug)]
pub(crate) struct Learning {
    slots: u32,
    backoff: Duration,
    /// No probe before.
    next: Moment,
    probe: Option<Probe>,
}

#[derive(Debug)]
struct Probe {
    key: Key,
    serial: u64,
    /// Requests that ran when it was granted and still do. Never 0.
    witnesses: u32,
}

impl Learning {
    /// One slot, which is Ollama's default (measured with 0.33: `-np 1`).
    pub(crate) fn new() -> Learning {
        Learning { slots: 1, backoff: FIRST_BACKOFF, next: Moment::default(), probe: None }
    }

    pub(crate) fn slots(&self) -> u32 {
        self.slots
    }

    /// When a probe may be granted: a moment, perhaps past; `None` while one runs or nothing is left to learn.
    pub(crate) fn next_probe(&self) -> Option<Moment> {
        (self.probe.is_none() && self.slots < MOST_SLOTS).then_some(self.next)
    }

    /// Whether request `key` is the probe, of which nothing is known yet.
    pub(crate) fn is_probe(&self, key: Key) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.key == key)
    }

    /// Request `key`, the `serial`-th of all, was granted beyond the slots while `witnesses` others ran.
    pub(crate) fn begin(&mut self, key: Key, serial: u64, witnesses: u32) {
        if witnesses > 0 {
            self.probe = Some(Probe { key, serial, witnesses });
        }
    }

    /// Content came for request `key`.
    pub(crate) fn content(&mut self, key: Key, now: Moment) {
        if self.is_probe(key) {
            self.slots += 1;
            self.resolve(FIRST_BACKOFF, now);
        }
    }

    /// Request `key`, the `serial`-th of all, ended.
    pub(crate) fn ended(&mut self, key: Key, serial: u64, now: Moment) {
        let Some(probe) = &mut self.probe else { return };
        if serial < probe.serial {
            probe.witnesses = probe.witnesses.saturating_sub(1);
        }
        if probe.key == key || probe.witnesses == 0 {
            self.resolve((self.backoff * 2).min(MOST_BACKOFF), now);
        }
    }

    fn resolve(&mut self, backoff: Duration, now: Moment) {
        self.probe = None;
        self.backoff = backoff;
        self.next = now + backoff;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::at(Duration::from_secs(secs))
    }

    #[test]
    fn content_beside_an_earlier_request_is_one_more_slot() {
        let mut learning = Learning::new();
        learning.begin(2, 2, 1);
        assert_eq!(learning.next_probe(), None, "one at a time");
        learning.content(2, at(5));
        assert_eq!((learning.slots(), learning.next_probe()), (2, Some(at(35))));
        learning.content(2, at(6));
        assert_eq!(learning.slots(), 2, "once");
    }

    #[test]
    fn nothing_is_learnt_from_a_probe_that_had_to_wait() {
        for (name, ended) in [("all others ended", vec![(0, 0), (1, 1)]), ("it ended itself", vec![(2, 2)])] {
            let mut learning = Learning::new();
            learning.begin(2, 2, 2);
            for (key, serial) in ended {
                learning.ended(key, serial, at(1));
            }
            learning.content(2, at(2));
            assert_eq!((learning.slots(), learning.next_probe()), (1, Some(at(61))), "{name}");
        }
    }

    #[test]
    fn later_requests_are_no_witnesses() {
        let mut learning = Learning::new();
        learning.begin(2, 2, 1);
        learning.ended(3, 3, at(1));
        learning.content(2, at(2));
        assert_eq!(learning.slots(), 2);
    }

    #[test]
    fn backoff_doubles_to_an_hour_and_falls_back() {
        let mut learning = Learning::new();
        for secs in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            learning.begin(9, 9, 1);
            learning.ended(9, 9, at(0));
            assert_eq!(learning.next_probe(), Some(at(secs)));
        }
        learning.begin(9, 9, 1);
        learning.content(9, at(0));
        assert_eq!(learning.next_probe(), Some(at(30)));
        while learning.next_probe().is_some() {
            learning.begin(9, 9, 1);
            learning.content(9, at(0));
        }
        assert_eq!((learning.slots(), learning.next_probe()), (MOST_SLOTS, None));
    }
}
