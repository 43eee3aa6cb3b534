//! Keeps the board true to what nodes say that there is: who is within reach, with which models.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::{BackendId, BackendState, Model, ModelName, Moment, NodeId};

use super::board::{Board, Heard, Node, UNKNOWN_RTT};
use super::lane::{Lane, Told};
use super::words::NodeReport;

/// Nodes that went away and are remembered with their models; of more, the longest gone are forgotten.
const GONE: usize = 64;
/// Nodes of which it is kept what they said last, known ones and others.
const HEARD: usize = 512;

impl Board {
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
    pub(super) fn hear_again(&mut self, nodes: &[NodeId], me: NodeId) {
        for id in nodes {
            let Some(heard) = self.heard.remove(id) else { continue };
            if let Some((work, at)) = heard.work {
                self.works(*id, work, me, at);
            }
            self.speeds(*id, heard.speeds);
        }
    }

    pub(super) fn heard(&mut self, id: NodeId) -> &mut Heard {
        if self.heard.len() >= HEARD && !self.heard.contains_key(&id) {
            self.heard.retain(|id, _| self.by_id.contains_key(id));
            if self.heard.len() >= HEARD {
                self.heard.clear();
            }
        }
        self.heard.entry(id).or_default()
    }

    /// It was away: what was known of its work is old, and what failed before is forgiven.
    pub(super) fn revive(&mut self, at: usize, now: Moment) {
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

    pub(super) fn add(&mut self, report: &Arc<NodeReport>) -> usize {
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
    pub(super) fn tell(&mut self, at: usize, now: Moment) -> bool {
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

    pub(super) fn put(&mut self, lane: Lane) -> usize {
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

    pub(super) fn drop_lane(&mut self, at: usize) {
        if self.lanes.get_mut(at).and_then(Option::take).is_some() {
            self.free_lanes.push(at);
        }
    }

    /// Forgets lanes that nothing is left of, and nodes that went away long ago.
    pub(super) fn forget_gone(&mut self) -> bool {
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

    pub(super) fn index(&mut self) {
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
