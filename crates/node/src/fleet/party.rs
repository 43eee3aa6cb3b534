//! What runs while there are other members: the mesh, the core of membership, discovery, and what each member told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use membership::{Input, Membership, Start};
use mesh::discovery::{Discovery, Found, Networks};
use mesh::{Event, Events, Hint, Listen, Mesh, SendError, Serve, Source, Transport as _};
use proto::wire::{Addresses, Envelope, MAX_ADDRESSES, MAX_PLACES, Summary};
use proto::{BackendState, Incarnation, Moment, NodeId, Priority};

use super::catalog::{self, Own};
use super::driver::Place;
use super::journal;
use super::known::{self, id, key};
use super::papers::{self, Papers};
use super::sync::Told;

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
    /// When it told that.
    pub(super) told_at: Moment,
    pub(super) backends: Vec<Arc<BackendState>>,
    /// The digest of the list that `backends` was made of.
    pub(super) catalog: [u8; 16],
    pub(super) fetching: bool,
    pub(super) fetch_after: Option<Moment>,
    /// What it was sent so far did not fit its queue: it is told again.
    pub(super) owed: bool,
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
        let guests = place.guests.clone();
        let journals = place.journals.clone();
        journals.allow(&fleet);
        let serve: Arc<dyn Serve> = Arc::new(move |from, request: http::Request<hyper::body::Incoming>| {
            let answer: mesh::Answering = match request.uri().path().starts_with(catalog::PREFIX) {
                true if request.uri().path() == journal::PATH => Box::pin(journals.clone().serve(from, request)),
                true => Box::pin(std::future::ready(catalog::answer(&request, &own))),
                false => Box::pin(guests.clone().serve_node(id(from), request)),
            };
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
    pub(super) fn places(&self, own: &[SocketAddr], me: NodeId, only: Option<NodeId>) -> Vec<Envelope> {
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
