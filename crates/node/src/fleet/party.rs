//! What runs while there are other members: the mesh, the core of membership, discovery, and what each member told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use membership::{Input, Membership, Output, Start};
use mesh::discovery::{Discovery, Found, Networks};
use mesh::{Event, Events, Hint, Listen, Mesh, SendError, Serve, Source, Transport as _};
use proto::wire::{Addresses, Envelope, MAX_ADDRESSES, MAX_PLACES, Message, NotAMessage, Summary};
use proto::{BackendState, Incarnation, Moment, NodeId, Priority};

use super::catalog::{self, Fetched, Own};
use super::driver::{Driver, Errand, Place};
use super::known::{self, id, key};
use super::names;
use super::papers::{self, Papers};
use super::sync::{self, Told};

/// When a list of models that could not be fetched is asked for again.
const FETCH_AGAIN: Duration = Duration::from_secs(3);
/// Lists that are fetched at once.
const MOST_FETCHES: usize = 8;
/// How long removed members stay connected, so that they hear of it.
const FAREWELL: Duration = Duration::from_millis(250);

/// The mesh and what runs on it.
pub(crate) struct Party {
    pub(super) mesh: Mesh,
    events: Events,
    pub(super) core: Membership,
    pub(super) discovery: Option<Discovery>,
    /// Why there is no discovery although there should be.
    pub(super) discovery_fault: Option<String>,
    /// Whether a member was ever heard announcing itself.
    pub(super) heard_announced: bool,
    pub(super) since: Moment,
    pub(super) members: BTreeMap<NodeId, Member>,
    pub(super) told: Told,
    /// Members that live under an identity that others use too.
    pub(super) twins: Vec<NodeId>,
}

/// What a member told.
#[derive(Default)]
pub(super) struct Member {
    pub(super) summary: Option<Arc<Summary>>,
    pub(super) backends: Vec<Arc<BackendState>>,
    /// The digest of the list that `backends` was made of.
    pub(super) catalog: [u8; 16],
    fetching: bool,
    fetch_after: Option<Moment>,
    /// What it was sent so far did not fit its queue: it is told again.
    owed: bool,
}

/// What can happen by itself.
pub(super) enum Happening {
    Mesh(Event),
    /// The mesh has ended.
    Ended,
    Found(Found),
    DiscoveryEnded,
}

impl Party {
    /// Listens, and begins to look for the members of the fleet that `papers` hold.
    pub(super) async fn start(place: &Place, papers: &mut Papers, own: &Arc<ArcSwap<Own>>) -> Result<Party, String> {
        let (Some(identity), Some(fleet)) = (papers.identity.clone(), papers.fleet.clone()) else {
            return Err("this machine is in no fleet".to_owned());
        };
        let own = own.clone();
        let serve: Arc<dyn Serve> = Arc::new(move |_, request: http::Request<hyper::body::Incoming>| {
            let answer: mesh::Answering = Box::pin(std::future::ready(catalog::answer(&request, &own)));
            answer
        });
        let me = id(identity.key());
        let settings = mesh::Settings {
            identity,
            secrets: fleet.secrets.clone(),
            port: place.port,
            listen: if place.is_loopback() { Listen::Loopback } else { Listen::Everywhere },
            clock: place.clock,
            features: 0,
        };
        let (mesh, events) = Mesh::start(settings, serve).await.map_err(|error| error.to_string())?;
        let now = place.clock.now();
        let start = Start {
            me,
            incarnation: Incarnation(papers.memory.incarnation),
            epoch: papers.memory.epoch,
            priority: if place.never_lead { Priority::Never } else { Priority::Normal },
            settings: papers.memory.settings.values().cloned().collect(),
            seed: crate::files::seed(),
        };
        // This process may start it again: that counts as another start.
        papers.memory.incarnation = papers.memory.incarnation.saturating_add(1);
        let mut core = Membership::new(start, now);
        core.handle(Input::Roster(members(&fleet)), now);
        mesh.allow(fleet.roster.allowed());
        let remembered = papers.memory.addresses.iter().flat_map(|(node, all)| {
            all.iter().map(|address| Hint { address: *address, node: Some(*node), source: Source::Remembered })
        });
        mesh.dial(remembered.collect());
        let (mut discovery, mut discovery_fault) = (None, None);
        if place.mdns {
            match Discovery::start(Networks::Local, place.clock, fleet.secrets.clone(), mesh.port()) {
                Ok(started) => discovery = Some(started),
                Err(error) => {
                    tracing::warn!(%error, "other machines are not looked for on the network");
                    discovery_fault = Some(error.to_string());
                }
            }
        }
        let members = BTreeMap::new();
        Ok(Party {
            mesh,
            events,
            core,
            discovery,
            discovery_fault,
            heard_announced: false,
            since: now,
            members,
            told: Told::default(),
            twins: Vec::new(),
        })
    }

    /// What happens next; nothing ever does while there is no party. May be dropped half-way.
    pub(super) async fn next(party: &mut Option<Party>) -> Happening {
        let Some(party) = party else { return std::future::pending().await };
        let found = async {
            match &mut party.discovery {
                Some(discovery) => discovery.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = party.events.next() => event.map_or(Happening::Ended, Happening::Mesh),
            found = found => found.map_or(Happening::DiscoveryEnded, Happening::Found),
        }
    }

    pub(super) fn found(&mut self, found: Found) {
        if let Found::Node(hints) = found {
            self.heard_announced |= hints.iter().any(|hint| hint.source == Source::Announced);
            self.mesh.dial(hints);
        }
    }

    pub(super) fn dial_typed(&self, addresses: &[SocketAddr]) {
        let hint = |address: &SocketAddr| Hint { address: *address, node: None, source: Source::Typed };
        self.mesh.dial(addresses.iter().map(hint).collect());
    }

    /// Sends, and remembers what could not be.
    pub(super) fn send(&mut self, to: NodeId, message: Bytes) {
        match self.mesh.send(key(to), message) {
            Ok(()) | Err(SendError::NotConnected | SendError::NotAMember) => {}
            Err(SendError::Full) => self.members.entry(to).or_default().owed = true,
            Err(error @ SendError::TooLong(_)) => tracing::error!(node = %to, %error, "a message was not sent"),
        }
    }

    pub(super) fn connected(&self) -> Vec<NodeId> {
        self.mesh.peers().iter().filter(|peer| peer.connected).map(|peer| id(peer.node)).collect()
    }

    /// Sends to all that are connected, but `except`.
    pub(super) fn spread(&mut self, messages: &[Envelope], except: Option<NodeId>) {
        let encoded: Vec<Bytes> = messages.iter().map(|message| message.encode().into()).collect();
        for node in self.connected().into_iter().filter(|node| Some(*node) != except) {
            for message in &encoded {
                self.send(node, message.clone());
            }
        }
    }

    /// Where members are, as far as known; `only`: where that one is.
    fn places(&self, own: &[SocketAddr], me: NodeId, only: Option<NodeId>) -> Vec<Envelope> {
        let known = self.mesh.peers().into_iter().map(|peer| (id(peer.node), peer.addresses));
        let all = std::iter::once((me, own.to_vec())).chain(known);
        let place = |(node, addresses): (NodeId, Vec<SocketAddr>)| proto::wire::Place {
            node,
            addresses: addresses
                .iter()
                .filter(|address| !address.ip().is_loopback())
                .take(MAX_ADDRESSES)
                .map(|address| proto::wire::Address(address.to_string()))
                .collect(),
        };
        let wanted = all.filter(|(node, _)| only.is_none_or(|only| only == *node)).map(place);
        let wanted: Vec<_> = wanted.filter(|place| !place.addresses.is_empty()).collect();
        wanted.chunks(MAX_PLACES).map(|members| Envelope::Addresses(Addresses { members: members.to_vec() })).collect()
    }
}

/// The members as the core of membership wants them.
pub(super) fn members(fleet: &papers::Membership) -> Vec<(NodeId, proto::Role)> {
    fleet.roster.members().map(|member| (id(member.node), known::role(member.role))).collect()
}

impl Place {
    /// Whether the mesh stays on this machine: nobody is looked for, and only addresses of this machine were typed.
    pub(super) fn is_loopback(&self) -> bool {
        let is_own = |peer: &String| {
            let host = peer.rsplit_once(':').map_or(peer.as_str(), |(host, _)| host).trim_matches(['[', ']']);
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        };
        !self.mdns && !self.peers.is_empty() && self.peers.iter().all(is_own)
    }

    /// Where others may find something that listens on `port` here.
    pub(super) fn own_addresses(&self, port: u16) -> Vec<SocketAddr> {
        let ips = match self.is_loopback() {
            true => vec![std::net::Ipv4Addr::LOCALHOST.into()],
            false => mesh::local_addresses(),
        };
        ips.into_iter().take(MAX_ADDRESSES).map(|ip| SocketAddr::new(ip, port)).collect()
    }
}

impl Driver {
    pub(super) async fn mesh_event(&mut self, event: Event) {
        let now = self.now();
        let (Some(party), Some(me)) = (&mut self.party, self.papers.identity.as_ref()) else { return };
        let me = id(me.key());
        match event {
            Event::Connected { node, address } => {
                tracing::info!(node = %id(node), %address, "connected with a machine of the fleet");
                party.core.handle(Input::Connected(id(node)), now);
                party.told.forget(node);
                let own = self.place.own_addresses(party.mesh.port());
                let mut hello = party.places(&own, me, None);
                if let Some(fleet) = &self.papers.fleet {
                    hello.push(Envelope::Roster(sync::digest(&fleet.roster)));
                }
                for message in hello {
                    party.send(id(node), message.encode().into());
                }
                let place = party.places(&own, me, Some(id(node)));
                party.spread(&place, Some(id(node)));
            }
            Event::Closed { node } => {
                tracing::info!(node = %id(node), "the connection with a machine of the fleet is gone");
                party.core.handle(Input::Disconnected(id(node)), now);
            }
            Event::Heard { from } => party.core.handle(Input::Heard(id(from)), now),
            Event::Message { from, message } => match Envelope::decode(&message) {
                Ok(Envelope::Membership(message)) => party.core.handle(Input::Message(id(from), message), now),
                Ok(Envelope::Roster(news)) => {
                    party.core.handle(Input::Heard(id(from)), now);
                    self.roster_news(from, &news).await;
                }
                Ok(Envelope::Addresses(places)) => {
                    party.core.handle(Input::Heard(id(from)), now);
                    party.mesh.dial(hints(&places, me));
                }
                // Of a newer version.
                Err(NotAMessage::Unknown) => party.core.handle(Input::Heard(id(from)), now),
                Err(error) => tracing::warn!(node = %id(from), %error, "a member sent a message that cannot be read"),
            },
        }
    }

    /// Does what the core of membership says.
    pub(super) async fn carry_out(&mut self) {
        let mut last: Option<(Arc<Message>, Bytes)> = None;
        while let Some(output) = self.party.as_mut().and_then(|party| party.core.poll_output()) {
            let Some(party) = &mut self.party else { return };
            match output {
                Output::Persist { incarnation, epoch } => {
                    self.papers.memory.incarnation = self.papers.memory.incarnation.max(incarnation.0);
                    self.papers.memory.epoch = epoch;
                    self.keep_memory().await;
                }
                Output::Send(to, message) => {
                    let is_same = last.as_ref().is_some_and(|(earlier, _)| Arc::ptr_eq(earlier, &message));
                    if !is_same {
                        last = Some((message.clone(), message.encode().into()));
                    }
                    if let Some((_, bytes)) = &last {
                        party.send(to, bytes.clone());
                    }
                }
                Output::LeaderChanged { leader, epoch } => {
                    match leader {
                        Some(leader) => tracing::info!(%leader, epoch = epoch.number(), "following a leader"),
                        None => tracing::info!(epoch = epoch.number(), "no machine leads"),
                    }
                    self.dirty = true;
                }
                Output::MemberAlive(_) | Output::MemberDead(_) => self.dirty = true,
                Output::Redial(node) => party.mesh.hang_up(key(node)),
                Output::StateOf(node, payload) => match Summary::decode(&payload) {
                    // Nothing of its layers above is known yet.
                    _ if payload.is_empty() => {}
                    Ok(summary) => {
                        party.members.entry(node).or_default().summary = Some(Arc::new(summary));
                        self.dirty = true;
                    }
                    Err(error) => tracing::warn!(%node, %error, "what a member says of itself is not understood"),
                },
                Output::SettingChanged(setting) => {
                    let is_own_name =
                        self.papers.identity.as_ref().is_some_and(|me| names::key(id(me.key())) == setting.key);
                    self.papers.memory.settings.insert(setting.key.clone(), setting);
                    self.keep_memory().await;
                    self.dirty = true;
                    if is_own_name {
                        self.refresh_soon();
                    }
                }
                Output::SettingRefused { key, reason } => tracing::warn!(key, %reason, "a setting was not kept"),
                Output::DuplicateIdentity(node) => {
                    tracing::error!(%node, "two machines live under one identity");
                    if !party.twins.contains(&node) {
                        party.twins.push(node);
                    }
                }
            }
        }
    }

    async fn roster_news(&mut self, from: mesh::NodeKey, news: &proto::wire::Roster) {
        let (Some(party), Some(fleet)) = (&mut self.party, &mut self.papers.fleet) else { return };
        let outcome = party.told.receive(&mut fleet.roster, from, news);
        for message in outcome.reply {
            party.send(id(from), Envelope::Roster(message).encode().into());
        }
        if outcome.changed {
            let spread: Vec<Envelope> = outcome.spread.into_iter().map(Envelope::Roster).collect();
            party.spread(&spread, Some(id(from)));
            self.roster_changed().await;
        }
    }

    /// The list of members is another one now: it is stored, and counts.
    pub(super) async fn roster_changed(&mut self) {
        let now = self.now();
        let (Some(fleet), Some(identity)) = (&self.papers.fleet, &self.papers.identity) else { return };
        if fleet.roster.member(identity.key()).is_none() {
            return self.cast_out().await;
        }
        if let Err(fault) = self.papers.store_roster() {
            tracing::error!(fault, "the list of members was not stored");
        }
        let allowed = fleet.roster.allowed();
        if let Some(party) = &mut self.party {
            party.core.handle(Input::Roster(members(fleet)), now);
            party.members.retain(|node, _| allowed.contains(&key(*node)));
            // Who is new may connect at once; who was removed first hears of it.
            let was_allowed: Vec<_> = party.mesh.peers().iter().map(|peer| peer.node).collect();
            if was_allowed.iter().all(|node| allowed.contains(node)) {
                party.mesh.allow(allowed);
            } else {
                let meanwhile = allowed.iter().copied().chain(was_allowed).collect();
                party.mesh.allow(meanwhile);
                self.cut_at = Some(now + FAREWELL);
            }
        }
        self.papers.memory.addresses.retain(|node, _| fleet.roster.member(*node).is_some());
        self.dirty = true;
        self.carry_out().await;
    }

    /// Cuts who is no member any more.
    pub(super) fn allow(&mut self) {
        if let (Some(party), Some(fleet)) = (&self.party, &self.papers.fleet) {
            party.mesh.allow(fleet.roster.allowed());
        }
    }

    /// Asks for the lists of models that have changed.
    pub(super) fn fetch_lists(&mut self) {
        let now = self.now();
        let Some(party) = &mut self.party else { return };
        let mut under_way = party.members.values().filter(|member| member.fetching).count();
        for (node, member) in &mut party.members {
            let Some(summary) = &member.summary else { continue };
            let is_due = member.fetch_after.is_none_or(|after| now >= after);
            if member.catalog == summary.catalog || member.fetching || !is_due || under_way >= MOST_FETCHES {
                continue;
            }
            member.fetching = true;
            under_way += 1;
            let (mesh, node) = (party.mesh.clone(), *node);
            self.errands.spawn(async move { Errand::Fetched(node, catalog::fetch(mesh, key(node)).await) });
        }
        // What did not fit a queue is told again, now that a moment has passed.
        let owed: Vec<NodeId> = party.members.iter().filter(|(_, member)| member.owed).map(|(node, _)| *node).collect();
        for node in owed {
            party.members.entry(node).or_default().owed = false;
            if let Some(fleet) = &self.papers.fleet {
                let digest = Envelope::Roster(sync::digest(&fleet.roster)).encode();
                party.send(node, digest.into());
            }
        }
    }

    pub(super) fn fetched(&mut self, node: NodeId, result: Result<Fetched, String>) {
        let now = self.now();
        let Some(member) = self.party.as_mut().and_then(|party| party.members.get_mut(&node)) else { return };
        member.fetching = false;
        match result {
            Ok(fetched) => {
                member.fetch_after = None;
                // It may have changed on the way: then the next state says so.
                member.catalog = fetched.digest;
                member.backends = fetched.backends;
                self.dirty = true;
            }
            Err(error) => {
                member.fetch_after = Some(now + FETCH_AGAIN);
                tracing::debug!(%node, error, "the models of a machine could not be listed");
            }
        }
    }

    /// Looks up typed addresses while somebody is missing.
    pub(super) fn look_up(&mut self) {
        let Some(party) = &self.party else { return };
        if self.place.peers.is_empty() || party.mesh.peers().iter().all(|peer| peer.connected) {
            return;
        }
        let peers = self.place.peers.clone();
        self.errands.spawn(async move {
            let mut found = Vec::new();
            for peer in peers {
                match tokio::net::lookup_host(&peer).await {
                    Ok(addresses) => found.extend(addresses),
                    Err(error) => tracing::debug!(peer, %error, "a typed address cannot be looked up"),
                }
            }
            Errand::LookedUp(found)
        });
    }

    /// Remembers where members are now.
    pub(super) async fn keep_addresses(&mut self) {
        let Some(party) = &self.party else { return };
        let mut addresses = self.papers.memory.addresses.clone();
        for peer in party.mesh.peers().into_iter().filter(|peer| peer.connected) {
            let known = peer.addresses.into_iter().take(papers::MOST_ADDRESSES).collect();
            addresses.insert(peer.node, known);
        }
        if addresses != self.papers.memory.addresses {
            self.papers.memory.addresses = addresses;
            self.keep_memory().await;
        }
    }

    /// Writes `node.json`.
    pub(super) async fn keep_memory(&self) {
        if let Err(fault) = self.papers.store_memory() {
            tracing::error!(fault, "what this machine must remember was not stored");
        }
    }
}

/// Where others say that members are.
fn hints(places: &Addresses, me: NodeId) -> Vec<Hint> {
    let others = places.members.iter().filter(|place| place.node != me);
    let hint = |place: &proto::wire::Place| {
        let node = Some(key(place.node));
        let addresses = place.addresses.iter().filter_map(|address| address.0.parse().ok());
        addresses.map(|address| Hint { address, node, source: Source::Peer }).collect::<Vec<_>>()
    };
    others.flat_map(hint).collect()
}
