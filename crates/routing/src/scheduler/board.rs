//! The nodes of the fleet as the scheduler sees them, with an index from models to the lanes that have them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::{ModelName, Moment, NodeId};

use super::lane::{Lane, Told};
use super::predicting::likely_load;
use super::words::{AskId, LaneSpeed, LaneWork, NodeReport, NodeWork};

/// Assumed where nobody has learnt it.
pub(super) const UNKNOWN_RTT: Duration = Duration::from_millis(1);

/// All nodes and lanes.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) by_id: BTreeMap<NodeId, usize>,
    pub(super) lanes: Vec<Option<Lane>>,
    pub(super) free_lanes: Vec<usize>,
    pub(super) by_model: BTreeMap<ModelName, Shelf>,
    /// Lanes of servers that take their one model for whatever they are asked for.
    pub(super) any_name: Vec<usize>,
    pub(super) serial: u64,
    pub(super) heard: BTreeMap<NodeId, Heard>,
}

/// What a node said last: its models may become known only afterwards.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) work: Option<(NodeWork, Moment)>,
    pub(super) speeds: Vec<LaneSpeed>,
}

/// The lanes that have one model, sorted by node, backend and first name.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) lanes: Vec<usize>,
    /// What most of them are like, for those of which nothing is known.
    pub(super) usual: Usual,
}

/// Medians of what is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usual {
    pub(super) prefill: Option<f64>,
    pub(super) decode: Option<f64>,
    pub(super) service: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) report: Arc<NodeReport>,
    /// `None` while it is within reach.
    pub(super) gone: Option<Moment>,
    pub(super) shares: bool,
    /// As learnt, or assumed.
    pub(super) rtt: Duration,
    /// When it last said what it works on.
    pub(super) reported: Option<Moment>,
    pub(super) lanes: Vec<usize>,
    /// Lanes of which the last report said something.
    pub(super) told: Vec<usize>,
    /// Requests that others placed there.
    pub(super) others: u32,
    /// Requests that were sent there and are not over.
    pub(super) own: u32,
    /// Lanes that were not in memory when something was sent there.
    pub(super) cold: Vec<usize>,
}

impl Node {
    /// Requests that are there, or on their way.
    pub(super) fn load(&self) -> u32 {
        self.others.saturating_add(self.own)
    }
}

impl Board {
    pub(super) fn lane(&self, at: usize) -> Option<&Lane> {
        self.lanes.get(at)?.as_ref()
    }

    pub(super) fn lane_mut(&mut self, at: usize) -> Option<&mut Lane> {
        self.lanes.get_mut(at)?.as_mut()
    }

    pub(super) fn node_of(&self, lane: &Lane) -> Option<&Node> {
        self.nodes.get(lane.node)?.as_ref()
    }

    pub(super) fn node_mut(&mut self, at: usize) -> Option<&mut Node> {
        self.nodes.get_mut(at)?.as_mut()
    }

    pub(super) fn find_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        let at = *self.by_id.get(&id)?;
        self.node_mut(at)
    }

    /// All nodes, by their identity.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.by_id.values().filter_map(|at| self.nodes.get(*at)?.as_ref())
    }

    pub(super) fn lanes_of<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = (usize, &'a Lane)> {
        node.lanes.iter().filter_map(|&at| Some((at, self.lane(at)?)))
    }

    pub(super) fn shelf(&self, model: &ModelName) -> Option<&Shelf> {
        self.by_model.get(model)
    }

    pub(super) fn knows_no_model(&self) -> bool {
        self.by_model.is_empty()
    }

    /// Each of `models` by its index, with the lanes that have it. If none is had anywhere, and the whole fleet has one
    /// model between them whose servers do not care about its name, the first one stands for that.
    pub(super) fn holders<'a>(&'a self, models: &'a [ModelName]) -> impl Iterator<Item = (usize, &'a [usize], Usual)> {
        let named = models.iter().enumerate().filter_map(|(at, name)| {
            let shelf = self.shelf(name)?;
            Some((at, shelf.lanes.as_slice(), shelf.usual))
        });
        let any = std::iter::once_with(|| {
            let is_unknown = models.iter().all(|name| self.shelf(name).is_none());
            let lanes = if is_unknown { self.any_name.as_slice() } else { &[] };
            (0, lanes, Usual::default())
        });
        named.chain(any.filter(|(_, lanes, _)| !lanes.is_empty()))
    }

    /// An answer of the lane at `at` came to its end. What lanes like it are taken to be like may be another now.
    pub(super) fn answered(&mut self, at: usize) {
        let Some(lane) = self.lane(at).filter(|lane| lane.learns_here()) else { return };
        let names = lane.names.clone();
        names.iter().for_each(|name| self.find_usual(name));
    }

    pub(super) fn find_usual(&mut self, model: &ModelName) {
        let Some(shelf) = self.by_model.get(model) else { return };
        let lanes = || shelf.lanes.iter().filter_map(|&at| self.lane(at));
        let rates = |rate: fn(&LaneSpeed) -> Option<f64>| {
            let mut known: Vec<f64> = lanes().filter_map(|lane| rate(lane.speed.as_ref()?)).collect();
            known.sort_unstable_by(f64::total_cmp);
            known.get(known.len() / 2).copied()
        };
        let mut services: Vec<Duration> = lanes().filter_map(Lane::service).collect();
        services.sort_unstable();
        let usual = Usual {
            prefill: rates(|speed| speed.prefill),
            decode: rates(|speed| speed.decode),
            service: services.get(services.len() / 2).copied(),
        };
        if let Some(shelf) = self.by_model.get_mut(model) {
            shelf.usual = usual;
        }
    }

    /// Something is sent to the lane at `at`.
    pub(super) fn sent(&mut self, at: usize, id: AskId, number: u64, now: Moment) {
        let Some(lane) = self.lane_mut(at) else { return };
        lane.sent(id, number, now);
        let (node, is_hot) = (lane.node, lane.is_hot());
        if !is_hot && lane.loads_until.is_none() {
            lane.loads_until = Some(now + likely_load(lane));
        }
        let is_cold =
            |board: &Board, at: usize| board.lane(at).is_some_and(|lane| !lane.is_hot() && !lane.tickets.is_empty());
        let Some(mut cold) = self.node_mut(node).map(|node| std::mem::take(&mut node.cold)) else { return };
        cold.retain(|&other| other != at && is_cold(self, other));
        if !is_hot {
            cold.push(at);
        }
        if let Some(node) = self.node_mut(node) {
            node.cold = cold;
            node.own += 1;
        }
    }

    /// Request `id`, sent to the lane at `at` at that moment, is not there any more.
    pub(super) fn over(&mut self, at: usize, id: AskId, sent: Moment, now: Moment) {
        let Some(lane) = self.lane_mut(at) else { return };
        lane.over(id, sent, now);
        let (node, is_left) = (lane.node, !lane.is_offered && lane.tickets.is_empty());
        if let Some(node) = self.node_mut(node) {
            node.own = node.own.saturating_sub(1);
            if is_left {
                node.lanes.retain(|lane| *lane != at);
                node.told.retain(|lane| *lane != at);
                node.cold.retain(|lane| *lane != at);
            }
        }
        if is_left {
            self.drop_lane(at);
        }
    }

    /// Whether `node` loads another model than that of `lane`.
    pub(super) fn loads_another(&self, node: &Node, lane: &Lane, now: Moment) -> bool {
        let others = node.told.iter().chain(&node.cold).filter_map(|&at| self.lane(at));
        others.filter(|other| other.serial != lane.serial).any(|other| {
            let is_told = other.loads_until.is_some_and(|until| until > now);
            !other.is_hot() && (is_told || !other.tickets.is_empty())
        })
    }

    /// Takes in what node `id` works on; `me` is who asks.
    pub(super) fn works(&mut self, id: NodeId, work: NodeWork, me: NodeId, now: Moment) {
        self.take_work(id, &work, me, now);
        self.heard(id).work = Some((work, now));
    }

    fn take_work(&mut self, id: NodeId, work: &NodeWork, me: NodeId, now: Moment) {
        let Some(&at) = self.by_id.get(&id) else { return };
        let Some(node) = self.node_mut(at) else { return };
        node.reported = Some(now);
        node.rtt = if work.rtt.is_zero() { UNKNOWN_RTT } else { work.rtt };
        let mut silent = std::mem::take(&mut node.told);
        let mut told = Vec::with_capacity(work.lanes.len());
        let mut others_in_all = 0u32;
        for lane_work in &work.lanes {
            let Some(shelf) = self.by_model.get(&lane_work.model) else { continue };
            let is_it = |lane: &Lane| lane.node == at && lane.backend.id == lane_work.backend;
            let found = shelf.lanes.iter().copied().find(|&lane_at| self.lane(lane_at).is_some_and(is_it));
            let Some(lane_at) = found.filter(|lane_at| !told.contains(lane_at)) else { continue };
            let (mut mine, mut others) = (0u32, 0u32);
            for &(by, requests) in &lane_work.issued {
                let counted = if by == me { &mut mine } else { &mut others };
                *counted = counted.saturating_add(requests);
            }
            others_in_all = others_in_all.saturating_add(others);
            silent.retain(|silent| *silent != lane_at);
            told.push(lane_at);
            if let Some(lane) = self.lane_mut(lane_at) {
                let LaneWork { loading, rests, .. } = *lane_work;
                lane.works(&Told { others, mine, slots: Some(lane_work.slots), loading, rests }, now);
            }
        }
        for lane_at in silent {
            if let Some(lane) = self.lane_mut(lane_at) {
                lane.works(&Told::default(), now);
            }
        }
        if let Some(node) = self.node_mut(at) {
            node.told = told;
            node.others = others_in_all;
        }
    }

    /// Takes in how fast the models of node `id` have been.
    pub(super) fn speeds(&mut self, id: NodeId, speeds: Vec<LaneSpeed>) {
        self.take_speeds(id, &speeds);
        self.heard(id).speeds = speeds;
    }

    fn take_speeds(&mut self, id: NodeId, speeds: &[LaneSpeed]) {
        let Some(&at) = self.by_id.get(&id) else { return };
        for speed in speeds {
            let model = speed.model.clone();
            let Some(shelf) = self.by_model.get(&model) else { continue };
            let is_it = |lane: &Lane| lane.node == at && lane.backend.id == speed.backend;
            let found = shelf.lanes.iter().copied().find(|&lane_at| self.lane(lane_at).is_some_and(is_it));
            let Some(lane) = found.and_then(|lane_at| self.lane_mut(lane_at)) else { continue };
            lane.speed = Some(speed.clone());
            let names = lane.names.clone();
            names.iter().for_each(|name| self.find_usual(name));
        }
    }
}
