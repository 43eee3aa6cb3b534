//! The network: one namespace holds the bridges, one each the hosts.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What all names begin with; then the process id, the number of the network, and who it is.
const PREFIX: &str = "herd-test-";
/// The bridges: the network that all are plugged into, and another one.
const BRIDGES: [&str; 2] = ["home", "away"];

/// A network of hosts, numbered from 1. It is gone with this value.
pub struct Lan {
    switch: Space,
    hosts: Vec<Space>,
}

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Space {
    name: String,
}

impl Space {
    /// Runs `act` with its network; so do programs that it starts.
    ///
    /// # Panics
    /// If the namespace is gone, or `act` panics.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let file = File::open(path).expect("the namespace is there as long as its network");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("who made a namespace may enter it");
                act()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn ip(&self, words: &str) {
        ip(&format!("-n {} {words}", self.name)).expect("what this harness asks of `ip` is possible");
    }
}

impl Lan {
    /// Connects so many hosts, at most 200, to one network; `None`, and a line that says why, where that is not possible.
    pub fn new(hosts: u8) -> Option<Lan> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let space = |who: &str| Space { name: format!("{PREFIX}{}-{number}-{who}", std::process::id()) };
        let switch = space("switch");
        if let Err(why) = ip(&format!("netns add {}", switch.name)) {
            // Not through the macro, which the test runner captures.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: no hosts in network namespaces here, which takes root on Linux and iproute2: {why}"
            );
            return None;
        }
        let mut lan = Lan { switch, hosts: Vec::new() };
        for bridge in BRIDGES {
            lan.switch.ip(&format!("link add {bridge} type bridge mcast_snooping 0"));
            lan.switch.ip(&format!("link set {bridge} up"));
        }
        for number in 1..=hosts.min(200) {
            let host = space(&number.to_string());
            ip(&format!("netns add {}", host.name)).expect("as for the first namespace");
            lan.hosts.push(host.clone());
            lan.switch.ip(&format!("link add v{number} type veth peer name eth0 netns {}", host.name));
            lan.switch.ip(&format!("link set v{number} master home up"));
            host.ip("link set lo up");
            host.ip(&format!("addr add {}/24 dev eth0", Lan::address(number)));
            host.ip("link set eth0 up");
        }
        Some(lan)
    }

    /// The address that a host has at first.
    pub fn address(host: u8) -> String {
        format!("10.77.0.{host}")
    }

    /// A host's namespace.
    pub fn space(&self, host: u8) -> &Space {
        &self.hosts[usize::from(host) - 1]
    }

    /// The bridges' namespace, where everything passes.
    pub fn switch(&self) -> &Space {
        &self.switch
    }

    /// Pulls a host's cable.
    pub fn pull(&self, host: u8) {
        self.switch.ip(&format!("link set v{host} down"));
    }

    /// Plugs a host's cable in again.
    pub fn plug(&self, host: u8) {
        self.switch.ip(&format!("link set v{host} up"));
    }

    /// Moves hosts to the other network, which they do not notice.
    pub fn send_away(&self, hosts: &[u8]) {
        hosts.iter().for_each(|host| self.switch.ip(&format!("link set v{host} master away")));
    }

    /// Moves hosts back.
    pub fn bring_home(&self, hosts: &[u8]) {
        hosts.iter().for_each(|host| self.switch.ip(&format!("link set v{host} master home")));
    }

    /// Gives a host another address (`A.B.C.D`, in a /24) instead of those it has.
    pub fn readdress(&self, host: u8, address: &str) {
        self.space(host).ip("-4 addr flush dev eth0");
        self.space(host).ip(&format!("addr add {address}/24 dev eth0"));
    }

    /// Lets these hosts reach all others but not each other, as behind a poor radio; undone by [`Lan::join`].
    pub fn part(&self, hosts: &[u8]) {
        hosts.iter().for_each(|host| self.switch.ip(&format!("link set v{host} type bridge_slave isolated on")));
    }

    /// Lets these hosts reach each other again.
    pub fn join(&self, hosts: &[u8]) {
        hosts.iter().for_each(|host| self.switch.ip(&format!("link set v{host} type bridge_slave isolated off")));
    }

    /// Carries no multicast from now on, as many wireless networks for guests.
    pub fn block_multicast(&self) {
        for number in 1..=self.hosts.len() {
            self.switch.ip(&format!("link set v{number} type bridge_slave mcast_flood off"));
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for space in self.hosts.iter().chain([&self.switch]) {
            remove(&space.name);
        }
    }
}

/// Removes the networks of tests that were killed.
fn sweep() {
    for line in ip("netns list").unwrap_or_default().lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !std::path::Path::new("/proc").join(pid).exists()) {
            for pid in ip(&format!("netns pids {name}")).unwrap_or_default().split_whitespace() {
                let _ = Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status();
            }
            remove(name);
        }
    }
}

fn remove(name: &str) {
    // Another test may have swept it away at the same moment.
    let _ = ip(&format!("netns del {name}"));
}

fn ip(words: &str) -> Result<String, String> {
    let output = ["ip", "/usr/sbin/ip", "/sbin/ip"]
        .iter()
        .find_map(|program| Command::new(program).args(words.split_whitespace()).stdin(Stdio::null()).output().ok())
        .ok_or("there is no `ip`")?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
