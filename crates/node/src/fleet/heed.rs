//! What the driver does when the mesh tells something, and what it does because the core of membership says so.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use membership::{Input, Output};
use mesh::{Event, Hint, Source, Transport as _};
use proto::NodeId;
use proto::wire::{Addresses, Envelope, Message, NotAMessage, Summary};

use super::driver::Driver;
use super::known::{id, key};
use super::party::members;
use super::{names, sync};

/// How long removed members stay connected, so that they hear of it.
const FAREWELL: Duration = Duration::from_millis(250);

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
                hello.push(self.pulls.news());
                for message in hello {
                    party.send(id(node), message.encode().into());
                }
                let place = party.places(&own, me, Some(id(node)));
                party.spread(&place, Some(id(node)));
                self.keep_addresses_soon();
            }
            Event::Closed { node } => {
                tracing::info!(node = %id(node), "the connection with a machine of the fleet is gone");
                party.core.handle(Input::Disconnected(id(node)), now);
            }
            Event::Heard { from } => party.core.handle(Input::Heard(id(from)), now),
            Event::Message { from, message } => match Envelope::decode(&message) {
                Ok(Envelope::Membership(message)) => {
                    party.core.handle(Input::Message(id(from), message), now);
                    self.place.tickets.heard(id(from), None);
                }
                Ok(Envelope::Roster(news)) => {
                    party.core.handle(Input::Heard(id(from)), now);
                    self.roster_news(from, &news).await;
                }
                Ok(Envelope::Addresses(places)) => {
                    party.core.handle(Input::Heard(id(from)), now);
                    party.mesh.dial(hints(&places, me));
                }
                Ok(Envelope::News(digest)) => {
                    party.core.handle(Input::Heard(id(from)), now);
                    self.pulls.heard(id(from), digest);
                }
                Ok(about_requests) => {
                    party.core.handle(Input::Heard(id(from)), now);
                    self.place.tickets.heard(id(from), Some(about_requests));
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
                        let member = party.members.entry(node).or_default();
                        (member.summary, member.told_at) = (Some(Arc::new(summary)), self.place.clock.now());
                        self.dirty = true;
                    }
                    Err(error) => tracing::warn!(%node, %error, "what a member says of itself is not understood"),
                },
                Output::SettingChanged(setting) => {
                    let is_own_name =
                        self.papers.identity.as_ref().is_some_and(|me| names::key(id(me.key())) == setting.key);
                    self.papers.memory.settings.insert(setting.key.clone(), setting);
                    // They may come by the hundred.
                    self.unkept = true;
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
        if self.unkept {
            self.keep_memory().await;
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
        self.place.journals.allow(fleet);
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
