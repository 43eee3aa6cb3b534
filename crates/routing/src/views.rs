//! What a router says of itself to those who show it.

use std::collections::BTreeMap;

use proto::{BackendId, ModelName};

use crate::fleet::Place;
use crate::{LaneState, QueueView, Router};

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

    /// Every model of every backend that has or had work or is waited for, sorted by backend, then model.
    pub fn queue_by_model(&self) -> Vec<QueueView> {
        let mut pending: BTreeMap<Place, usize> = BTreeMap::new();
        for (want, waiting) in self.queue.wants() {
            if let Some(place) = self.fleet.expected_place(want) {
                *pending.entry(place).or_default() += waiting;
            }
        }
        let mut views = Vec::new();
        for (at, backend) in self.fleet.backends.iter().enumerate() {
            for (lane_at, lane) in backend.lanes.iter().enumerate() {
                let pending = pending.get(&Place { backend: at, lane: lane_at }).map_or(0, |&waiting| number(waiting));
                let in_flight = lane.working + lane.light;
                if pending > 0 || in_flight > 0 || lane.completed > 0 || lane.failed > 0 {
                    views.push(QueueView {
                        backend: backend.state.id.clone(),
                        model: lane.model().clone(),
                        pending,
                        in_flight,
                        completed: lane.completed,
                        failed: lane.failed,
                        slots: backend.slots(lane, None),
                        state: if lane.is_loaded() { LaneState::Loaded } else { LaneState::Idle },
                        reason: None,
                        eta: None,
                        context: None,
                    });
                }
            }
        }
        views.sort_by(|a, b| (&a.backend, &a.model).cmp(&(&b.backend, &b.model)));
        views
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
