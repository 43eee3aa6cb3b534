//! The backends as the router sees them: what they say of themselves, what is in flight there, what was learnt.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::{Api, BackendId, BackendKind, BackendState, Health, ModelName, Moment};

use crate::breaker::Breaker;
use crate::lane::{Lane, is_managed};
use crate::loads::Loads;

/// Backends without work of which it is remembered what was learnt after they are gone; of more, the longest gone are
/// forgotten.
const REMEMBERED: usize = 16;

/// All backends, with an index from models to the lanes that serve them.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) backends: Vec<Backend>,
    by_model: BTreeMap<ModelName, Vec<Place>>,
    any_name: Vec<Place>,
}

/// A lane's position. Changes only in [`Fleet::replace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) backend: usize,
    pub(crate) lane: usize,
}

#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) state: Arc<BackendState>,
    /// `None` while it is there.
    gone_since: Option<Moment>,
    /// Requests in flight that hold a slot.
    pub(crate) working: u32,
    /// Those of them that have content already.
    pub(crate) answering: u32,
    /// Requests in flight that need none.
    pub(crate) light: u32,
    pub(crate) breaker: Breaker,
    pub(crate) lanes: Vec<Lane>,
    /// What goes on there; `None` where loads are not ours.
    pub(crate) loads: Option<Box<Loads>>,
}

/// Whether `api` asks for vectors only.
pub(crate) fn is_embedding(api: Api) -> bool {
    matches!(api, Api::OllamaEmbed | Api::OllamaEmbeddings | Api::Embeddings)
}

impl Backend {
    fn new(state: Arc<BackendState>) -> Backend {
        let loads = is_managed(state.kind).then(Box::default);
        Backend {
            loads,
            lanes: lanes_of(&state),
            state,
            gone_since: None,
            working: 0,
            answering: 0,
            light: 0,
            breaker: Breaker::new(),
        }
    }

    /// Whether requests may be sent there, as far as it says itself.
    pub(crate) fn is_up(&self) -> bool {
        self.gone_since.is_none() && self.state.health.is_up()
    }

    /// Whether a request without content has no hope there.
    pub(crate) fn is_lost(&self) -> bool {
        self.gone_since.is_some() || matches!(self.state.health, Health::Hung | Health::Down { .. })
    }

    pub(crate) fn load(&self) -> u32 {
        self.working + self.light
    }

    /// Requests at once per model; `None`: to be learnt for each model.
    pub(crate) fn told_slots(&self) -> Option<u32> {
        match (self.state.slots, self.state.kind) {
            (Some(slots), _) => Some(slots.max(1)),
            // vLLM batches; 256 is its own limit (`--max-num-seqs`), beyond 64 each answer becomes slow.
            (None, BackendKind::Vllm) => Some(64),
            // LM Studio's default for "max concurrent predictions".
            (None, BackendKind::LmStudio | BackendKind::OpenAi) => Some(4),
            (None, BackendKind::Ollama | BackendKind::LlamaServer | BackendKind::LlamaRouter) => None,
        }
    }

    /// Requests at once for the model of lane `lane`, of calls like `api`.
    pub(crate) fn slots(&self, lane: &Lane, api: Option<Api>) -> u32 {
        match self.told_slots() {
            Some(told) => told,
            None if api.is_some_and(is_embedding) => lane.learning.slots().min(1),
            None => lane.learning.slots(),
        }
    }

    /// Whether a slot for `api` is free in lane `lane`.
    pub(crate) fn has_free_slot(&self, lane: &Lane, api: Api) -> bool {
        match self.told_slots() {
            Some(told) => lane.working < told,
            // Vectors take one slot of those learnt, so that chats neither starve them nor are starved.
            None => lane.working < lane.learning.slots() && !(is_embedding(api) && lane.embedding > 0),
        }
    }

    /// Whether one request of `api` more than slots would teach something in lane `lane`.
    pub(crate) fn can_learn(&self, lane: &Lane, api: Api) -> bool {
        self.told_slots().is_none()
            && !is_embedding(api)
            && self.breaker.has_answered()
            && lane.working == lane.learning.slots()
    }

    /// Takes over what is known of `old`, which had the same name.
    fn inherit(&mut self, old: Backend, now: Moment) {
        // A version that cannot be asked for at the moment is no change.
        let versions = [&old.state.version, &self.state.version];
        let same = old.state.kind == self.state.kind
            && old.state.address == self.state.address
            && (versions[0] == versions[1] || versions.contains(&&None));
        let is_back = self.is_up() && !old.is_up();
        (self.working, self.answering, self.light) = (old.working, old.answering, old.light);
        self.breaker = old.breaker;
        if !same {
            self.breaker.forget();
        }
        if is_back {
            self.breaker.revive(self.answering);
        }
        if same && let Some(loads) = &mut self.loads {
            *loads = old.loads.unwrap_or_default();
            if old.gone_since.is_some() {
                loads.forget();
            }
        }
        let mut by_name = BTreeMap::new();
        for (at, lane) in self.lanes.iter().enumerate() {
            lane.names.iter().for_each(|name| _ = by_name.insert(name.clone(), at));
        }
        for mut lane in old.lanes {
            match lane.names.iter().find_map(|name| by_name.get(name)) {
                Some(&at) => self.lanes[at].inherit(lane, same),
                None if lane.working + lane.light > 0 => {
                    lane.orphan();
                    self.lanes.push(lane);
                }
                None => {}
            }
        }
        self.told(false, now);
    }
}

/// A lane for each file of weights, sorted by their first names.
fn lanes_of(state: &BackendState) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    let mut by_weights: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_name: BTreeMap<&ModelName, usize> = BTreeMap::new();
    for model in &state.models {
        // Two spellings of one model are one lane, loaded if either is.
        let known = by_name.get(&model.name).or_else(|| by_weights.get(model.weights.as_deref()?)).copied();
        let at = known.unwrap_or(lanes.len());
        by_name.insert(&model.name, at);
        if let Some(weights) = &model.weights {
            by_weights.insert(weights, at);
        }
        match known {
            Some(at) => lanes[at].also(Lane::new(model)),
            None => lanes.push(Lane::new(model)),
        }
    }
    lanes.sort_by(|a, b| a.names.cmp(&b.names));
    lanes
}

impl Fleet {
    pub(crate) fn backend(&self, place: Place) -> &Backend {
        &self.backends[place.backend]
    }

    pub(crate) fn lane(&self, place: Place) -> &Lane {
        &self.backends[place.backend].lanes[place.lane]
    }

    pub(crate) fn find(&self, id: &BackendId) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.state.id == *id)
    }

    /// Whether no backend answers, so that nobody can say what models there are.
    pub(crate) fn is_silent(&self) -> bool {
        !self.backends.iter().any(|backend| backend.is_up())
    }

    /// Every lane that has the model called `name`, whatever its backend's health.
    pub(crate) fn places(&self, name: &ModelName) -> &[Place] {
        self.by_model.get(name).map_or(&[], Vec::as_slice)
    }

    /// Each of `models` by its index, with the lanes that have it. If none is had anywhere, and the backends have one
    /// model between them and do not care about its name, the first one stands for that.
    pub(crate) fn holders<'a>(&'a self, models: &'a [ModelName]) -> impl Iterator<Item = (usize, &'a [Place])> {
        let named = models.iter().map(|name| self.places(name)).enumerate();
        let any = std::iter::once_with(|| {
            let is_unknown = !models.is_empty() && models.iter().all(|name| self.places(name).is_empty());
            (0, if is_unknown { self.any_name.as_slice() } else { &[] })
        });
        named.chain(any).filter(|(_, places)| !places.is_empty())
    }

    /// Replaces what backends say of themselves; what is in flight and what was learnt stays with those of the same
    /// name. Answers where each lane with work went: old place to new place.
    pub(crate) fn replace(&mut self, states: Vec<Arc<BackendState>>, now: Moment) -> BTreeMap<Place, Place> {
        let mut seen = BTreeSet::new();
        let mut fresh: Vec<Backend> =
            states.into_iter().filter(|state| seen.insert(state.id.clone())).map(Backend::new).collect();
        let positions: BTreeMap<BackendId, usize> =
            fresh.iter().enumerate().map(|(at, backend)| (backend.state.id.clone(), at)).collect();

        let mut is_known = vec![false; fresh.len()];
        let mut had_work: Vec<(Place, BackendId, Vec<ModelName>)> = Vec::new();
        let mut gone = Vec::new();
        for (at, mut old) in std::mem::take(&mut self.backends).into_iter().enumerate() {
            for (lane_at, lane) in old.lanes.iter().enumerate().filter(|(_, lane)| lane.working + lane.light > 0) {
                had_work.push((Place { backend: at, lane: lane_at }, old.state.id.clone(), lane.names.clone()));
            }
            match positions.get(&old.state.id) {
                Some(&at) => {
                    fresh[at].inherit(old, now);
                    is_known[at] = true;
                }
                None => {
                    old.gone_since.get_or_insert(now);
                    gone.push(old);
                }
            }
        }
        for (backend, _) in fresh.iter_mut().zip(is_known).filter(|(_, is_known)| !is_known) {
            backend.told(true, now);
        }
        gone.sort_by_key(|backend| (backend.load() == 0, Reverse(backend.gone_since)));
        let busy = gone.iter().take_while(|backend| backend.load() > 0).count();
        gone.truncate(busy + REMEMBERED);
        fresh.append(&mut gone);
        self.backends = fresh;
        self.index();
        had_work.into_iter().filter_map(|(old, id, names)| Some((old, self.place(&id, &names)?))).collect()
    }

    /// Where the lane is that has any of `names`: the first of them that has, as in [`Backend::inherit`].
    fn place(&self, id: &BackendId, names: &[ModelName]) -> Option<Place> {
        let backend = self.backends.iter().position(|backend| backend.state.id == *id)?;
        let lanes = &self.backends[backend].lanes;
        let lane = names.iter().find_map(|name| lanes.iter().position(|lane| lane.has(name)))?;
        Some(Place { backend, lane })
    }

    pub(crate) fn index(&mut self) {
        self.by_model.clear();
        self.any_name.clear();
        for (at, backend) in self.backends.iter().enumerate().filter(|(_, backend)| backend.gone_since.is_none()) {
            for (lane_at, lane) in backend.lanes.iter().enumerate() {
                for name in &lane.names {
                    // A lane that only holds the rest of its work is not offered.
                    if backend.state.model(name).is_none() || lane.turn.wishes.deleted.contains(name) {
                        continue;
                    }
                    let place = Place { backend: at, lane: lane_at };
                    self.by_model.entry(name.clone()).or_default().push(place);
                    if backend.state.ignores_model_name && backend.state.models.len() == 1 {
                        self.any_name.push(place);
                    }
                }
            }
        }
        // Where several models can be told apart by name, a name that nobody knows is a mistake, to be told as one.
        if self.by_model.len() > 1 {
            self.any_name.clear();
        }
    }
}
