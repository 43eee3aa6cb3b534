//! What people and scripts are shown of this node.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gateway::{View, ViewError};
use proto::view::{BackendView, LeaderView, ModelView, ShareView, StatusView};
use proto::{BackendKind, BackendState};
use routing::Router;
use serde::Serialize;
use serde_json::{Value, json};
use store::{ReadError, Store};

use crate::run::Node;
use crate::{doctor, lanes};

impl Node {
    /// Answers what needs no disk; the rest is `None`.
    pub(crate) fn quick_view(&self, view: &View) -> Option<Result<Bytes, ViewError>> {
        let backends = self.backends.load_full();
        Some(match view {
            View::Status => json_of(&self.status(&backends)),
            View::FleetStatus => json_of(&self.fleet_status(&backends)),
            View::FleetQueue => json_of(&self.fleet_queue(&backends)),
            View::Models => json_of(&self.models(&backends)),
            View::Loaded => {
                let queues = self.placer.look(Router::queue_by_model);
                json_of(&lanes::lanes(&self.settings.node_name, &backends, &queues))
            }
            View::Config => json_of(&self.settings.table()),
            View::Doctor => json_of(&doctor::checks(&doctor::Facts {
                backends: &backends,
                notes: self.watch.notes(),
                listening: &self.listening,
                traces_dropped: self.store.dropped(),
                warnings: &self.warnings,
                open_files: self.open_files,
            })),
            _ => return None,
        })
    }

    fn status(&self, backends: &[Arc<BackendState>]) -> StatusView {
        let name = &self.settings.node_name;
        let (in_flight, queued) = self.placer.look(|router| (router.in_flight(), router.queued()));
        let rows = self.placer.look(|router| backends.iter().map(|backend| backend_view(backend, router)).collect());
        let models = names(backends).count();
        StatusView {
            name: name.clone(),
            version: proto::VERSION.to_owned(),
            share: self.share(backends, models),
            leader: (!self.settings.never_lead).then(|| LeaderView { name: name.clone(), is_self: true }),
            nodes: 1,
            models: u32::try_from(models).unwrap_or(u32::MAX),
            backends: rows,
            in_flight,
            queued,
            uptime_s: self.clock.now().since(self.started).as_secs(),
            listening: self.listening.clone(),
            data_dir: self.settings.data_dir.display().to_string(),
        }
    }

    fn share(&self, backends: &[Arc<BackendState>], models: usize) -> ShareView {
        if self.stopping.is_cancelled() {
            let reason = "Stopping; what is running may finish.".to_owned();
            return ShareView { state: "draining".to_owned(), reason, until: None };
        }
        let up: Vec<&str> =
            backends.iter().filter(|backend| backend.health.is_up()).map(|backend| backend.id.as_str()).collect();
        let reason = match up.as_slice() {
            [] => "No inference server answers on this machine.".to_owned(),
            servers => format!("Serving {models} models ({}).", servers.join(", ")),
        };
        ShareView { state: "on".to_owned(), reason, until: None }
    }

    fn models(&self, backends: &[Arc<BackendState>]) -> Vec<ModelView> {
        let name = &self.settings.node_name;
        backends
            .iter()
            .filter(|backend| backend.health.is_up())
            .flat_map(|backend| {
                backend.models.iter().map(move |model| ModelView::new(name, backend.id.as_str(), model))
            })
            .collect()
    }

    /// The documented `/fleet/status`, and ours. What this version does not sense yet is null.
    fn fleet_status(&self, backends: &[Arc<BackendState>]) -> Value {
        let name = &self.settings.node_name;
        let loaded: Vec<Value> = backends
            .iter()
            .flat_map(|backend| backend.models.iter().map(move |model| (backend, model)))
            .filter_map(|(backend, model)| {
                let loaded = model.loaded.as_ref()?;
                Some(json!({
                    "name": model.id, "size_gb": loaded.size.map(gigabytes), "parameter_size": model.parameter_size,
                    "quantization": model.quantization, "context_length": loaded.context, "backend": backend.id.as_str(),
                }))
            })
            .collect();
        let on_disk: Vec<&str> =
            backends.iter().flat_map(|backend| backend.models.iter().map(|model| model.id.as_str())).collect();
        let ollama = backends.iter().find(|backend| backend.kind == BackendKind::Ollama);
        let in_flight = self.placer.look(Router::in_flight);
        json!({
            "fleet": {
                "nodes_total": 1, "nodes_online": 1, "models_loaded": loaded.len(), "requests_active": in_flight,
                "id": null, "name": null,
            },
            "self": { "name": name, "node_id": self.store.node_key() },
            "leader": if self.settings.never_lead { Value::Null } else {
                json!({ "name": name, "node_id": self.store.node_key(), "epoch": 0 })
            },
            "nodes": [{
                "node_id": name, "node_key": self.store.node_key(), "status": "online",
                "agent_version": proto::VERSION,
                "hardware": { "memory_total_gb": null, "cores_physical": self.cores },
                "ollama_url": ollama.map(|backend| backend.address.to_string()),
                "cpu": null, "memory": null,
                "ollama": {
                    "models_loaded": loaded, "models_available": on_disk, "models_available_count": on_disk.len(),
                    "requests_active": in_flight,
                },
                "backends": self.placer.look(|router| {
                    backends.iter().map(|backend| backend_view(backend, router)).collect::<Vec<_>>()
                }),
            }],
            "queues": self.queues(backends),
            "timestamp": self.clock.unix_ms() as f64 / 1e3,
        })
    }

    fn fleet_queue(&self, backends: &[Arc<BackendState>]) -> Value {
        let (in_flight, pending) = self.placer.look(|router| (router.in_flight(), router.queued()));
        let rows = self.placer.look(Router::queue_by_model);
        json!({
            "queue_depth": in_flight + pending, "pending": pending, "in_flight": in_flight,
            "completed": rows.iter().map(|row| row.completed).sum::<u64>(),
            "failed": rows.iter().map(|row| row.failed).sum::<u64>(),
            "estimated_wait_ms": null, "nodes_online": 1, "queues": self.queues(backends),
            "timestamp": self.clock.unix_ms() as f64 / 1e3,
        })
    }

    fn queues(&self, backends: &[Arc<BackendState>]) -> Value {
        let name = &self.settings.node_name;
        let mut queues = BTreeMap::new();
        for row in self.placer.look(Router::queue_by_model) {
            let shown = backends
                .iter()
                .find(|backend| backend.id == row.backend)
                .and_then(|backend| backend.model(&row.model))
                .map_or(row.model.as_str(), |model| model.id.as_str());
            // Earlier versions have one backend per node; the first of several keeps their key.
            let key = format!("{name}:{shown}");
            let key = if queues.contains_key(&key) { format!("{name}:{}:{shown}", row.backend) } else { key };
            queues.insert(
                key,
                json!({
                    "node_id": name, "backend": row.backend.as_str(), "model": shown, "pending": row.pending,
                    "in_flight": row.in_flight, "completed": row.completed, "failed": row.failed,
                    "concurrency": row.slots, "max_concurrent": row.slots, "request_type": "text",
                    "state": lanes::word(row.state), "context": row.context,
                    "reason": row.reason.as_ref().map(|reason| lanes::sentence(reason, row.eta)),
                    "eta_s": row.eta.map(|eta| eta.as_secs_f64()),
                }),
            );
        }
        json!(queues)
    }
}

/// Answers what is on disk. Blocks.
pub(crate) fn stored_view(store: &Store, view: View) -> Result<Bytes, ViewError> {
    let failed = |error: store::ReadError| match error {
        ReadError::TooShort { .. } | ReadError::Ambiguous { .. } => ViewError::NotFound(error.to_string()),
        ReadError::Sqlite(..) => ViewError::Failed(error.to_string()),
    };
    match view {
        View::Traces(limit) => json_of(&json!({ "traces": store.traces(limit).map_err(failed)? })),
        View::Trace(id) => match store.why(&id).map_err(failed)? {
            Some(why) => json_of(&why),
            None => Err(ViewError::NotFound(format!("no request on record has the id `{}`", id.escape_debug()))),
        },
        View::Overview => json_of(&store.overview().map_err(failed)?),
        View::Trends(hours) => json_of(&store.trends(hours).map_err(failed)?),
        View::ModelUsage(days) => json_of(&store.models(days).map_err(failed)?),
        View::Usage(days) => json_of(&store.usage(days).map_err(failed)?),
        View::Apps(days) => json_of(&store.apps(days).map_err(failed)?),
        View::Status
        | View::FleetStatus
        | View::FleetQueue
        | View::Models
        | View::Loaded
        | View::Config
        | View::Nodes
        | View::Devices
        | View::Leader
        | View::Doctor => Err(ViewError::Failed("this is not kept on disk".to_owned())),
    }
}

fn backend_view(backend: &BackendState, router: &Router) -> BackendView {
    let slots = router.slots(&backend.id, backend.models.first().map(|model| &model.name)).or(backend.slots);
    BackendView::new(backend, slots, router.load(&backend.id))
}

/// The models that can be asked for, each name once.
fn names(backends: &[Arc<BackendState>]) -> impl Iterator<Item = &proto::ModelName> {
    let all: std::collections::BTreeSet<_> = backends
        .iter()
        .filter(|backend| backend.health.is_up())
        .flat_map(|backend| backend.models.iter().map(|model| &model.name))
        .collect();
    all.into_iter()
}

fn json_of(value: &impl Serialize) -> Result<Bytes, ViewError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| ViewError::Failed(error.to_string()))
}

fn gigabytes(bytes: u64) -> f64 {
    (bytes as f64 / 1e7).round() / 1e2
}
