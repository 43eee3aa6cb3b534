//! What is done beside the driver: lists of models, typed addresses, and what is kept on disk.

use std::time::Duration;

use mesh::Transport as _;
use proto::NodeId;
use proto::wire::Envelope;

use super::catalog::{self, Fetched};
use super::driver::{Driver, Errand};
use super::known::key;
use super::{memory, sync};

/// When a list of models that could not be fetched is asked for again.
const FETCH_AGAIN: Duration = Duration::from_secs(3);
/// How long after a connection came up addresses are written down.
const KEEP_SOON: Duration = Duration::from_secs(5);
/// Lists that are fetched at once.
const MOST_FETCHES: usize = 8;

impl Driver {
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

    /// A new address may be known: a crash should not lose it.
    pub(super) fn keep_addresses_soon(&mut self) {
        let soon = self.now() + KEEP_SOON;
        self.look_up_at = Some(self.look_up_at.map_or(soon, |at| at.min(soon)));
    }

    /// Remembers where members are now.
    pub(super) async fn keep_addresses(&mut self) {
        let Some(party) = &self.party else { return };
        let mut addresses = self.papers.memory.addresses.clone();
        for peer in party.mesh.peers().into_iter().filter(|peer| peer.connected) {
            let known = peer.addresses.into_iter().take(memory::MOST_ADDRESSES).collect();
            addresses.insert(peer.node, known);
        }
        if addresses != self.papers.memory.addresses {
            self.papers.memory.addresses = addresses;
            self.keep_memory().await;
        }
    }

    /// Writes `node.json`, without holding up what else runs on this thread.
    pub(super) async fn keep_memory(&mut self) {
        let _ = self.write_memory().await;
    }

    /// As [`Driver::keep_memory`], for those who want to know what became of it.
    pub(super) async fn write_memory(&mut self) -> Result<(), String> {
        self.unkept = false;
        let write = self.papers.memory_writer();
        let written = tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(error.to_string()));
        if let Err(fault) = &written {
            tracing::error!(fault, "what this machine must remember was not stored");
        }
        written
    }
}
