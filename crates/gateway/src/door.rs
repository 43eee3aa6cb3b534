//! The door: everything that its workers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use proto::{BackendState, Clock, RequestId};

use crate::budget::Budget;
use crate::control;
use crate::dashboard::{Feed, Sessions};
use crate::entrance::{Entries, Entry};
use crate::fleet::Fleet;
use crate::guard::Names;
use crate::headers::Ready;
use crate::keys::{Key, Keys};
use crate::listing::{Elsewhere, Listings};
use crate::metrics::Metrics;
use crate::protection::Notices;
use crate::stored::Responses;
use crate::upstream::Pool;
use crate::worker::Worker;

/// What the door will hold at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one inference request's body; a larger one is refused with 413.
    pub body: u64,
    /// Bytes of all bodies kept for a retry; what does not fit is passed on while it comes in and tried once.
    pub bodies: u64,
    /// Open client connections; the next one is closed at once.
    pub connections: u64,
    /// Responses kept for the next turn of their conversations; the one not used for the longest time goes.
    pub responses: usize,
    /// Bytes of all of them, each with all that was said before it. One of more than an eighth of that is not kept.
    pub response_bytes: u64,
    /// Silence in the middle of an answer after which its backend is taken to hang, and the answer is ended with an error;
    /// longer where pauses were long before, where the server works for others too, and where a tool call may be written.
    ///
    /// Shorter, and slow machines lose answers; longer, and people wait for an engine that is dead.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body: 256 << 20,
            bodies: 256 << 20,
            connections: 16_384,
            responses: 1_000,
            response_bytes: 64 << 20,
            silence: Duration::from_secs(20),
        }
    }
}

/// What the door is told when it is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node's shown name.
    pub node_name: String,
    /// This machine's host name: a Host header may be that.
    pub host_name: String,
    /// What tells this door from another Herd's.
    pub instance: String,
    /// The secret of `control.token`.
    pub token: String,
    /// Tries after the first.
    pub max_retries: u32,
    /// How long headers are held back for the first content of a stream. Longer, and clients that wait 30 s for headers
    /// give up (Cline does); shorter, and fewer failures can be hidden by a retry.
    pub hold: Duration,
    /// What is done with options that describe a machine.
    pub protection: Protection,
    /// Bounds.
    pub limits: Limits,
}

impl Settings {
    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

/// The door of a node: everything that its workers share.
pub struct Door {
    pub(crate) fleet: Arc<dyn Fleet>,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) names: Names,
    pub(crate) ready: Ready,
    pub(crate) budget: Budget,
    pub(crate) responses: Arc<Responses>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) listings: ArcSwap<Listings>,
    pub(crate) control: axum::Router,
    pub(crate) unique: AtomicU64,
    pub(crate) notices: Notices,
    pub(crate) feed: Feed,
    pub(crate) sessions: Sessions,
    pub(crate) keys: Keys,
    pub(crate) entries: Entries,
    lan_name: ArcSwapOption<String>,
}

impl Door {
    /// A door to `fleet`. `seed` makes its request ids differ from other doors'.
    pub fn new(fleet: Arc<dyn Fleet>, settings: Settings, clock: Clock, seed: u64) -> Arc<Door> {
        let listings = Listings::build(&[], &settings.node_name, &[]);
        Arc::new_cyclic(|door| Door {
            names: Names::new(&settings.host_name),
            ready: Ready::new(&settings.node_name, &settings.instance),
            budget: Budget::new(settings.limits.bodies),
            responses: Responses::new(&settings.limits),
            metrics: Arc::default(),
            listings: ArcSwap::from_pointee(listings),
            control: control::router(door.clone()),
            unique: AtomicU64::new(seed << 24),
            notices: Notices::default(),
            feed: Feed::default(),
            sessions: Sessions::default(),
            keys: Keys::default(),
            entries: Entries::default(),
            lan_name: ArcSwapOption::empty(),
            fleet,
            settings,
            clock,
        })
    }

    /// This node is called `name`, its backends are these, and `elsewhere` are those of other machines: what lists say is
    /// made anew.
    pub fn backends_changed(&self, name: &str, backends: &[Arc<BackendState>], elsewhere: &[Elsewhere]) {
        self.ready.call(name);
        self.listings.store(Arc::new(Listings::build(backends, name, elsewhere)));
    }

    /// These are the ways in besides those that the workers were started with: new ones are opened, and those that are
    /// missing are closed, which cuts nothing that is being answered.
    pub fn enter_by(&self, entries: Vec<Arc<Entry>>) {
        self.entries.set(entries);
    }

    /// These are the keys that let clients on other machines in.
    pub fn keys_changed(&self, keys: &[Key]) {
        self.keys.set(keys);
    }

    /// What the fleet is called on the network (`….local`), where this door answers to that.
    pub fn called_on_lan(&self, name: Option<String>) {
        self.lan_name.store(name.map(Arc::new));
    }

    pub(crate) fn lan_name(&self) -> Option<Arc<String>> {
        self.lan_name.load_full()
    }

    /// A worker for one thread's runtime.
    pub fn worker(self: &Arc<Door>) -> Arc<Worker> {
        Worker::new(self.clone(), Pool::new(self.clock))
    }

    pub(crate) fn fleet(&self) -> &Arc<dyn Fleet> {
        &self.fleet
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(crate) fn responses(&self) -> &Arc<Responses> {
        &self.responses
    }

    pub(crate) fn ready(&self) -> &Ready {
        &self.ready
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn control_router(&self) -> axum::Router {
        self.control.clone()
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub(crate) fn listings(&self) -> Arc<Listings> {
        self.listings.load_full()
    }

    /// Milliseconds since 1970.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    pub(crate) fn new_id(&self) -> (RequestId, u64) {
        let unix_ms = self.clock.unix_ms();
        (RequestId::new(unix_ms, self.unique.fetch_add(1, Ordering::Relaxed)), unix_ms)
    }
}

/// What is done with options of a request that describe a machine rather than an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// They are left out, and the answer and the log say so.
    #[default]
    Strip,
    /// They are passed on, and the log says so.
    Warn,
    /// They are passed on.
    Pass,
}
