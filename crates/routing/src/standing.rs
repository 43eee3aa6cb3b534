//! Answers, for one request, who could serve it now, without changing anything.

use std::cmp::Ordering;
use std::time::Duration;

use proto::{Api, BackendId, Candidate, ModelName, Moment, Predicted};

use crate::breaker::Admission;
use crate::context::Need;
use crate::fleet::{Backend, Fleet, Place};
use crate::lane::{Lane, LaneFit};
use crate::points::{self, Heat};
use crate::queue::Wanted;
use crate::{Refusal, Verdict};

/// What decides who can serve a request; requests with equal wants wait in one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Want {
    pub(crate) models: Vec<ModelName>,
    pub(crate) api: Api,
    pub(crate) excluded: Vec<BackendId>,
    /// How much longer than others it may take to its first content; `None`: however long it takes.
    pub(crate) allowance: Option<Duration>,
    /// The context that it needs.
    pub(crate) need: Need,
}

impl Wanted for Want {
    fn domain(&self) -> Option<&ModelName> {
        self.models.first()
    }

    fn is_retry(&self) -> bool {
        !self.excluded.is_empty()
    }
}

/// How a request stands.
#[derive(Debug)]
pub(crate) enum Standing {
    /// These have room for it, best first, never none.
    Free {
        /// The model that they would serve, by its index.
        model: usize,
        places: Vec<Choice>,
    },
    /// All that could serve work for others or must load the model first; `again`: when time alone may change that.
    Busy {
        again: Option<Moment>,
        /// Where it waits, if at a backend whose loads are ours.
        at: Option<WaitsAt>,
    },
    /// Backends have the model, but none of them is well; `again` as above.
    Stranded { again: Option<Moment> },
    /// There is nobody to wait for.
    Hopeless,
    /// There is, but in vain.
    Refused(Refusal),
}

/// Where a request waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitsAt {
    pub(crate) place: Place,
    /// The model that it waits for, by its index.
    pub(crate) model: usize,
    /// Whether the model must be loaded first, and with how much context.
    pub(crate) load: Option<Option<u64>>,
}

/// A place with room, and what would be used of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) place: Place,
    pub(crate) room: Room,
    /// The context to name.
    pub(crate) context: Option<u64>,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// A slot within the backend's window, or the one try of a backend that failed before.
    Slot,
    /// One more than the known slots, to learn whether there are more.
    Probe,
    /// The request needs no slot.
    Light,
}

impl Fleet {
    /// How `want` stands at `now`, leaving the backend at `except` out.
    pub(crate) fn standing(&self, want: &Want, except: Option<usize>, now: Moment) -> Standing {
        let mut short = Short::default();
        let standing = self.standing_among(want, except, now, &mut short, false);
        match (standing, short) {
            // Nothing holds it as a whole.
            (Standing::Hopeless, Short { can_try: true, .. }) => {
                self.standing_among(want, except, now, &mut Short::default(), true)
            }
            (Standing::Hopeless, Short { most: Some((most, needed)), .. }) => {
                Standing::Refused(Refusal::ContextTooLong { needed, most })
            }
            (standing, _) => standing,
        }
    }

    /// As above; `any_size`: also among those that cannot hold it as a whole, which are otherwise put down in `short`.
    fn standing_among(
        &self,
        want: &Want,
        except: Option<usize>,
        now: Moment,
        short: &mut Short,
        any_size: bool,
    ) -> Standing {
        let mut somebody = false;
        let mut again = None;
        let mut failed: Option<Place> = None;
        let mut somebody_rests = false;
        for (model, places) in self.holders(&want.models) {
            let mut look = Look { again, ..Look::default() };
            for &place in places {
                let backend = self.backend(place);
                let speaks = backend.state.serves.has(want.api);
                if !speaks || except == Some(place.backend) || want.excluded.contains(&backend.state.id) {
                    continue;
                }
                let lane = self.lane(place);
                let fit = lane.fit(&backend.state, want);
                if short.takes(&fit, any_size) {
                    continue;
                }
                somebody = true;
                if backend.is_up() {
                    look.at(place, backend, lane, want.api, fit, now);
                }
            }
            let mut places = if !look.free.is_empty() {
                look.free
            } else if !look.is_sound && !look.trials.is_empty() {
                look.trials
            } else {
                look.probes
            };
            if !places.is_empty() {
                places.sort_by(|a, b| self.order(a, b, want.api));
                return Standing::Free { model, places };
            }
            let load = look.loads.into_iter().min_by_key(|(place, _)| self.load_rank(*place, now));
            if look.is_sound || load.is_some() {
                let serving = look.serving.map(|place| WaitsAt { place, model, load: None });
                let at = serving.or(load.map(|(place, context)| WaitsAt { place, model, load: Some(context) }));
                return Standing::Busy { again: look.again, at };
            }
            again = look.again;
            failed = failed.or(look.failed);
            somebody_rests |= look.rests;
        }
        match failed.map(|place| self.lane(place)) {
            Some(lane) if !somebody_rests => match &lane.turn.failure {
                Some(failure) if failure.is_told => Standing::Refused(Refusal::LoadFailed {
                    model: lane.model().to_string(),
                    reason: failure.reason.clone(),
                    retry_after: failure.until.since(now).max(Duration::from_secs(1)),
                }),
                _ => Standing::Busy { again, at: None },
            },
            _ if somebody => Standing::Stranded { again },
            _ => Standing::Hopeless,
        }
    }

    /// Where a load is best: not where one takes far too long, else where it goes on, where there is room, where it is fast.
    pub(crate) fn load_rank(&self, place: Place, now: Moment) -> impl Ord + use<> {
        let (backend, lane) = (self.backend(place), self.lane(place));
        let loads = backend.loads.as_ref();
        let is_overdue = loads.is_some_and(|loads| loads.is_overdue(now));
        let is_loading = loads.is_some_and(|loads| loads.is_for(lane));
        let has_room = loads.is_some_and(|loads| loads.has_room(backend, now));
        (is_overdue, !is_loading, !has_room, lane.turn.load_time(None), place)
    }

    /// Whether a backend that is trusted, other than the one at `except`, has a slot for `want` right now.
    pub(crate) fn has_room(&self, want: &Want, except: usize, now: Moment) -> bool {
        let Standing::Free { places, .. } = self.standing(want, Some(except), now) else { return false };
        places.iter().filter(|choice| choice.room == Room::Slot).any(|choice| {
            let backend = self.backend(choice.place);
            matches!(backend.breaker.admission(backend.working, now), Admission::Sound { .. })
        })
    }

    /// Less loaded for its slots first, then the one with the model in memory, then the one with less work in all, then
    /// the one whose last turn is longest ago.
    pub(crate) fn order(&self, a: &Choice, b: &Choice, api: Api) -> Ordering {
        let rank = |choice: &Choice| {
            let (backend, lane) = (self.backend(choice.place), self.lane(choice.place));
            let slots = u64::from(backend.slots(lane, Some(api)).max(1));
            let rest = (!lane.is_loaded(), backend.load(), lane.granted[usize::from(!api.needs_slot())]);
            (u64::from(lane.working), slots, rest)
        };
        let ((working_a, slots_a, rest_a), (working_b, slots_b, rest_b)) = (rank(a), rank(b));
        (working_a * slots_b).cmp(&(working_b * slots_a)).then(rest_a.cmp(&rest_b))
    }

    /// What is stored of `choice` with the trace.
    pub(crate) fn candidate(&self, choice: &Choice, want: &Want, model: usize) -> Candidate {
        let (backend, lane) = (self.backend(choice.place), self.lane(choice.place));
        let api = want.api;
        let facts = points::Facts {
            heat: if lane.is_loaded() { Heat::Loaded } else { Heat::OnDisk },
            model: lane.model().as_str(),
            bytes: Some(lane.bytes())
                .filter(|&bytes| bytes > 0)
                .or_else(|| backend.state.model(want.models.get(model)?)?.size),
            memory: backend.loads.as_ref().and_then(|loads| loads.room.bytes).map(|(free, total)| (total, free)),
            depth: lane.working,
            usual: lane.turn.answers.get(),
            context: lane.memory.and_then(|memory| memory.context),
            tokens: want.need.likely,
        };
        let predicted = lane.turn.answers.get().map(|service| {
            let all = service.as_secs_f64() * 1000.0;
            let reads = lane.turn.rates.prefill.map_or(0.0, |rate| want.need.likely as f64 / rate.max(0.1) * 1000.0);
            Predicted { prefill_ms: reads, decode_ms: (all - reads).max(0.0), ..Predicted::default() }
        });
        let mut candidate = Candidate {
            backend: backend.state.id.clone(),
            in_flight: lane.working,
            slots: backend.slots(lane, Some(api)),
            loaded: lane.is_loaded(),
            predicted,
            ..Candidate::default()
        };
        facts.put(&mut candidate);
        candidate
    }

    /// Why nobody can be waited for.
    pub(crate) fn refusal(&self, want: &Want) -> Refusal {
        let model = || want.models.first().map(ToString::to_string).unwrap_or_default();
        let Some((first, _)) = self.holders(&want.models).next() else {
            return if self.is_silent() { Refusal::NoBackend } else { Refusal::UnknownModel { model: model() } };
        };
        let holders =
            || self.holders(&want.models).flat_map(|(_, places)| places).map(|&place| &self.backend(place).state);
        if holders().any(|state| state.serves.has(want.api)) {
            return Refusal::Exhausted { tried: want.excluded.len() };
        }
        let mut backends: Vec<String> =
            holders().map(|state| format!("{} ({})", state.id, state.kind.as_str())).collect();
        backends.sort();
        backends.dedup();
        Refusal::NotSpoken { model: want.models[first].to_string(), backends }
    }

    /// The first of the wanted models that any backend has, or else the one that was asked for.
    pub(crate) fn known_model(&self, want: &Want) -> String {
        let known = self.holders(&want.models).next().map_or(0, |(model, _)| model);
        want.models.get(known).map(ToString::to_string).unwrap_or_default()
    }

    /// Where a waiting request is counted: the first place that may serve it one day, if possible one that is up.
    pub(crate) fn expected_place(&self, want: &Want) -> Option<Place> {
        let may = |place: &&Place| {
            let state = &self.backend(**place).state;
            state.serves.has(want.api) && !want.excluded.contains(&state.id)
        };
        let all = || self.holders(&want.models).flat_map(|(_, places)| places).filter(may);
        all().find(|place| self.backend(**place).is_up()).or_else(|| all().next()).copied()
    }
}

/// What was seen of the places of one model.
#[derive(Default)]
struct Look {
    free: Vec<Choice>,
    /// Backends that failed, rested, and may be tried if nobody else can do the work.
    trials: Vec<Choice>,
    probes: Vec<Choice>,
    /// Places where the model can be loaded for it, and with how much context.
    loads: Vec<(Place, Option<u64>)>,
    /// A place that will serve it without a load.
    serving: Option<Place>,
    /// A place where the model could not be loaded just now.
    failed: Option<Place>,
    /// Whether a backend rests that may serve it afterwards.
    rests: bool,
    /// Whether any backend is trusted, busy or not.
    is_sound: bool,
    again: Option<Moment>,
}

/// What was seen of places that cannot hold a request as a whole.
#[derive(Default)]
struct Short {
    /// Whether one of them may be tried all the same, be it that the client expects it.
    can_try: bool,
    /// The most that one of them can hold, and what is needed there.
    most: Option<(u64, u64)>,
}

impl Short {
    /// Whether it is a place of that kind, and not to be looked at unless `any_size`.
    fn takes(&mut self, fit: &LaneFit, any_size: bool) -> bool {
        match *fit {
            LaneFit::Ready { .. } | LaneFit::Load { .. } => false,
            LaneFit::Tight | LaneFit::Cut { .. } | LaneFit::CutAfterLoad { .. } => {
                self.can_try = true;
                !any_size
            }
            LaneFit::TooLong { needed, most } => {
                self.most = self.most.max(Some((most, needed)));
                true
            }
        }
    }
}

impl Look {
    fn at(&mut self, place: Place, backend: &Backend, lane: &Lane, api: Api, fit: LaneFit, now: Moment) {
        let (context, verdict) = match fit {
            LaneFit::Ready { context, verdict } => (context, verdict),
            LaneFit::Cut { context } => (Some(context), Verdict::Cut),
            LaneFit::Load { context } => return self.load_at(place, backend, lane, context, now),
            LaneFit::CutAfterLoad { context } => return self.load_at(place, backend, lane, Some(context), now),
            LaneFit::Tight | LaneFit::TooLong { .. } => (None, Verdict::Passed),
        };
        let is_light = !api.needs_slot();
        let slot = Choice { place, room: if is_light { Room::Light } else { Room::Slot }, context, verdict };
        let is_held = lane.hold.is_some() && !is_light;
        let has_slot = is_light || (!is_held && backend.has_free_slot(lane, api));
        match backend.breaker.admission(backend.working, now) {
            Admission::Broken { until } => {
                self.rests = true;
                self.wake_at(until);
            }
            Admission::Trial { unhurried } if has_slot => {
                if is_light || now >= unhurried {
                    self.free.push(slot);
                } else {
                    self.wake_at(Some(unhurried));
                    self.trials.push(slot);
                }
            }
            Admission::Trial { .. } => self.rests = true,
            Admission::Sound { has_room } => {
                self.is_sound = true;
                // One that is held may be gone when its time has come: another that has the model will serve sooner.
                if !is_held || self.serving.is_none() {
                    self.serving = backend.loads.is_some().then_some(place);
                }
                if has_slot && (has_room || is_light) {
                    self.free.push(slot);
                } else if has_room && !is_held && backend.can_learn(lane, api) {
                    match lane.learning.next_probe() {
                        Some(next) if next <= now => self.probes.push(Choice { room: Room::Probe, ..slot }),
                        next => self.wake_at(next),
                    }
                }
            }
        }
    }

    /// The model must be loaded there first.
    fn load_at(&mut self, place: Place, backend: &Backend, lane: &Lane, context: Option<u64>, now: Moment) {
        if let Admission::Broken { until } = backend.breaker.admission(backend.working, now) {
            self.rests = true;
            return self.wake_at(until);
        }
        match lane.failing {
            Some(until) if now < until => {
                self.failed.get_or_insert(place);
                self.wake_at(Some(until));
            }
            _ => self.loads.push((place, context)),
        }
    }

    fn wake_at(&mut self, moment: Option<Moment>) {
        self.again = [self.again, moment].into_iter().flatten().min();
    }
}
