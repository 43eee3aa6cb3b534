//! The backends as the router sees them: what they say of themselves, what is in flight there, what was learnt.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::{Api, BackendId, BackendKind, BackendState, Health, ModelName, Moment};

use crate::breaker::Breaker;
use crate::learning::Learning;
use crate::patience::Seen;

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
}

/// One model of one backend.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) model: ModelName,
    pub(crate) loaded: bool,
    /// Requests in flight that hold a slot.
    pub(crate) working: u32,
    /// Those of them that only want vectors.
    pub(crate) embedding: u32,
    /// Requests in flight that need no slot.
    pub(crate) light: u32,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// Number of the last grant here, of requests that need a slot and of those that do not; equals take turns by it.
    pub(crate) granted: [u64; 2],
    pub(crate) learning: Learning,
    pub(crate) seen: Seen,
}

/// Whether `api` asks for vectors only.
pub(crate) fn is_embedding(api: Api) -> bool {
    matches!(api, Api::OllamaEmbed | Api::OllamaEmbeddings | Api::Embeddings)
}

impl Backend {
    fn new(state: Arc<BackendState>) -> Backend {
        Backend {
            state,
            gone_since: None,
            working: 0,
            answering: 0,
            light: 0,
            breaker: Breaker::new(),
            lanes: Vec::new(),
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
    fn inherit(&mut self, old: Backend) {
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
        for lane in old.lanes {
            match self.lanes.binary_search_by(|new| new.model.cmp(&lane.model)) {
                Ok(at) => {
                    let loaded = self.lanes[at].loaded;
                    self.lanes[at] = Lane { loaded, ..lane };
                    if !same {
                        self.lanes[at].learning = Learning::new();
                        self.lanes[at].seen = Seen::default();
                    }
                }
                Err(at) if lane.working + lane.light > 0 => {
                    self.lanes.insert(at, Lane { loaded: false, ..lane });
                }
                Err(_) => {}
            }
        }
    }
}

impl Lane {
    fn new(model: ModelName, loaded: bool) -> Lane {
        Lane {
            model,
            loaded,
            working: 0,
            embedding: 0,
            light: 0,
            completed: 0,
            failed: 0,
            granted: [0; 2],
            learning: Learning::new(),
            seen: Seen::default(),
        }
    }
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
        let is_known = models.is_empty() || models.iter().any(|name| !self.places(name).is_empty());
        let any: &[Place] = if is_known { &[] } else { &self.any_name };
        named.chain((!any.is_empty()).then_some((0, any))).filter(|(_, places)| !places.is_empty())
    }

    /// Replaces what backends say of themselves; what is in flight and what was learnt stays with those of the same
    /// name. Answers where each lane with work went: old place to new place.
    pub(crate) fn replace(&mut self, states: Vec<Arc<BackendState>>, now: Moment) -> BTreeMap<Place, Place> {
        let mut seen = BTreeSet::new();
        let mut fresh: Vec<Backend> = states
            .into_iter()
            .filter(|state| seen.insert(state.id.clone()))
            .map(|state| {
                let mut lanes: Vec<Lane> =
                    state.models.iter().map(|model| Lane::new(model.name.clone(), model.loaded.is_some())).collect();
                lanes.sort_by(|a, b| a.model.cmp(&b.model));
                // Two spellings of one model are one lane, loaded if either is.
                lanes.dedup_by(|second, first| {
                    first.loaded |= second.model == first.model && second.loaded;
                    second.model == first.model
                });
                Backend { lanes, ..Backend::new(state) }
            })
            .collect();
        let positions: BTreeMap<BackendId, usize> =
            fresh.iter().enumerate().map(|(at, backend)| (backend.state.id.clone(), at)).collect();

        let mut had_work: Vec<(Place, BackendId, ModelName)> = Vec::new();
        let mut gone = Vec::new();
        for (at, mut old) in std::mem::take(&mut self.backends).into_iter().enumerate() {
            for (lane_at, lane) in old.lanes.iter().enumerate().filter(|(_, lane)| lane.working + lane.light > 0) {
                had_work.push((Place { backend: at, lane: lane_at }, old.state.id.clone(), lane.model.clone()));
            }
            match positions.get(&old.state.id) {
                Some(&at) => fresh[at].inherit(old),
                None => {
                    old.gone_since.get_or_insert(now);
                    gone.push(old);
                }
            }
        }
        gone.sort_by_key(|backend| (backend.load() == 0, Reverse(backend.gone_since)));
        let busy = gone.iter().take_while(|backend| backend.load() > 0).count();
        gone.truncate(busy + REMEMBERED);
        fresh.append(&mut gone);
        self.backends = fresh;
        self.index();
        had_work.into_iter().filter_map(|(old, id, model)| Some((old, self.place(&id, &model)?))).collect()
    }

    fn place(&self, id: &BackendId, model: &ModelName) -> Option<Place> {
        let backend = self.backends.iter().position(|backend| backend.state.id == *id)?;
        let lane = self.backends[backend].lanes.binary_search_by(|lane| lane.model.cmp(model)).ok()?;
        Some(Place { backend, lane })
    }

    fn index(&mut self) {
        self.by_model.clear();
        self.any_name.clear();
        for (at, backend) in self.backends.iter().enumerate().filter(|(_, backend)| backend.gone_since.is_none()) {
            for (lane_at, lane) in backend.lanes.iter().enumerate() {
                // A lane that only holds the rest of its work is not offered.
                if backend.state.model(&lane.model).is_some() {
                    let place = Place { backend: at, lane: lane_at };
                    self.by_model.entry(lane.model.clone()).or_default().push(place);
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
