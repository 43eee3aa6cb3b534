//! What people and scripts are shown of this node and its fleet.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use capacity::Reason;
use gateway::{View, ViewError, ViewFuture};
use proto::view::{BackendView, LeaderView, ModelView, ShareView, StatusView};
use proto::wire::{MAX_BACKENDS, Server};
use proto::{BackendState, Health};
use routing::Router;
use serde::Serialize;
use serde_json::{Value, json};
use store::{ReadError, Store};

use crate::fleet::known::Asking;
use crate::fleet::{FleetKey, Order};
use crate::node::Node;
use crate::sharing::Shown;
use crate::{doctor, fleet_status, lanes};

/// What this machine's own people are told of it: the status, and who waits to be let in.
#[derive(Serialize)]
struct OwnView {
    #[serde(flatten)]
    status: StatusView,
    #[serde(skip_serializing_if = "Option::is_none")]
    asking: Option<Asking>,
}

impl Node {
    /// Answers what needs no disk; the rest is `None`.
    pub(crate) fn quick_view(&self, view: &View) -> Option<Result<Bytes, ViewError>> {
        let backends = self.backends.load_full();
        Some(match view {
            View::Status => {
                let asking = self.fleet.known().asking.clone();
                json_of(&OwnView { status: self.status(&backends), asking })
            }
            View::Leader => json_of(&self.leader()),
            View::Keys => {
                let rows: Vec<_> = self.fleet.ruling().borrow().keys.iter().map(FleetKey::view).collect();
                json_of(&rows)
            }
            View::FleetQueue => json_of(&self.fleet_queue(&backends)),
            View::Models => json_of(&self.models(&backends)),
            View::Loaded => {
                let queues = self.placer.look(Router::queue_by_model);
                let mut lanes = lanes::lanes(&self.name(), &backends, &queues);
                let now = self.clock.now();
                let fleet = self.tickets.look(|fleet| fleet.views(now));
                for other in self.fleet.known().within_reach() {
                    let theirs = fleet.lanes.iter().filter(|lane| lane.node == other.id);
                    lanes.extend(lanes::elsewhere(&other.name, &other.backends, &theirs.collect::<Vec<_>>()));
                }
                json_of(&lanes)
            }
            View::Config => json_of(&self.settings.table()),
            _ => return None,
        })
    }

    /// Answers what the fleet's driver knows, or what the machine has to be asked for.
    pub(crate) fn fleet_view(&self, view: &View) -> Option<ViewFuture> {
        let me = self.me.upgrade()?;
        let silent = || ViewError::Failed("the fleet's task does not answer".to_owned());
        Some(match view {
            View::FleetStatus => Box::pin(async move {
                let machine = me.sense.look().await;
                json_of(&fleet_status::of(&me, machine.as_ref()))
            }),
            View::Nodes => Box::pin(async move {
                // The senses are asked, so that the row of this machine is of today.
                me.sense.look().await;
                json_of(&me.fleet.ask(Order::Nodes).await.ok_or_else(silent)?)
            }),
            View::Share => Box::pin(async move { Ok(me.sharing_view(me.sharing.all().await?)) }),
            View::Devices => Box::pin(async move { json_of(&me.fleet.ask(Order::Devices).await.ok_or_else(silent)?) }),
            View::Doctor => Box::pin(async move {
                let mut checks = doctor::checks(&doctor::Facts {
                    backends: &me.backends.load_full(),
                    notes: me.watch.notes(),
                    listening: &me.listening,
                    traces_dropped: me.store.dropped(),
                    warnings: &me.warnings,
                    open_files: me.open_files,
                });
                checks.extend(doctor::outside(&me));
                checks.extend(me.awake.check());
                match me.fleet.ask(Order::Check).await {
                    Some(fleet) => checks.extend(fleet),
                    None => checks.push(doctor::silent_fleet()),
                }
                json_of(&checks)
            }),
            _ => return None,
        })
    }

    /// What this machine is called.
    pub(crate) fn name(&self) -> Arc<str> {
        self.fleet.known().name.clone().unwrap_or_else(|| self.settings.node_name.as_str().into())
    }

    /// Who leads, with its id and since which epoch.
    pub(crate) fn leader(&self) -> Value {
        let known = self.fleet.known();
        let Some(leader) = known.leader else { return Value::Null };
        let is_self = known.me == Some(leader);
        let name = if is_self { Some(self.name()) } else { known.name_of(leader).cloned() };
        json!({ "name": name, "self": is_self, "node_id": leader.full(), "epoch": known.epoch })
    }

    fn status(&self, backends: &[Arc<BackendState>]) -> StatusView {
        let name = self.name();
        let known = self.fleet.known();
        let (in_flight, queued) = self.placer.look(|router| (router.in_flight(), router.queued()));
        let rows = self.placer.look(|router| backends.iter().map(|backend| backend_view(backend, router)).collect());
        let others: Vec<_> = known.within_reach().flat_map(|other| &other.backends).collect();
        let models = names(backends.iter().chain(others.iter().copied())).count();
        let leader = known.leader.and_then(|leader| {
            let is_self = known.me == Some(leader);
            let name = if is_self { Some(name.clone()) } else { known.name_of(leader).cloned() };
            Some(LeaderView { name: name?.to_string(), is_self })
        });
        StatusView {
            name: name.to_string(),
            version: proto::VERSION.to_owned(),
            share: self.share(backends),
            leader,
            nodes: u32::try_from(known.others.len() + 1).unwrap_or(u32::MAX),
            models: u32::try_from(models).unwrap_or(u32::MAX),
            backends: rows,
            in_flight,
            queued,
            uptime_s: self.clock.now().since(self.started).as_secs(),
            listening: self.listening.iter().cloned().chain(self.outside.load().addresses()).collect(),
            data_dir: self.settings.data_dir.display().to_string(),
        }
    }

    /// Whether this node takes work, and why.
    pub(crate) fn share(&self, backends: &[Arc<BackendState>]) -> ShareView {
        let shown = self.sharing.shown();
        if shown.reason != Reason::Sharing {
            return shown.view(None);
        }
        let up: Vec<&str> =
            backends.iter().filter(|backend| backend.health.is_up()).map(|backend| backend.id.as_str()).collect();
        match up.as_slice() {
            [] => Shown { reason: Reason::NoServer, ..shown }.view(None),
            servers => {
                let models = names(backends.iter()).count();
                shown.view(Some(format!("Serving {models} models ({}).", servers.join(", "))))
            }
        }
    }

    /// All that is known of whether this node takes work.
    pub(crate) fn sharing_view(&self, mut all: Value) -> Bytes {
        let ShareView { reason, code, .. } = self.share(&self.backends.load());
        if all["code"] == Reason::Sharing.code() {
            (all["reason"], all["code"]) = (reason.into(), code.into());
        }
        all.to_string().into()
    }

    fn models(&self, backends: &[Arc<BackendState>]) -> Vec<ModelView> {
        fn rows<'a>(node: &'a str, backends: &'a [Arc<BackendState>]) -> impl Iterator<Item = ModelView> + 'a {
            backends.iter().filter(|backend| backend.health.is_up()).flat_map(move |backend| {
                backend.models.iter().map(move |model| ModelView::new(node, backend.id.as_str(), model))
            })
        }
        let known = self.fleet.known();
        let own = self.name();
        let others = known.within_reach().flat_map(|other| rows(&other.name, &other.backends));
        rows(&own, backends).chain(others).collect()
    }

    fn fleet_queue(&self, backends: &[Arc<BackendState>]) -> Value {
        let (in_flight, pending) = self.placer.look(|router| (router.in_flight(), router.queued()));
        let rows = self.placer.look(Router::queue_by_model);
        let (own, position, eta) = self.tickets.own_waiting();
        let fleet = self.tickets.look(|fleet| fleet.waiting());
        // Requests that wait in the fleet's queue are counted where it is kept, and besides at their own doors.
        let pending = pending + u32::try_from(fleet.max(own)).unwrap_or(u32::MAX);
        json!({
            "own": { "waiting": own, "position": position, "eta_s": eta.map(|eta| eta.as_secs_f64()) },
            "queue_depth": in_flight + pending, "pending": pending, "in_flight": in_flight,
            "completed": rows.iter().map(|row| row.completed).sum::<u64>(),
            "failed": rows.iter().map(|row| row.failed).sum::<u64>(),
            "estimated_wait_ms": eta.map(|eta| eta.as_secs_f64() * 1e3), "nodes_online": self.fleet.known().within_reach().count() + 1, "queues": self.queues(backends),
            "timestamp": self.clock.unix_ms() as f64 / 1e3,
        })
    }

    pub(crate) fn queues(&self, backends: &[Arc<BackendState>]) -> Value {
        let name = &*self.name();
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
        let now = self.clock.now();
        let view = self.tickets.look(|fleet| fleet.views(now));
        let me = self.fleet.known().me;
        for lane in view.lanes.iter().filter(|lane| Some(lane.node) != me) {
            let key = format!("{}:{}", lane.name, lane.model);
            let key =
                if queues.contains_key(&key) { format!("{}:{}:{}", lane.name, lane.backend, lane.model) } else { key };
            queues.insert(
                key,
                json!({
                    "node_id": &*lane.name, "backend": lane.backend.as_str(), "model": lane.model.as_str(),
                    "pending": lane.waiting, "in_flight": lane.in_flight, "concurrency": lane.slots,
                    "max_concurrent": lane.slots, "request_type": "text",
                    "state": if lane.loaded { "loaded" } else { "waiting" },
                    "eta_s": lane.eta.map(|eta| eta.as_secs_f64()),
                }),
            );
        }
        for stranded in &view.stranded {
            queues.insert(
                format!(":{}", stranded.model),
                json!({
                    "node_id": null, "model": stranded.model.as_str(), "pending": stranded.waiting, "in_flight": 0,
                    "request_type": "text", "state": "waiting", "reason": stranded.why.join("; "),
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
        | View::Keys
        | View::Share
        | View::Doctor => Err(ViewError::Failed("this is not kept on disk".to_owned())),
    }
}

pub(crate) fn backend_view(backend: &BackendState, router: &Router) -> BackendView {
    let slots = router.slots(&backend.id, backend.models.first().map(|model| &model.name)).or(backend.slots);
    BackendView::new(backend, slots, router.load(&backend.id))
}

/// What other machines are told of the backends of this one.
pub(crate) fn servers(backends: &[Arc<BackendState>], router: &Router) -> Vec<Server> {
    let server = |backend: &Arc<BackendState>| {
        let BackendView { id, kind, version, health, slots, in_flight, models, loaded, .. } =
            backend_view(backend, router);
        let health = match health {
            Health::Up => "up",
            Health::Loading => "loading",
            Health::Hung => "hung",
            Health::Down { .. } => "down",
        };
        Server { id, kind, health: health.to_owned(), version, slots, in_flight, models, loaded }
    };
    backends.iter().take(MAX_BACKENDS).map(server).collect()
}

/// The models that can be asked for, each name once.
fn names<'a>(backends: impl Iterator<Item = &'a Arc<BackendState>>) -> impl Iterator<Item = &'a proto::ModelName> {
    let all: std::collections::BTreeSet<_> = backends
        .filter(|backend| backend.health.is_up())
        .flat_map(|backend| backend.models.iter().map(|model| &model.name))
        .collect();
    all.into_iter()
}

fn json_of(value: &impl Serialize) -> Result<Bytes, ViewError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| ViewError::Failed(error.to_string()))
}
