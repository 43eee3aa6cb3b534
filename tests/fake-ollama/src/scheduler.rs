//! Ollama's scheduler: which models are loaded, who waits for a slot, who waits for a load, who must go.
//!
//! One task ([`Scheduler::place_all`]) loads and evicts, one at a time and first come first served; another
//! ([`Scheduler::expire_all`]) unloads what was idle for its keep_alive. Both are started by the server and end with it.
//! The queue for loads is bounded by `max_queue` (the next one is refused); waiting for a slot is not, as in the original.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::clock;
use crate::models::Model;
use crate::wishes::Fit;

/// What a request needs before it can run.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub(crate) model: Arc<Model>,
    pub(crate) fit: Fit,
    /// `None` leaves the runner's keep_alive as it is.
    pub(crate) keep_alive: Option<Duration>,
    /// How long a load takes, if it comes to one.
    pub(crate) load_time: Duration,
    /// Why a load fails, if it comes to one.
    pub(crate) load_fails: Option<&'static str>,
}

/// Why there is no runner.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoRunner {
    /// Too many requests wait for a load.
    QueueFull,
    /// The load failed with this text.
    LoadFailed(String),
}

/// One engine process. Dies once and stays dead.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) dead: AtomicBool,
    /// Woken when the engine dies.
    pub(crate) died: Notify,
    slots: Arc<Semaphore>,
}

/// Counts of one model since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) loads: AtomicU64,
    pub(crate) evictions: AtomicU64,
    pub(crate) tokens: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) queued: AtomicU64,
}

struct Loaded {
    id: u64,
    model: Arc<Model>,
    fit: Fit,
    engine: Arc<Engine>,
    keep_alive: Duration,
    users: usize,
    /// Told to make room for another model.
    evicted: bool,
    /// Time since 1970 at which /api/ps says it goes.
    expires_at: Duration,
    /// When it goes, while nobody uses it.
    due: Option<Instant>,
}

/// A loaded model as /api/ps tells it.
pub(crate) struct Running {
    pub(crate) model: Arc<Model>,
    pub(crate) context: u64,
    pub(crate) expires_at: Duration,
}

struct Waiting {
    need: Need,
    reply: oneshot::Sender<Result<User, NoRunner>>,
}

/// See the module.
pub(crate) struct Scheduler {
    loaded: Mutex<Vec<Loaded>>,
    tallies: Mutex<BTreeMap<String, Arc<Tally>>>,
    pending: mpsc::Sender<Waiting>,
    line: Mutex<Option<mpsc::Receiver<Waiting>>>,
    gone: Notify,
    idle: Notify,
    next_id: AtomicU64,
    limits: Limits,
}

/// What bounds the scheduler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) parallel: usize,
    pub(crate) max_loaded: usize,
    pub(crate) max_queue: usize,
    pub(crate) keep_alive: Duration,
}

impl Scheduler {
    pub(crate) fn new(limits: Limits) -> Arc<Scheduler> {
        let (pending, line) = mpsc::channel(limits.max_queue.max(1));
        Arc::new(Scheduler {
            loaded: Mutex::default(),
            tallies: Mutex::default(),
            pending,
            line: Mutex::new(Some(line)),
            gone: Notify::new(),
            idle: Notify::new(),
            next_id: AtomicU64::new(1),
            limits,
        })
    }

    /// A runner for `need`. Dropping the future leaves the queue, and stops the load if it was for this request.
    pub(crate) async fn runner(self: &Arc<Self>, need: Need) -> Result<User, NoRunner> {
        if let Some(user) = self.join(&need) {
            return Ok(user);
        }
        let _queued = Counted::up(&self.tally(&need.model), |tally| &tally.queued);
        let (reply, answer) = oneshot::channel();
        self.pending.try_send(Waiting { need, reply }).map_err(|_| NoRunner::QueueFull)?;
        answer.await.unwrap_or(Err(NoRunner::QueueFull))
    }

    /// Tells the runner of `model` to go: at once when idle, else as soon as it is.
    pub(crate) fn unload(&self, model: &Model) {
        let mut loaded = self.loaded();
        if let Some(one) = loaded.iter_mut().find(|one| one.model.weights == model.weights) {
            one.keep_alive = Duration::ZERO;
            one.expires_at = clock::since_1970();
            one.due = Some(clock::now());
            let id = one.id;
            self.drop_if_idle(&mut loaded, id);
        }
    }

    /// What is loaded, the longest to live first.
    pub(crate) fn running(&self) -> Vec<Running> {
        let mut all: Vec<Running> = self
            .loaded()
            .iter()
            .map(|one| Running { model: one.model.clone(), context: one.fit.context, expires_at: one.expires_at })
            .collect();
        all.sort_by_key(|running| std::cmp::Reverse(running.expires_at));
        all
    }

    /// Requests that wait for their turn to load; the one whose turn it is is not counted.
    pub(crate) fn pending(&self) -> usize {
        self.pending.max_capacity() - self.pending.capacity()
    }

    /// The counts of `model`, under the name that lists show.
    pub(crate) fn tally(&self, model: &Model) -> Arc<Tally> {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.entry(model.name.short()).or_default().clone()
    }

    /// All counts by model name.
    pub(crate) fn tallies(&self) -> Vec<(String, Arc<Tally>)> {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.iter().map(|(name, tally)| (name.clone(), tally.clone())).collect()
    }

    /// Serves the queue of loads until the server ends. May be dropped anywhere.
    pub(crate) async fn place_all(self: Arc<Self>) {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut line) = line else { return };
        while let Some(waiting) = line.recv().await {
            self.place(waiting).await;
        }
    }

    async fn place(self: &Arc<Self>, mut waiting: Waiting) {
        loop {
            if waiting.reply.is_closed() {
                return;
            }
            let mut gone = pin!(self.gone.notified());
            gone.as_mut().enable();
            match self.make_room(&waiting.need) {
                Room::Joined(user) => return drop(waiting.reply.send(Ok(user))),
                Room::Free => return self.load(&mut waiting).await,
                // Whoever asks may leave now: the wait for the victim goes on, and so does the wait of all behind.
                Room::After => gone.await,
            }
        }
    }

    async fn load(self: &Arc<Self>, waiting: &mut Waiting) {
        let need = waiting.need.clone();
        if !need.load_time.is_zero() {
            tokio::select! {
                () = waiting.reply.closed() => return,
                () = tokio::time::sleep(need.load_time) => {}
            }
        }
        let (unused, _) = oneshot::channel();
        let reply = std::mem::replace(&mut waiting.reply, unused);
        if let Some(text) = need.load_fails {
            return drop(reply.send(Err(NoRunner::LoadFailed(text.to_owned()))));
        }
        let tally = self.tally(&need.model);
        tally.loads.fetch_add(1, Ordering::Relaxed);
        let slots = if need.model.can("embedding") { 1 } else { self.limits.parallel.max(1) };
        let engine =
            Engine { dead: AtomicBool::new(false), died: Notify::new(), slots: Arc::new(Semaphore::new(slots)) };
        let keep_alive = need.keep_alive.unwrap_or(self.limits.keep_alive);
        let one = Loaded {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            model: need.model.clone(),
            fit: need.fit.clone(),
            engine: Arc::new(engine),
            keep_alive,
            users: 1,
            evicted: false,
            expires_at: clock::since_1970() + keep_alive,
            due: None,
        };
        let user = User { scheduler: self.clone(), id: one.id, engine: one.engine.clone(), tally };
        self.loaded().push(one);
        drop(reply.send(Ok(user)));
    }

    fn make_room(self: &Arc<Self>, need: &Need) -> Room {
        if let Some(user) = self.join(need) {
            return Room::Joined(user);
        }
        let mut loaded = self.loaded();
        let same = loaded.iter().position(|one| one.model.weights == need.model.weights);
        let victim = match same {
            Some(at) => at,
            None if loaded.len() < self.limits.max_loaded.max(1) => return Room::Free,
            // The idle one with the shortest keep_alive; if all are busy, the one with the shortest.
            None => match (0..loaded.len()).min_by_key(|at| (loaded[*at].users > 0, loaded[*at].keep_alive)) {
                Some(at) => at,
                None => return Room::Free,
            },
        };
        let one = &mut loaded[victim];
        one.keep_alive = Duration::ZERO;
        one.due = Some(clock::now());
        let id = one.id;
        let tally = self.tally(&one.model);
        if same.is_none() && !std::mem::replace(&mut one.evicted, true) {
            tally.evictions.fetch_add(1, Ordering::Relaxed);
        }
        if self.drop_if_idle(&mut loaded, id) && (same.is_some() || loaded.len() < self.limits.max_loaded.max(1)) {
            return Room::Free;
        }
        Room::After
    }

    /// Uses a runner that is loaded and fits; a keep_alive given now replaces the one it had.
    fn join(self: &Arc<Self>, need: &Need) -> Option<User> {
        let mut loaded = self.loaded();
        let one = loaded.iter_mut().find(|one| {
            let alive = !one.engine.dead.load(Ordering::Relaxed);
            alive && one.model.weights == need.model.weights && one.fit.serves(&need.fit)
        })?;
        one.users += 1;
        one.due = None;
        if let Some(keep_alive) = need.keep_alive {
            one.keep_alive = keep_alive;
            one.evicted = false;
            one.expires_at = clock::since_1970() + keep_alive;
        }
        let tally = self.tally(&need.model);
        Some(User { scheduler: self.clone(), id: one.id, engine: one.engine.clone(), tally })
    }

    fn leave(&self, id: u64) {
        let mut loaded = self.loaded();
        let Some(one) = loaded.iter_mut().find(|one| one.id == id) else { return };
        one.users = one.users.saturating_sub(1);
        if one.users > 0 {
            return;
        }
        one.expires_at = clock::since_1970() + one.keep_alive;
        one.due = clock::now().checked_add(one.keep_alive);
        if one.keep_alive.is_zero() {
            self.drop_if_idle(&mut loaded, id);
        } else {
            self.idle.notify_one();
        }
    }

    fn drop_if_idle(&self, loaded: &mut Vec<Loaded>, id: u64) -> bool {
        let before = loaded.len();
        loaded.retain(|one| one.id != id || one.users > 0);
        let went = loaded.len() < before;
        if went {
            self.gone.notify_waiters();
        }
        went
    }

    /// Unloads what its keep_alive is over for, until the server ends. May be dropped anywhere.
    pub(crate) async fn expire_all(self: Arc<Self>) {
        loop {
            let next = {
                let mut loaded = self.loaded();
                let now = clock::now();
                let over = |one: &Loaded| one.users == 0 && one.due.is_some_and(|due| due <= now);
                while let Some(id) = loaded.iter().find(|one| over(one)).map(|one| one.id) {
                    self.drop_if_idle(&mut loaded, id);
                }
                loaded.iter().filter(|one| one.users == 0).filter_map(|one| one.due).min()
            };
            match next {
                None => self.idle.notified().await,
                Some(due) => tokio::select! {
                    () = self.idle.notified() => {}
                    () = tokio::time::sleep_until(due.into()) => {}
                },
            }
        }
    }

    fn loaded(&self) -> MutexGuard<'_, Vec<Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Room {
    Joined(User),
    Free,
    After,
}

/// A request's hold on a runner: it is not unloaded before this is dropped.
#[must_use = "the runner may go as soon as this is dropped"]
pub(crate) struct User {
    scheduler: Arc<Scheduler>,
    id: u64,
    pub(crate) engine: Arc<Engine>,
    pub(crate) tally: Arc<Tally>,
}

impl User {
    /// Waits for a slot of the runner, first come first served.
    pub(crate) async fn slot(self) -> Slot {
        let permit = {
            let _queued = Counted::up(&self.tally, |tally| &tally.queued);
            // The semaphore is never closed, so this always is a permit.
            self.engine.slots.clone().acquire_owned().await.ok()
        };
        let in_flight = Counted::up(&self.tally, |tally| &tally.in_flight);
        Slot { _permit: permit, _in_flight: in_flight, user: self }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.scheduler.leave(self.id);
    }
}

/// A place in the engine. Given back by dropping it: first the slot, then the hold on the runner.
#[must_use = "the slot is freed as soon as this is dropped"]
pub(crate) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
    _in_flight: Counted,
    pub(crate) user: User,
}

/// Adds one to a count for as long as it lives.
struct Counted {
    tally: Arc<Tally>,
    which: fn(&Tally) -> &AtomicU64,
}

impl Counted {
    fn up(tally: &Arc<Tally>, which: fn(&Tally) -> &AtomicU64) -> Counted {
        which(tally).fetch_add(1, Ordering::Relaxed);
        Counted { tally: tally.clone(), which }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.which)(&self.tally).fetch_sub(1, Ordering::Relaxed);
    }
}
