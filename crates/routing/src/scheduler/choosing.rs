//! Chooses, for one request, the lane that will have answered it first, without changing anything.

use std::cell::Cell;
use std::time::Duration;

use proto::{Candidate, Moment, Predicted};

use super::affinity::Home;
use super::board::{Board, Node, Usual};
use super::lane::Lane;
use super::predicting::{Place, Scene};
use super::want::{Facts, Unfit, Want, fit};
use super::words::{Priority, Scoring, Zone};
use crate::breaker::Admission;
use crate::points::{self, Heat};

/// Requests that a node may hold beyond its slots while nobody leads.
pub(super) const PARKED: u32 = 32;
/// Only work that is shorter than this is worth being sent ahead of its slot.
const SHORT: Duration = Duration::from_millis(200);
/// Requests that may be sent ahead of their slots, to one lane.
const MOST_CREDIT: u32 = 8;
/// Of those that differ by no more than this share, or by no more than a millisecond, the less loaded one is chosen.
const TIE: f64 = 0.02;
const TIE_MS: f64 = 1.0;
/// A conversation stays where it is unless it is better elsewhere by this share, or by so many milliseconds.
const STAYS: f64 = 0.2;
const STAYS_MS: f64 = 250.0;
/// Where nobody knows how long requests take.
const USUAL_SERVICE: Duration = Duration::from_secs(5);
/// Candidates that are told of a decision.
const TOLD: usize = 16;

/// How a request stands.
#[derive(Debug)]
pub(super) enum Decision {
    /// There is room for it.
    Go(Box<Pick>),
    /// The best is to wait for this lane.
    Wait {
        /// The lane.
        lane: usize,
        /// Until its turn there, in milliseconds.
        queue_ms: f64,
    },
    /// Nobody is to be waited for that works at the moment.
    Nobody,
}

/// Where a request goes.
#[derive(Debug)]
pub(super) struct Pick {
    pub(super) lane: usize,
    /// Which of the wanted models.
    pub(super) model: usize,
    /// Whether it is one more than the known slots, to learn whether there are more.
    pub(super) is_probe: bool,
    pub(super) ahead: u32,
    pub(super) patience: Option<Duration>,
    pub(super) is_hot: bool,
    pub(super) candidates: Vec<Candidate>,
}

/// Requests that were passed over in this round, by the lane that they wait for.
#[derive(Debug, Default)]
pub(super) struct Reserved(Vec<(usize, u32)>);

impl Reserved {
    pub(super) fn add(&mut self, lane: usize) {
        match self.0.iter_mut().find(|(at, _)| *at == lane) {
            Some((_, requests)) => *requests += 1,
            None => self.0.push((lane, 1)),
        }
    }

    /// So many more wait for any of `lanes`: each gets its share, going by how fast it is.
    pub(super) fn spread(&mut self, requests: usize, lanes: &[usize], board: &Board) {
        let rate = |at: &usize| {
            let lane = board.lane(*at)?;
            let service = lane.service().unwrap_or(USUAL_SERVICE).as_secs_f64().max(0.001);
            Some((*at, f64::from(lane.slots()) / service)).filter(|_| lane.is_hot())
        };
        let rates: Vec<(usize, f64)> = lanes.iter().filter_map(rate).collect();
        let all: f64 = rates.iter().map(|(_, rate)| rate).sum();
        for (at, rate) in rates {
            let share = (requests as f64 * rate / all).round() as u32;
            match self.0.iter_mut().find(|(known, _)| *known == at) {
                Some((_, reserved)) => *reserved = reserved.saturating_add(share),
                None => self.0.push((at, share)),
            }
        }
    }

    pub(super) fn at(&self, lane: usize) -> u32 {
        self.0.iter().find(|(at, _)| *at == lane).map_or(0, |(_, requests)| *requests)
    }
}

/// What choices are made by.
#[derive(Clone, Copy)]
pub(super) struct Chooser<'a> {
    pub(super) board: &'a Board,
    pub(super) scoring: Scoring,
    pub(super) is_leading: bool,
    pub(super) seed: u64,
    pub(super) now: Moment,
    /// The first moment at which time alone opens a lane that was found shut.
    pub(super) again: &'a Cell<Option<Moment>>,
}

/// One lane that may serve the request.
struct Choice<'a> {
    at: usize,
    place: Place<'a>,
    predicted: Predicted,
    total_ms: f64,
    points: Option<f64>,
    in_flight: u32,
    is_free: bool,
    credit: u32,
    is_trial: bool,
    is_short: bool,
    loads_another: bool,
}

/// Whether a lane takes one more request.
enum Open {
    Sound {
        is_free: bool,
    },
    /// It failed; one request may try, at once or only if nobody else can do the work.
    Trial {
        is_free: bool,
        hurry: bool,
    },
}

impl<'a> Chooser<'a> {
    fn wake(&self, at: Option<Moment>) {
        let at = at.filter(|at| *at > self.now);
        self.again.set([self.again.get(), at].into_iter().flatten().min());
    }

    /// The lane at `at` with its node.
    fn find(&self, at: usize) -> Option<(&'a Lane, &'a Node)> {
        let lane = self.board.lane(at)?;
        Some((lane, self.board.node_of(lane)?))
    }

    /// Requests of this door that `lane` may hold beyond its slots, so that it is not idle while the next one is on its
    /// way.
    pub(super) fn credit(&self, lane: &Lane, node: &Node, door_rtt: Duration) -> u32 {
        let Some(service) = lane.service().filter(|service| *service < SHORT) else { return 0 };
        let path = door_rtt + door_rtt.max(node.rtt);
        let requests = path.as_nanos().div_ceil(service.as_nanos().max(1));
        u32::try_from(requests).unwrap_or(u32::MAX).min(MOST_CREDIT)
    }

    /// Whether `lane` is well, and has room.
    fn open(&self, lane: &Lane, in_flight: u32, credit: u32) -> Result<Open, Unfit> {
        if let Some(until) = lane.rests(self.now) {
            self.wake(Some(until));
            return Err(Unfit::Rests(Some(until)));
        }
        let beyond = if self.is_leading { credit } else { PARKED };
        let full_until = lane.is_full_until(self.now);
        self.wake(full_until);
        let has_slot = full_until.is_none() && in_flight < lane.slots().saturating_add(beyond);
        match lane.admission(!self.is_leading, self.now) {
            Admission::Sound { has_room } => {
                if !has_room {
                    self.wake(lane.unproven_until(self.now));
                }
                Ok(Open::Sound { is_free: has_slot && has_room })
            }
            Admission::Trial { unhurried } => {
                self.wake(Some(unhurried));
                Ok(Open::Trial { is_free: has_slot, hurry: self.now < unhurried })
            }
            Admission::Broken { until } => {
                self.wake(until);
                Err(Unfit::Rests(until))
            }
        }
    }

    /// Whether any lane has room for `want`, and how soon it goes: 0 on its own machine, 1 elsewhere, 2 if it can wait.
    pub(super) fn rank(&self, want: &Want, door_rtt: Duration) -> Option<u8> {
        let mut best: Option<u8> = None;
        for (model, lanes, _) in self.board.holders(&want.models) {
            for &at in lanes {
                let Some((lane, node)) = self.find(at) else { continue };
                let is_own = node.report.id == want.door;
                let rank = match want.priority {
                    Priority::Batch => 2,
                    Priority::Interactive => u8::from(!is_own),
                };
                if best.is_some_and(|best| best <= rank) || fit(want, &want.models[model], lane, node).is_err() {
                    continue;
                }
                if !want.api.needs_slot() {
                    best = Some(rank);
                    continue;
                }
                let in_flight = lane.in_flight(node.reported);
                let is_free = match self.open(lane, in_flight, self.credit(lane, node, door_rtt)) {
                    Ok(Open::Sound { is_free } | Open::Trial { is_free, .. }) => is_free,
                    Err(_) => false,
                };
                if is_free || (self.is_leading && lane.may_probe(in_flight, self.now)) {
                    best = Some(rank);
                }
            }
        }
        best
    }

    /// Where a request goes, or what it waits for.
    pub(super) fn decide(&self, want: &Want, facts: &Facts, home: Option<Home>, reserved: &Reserved) -> Decision {
        let scene_of = |usual| Scene { usual, facts, home, is_near: false, now: self.now };
        let mut trial: Option<(usize, Vec<Choice>, Usual)> = None;
        let mut short: Option<(usize, Vec<Choice>, Usual)> = None;
        for (model, lanes, usual) in self.board.holders(&want.models) {
            let scene = scene_of(usual);
            let mut choices: Vec<Choice> = Vec::with_capacity(lanes.len());
            for &at in lanes {
                choices.extend(self.choice(want, model, at, &scene, reserved));
            }
            let (whole, cut): (Vec<Choice>, Vec<Choice>) = choices.into_iter().partition(|choice| !choice.is_short);
            for (is_whole, choices) in [(true, whole), (false, cut)] {
                let (trials, sound): (Vec<Choice>, Vec<Choice>) =
                    choices.into_iter().partition(|choice| choice.is_trial);
                if !sound.is_empty() && is_whole {
                    return self.best(want, &scene, model, sound);
                }
                if !sound.is_empty() {
                    short.get_or_insert((model, sound, usual));
                } else if trials.iter().any(|choice| choice.is_free) {
                    trial.get_or_insert((model, trials, usual));
                }
            }
        }
        match short.or(trial) {
            Some((model, choices, usual)) => self.best(want, &scene_of(usual), model, choices),
            None => Decision::Nobody,
        }
    }

    fn choice(&self, want: &Want, model: usize, at: usize, scene: &Scene, reserved: &Reserved) -> Option<Choice<'a>> {
        let (lane, node) = self.find(at)?;
        let is_short = fit(want, &want.models[model], lane, node).ok()?;
        let in_flight = lane.in_flight(node.reported);
        let credit = self.credit(lane, node, scene.facts.rtt);
        let (is_free, is_trial) = if !want.api.needs_slot() {
            (true, false)
        } else {
            match self.open(lane, in_flight, credit).ok()? {
                Open::Sound { is_free } => (is_free, false),
                Open::Trial { is_free, hurry } => (is_free, hurry),
            }
        };
        let place = Place { lane, node, ahead: in_flight.saturating_add(reserved.at(at)), slots: lane.slots() };
        let scene = Scene { is_near: node.report.id == want.door, ..*scene };
        let predicted = scene.predict(&place);
        let loads_another = !lane.is_hot() && self.board.loads_another(node, lane, self.now);
        let mut choice = Choice {
            at,
            place,
            predicted,
            total_ms: predicted.total_ms(),
            points: None,
            in_flight,
            is_free,
            credit,
            is_trial,
            is_short,
            loads_another,
        };
        if self.scoring == Scoring::Points {
            choice.points = Some(self.candidate(want, model, scene.facts, &choice).total());
        }
        Some(choice)
    }

    /// The best of `choices`, never none.
    fn best(&self, want: &Want, scene: &Scene, model: usize, mut choices: Vec<Choice>) -> Decision {
        let facts = scene.facts;
        // Two loads at once make both slower: only where nobody else could load it.
        if choices.iter().any(|choice| !choice.loads_another && !choice.place.lane.is_hot()) {
            choices.retain(|choice| !choice.loads_another);
        }
        let cost = |choice: &Choice| choice.points.map_or(choice.total_ms, |points| -points);
        choices.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
        let Some(first) = choices.first() else { return Decision::Nobody };
        let (least, by_points) = (cost(first), first.points.is_some());
        let bound = if by_points { least + 1e-9 } else { (least * (1.0 + TIE)).max(least + TIE_MS) };
        let ties = choices.iter().take_while(|choice| cost(choice) <= bound).count();
        let load = |choice: &Choice| f64::from(choice.place.ahead) / f64::from(choice.place.slots.max(1));
        choices[..ties].sort_by(|a, b| {
            let order = b.is_free.cmp(&a.is_free).then(load(a).total_cmp(&load(b)));
            order.then(a.place.lane.granted.cmp(&b.place.lane.granted))
        });
        let is_like = |a: &Choice, b: &Choice| {
            (a.is_free, a.place.lane.granted) == (b.is_free, b.place.lane.granted) && load(a) == load(b)
        };
        let equal = choices[..ties].iter().take_while(|choice| is_like(choice, &choices[0])).count();
        choices[..equal].rotate_left((self.seed % equal.max(1) as u64) as usize);
        if let Some(home) = scene.home.filter(|_| !by_points)
            && let Some(at) = choices.iter().position(|choice| choice.place.lane.serial == home.lane)
        {
            let own = choices[at].total_ms;
            if own - choices[0].total_ms <= (own * STAYS).min(STAYS_MS) {
                choices[..=at].rotate_right(1);
            }
        }
        let chosen = &choices[0];
        let is_probe = !chosen.is_free
            && self.is_leading
            && want.api.needs_slot()
            && chosen.place.ahead == chosen.in_flight
            && chosen.place.lane.may_probe(chosen.in_flight, self.now);
        if !chosen.is_free && !is_probe {
            return Decision::Wait { lane: chosen.at, queue_ms: chosen.predicted.load_ms + chosen.predicted.queue_ms };
        }
        let is_bound = want.only.is_some() || want.zone == Zone::Node;
        let patience = (!is_bound).then(|| scene.patience(&chosen.place, &chosen.predicted));
        Decision::Go(Box::new(Pick {
            lane: chosen.at,
            model,
            is_probe,
            ahead: if self.is_leading { chosen.credit + 2 } else { PARKED },
            patience,
            is_hot: chosen.place.lane.is_hot(),
            candidates: choices.iter().take(TOLD).map(|choice| self.candidate(want, model, facts, choice)).collect(),
        }))
    }

    /// What is told of `choice`.
    fn candidate(&self, want: &Want, model: usize, facts: &Facts, choice: &Choice) -> Candidate {
        let Place { lane, node, slots, .. } = choice.place;
        let mut candidate = Candidate {
            node: (node.report.id != want.door).then(|| node.report.name.clone()),
            backend: lane.backend.id.clone(),
            in_flight: choice.in_flight,
            slots,
            loaded: lane.is_hot(),
            predicted: Some(choice.predicted),
            ..Candidate::default()
        };
        let heat = match (lane.memory, lane.unloaded) {
            (Some(_), _) => Heat::Loaded,
            (None, Some(since)) => Heat::Unloaded(self.now.since(since)),
            (None, None) => Heat::OnDisk,
        };
        points::Facts {
            heat,
            model: want.models[model].as_str(),
            bytes: lane.bytes(),
            memory: node.report.memory,
            depth: choice.place.ahead,
            usual: lane.usual(),
            context: lane.memory.and_then(|memory| memory.context),
            tokens: facts.prompt,
        }
        .put(&mut candidate);
        candidate
    }
}
