//! One model of one backend: what is in flight there, what was learnt of it, and how a request fits it.

use std::time::Duration;

use proto::{Api, BackendKind, BackendState, Capability, Loaded, Model, ModelName, Moment};

use crate::Verdict;
use crate::context::{self, Fit, Need, Offer};
use crate::fleet::is_embedding;
use crate::learning::Learning;
use crate::loads::Turn;
use crate::patience::Seen;
use crate::standing::Want;

/// One model of one backend. Names that share a file of weights share a lane, because they share what is in memory.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Sorted, never empty.
    pub(crate) names: Vec<ModelName>,
    /// Set while the model is in memory, as far as is known.
    pub(crate) memory: Option<InMemory>,
    /// Why nothing new begins here.
    pub(crate) hold: Option<Hold>,
    /// Requests in flight that hold a slot.
    pub(crate) working: u32,
    /// Those of them that only want vectors.
    pub(crate) embedding: u32,
    /// Requests in flight that need no slot.
    pub(crate) light: u32,
    /// Until then a load that failed is not tried again.
    pub(crate) failing: Option<Moment>,
    /// The most context that it can have, and what it had of late.
    pub(crate) most: Option<u64>,
    pub(crate) knows_memory: bool,
    /// Whether it only makes vectors; `None`: nobody told.
    is_embedding: Option<bool>,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// Number of the last grant here, of requests that need a slot and of those that do not; equals take turns by it.
    pub(crate) granted: [u64; 2],
    pub(crate) learning: Learning,
    pub(crate) seen: Seen,
    pub(crate) turn: Turn,
    /// Whether nothing was inherited from a lane of before.
    is_new: bool,
}

/// A model in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InMemory {
    /// Tokens, where told.
    pub(crate) context: Option<u64>,
    /// Bytes, where told.
    pub(crate) size: Option<u64>,
}

/// Why nothing new begins at a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is about to be deleted.
    Delete,
    /// Another model needs its room.
    Swap,
    /// It is to be loaded again with more context.
    Grow,
    /// A load or an unload goes on, of this model or of another that may need its room.
    Job,
}

/// How a request fits a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LaneFit {
    /// It can be sent there.
    Ready { context: Option<u64>, verdict: Verdict },
    /// The model must be loaded first.
    Load { context: Option<u64> },
    /// It can be sent there, but the backend will probably find it too long.
    Tight,
    /// It can be sent there, and will be cut.
    Cut { context: u64 },
    /// As `Cut`, after a load.
    CutAfterLoad { context: u64 },
    /// It cannot be sent there.
    TooLong { needed: u64, most: u64 },
}

impl Lane {
    pub(crate) fn new(model: &Model) -> Lane {
        let told = |capability| model.capabilities.contains(&capability);
        let is_told = !model.capabilities.is_empty();
        let only_vectors = told(Capability::Embedding) && !told(Capability::Completion);
        let mut lane = Lane {
            names: vec![model.name.clone()],
            memory: model.loaded.as_ref().map(InMemory::of),
            hold: None,
            working: 0,
            embedding: 0,
            light: 0,
            failing: None,
            most: model.context_trained,
            knows_memory: false,
            is_embedding: is_told.then_some(only_vectors),
            completed: 0,
            failed: 0,
            granted: [0; 2],
            learning: Learning::new(),
            seen: Seen::default(),
            turn: Turn::default(),
            is_new: true,
        };
        lane.turn.told = lane.memory;
        lane.turn.trained = model.context_trained;
        lane
    }

    /// Whether the model is in memory, as far as is known.
    pub(crate) fn is_loaded(&self) -> bool {
        self.memory.is_some()
    }

    pub(crate) fn has(&self, name: &ModelName) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// The name under which it is shown.
    pub(crate) fn model(&self) -> &ModelName {
        &self.names[0]
    }

    /// Another name of the same weights.
    pub(crate) fn also(&mut self, other: Lane) {
        self.names.extend(other.names);
        self.names.sort();
        self.names.dedup();
        self.memory = self.memory.or(other.memory);
        self.turn.told = self.memory;
        self.turn.trained = self.turn.trained.max(other.turn.trained);
        self.is_embedding = self.is_embedding.or(other.is_embedding);
    }

    /// Takes over the work of `old`, and what was learnt there unless it is not `same` any more.
    pub(crate) fn inherit(&mut self, old: Lane, same: bool) {
        self.working += old.working;
        self.embedding += old.embedding;
        self.light += old.light;
        self.completed += old.completed;
        self.failed += old.failed;
        self.granted = [self.granted[0].max(old.granted[0]), self.granted[1].max(old.granted[1])];
        if std::mem::take(&mut self.is_new) && same {
            self.learning = old.learning;
            self.seen = old.seen;
            self.hold = old.hold;
            self.failing = old.failing;
            self.turn.inherit(old.turn, old.memory);
        }
    }

    /// It has no model any more, and only waits for its work to end.
    pub(crate) fn orphan(&mut self) {
        self.memory = None;
        self.hold = None;
        self.turn = Turn::default();
    }

    /// Whether it is loaded by a call of its own, without context.
    pub(crate) fn makes_vectors(&self, api: Api) -> bool {
        self.is_embedding.unwrap_or_else(|| is_embedding(api))
    }

    /// Whether it is told to make vectors only.
    pub(crate) fn only_makes_vectors(&self) -> bool {
        self.is_embedding == Some(true)
    }

    /// Bytes in memory, as told or guessed; 0: not in memory, or nobody knows.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = self.memory.and_then(|memory| memory.size.or_else(|| self.turn.bytes(memory.context)));
        bytes.unwrap_or_default()
    }

    /// The context to load it with for somebody who wishes it.
    pub(crate) fn wished_context(&self, kind: BackendKind, wanted: Option<u64>) -> Option<u64> {
        if kind != BackendKind::Ollama || self.only_makes_vectors() {
            return None;
        }
        let offer = Offer { loaded: None, ..self.offer() };
        match context::fit(&offer, &Need { wanted, cuts: true, ..Need::default() }) {
            Fit::Load { context, .. } | Fit::Cut { context } => Some(context),
            Fit::Serve { context, .. } => context,
            Fit::TooLong { .. } => None,
        }
    }

    /// How `want` fits here.
    pub(crate) fn fit(&self, state: &BackendState, want: &Want) -> LaneFit {
        if !want.api.needs_slot() {
            return LaneFit::Ready { context: None, verdict: Verdict::Passed };
        }
        let is_ollama = state.kind == BackendKind::Ollama;
        if is_ollama && !self.makes_vectors(want.api) {
            return self.fit_context(want);
        }
        match self.memory {
            None if is_managed(state.kind) => LaneFit::Load { context: None },
            Some(InMemory { context: Some(context), .. }) if !is_ollama => {
                if want.need.least() > context {
                    LaneFit::Tight
                } else {
                    LaneFit::Ready { context: None, verdict: Verdict::Kept }
                }
            }
            _ => LaneFit::Ready { context: None, verdict: Verdict::Passed },
        }
    }

    fn offer(&self) -> Offer {
        Offer {
            loaded: self.memory.map(|memory| memory.context),
            most: self.most,
            remembered: self.turn.grown.map(|grown| grown.context),
            knows_memory: self.knows_memory,
        }
    }

    fn fit_context(&self, want: &Want) -> LaneFit {
        let offer = self.offer();
        let loaded = offer.loaded;
        match context::fit(&offer, &want.need) {
            Fit::Serve { context, verdict } => LaneFit::Ready { context, verdict },
            Fit::Load { context, .. } => LaneFit::Load { context: Some(context) },
            Fit::Cut { context } if loaded == Some(Some(context)) => LaneFit::Cut { context },
            Fit::Cut { context } => LaneFit::CutAfterLoad { context },
            Fit::TooLong { needed, most } => LaneFit::TooLong { needed, most },
        }
    }

    /// How much of its wait a request that came at `enqueued` has waited for the last load here, and whether that load
    /// gave it the context that it needs.
    pub(crate) fn waited_for_load(&self, enqueued: Moment, needed: u64) -> Option<(Duration, bool)> {
        let load = self.turn.last_load.as_ref().filter(|load| enqueued < load.ended)?;
        Some((load.ended.since(enqueued.max(load.began)), load.from.is_some_and(|from| needed > from)))
    }
}

impl InMemory {
    pub(crate) fn of(loaded: &Loaded) -> InMemory {
        InMemory { context: loaded.context.filter(|&context| context > 0), size: loaded.size }
    }
}

/// Whether loads of such a backend are ours; others load by themselves.
pub(crate) fn is_managed(kind: BackendKind) -> bool {
    matches!(kind, BackendKind::Ollama | BackendKind::LlamaRouter)
}
