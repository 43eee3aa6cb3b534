//! What is shown of the fleet's queue, and told to those who wait in it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::{BackendId, ModelName, Moment, NodeId};

use super::Scheduler;
use super::choosing::{Decision, Reserved};
use super::lane::{Lane, number};
use super::want::{Want, fit};
use super::words::{AskId, Priority, Standing};

/// Requests whose place is predicted one by one; those after them are taken to go where the last of their model goes.
const PREDICTED: usize = 256;

/// What goes on in the fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetView {
    /// Models of backends of nodes that work or are waited for, sorted by node, backend, model.
    pub lanes: Vec<LaneView>,
    /// Models that requests wait for and that nobody serves now, sorted.
    pub stranded: Vec<Stranded>,
}

/// What goes on at one model of one backend of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneView {
    /// The node.
    pub node: NodeId,
    /// Its shown name.
    pub name: Arc<str>,
    /// The backend.
    pub backend: BackendId,
    /// One of the model's names.
    pub model: ModelName,
    /// Whether it is in memory.
    pub loaded: bool,
    /// Requests that it works on at once, as known.
    pub slots: u32,
    /// Requests that are known to be there.
    pub in_flight: u32,
    /// Requests of the fleet's queue that are likely to go there.
    pub waiting: u32,
    /// When the first of those is likely to begin.
    pub eta: Option<Duration>,
}

/// Requests that nobody serves now.
#[derive(Clone, Debug, PartialEq)]
pub struct Stranded {
    /// The model that was asked for.
    pub model: ModelName,
    /// How many wait for it.
    pub waiting: u32,
    /// Each machine that has it and what keeps it, in words; at most eight.
    pub why: Vec<String>,
}

fn class(want: &Want) -> u8 {
    u8::from(want.priority == Priority::Batch)
}

impl Scheduler {
    /// How the waiting requests of `door` stand, in the order of the queue, at most so many. Positions count those that
    /// wait for the same model.
    pub fn waiting_of(&self, door: NodeId, now: Moment, most: usize) -> Vec<Standing> {
        let mut told = Vec::new();
        for (_, order) in self.queue.order(class) {
            let pace =
                order.first().and_then(|id| self.queue.get(*id)).and_then(|first| self.pace_of(&first.want, now));
            for (position, ask) in order.into_iter().enumerate() {
                if ask.door != door {
                    continue;
                }
                if told.len() >= most {
                    return told;
                }
                let position = number(position);
                let eta = pace.map(|(begins, each)| begins + each.saturating_mul(position));
                told.push(Standing { ask, position, eta });
            }
        }
        told
    }

    /// When the next slot for `want` frees, and how much time passes from one to the next; `None`: nobody knows.
    fn pace_of(&self, want: &Want, now: Moment) -> Option<(Duration, Duration)> {
        let mut per_second = 0.0;
        let mut begins: Option<Duration> = None;
        let (model, lanes, usual) = self.board.holders(&want.models).next()?;
        for lane in lanes.iter().filter_map(|&at| self.board.lane(at)) {
            let Some(node) = self.board.node_of(lane) else { continue };
            if fit(want, &want.models[model], lane, node).is_err() || (!lane.is_hot() && lane.loads_until.is_none()) {
                continue;
            }
            let Some(service) = lane.service().or(usual.service) else { continue };
            let slots = lane.slots();
            per_second += f64::from(slots) / service.as_secs_f64().max(0.001);
            let loads = lane.loads_until.map_or(Duration::ZERO, |until| until.since(now));
            let next = loads + service / (slots + 1);
            begins = Some(begins.map_or(next, |begins| begins.min(next)));
        }
        Some((begins?, Duration::from_secs_f64(1.0 / per_second)))
    }

    /// What goes on in the fleet, as far as it is known here.
    pub fn views(&self, now: Moment) -> FleetView {
        let mut waiting: BTreeMap<usize, (u32, Option<Duration>)> = BTreeMap::new();
        let mut stranded: Vec<Stranded> = Vec::new();
        let mut predicted = 0;
        let again = Cell::new(None);
        for (model, order) in self.queue.order(class) {
            let mut reserved = Reserved::default();
            let mut last: Option<usize> = None;
            for id in order {
                let Some(request) = self.queue.get(id) else { continue };
                let (lane, eta) = if predicted >= PREDICTED && last.is_some() {
                    (last, None)
                } else {
                    predicted += 1;
                    self.expected(id, &reserved, &again, now)
                };
                match lane {
                    Some(lane) => {
                        reserved.add(lane);
                        last = Some(lane);
                        let entry = waiting.entry(lane).or_insert((0, eta));
                        entry.0 += 1;
                    }
                    None => match stranded.last_mut().filter(|known| known.model == *model) {
                        Some(known) => known.waiting += 1,
                        None => {
                            let why = self.board.why(&request.want, now);
                            stranded.push(Stranded { model: model.clone(), waiting: 1, why });
                        }
                    },
                }
            }
        }
        let mut lanes = Vec::new();
        for node in self.board.nodes() {
            for (at, lane) in self.board.lanes_of(node) {
                let in_flight = lane.in_flight(node.reported);
                let waits = waiting.get(&at);
                if (in_flight == 0 && waits.is_none()) || (node.gone.is_some() && waits.is_none()) {
                    continue;
                }
                let Some(model) = lane.names.first().cloned() else { continue };
                lanes.push(LaneView {
                    node: node.report.id,
                    name: Arc::clone(&node.report.name),
                    backend: lane.backend.id.clone(),
                    model,
                    loaded: lane.is_hot(),
                    slots: lane.slots(),
                    in_flight,
                    waiting: waits.map_or(0, |(requests, _)| *requests),
                    eta: waits.and_then(|(_, eta)| *eta),
                });
            }
        }
        lanes.sort_by(|a, b| (a.node, &a.backend, &a.model).cmp(&(b.node, &b.backend, &b.model)));
        FleetView { lanes, stranded }
    }

    /// Where a waiting request is likely to go, and when.
    fn expected(
        &self,
        id: AskId,
        reserved: &Reserved,
        again: &Cell<Option<Moment>>,
        now: Moment,
    ) -> (Option<usize>, Option<Duration>) {
        let Some(request) = self.queue.get(id) else { return (None, None) };
        match self.decide(&request.want, &request.with, reserved, again, now) {
            Decision::Go(pick) => (Some(pick.lane), Some(Duration::ZERO)),
            Decision::Wait { lane, queue_ms } => {
                let is_known = self.board.lane(lane).and_then(Lane::service).is_some();
                let eta = Duration::from_secs_f64((queue_ms / 1000.0).clamp(0.0, 86_400.0));
                (Some(lane), is_known.then_some(eta))
            }
            Decision::Nobody => (None, None),
        }
    }
}
