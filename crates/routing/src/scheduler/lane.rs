//! One model of one backend of one node, as the fleet sees it: what is there, what was sent there, what was learnt.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proto::{BackendKind, BackendState, Capability, Model, ModelName, Moment};

use super::words::{AskId, LaneSpeed};
use crate::breaker::{Admission, Breaker};
use crate::lane::InMemory;
use crate::loads::Mean;
use crate::patience::Seen;

/// What was sent no longer than this before a report may have come to the node after it.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// What ended so recently may still be in a report.
const JUST_ENDED: Duration = Duration::from_secs(2);
/// Ends that are remembered for that.
const ENDS: usize = 64;
/// A node that fails at once has said so by then: only what was sent since then counts for the window of trust.
pub(super) const UNPROVEN: Duration = Duration::from_millis(250);
/// The window of trust of one that has answered others.
const VOUCHED: u32 = 16;
/// Durations of answers that are remembered for the documented points.
const TOOK: usize = 32;
/// After a bounce the next one is sent there after this, doubled for each in a row.
const FIRST_BOUNCE: Duration = Duration::from_millis(5);
const MOST_BOUNCE: Duration = Duration::from_millis(320);
/// Between two tries to find out whether there are more slots than known; doubled for each in vain.
const FIRST_PROBE: Duration = Duration::from_secs(30);
const MOST_PROBE: Duration = Duration::from_secs(3600);

/// One model of one backend of one node. Names that share a file of weights share a lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// Never given twice.
    pub(super) serial: u64,
    /// The node's place on the board.
    pub(super) node: usize,
    pub(super) backend: Arc<BackendState>,
    /// Sorted, never empty.
    pub(super) names: Vec<ModelName>,
    /// Whether the node still has it; if not, it only waits for its last tickets to end.
    pub(super) is_offered: bool,
    pub(super) memory: Option<InMemory>,
    /// When it was last seen to have left memory.
    pub(super) unloaded: Option<Moment>,
    /// Bytes of the file.
    pub(super) size: Option<u64>,
    pub(super) trained: Option<u64>,
    /// What the model can do, where told.
    pub(super) sees: Option<bool>,
    pub(super) calls_tools: Option<bool>,

    /// Requests there that others placed.
    pub(super) others: u32,
    /// Requests there that this scheduler placed, as the node said.
    told_mine: u32,
    /// Those of them that this scheduler has forgotten.
    orphans: u32,
    slots: Option<u32>,
    pub(super) loads_until: Option<Moment>,
    pub(super) rests_until: Option<Moment>,

    /// Requests that were sent there and are not over, oldest first.
    pub(super) tickets: BTreeSet<(Moment, AskId)>,
    ends: VecDeque<Moment>,
    pub(super) breaker: Breaker,
    /// A second try was faster: until it has answered in time, it gets nothing but trials.
    pub(super) is_distrusted: bool,
    bounces: u32,
    bounced_until: Moment,
    probe_after: Moment,
    probe_pause: Duration,
    /// Number of the last ticket for it; equals take turns by it.
    pub(super) granted: u64,

    pub(super) speed: Option<LaneSpeed>,
    service: Mean,
    pub(super) seen: Seen,
    /// The longest prompt that was answered there, in tokens.
    pub(super) longest_prompt: u64,
    took: VecDeque<Duration>,
    usual: Option<Duration>,
}

impl Lane {
    /// The lane of `models` of `backend`, which share their weights. Never called without any.
    pub(super) fn new(serial: u64, node: usize, backend: &Arc<BackendState>, models: &[&Model]) -> Lane {
        let mut lane = Lane {
            serial,
            node,
            backend: Arc::clone(backend),
            names: Vec::new(),
            is_offered: true,
            memory: None,
            unloaded: None,
            size: None,
            trained: None,
            sees: None,
            calls_tools: None,
            others: 0,
            told_mine: 0,
            orphans: 0,
            slots: None,
            loads_until: None,
            rests_until: None,
            tickets: BTreeSet::new(),
            ends: VecDeque::new(),
            breaker: Breaker::new(),
            is_distrusted: false,
            bounces: 0,
            bounced_until: Moment::default(),
            probe_after: Moment::default(),
            probe_pause: FIRST_PROBE,
            granted: 0,
            speed: None,
            service: Mean::default(),
            seen: Seen::default(),
            longest_prompt: 0,
            took: VecDeque::new(),
            usual: None,
        };
        lane.tell(backend, models, None);
        lane
    }

    /// Takes over what the node says of it. `was_back`: since when, where it is there again or has changed.
    pub(super) fn tell(&mut self, backend: &Arc<BackendState>, models: &[&Model], now: Option<Moment>) {
        let is_another = self.backend.kind != backend.kind || self.backend.address != backend.address;
        if is_another || (backend.health.is_up() && !self.backend.health.is_up()) || !self.is_offered {
            self.breaker.forget();
            self.is_distrusted = false;
        }
        self.backend = Arc::clone(backend);
        self.is_offered = true;
        self.names = models.iter().map(|model| model.name.clone()).collect();
        self.names.sort();
        self.names.dedup();
        let had = self.memory.is_some();
        self.memory = models.iter().find_map(|model| model.loaded.as_ref()).map(InMemory::of);
        if had && self.memory.is_none() {
            self.unloaded = now;
        }
        if self.memory.is_some() {
            self.loads_until = None;
        }
        self.size = models.iter().find_map(|model| model.size);
        self.trained = models.iter().find_map(|model| model.context_trained);
        let told = |capability| {
            let mut all = models.iter().filter(|model| !model.capabilities.is_empty()).peekable();
            all.peek().is_some().then(|| all.any(|model| model.capabilities.contains(&capability)))
        };
        (self.sees, self.calls_tools) = (told(Capability::Vision), told(Capability::Tools));
    }

    pub(super) fn is_hot(&self) -> bool {
        self.memory.is_some()
    }

    /// Bytes that it has or will have in memory, as far as is known.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.memory.and_then(|memory| memory.size).or(self.size)
    }

    /// Requests that it works on at once.
    pub(super) fn slots(&self) -> u32 {
        let told = match (self.backend.slots, self.backend.kind) {
            (Some(slots), _) => Some(slots),
            (None, BackendKind::Vllm) => Some(64),
            (None, BackendKind::LmStudio | BackendKind::OpenAi) => Some(4),
            (None, BackendKind::Ollama | BackendKind::LlamaServer | BackendKind::LlamaRouter) => None,
        };
        told.or(self.slots).unwrap_or(1).max(1)
    }

    /// Whether how many slots it has is found out by trying.
    fn learns_slots(&self) -> bool {
        self.backend.slots.is_none()
            && matches!(self.backend.kind, BackendKind::Ollama | BackendKind::LlamaServer | BackendKind::LlamaRouter)
    }

    /// What the node says that goes on there.
    pub(super) fn works(&mut self, told: &Told, now: Moment) {
        self.others = told.others;
        self.told_mine = told.mine;
        self.ends.retain(|end| now.since(*end) < JUST_ENDED);
        let known = number(self.tickets.len()).saturating_add(number(self.ends.len()));
        self.orphans = told.mine.saturating_sub(known);
        if let Some(slots) = told.slots {
            if self.slots.is_some_and(|old| old < slots) {
                (self.probe_pause, self.probe_after) = (FIRST_PROBE, now + FIRST_PROBE);
            }
            self.slots = Some(slots);
        }
        self.loads_until = told.loading.map(|rest| now + rest).filter(|_| self.memory.is_none());
        self.rests_until = told.rests.map(|rest| now + rest);
    }

    /// Requests that are there, or on their way. `reported`: when the node last said what goes on there.
    pub(super) fn in_flight(&self, reported: Option<Moment>) -> u32 {
        let own = number(self.tickets.len());
        // Of what was sent well before that only what the node said is there.
        let mine = match reported.filter(|_| own > self.told_mine) {
            Some(reported) => {
                let later = self.tickets.iter().rev().take_while(|(sent, _)| reported.since(*sent) < ON_ITS_WAY);
                own.min(self.told_mine.saturating_add(number(later.count())))
            }
            None => own,
        };
        self.others.saturating_add(mine).saturating_add(self.orphans)
    }

    /// Whether it is trusted with one more request. `is_parked`: it takes more than it has slots for.
    pub(super) fn admission(&self, is_parked: bool, now: Moment) -> Admission {
        match self.breaker.admission(number(self.tickets.len()), now) {
            Admission::Sound { has_room: false } => {
                let unproven = self.tickets.iter().rev().take_while(|(sent, _)| now.since(*sent) < UNPROVEN);
                let unproven = number(unproven.count());
                match self.breaker.admission(unproven, now) {
                    // Others had answers from it.
                    Admission::Sound { .. } if self.is_vouched_for() => {
                        Admission::Sound { has_room: is_parked || unproven < VOUCHED }
                    }
                    other => other,
                }
            }
            other => other,
        }
    }

    /// Whether its node has seen it answer, and nothing else was seen from here.
    fn is_vouched_for(&self) -> bool {
        let has_served = self.speed.as_ref().is_some_and(|speed| speed.service.is_some() || speed.first.is_some());
        has_served && self.breaker.is_new()
    }

    /// Until when the window of trust is full, where it is.
    pub(super) fn unproven_until(&self, now: Moment) -> Option<Moment> {
        let (oldest, _) = self.tickets.iter().rev().take_while(|(sent, _)| now.since(*sent) < UNPROVEN).last()?;
        Some(*oldest + UNPROVEN)
    }

    /// Until when its node says that nothing should be sent.
    pub(super) fn rests(&self, now: Moment) -> Option<Moment> {
        self.rests_until.filter(|until| *until > now)
    }

    /// Until when nothing is sent because it bounced the last one.
    pub(super) fn is_full_until(&self, now: Moment) -> Option<Moment> {
        (self.bounced_until > now).then_some(self.bounced_until)
    }

    pub(super) fn bounced(&mut self, now: Moment) {
        let pause = FIRST_BOUNCE.saturating_mul(1 << self.bounces.min(6)).min(MOST_BOUNCE);
        self.bounces = self.bounces.saturating_add(1);
        self.bounced_until = now + pause;
    }

    /// Whether one request beyond its slots may find out that it has more.
    pub(super) fn may_probe(&self, in_flight: u32, now: Moment) -> bool {
        self.learns_slots()
            && self.is_hot()
            && self.breaker.has_answered()
            && in_flight == self.slots()
            && self.slots() < crate::learning::MOST_SLOTS
            && now >= self.probe_after
    }

    /// One was sent beyond its slots.
    pub(super) fn probed(&mut self, now: Moment) {
        self.probe_after = now + self.probe_pause;
        self.probe_pause = self.probe_pause.saturating_mul(2).min(MOST_PROBE);
    }

    pub(super) fn sent(&mut self, id: AskId, number: u64, now: Moment) {
        self.tickets.insert((now, id));
        self.granted = number;
    }

    /// Request `id`, sent then, is not there any more.
    pub(super) fn over(&mut self, id: AskId, sent: Moment, now: Moment) {
        if self.tickets.remove(&(sent, id)) {
            if self.ends.len() >= ENDS {
                self.ends.pop_front();
            }
            self.ends.push_back(now);
        }
    }

    /// An answer came to its end.
    pub(super) fn answered(&mut self, took: Duration, first: Option<Duration>, prompt: u64, was_hot: bool) {
        self.bounces = 0;
        if was_hot {
            self.service.add(took);
            self.longest_prompt = self.longest_prompt.max(prompt);
            if let Some(first) = first {
                self.seen.content(first);
            }
        }
        if self.took.len() >= TOOK {
            self.took.pop_front();
        }
        self.took.push_back(took);
        let mut sorted: Vec<Duration> = self.took.iter().copied().collect();
        sorted.sort_unstable();
        self.usual = sorted.get(sorted.len() * 3 / 4).or(sorted.last()).copied();
    }

    /// How long a request holds its slot; what the node says counts more than what is seen from here.
    pub(super) fn service(&self) -> Option<Duration> {
        self.speed.as_ref().and_then(|speed| speed.service).or(self.service.get())
    }

    /// Whether the node said last that it works on requests that were sent from here.
    pub(super) fn is_told_of_mine(&self) -> bool {
        self.told_mine > 0
    }

    /// Whether how long requests take is only known from here.
    pub(super) fn learns_here(&self) -> bool {
        self.speed.as_ref().is_none_or(|speed| speed.service.is_none())
    }

    /// The longest of the last times to the first content.
    pub(super) fn first(&self) -> Option<Duration> {
        self.speed.as_ref().and_then(|speed| speed.first).max(self.seen.longest())
    }

    /// Three of four answers take no longer.
    pub(super) fn usual(&self) -> Option<Duration> {
        self.usual
    }

    /// The most context that it can have.
    pub(super) fn most_context(&self) -> Option<u64> {
        self.speed.as_ref().and_then(|speed| speed.most_context).or(self.trained)
    }
}

/// What a node says of one lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) others: u32,
    pub(super) mine: u32,
    pub(super) slots: Option<u32>,
    pub(super) loading: Option<Duration>,
    pub(super) rests: Option<Duration>,
}

pub(super) fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
