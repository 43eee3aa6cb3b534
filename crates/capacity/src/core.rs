//! The decision: the owner's wish, then the rules.

use proto::Moment;

use crate::evidence::Evidence;
use crate::holders::{Holder, Holders};
use crate::phase::Phase;
use crate::rules::{RuleId, Rules};
use crate::words::{Reason, Share, State, Wish};

/// Programs that the owner may name, at most; further ones are not kept.
const MOST_IGNORED: usize = 256;

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Something else was sensed. Replaces all that was sensed before.
    Evidence(Evidence),
    /// The owner wants something else. Ends "share anyway".
    Wish(Wish),
    /// Share anyway until then, whatever the rules and the last wish say; `None`: no more.
    Anyway(Option<Moment>),
    /// The owner has set the rules otherwise.
    Rules(Rules),
    /// What this program holds is no meeting.
    Ignore(String),
    /// What this program holds counts again.
    Heed(String),
    /// So many requests of other machines are running here.
    Guests(u32),
}

/// Whether this machine shares, and all that is remembered for that.
#[derive(Clone, Debug)]
pub struct Capacity {
    rules: Rules,
    wish: Wish,
    anyway: Option<Moment>,
    evidence: Evidence,
    /// When that was sensed.
    seen: Moment,
    holders: Holders,
    /// Since when the lid is closed, where it was seen closing.
    lid_closed: Option<Moment>,
    guests: u32,
    phases: [Phase; RuleId::ALL.len()],
    now: Moment,
    share: Share,
    has_changed: bool,
}

impl Capacity {
    /// A machine whose owner shares it, and of which nothing is known yet.
    pub fn new(rules: Rules) -> Capacity {
        Capacity {
            rules,
            wish: Wish::On,
            anyway: None,
            evidence: Evidence::default(),
            seen: Moment::default(),
            holders: Holders::default(),
            lid_closed: None,
            guests: 0,
            phases: [Phase::Quiet; RuleId::ALL.len()],
            now: Moment::default(),
            share: Share { state: State::On, reason: Reason::Sharing, until: None, rule: None },
            has_changed: false,
        }
    }

    /// Takes in that something happened at `now`.
    pub fn handle(&mut self, input: Input, now: Moment) {
        // What was due before this happened has happened before.
        self.handle_timeout(now);
        let mut spoken = false;
        match input {
            Input::Evidence(evidence) => {
                self.lid_closed = match (self.evidence.lid_closed, evidence.lid_closed) {
                    (Some(false), Some(true)) => Some(self.now),
                    (_, Some(true)) => self.lid_closed,
                    _ => None,
                };
                self.holders.see(&evidence, self.now);
                self.evidence = evidence;
                self.seen = self.now;
            }
            Input::Wish(wish) => {
                self.wish = wish;
                self.anyway = None;
            }
            Input::Anyway(until) => self.anyway = until,
            Input::Rules(rules) => {
                self.rules = rules;
                spoken = true;
            }
            Input::Ignore(app) => {
                if self.holders.ignored().len() < MOST_IGNORED {
                    self.holders.ignore(&app);
                }
                spoken = true;
            }
            Input::Heed(app) => self.holders.heed(&app),
            Input::Guests(guests) => self.guests = guests,
        }
        self.settle(spoken);
    }

    /// When [`Capacity::handle_timeout`] must be called at the latest; `None`: not before something happens.
    pub fn poll_timeout(&self) -> Option<Moment> {
        let phases = RuleId::ALL.into_iter().filter_map(|rule| self.phases[rule as usize].wake(rule.hold()));
        let pause = if let Wish::Paused(until) = self.wish { until } else { None };
        let lid = self.lid_closed.map(|closed| closed + self.rules.leave());
        phases
            .chain(self.holders.wakes(&self.rules))
            .chain(pause)
            .chain(self.anyway)
            .chain(lid)
            .chain(self.away_at().filter(|_| self.rules.is_on(RuleId::Busy)))
            .filter(|wake| *wake > self.now)
            .min()
    }

    /// Takes in that it is `now`. Calling it too early does no harm.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.now = self.now.max(now);
        self.settle(false);
    }

    /// Whether this machine shares now, if that has changed since it was last asked.
    pub fn poll_output(&mut self) -> Option<Share> {
        std::mem::take(&mut self.has_changed).then_some(self.share)
    }

    /// Whether this machine shares now.
    pub fn share(&self) -> Share {
        self.share
    }

    /// What the owner wants.
    pub fn wish(&self) -> Wish {
        self.wish
    }

    /// Until when the owner shares anyway.
    pub fn anyway(&self) -> Option<Moment> {
        self.anyway
    }

    /// The rules as they are set.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// How far `rule` is.
    pub fn phase(&self, rule: RuleId) -> Phase {
        self.phases[rule as usize]
    }

    /// Whether `rule` cannot know whether it should pause. Then it does not.
    pub fn is_blind(&self, rule: RuleId) -> bool {
        let seen = &self.evidence;
        match rule {
            RuleId::Meetings => seen.cameras.is_none() || seen.microphones.is_none(),
            RuleId::Games => seen.full_screen.is_none(),
            RuleId::Lid => seen.lid_closed.is_none(),
            RuleId::Display => seen.display_off.is_none(),
            RuleId::Battery => seen.on_battery.is_none(),
            RuleId::Heat => seen.throttled.is_none(),
            RuleId::Metered => seen.metered.is_none(),
            RuleId::Busy => seen.others_cpu_percent.is_none() || seen.input_idle.is_none(),
        }
    }

    /// What was last sensed.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Who holds a camera or a microphone, and what that means.
    pub fn holders(&self) -> impl Iterator<Item = Holder> {
        self.holders.all(&self.rules, self.now)
    }

    /// The programs that the owner named as no meeting, in lower case, in order.
    pub fn ignored(&self) -> impl Iterator<Item = &str> {
        self.holders.ignored().iter().map(String::as_str)
    }

    /// `spoken`: the owner has said which evidence counts, so what does not is forgotten at once.
    fn settle(&mut self, spoken: bool) {
        let now = self.now;
        let is_over = |until: &mut Moment| now >= *until;
        if let Wish::Paused(Some(until)) = self.wish
            && now >= until
        {
            self.wish = Wish::On;
        }
        self.anyway.take_if(is_over);
        self.holders.settle(&self.rules, now);
        for rule in RuleId::ALL {
            let is_there = self.rules.is_on(rule) && self.is_there(rule);
            let phase = &mut self.phases[rule as usize];
            *phase = match is_there {
                false if spoken => Phase::Quiet,
                _ => phase.step(is_there, rule.hold(), self.rules.leave(), now),
            };
        }
        let share = self.decide();
        self.has_changed |= share != self.share;
        self.share = share;
    }

    /// Whether there is what `rule` looks at.
    fn is_there(&self, rule: RuleId) -> bool {
        let seen = &self.evidence;
        let on_battery = seen.on_battery == Some(true);
        match rule {
            RuleId::Meetings => self.holders.meet(&self.rules, self.now),
            RuleId::Games => seen.full_screen == Some(true),
            // A lid that closes often means that the machine goes to sleep. One that stays closed at a charger is a machine
            // on a desk or in a closet.
            RuleId::Lid => {
                let is_closing = self.lid_closed.is_some_and(|closed| self.now < closed + self.rules.leave());
                seen.lid_closed == Some(true) && (on_battery || is_closing)
            }
            RuleId::Display => seen.display_off == Some(true) && on_battery,
            RuleId::Battery => {
                let is_low = self.rules.battery_below >= 100
                    || seen.battery_percent.is_none_or(|percent| percent < self.rules.battery_below);
                on_battery && is_low
            }
            RuleId::Heat => seen.throttled == Some(true),
            RuleId::Metered => seen.metered == Some(true),
            RuleId::Busy => {
                let is_busy = seen.others_cpu_percent.is_some_and(|percent| percent > self.rules.busy_above);
                is_busy && self.away_at().is_some_and(|away| self.now < away)
            }
        }
    }

    /// When nobody will have been there for a while, if nobody comes: whoever senses does not tell that time goes by.
    fn away_at(&self) -> Option<Moment> {
        let left = self.rules.away_after.checked_sub(self.evidence.input_idle?)?;
        Some(self.seen + left)
    }

    fn decide(&self) -> Share {
        let share = |state, reason, until| Share { state, reason, until, rule: None };
        if self.anyway.is_some() {
            return share(State::On, Reason::Overridden, self.anyway);
        }
        match self.wish {
            Wish::Off => return share(State::Off, Reason::Off, None),
            Wish::FleetOnly => return share(State::Off, Reason::FleetOnly, None),
            Wish::Paused(Some(until)) => return share(State::Paused, Reason::PausedUntil, Some(until)),
            Wish::Paused(None) => return share(State::Paused, Reason::Paused, None),
            Wish::Finish if self.guests > 0 => return share(State::Draining, Reason::Finishing, None),
            Wish::Finish => return share(State::Paused, Reason::Finished, None),
            Wish::On => {}
        }
        let active = RuleId::ALL.into_iter().find(|rule| self.phase(*rule) == Phase::Active).map(|rule| (rule, None));
        let leaving = || {
            let leaving = RuleId::ALL.into_iter().filter_map(|rule| match self.phase(rule) {
                Phase::Leaving(until) => Some((rule, Some(until))),
                _ => None,
            });
            // The first of those that end last.
            leaving.rev().max_by_key(|(_, until)| *until)
        };
        match active.or_else(leaving) {
            Some((rule, until)) => Share { state: State::Paused, reason: rule.reason(), until, rule: Some(rule) },
            None => share(State::On, Reason::Sharing, None),
        }
    }
}
