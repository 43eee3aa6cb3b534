//! A machine whose time passes when a test says so.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::time::Duration;

use capacity::{Capacity, Evidence, Input, Rules, Share};
use proto::Moment;

/// The moment `seconds` after the start.
pub fn at(seconds: f64) -> Moment {
    Moment::at(Duration::from_secs_f64(seconds))
}

/// A machine with its clock.
pub struct Machine {
    pub capacity: Capacity,
    pub now: Moment,
    /// What was shown, and since when.
    pub shown: Vec<(Moment, Share)>,
}

impl Machine {
    pub fn new(rules: Rules) -> Machine {
        Machine { capacity: Capacity::new(rules), now: Moment::default(), shown: Vec::new() }
    }

    /// Lets time pass, from timer to timer.
    pub fn pass(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while let Some(wake) = self.capacity.poll_timeout().filter(|wake| *wake <= end) {
            assert!(wake > self.now, "a timer that is already over at {:?}", self.now);
            self.now = wake;
            self.capacity.handle_timeout(wake);
            self.note();
        }
        self.now = end;
        self.capacity.handle_timeout(end);
        self.note();
    }

    pub fn happens(&mut self, input: Input) {
        self.capacity.handle(input, self.now);
        self.note();
    }

    /// Something else is sensed.
    pub fn senses(&mut self, change: impl FnOnce(&mut Evidence)) {
        let mut evidence = self.capacity.evidence().clone();
        change(&mut evidence);
        self.happens(Input::Evidence(evidence));
    }

    fn note(&mut self) {
        if let Some(share) = self.capacity.poll_output() {
            assert_eq!(share, self.capacity.share());
            self.shown.push((self.now, share));
        }
    }

    /// The state and the reason's code, as people would be told.
    pub fn says(&self) -> String {
        let share = self.capacity.share();
        format!("{} {}", share.state.as_str(), share.reason.code())
    }
}

/// A list of programs.
pub fn apps(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}
