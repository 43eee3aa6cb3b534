//! Ollama's scheduler: which models are loaded, who waits for a slot, who waits for a load, who must go.
//!
//! One task ([`Scheduler::place_all`]) loads and evicts, one at a time and first come first served; another
//! ([`Scheduler::expire_all`]) unloads what was idle for its keep_alive. Both are started by the server and end with it.
//! The queue for loads is bounded by `max_queue` (the next one is refused); waiting for a slot is not, as in the original.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock;
use crate::models::Model;
use crate::runner::{Counted, Engine, Tally, User};
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

struct Loaded {
    id: u64,
    model: Arc<Model>,
    fit: Fit,
    engine: Arc<Engine>,
    keep_alive: Duration,
    users: usize,
    /// Found to hang.
    given_up: bool,
    /// Told to make room for another model.
    evicted: bool,
    /// Time since 1970 at which /api/ps says it goes.
    expires_at: Duration,
    /// When it goes, while nobody uses it.
    due: Option<Instant>,
    /// Bytes in memory, and how many of these on the GPU.
    size: u64,
    vram: u64,
}

/// A loaded model as /api/ps tells it.
pub(crate) struct Running {
    pub(crate) model: Arc<Model>,
    pub(crate) context: u64,
    pub(crate) expires_at: Duration,
    pub(crate) size: u64,
    pub(crate) vram: u64,
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
    /// How long a runner that does not answer is asked whether it lives, before it counts as dead.
    pub(crate) ping: Duration,
    /// Bytes on the GPU; `None` for a machine without one, where nothing is ever in the way.
    pub(crate) memory: Option<u64>,
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
        self.ping(&need).await;
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
            .map(|one| Running {
                model: one.model.clone(),
                context: one.fit.context,
                expires_at: one.expires_at,
                size: one.size,
                vram: one.vram,
            })
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
            if self.ping(&waiting.need).await {
                self.give_up(&waiting.need);
            }
            let mut gone = pin!(self.gone.notified());
            gone.as_mut().enable();
            match self.make_room(&waiting.need) {
                Room::Joined(user) => return drop(waiting.reply.send(Ok(user))),
                Room::Free => return self.load(&mut waiting).await,
                Room::Again => {}
                // Whoever asks may leave now: the wait for the victim goes on, and so does the wait of all behind.
                Room::After => gone.await,
            }
        }
    }

    async fn load(self: &Arc<Self>, waiting: &mut Waiting) {
        let need = waiting.need.clone();
        let tally = self.tally(&need.model);
        tally.starts.fetch_add(1, Ordering::Relaxed);
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
        tally.loads.fetch_add(1, Ordering::Relaxed);
        let slots = self.slots(&need.model);
        let size = need.model.held(need.fit.context, slots);
        let mut loaded = self.loaded();
        let keep_alive = need.keep_alive.unwrap_or(self.limits.keep_alive);
        let one = Loaded {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            model: need.model.clone(),
            fit: need.fit.clone(),
            engine: Arc::new(Engine::new(slots)),
            keep_alive,
            users: 1,
            given_up: false,
            evicted: false,
            expires_at: clock::since_1970() + keep_alive,
            due: None,
            size,
            // Alone, a model that is larger than the GPU is held there in part.
            vram: size.min(free(&loaded, self.limits.memory)),
        };
        let user = User { scheduler: self.clone(), id: one.id, is_first: true, engine: one.engine.clone(), tally };
        loaded.push(one);
        drop(loaded);
        drop(reply.send(Ok(user)));
    }

    fn slots(&self, model: &Model) -> usize {
        if model.can("embedding") { 1 } else { self.limits.parallel.max(1) }
    }

    /// Asks the runner that would serve `need` whether it lives; true if it does not answer.
    async fn ping(&self, need: &Need) -> bool {
        let hangs = self.loaded().iter().any(|one| one.would_serve(need) && one.engine.hung.load(Ordering::Relaxed));
        if hangs {
            tokio::time::sleep(self.limits.ping).await;
        }
        hangs
    }

    /// Gives up the runner that would serve `need`. It goes when nobody waits for it any more.
    fn give_up(&self, need: &Need) {
        for one in self.loaded().iter_mut().filter(|one| one.would_serve(need)) {
            one.given_up = true;
        }
    }

    /// Whether `need` can be loaded beside all that is loaded: on a GPU, in four fifths of what is free (the fit check
    /// of Ollama's server/sched.go, August 2026; read, not measured).
    fn has_room(&self, loaded: &[Loaded], need: &Need) -> bool {
        let size = need.model.held(need.fit.context, self.slots(&need.model));
        loaded.len() < self.limits.max_loaded.max(1)
            && (loaded.is_empty() || size <= free(loaded, self.limits.memory) / 5 * 4)
    }

    fn make_room(self: &Arc<Self>, need: &Need) -> Room {
        if let Some(user) = self.join(need) {
            return Room::Joined(user);
        }
        let mut loaded = self.loaded();
        let same = loaded.iter().position(|one| one.model.weights == need.model.weights);
        let victim = match same {
            Some(at) => at,
            None if self.has_room(&loaded, need) => return Room::Free,
            // The idle one with the shortest keep_alive; if all are busy, the one with the shortest. Equal ones by file.
            None => {
                let rank = |one: &Loaded| (one.users > 0, one.keep_alive, one.model.weights.clone());
                match (0..loaded.len()).min_by_key(|at| rank(&loaded[*at])) {
                    Some(at) => at,
                    None => return Room::Free,
                }
            }
        };
        let one = &mut loaded[victim];
        one.keep_alive = Duration::ZERO;
        one.due = Some(clock::now());
        let id = one.id;
        let tally = self.tally(&one.model);
        if same.is_none() && !std::mem::replace(&mut one.evicted, true) {
            tally.evictions.fetch_add(1, Ordering::Relaxed);
        }
        // Whether there is room enough now is looked at anew: it may take more than one.
        if self.drop_if_idle(&mut loaded, id) { Room::Again } else { Room::After }
    }

    /// Uses a runner that is loaded and fits; a keep_alive given now replaces the one it had.
    fn join(self: &Arc<Self>, need: &Need) -> Option<User> {
        let mut loaded = self.loaded();
        let serves = |one: &Loaded| one.would_serve(need) && !one.engine.hung.load(Ordering::Relaxed);
        let one = loaded.iter_mut().find(|one| serves(one))?;
        one.users += 1;
        one.due = None;
        if let Some(keep_alive) = need.keep_alive {
            one.keep_alive = keep_alive;
            one.evicted = false;
            one.expires_at = clock::since_1970() + keep_alive;
        }
        let tally = self.tally(&need.model);
        Some(User { scheduler: self.clone(), id: one.id, is_first: false, engine: one.engine.clone(), tally })
    }

    /// Ends the hold of one request on runner number `id`.
    pub(crate) fn leave(&self, id: u64) {
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
    /// Something went; there may be room now.
    Again,
    After,
}

impl Loaded {
    /// Whether it is loaded as `need` wants it, and neither dead nor known to hang.
    fn would_serve(&self, need: &Need) -> bool {
        let alive = !self.given_up && !self.engine.dead.load(Ordering::Relaxed);
        alive && self.model.weights == need.model.weights && self.fit.serves(&need.fit)
    }
}

/// Bytes of `memory` that nobody holds.
fn free(loaded: &[Loaded], memory: Option<u64>) -> u64 {
    memory.map_or(u64::MAX, |memory| memory.saturating_sub(loaded.iter().map(|one| one.vram).sum()))
}
