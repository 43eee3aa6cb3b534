//! The one task that owns everything about the fleet.
//!
//! Started by the node, ended by its token. What wakes it: orders, the mesh, discovery, news of this node's backends, its
//! own errands, and the timer of membership (each second, while there are others).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gateway::ChangeError;
use mesh::Transport as _;
use mesh::pairing::Welcome;
use proto::{Clock, Moment, NodeId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::catalog::{Fetched, Own};
use super::journal::{Journals, Pulled, Pulls};
use super::known::{self, Known};
use super::offer::Pairing;
use super::papers::Papers;
use super::party::{Happening, Party};
use super::sense::Sense;
use super::{Desk, Done, Facts, Order};
use crate::tickets::Tickets;

/// How often typed host names are looked up while somebody is missing, and addresses are kept.
const LOOK_UP: Duration = Duration::from_secs(60);
/// After which the mesh is started again that could not be, or that broke.
const RESTART: Duration = Duration::from_secs(5);
/// How long the node sleeps at most when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// What the node gives the driver.
pub(crate) struct Place {
    /// The data directory.
    pub(crate) dir: PathBuf,
    /// What this node calls itself, where nobody in the fleet named it.
    pub(crate) name: String,
    pub(crate) never_lead: bool,
    pub(crate) port: u16,
    pub(crate) mdns: bool,
    /// Typed addresses, `host:port`.
    pub(crate) peers: Vec<String>,
    pub(crate) clock: Clock,
    pub(crate) sense: Sense,
    /// What this node can say of itself.
    pub(crate) facts: Box<dyn Fn() -> Facts + Send + Sync>,
    /// Tells when the backends have changed.
    pub(crate) changed: watch::Receiver<()>,
    /// Tells when this node takes work, or does not any more.
    pub(crate) shared: watch::Receiver<()>,
    /// Told what others say about requests.
    pub(crate) tickets: Arc<Tickets>,
    /// Told whenever what is known has changed.
    pub(crate) learn: Learn,
    /// What others are given of the history.
    pub(crate) journals: Arc<Journals>,
    /// Serves requests that come from other nodes.
    pub(crate) guests: Arc<gateway::Worker>,
}

/// Takes what is known, and the mesh where there is one.
type Learn = Box<dyn Fn(&Known, Option<Arc<dyn mesh::Transport>>) + Send + Sync>;

/// What listings show: this node's given name, and each other one within reach with its name and its list's digest.
pub(super) type Listed = (Option<Arc<str>>, Vec<(NodeId, Arc<str>, [u8; 16])>);

/// The task's state.
pub(crate) struct Driver {
    pub(super) place: Place,
    pub(super) papers: Papers,
    pub(super) desk: Desk,
    /// The mesh and what runs on it; `None` for a machine alone.
    pub(super) party: Option<Party>,
    pub(super) pairing: Option<Pairing>,
    /// Whether this machine is just joining a fleet.
    pub(super) joining: bool,
    pub(super) errands: JoinSet<Errand>,
    pub(super) pulls: Pulls,
    pub(super) own: Arc<ArcSwap<Own>>,
    /// Something of `node.json` has changed and is not written yet.
    pub(super) unkept: bool,
    /// Something that `Known` shows has changed.
    pub(super) dirty: bool,
    /// What others are told next must not wait.
    pub(super) is_urgent: bool,
    /// As last told.
    pub(super) listed: Listed,
    pub(super) refresh_at: Option<Moment>,
    pub(super) look_up_at: Option<Moment>,
    restart_at: Option<Moment>,
    /// Why the mesh does not run although it should.
    pub(super) mesh_fault: Option<String>,
    /// When removed members are cut: a moment after they were told.
    pub(super) cut_at: Option<Moment>,
    /// Wall clock and moments at the last look, to see the former jump.
    clocks: (u64, Moment),
    /// By how many seconds the wall clock last jumped.
    pub(super) jumped_s: Option<i64>,
}

/// What was done beside the driver.
pub(super) enum Errand {
    /// Typed addresses were looked up.
    LookedUp(Vec<std::net::SocketAddr>),
    /// A member's list of models.
    Fetched(NodeId, Result<Fetched, String>),
    /// What a member remembers, and what it had said of that before.
    Pulled(NodeId, u64, Pulled),
    /// An attempt to join: the addresses that were dialled, and what became of it.
    Joined { dialled: Vec<std::net::SocketAddr>, result: Result<Box<Welcome>, ChangeError>, done: Done },
}

impl Driver {
    /// The driver of this machine; nothing happens before [`Driver::run`].
    pub(crate) fn new(place: Place, papers: Papers, desk: Desk) -> Driver {
        let clocks = (place.clock.unix_ms(), place.clock.now());
        for fault in &papers.faults {
            tracing::error!(fault, "the files of the fleet cannot be used");
        }
        let pulls = Pulls::new(place.journals.clone());
        Driver {
            place,
            papers,
            desk,
            party: None,
            pairing: None,
            joining: false,
            errands: JoinSet::new(),
            pulls,
            own: Arc::default(),
            unkept: false,
            dirty: true,
            is_urgent: false,
            listed: (None, Vec::new()),
            refresh_at: None,
            look_up_at: None,
            restart_at: None,
            mesh_fault: None,
            cut_at: None,
            clocks,
            jumped_s: None,
        }
    }

    /// Runs until `stop`; then says goodbye, which takes at most a second.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        if self.papers.company().is_some() {
            self.gather().await;
        }
        loop {
            self.publish();
            let rest = self.wake().map_or(IDLE, |wake| wake.since(self.place.clock.now()));
            tokio::select! {
                () = stop.cancelled() => break,
                Some(order) = self.desk.orders.recv() => self.obey(order).await,
                happening = Party::next(&mut self.party) => self.heed(happening).await,
                Some(done) = self.errands.join_next() => self.receive(done).await,
                changed = self.place.changed.changed() => match changed {
                    Ok(()) => self.refresh_soon(),
                    // The node is being taken apart.
                    Err(_) => break,
                },
                Ok(()) = self.place.shared.changed() => self.refresh_now(),
                () = self.pulls.changed() => {
                    let now = self.now();
                    self.pulls.noticed(now);
                }
                () = tokio::time::sleep(rest) => {}
            }
            self.keep_time().await;
        }
        self.end().await;
    }

    pub(super) fn now(&self) -> Moment {
        self.place.clock.now()
    }

    /// This node, where its identity can be read.
    pub(super) fn me(&self) -> Option<NodeId> {
        self.papers.identity.as_ref().map(|identity| known::id(identity.key()))
    }

    fn wake(&self) -> Option<Moment> {
        let core = self.party.as_ref().and_then(|party| party.core.poll_timeout());
        let due = [core, self.refresh_at, self.look_up_at, self.restart_at, self.cut_at, self.pulls.wake()];
        due.into_iter().flatten().min()
    }

    /// Does what is due.
    async fn keep_time(&mut self) {
        let now = self.now();
        let due = |at: &mut Option<Moment>| at.take_if(|at| now >= *at).is_some();
        if due(&mut self.restart_at) && self.party.is_none() && self.papers.company().is_some() {
            self.gather().await;
        }
        if due(&mut self.cut_at) {
            self.allow();
            self.alone_again().await;
        }
        if self.party.is_some() {
            if due(&mut self.refresh_at) {
                self.tell_of_self();
            }
            if due(&mut self.look_up_at) {
                self.look_up_at = Some(now + LOOK_UP);
                self.look_up();
                self.keep_addresses().await;
            }
            self.watch_clock();
            self.fetch_lists();
        } else {
            self.refresh_at = None;
            self.look_up_at = None;
        }
        self.exchange_journals();
        if let Some(party) = &mut self.party
            && party.core.poll_timeout().is_some_and(|wake| now >= wake)
        {
            party.core.handle_timeout(now);
        }
        self.carry_out().await;
    }

    /// Starts the mesh and what runs on it, if it does not run.
    pub(super) async fn gather(&mut self) {
        if self.party.is_some() {
            return;
        }
        match Party::start(&self.place, &mut self.papers, &self.own).await {
            Ok(party) => {
                tracing::info!(port = party.mesh.port(), "listening for the other machines of the fleet");
                self.party = Some(party);
                self.mesh_fault = None;
                let now = self.now();
                self.look_up_at = Some(now);
                self.refresh_at = Some(now);
                self.clocks = (self.place.clock.unix_ms(), now);
                self.place.sense.nudge();
                self.carry_out().await;
            }
            Err(fault) => {
                tracing::error!(fault, "the mesh cannot be started; trying again");
                self.mesh_fault = Some(fault);
                self.restart_at = Some(self.now() + RESTART);
            }
        }
        self.dirty = true;
    }

    /// Stops the mesh; what was queued is sent, within half a second.
    pub(super) async fn disband(&mut self) {
        if let Some(party) = self.party.take() {
            party.mesh.stop().await;
        }
        self.restart_at = None;
        self.cut_at = None;
        self.dirty = true;
    }

    /// The mesh has ended although nobody told it to.
    async fn mesh_broke(&mut self) {
        tracing::error!("the mesh broke down; it is started again");
        self.party = None;
        self.dirty = true;
        self.restart_at = Some(self.now() + Duration::from_secs(1));
    }

    async fn heed(&mut self, happening: Happening) {
        match happening {
            Happening::Ended => self.mesh_broke().await,
            Happening::Mesh(event) => self.mesh_event(event).await,
            Happening::Found(found) => {
                if let Some(party) = &mut self.party {
                    party.found(found);
                }
            }
            Happening::DiscoveryEnded => {
                if let Some(party) = &mut self.party {
                    tracing::warn!("looking for other machines on the network has ended");
                    party.discovery = None;
                    party.discovery_fault = Some("it ended by itself".to_owned());
                }
            }
        }
    }

    async fn receive(&mut self, done: Result<Errand, tokio::task::JoinError>) {
        match done {
            Err(error) => {
                tracing::error!(%error, "an errand of the fleet broke off");
                // Only one at a time can be under way, and its end will not be told.
                self.joining = false;
            }
            Ok(Errand::LookedUp(addresses)) => {
                if let Some(party) = &self.party {
                    party.dial_typed(&addresses);
                }
            }
            Ok(Errand::Fetched(node, result)) => self.fetched(node, result),
            Ok(Errand::Pulled(node, heard, pulled)) => self.pulled(node, heard, pulled),
            Ok(Errand::Joined { dialled, result, done }) => self.joined(&dialled, result, done).await,
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Pair { yes, items, gone } => self.pair(yes, items, gone).await,
            Order::Offered { code, plate, port } => self.offered(&code, plate, port),
            Order::Asks { candidate, decide } => self.asks(candidate, decide).await,
            Order::OfferEnded(ended) => self.offer_ended(ended).await,
            Order::Answer { joiner, allow, done } => {
                let answer = self.answer(&joiner, allow).await;
                let _ = done.send(answer);
            }
            Order::Join { code, address, done } => self.join(&code, address, done),
            Order::Leave { done } => {
                let left = self.leave().await;
                let _ = done.send(left);
            }
            Order::Remove { device, done } => {
                let removed = self.remove(&device).await;
                let _ = done.send(removed);
            }
            Order::Rename { device, name, done } => {
                let renamed = self.rename(&device, &name).await;
                let _ = done.send(renamed);
            }
            Order::AddKey { name, rpm, at_once, done } => {
                let added = self.add_key(&name, rpm, at_once).await;
                let _ = done.send(added);
            }
            Order::RevokeKey { name, done } => {
                let revoked = self.revoke_key(&name).await;
                let _ = done.send(revoked);
            }
            Order::NewFleet { name, done } => {
                let begun = self.new_fleet(name).await;
                let _ = done.send(begun);
            }
            Order::Nodes(to) => drop(to.send(self.node_rows())),
            Order::Devices(to) => drop(to.send(self.device_rows())),
            Order::Check(to) => drop(to.send(self.checks())),
            Order::KeepShare { kept, done } => {
                self.papers.memory.share = Some(kept);
                let _ = done.send(self.write_memory().await);
            }
            Order::Slept => {
                let now = self.now();
                if let Some(party) = &mut self.party {
                    party.core.handle(membership::Input::Slept, now);
                    self.look_up_at = Some(now);
                }
            }
        }
    }

    /// Notices when somebody or something sets the clock.
    fn watch_clock(&mut self) {
        let now = (self.place.clock.unix_ms(), self.now());
        let passed = i128::try_from(now.1.since(self.clocks.1).as_millis()).unwrap_or(0);
        let jump_ms = i128::from(now.0) - i128::from(self.clocks.0) - passed;
        self.clocks = now;
        if jump_ms.abs() > 60_000 {
            let seconds = i64::try_from(jump_ms / 1000).unwrap_or(0);
            tracing::warn!(seconds, "the clock of this machine was set");
            self.jumped_s = Some(seconds);
        }
    }

    /// Says goodbye.
    async fn end(mut self) {
        self.desk.orders.close();
        let thread = self.pairing.take().map(Pairing::withdraw);
        self.keep_addresses().await;
        let now = self.now();
        if let Some(party) = &mut self.party {
            party.core.handle(membership::Input::Leave, now);
        }
        self.carry_out().await;
        self.disband().await;
        self.errands.shutdown().await;
        if let Some(Some(thread)) = thread
            && tokio::task::spawn_blocking(move || thread.join()).await.is_ok_and(|ended| ended.is_err())
        {
            tracing::error!("the thread that showed a code panicked");
        }
    }
}
