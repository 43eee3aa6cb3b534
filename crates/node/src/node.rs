//! A running node: what its door asks of it, and what is shown of it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use backend::Handle;
use futures_util::StreamExt as _;
use gateway::{
    Ask, AwayBody, Change, ChangeFuture, Count, Ending, Fleet, Gauges, GuestPass, PairStream, Placing, Sending,
    TicketEnding, View, ViewError, ViewFuture,
};
use proto::{Api, BackendId, BackendState, Clock, ModelName, Moment, NodeId, Outcome, Trace};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::awake::Awake;
use crate::fleet::{self, Facts};
use crate::outside::Outside;
use crate::placing::Placer;
use crate::settings::Settings;
use crate::sharing::Sharing;
use crate::tickets::{self, Tickets};
use crate::views;

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
    pub(crate) stand_in: Arc<ArcSwap<Option<Arc<str>>>>,
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
    /// Whether this machine is kept from falling asleep.
    pub(crate) awake: Awake,
    pub(crate) me: std::sync::Weak<Node>,
}

impl Node {
    /// What the fleet's driver gets of this node. It keeps the node alive no longer than the door does.
    pub(crate) fn place_in_fleet(self: &Arc<Node>, guests: Arc<gateway::Worker>) -> fleet::Place {
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
