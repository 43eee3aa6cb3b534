//! What a router says of itself to those who show it.

use std::collections::BTreeMap;

use proto::{BackendId, ModelName};

use crate::fleet::Place;
use crate::standing::Standing;
use crate::{QueueView, Router, Wished};

impl Router {
    /// Requests being worked on by any backend.
    pub fn in_flight(&self) -> u32 {
        number(self.running.len())
    }

    /// Requests that wait.
    pub fn queued(&self) -> u32 {
        number(self.queue.len())
    }

    /// Requests being worked on by `backend`; 0 for one that is not known.
    pub fn load(&self, backend: &BackendId) -> u32 {
        self.fleet.find(backend).map_or(0, |backend| backend.load())
    }

    /// Requests that `backend` works on at once for `model`; without a model, the most it does for any of its models.
    /// `None` where the backend or its model is not known.
    pub fn slots(&self, backend: &BackendId, model: Option<&ModelName>) -> Option<u32> {
        let backend = self.fleet.find(backend)?;
        match model {
            Some(model) => {
                let lane = backend.lanes.iter().find(|lane| lane.has(model))?;
                Some(backend.slots(lane, None))
            }
            None => {
                let told = backend.told_slots();
                let learnt = backend.lanes.iter().map(|lane| lane.learning.slots()).max();
                told.or(learnt).or(Some(1))
            }
        }
    }

    /// What has become of the wishes that `model` be loaded or unloaded.
    pub fn wished(&self, model: &ModelName) -> Wished {
        let lanes = || self.fleet.backends.iter().flat_map(|backend| &backend.lanes).filter(|lane| lane.has(model));
        if lanes().any(|lane| lane.turn.wishes.are_pending()) {
            return Wished::Pending;
        }
        let failed = lanes().find_map(|lane| {
            let has_failed = !lane.is_loaded() && lane.failing.is_some_and(|until| self.now < until);
            lane.turn.failure.as_ref().filter(|_| has_failed).map(|failure| failure.reason.clone())
        });
        match failed {
            Some(reason) => Wished::Failed(reason),
            None if lanes().any(|lane| lane.is_loaded() && lane.turn.stuck > 0) => {
                Wished::Failed("its server still uses it".to_owned())
            }
            None => Wished::Done,
        }
    }

    /// Whether nothing of `model` is in memory at `backend`, on its way there or in flight: then it can be deleted.
    /// `true` where either is not known.
    pub fn is_clear(&self, backend: &BackendId, model: &ModelName) -> bool {
        let Some(backend) = self.fleet.find(backend) else { return true };
        let Some(lane) = backend.lanes.iter().find(|lane| lane.has(model)) else { return true };
        let is_in_a_job = backend.loads.as_ref().is_some_and(|loads| loads.is_about(lane));
        !lane.is_loaded() && lane.working == 0 && !is_in_a_job
    }

    /// Every model of every backend that has or had work or is waited for, sorted by backend, then model, as of the last
    /// time that something was handled.
    pub fn queue_by_model(&self) -> Vec<QueueView> {
        let now = self.now;
        let mut waiting: BTreeMap<Place, (usize, Option<Option<u64>>)> = BTreeMap::new();
        for (want, requests) in self.queue.wants() {
            let (place, load) = match self.fleet.standing(want, None, now) {
                Standing::Busy { at: Some(at), .. } => (Some(at.place), at.load),
                _ => (self.fleet.expected_place(want), None),
            };
            if let Some(place) = place {
                let entry = waiting.entry(place).or_default();
                entry.0 += requests;
                entry.1 = entry.1.max(load);
            }
        }
        let mut views = Vec::new();
        for (at, backend) in self.fleet.backends.iter().enumerate() {
            for (lane_at, lane) in backend.lanes.iter().enumerate() {
                let (requests, load) = waiting.get(&Place { backend: at, lane: lane_at }).copied().unwrap_or_default();
                let in_flight = lane.working + lane.light;
                let has_worked = lane.completed > 0 || lane.failed > 0;
                if requests == 0 && in_flight == 0 && !has_worked {
                    continue;
                }
                let outlook = (requests > 0).then(|| backend.outlook(lane, load, now));
                views.push(QueueView {
                    backend: backend.state.id.clone(),
                    model: lane.model().clone(),
                    pending: number(requests),
                    in_flight,
                    completed: lane.completed,
                    failed: lane.failed,
                    slots: backend.slots(lane, None),
                    state: backend.lane_state(lane, requests > 0),
                    eta: outlook.as_ref().and_then(|outlook| outlook.1),
                    reason: outlook.map(|outlook| outlook.0),
                    context: lane.memory.and_then(|memory| memory.context),
                });
            }
        }
        views.sort_by(|a, b| (&a.backend, &a.model).cmp(&(&b.backend, &b.model)));
        views
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
