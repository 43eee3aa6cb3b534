//! Decides how much trust a backend gets: a small window at first, a rest after each failure, then one try.
//!
//! The window bounds the requests at one backend while little is known of it: of a burst, a broken one gets a handful.

use std::time::Duration;

use proto::Moment;

/// Requests that a backend may hold before it ever answered.
const FIRST_WINDOW: u32 = 4;
/// Slots bound the load long before this; it only keeps the doubling from running over.
const MOST_WINDOW: u32 = 1 << 16;
/// Rest after the first failure; each further one in a row doubles it.
const FIRST_REST: Duration = Duration::from_millis(250);
const MOST_REST: Duration = Duration::from_secs(30);
/// While other backends do the work, the try after a rest may take this many times as long: it costs a client a retry.
const UNHURRIED: u32 = 8;

/// What is known of one backend's health from our own requests.
#[derive(Debug)]
pub(crate) struct Breaker {
    window: u32,
    failures: u32,
    has_answered: bool,
    open: Option<Open>,
    /// Counts changes of state; of failures, only those of requests that began in this one count.
    epoch: u64,
    /// The epoch that the last rest began: successes count from here on.
    rested_in: u64,
}

#[derive(Debug)]
struct Open {
    until: Moment,
    unhurried: Moment,
    trial_runs: bool,
}

/// Whether one more request may go there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is trusted, up to its window.
    Sound {
        /// Whether the window has room.
        has_room: bool,
    },
    /// It failed and has rested: one request may try; after `unhurried` even if others could do the work.
    Trial {
        /// See above.
        unhurried: Moment,
    },
    /// It failed: it rests until a moment, or a request is just trying.
    Broken {
        /// The end of the rest; `None` while a request is trying.
        until: Option<Moment>,
    },
}

/// What a request carries from its start to its end: news from before the last change of state are no news.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    epoch: u64,
}

impl Breaker {
    pub(crate) fn new() -> Breaker {
        Breaker { window: FIRST_WINDOW, failures: 0, has_answered: false, open: None, epoch: 0, rested_in: 0 }
    }

    pub(crate) fn admission(&self, in_flight: u32, now: Moment) -> Admission {
        match &self.open {
            None => Admission::Sound { has_room: in_flight < self.window },
            Some(open) if now < open.until => Admission::Broken { until: Some(open.until) },
            Some(open) if open.trial_runs => Admission::Broken { until: None },
            Some(open) => Admission::Trial { unhurried: open.unhurried },
        }
    }

    /// Whether it answered and did not fail since.
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered && self.open.is_none()
    }

    /// Whether nothing has come of any request yet.
    pub(crate) fn is_new(&self) -> bool {
        self.epoch == 0 && !self.has_answered
    }

    /// A request goes there.
    pub(crate) fn enter(&mut self) -> Pass {
        if let Some(open) = &mut self.open {
            open.trial_runs = true;
        }
        Pass { epoch: self.epoch }
    }

    /// A request brought content or was otherwise answered, beside `others` in flight. To be said once for each.
    pub(crate) fn proved(&mut self, pass: Pass, others: u32) {
        if pass.epoch < self.rested_in {
            return;
        }
        let window = match self.open.take() {
            // What still runs from before the rest must not keep the new ones out.
            Some(_) => others.saturating_add(FIRST_WINDOW),
            None => self.window.saturating_mul(2),
        };
        self.window = window.min(MOST_WINDOW);
        self.failures = 0;
        self.has_answered = true;
    }

    /// A request ended without saying anything about the backend.
    pub(crate) fn left(&mut self, pass: Pass) {
        if let Some(open) = self.open.as_mut().filter(|_| pass.epoch == self.epoch) {
            open.trial_runs = false;
        }
    }

    /// A request failed before it had content.
    pub(crate) fn failed(&mut self, pass: Pass, now: Moment) {
        // Of a burst that fails together only the first counts, or eight failures at once would mean 30 s of rest.
        if pass.epoch != self.epoch {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.has_answered = false;
        let rest = FIRST_REST.saturating_mul(1 << (self.failures - 1).min(16)).min(MOST_REST);
        self.rest(rest, rest.saturating_mul(UNHURRIED).min(MOST_REST), now);
    }

    /// The backend said that it is full while it worked on `others` more of our requests.
    pub(crate) fn said_busy(&mut self, pass: Pass, others: u32, now: Moment) {
        if pass.epoch != self.epoch {
            return;
        }
        // Full of our own work is no fault. One that has never answered is as good as broken, whatever it says.
        if others > 0 && self.has_answered {
            self.rest(FIRST_REST, FIRST_REST, now);
        } else {
            self.failed(pass, now);
        }
    }

    /// An answer broke off, beside `others` in flight: trust starts anew, without a rest, because the beginning worked.
    pub(crate) fn broke(&mut self, pass: Pass, others: u32) {
        if pass.epoch == self.epoch {
            self.window = self.window.min(others.saturating_add(FIRST_WINDOW));
        }
        self.left(pass);
    }

    /// It is not what it was before: nothing is known of it.
    pub(crate) fn forget(&mut self) {
        *self = Breaker { epoch: self.epoch + 1, rested_in: self.rested_in, ..Breaker::new() };
    }

    /// It was away and answers again: what failed before is forgiven, yet it gets one request beside those that it is
    /// still `answering`.
    pub(crate) fn revive(&mut self, answering: u32) {
        self.forget();
        self.window = answering.saturating_add(1);
    }

    fn rest(&mut self, rest: Duration, unhurried: Duration, now: Moment) {
        self.open = Some(Open { until: now + rest, unhurried: now + unhurried, trial_runs: false });
        self.window = 1;
        self.epoch += 1;
        self.rested_in = self.epoch;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    fn resting(until: Moment) -> Admission {
        Admission::Broken { until: Some(until) }
    }

    fn window(breaker: &Breaker) -> u32 {
        (0..).find(|&n| breaker.admission(n, at(0)) == Admission::Sound { has_room: false }).unwrap()
    }

    #[test]
    fn the_window_doubles_with_each_answer() {
        let mut breaker = Breaker::new();
        for expected in [4, 8, 16, 32] {
            assert_eq!(window(&breaker), expected);
            let pass = breaker.enter();
            breaker.proved(pass, 0);
        }
        for _ in 0..40 {
            let pass = breaker.enter();
            breaker.proved(pass, 0);
        }
        assert_eq!(window(&breaker), MOST_WINDOW);
        let pass = breaker.enter();
        breaker.broke(pass, 0);
        assert_eq!(window(&breaker), 4, "after an answer that broke off");
    }

    #[test]
    fn rests_double_up_to_half_a_minute() {
        let mut breaker = Breaker::new();
        let mut now = at(0);
        for ms in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let pass = breaker.enter();
            breaker.failed(pass, now);
            let until = now + Duration::from_millis(ms);
            assert_eq!(breaker.admission(0, now), resting(until));
            assert!(matches!(breaker.admission(0, until), Admission::Trial { .. }), "{ms}");
            now = until;
        }
    }

    #[test]
    fn failures_at_the_same_time_count_once() {
        let mut breaker = Breaker::new();
        let burst = [breaker.enter(), breaker.enter(), breaker.enter()];
        for pass in burst {
            breaker.failed(pass, at(10));
        }
        assert_eq!(breaker.admission(0, at(10)), resting(at(260)));
    }

    #[test]
    fn one_request_tries_and_success_opens_four() {
        let mut breaker = Breaker::new();
        let old = breaker.enter();
        let pass = breaker.enter();
        breaker.failed(pass, at(0));
        breaker.proved(old, 0);
        assert!(matches!(breaker.admission(1, at(100)), Admission::Broken { .. }), "old news change nothing");
        let trial = breaker.enter();
        assert_eq!(breaker.admission(1, at(300)), Admission::Broken { until: None });
        breaker.left(trial);
        assert!(matches!(breaker.admission(1, at(300)), Admission::Trial { .. }), "a client that left proves nothing");
        let trial = breaker.enter();
        breaker.proved(trial, 0);
        assert_eq!(window(&breaker), 4);
    }

    #[test]
    fn full_of_our_own_work_is_no_fault() {
        let mut breaker = Breaker::new();
        let mut now = at(0);
        let pass = breaker.enter();
        breaker.proved(pass, 0);
        for round in 0..5 {
            let pass = breaker.enter();
            breaker.said_busy(pass, 3, now);
            assert_eq!(breaker.admission(0, now), resting(now + FIRST_REST), "{round}");
            now = now + FIRST_REST;
        }
        let pass = breaker.enter();
        breaker.said_busy(pass, 0, now);
        let now = now + FIRST_REST;
        let pass = breaker.enter();
        breaker.said_busy(pass, 3, now);
        assert_eq!(
            breaker.admission(0, now),
            resting(now + FIRST_REST * 2),
            "nothing of ours was there to be busy with"
        );
    }

    #[test]
    fn back_from_the_dead_means_one_request() {
        let mut breaker = Breaker::new();
        let pass = breaker.enter();
        breaker.failed(pass, at(0));
        let stale = breaker.enter();
        breaker.revive(0);
        breaker.failed(stale, at(0));
        assert_eq!(window(&breaker), 1);
    }

    #[test]
    fn what_still_runs_keeps_nobody_out() {
        let grown = || {
            let mut breaker = Breaker::new();
            for _ in 0..5 {
                let pass = breaker.enter();
                breaker.proved(pass, 0);
            }
            breaker
        };
        let mut back = grown();
        back.revive(20);
        assert_eq!(window(&back), 21);
        let mut busy = grown();
        let pass = busy.enter();
        busy.said_busy(pass, 20, at(0));
        let trial = busy.enter();
        busy.proved(trial, 20);
        assert_eq!(window(&busy), 24);
        let mut broken = grown();
        let pass = broken.enter();
        broken.broke(pass, 20);
        assert_eq!(window(&broken), 24);
    }
}
