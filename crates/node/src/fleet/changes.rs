//! Leaves the fleet, removes and renames members, begins a new fleet.

use bytes::Bytes;
use gateway::ChangeError;
use membership::Input;
use mesh::roster::{Claim, Statement};
use proto::NodeId;
use proto::wire::{Envelope, Setting};
use serde_json::json;

use super::driver::Driver;
use super::known::{id, key};
use super::names::{self, Meant};
use super::sync;

impl Driver {
    /// Leaves: the others are told, the secret is forgotten, and this machine gets a new key.
    pub(super) async fn leave(&mut self) -> Result<Bytes, ChangeError> {
        if !self.papers.is_damaged {
            self.is_free()?;
            if self.papers.company().is_none() {
                return Err(ChangeError::NotFound("this machine is in no fleet with others".to_owned()));
            }
        } else if self.joining || self.pairing.is_some() {
            return Err(ChangeError::Refused("this machine is just being paired".to_owned()));
        }
        self.depart().await?;
        tracing::info!("this machine has left its fleet");
        Ok("{}".into())
    }

    /// Says goodbye for good and forgets the fleet.
    async fn depart(&mut self) -> Result<(), ChangeError> {
        let now = self.now();
        if let Some(party) = &mut self.party {
            party.core.handle(Input::Leave, now);
        }
        self.carry_out().await;
        if let (Some(party), Some(fleet), Some(identity)) =
            (&mut self.party, &mut self.papers.fleet, &self.papers.identity)
        {
            match fleet.roster.revoke(identity, identity.key()) {
                Ok(statement) => {
                    let messages = sync::messages(&fleet.roster, std::iter::once(&statement));
                    party.spread(&messages.into_iter().map(Envelope::Roster).collect::<Vec<_>>(), None);
                }
                Err(error) => tracing::warn!(%error, "the others are not told that this machine leaves for good"),
            }
        }
        // Sends what is queued first.
        self.disband().await;
        self.papers.forget().map_err(|error| ChangeError::Failed(format!("the fleet was not forgotten: {error}")))?;
        self.dirty = true;
        Ok(())
    }

    /// Others have removed this machine.
    pub(super) async fn cast_out(&mut self) {
        let Some(identity) = &self.papers.identity else { return };
        let me = identity.key();
        let names = self.names();
        let revokes = |statement: &&Statement| matches!(statement.claim(), Claim::Revoke { node, .. } if *node == me);
        let by =
            self.papers.fleet.as_ref().and_then(|fleet| fleet.roster.statements().find(revokes)).map(Statement::by);
        let by = by.and_then(|by| names.get(&id(by))).map_or_else(|| "another machine".to_owned(), ToString::to_string);
        let told = format!(
            "this machine was removed from the fleet ‘{}’ by {by}; it works alone now, and can be paired again",
            self.fleet_name()
        );
        tracing::warn!("{told}");
        self.disband().await;
        if let Some(pairing) = self.pairing.take() {
            drop(pairing.withdraw());
        }
        if let Err(fault) = self.papers.forget() {
            tracing::error!(fault, "the fleet was not forgotten");
        }
        self.papers.memory.told = Some(told);
        self.keep_memory().await;
        self.dirty = true;
    }

    /// Removes a member for good.
    pub(super) async fn remove(&mut self, device: &str) -> Result<Bytes, ChangeError> {
        let node = self.meant(device)?;
        if Some(node) == self.me() {
            return Err(ChangeError::Refused(
                "that is this machine: `herd leave` takes it out of the fleet".to_owned(),
            ));
        }
        let (Some(fleet), Some(identity)) = (&mut self.papers.fleet, &self.papers.identity) else {
            return Err(self.unusable());
        };
        let statement = fleet.roster.revoke(identity, key(node));
        let statement = statement.map_err(|error| ChangeError::Refused(error.to_string()))?;
        let messages = sync::messages(&fleet.roster, std::iter::once(&statement));
        if let Some(party) = &mut self.party {
            party.spread(&messages.into_iter().map(Envelope::Roster).collect::<Vec<_>>(), None);
        }
        tracing::info!(%node, "a machine was removed from the fleet");
        self.roster_changed().await;
        Ok("{}".into())
    }

    /// Calls a member something else, on all machines.
    pub(super) async fn rename(&mut self, device: &str, name: &str) -> Result<Bytes, ChangeError> {
        let node = self.meant(device)?;
        if !names::is_fit(name) {
            return Err(ChangeError::Refused("a name has 1 to 64 bytes and no control characters".to_owned()));
        }
        let is_taken =
            |(id, other): (&NodeId, &std::sync::Arc<str>)| *id != node && other.to_lowercase() == name.to_lowercase();
        if self.names().iter().any(is_taken) {
            return Err(ChangeError::Refused(format!("another machine of the fleet is called {name}")));
        }
        self.set(names::key(node), Some(name.to_owned())).await;
        match names::given(&self.papers.memory.settings, node).as_deref() == Some(name) {
            true => Ok("{}".into()),
            false => Err(ChangeError::Refused("a guest changes no names".to_owned())),
        }
    }

    /// Sets something for the whole fleet, or takes it back.
    pub(super) async fn set(&mut self, key: String, value: Option<String>) {
        let now = self.now();
        if let Some(party) = &mut self.party {
            party.core.handle(Input::SettingSet { key, value }, now);
            return self.carry_out().await;
        }
        let Some(author) = self.me() else { return };
        let memory = &mut self.papers.memory;
        let counter = memory.settings.get(&key).map_or(0, |earlier| earlier.counter.saturating_add(1));
        let setting = Setting { key: key.clone(), value, epoch: memory.epoch, counter, author };
        memory.settings.insert(key, setting);
        self.keep_memory().await;
        self.dirty = true;
    }

    /// Begins a fleet of its own with a new secret; the machines of the present one have to be paired anew.
    pub(super) async fn new_fleet(&mut self, name: Option<String>) -> Result<Bytes, ChangeError> {
        if self.joining || self.pairing.is_some() {
            return Err(ChangeError::Refused("this machine is just being paired".to_owned()));
        }
        if name.as_deref().is_some_and(|name| !names::is_fit(name)) {
            return Err(ChangeError::Refused("a fleet's name has 1 to 64 bytes and no control characters".to_owned()));
        }
        let name = name.unwrap_or_else(|| self.fleet_name());
        let me = self.me();
        let others: Vec<String> =
            self.names().into_iter().filter(|(node, _)| Some(*node) != me).map(|(_, name)| name.to_string()).collect();
        self.depart().await?;
        self.found(Some(name))?;
        let fleet = self.papers.fleet.as_ref().map(|fleet| fleet.roster.fleet().to_string());
        let answer = json!({ "fleet": { "id": fleet, "name": self.fleet_name() }, "pair_again": others });
        Ok(answer.to_string().into())
    }

    fn meant(&self, device: &str) -> Result<NodeId, ChangeError> {
        let device = device.trim();
        match names::find(&self.names(), device) {
            Meant::One(node) => Ok(node),
            Meant::Nobody => {
                Err(ChangeError::NotFound(format!("no machine of the fleet is called `{}`", device.escape_debug())))
            }
            Meant::Several => Err(ChangeError::Refused(format!(
                "several machines are meant by `{}`: name one by its id (`herd devices --json`)",
                device.escape_debug()
            ))),
        }
    }
}
