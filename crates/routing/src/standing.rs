//! Answers, for one request, who could serve it now, without changing anything.

use std::cmp::Ordering;
use std::time::Duration;

use proto::{Api, BackendId, Candidate, ModelName, Moment};

use crate::Refusal;
use crate::breaker::Admission;
use crate::fleet::{Backend, Fleet, Lane, Place};

/// What decides who can serve a request; requests with equal wants wait in one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Want {
    pub(crate) models: Vec<ModelName>,
    pub(crate) api: Api,
    pub(crate) excluded: Vec<BackendId>,
    /// How much longer than others it may take to its first content; `None`: however long it takes.
    pub(crate) allowance: Option<Duration>,
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
    /// All that could serve work for others; `again`: when time alone may change that.
    Busy { again: Option<Moment> },
    /// Backends have the model, but none of them is well; `again` as above.
    Stranded { again: Option<Moment> },
    /// There is nobody to wait for.
    Hopeless,
}

/// A place with room, and what would be used of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) place: Place,
    pub(crate) room: Room,
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
        let mut somebody = false;
        let mut again = None;
        for (model, places) in self.holders(&want.models) {
            let mut look = Look { again, ..Look::default() };
            for &place in places {
                let backend = self.backend(place);
                let speaks = backend.state.serves.has(want.api);
                if !speaks || except == Some(place.backend) || want.excluded.contains(&backend.state.id) {
                    continue;
                }
                somebody = true;
                if backend.is_up() {
                    look.at(place, backend, self.lane(place), want.api, now);
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
            if look.is_sound {
                return Standing::Busy { again: look.again };
            }
            again = look.again;
        }
        if somebody { Standing::Stranded { again } } else { Standing::Hopeless }
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
            let rest = (!lane.loaded, backend.load(), lane.granted[usize::from(!api.needs_slot())]);
            (u64::from(lane.working), slots, rest)
        };
        let ((working_a, slots_a, rest_a), (working_b, slots_b, rest_b)) = (rank(a), rank(b));
        (working_a * slots_b).cmp(&(working_b * slots_a)).then(rest_a.cmp(&rest_b))
    }

    /// What is stored of `choice` with the trace.
    pub(crate) fn candidate(&self, choice: &Choice, api: Api) -> Candidate {
        let (backend, lane) = (self.backend(choice.place), self.lane(choice.place));
        Candidate {
            backend: backend.state.id.clone(),
            in_flight: lane.working,
            slots: backend.slots(lane, Some(api)),
            loaded: lane.loaded,
            thermal: if lane.loaded { 50.0 } else { 10.0 },
            queue_depth: -(6.0 * f64::from(lane.working)).min(30.0),
        }
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
    /// Whether any backend is trusted, busy or not.
    is_sound: bool,
    again: Option<Moment>,
}

impl Look {
    fn at(&mut self, place: Place, backend: &Backend, lane: &Lane, api: Api, now: Moment) {
        let is_light = !api.needs_slot();
        let slot = Choice { place, room: if is_light { Room::Light } else { Room::Slot } };
        let has_slot = is_light || backend.has_free_slot(lane, api);
        match backend.breaker.admission(backend.working, now) {
            Admission::Broken { until } => self.wake_at(until),
            Admission::Trial { unhurried } if has_slot => {
                if is_light || now >= unhurried {
                    self.free.push(slot);
                } else {
                    self.wake_at(Some(unhurried));
                    self.trials.push(slot);
                }
            }
            Admission::Trial { .. } => {}
            Admission::Sound { has_room } => {
                self.is_sound = true;
                if has_slot && (has_room || is_light) {
                    self.free.push(slot);
                } else if has_room && backend.can_learn(lane, api) {
                    match lane.learning.next_probe() {
                        Some(next) if next <= now => self.probes.push(Choice { place, room: Room::Probe }),
                        next => self.wake_at(next),
                    }
                }
            }
        }
    }

    fn wake_at(&mut self, moment: Option<Moment>) {
        self.again = [self.again, moment].into_iter().flatten().min();
    }
}
