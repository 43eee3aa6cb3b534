//! One node from start to end.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use backend::{Handle, Watcher};
use gateway::{Door, Elsewhere, Limits, Protection};
use probe::KeepAwake;
use proto::{BackendState, Clock, NodeId};
use routing::scheduler::{FleetSettings, Scoring};
use store::Store;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::awake::{self, Awake};
use crate::fleet::{self, Driver, Papers};
use crate::node::Node;
use crate::outside::{Outside, Ways};
use crate::placing::Placer;
use crate::running::Orders;
use crate::settings::{self, ContextProtection, Settings};
use crate::sharing::{self, Sharing};
use crate::tasks::Tasks;
use crate::tickets::{self, Tickets};
use crate::{backends, bind, clock, files, loads, logging};

/// How long running requests may take to end after the node was told to stop. A second signal ends it at once.
const GRACE: Duration = Duration::from_secs(60);
/// How often connections to backends are looked at that serve requests of other nodes.
const SWEEP: Duration = Duration::from_secs(2);
/// Rows of the history that are older go.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

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
        awake: Awake::default(),
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
    if node.settings.keep_awake {
        let keeper = KeepAwake::new(&node.settings.surroundings);
        let (placer, tickets) = (placer.clone(), tickets.clone());
        // Of the requests of this machine's own apps also those that another machine answers.
        let is_serving =
            move || placer.look(|router| router.in_flight() + router.queued()) > 0 || tickets.under_way() > 0;
        let (awake, evidence) = (node.awake.clone(), sensed.subscribe());
        tasks.spawn("keeping awake", move |stop| {
            awake.keep(move || keeper.hold(awake::REASON), is_serving, evidence, clock, stop)
        });
    }
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
        |stop| async move {
            // What was learnt outlives a restart; nobody waits for it.
            let own = store.node_key().to_owned();
            match tokio::task::spawn_blocking(move || store.speeds()).await {
                Ok(Ok(speeds)) => speeds.iter().filter(|speed| speed.node_key == own).for_each(|speed| {
                    placer.remember(&speed.backend, &speed.model, speed.prefill, speed.decode);
                }),
                Ok(Err(error)) => tracing::warn!(%error, "how fast models were is not known"),
                Err(error) => tracing::error!(%error, "how fast models were is not known"),
            }
            stop.cancelled().await;
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
