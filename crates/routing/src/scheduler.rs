//! Ranks the requests of the whole fleet, and binds each to a node when a slot there is its.

mod views;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proto::{BackendId, Candidate, ModelName, Moment, NodeId};

use crate::tokens::Tokens;
use crate::{Estimate, Refusal};
pub use views::{FleetView, LaneView, Stranded};
pub use words::*;

/// Places the requests of many doors on the nodes of a fleet.
///
/// After each call the caller carries out what [`Scheduler::poll_output`] gives until it gives nothing more.
#[derive(Debug)]
pub struct Scheduler {
    settings: FleetSettings,
    me: NodeId,
    is_leading: bool,
    nodes: BTreeMap<NodeId, Node>,
    waiting: VecDeque<(AskId, FleetAsk)>,
    tickets: BTreeMap<AskId, Lane>,
    outputs: VecDeque<FleetOutput>,
    tokens: Tokens,
}

type Lane = (NodeId, BackendId, ModelName);

#[derive(Debug)]
struct Node {
    report: Arc<NodeReport>,
    shares: bool,
    work: NodeWork,
}

impl Scheduler {
    /// A scheduler without nodes, on node `me`. `seed` decides only who goes first among equals. It does not lead.
    pub fn new(settings: FleetSettings, me: NodeId, seed: u64) -> Scheduler {
        let _ = seed;
        Scheduler {
            settings,
            me,
            is_leading: false,
            nodes: BTreeMap::new(),
            waiting: VecDeque::new(),
            tickets: BTreeMap::new(),
            outputs: VecDeque::new(),
            tokens: Tokens::default(),
        }
    }

    /// Whether it keeps the queue of the fleet. One that does not lead sends its own door's requests to nodes at once,
    /// and lets them wait there.
    pub fn set_leading(&mut self, is_leading: bool, now: Moment) {
        self.is_leading = is_leading;
        self.settle(now);
    }

    /// Takes in that `input` happened at `now`.
    pub fn handle(&mut self, input: FleetInput, now: Moment) {
        match input {
            FleetInput::Nodes(reports) => {
                let mut old = std::mem::take(&mut self.nodes);
                for report in reports {
                    let work = old.remove(&report.id).map(|node| node.work).unwrap_or_default();
                    self.nodes.insert(report.id, Node { shares: report.shares, report, work });
                }
            }
            FleetInput::Shares(node, shares) => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.shares = shares;
                }
            }
            FleetInput::Work(node, work) => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.work = work;
                }
            }
            FleetInput::Speeds(..) => {}
            FleetInput::Arrive(id, ask) => self.waiting.push_back((id, ask)),
            FleetInput::Leave(id) => {
                self.waiting.retain(|(waiting, _)| *waiting != id);
                self.tickets.remove(&id);
            }
            FleetInput::Ended(id, _) => _ = self.tickets.remove(&id),
            FleetInput::DoorGone(door) => {
                self.waiting.retain(|(id, _)| id.door != door);
                self.tickets.retain(|id, _| id.door != door);
            }
            FleetInput::Retire => {
                self.waiting.clear();
                self.tickets.clear();
            }
            FleetInput::Counted { model, text_bytes, images, prompt_tokens, completion_tokens } => {
                self.tokens.counted(&model, text_bytes, images, prompt_tokens, completion_tokens);
            }
        }
        self.settle(now);
    }

    /// When [`Scheduler::handle_timeout`] must be called at the latest; `None`: time alone changes nothing.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.waiting.iter().map(|(_, ask)| ask.waited_since + self.settings.queue_wait).min()
    }

    /// Takes in that it is `now`. Calling it too early does no harm.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.settle(now);
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<FleetOutput> {
        self.outputs.pop_front()
    }

    /// How the waiting requests of `door` stand, in the order of the queue, at most so many.
    pub fn waiting_of(&self, door: NodeId, _now: Moment, most: usize) -> Vec<Standing> {
        let all = self.waiting.iter().enumerate().filter(|(_, (id, _))| id.door == door);
        let standing = |(at, (id, _)): (usize, &(AskId, FleetAsk))| Standing {
            ask: *id,
            position: u32::try_from(at).unwrap_or(u32::MAX),
            eta: None,
        };
        all.map(standing).take(most).collect()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What goes on in the fleet, as far as it is known here.
    pub fn views(&self, _now: Moment) -> FleetView {
        FleetView { lanes: Vec::new(), stranded: Vec::new() }
    }

    /// Tokens that `model` will probably make of a prompt of so many bytes of text and so many images.
    pub fn estimate(&self, model: &ModelName, text_bytes: u64, images: u32) -> Estimate {
        self.tokens.estimate(model, text_bytes, images)
    }

    fn settle(&mut self, now: Moment) {
        let waiting = std::mem::take(&mut self.waiting);
        for (id, ask) in waiting {
            let model = || ask.models.first().map(ToString::to_string).unwrap_or_default();
            match self.best(&ask) {
                Some((lane, model, loaded, in_flight, slots)) if !self.is_leading || in_flight < slots => {
                    let (node, backend, _) = lane.clone();
                    self.tickets.insert(id, lane);
                    let candidate =
                        Candidate { backend: backend.clone(), in_flight, slots, loaded, ..Candidate::default() };
                    self.outputs.push_back(FleetOutput::Ticket(
                        id,
                        FleetTicket {
                            node,
                            backend,
                            model,
                            ahead: if self.is_leading { 2 } else { 32 },
                            patience: None,
                            candidates: vec![candidate],
                            queued: now.since(ask.waited_since),
                        },
                    ));
                }
                Some(_) if ask.now_only => self.outputs.push_back(FleetOutput::Refuse(id, Refusal::Occupied)),
                None if self.nodes.values().all(|node| node.has(&ask).is_none()) => {
                    self.outputs.push_back(FleetOutput::Refuse(id, Refusal::UnknownModel { model: model() }));
                }
                None if now.since(ask.waited_since) >= self.settings.queue_wait => {
                    let retry_after = Duration::from_secs(5);
                    let refusal = Refusal::Unavailable { model: model(), retry_after };
                    self.outputs.push_back(FleetOutput::Refuse(id, refusal));
                }
                _ if self.waiting.len() >= self.settings.queue_size => {
                    let waiting = self.waiting.len();
                    let refusal = Refusal::QueueFull { waiting, retry_after: Duration::from_secs(1) };
                    self.outputs.push_back(FleetOutput::Refuse(id, refusal));
                }
                _ => self.waiting.push_back((id, ask)),
            }
        }
    }

    fn best(&self, ask: &FleetAsk) -> Option<(Lane, usize, bool, u32, u32)> {
        let mut best = None;
        for (id, node) in &self.nodes {
            let door_is_near = ask.zone != Zone::Node || *id == self.me;
            if !(node.shares || *id == self.me) || !door_is_near || ask.only.is_some_and(|only| only != *id) {
                continue;
            }
            let Some((backend, model, loaded)) = node.has(ask) else { continue };
            if ask.excluded.iter().any(|(at, which)| at == id && which.as_ref().is_none_or(|which| *which == backend)) {
                continue;
            }
            let name = ask.models[model].clone();
            let own = self.tickets.values().filter(|lane| (&lane.0, &lane.1, &lane.2) == (id, &backend, &name)).count();
            let told = node.work.lanes.iter().find(|lane| lane.backend == backend && lane.model == name);
            let others = told.map_or(0, |lane| {
                lane.issued.iter().filter(|(by, _)| *by != self.me).map(|(_, requests)| *requests).sum()
            });
            let in_flight = u32::try_from(own).unwrap_or(u32::MAX) + others;
            let slots = told.map_or(1, |lane| lane.slots).max(1);
            let rank = (in_flight >= slots, !loaded, in_flight, *id);
            if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                best = Some((rank, ((*id, backend, name), model, loaded, in_flight, slots)));
            }
        }
        best.map(|(_, best)| best)
    }
}

impl Node {
    /// A backend that has one of the models, the model's index, and whether it is in memory.
    fn has(&self, ask: &FleetAsk) -> Option<(BackendId, usize, bool)> {
        let up = || self.report.backends.iter().filter(|state| state.health.is_up() && state.serves.has(ask.api));
        ask.models.iter().enumerate().find_map(|(at, name)| {
            up().find_map(|state| Some((state.id.clone(), at, state.model(name)?.loaded.is_some())))
        })
    }
}
