//! What happens to homes, and how long they take to get over it. Stories tell each once, benchmarks many times.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::home::PATIENCE;
use super::{Home, Space, within};

/// How long a machine is stopped or away: longer than the silence after which it counts as gone.
const AWAY: Duration = Duration::from_secs(6);

impl Home {
    /// All machines.
    pub fn all(&self) -> Vec<u8> {
        (1..=self.count()).collect()
    }

    /// All machines but these.
    pub fn others(&self, but: &[u8]) -> Vec<u8> {
        self.all().into_iter().filter(|number| !but.contains(number)).collect()
    }

    /// The leader and its epoch as `host` knows them.
    pub fn reign(&self, host: u8) -> (Option<String>, Option<u64>) {
        let status = self.host(host).get("/fleet/status").map(|answer| answer.json()).unwrap_or_default();
        let leader = &status["leader"];
        (leader["name"].as_str().map(str::to_owned), leader["epoch"].as_u64())
    }

    /// Kills the leader, as a power cut would. The time until all others follow one new leader, and who was killed.
    pub fn kill_leader(&mut self) -> (u8, Duration) {
        let leader = self.agree_soon(&self.all()).0;
        self.host_mut(leader).kill();
        (leader, self.follow_soon(&self.others(&[leader]), leader).1)
    }

    /// Starts Herd again on a machine where it was killed. The time until all hear each other, from the start.
    ///
    /// # Panics
    /// If that made anybody change the leader.
    pub fn bring_back(&mut self, host: u8) -> Duration {
        let others = self.others(&[host]);
        let before = self.reign(others[0]);
        assert!(before.0.is_some() && before.1.is_some(), "{before:?}");
        let start = super::now();
        self.host_mut(host).start();
        self.host_mut(host).is_up_soon();
        let leader = self.agree_soon(&self.all()).0;
        let took = start.elapsed();
        assert_eq!(before, self.reign(others[0]), "a second election");
        assert_eq!(before.0.as_deref(), Some(self.host(leader).name.as_str()));
        took
    }

    /// Stops a machine for six seconds, as others see a laptop that sleeps. The times until the others agree without it
    /// (from the beginning), and until all agree again (from the end).
    pub fn put_to_sleep(&self, host: u8) -> (Duration, Duration) {
        let others = self.others(&[host]);
        let herd = self.host(host).herd();
        herd.signal("STOP");
        let (start, gone) = (super::now(), self.agree_soon(&others).1);
        std::thread::sleep(AWAY.saturating_sub(start.elapsed()));
        herd.signal("CONT");
        (gone, self.agree_soon(&self.all()).1)
    }

    /// Pulls the leader's cable. The time until the others follow one new leader.
    pub fn pull_leader(&self) -> (u8, Duration) {
        let leader = self.agree_soon(&self.all()).0;
        self.lan.pull(leader);
        (leader, self.follow_soon(&self.others(&[leader]), leader).1)
    }

    /// Plugs a cable in again. The time until all agree.
    pub fn plug(&self, host: u8) -> Duration {
        self.lan.plug(host);
        self.agree_soon(&self.all()).1
    }

    /// Moves hosts to another network, which they do not notice. The time until each side agrees, and the two leaders:
    /// of those who stayed, and of those who went.
    pub fn split(&self, away: &[u8]) -> (u8, u8, Duration) {
        let stay = self.others(away);
        self.lan.send_away(away);
        let both = || Some((self.agreed(&stay)?, self.agreed(away)?));
        let ((stays, goes), took) = within(PATIENCE, both).expect("each side agrees on a leader");
        (stays, goes, took)
    }

    /// Moves hosts back. The leader of all, and the time until they agree.
    pub fn heal(&self, away: &[u8]) -> (u8, Duration) {
        self.lan.bring_home(away);
        self.agree_soon(&self.all())
    }

    /// Ends everything at once and starts it again. The leader, and the time until all agree.
    pub fn cut_power(&mut self) -> (u8, Duration) {
        self.hosts.iter_mut().for_each(super::Host::kill);
        self.hosts.iter_mut().for_each(super::Host::start);
        self.agree_soon(&self.all())
    }

    /// Removes `host`, on whose order `by` does it. The times until none of the others hears it, and until it hears none of
    /// them.
    ///
    /// # Panics
    /// If it stays.
    pub fn remove(&self, by: u8, host: u8) -> (Duration, Duration) {
        let name = &self.host(host).name;
        let others = self.others(&[host]);
        let start = super::now();
        let said = self.host(by).run(&["remove", name, "--yes", "--json"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let forgotten = || others.iter().all(|other| !self.host(*other).hears().contains(name)).then_some(());
        within(PATIENCE, forgotten).expect("who was removed is not heard any more");
        let forgotten = start.elapsed();
        let alone = || (self.host(host).hears().iter().all(|heard| heard == name)).then_some(());
        within(PATIENCE, alone).expect("who was removed hears nobody any more");
        (forgotten, start.elapsed())
    }
}

/// The TCP ports that answer at `target`, of all there are, asked from `space`.
pub fn open_ports(space: &Space, target: &str) -> BTreeSet<u16> {
    const AT_ONCE: u16 = 8;
    let target: Ipv4Addr = target.parse().expect("an address");
    let part = |first: u16| {
        let ports = (1..=u16::MAX).filter(move |port| port % AT_ONCE == first);
        // Closed ports are refused at once, so nobody waits that long.
        let is_open =
            |port: &u16| TcpStream::connect_timeout(&SocketAddr::from((target, *port)), Duration::from_secs(2)).is_ok();
        space.inside(|| ports.filter(is_open).collect::<Vec<_>>())
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..AT_ONCE).map(|first| scope.spawn(move || part(first))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("a scan does not fail")).collect()
    })
}

/// The UDP ports that others may send to in `space`, as its own tables tell.
pub fn open_udp_ports(space: &Space) -> BTreeSet<u16> {
    let tables = space.inside(|| {
        ["udp", "udp6"]
            .map(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default())
    });
    let ports = tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(|line| {
        let (address, port) = line.split_whitespace().nth(1)?.split_once(':')?;
        // Loopback is 127.0.0.1 or ::1, as the machine has them in memory.
        let is_local = matches!(address, "0100007F" | "00000000000000000000000001000000");
        u16::from_str_radix(port, 16).ok().filter(|_| !is_local)
    });
    ports.collect()
}
