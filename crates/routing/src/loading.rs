//! Hands what concerns loads to the backends' plans, and their jobs to the caller.

use proto::{BackendId, ModelName, Moment};

use crate::loads::{Demands, plan};
use crate::{JobFault, JobId, Router, Wish};

impl Router {
    pub(crate) fn job_ended(&mut self, id: JobId, result: Result<(), JobFault>, now: Moment) {
        let is_its = |job: Option<JobId>| job == Some(id);
        if let Some(backend) = self.fleet.backends.iter_mut().find(|backend| is_its(backend.job())) {
            backend.job_ended(id, result, now);
            self.loads_are_active = true;
        }
    }

    pub(crate) fn take_memory(&mut self, of: Option<&BackendId>, free: u64, total: u64, now: Moment) {
        for backend in &mut self.fleet.backends {
            if of.is_none_or(|of| *of == backend.state.id)
                && let Some(loads) = &mut backend.loads
            {
                loads.room.bytes = (total > 0).then_some((free.min(total), total));
                backend.limit_contexts(now);
            }
        }
    }

    pub(crate) fn wish(&mut self, model: &ModelName, at: Option<&BackendId>, wish: Wish, now: Moment) {
        let mut places = Vec::new();
        for (backend_at, backend) in self.fleet.backends.iter().enumerate() {
            let is_meant = at.is_none_or(|at| *at == backend.state.id) && backend.loads.is_some();
            if let Some(lane) = backend.lanes.iter().position(|lane| is_meant && lane.has(model)) {
                places.push(crate::fleet::Place { backend: backend_at, lane });
            }
        }
        if matches!(wish, Wish::Load { .. }) {
            // One will do.
            places.retain(|place| self.fleet.backend(*place).is_up());
            let best = places.iter().min_by_key(|place| self.fleet.load_rank(**place, now)).copied();
            let loaded = places.iter().find(|place| self.fleet.lane(**place).is_loaded()).copied();
            places = loaded.or(best).into_iter().collect();
        }
        for place in places {
            self.fleet.backends[place.backend].lanes[place.lane].wish(model, wish, now);
        }
        if matches!(wish, Wish::Delete | Wish::Forget) {
            self.fleet.index();
        }
        self.loads_are_active = true;
    }

    /// Gives up jobs that should have ended long ago.
    pub(crate) fn lose_jobs(&mut self, now: Moment) {
        self.fleet.backends.iter_mut().for_each(|backend| backend.lose_job(now));
    }

    /// Plans what each backend loads next, for what waits. Tells whether somebody may be granted now who was not before.
    pub(crate) fn plan_loads(&mut self, demands: &Demands, now: Moment) -> bool {
        self.loads_wake = None;
        let is_needless =
            !std::mem::take(&mut self.loads_are_active) && demands.values().all(|demand| demand.loads == 0);
        if self.is_draining || is_needless {
            return false;
        }
        let mut has_released = false;
        for (at, backend) in self.fleet.backends.iter_mut().enumerate() {
            let planned = plan(at, backend, demands, &mut self.last_job, now);
            self.outputs.extend(planned.output);
            self.loads_are_active |= planned.is_active;
            self.loads_wake = [self.loads_wake, planned.wake].into_iter().flatten().min();
            has_released |= planned.has_released;
        }
        has_released
    }
}
