//! Finds nodes on the local network and is found there, by multicast DNS. A hint only: who is found still has to pass the gate.
//!
//! What is announced names nobody: a version, a port, and either a tag that changes daily and only members can compute, or
//! the first character of a pairing code. Host and instance names are random and new at each start.
//!
//! [`Discovery::start`] starts a thread of mdns-sd's, which says farewell and ends when the [`Discovery`] is dropped.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mdns_sd::{IfKind, IfPredicate, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use proto::Clock;

use crate::{FleetSecret, Hint, Secrets, Source, base32, interfaces};

/// The service that is announced and looked for.
pub const SERVICE: &str = "_herd-fleet._tcp.local.";

/// As what a door for clients on other machines is announced: for browsers that list web servers, and by a name of its own.
pub const HTTP_SERVICES: [&str; 2] = ["_http._tcp.local.", "_herd-fleet-api._tcp.local."];

/// The version of what is announced.
const VERSION: &str = "1";
const DAY_MS: u64 = 24 * 3600 * 1000;
/// How often the day is looked at. A sleeping laptop wakes with an old tag, which still orders well enough.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How long to wait for more offers after the first.
const MORE_OFFERS: Duration = Duration::from_millis(300);
/// Addresses of one announcement that are looked at.
const MOST_ADDRESSES: usize = 8;

/// Which networks to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Networks {
    /// Those that lead to other machines: no containers, virtual machines and tunnels.
    Local,
    /// This machine only, for tests.
    Loopback,
}

/// Why there is no discovery. Everything else works without it.
#[derive(Debug, thiserror::Error)]
#[error("cannot announce this machine on the local network: {0}")]
pub struct DiscoveryError(#[from] mdns_sd::Error);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Somewhere a node listens: to be handed to [`crate::Transport::dial`].
    Node(Vec<Hint>),
    /// Somewhere a machine shows a code that begins with `plate`.
    Offer {
        /// The first character of its code.
        plate: char,
        /// Where to join.
        addresses: Vec<SocketAddr>,
    },
}

/// Announces this node, and finds others.
pub struct Discovery {
    announcer: Announcer,
    clock: Clock,
    secrets: Secrets,
    port: u16,
    announced: Option<(u64, Announcement)>,
    events: Receiver<ServiceEvent>,
    look: tokio::time::Interval,
}

/// Announces things on the local network. Cheap to clone.
#[derive(Clone)]
pub struct Announcer {
    daemon: ServiceDaemon,
    host: String,
}

/// Something that is announced, until this is dropped.
pub struct Announcement {
    daemon: ServiceDaemon,
    name: String,
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // The farewell is sent by mdns-sd's own thread.
        let _ = self.daemon.unregister(&self.name);
    }
}

impl Announcer {
    fn start(networks: Networks) -> Result<Announcer, DiscoveryError> {
        let daemon = ServiceDaemon::new()?;
        match networks {
            Networks::Local => daemon
                .disable_interface(IfKind::Predicate(IfPredicate::new(|interface| !interfaces::is_local(interface))))?,
            Networks::Loopback => {
                daemon.disable_interface(IfKind::All)?;
                daemon.enable_interface(IfKind::LoopbackV4)?;
            }
        }
        Ok(Announcer { daemon, host: format!("{}.local.", random_name()) })
    }

    /// Announces that a code is shown which begins with `plate`, and that one can join at `port`.
    pub fn offer(&self, port: u16, plate: char) -> Result<Announcement, DiscoveryError> {
        self.announce(port, &[("v", VERSION), ("c", &plate.to_string())])
    }

    fn node(&self, port: u16, tag: &str) -> Result<Announcement, DiscoveryError> {
        self.announce(port, &[("v", VERSION), ("t", tag)])
    }

    fn announce(&self, port: u16, says: &[(&str, &str)]) -> Result<Announcement, DiscoveryError> {
        let mut service = ServiceInfo::new(SERVICE, &random_name(), &self.host, "", port, says)?.enable_addr_auto();
        // Random names collide with nobody's, so nobody is asked, and others hear of us a second sooner.
        service.set_requires_probe(false);
        let name = service.get_fullname().to_owned();
        self.daemon.register(service)?;
        Ok(Announcement { daemon: self.daemon.clone(), name })
    }
}

impl Discovery {
    /// Announces that this node listens on `port`, and begins to look for others. Needs a tokio runtime with time.
    pub fn start(networks: Networks, clock: Clock, secrets: Secrets, port: u16) -> Result<Discovery, DiscoveryError> {
        let announcer = Announcer::start(networks)?;
        let events = announcer.daemon.browse(SERVICE)?;
        let look = tokio::time::interval(LOOK_EVERY);
        let mut discovery = Discovery { announcer, clock, secrets, port, announced: None, events, look };
        discovery.announce_today()?;
        Ok(discovery)
    }

    /// For announcing a pairing code.
    pub fn announcer(&self) -> Announcer {
        self.announcer.clone()
    }

    /// What is found next; `None` when looking has ended. Things are found again and again. May be dropped half-way.
    pub async fn next(&mut self) -> Option<Found> {
        loop {
            tokio::select! {
                event = self.events.recv_async() => {
                    if let ServiceEvent::ServiceResolved(service) = event.ok()?
                        && let Some(found) = self.found(&service)
                    {
                        return Some(found);
                    }
                }
                _ = self.look.tick() => {
                    if let Err(error) = self.announce_today() {
                        tracing::warn!(%error, "the announcement could not be renewed");
                    }
                }
            }
        }
    }

    fn announce_today(&mut self) -> Result<(), DiscoveryError> {
        let today = self.clock.unix_ms() / DAY_MS;
        if self.announced.as_ref().is_some_and(|(day, _)| *day == today) {
            return Ok(());
        }
        let announcement = self.announcer.node(self.port, &tag(self.secrets.current(), today))?;
        self.announced = Some((today, announcement));
        Ok(())
    }

    fn found(&self, service: &ResolvedService) -> Option<Found> {
        if self.announced.as_ref().is_some_and(|(_, mine)| mine.name == service.fullname) {
            return None;
        }
        let addresses = addresses(service);
        if addresses.is_empty() {
            return None;
        }
        if let Some(plate) = plate(service) {
            return Some(Found::Offer { plate, addresses });
        }
        let tag = service.get_property_val_str("t")?;
        let source = if is_ours(tag, &self.secrets, self.clock) { Source::Announced } else { Source::Foreign };
        Some(Found::Node(addresses.into_iter().map(|address| Hint { address, node: None, source }).collect()))
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.announced = None;
        // Its thread keeps itself alive: it ends only when it is told to.
        let _ = self.announcer.daemon.shutdown();
    }
}

/// A name for an HTTP server of this machine on the local network, known as long as this lives.
///
/// Unlike nodes, it is announced under a name that stays: people type it. The name says nothing of the machine.
pub struct Signpost {
    daemon: ServiceDaemon,
    names: Vec<String>,
}

impl Signpost {
    /// Has `host` (`herd-1a2b3c4d.local`) mean `addresses`, all of this machine, and announces that a door is there at
    /// `port`. Starts a thread of mdns-sd's, which says farewell and ends when this is dropped.
    pub fn put_up(networks: Networks, host: &str, port: u16, addresses: &[IpAddr]) -> Result<Signpost, DiscoveryError> {
        let Announcer { daemon, .. } = Announcer::start(networks)?;
        let mut post = Signpost { daemon, names: Vec::new() };
        let name = host.strip_suffix(".local").unwrap_or(host);
        for service in HTTP_SERVICES {
            let mut service =
                ServiceInfo::new(service, name, &format!("{name}.local."), addresses, port, &[] as &[(&str, &str)])?;
            // Whoever led before may be announcing it still: whoever leads now is right, and asks nobody.
            service.set_requires_probe(false);
            let full = service.get_fullname().to_owned();
            post.daemon.register(service)?;
            post.names.push(full);
        }
        Ok(post)
    }
}

impl Drop for Signpost {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = self.daemon.unregister(name);
        }
        let _ = self.daemon.shutdown();
    }
}

/// Looks for machines that show a code which begins with `plate`: their addresses, once there are any, or none after `within`.
pub async fn find_offers(networks: Networks, plate: char, within: Duration) -> Result<Vec<SocketAddr>, DiscoveryError> {
    let announcer = Announcer::start(networks)?;
    let events = announcer.daemon.browse(SERVICE)?;
    let mut all = Vec::new();
    let deadline = tokio::time::sleep(within);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            event = events.recv_async() => match event {
                Ok(ServiceEvent::ServiceResolved(service)) if self::plate(&service) == Some(plate) => {
                    let new = addresses(&service).into_iter().filter(|address| !all.contains(address)).collect::<Vec<_>>();
                    if all.is_empty() && !new.is_empty() {
                        deadline.set(tokio::time::sleep(MORE_OFFERS));
                    }
                    all.extend(new);
                }
                Ok(_) => {}
                Err(_) => break,
            },
            () = &mut deadline => break,
        }
    }
    let _ = announcer.daemon.shutdown();
    Ok(all)
}

/// What members announce on `day`, so that they try each other first. Nobody else can tell it from any other.
fn tag(secret: &FleetSecret, day: u64) -> String {
    base32::encode(&secret.derive("herd mesh 1 day", &[&day.to_be_bytes()])[..8])
}

/// Whether a tag is this fleet's: of today, or of the day before or after, since clocks differ.
fn is_ours(tag: &str, secrets: &Secrets, clock: Clock) -> bool {
    let today = clock.unix_ms() / DAY_MS;
    let days = [today, today.saturating_sub(1), today + 1];
    secrets.iter().any(|secret| days.iter().any(|day| self::tag(secret, *day) == tag))
}

fn plate(service: &ResolvedService) -> Option<char> {
    let mut said = service.get_property_val_str("c")?.chars();
    said.next().filter(|_| said.next().is_none())
}

/// Where a service is, IPv4 first. Addresses that need to know their interface are left out: nobody could dial them.
fn addresses(service: &ResolvedService) -> Vec<SocketAddr> {
    let ips = service.get_addresses().iter().map(mdns_sd::ScopedIp::to_ip_addr);
    let usable = ips.filter(|ip| match ip {
        std::net::IpAddr::V4(_) => true,
        std::net::IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    });
    let mut all: Vec<_> = usable.map(|ip| SocketAddr::new(ip, service.get_port())).collect();
    all.sort_by_key(|address| (address.is_ipv6(), *address));
    all.truncate(MOST_ADDRESSES);
    all
}

fn random_name() -> String {
    let mut bytes = [0; 8];
    // Without randomness the name is less unique, and mdns-sd resolves what collides.
    let _ = getrandom::fill(&mut bytes);
    base32::encode(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock::new(proto::Moment::default, || 20_000 * DAY_MS + 5)
    }

    #[test]
    fn tags_change_daily_and_differ_by_fleet() {
        let (ours, theirs) = (FleetSecret::from([1; 32]), FleetSecret::from([2; 32]));
        let secrets = Secrets::new(vec![ours.clone(), theirs.clone()]).unwrap();
        let known = |secret, day| is_ours(&tag(secret, day), &secrets, clock());
        for (day, expected) in [(19_998, false), (19_999, true), (20_000, true), (20_001, true), (20_002, false)] {
            assert_eq!(known(&ours, day), expected, "{day}");
        }
        // During a change of secrets both count.
        assert!(known(&theirs, 20_000));
        assert!(!known(&FleetSecret::from([3; 32]), 20_000));
        assert_eq!(tag(&ours, 20_000).len(), 13);
        assert_ne!(tag(&ours, 20_000), tag(&ours, 20_001));
    }

    fn resolved(says: &[(&str, &str)], addresses: &str) -> ResolvedService {
        ServiceInfo::new(SERVICE, "somebody", "somebody.local.", addresses, 11441, says).unwrap().as_resolved_service()
    }

    #[tokio::test]
    async fn the_thread_ends_with_its_discovery() {
        let secret = Secrets::from(FleetSecret::from([1; 32]));
        let Ok(discovery) = Discovery::start(Networks::Loopback, clock(), secret, 1) else { return };
        let daemon = discovery.announcer().daemon;
        drop(discovery);
        // A question that came too late is never answered.
        let ended = || async {
            let answer = daemon.status().ok()?;
            tokio::time::timeout(Duration::from_millis(50), answer.recv_async()).await.ok()?.ok()
        };
        let waiting = async { while !matches!(ended().await, Some(mdns_sd::DaemonStatus::Shutdown)) {} };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
    }

    #[test]
    fn announcements_become_hints() {
        let service = resolved(&[("v", "1"), ("t", "x")], "fe80::1,fd00::2,192.0.2.7");
        let expected: Vec<SocketAddr> = vec!["192.0.2.7:11441".parse().unwrap(), "[fd00::2]:11441".parse().unwrap()];
        assert_eq!(addresses(&service), expected);
        assert_eq!(plate(&service), None);
        for (says, expected) in [("7", Some('7')), ("", None), ("77", None), ("é", Some('é'))] {
            assert_eq!(plate(&resolved(&[("c", says)], "192.0.2.7")), expected, "{says}");
        }
        let many = (1..100).map(|number| format!("192.0.2.{number}")).collect::<Vec<_>>().join(",");
        assert_eq!(addresses(&resolved(&[], &many)).len(), MOST_ADDRESSES);
    }
}
