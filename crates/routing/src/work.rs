//! What a router tells the fleet: what its backends work on, and how fast they have been.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::{Moment, NodeId};

use crate::Router;
use crate::breaker::Admission;
use crate::fleet::{Backend, Place};
use crate::lane::Lane;
use crate::loads::Task;
use crate::scheduler::{LaneSpeed, LaneWork};
use crate::standing::Standing;

/// Whoever did not say who placed a request.
const NOBODY: NodeId = NodeId::new([0; 32]);
/// Told of a backend that is just being tried: nobody knows how long that takes.
const WHILE_TRIED: Duration = Duration::from_millis(250);

impl Router {
    /// A number that moves when [`Router::work`] may have become another.
    pub fn work_changed(&self) -> u64 {
        self.work_changes
    }

    /// What each model of each backend works on, sorted by backend, then model, as of the last time that something was
    /// handled. Only those that have something to say: work, a load, a rest, or slots that were learnt.
    ///
    /// Requests whose issuer was not told count as of the node whose key is all zeros.
    pub fn work(&self) -> Vec<LaneWork> {
        let now = self.now;
        let mut at: BTreeMap<Place, (BTreeMap<NodeId, u32>, u32)> = BTreeMap::new();
        for running in self.running.values().filter(|running| running.holds_slot()) {
            *at.entry(running.place).or_default().0.entry(running.issuer.unwrap_or(NOBODY)).or_default() += 1;
        }
        for (want, requests) in self.queue.lines() {
            let place = match self.fleet.standing(want, None, now) {
                Standing::Busy { at: Some(at), .. } => Some(at.place),
                _ => self.fleet.expected_place(want),
            };
            let Some(place) = place else { continue };
            let (issued, waiting) = at.entry(place).or_default();
            for request in requests {
                *issued.entry(request.with.issuer.unwrap_or(NOBODY)).or_default() += 1;
                *waiting += 1;
            }
        }
        let mut told = Vec::new();
        for (backend_at, backend) in self.fleet.backends.iter().enumerate() {
            for (lane_at, lane) in backend.lanes.iter().enumerate() {
                let (issued, waiting) = at.remove(&Place { backend: backend_at, lane: lane_at }).unwrap_or_default();
                let loading = backend.loading(lane, now);
                let rests = backend.rests(lane, now);
                let slots = backend.slots(lane, None).max(1);
                let has_learnt = backend.told_slots().is_none() && slots > 1;
                if issued.is_empty() && loading.is_none() && rests.is_none() && !has_learnt {
                    continue;
                }
                let (backend, model) = (backend.state.id.clone(), lane.model().clone());
                let issued = issued.into_iter().collect();
                told.push(LaneWork { backend, model, issued, slots, waiting, loading, rests });
            }
        }
        told.sort_by(|a, b| (&a.backend, &a.model).cmp(&(&b.backend, &b.model)));
        told
    }

    /// How fast each model of each backend has been, sorted by backend, then model; only those of which something is
    /// known.
    pub fn speeds(&self) -> Vec<LaneSpeed> {
        let lanes =
            self.fleet.backends.iter().flat_map(|backend| backend.lanes.iter().map(move |lane| (backend, lane)));
        let mut told: Vec<LaneSpeed> = lanes.filter_map(|(backend, lane)| speed(backend, lane)).collect();
        told.sort_by(|a, b| (&a.backend, &a.model).cmp(&(&b.backend, &b.model)));
        told
    }
}

fn speed(backend: &Backend, lane: &Lane) -> Option<LaneSpeed> {
    let turn = &lane.turn;
    let speed = LaneSpeed {
        backend: backend.state.id.clone(),
        model: lane.model().clone(),
        load: turn.times.learnt(),
        prefill: turn.rates.prefill,
        decode: turn.rates.decode,
        service: turn.answers.get(),
        first: lane.seen.longest(),
        most_context: lane.most,
    };
    let knows = speed.load.is_some()
        || speed.prefill.is_some()
        || speed.decode.is_some()
        || speed.service.is_some()
        || speed.first.is_some();
    knows.then_some(speed)
}

impl Backend {
    /// How much longer the load of `lane` will probably take, while one goes on.
    fn loading(&self, lane: &Lane, now: Moment) -> Option<Duration> {
        let loads = self.loads.as_ref().filter(|loads| loads.is_for(lane))?;
        let job = loads.job.as_ref()?;
        let Task::Load { context, .. } = &job.task else { return None };
        Some(lane.turn.load_time(*context).saturating_sub(now.since(job.began)))
    }

    /// For how long nothing should be sent to `lane`.
    fn rests(&self, lane: &Lane, now: Moment) -> Option<Duration> {
        let broken = match self.breaker.admission(self.working, now) {
            Admission::Broken { until } => Some(until.map_or(WHILE_TRIED, |until| until.since(now))),
            Admission::Sound { .. } | Admission::Trial { .. } => None,
        };
        let failing = lane.failing.filter(|until| now < *until).map(|until| until.since(now));
        broken.max(failing)
    }
}
