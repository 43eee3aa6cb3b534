//! Decides what one backend loads or unloads next, and which of its models begin nothing new meanwhile.
//!
//! Worked out anew each time from what waits, works and is in memory, so that nothing here can be out of date; what lasts
//! is the running job and when each model came into memory.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::{BackendKind, ModelName, Moment};

use super::leaving::Victim;
use super::room::Space;
use super::turn::{least, overdue};
use super::{Before, Current, JOB_LOST, Loads, Task};
use crate::fleet::{Backend, Place};
use crate::lane::{Hold, Lane};
use crate::standing::{WaitsAt, Want};
use crate::{Job, JobId, Output, Why};

/// A request has reached its server after this.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// What waits for one lane.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    /// The name by which it is wanted.
    pub(crate) name: Option<ModelName>,
    /// Requests that it can serve as it is loaded.
    pub(crate) serving: usize,
    /// Requests for which it must be loaded.
    pub(crate) loads: usize,
    /// With so much context, where it takes one.
    pub(crate) context: Option<u64>,
    /// What the largest of these needs.
    pub(crate) needed: u64,
}

impl Demand {
    /// So many requests that want `want` wait here.
    pub(crate) fn add(&mut self, want: &Want, at: WaitsAt, waiting: usize) {
        match at.load {
            None => self.serving += waiting,
            Some(context) => {
                self.loads += waiting;
                self.context = self.context.max(context);
                // One that will be cut needs no more than there is.
                self.needed = self.needed.max(want.need.whole().min(context.unwrap_or_default()));
                self.name = self.name.take().or_else(|| want.models.get(at.model).cloned());
            }
        }
    }
}

/// What waits for each lane.
pub(crate) type Demands = BTreeMap<Place, Demand>;

/// What comes of it.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    pub(crate) output: Option<Output>,
    /// When to plan again at the latest.
    pub(crate) wake: Option<Moment>,
    /// Whether something goes on or is wished for, so that each change matters.
    pub(crate) is_active: bool,
    /// Whether a lane may begin new work that it could not before.
    pub(crate) has_released: bool,
}

/// Plans for `backend`, which is the one at `at`. `next` is the number of the next job.
pub(crate) fn plan(at: usize, backend: &mut Backend, demands: &Demands, next: &mut JobId, now: Moment) -> Planned {
    let Some(loads) = backend.loads.take() else { return Planned::default() };
    let mut planning = Planning { at, backend, loads, demands, now, wake: None, holds: Vec::new() };
    planning.holds.resize(planning.backend.lanes.len(), None);
    planning.look();
    let decision = planning.decide();
    let output = decision.map(|decision| planning.begin(decision, next));
    let has_released = planning.apply_holds();
    let Planning { backend, loads, wake, holds, .. } = planning;
    let is_pending =
        |lane: &Lane| lane.turn.wants_since.is_some() || lane.turn.assumed.is_some() || lane.turn.wishes.are_pending();
    let is_active = loads.job.is_some()
        || loads.confirm.is_some()
        || holds.iter().any(Option::is_some)
        || backend.lanes.iter().any(is_pending);
    backend.loads = Some(loads);
    Planned { output, wake, is_active, has_released }
}

pub(super) struct Planning<'a> {
    pub(super) at: usize,
    pub(super) backend: &'a mut Backend,
    pub(super) loads: Box<Loads>,
    pub(super) demands: &'a Demands,
    pub(super) now: Moment,
    wake: Option<Moment>,
    /// One for each lane.
    holds: Vec<Option<Hold>>,
}

struct Decision {
    lane: usize,
    name: Option<ModelName>,
    task: Task,
    holds_others: bool,
    why: Why,
}

impl Planning<'_> {
    /// Brings what is known of each lane up to now.
    fn look(&mut self) {
        for at in 0..self.backend.lanes.len() {
            let wants = self.demand(at).is_some_and(|demand| demand.loads > 0);
            let now = self.now;
            let lane = &mut self.backend.lanes[at];
            lane.turn.wants_since = wants.then(|| lane.turn.wants_since.unwrap_or(now));
            if let Some(assumed) = lane.turn.assumed {
                if assumed.until <= now {
                    lane.believe(now);
                } else {
                    self.wake_at(assumed.until);
                }
            }
        }
    }

    fn decide(&mut self) -> Option<Decision> {
        if !self.backend.is_up() {
            return None;
        }
        if let Some(job) = &mut self.loads.job {
            let others = self.backend.lanes.iter().filter(|lane| !lane.has(&job.model));
            if job.released.is_none() && others.map(|lane| lane.working).sum::<u32>() == 0 {
                job.released = Some(self.now + job.overdue.since(job.began));
            }
            let is_released = job.released.is_some_and(|until| until <= self.now);
            let (ends, holds_others) = (job.began + JOB_LOST, job.holds_others && !is_released);
            let wakes = [Some(job.overdue), job.released].into_iter().flatten().filter(|at| *at > self.now).min();
            for (hold, lane) in self.holds.iter_mut().zip(&self.backend.lanes) {
                *hold = (holds_others || lane.has(&job.model)).then_some(Hold::Job);
            }
            self.wake_at(wakes.map_or(ends, |until| until.min(ends)));
            return None;
        }
        if let Some(until) = self.loads.confirm {
            if self.now < until {
                let before = self.loads.before.as_ref();
                for (hold, lane) in self.holds.iter_mut().zip(&self.backend.lanes) {
                    *hold = before.is_some_and(|before| before.has(lane)).then_some(Hold::Job);
                }
                self.wake_at(until);
                return None;
            }
            self.loads.confirm = None;
        }
        self.unwanted().or_else(|| self.wanted()).or_else(|| self.wished())
    }

    /// A model that somebody wishes away and nobody needs.
    fn unwanted(&mut self) -> Option<Decision> {
        for at in 0..self.backend.lanes.len() {
            let lane = &self.backend.lanes[at];
            if !lane.turn.wishes.unload || !lane.is_loaded() {
                continue;
            }
            if !lane.turn.wishes.deleted.is_empty() {
                self.holds[at] = Some(Hold::Delete);
            } else if self.is_wanted(at) {
                continue;
            }
            if lane.working == 0 && !self.is_stuck(at) {
                return Some(self.unload(at, Why::Wished));
            }
        }
        None
    }

    /// What must be done first for the requests that wait.
    fn wanted(&mut self) -> Option<Decision> {
        let lanes = self.backend.lanes.iter().enumerate();
        let mut wanting: Vec<(Moment, usize)> =
            lanes.filter_map(|(at, lane)| Some((lane.turn.wants_since?, at))).collect();
        wanting.sort_unstable();
        // Whoever waits for room has the next that there is.
        let mut is_taken = false;
        for (_, at) in wanting {
            let Some(demand) = self.demand(at).cloned() else { continue };
            let lane = &self.backend.lanes[at];
            if lane.failing.is_some_and(|until| self.now < until) {
                continue;
            }
            let load = lane.turn.load_time(demand.context);
            let is_reload = lane.is_loaded();
            if is_taken && !is_reload {
                continue;
            }
            let space = self.space(at, demand.context);
            let mut is_certain = space == Space::Certain;
            if space == Space::Full {
                match self.victim(at, load, false) {
                    Victim::Lane(victim) => {
                        self.holds[victim] = Some(Hold::Swap);
                        if self.backend.lanes[victim].working == 0 {
                            let wanted = demand.name.clone().unwrap_or_else(|| self.backend.lanes[at].model().clone());
                            return Some(self.unload(victim, Why::MakesRoom { wanted }));
                        }
                        is_taken = true;
                        continue;
                    }
                    Victim::At(moment) => {
                        self.wake_at(moment);
                        is_taken = true;
                        continue;
                    }
                    Victim::None => is_certain = false,
                }
            }
            let mut why = Why::Wanted { waiting: demand.loads };
            if is_reload {
                let lane = &self.backend.lanes[at];
                let stays = lane.turn.began + least(load);
                if self.now < stays && (lane.working > 0 || demand.serving > 0) {
                    self.wake_at(stays);
                    continue;
                }
                why = Why::Grows { from: lane.memory.and_then(|memory| memory.context).unwrap_or_default() };
                self.holds[at].get_or_insert(Hold::Grow);
            }
            // Of one that is not in memory, the last requests may still be ending, be it with an error.
            if self.backend.lanes[at].working > 0 {
                continue;
            }
            if !is_certain && self.is_somebody_on_the_way(at) {
                return None;
            }
            return Some(self.load(at, demand, !is_certain, why));
        }
        None
    }

    /// A model that somebody wishes for, once nobody waits.
    fn wished(&mut self) -> Option<Decision> {
        for at in 0..self.backend.lanes.len() {
            let (now, lane) = (self.now, &mut self.backend.lanes[at]);
            let Some(wish) = lane.turn.wishes.load else { continue };
            let is_there =
                lane.memory.is_some_and(|memory| wish.context.is_none_or(|wanted| memory.context >= Some(wanted)));
            let is_failing = lane.failing.is_some_and(|until| now < until);
            if is_there || now >= wish.until || is_failing {
                lane.turn.wishes.load = None;
                continue;
            }
            self.wake_at(wish.until);
            if self.backend.lanes.iter().any(|lane| lane.turn.wants_since.is_some()) {
                continue;
            }
            let lane = &self.backend.lanes[at];
            if lane.working > 0 || self.is_wanted(at) {
                continue;
            }
            let context = lane.wished_context(self.backend.state.kind, wish.context);
            let demand = Demand { context, needed: context.unwrap_or_default(), ..Demand::default() };
            let space = self.space(at, context);
            if space == Space::Full {
                let load = lane.turn.load_time(context);
                match self.victim(at, load, true) {
                    Victim::Lane(victim) => {
                        let wanted = self.backend.lanes[at].model().clone();
                        return Some(self.unload(victim, Why::MakesRoom { wanted }));
                    }
                    Victim::At(moment) => {
                        self.wake_at(moment);
                        continue;
                    }
                    Victim::None => continue,
                }
            }
            // Nobody who works is to be held up for a wish.
            let is_uncertain = space == Space::Uncertain;
            if is_uncertain && self.backend.working > 0 {
                continue;
            }
            return Some(self.load(at, demand, is_uncertain, Why::Wished));
        }
        None
    }

    /// Whether a request may not have reached its model yet, of those that the server may unload for lane `at`. It would do
    /// so before the request is there, and then load it again. Until then, nothing more is sent to any of them.
    fn is_somebody_on_the_way(&mut self, at: usize) -> bool {
        let others = || {
            let lanes = self.backend.lanes.iter().enumerate();
            lanes.filter(move |(other, lane)| *other != at && lane.is_loaded())
        };
        let begun = others().filter(|(_, lane)| lane.working > 0).map(|(_, lane)| lane.turn.used + ON_ITS_WAY).max();
        let Some(there) = begun.filter(|there| *there > self.now) else { return false };
        let held: Vec<usize> = others().map(|(other, _)| other).collect();
        held.into_iter().for_each(|other| _ = self.holds[other].get_or_insert(Hold::Job));
        self.wake_at(there);
        true
    }

    pub(super) fn demand(&self, lane: usize) -> Option<&Demand> {
        self.demands.get(&Place { backend: self.at, lane })
    }

    /// Whether the model works or has somebody to work for.
    pub(super) fn is_wanted(&self, at: usize) -> bool {
        self.backend.lanes[at].working > 0 || self.demand(at).is_some_and(|demand| demand.serving + demand.loads > 0)
    }

    pub(super) fn is_stuck(&mut self, at: usize) -> bool {
        let until = self.backend.lanes[at].turn.stuck_until;
        if until > self.now {
            self.wake_at(until);
        }
        until > self.now
    }

    fn load(&self, lane: usize, demand: Demand, holds_others: bool, why: Why) -> Decision {
        let wanted_since = self.backend.lanes[lane].turn.wants_since.unwrap_or(self.now);
        let from = self.backend.lanes[lane].memory.and_then(|memory| memory.context);
        let Demand { name, context, needed, .. } = demand;
        Decision { lane, name, task: Task::Load { context, needed, wanted_since, from }, holds_others, why }
    }

    fn unload(&self, lane: usize, why: Why) -> Decision {
        let state = &self.backend.state;
        let is_listed = |name: &&ModelName| state.model(name).is_some_and(|model| model.loaded.is_some());
        // The server knows what is in memory by the name that it was loaded with.
        let name = self.backend.lanes[lane].names.iter().find(is_listed).cloned();
        Decision { lane, name, task: Task::Unload, holds_others: false, why }
    }

    fn begin(&mut self, decision: Decision, next: &mut JobId) -> Output {
        let Decision { lane, name, task, holds_others, why } = decision;
        *next += 1;
        let lanes = &self.backend.lanes;
        for (at, hold) in self.holds.iter_mut().enumerate() {
            if holds_others || at == lane {
                *hold = Some(Hold::Job);
            }
        }
        let state = &self.backend.state;
        let lane = &lanes[lane];
        let name = name.filter(|name| lane.has(name)).unwrap_or_else(|| lane.model().clone());
        let model = state.model(&name).map_or_else(|| name.to_string(), |model| model.id.clone());
        let context = if let Task::Load { context, .. } = task { context } else { None };
        let is_embedding = match state.kind {
            BackendKind::Ollama => context.is_none(),
            _ => lane.only_makes_vectors(),
        };
        self.loads.before = matches!(task, Task::Load { .. }).then(|| {
            let others = lanes.iter().filter(|other| other.is_loaded() && !other.has(&name));
            let models = others.map(|other| other.model().clone()).collect();
            Before { models, until: self.now + JOB_LOST, has_failed: false }
        });
        let is_load = matches!(task, Task::Load { .. });
        let may_wait = holds_others && self.backend.working > 0;
        let overdue = self.now + overdue(if is_load { lane.turn.load_time(context) } else { Duration::ZERO });
        let (began, released) = (self.now, None);
        let job = Current { id: *next, model: name, began, overdue, released, task, holds_others, may_wait };
        self.loads.job = Some(job);
        let job = Job { id: *next, backend: state.clone(), model, context, is_embedding, why };
        self.wake_at(overdue);
        if is_load { Output::Load(job) } else { Output::Unload(job) }
    }

    /// Tells whether a lane is free that was held.
    fn apply_holds(&mut self) -> bool {
        let mut has_released = false;
        for (lane, hold) in self.backend.lanes.iter_mut().zip(&self.holds) {
            has_released |= lane.hold.is_some() && hold.is_none();
            lane.hold = *hold;
        }
        has_released
    }

    fn wake_at(&mut self, moment: Moment) {
        self.wake = Some(self.wake.map_or(moment, |wake| wake.min(moment)));
    }
}
