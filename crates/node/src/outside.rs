//! The ways in for others than this machine's own programs: opened and closed as addresses come and go, as keys are made
//! and taken back, and as the leadership of the fleet moves.
//!
//! One task, started by the node, ended by its token. While nothing of it is wanted it only waits for news.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gateway::{Door, Entrance, Entry, Network};
use mesh::OnNetwork;
use mesh::discovery::{Networks, Signpost};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bind;
use crate::fleet::Ruling;
use crate::fleet::keys::hex;
use crate::settings::Settings;

/// How often the machine's addresses are looked at: networks come and go without a word.
const LOOK: Duration = Duration::from_secs(5);

/// After which what could not be opened is tried again at first, twice as long each time: an address that was just closed
/// takes a moment to be free.
const SOON: Duration = Duration::from_millis(100);

/// What is open now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outside {
    /// Where clients with a key are answered.
    pub(crate) lan: Vec<SocketAddr>,
    /// Where containers are.
    pub(crate) containers: Vec<SocketAddr>,
    /// The name on the network that means the former.
    pub(crate) name: Option<String>,
    /// What is not as it should be.
    pub(crate) faults: Vec<String>,
}

impl Outside {
    /// All addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = String> {
        self.lan.iter().chain(&self.containers).map(ToString::to_string)
    }
}

/// What the task works with.
pub(crate) struct Ways {
    door: Arc<Door>,
    ruling: watch::Receiver<Ruling>,
    wishes: Wishes,
    mdns: bool,
    port: u16,
    shown: Arc<ArcSwap<Outside>>,
    open: Vec<(Way, Arc<Entry>)>,
    post: Option<(String, Vec<IpAddr>, Signpost)>,
}

/// What the owner wants open.
struct Wishes {
    /// `FLEET_LAN`
    lan: bool,
    /// `FLEET_CONTAINERS`
    containers: bool,
    /// The further addresses of `FLEET_HOST`.
    addresses: Vec<IpAddr>,
}

/// A way in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    ip: IpAddr,
    entrance: Entrance,
    /// Whom it is for; empty: everybody.
    networks: Vec<Network>,
    /// Whether the fleet's name on the network means it.
    is_named: bool,
}

impl Ways {
    /// The task's state. `port`: that of the door; `shown` is kept true.
    pub(crate) fn new(
        door: Arc<Door>,
        ruling: watch::Receiver<Ruling>,
        settings: &Settings,
        port: u16,
        shown: Arc<ArcSwap<Outside>>,
    ) -> Ways {
        let Settings { lan, containers, mdns, .. } = *settings;
        let wishes = Wishes { lan, containers, addresses: settings.addresses.clone() };
        Ways { door, ruling, wishes, mdns, port, shown, open: Vec::new(), post: None }
    }

    /// Runs until `stop`; then all is closed.
    pub(crate) async fn keep(mut self, stop: CancellationToken) {
        let mut rest = SOON;
        loop {
            let ruling = self.ruling.borrow_and_update().clone();
            rest = if self.adjust(&ruling) { LOOK } else { rest.min(LOOK) };
            tokio::select! {
                () = stop.cancelled() => break,
                changed = self.ruling.changed() => if changed.is_err() {
                    stop.cancelled().await;
                    break;
                } else {
                    rest = SOON;
                },
                () = tokio::time::sleep(rest), if self.wishes.anything(&ruling) => rest *= 2,
            }
        }
        self.door.enter_by(Vec::new());
    }

    /// Opens and closes what is to be; tells whether all is as it should be.
    fn adjust(&mut self, ruling: &Ruling) -> bool {
        let keys: Vec<gateway::Key> = ruling.keys.iter().map(|known| known.key.clone()).collect();
        self.door.keys_changed(&keys);
        let wanted = match self.wishes.anything(ruling) {
            true => self.wishes.ways(ruling, &Addresses::now()),
            false => Vec::new(),
        };
        let mut outside = Outside::default();
        let before = self.open.len();
        // What is closed is closed first: the same address may be opened for others.
        self.open.retain(|(way, _)| wanted.iter().any(|wanted| wanted.is_at(way)));
        if self.open.len() != before {
            self.tell_door();
        }
        let before = self.open.len();
        for way in wanted {
            if let Some((known, entry)) = self.open.iter_mut().find(|(known, _)| known.is_at(&way)) {
                if known.networks != way.networks {
                    entry.is_now_for(way.networks.clone());
                }
                *known = way;
                continue;
            }
            let address = SocketAddr::new(way.ip, self.port);
            match bind::listen(address) {
                Ok(listener) => {
                    let entry = Entry::new(way.entrance, listener, way.networks.clone());
                    self.open.push((way, entry));
                }
                Err(error) => outside.faults.push(format!("cannot listen at {address}: {error}")),
            }
        }
        if self.open.len() != before {
            self.tell_door();
        }
        let at = |entrance| {
            let ways = self.open.iter().filter(move |(way, _)| way.entrance == entrance);
            ways.map(|(way, _)| SocketAddr::new(way.ip, self.port)).collect()
        };
        (outside.lan, outside.containers) = (at(Entrance::Lan), at(Entrance::Container));
        self.sign(ruling, &mut outside);
        let is_well = outside.faults.is_empty();
        self.show(outside);
        is_well
    }

    fn tell_door(&self) {
        self.door.enter_by(self.open.iter().map(|(_, entry)| entry.clone()).collect());
    }

    /// Announces the fleet's name where it means this machine.
    fn sign(&mut self, ruling: &Ruling, outside: &mut Outside) {
        let addresses: Vec<IpAddr> = self.open.iter().filter(|(way, _)| way.is_named).map(|(way, _)| way.ip).collect();
        let name = (self.mdns && !addresses.is_empty()).then(|| name_on_lan(&ruling.fleet));
        let Some(name) = name else {
            self.post = None;
            self.door.called_on_lan(None);
            return;
        };
        let is_up = self.post.as_ref().is_some_and(|(host, known, _)| *host == name && *known == addresses);
        if !is_up {
            self.post = None;
            match Signpost::put_up(Networks::Local, &name, self.port, &addresses) {
                Ok(post) => self.post = Some((name.clone(), addresses, post)),
                Err(error) => outside.faults.push(format!("{name} is not announced: {error}")),
            }
            self.door.called_on_lan(Some(name.clone()));
        }
        outside.name = Some(name).filter(|_| self.post.is_some());
    }

    fn show(&self, outside: Outside) {
        let before = self.shown.load();
        if **before == outside {
            return;
        }
        if before.faults != outside.faults {
            outside.faults.iter().for_each(|fault| tracing::warn!(fault, "a way in for others is not open"));
        }
        if (&before.lan, &before.containers) != (&outside.lan, &outside.containers) {
            let list =
                |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let (lan, containers) = (list(&outside.lan), list(&outside.containers));
            tracing::info!(lan, containers, name = outside.name, "the ways in for others are open now");
        }
        self.shown.store(Arc::new(outside));
    }
}

impl Wishes {
    /// Whether anything is to be open now.
    fn anything(&self, ruling: &Ruling) -> bool {
        self.containers || (!ruling.keys.is_empty() && (!self.addresses.is_empty() || self.lan && ruling.leads))
    }

    /// The ways in that should be open, of which no two have the same address.
    fn ways(&self, ruling: &Ruling, addresses: &Addresses) -> Vec<Way> {
        let mut ways: Vec<Way> = Vec::new();
        let mut add = |way: Way| {
            if ways.iter().all(|known| known.ip != way.ip) {
                ways.push(way);
            }
        };
        if self.containers {
            // From one bridge to the address of another goes without leaving the machine. Whoever calls from elsewhere only
            // pretends to be near.
            let networks: Vec<Network> =
                addresses.containers.iter().map(|(ip, bits)| Network::new(*ip, *bits)).collect();
            for (ip, _) in &addresses.containers {
                add(Way { ip: *ip, entrance: Entrance::Container, networks: networks.clone(), is_named: false });
            }
        }
        if ruling.keys.is_empty() {
            return ways;
        }
        let is_named = self.lan && ruling.leads;
        for said in &self.addresses {
            let lan = |ip: IpAddr| {
                let is_local = addresses.local.iter().any(|(local, _)| *local == ip);
                Way { ip, entrance: Entrance::Lan, networks: Vec::new(), is_named: is_named && is_local }
            };
            match said.is_unspecified() {
                false => add(lan(*said)),
                // As systems have it, `::` is meant for both kinds.
                true => {
                    let all = addresses.all.iter().filter(|(ip, _)| said.is_ipv6() || ip.is_ipv4());
                    all.for_each(|(ip, _)| add(lan(*ip)));
                }
            }
        }
        if is_named {
            // Some of these addresses may be known to the whole Internet.
            let near = addresses.local.iter().map(|(ip, bits)| Network::new(*ip, *bits));
            let networks: Vec<Network> = near.chain(private_networks()).collect();
            for (ip, _) in &addresses.local {
                add(Way { ip: *ip, entrance: Entrance::Lan, networks: networks.clone(), is_named });
            }
        }
        ways
    }
}

impl Way {
    /// Whether it is the same way, be it for others now.
    fn is_at(&self, other: &Way) -> bool {
        (self.ip, self.entrance) == (other.ip, other.entrance)
    }
}

/// The addresses of this machine.
struct Addresses {
    local: Vec<OnNetwork>,
    containers: Vec<OnNetwork>,
    all: Vec<OnNetwork>,
}

impl Addresses {
    fn now() -> Addresses {
        Addresses { local: mesh::local_networks(), containers: mesh::container_networks(), all: mesh::all_networks() }
    }
}

/// Where addresses begin that are in use within households and offices only: RFC 1918, RFC 4193, and link-local ones.
fn private_networks() -> impl Iterator<Item = Network> {
    let v4 = [([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16), ([169, 254, 0, 0], 16)];
    let v6 = [([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10)];
    let v4 = v4.into_iter().map(|(ip, bits)| Network::new(IpAddr::from(ip), bits));
    v4.chain(v6.into_iter().map(|(ip, bits)| Network::new(IpAddr::from(ip), bits)))
}

/// What a fleet is called on the network: the same on all its machines, and nobody learns from it what the fleet is.
pub(crate) fn name_on_lan(fleet: &str) -> String {
    let hash = Sha256::new().chain_update("herd lan name\0").chain_update(fleet).finalize();
    format!("herd-{}.local", hex(&hash[..4]))
}

#[cfg(test)]
mod tests;
