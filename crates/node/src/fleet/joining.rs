//! Joins the fleet of the machine that shows a code.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use gateway::ChangeError;
use mesh::discovery::{self, Networks};
use mesh::pairing::{self, Code, JoinError, Welcome};
use mesh::{Hint, Identity, Source, Transport as _};
use serde_json::json;

use super::driver::{Driver, Errand};
use super::known::id;
use super::papers::{self, Membership};
use super::{Done, names};

/// How long a machine that shows a code is looked for on the network.
const LOOK: Duration = Duration::from_secs(8);
/// The longest time that all of it may take: the code is good for three minutes.
const LONGEST: Duration = Duration::from_secs(200);

/// What an attempt needs.
struct Attempt {
    code: Code,
    /// As typed.
    address: Option<String>,
    mdns: bool,
    identity: Identity,
    name: String,
    dir: PathBuf,
}

impl Driver {
    /// Begins to join; the end is an errand.
    pub(super) fn join(&mut self, code: &str, address: Option<String>, done: Done) {
        let attempt = match self.may_join(code, address) {
            Ok(attempt) => attempt,
            Err(error) => {
                let _ = done.send(Err(error));
                return;
            }
        };
        self.joining = true;
        self.errands.spawn(async move {
            let mut dialled = Vec::new();
            let trying = tokio::time::timeout(LONGEST, attempt.run(&mut dialled)).await;
            let result = trying.unwrap_or_else(|_| Err(ChangeError::TimedOut("joining takes too long".to_owned())));
            Errand::Joined { dialled, result: result.map(Box::new), done }
        });
    }

    fn may_join(&self, code: &str, address: Option<String>) -> Result<Attempt, ChangeError> {
        let Some(identity) = self.papers.identity.clone() else { return Err(self.unusable()) };
        // Files of a fleet that cannot be used may be replaced: joining is what their owner wants.
        if !self.papers.is_damaged {
            self.is_free()?;
        }
        if self.papers.company().is_some() {
            return Err(ChangeError::Refused(format!(
                "this machine is in the fleet ‘{}’: leave that first, with `herd leave`",
                self.fleet_name()
            )));
        }
        let code = code.parse().map_err(|error: pairing::BadCode| ChangeError::Refused(error.to_string()))?;
        let (mdns, name, dir) = (self.place.mdns, self.own_name(), self.place.dir.clone());
        Ok(Attempt { code, address, mdns, identity, name, dir })
    }

    /// An attempt to join has ended.
    pub(super) async fn joined(
        &mut self,
        dialled: &[SocketAddr],
        result: Result<Box<Welcome>, ChangeError>,
        done: Done,
    ) {
        self.joining = false;
        let answer = match result {
            Ok(welcome) => self.welcomed(dialled, *welcome).await,
            Err(error) => Err(error),
        };
        let _ = done.send(answer);
    }

    async fn welcomed(&mut self, dialled: &[SocketAddr], welcome: Welcome) -> Result<bytes::Bytes, ChangeError> {
        let failed = |error: String| ChangeError::Failed(format!("joining failed here: {error}"));
        let Some(me) = self.papers.identity.as_ref().map(Identity::key) else { return Err(self.unusable()) };
        let Welcome { name, secrets, roster, mut hints } = welcome;
        self.disband().await;
        // Whoever let this machine in was reached at an address that works from here, whatever it thinks of itself. Nobody is
        // named for these addresses: members are dialled by the one with the smaller key, and this one need not wait.
        let inviter = roster.member(me).map(|member| member.by);
        let port = hints.iter().find(|hint| hint.node == inviter).map(|hint| hint.address.port());
        for hint in hints.iter_mut().filter(|hint| hint.node == inviter) {
            hint.node = None;
        }
        hints.extend(port.into_iter().flat_map(|port| {
            dialled.iter().map(move |address| Hint {
                address: SocketAddr::new(address.ip(), port),
                node: None,
                source: Source::Typed,
            })
        }));
        let fleet = roster.fleet().to_string();
        self.papers.join(Membership { secrets, roster }).map_err(failed)?;
        let memory = &mut self.papers.memory;
        (memory.fleet_name, memory.told) = (Some(names::clean(&name)), None);
        memory.settings.clear();
        memory.addresses.clear();
        self.keep_memory().await;
        self.gather().await;
        if let Some(party) = &self.party {
            party.mesh.dial(hints);
        }
        tracing::info!(fleet, name, "this machine has joined a fleet");
        let names = self.names();
        let members: Vec<_> = self
            .papers
            .fleet
            .iter()
            .flat_map(|fleet| fleet.roster.members())
            .map(|member| json!({ "id": member.node.to_string(), "name": names.get(&id(member.node)).map(|name| &**name) }))
            .collect();
        let answer = json!({ "fleet": { "id": fleet, "name": self.fleet_name() }, "members": members });
        Ok(answer.to_string().into())
    }
}

impl Attempt {
    async fn run(self, dialled: &mut Vec<SocketAddr>) -> Result<Welcome, ChangeError> {
        *dialled = self.addresses().await?;
        let dir = self.dir.clone();
        let store = move |welcome: &Welcome| {
            let fleet = Membership { secrets: welcome.secrets.clone(), roster: welcome.roster.clone() };
            papers::store_fleet(&dir, &fleet)
        };
        pairing::join(&self.code, dialled, &self.identity, &self.name, store).await.map_err(|error| refusal(&error))
    }

    /// Where the machine may be that shows the code.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, ChangeError> {
        let Some(address) = &self.address else {
            if !self.mdns {
                return Err(ChangeError::NotFound(
                    "looking for machines on the network is off (FLEET_MDNS): say where the code is shown, with \
                     `--addr HOST:PORT`"
                        .to_owned(),
                ));
            }
            let found = discovery::find_offers(Networks::Local, self.code.plate(), LOOK).await;
            let found = found.map_err(|error| ChangeError::Failed(error.to_string()))?;
            return match found.is_empty() {
                true => Err(ChangeError::NotFound(
                    "no machine on this network shows that code: look at the code again, or say where it is shown, \
                     with `--addr HOST:PORT`"
                        .to_owned(),
                )),
                false => Ok(found),
            };
        };
        let looked_up = tokio::net::lookup_host(address).await.map_err(|error| {
            ChangeError::NotFound(format!(
                "`{}` is no address of a machine, HOST:PORT: {error}",
                address.escape_debug()
            ))
        })?;
        Ok(looked_up.take(8).collect())
    }
}

fn refusal(error: &JoinError) -> ChangeError {
    let text = error.to_string();
    match error {
        JoinError::Nobody => ChangeError::NotFound(text),
        JoinError::WrongCode { .. }
        | JoinError::TooManyTries
        | JoinError::Busy
        | JoinError::Refused
        | JoinError::Pretender => ChangeError::Refused(text),
        JoinError::Expired => ChangeError::TimedOut(text),
        JoinError::Version
        | JoinError::Damaged
        | JoinError::BadName
        | JoinError::NotStored(_)
        | JoinError::Broken(_) => ChangeError::Failed(text),
    }
}
