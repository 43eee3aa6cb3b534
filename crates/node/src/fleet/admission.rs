//! Lets other machines join: founds the fleet if there is none, shows a code, asks the person, admits.

use std::net::SocketAddr;

use bytes::Bytes;
use gateway::ChangeError;
use mesh::pairing::{Candidate, Decision, Handover, Joined, OfferError, OfferSettings};
use mesh::roster::{Role, Roster};
use mesh::{FleetSecret, NodeKey, Transport as _};
use proto::wire::Envelope;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::driver::Driver;
use super::known::{Asking, id};
use super::offer::{self, Pairing};
use super::papers::Membership;
use super::{Item, names, sync};

/// How long a code is good for.
const LASTS_S: u64 = 180;

impl Driver {
    /// Shows a code; what happens is told to `items`.
    pub(super) async fn pair(&mut self, yes: bool, items: mpsc::Sender<Item>, gone: CancellationToken) {
        if let Err(error) = self.may_pair().await {
            let _ = items.try_send(Err(error));
            return;
        }
        // For the network to be asked, and for the joiner to find somebody.
        self.gather().await;
        if let Some(fault) = &self.mesh_fault {
            let _ = items.try_send(Err(ChangeError::Failed(format!("this machine cannot listen for others: {fault}"))));
            self.alone_again().await;
            return;
        }
        let loopback = self.place.is_loopback();
        let settings = OfferSettings { loopback, ..OfferSettings::default() };
        match offer::open(settings, self.desk.own.clone(), gone.clone()) {
            Ok(thread) => {
                let thread = Some(thread);
                self.pairing = Some(Pairing { yes, items, gone, asked: None, announcement: None, thread });
            }
            Err(error) => {
                let _ = items.try_send(Err(ChangeError::Failed(format!("no code can be shown: {error}"))));
                self.alone_again().await;
            }
        }
    }

    async fn may_pair(&mut self) -> Result<(), ChangeError> {
        self.is_free()?;
        if self.papers.fleet.is_none() {
            self.found(None)?;
        }
        let (Some(fleet), Some(identity)) = (&self.papers.fleet, &self.papers.identity) else {
            return Err(self.unusable());
        };
        let role = fleet.roster.member(identity.key()).map(|member| member.role);
        match role {
            Some(Role::Admin) => Ok(()),
            _ => Err(ChangeError::Refused("only a machine that is an admin of the fleet can let others in".to_owned())),
        }
    }

    /// Whether nothing else is under way that changes the fleet, and its files can be used.
    pub(super) fn is_free(&self) -> Result<(), ChangeError> {
        if self.papers.is_damaged {
            return Err(self.unusable());
        }
        if self.joining {
            return Err(ChangeError::Refused("this machine is just joining a fleet".to_owned()));
        }
        if self.pairing.is_some() {
            return Err(ChangeError::Refused("a code is shown here already: use that one, or withdraw it".to_owned()));
        }
        Ok(())
    }

    pub(super) fn unusable(&self) -> ChangeError {
        ChangeError::Failed(self.papers.faults.first().cloned().unwrap_or_else(|| "there is no identity".to_owned()))
    }

    /// Begins a fleet with this machine alone.
    pub(super) fn found(&mut self, name: Option<String>) -> Result<(), ChangeError> {
        let failed = |error: String| ChangeError::Failed(format!("no fleet can be begun: {error}"));
        let Some(identity) = self.papers.identity.clone() else { return Err(self.unusable()) };
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| failed(error.to_string()))?;
        let secret = FleetSecret::generate().map_err(|error| failed(error.to_string()))?;
        let roster = Roster::found(&identity, &self.own_name(), nonce).map_err(|error| failed(error.to_string()))?;
        self.papers.join(Membership { secrets: secret.into(), roster }).map_err(failed)?;
        self.papers.memory.fleet_name = name;
        self.papers.memory.told = None;
        self.papers.store_memory().map_err(failed)?;
        tracing::info!("a fleet was begun with this machine");
        self.dirty = true;
        Ok(())
    }

    /// What this machine is called in signed statements.
    pub(super) fn own_name(&self) -> String {
        let name = names::clean(&self.place.name);
        if name.is_empty() { "this-machine".to_owned() } else { name }
    }

    /// The code is there.
    pub(super) fn offered(&mut self, code: &str, plate: char, port: u16) {
        let address = match self.place.is_loopback() {
            true => SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), port),
            false => mesh::shown_address(port),
        };
        let Some(pairing) = &mut self.pairing else { return };
        let announcer = self.party.as_ref().and_then(|party| party.discovery.as_ref()).map(|found| found.announcer());
        if let Some(announcer) = announcer {
            match announcer.offer(port, plate) {
                Ok(announcement) => pairing.announcement = Some(announcement),
                Err(error) => tracing::warn!(%error, "the code is not announced: the other machine needs the address"),
            }
        }
        let item = json!({ "code": code, "expires_in_s": LASTS_S, "address": address.to_string() });
        pairing.tell(Ok(item.to_string().into()));
    }

    /// A machine knows the code.
    pub(super) async fn asks(&mut self, candidate: Candidate, decide: oneshot::Sender<Decision>) {
        let Some(pairing) = &mut self.pairing else { return };
        if pairing.yes {
            let decision = self.admit(&candidate).await;
            let _ = decide.send(decision);
            return;
        }
        let Candidate { node, name, address } = &candidate;
        let who = json!({ "id": node.to_string(), "name": name, "address": address.to_string() });
        pairing.tell(Ok(json!({ "asks": who }).to_string().into()));
        pairing.asked = Some((candidate, decide));
        self.dirty = true;
    }

    /// Who waits for the person, if somebody does.
    pub(super) fn asking(&self) -> Option<Asking> {
        let (Candidate { node, name, .. }, _) = self.pairing.as_ref()?.asked.as_ref()?;
        Some(Asking { id: node.to_string(), name: name.clone() })
    }

    /// The person has decided.
    pub(super) async fn answer(&mut self, joiner: &str, allow: bool) -> Result<Bytes, ChangeError> {
        let nobody = || ChangeError::NotFound("no machine with that id asks to join".to_owned());
        let pairing = self.pairing.as_mut().ok_or_else(nobody)?;
        let is_meant = |node: NodeKey| joiner.len() >= 8 && node.to_string().starts_with(&joiner.to_ascii_lowercase());
        let (candidate, decide) =
            pairing.asked.take_if(|(candidate, _)| is_meant(candidate.node)).ok_or_else(nobody)?;
        self.dirty = true;
        if decide.is_closed() {
            return Err(ChangeError::NotFound(format!("{} does not wait any more: begin again there", candidate.name)));
        }
        let decision = if allow { self.admit(&candidate).await } else { Decision::Refuse };
        let is_in = matches!(decision, Decision::Admit(_));
        let _ = decide.send(decision);
        match is_in || !allow {
            true => Ok("{}".into()),
            false => Err(ChangeError::Refused(format!("{} could not be put onto the list", candidate.name))),
        }
    }

    /// Puts a machine onto the roster, stores that, and gets ready what it is handed.
    async fn admit(&mut self, candidate: &Candidate) -> Decision {
        let refused = |driver: &Driver, error: String| {
            tracing::warn!(name = candidate.name, error, "a machine could not be let in");
            if let Some(pairing) = &driver.pairing {
                pairing.tell(Err(ChangeError::Refused(error)));
            }
            Decision::Refuse
        };
        let (Some(fleet), Some(identity)) = (&mut self.papers.fleet, &self.papers.identity) else {
            return refused(self, "this machine has left the fleet".to_owned());
        };
        // A member that lost its files gets them again.
        if fleet.roster.member(candidate.node).is_none() {
            let statement = match fleet.roster.add(identity, candidate.node, &candidate.name, Role::Admin) {
                Ok(statement) => statement,
                Err(error) => return refused(self, error.to_string()),
            };
            let messages = sync::messages(&fleet.roster, std::iter::once(&statement));
            if let Err(error) = self.papers.store_roster() {
                return refused(self, error);
            }
            let messages: Vec<Envelope> = messages.into_iter().map(Envelope::Roster).collect();
            if let Some(party) = &mut self.party {
                party.spread(&messages, None);
            }
            tracing::info!(node = %id(candidate.node), name = candidate.name, "a machine was put onto the list of members");
        }
        self.gather().await;
        self.roster_changed().await;
        match self.handover() {
            Some(handover) => Decision::Admit(Box::new(handover)),
            None => refused(self, "this machine has left the fleet".to_owned()),
        }
    }

    fn handover(&self) -> Option<Handover> {
        let (fleet, identity) = (self.papers.fleet.as_ref()?, self.papers.identity.as_ref()?);
        let party = self.party.as_ref();
        let own = party.into_iter().flat_map(|party| {
            self.place.own_addresses(party.mesh.port()).into_iter().map(|address| (identity.key(), address))
        });
        let others = party.into_iter().flat_map(|party| party.mesh.peers()).flat_map(|peer| {
            peer.addresses.into_iter().take(super::memory::MOST_ADDRESSES).map(move |address| (peer.node, address))
        });
        Some(Handover {
            name: self.fleet_name(),
            secrets: fleet.secrets.clone(),
            roster: fleet.roster.clone(),
            hints: own.chain(others).take(64).collect(),
        })
    }

    /// No code is shown any more.
    pub(super) async fn offer_ended(&mut self, ended: Option<Result<Joined, OfferError>>) {
        let Some(pairing) = self.pairing.take() else { return };
        self.dirty = true;
        match ended {
            // Nobody listens any more.
            None => tracing::info!("the code was withdrawn"),
            Some(Ok(Joined { node, name })) => {
                tracing::info!(node = %id(node), name, "a machine has joined the fleet");
                let item = json!({ "joined": { "id": node.to_string(), "name": name } });
                pairing.tell(Ok(item.to_string().into()));
            }
            Some(Err(error)) => {
                let text = error.to_string();
                pairing.tell(Err(match error {
                    OfferError::Expired => ChangeError::TimedOut(text),
                    OfferError::TooManyTries | OfferError::Refused { .. } => ChangeError::Refused(text),
                    OfferError::Port(_) | OfferError::NoRandomness(_) | OfferError::Lost { .. } => {
                        ChangeError::Failed(text)
                    }
                }));
            }
        }
        self.alone_again().await;
    }

    /// A machine that has no companions does not listen.
    pub(super) async fn alone_again(&mut self) {
        if self.papers.company().is_none() && self.pairing.is_none() {
            self.disband().await;
        }
    }
}

impl Pairing {
    /// Whoever asked for the code reads seldom more than three items: there is always room for them.
    fn tell(&self, item: Item) {
        let _ = self.items.try_send(item);
    }
}
