//! The machines of a home, and their fleet.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{Host, Lan, Programs, Said, within};

/// How long anything may take that is expected to happen. Generous: these machines are busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(45);
/// The names of the first machines; the others are called by their number.
const NAMES: [&str; 5] = ["attic-studio", "bobs-laptop", "cellar-server", "dens-desktop", "eves-notebook"];

/// Machines on one network.
pub struct Home {
    /// The machines, the first one first. Ended before their network goes.
    pub hosts: Vec<Host>,
    /// Their network.
    pub lan: Lan,
    _dir: TempDir,
}

impl Home {
    /// So many machines, each with a model of its own in its inference server, and nothing else running yet; `None` where
    /// that is not possible.
    ///
    /// # Panics
    /// If something does not start.
    pub fn new(hosts: u8, programs: &Programs) -> Option<Home> {
        let lan = Lan::new(hosts)?;
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let mut home = Home { hosts: Vec::new(), lan, _dir: dir };
        for number in 1..=hosts {
            let name = NAMES.get(usize::from(number) - 1).map_or_else(|| format!("rack-{number}"), ToString::to_string);
            let below = home._dir.path().join(number.to_string());
            let mut host = Host::new(number, &name, home.lan.space(number), programs, &below);
            host.install(&[format!("{}=tiny", Home::model(number))]);
            home.hosts.push(host);
        }
        Some(home)
    }

    /// The model that only this host has, without its tag.
    pub fn model(host: u8) -> String {
        format!("secret-sauce-{host}")
    }

    /// A machine, by its number.
    pub fn host(&self, number: u8) -> &Host {
        &self.hosts[usize::from(number) - 1]
    }

    /// The same, to be changed.
    pub fn host_mut(&mut self, number: u8) -> &mut Host {
        &mut self.hosts[usize::from(number) - 1]
    }

    /// The machine of that name.
    ///
    /// # Panics
    /// If there is none.
    pub fn named(&self, name: &str) -> u8 {
        self.hosts.iter().find(|host| host.name == name).unwrap_or_else(|| panic!("no host {name}")).number
    }

    /// Starts Herd on all machines and waits until each answers.
    pub fn start(&mut self) {
        self.hosts.iter_mut().for_each(Host::start);
        self.hosts.iter_mut().for_each(Host::is_up_soon);
    }

    /// Has `joiner` join the fleet of `member`, who shows a code; what both said.
    ///
    /// # Panics
    /// If no code is shown.
    pub fn pair(&self, member: u8, joiner: u8) -> (Said, Said) {
        self.pair_with(member, |code, _| self.host(joiner).run(&["join", code, "--json"]))
    }

    fn pair_with(&self, member: u8, join: impl FnOnce(&str, &str) -> Said) -> (Said, Said) {
        let pairing = self.host(member).talk(&["pair", "--yes", "--json"]);
        let shown = pairing.next().unwrap_or_default();
        let (Some(code), Some(address)) = (shown["code"].as_str(), shown["address"].as_str()) else {
            panic!("no code from {}: {shown} {:?}", self.host(member).name, pairing.end())
        };
        let joined = join(code, address);
        if joined.code != Some(0) {
            pairing.program().signal("INT");
        }
        (pairing.end(), joined)
    }

    /// The same by the address that is shown with the code, for networks where nobody can be found.
    ///
    /// # Panics
    /// If no code is shown.
    pub fn pair_by_address(&self, member: u8, joiner: u8) -> (Said, Said) {
        self.pair_with(member, |code, address| self.host(joiner).run(&["join", code, "--addr", address, "--json"]))
    }

    /// So many machines, in one fleet; `None` where that is not possible.
    ///
    /// # Panics
    /// If something does not start, or one does not get in.
    pub fn paired(hosts: u8, programs: &Programs) -> Option<Home> {
        let mut home = Home::new(hosts, programs)?;
        home.start();
        home.join_all(2);
        home.agree_soon(&home.all());
        Some(home)
    }

    /// Has all join the fleet of the first, one after the other, beginning with machine `first`.
    ///
    /// # Panics
    /// If one does not get in.
    pub fn join_all(&self, first: u8) {
        for joiner in first..=self.count() {
            let (shown, joined) = self.pair(1, joiner);
            assert_eq!((joined.code, shown.code), (Some(0), Some(0)), "host {joiner}: {joined:?} {shown:?}");
        }
    }

    /// How many machines there are.
    pub fn count(&self) -> u8 {
        u8::try_from(self.hosts.len()).expect("at most 200 hosts")
    }

    /// The leader that all of `hosts` name, if each of them hears just these.
    pub fn agreed(&self, hosts: &[u8]) -> Option<u8> {
        let mut names: Vec<&str> = hosts.iter().map(|number| self.host(*number).name.as_str()).collect();
        names.sort_unstable();
        let mut agreed = None;
        for number in hosts {
            let mut heard = self.host(*number).hears();
            heard.sort_unstable();
            let leader = self.host(*number).leader()?;
            if heard != names || !names.contains(&leader.as_str()) || agreed.as_ref().is_some_and(|one| *one != leader)
            {
                return None;
            }
            agreed = Some(leader);
        }
        agreed.map(|name| self.named(&name))
    }

    /// Waits until `hosts` hear each other and nobody else, and follow one leader; who that is, and how long it took.
    ///
    /// # Panics
    /// If they do not.
    pub fn agree_soon(&self, hosts: &[u8]) -> (u8, Duration) {
        within(PATIENCE, || self.agreed(hosts)).unwrap_or_else(|| {
            let seen = hosts.iter().map(|number| {
                let host = self.host(*number);
                format!("{}: leader {:?}, hears {:?}", host.name, host.leader(), host.hears())
            });
            panic!("hosts {hosts:?} do not agree:\n{}", seen.collect::<Vec<_>>().join("\n"))
        })
    }

    /// Waits until each of `hosts` follows `leader`, or, without one, somebody who is one of them and none of `but`; who
    /// that is, and how long it took.
    ///
    /// # Panics
    /// If they do not.
    pub fn follow_soon(&self, hosts: &[u8], but: u8) -> (u8, Duration) {
        let one = || {
            let leaders: Vec<Option<String>> = hosts.iter().map(|number| self.host(*number).leader()).collect();
            let first = leaders.first().cloned().flatten()?;
            let all = leaders.iter().all(|leader| leader.as_ref() == Some(&first));
            Some(self.named(&first)).filter(|leader| all && *leader != but && hosts.contains(leader))
        };
        within(PATIENCE, one).unwrap_or_else(|| panic!("hosts {hosts:?} follow nobody new"))
    }

    /// Waits until each of `hosts` lists the models of `of` and of no other host; how long it took.
    ///
    /// # Panics
    /// If they do not.
    pub fn list_soon(&self, hosts: &[u8], of: &[u8]) -> Duration {
        let mut wanted: Vec<String> = of.iter().map(|number| format!("{}:latest", Home::model(*number))).collect();
        wanted.sort_unstable();
        let lists = |number: &u8| {
            let mut models = self.host(*number).models();
            models.sort_unstable();
            models
        };
        let listed = within(PATIENCE, || hosts.iter().all(|number| lists(number) == wanted).then_some(()));
        listed.unwrap_or_else(|| panic!("lists differ: {:?}", hosts.iter().map(lists).collect::<Vec<_>>())).1
    }

    /// A row of `/fleet/nodes` of `host` about `other`.
    pub fn row(&self, host: u8, other: u8) -> Value {
        let name = &self.host(other).name;
        self.host(host).nodes().into_iter().find(|row| row["name"] == name.as_str()).unwrap_or_default()
    }
}
