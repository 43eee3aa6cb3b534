//! One node from start to end.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use backend::{Handle, Watcher};
use futures_util::StreamExt as _;
use gateway::{
    Ask, AwayBody, Change, ChangeFuture, Count, Door, Elsewhere, Ending, Fleet, Gauges, GuestPass, Limits, PairStream,
    Placing, Protection, Sending, TicketEnding, View, ViewError, ViewFuture,
};
use proto::{Api, BackendId, BackendState, Clock, ModelName, Moment, NodeId, Outcome, Trace};
use routing::scheduler::{FleetSettings, Scoring};
use store::Store;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::fleet::{self, Driver, Facts, Papers};
use crate::outside::{Outside, Ways};
use crate::placing::Placer;
use crate::running::Orders;
use crate::settings::{self, ContextProtection, Settings};
use crate::sharing::{self, Sharing};
use crate::tasks::Tasks;
use crate::tickets::{self, Tickets};
use crate::{backends, bind, clock, files, loads, logging, views};

/// How long running requests may take to end after the node was told to stop. A second signal ends it at once.
const GRACE: Duration = Duration::from_secs(60);
/// How often connections to backends are looked at that serve requests of other nodes.
const SWEEP: Duration = Duration::from_secs(2);
/// Rows of the history that are older go.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// A running node: what the door asks, and what is shown of it.
pub(crate) struct Node {
    pub(crate) settings: Settings,
    pub(crate) warnings: Vec<String>,
    pub(crate) clock: Clock,
    pub(crate) started: Moment,
    pub(crate) placer: Arc<Placer>,
    pub(crate) tickets: Arc<Tickets>,
    pub(crate) watch: Handle,
    pub(crate) store: Store,
    pub(crate) backends: Arc<ArcSwap<Vec<Arc<BackendState>>>>,
    /// The model that answers for Anthropic's names where the owner said nothing.
    stand_in: Arc<ArcSwap<Option<Arc<str>>>>,
    pub(crate) listening: Vec<String>,
    /// What is open for others than this machine's own programs.
    pub(crate) outside: Arc<ArcSwap<Outside>>,
    pub(crate) stopping: CancellationToken,
    pub(crate) cores: usize,
    pub(crate) open_files: Option<u64>,
    /// Told when something about the backends has changed.
    pub(crate) news: tokio::sync::watch::Sender<()>,
    /// The other machines.
    pub(crate) fleet: fleet::Handle,
    pub(crate) sense: fleet::sense::Sense,
    /// Whether this machine takes requests of others.
    pub(crate) sharing: Sharing,
    pub(crate) me: std::sync::Weak<Node>,
}

/// Runs this machine's node until it is told to stop by a signal. Blocks; makes its own threads and waits for all of them.
///
/// # Errors
/// The data directory or the port cannot be had, or a setting names no place. Each error says what to do.
pub fn run(settings: Settings, warnings: Vec<String>) -> anyhow::Result<()> {
    run_until(settings, warnings, Orders::signals(), |_| {})
}

/// As [`run`], until `orders` tell to stop; `listens` is told where, once it does.
pub(crate) fn run_until(
    settings: Settings,
    warnings: Vec<String>,
    orders: Orders,
    listens: impl FnOnce(&[String]),
) -> anyhow::Result<()> {
    let clock = clock::clock();
    files::make_dir(&settings.data_dir)?;
    let papers = Papers::open(&settings.data_dir, clock.unix_ms() / 1000);
    let (store, writer) = Store::open(
        store::Settings {
            dir: settings.data_dir.clone(),
            node_id: papers.name().unwrap_or_else(|| settings.node_name.clone()),
            // Where it cannot be read, the database has one of its own.
            node_key: papers.identity.as_ref().map(|identity| identity.key().to_string()).unwrap_or_default(),
            keep: KEEP,
            max_bytes: settings.history_mb.saturating_mul(1_000_000),
        },
        clock,
    )?;
    let _logging = logging::start(&settings.data_dir, &settings.log_level, true)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let open_files = raise_open_files();
    let listeners = bind::listeners(settings.host, settings.port)?;
    let token = files::control_token(&settings.data_dir)?;
    let writer = std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || writer.run())
        .context("starting the thread of the store")?;
    let runtime = runtime().context("starting the node's runtime")?;
    let start = Start { settings, warnings, clock, store: store.clone(), listeners, token, open_files, papers };
    let ended = runtime.block_on(serve(start, orders, listens));
    // Waits for nothing: who was told to stop at once does not wait for workers that finish requests.
    runtime.shutdown_background();
    store.close();
    drop(store);
    if writer.join().is_err() {
        tracing::error!("the store's thread panicked; the last rows may be lost");
    }
    tracing::info!("stopped");
    ended
}

/// What was opened before anything runs.
struct Start {
    settings: Settings,
    warnings: Vec<String>,
    clock: Clock,
    store: Store,
    listeners: Vec<StdListener>,
    token: String,
    open_files: Option<u64>,
    papers: Papers,
}

async fn serve(start: Start, mut stops: Orders, listens: impl FnOnce(&[String])) -> anyhow::Result<()> {
    let Start { settings, warnings, clock, store, listeners, token, open_files, papers } = start;
    let seed = files::seed();
    let instance = format!("{:016x}", files::seed());
    let listening: Vec<String> =
        listeners.iter().filter_map(|listener| listener.local_addr().ok()).map(|address| address.to_string()).collect();
    let port = listeners.first().and_then(|listener| listener.local_addr().ok()).map_or(0, |address| address.port());
    let host_name = gethostname::gethostname().to_string_lossy().into_owned();
    let queue = routing::Settings { queue_size: settings.queue_size.get(), queue_wait: settings.queue_wait };
    let (orders, ordered) = tokio::sync::mpsc::unbounded_channel();
    let bell = Arc::new(tickets::Bell::default());
    let placer = Placer::new(queue.clone(), seed, clock, orders, bell.clone());
    let scoring = match settings.scoring {
        settings::Scoring::Predicted => Scoring::Predicted,
        settings::Scoring::Points => Scoring::Points,
    };
    let fleet_settings = FleetSettings { queue_size: queue.queue_size, queue_wait: queue.queue_wait, scoring };
    // Where it cannot be read there is no fleet, and so nobody to place requests with.
    let own_id = papers.identity.as_ref().map_or(NodeId::new([0; 32]), |identity| fleet::known::id(identity.key()));
    let tickets = Tickets::new(fleet_settings, own_id, seed, clock, placer.clone(), bell);
    let known = Arc::new(ArcSwap::from_pointee(Vec::new()));
    let seen = tokio::sync::watch::Sender::new(());
    let stand_in = Arc::new(ArcSwap::from_pointee(None));
    let stopping = CancellationToken::new();
    let outside = Arc::new(ArcSwap::from_pointee(Outside::default()));
    // The door needs the node, and the news of backends need the door.
    let (news, mut told) = tokio::sync::watch::channel(Vec::new());
    let watch_settings = backend::Settings {
        places: backends::places(&settings)?,
        cloud_models: settings.cloud_models,
        own_id: instance.clone(),
    };
    let (watcher, watch) = Watcher::new(watch_settings, clock, Box::new(move |now| drop(news.send(now))));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let door_settings = gateway::Settings {
        node_name: settings.node_name.clone(),
        host_name,
        instance,
        token,
        max_retries: settings.max_retries,
        hold: Duration::from_secs(20),
        protection: match settings.context_protection {
            ContextProtection::Strip => Protection::Strip,
            ContextProtection::Warn => Protection::Warn,
            ContextProtection::Passthrough => Protection::Pass,
        },
        limits: Limits::default(),
    };
    let (others, desk) = fleet::desk();
    let others_ruling = others.ruling();
    let sense = fleet::sense::Sense::new(settings.data_dir.clone(), clock);
    let sensed = sharing::Sensed::default();
    let place = sharing::Place {
        clock,
        rules: settings.pauses.clone(),
        ignored: settings.not_meetings.clone(),
        evidence: sensed.subscribe(),
        keep: others.keeper_of_share(),
    };
    let (sharing, keeper) = Sharing::new(place, papers.memory.share.clone(), stopping.clone());
    let presence = sharing::watch_presence(&settings.surroundings, &sensed);
    let node = Arc::new_cyclic(|me| Node {
        sharing: sharing.clone(),
        fleet: others.clone(),
        sense: sense.clone(),
        settings,
        warnings,
        clock,
        started: clock.now(),
        placer: placer.clone(),
        tickets: tickets.clone(),
        watch: watch.clone(),
        store,
        backends: known.clone(),
        stand_in: stand_in.clone(),
        listening,
        outside: outside.clone(),
        stopping: stopping.clone(),
        cores,
        open_files,
        news: seen.clone(),
        me: me.clone(),
    });
    let door = Door::new(node.clone(), door_settings, clock, seed);
    let guests = door.worker();
    let driver = Driver::new(node.place_in_fleet(guests.clone()), papers, desk);

    let mut tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("watcher", |stop| watcher.run(stop));
    tasks.spawn("router's timer", {
        let placer = placer.clone();
        |stop| async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = placer.keep_time() => {}
            }
        }
    });
    tasks.spawn("tickets", {
        let tickets = tickets.clone();
        |stop| async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tickets.keep() => {}
            }
        }
    });
    tasks.spawn("guests", |stop| async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => guests.sweep(),
            }
        }
    });
    tasks.spawn("loads", |stop| loads::carry_out(ordered, watch.clone(), placer.clone(), stop));
    tasks.spawn("fleet", |stop| driver.run(stop));
    tasks.spawn("sharing", |stop| keeper.run(stop));
    tasks.spawn("news of sharing", {
        let (sharing, tickets, mut changed) = (sharing.clone(), tickets.clone(), sharing.changed());
        |stop| async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    Ok(()) = changed.changed() => tickets.shares(sharing.takes_guests().is_ok()),
                }
            }
        }
    });
    tasks.spawn("load of the processors", {
        let (sense, placer) = (sense.clone(), placer.clone());
        let is_working = move || placer.look(|router| router.in_flight()) > 0;
        |stop| sharing::feel_load(sharing, sense, sensed, is_working, stop)
    });
    tasks.spawn("backend news", {
        let (door, placer, others, called) = (door.clone(), placer.clone(), others.clone(), node.clone());
        |stop| async move {
            let mut fleet_news = others.news();
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = fleet_news.changed() => {
                        if changed.is_err() {
                            stop.cancelled().await;
                            return;
                        }
                        door.backends_changed(&called.name(), &known.load(), &elsewhere(&others));
                    }
                    changed = told.changed() => {
                        if changed.is_err() {
                            // The watcher has ended, which only happens at the end of the node.
                            stop.cancelled().await;
                            return;
                        }
                        let backends: Vec<Arc<BackendState>> = told.borrow_and_update().clone();
                        known.store(Arc::new(backends.clone()));
                        stand_in.store(Arc::new(routing::stand_in(&backends).map(Arc::from)));
                        door.backends_changed(&called.name(), &backends, &elsewhere(&others));
                        placer.backends(backends);
                        called.learn(&others.known(), called.tickets.mesh());
                        seen.send_replace(());
                    }
                }
            }
        }
    });
    tasks.spawn("sleep", |stop| notice_sleep(watch.clone(), others, stop));

    let ways = Ways::new(door.clone(), others_ruling, &node.settings, port, outside);
    tasks.spawn("ways in", {
        // No stranger is let in any more as soon as the node is to stop.
        let stopping = stopping.clone();
        |stop| async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = ways.keep(stopping) => stop.cancelled().await,
            }
        }
    });

    // Clients that come now wait in the listeners' queues for what the first look finds.
    watch.first_look().await;
    tasks.spawn("speeds", {
        let (store, placer) = (node.store.clone(), placer.clone());
        |_| async move {
            // What was learnt outlives a restart; nobody waits for it.
            let own = store.node_key().to_owned();
            match tokio::task::spawn_blocking(move || store.speeds()).await {
                Ok(Ok(speeds)) => speeds.iter().filter(|speed| speed.node_key == own).for_each(|speed| {
                    placer.remember(&speed.backend, &speed.model, speed.prefill, speed.decode);
                }),
                Ok(Err(error)) => tracing::warn!(%error, "how fast models were is not known"),
                Err(error) => tracing::error!(%error, "how fast models were is not known"),
            }
        }
    });
    let workers = start_workers(&door, listeners, cores, &stopping)?;
    tracing::info!(addresses = node.listening.join(", "), node = node.settings.node_name, "listening");
    listens(&node.listening);

    stops.told_to_stop().await?;
    tracing::info!("stopping: no new requests, what is running may finish (again to stop at once)");
    stopping.cancel();
    placer.drain();
    tickets.stop();
    tickets.shares(false);
    let all_ended = tokio::task::spawn_blocking(move || {
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    });
    let all_ended = async {
        let guests = tokio::time::timeout(GRACE, node.sharing.guests_gone());
        tokio::join!(all_ended, guests)
    };
    tokio::select! {
        _ = all_ended => {}
        again = stops.told_to_stop() => {
            again?;
            tracing::warn!("stopping at once");
        }
    }
    tasks.shutdown(Duration::from_secs(5)).await;
    // Its threads end within a moment, but may wait for a bus that hangs.
    drop(tokio::task::spawn_blocking(move || drop(presence)));
    Ok(())
}

/// One thread with a runtime of its own per worker: a request stays on one thread from its first byte to its last.
fn start_workers(
    door: &Arc<Door>,
    listeners: Vec<StdListener>,
    cores: usize,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<std::thread::JoinHandle<()>>> {
    // Carrying bytes takes microseconds per request; more threads would only take cores from the models.
    let count = (cores / 2).clamp(1, 4);
    let mut workers = Vec::new();
    for number in 0..count {
        let own: Vec<StdListener> = listeners
            .iter()
            .map(StdListener::try_clone)
            .collect::<Result<_, _>>()
            .context("sharing the door's port")?;
        let (worker, stop) = (door.worker(), stop.clone());
        let runtime = runtime().context("starting a worker's runtime")?;
        let thread = std::thread::Builder::new().name(format!("door-{number}")).spawn(move || {
            runtime.block_on(async {
                let own: Result<Vec<TcpListener>, _> = own.into_iter().map(TcpListener::from_std).collect();
                match own {
                    Ok(own) => worker.serve(own, stop, GRACE).await,
                    Err(error) => tracing::error!(%error, "a worker cannot listen"),
                }
            });
            runtime.shutdown_background();
        });
        workers.push(thread.context("starting a worker thread")?);
    }
    Ok(workers)
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(4).thread_keep_alive(Duration::from_secs(5)).build()
}

/// What can be listed of other machines.
fn elsewhere(fleet: &fleet::Handle) -> Vec<Elsewhere> {
    let known = fleet.known();
    known.within_reach().map(|other| Elsewhere { node: other.name.clone(), backends: other.backends.clone() }).collect()
}

/// After sleep everything that was known is old.
async fn notice_sleep(watch: Handle, fleet: fleet::Handle, stop: CancellationToken) {
    let mut slept = clock::slept();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
        let now = clock::slept();
        let asleep = now.saturating_sub(slept);
        slept = now;
        if asleep > Duration::from_secs(2) {
            tracing::info!(seconds = asleep.as_secs(), "this machine was asleep; looking at everything anew");
            watch.refresh_all();
            fleet.slept();
        }
    }
}

/// Takes as many file descriptors as the system lets this user have: each stream needs two. Tells how many.
#[cfg(unix)]
fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // macOS refuses more than OPEN_MAX although its hard limit says "unlimited".
    let wanted = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX).min(if cfg!(target_vendor = "apple") {
        10_240
    } else {
        1 << 20
    });
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current
}

#[cfg(not(unix))]
fn raise_open_files() -> Option<u64> {
    None
}

impl Node {
    /// What the fleet's driver gets of this node. It keeps the node alive no longer than the door does.
    fn place_in_fleet(self: &Arc<Node>, guests: Arc<gateway::Worker>) -> fleet::Place {
        let (me, learner) = (self.me.clone(), self.me.clone());
        fleet::Place {
            dir: self.settings.data_dir.clone(),
            name: self.settings.node_name.clone(),
            never_lead: self.settings.never_lead,
            port: self.settings.mesh_port,
            mdns: self.settings.mdns,
            peers: self.settings.peers.clone(),
            clock: self.clock,
            sense: self.sense.clone(),
            facts: Box::new(move || me.upgrade().map(|node| node.facts()).unwrap_or_default()),
            changed: self.news.subscribe(),
            shared: self.sharing.changed(),
            tickets: self.tickets.clone(),
            learn: Box::new(move |known, mesh| {
                if let Some(node) = learner.upgrade() {
                    node.learn(known, mesh);
                }
            }),
            journals: fleet::journal::Journals::new(self.store.clone()),
            guests,
        }
    }

    /// What this node can say of itself.
    fn facts(&self) -> Facts {
        let backends = self.backends.load_full();
        let (in_flight, queued) = self.placer.look(|router| (router.in_flight(), router.queued()));
        let servers = self.placer.look(|router| views::servers(&backends, router));
        let share_ends_in_s = self.sharing.shown().ends_in_s(self.clock.unix_ms());
        let share = Some(self.share(&backends));
        Facts { share, share_ends_in_s, servers, backends: backends.to_vec(), in_flight, queued }
    }

    /// Takes in what is known of the fleet now, or has changed here.
    pub(crate) fn learn(&self, known: &fleet::Known, mesh: Option<Arc<dyn mesh::Transport>>) {
        let backends = self.backends.load_full();
        let shares = self.takes_guests().is_ok();
        let own =
            tickets::Own { name: self.name(), backends: backends.to_vec(), machine: self.sense.latest(), shares, mesh };
        self.tickets.know(known, own);
    }
}

impl Fleet for Node {
    fn place(&self, ask: Ask) -> Placing {
        let Some(me) = self.me.upgrade() else {
            return Placing::Now(Err(crate::refusal::failure(&routing::Refusal::Draining, ask.api, "").into()));
        };
        if ask.guest.is_none() && self.tickets.has_company() {
            return Placing::Later(Box::pin(me.place_in_the_fleet(ask)));
        }
        let fleet: Arc<dyn Fleet> = me;
        self.placer.place(&fleet, ask)
    }

    fn served(&self, trace: Trace) {
        if trace.api.needs_slot() && trace.outcome == Outcome::Completed {
            self.placer.counted(&trace);
        }
    }

    fn takes_guests(&self) -> Result<(), String> {
        self.sharing.takes_guests().map_err(|code| code.sentence().to_owned())
    }

    fn admit_guest(&self) -> Result<GuestPass, String> {
        self.sharing.guest().map(GuestPass::of).map_err(|code| code.sentence().to_owned())
    }

    fn ticket_begun(&self, ticket: u64) {
        self.tickets.begun(ticket);
    }

    fn ticket_ended(&self, ticket: u64, ending: TicketEnding) {
        self.tickets.ended(ticket, ending);
    }

    fn send(&self, node: NodeId, request: http::Request<AwayBody>) -> Sending {
        let Some(mesh) = self.tickets.mesh() else {
            return Box::pin(std::future::ready(Err("this machine has no connection to others".to_owned())));
        };
        let sent = mesh.request(fleet::known::key(node), request);
        Box::pin(async move { sent.await.map_err(|error| error.to_string()) })
    }

    fn at_machine<'a>(&self, name: &'a str) -> Option<(&'a str, NodeId)> {
        // Nearly all names have none.
        name.contains('@').then(|| self.machine_in(name)).flatten()
    }

    fn first_content(&self, key: u64) {
        self.placer.first_content(key);
    }

    fn finish(&self, key: u64, ending: Ending) {
        self.placer.finish(key, ending);
    }

    fn report(&self, trace: Trace) {
        // Questions about a model are no requests to it: they would drown the history (some clients ask before each).
        if trace.api.needs_slot() {
            if trace.outcome == Outcome::Completed {
                match trace.server {
                    None => self.placer.counted(&trace),
                    Some(_) => self.tickets.counted(&trace),
                }
            }
            self.store.record(trace);
        }
    }

    fn suspect(&self, backend: &BackendId) {
        self.watch.suspect(backend);
    }

    fn refresh(&self, backend: &BackendId) {
        self.watch.refresh(backend);
    }

    fn count(&self, model: &ModelName, text_bytes: u64, images: u32) -> Count {
        let backends = self.backends.load();
        let mut holders = backends.iter().filter(|backend| backend.model(model).is_some()).peekable();
        if holders.peek().is_none() {
            return match self.counts_elsewhere(model) {
                None => Count::UnknownModel,
                Some(true) => Count::Backend,
                Some(false) => {
                    Count::Estimate(self.tickets.look(|fleet| fleet.estimate(model, text_bytes, images).tokens))
                }
            };
        }
        match holders.any(|backend| backend.health.is_up() && backend.serves.has(Api::CountTokens)) {
            true => Count::Backend,
            false => Count::Estimate(self.placer.look(|router| router.estimate(model, text_bytes, images).tokens)),
        }
    }

    fn stand_in(&self, asked: &str) -> Option<Arc<str>> {
        let asked = asked.to_ascii_lowercase();
        let fits = |name: &str| name == "*" || name == "default" || asked.contains(name);
        let named = self.settings.anthropic_models.iter().find(|(name, _)| fits(name));
        named.map(|(_, model)| Arc::from(model.as_str())).or_else(|| (**self.stand_in.load()).clone())
    }

    fn change(&self, change: Change) -> ChangeFuture {
        self.begin(change)
    }

    fn pair(&self, yes: bool) -> PairStream {
        // Whoever waits for a machine to join does not hold up the end.
        Box::pin(self.fleet.pair(yes).take_until(self.stopping.clone().cancelled_owned()))
    }

    fn view(&self, view: View) -> ViewFuture {
        if let Some(answer) = self.quick_view(&view) {
            return Box::pin(std::future::ready(answer));
        }
        if let Some(answer) = self.fleet_view(&view) {
            return answer;
        }
        let store = self.store.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || views::stored_view(&store, view))
                .await
                .unwrap_or_else(|error| Err(ViewError::Failed(error.to_string())))
        })
    }

    fn gauges(&self) -> Gauges {
        let backends = self.backends.load();
        let (in_flight, queued) = self.placer.look(|router| (router.in_flight(), router.queued()));
        Gauges {
            in_flight: in_flight.into(),
            queued: queued.into(),
            traces_dropped: self.store.dropped(),
            backends: self.placer.look(|router| {
                backends
                    .iter()
                    .map(|backend| {
                        let load = router.load(&backend.id).into();
                        (backend.id.to_string(), backend.health.is_up(), load, backend.models.len() as u64)
                    })
                    .collect()
            }),
        }
    }
}
