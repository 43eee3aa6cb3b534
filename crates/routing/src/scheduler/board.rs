//! The nodes of the fleet as the scheduler sees them, with an index from models to the lanes that have them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proto::{BackendId, BackendState, Model, ModelName, Moment, NodeId};

use super::lane::{Lane, Told};
use super::predicting::likely_load;
use super::words::{AskId, LaneSpeed, LaneWork, NodeReport, NodeWork};

/// Nodes that went away and are remembered with their models; of more, the longest gone are forgotten.
const GONE: usize = 64;
/// Nodes of which it is kept what they said last, known ones and others.
const HEARD: usize = 512;
/// Assumed where nobody has learnt it.
const UNKNOWN_RTT: Duration = Duration::from_millis(1);

/// All nodes and lanes.
#[derive(Debug, Default)]
pub(super) struct Board {
    nodes: Vec<Option<Node>>,
    by_id: BTreeMap<NodeId, usize>,
    lanes: Vec<Option<Lane>>,
    free_lanes: Vec<usize>,
    by_model: BTreeMap<ModelName, Shelf>,
    /// Lanes of servers that take their one model for whatever they are asked for.
    any_name: Vec<usize>,
    serial: u64,
    heard: BTreeMap<NodeId, Heard>,
}

/// What a node said last: its models may become known only afterwards.
#[derive(Debug, Default)]
struct Heard {
    work: Option<(NodeWork, Moment)>,
    speeds: Vec<LaneSpeed>,
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
    lanes: Vec<usize>,
    /// Lanes of which the last report said something.
    told: Vec<usize>,
    /// Requests that others placed there.
    pub(super) others: u32,
    /// Requests that were sent there and are not over.
    pub(super) own: u32,
    /// Lanes that were not in memory when something was sent there.
    cold: Vec<usize>,
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

    /// Replaces the nodes that are within reach; those that are missing are gone, yet remembered.
    pub(super) fn replace(&mut self, reports: Vec<Arc<NodeReport>>, me: NodeId, now: Moment) {
        let mut anew: Vec<NodeId> = Vec::new();
        let mut is_missing: BTreeMap<NodeId, usize> = self.by_id.clone();
        let mut index_is_old = false;
        for report in reports {
            let known = is_missing.remove(&report.id);
            let at = known.or_else(|| self.by_id.get(&report.id).copied()).unwrap_or_else(|| self.add(&report));
            let Some(node) = self.node_mut(at) else { continue };
            let is_same = Arc::ptr_eq(&node.report, &report) && known.is_some();
            node.shares = report.shares;
            let was_gone = node.gone.is_some();
            if !is_same || was_gone {
                anew.push(report.id);
                node.report = report;
                index_is_old |= self.tell(at, now);
            }
            if was_gone {
                self.revive(at, now);
            }
        }
        for at in is_missing.into_values() {
            if let Some(node) = self.node_mut(at) {
                node.gone.get_or_insert(now);
            }
        }
        index_is_old |= self.forget_gone();
        if index_is_old {
            self.index();
            self.hear_again(&anew, me);
        }
    }

    /// Takes in again what these nodes said last, for models that are known only now.
    fn hear_again(&mut self, nodes: &[NodeId], me: NodeId) {
        for id in nodes {
            let Some(heard) = self.heard.remove(id) else { continue };
            if let Some((work, at)) = heard.work {
                self.works(*id, work, me, at);
            }
            self.speeds(*id, heard.speeds);
        }
    }

    fn heard(&mut self, id: NodeId) -> &mut Heard {
        if self.heard.len() >= HEARD && !self.heard.contains_key(&id) {
            self.heard.retain(|id, _| self.by_id.contains_key(id));
            if self.heard.len() >= HEARD {
                self.heard.clear();
            }
        }
        self.heard.entry(id).or_default()
    }

    /// It was away: what was known of its work is old, and what failed before is forgiven.
    fn revive(&mut self, at: usize, now: Moment) {
        let Some(node) = self.node_mut(at) else { return };
        let (id, since) = (node.report.id, node.gone.take());
        node.reported = None;
        if let Some(heard) = self.heard.get_mut(&id) {
            heard.work = heard.work.take().filter(|(_, at)| since.is_some_and(|since| *at > since));
        }
        let Some(node) = self.node_mut(at) else { return };
        node.told.clear();
        node.others = 0;
        for lane_at in node.lanes.clone() {
            if let Some(lane) = self.lane_mut(lane_at) {
                lane.works(&Told::default(), now);
                lane.breaker.forget();
                lane.is_distrusted = false;
            }
        }
    }

    fn add(&mut self, report: &Arc<NodeReport>) -> usize {
        let node = Node {
            report: Arc::clone(report),
            gone: None,
            shares: report.shares,
            rtt: UNKNOWN_RTT,
            reported: None,
            lanes: Vec::new(),
            told: Vec::new(),
            others: 0,
            own: 0,
            cold: Vec::new(),
        };
        let at = match self.nodes.iter().position(Option::is_none) {
            Some(at) => at,
            None => {
                self.nodes.push(None);
                self.nodes.len() - 1
            }
        };
        self.nodes[at] = Some(node);
        self.by_id.insert(report.id, at);
        at
    }

    /// Takes over the models of the node at `at`. Tells whether the index is old now.
    fn tell(&mut self, at: usize, now: Moment) -> bool {
        let Some(node) = self.nodes.get_mut(at).and_then(Option::as_mut) else { return false };
        let report = Arc::clone(&node.report);
        let old = std::mem::take(&mut node.lanes);
        let mut is_left: BTreeMap<(BackendId, ModelName), usize> = BTreeMap::new();
        for &lane_at in &old {
            if let Some(lane) = self.lane(lane_at) {
                for name in &lane.names {
                    is_left.insert((lane.backend.id.clone(), name.clone()), lane_at);
                }
            }
        }
        let mut kept: BTreeSet<usize> = BTreeSet::new();
        let mut has_changed = false;
        for backend in &report.backends {
            for models in groups(backend) {
                let known = models
                    .iter()
                    .find_map(|model| is_left.get(&(backend.id.clone(), model.name.clone())))
                    .copied()
                    .filter(|lane_at| !kept.contains(lane_at));
                match known.and_then(|lane_at| Some((lane_at, self.lane_mut(lane_at)?))) {
                    Some((lane_at, lane)) => {
                        let before = (std::mem::take(&mut lane.names), lane.is_offered);
                        let any = lane.backend.ignores_model_name;
                        lane.tell(backend, &models, Some(now));
                        has_changed |= before != (lane.names.clone(), true) || any != backend.ignores_model_name;
                        kept.insert(lane_at);
                    }
                    None => {
                        self.serial += 1;
                        let lane = Lane::new(self.serial, at, backend, &models);
                        kept.insert(self.put(lane));
                        has_changed = true;
                    }
                }
            }
        }
        for lane_at in old {
            if kept.contains(&lane_at) {
                continue;
            }
            has_changed = true;
            match self.lane_mut(lane_at) {
                Some(lane) if !lane.tickets.is_empty() => {
                    lane.is_offered = false;
                    kept.insert(lane_at);
                }
                _ => self.drop_lane(lane_at),
            }
        }
        if let Some(node) = self.node_mut(at) {
            node.told.retain(|lane_at| kept.contains(lane_at));
            node.cold.retain(|lane_at| kept.contains(lane_at));
            node.lanes = kept.into_iter().collect();
        }
        has_changed
    }

    fn put(&mut self, lane: Lane) -> usize {
        match self.free_lanes.pop() {
            Some(at) => {
                self.lanes[at] = Some(lane);
                at
            }
            None => {
                self.lanes.push(Some(lane));
                self.lanes.len() - 1
            }
        }
    }

    fn drop_lane(&mut self, at: usize) {
        if self.lanes.get_mut(at).and_then(Option::take).is_some() {
            self.free_lanes.push(at);
        }
    }

    /// Forgets lanes that nothing is left of, and nodes that went away long ago.
    fn forget_gone(&mut self) -> bool {
        let mut gone: Vec<(Moment, NodeId, usize)> = Vec::new();
        for (id, &at) in &self.by_id {
            if let Some(since) = self.nodes.get(at).and_then(Option::as_ref).and_then(|node| node.gone) {
                gone.push((since, *id, at));
            }
        }
        if gone.len() <= GONE {
            return false;
        }
        gone.sort_unstable();
        let surplus = gone.len() - GONE;
        for (_, id, at) in gone.into_iter().take(surplus) {
            let Some(node) = self.nodes.get_mut(at).and_then(Option::take) else { continue };
            self.by_id.remove(&id);
            node.lanes.into_iter().for_each(|lane_at| self.drop_lane(lane_at));
        }
        true
    }

    fn index(&mut self) {
        self.by_model.clear();
        self.any_name.clear();
        for &at in self.by_id.values() {
            let Some(node) = self.nodes.get(at).and_then(Option::as_ref) else { continue };
            let mut lanes: Vec<(&BackendId, &[ModelName], usize)> = Vec::with_capacity(node.lanes.len());
            for &lane_at in &node.lanes {
                if let Some(lane) = self.lanes.get(lane_at).and_then(Option::as_ref).filter(|lane| lane.is_offered) {
                    lanes.push((&lane.backend.id, &lane.names, lane_at));
                }
            }
            lanes.sort_unstable();
            for (_, names, lane_at) in lanes {
                for name in names {
                    self.by_model.entry(name.clone()).or_default().lanes.push(lane_at);
                }
                let backend = self.lanes.get(lane_at).and_then(Option::as_ref).map(|lane| &lane.backend);
                if backend.is_some_and(|backend| backend.ignores_model_name && backend.models.len() == 1) {
                    self.any_name.push(lane_at);
                }
            }
        }
        // Where several models can be told apart by name, a name that nobody knows is a mistake, to be told as one.
        if self.by_model.len() > 1 {
            self.any_name.clear();
        }
        let models: Vec<ModelName> = self.by_model.keys().cloned().collect();
        models.iter().for_each(|model| self.find_usual(model));
    }

    /// An answer of the lane at `at` came to its end. What lanes like it are taken to be like may be another now.
    pub(super) fn answered(&mut self, at: usize) {
        let Some(lane) = self.lane(at).filter(|lane| lane.learns_here()) else { return };
        let names = lane.names.clone();
        names.iter().for_each(|name| self.find_usual(name));
    }

    fn find_usual(&mut self, model: &ModelName) {
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

/// The models of `backend`, those together that share a file of weights.
fn groups(backend: &Arc<BackendState>) -> Vec<Vec<&Model>> {
    let mut groups: Vec<Vec<&Model>> = Vec::new();
    let mut by_weights: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_name: BTreeMap<&ModelName, usize> = BTreeMap::new();
    for model in &backend.models {
        let same_file = model.weights.as_deref().and_then(|weights| by_weights.get(weights));
        let at = by_name.get(&model.name).or(same_file).copied().unwrap_or(groups.len());
        by_name.insert(&model.name, at);
        if let Some(weights) = &model.weights {
            by_weights.insert(weights, at);
        }
        match groups.get_mut(at) {
            Some(group) => group.push(model),
            None => groups.push(vec![model]),
        }
    }
    groups
}
