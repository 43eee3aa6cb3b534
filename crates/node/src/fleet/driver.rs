//! The one task that owns everything about the fleet.
//!
//! Started by the node, ended by its token. What wakes it: orders, the mesh, discovery, news of this node's backends, its
//! own errands, and the timer of membership (each second, while there are others).

use std::collections::BTreeMap;
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
use super::known::{self, Known, Names, Other};
use super::offer::Pairing;
use super::papers::Papers;
use super::party::{Happening, Party};
use super::sense::Sense;
use super::{Desk, Done, Facts, Order, names};

/// News of backends come in bursts: what others are told waits this long for the rest of them.
const SETTLE: Duration = Duration::from_millis(250);
/// How often others are told what changes all the time, such as memory in use, if it has changed.
const REFRESH: Duration = Duration::from_secs(5);
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
}

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
    pub(super) own: Arc<ArcSwap<Own>>,
    /// Something that `Known` shows has changed.
    pub(super) dirty: bool,
    /// What listings show of others, told apart.
    listed: Vec<(NodeId, Arc<str>, [u8; 16])>,
    pub(super) refresh_at: Option<Moment>,
    look_up_at: Option<Moment>,
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
        Driver {
            place,
            papers,
            desk,
            party: None,
            pairing: None,
            joining: false,
            errands: JoinSet::new(),
            own: Arc::default(),
            dirty: true,
            listed: Vec::new(),
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
        let due = [core, self.refresh_at, self.look_up_at, self.restart_at, self.cut_at];
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
            Order::NewFleet { name, done } => {
                let begun = self.new_fleet(name).await;
                let _ = done.send(begun);
            }
            Order::Nodes(to) => drop(to.send(self.node_rows())),
            Order::Devices(to) => drop(to.send(self.device_rows())),
            Order::Check(to) => drop(to.send(self.checks())),
            Order::Slept => {
                let now = self.now();
                if let Some(party) = &mut self.party {
                    party.core.handle(membership::Input::Slept, now);
                    self.look_up_at = Some(now);
                }
            }
        }
    }

    /// The names of all members, this node's own included.
    pub(super) fn names(&self) -> Names {
        let own = self.me().map(|me| {
            let given = names::given(&self.papers.memory.settings, me);
            (me, given.unwrap_or_else(|| self.place.name.clone()))
        });
        let members = self.papers.fleet.iter().flat_map(|fleet| fleet.roster.members());
        let others = members.filter(|member| Some(known::id(member.node)) != self.me()).map(|member| {
            let id = known::id(member.node);
            let said = || {
                let summary = self.party.as_ref()?.members.get(&id)?.summary.as_ref()?;
                Some(names::clean(&summary.name)).filter(|name| !name.is_empty())
            };
            let given = names::given(&self.papers.memory.settings, id);
            (id, given.or_else(said).unwrap_or_else(|| names::clean(&member.name)))
        });
        names::unlike(own.into_iter().chain(others).collect())
    }

    /// What the fleet is called.
    pub(super) fn fleet_name(&self) -> String {
        let memory = &self.papers.memory;
        let set = memory.settings.get(names::FLEET).and_then(|setting| setting.value.as_deref());
        let name = set.or(memory.fleet_name.as_deref()).map(names::clean);
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| names::HOME.to_owned())
    }

    /// Makes what is known visible to others, if it has changed.
    fn publish(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let now = self.now();
        let names = self.names();
        let me = self.me();
        let mut known = Known {
            me,
            name: me.and_then(|me| names::given(&self.papers.memory.settings, me)).map(Arc::from),
            fleet: self.papers.fleet.as_ref().map(|fleet| (fleet.roster.fleet().to_string(), self.fleet_name())),
            leader: me.filter(|_| !self.place.never_lead && self.papers.company().is_none()),
            epoch: 0,
            others: Vec::new(),
        };
        let members: BTreeMap<NodeId, membership::Presence> = match &self.party {
            Some(party) => {
                let view = party.core.view(now);
                if self.papers.company().is_some() {
                    (known.leader, known.epoch) = (view.leader, view.epoch.number());
                }
                view.members.iter().map(|member| (member.id, member.presence)).collect()
            }
            None => BTreeMap::new(),
        };
        for (id, name) in names.into_iter().filter(|(id, _)| Some(*id) != me) {
            let member = self.party.as_ref().and_then(|party| party.members.get(&id));
            known.others.push(Other {
                id,
                name,
                presence: members.get(&id).copied().unwrap_or(membership::Presence::Gone),
                summary: member.and_then(|member| member.summary.clone()),
                backends: member.map(|member| member.backends.clone()).unwrap_or_default(),
            });
        }
        let digest = |other: &Other| {
            let member = self.party.as_ref().and_then(|party| party.members.get(&other.id));
            member.map_or([0; 16], |member| member.catalog)
        };
        let listed = known.within_reach().map(|other| (other.id, other.name.clone(), digest(other))).collect();
        self.desk.known.store(Arc::new(known));
        if self.listed != listed {
            self.listed = listed;
            self.desk.news.send_replace(());
        }
    }

    /// Others are to be told soon what has changed here.
    pub(super) fn refresh_soon(&mut self) {
        if self.party.is_some() {
            let soon = self.now() + SETTLE;
            self.refresh_at = Some(self.refresh_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// Tells others what this node is and does, if that has changed.
    fn tell_of_self(&mut self) {
        let facts = (self.place.facts)();
        let own = Own::of(&facts.backends);
        if own.digest != self.own.load().digest {
            if !own.is_whole {
                tracing::warn!("this machine has more models than others can be told of");
            }
            self.own.store(Arc::new(own));
        }
        let now = self.now();
        self.refresh_at = Some(now + REFRESH);
        let priority = if self.place.never_lead { proto::Priority::Never } else { self.place.sense.priority() };
        let name = self.me().and_then(|me| names::given(&self.papers.memory.settings, me));
        let summary = rows_summary(&self.place, name, facts, self.own.load().digest);
        // For the next time.
        self.place.sense.nudge();
        if let Some(party) = &mut self.party {
            party.core.handle(membership::Input::Priority(priority), now);
            party.core.handle(membership::Input::State(summary.encode()), now);
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

fn rows_summary(place: &Place, name: Option<String>, facts: Facts, catalog: [u8; 16]) -> proto::wire::Summary {
    let share =
        facts.share.map(|share| proto::wire::Share { state: share.state, reason: share.reason, ends_in_s: None });
    proto::wire::Summary {
        name: name.unwrap_or_else(|| place.name.clone()),
        version: proto::VERSION.to_owned(),
        share: share.unwrap_or_default(),
        backends: facts.servers,
        machine: place.sense.latest(),
        catalog,
        in_flight: facts.in_flight,
        queued: facts.queued,
    }
}
