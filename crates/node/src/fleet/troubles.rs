//! What may be wrong between the machines, in words, and what to do about it.

use std::time::Duration;

use membership::Presence;
use mesh::{Source, Transport as _, Trouble};
use proto::view::CheckView;

use super::driver::Driver;
use super::known::key;

/// How long others may take to be heard on the network.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

impl Driver {
    /// One row for each thing that was looked at.
    pub(super) fn checks(&self) -> Vec<CheckView> {
        let mut checks = Vec::new();
        for fault in &self.papers.faults {
            checks.push(problem("fleet files", fault.clone(), None));
        }
        if let Some(told) = &self.papers.memory.told {
            checks.push(warning(
                "fleet",
                told.clone(),
                Some("pair it again: `herd pair` on a machine of the fleet, `herd join CODE` here"),
            ));
        }
        if let Some(fault) = &self.mesh_fault {
            checks.push(problem(
                "mesh",
                format!("this machine cannot listen for the others: {fault}"),
                Some("free the port, or choose another one with FLEET_MESH_PORT (0 takes any)"),
            ));
        }
        let Some(party) = &self.party else {
            if self.papers.company().is_none() && self.papers.faults.is_empty() {
                checks.push(ok("fleet", "this machine is a fleet of one".to_owned()));
            }
            return checks;
        };
        let peers = party.mesh.peers();
        let connected = peers.iter().filter(|peer| peer.connected).count();
        checks.push(ok(
            "fleet",
            format!("‘{}’: {connected} of {} other machines are connected", self.fleet_name(), peers.len()),
        ));
        let port = party.mesh.port();
        if self.place.port != 0 && port != self.place.port {
            checks.push(warning(
                "mesh",
                format!(
                    "port {} is taken by another program, perhaps another Herd; the mesh listens on {port}",
                    self.place.port
                ),
                Some("end that program, or set FLEET_MESH_PORT, so that typed addresses stay true"),
            ));
        }
        self.members(&mut checks);
        self.network(&mut checks, connected);
        checks
    }

    /// Members that are not there, or not what they should be.
    fn members(&self, checks: &mut Vec<CheckView>) {
        let Some(party) = &self.party else { return };
        let names = self.names();
        let peers = party.mesh.peers();
        for member in party.core.view(self.now()).members {
            let name = names.get(&member.id).map_or_else(|| member.id.to_string(), ToString::to_string);
            let check = format!("machine {name}");
            let trouble = peers.iter().find(|peer| peer.node == key(member.id)).and_then(|peer| peer.trouble);
            match (member.presence, trouble) {
                (Presence::Here, _) => {}
                (Presence::Left, _) => checks.push(ok(&check, format!("{name} was stopped on purpose"))),
                (Presence::Elsewhere, trouble) => {
                    let why = trouble.map_or_else(String::new, |trouble| format!(": {trouble}"));
                    let found = format!("{name} is there, but this machine cannot reach it{why}");
                    checks.push(warning(
                        &check,
                        found,
                        Some("look for a firewall between the two, or whether they are on different networks"),
                    ));
                }
                (Presence::Gone, trouble) => {
                    let why = trouble.map_or_else(
                        || "it does not answer, and is looked for".to_owned(),
                        |trouble| trouble.to_string(),
                    );
                    checks.push(warning(&check, format!("{name} is not there: {why}"), trouble.map(advice)));
                }
            }
        }
        for twin in &party.twins {
            let (found, advice) = if Some(*twin) == self.me() {
                (
                    "another machine uses this machine's identity, as after copying a disk or restoring a backup"
                        .to_owned(),
                    "on one of the two: stop Herd, delete identity.key, fleet.secret and roster.json in its data directory, start it and pair it again",
                )
            } else {
                let name = names.get(twin).map_or_else(|| twin.to_string(), ToString::to_string);
                (
                    format!("two machines use the identity of {name}, as after copying a disk"),
                    "on one of the two: stop Herd, delete identity.key, fleet.secret and roster.json in its data directory, start it and pair it again",
                )
            };
            checks.push(problem("identity", found, Some(advice)));
        }
    }

    fn network(&self, checks: &mut Vec<CheckView>, connected: usize) {
        let Some(party) = &self.party else { return };
        if let Some(fault) = &party.discovery_fault {
            checks.push(warning(
                "network",
                format!("other machines are not looked for on the network: {fault}"),
                Some("name them by address in FLEET_PEERS"),
            ));
        }
        let has_waited = self.now().since(party.since) > HEARD_WITHIN;
        if party.discovery.is_some() && has_waited && !party.heard_announced && connected > 0 {
            let advice = if cfg!(target_os = "macos") {
                "allow Herd under System Settings, Privacy & Security, Local Network; else look for a guest network, a VPN or a firewall that stops multicast. Until then addresses do: FLEET_PEERS"
            } else {
                "look for a guest network, a VPN or a firewall that stops multicast (UDP port 5353). Until then addresses do: FLEET_PEERS"
            };
            let found = "other machines are connected, but none was heard announcing itself: new ones will not be found by themselves";
            checks.push(warning("network", found.to_owned(), Some(advice)));
        }
        let strays = party.mesh.strays();
        if let Some(stray) =
            strays.iter().find(|stray| stray.source == Source::Foreign && stray.trouble == Some(Trouble::NotOurs))
        {
            checks.push(ok(
                "network",
                format!("another fleet is on this network, for instance at {}; the two do not mix", stray.address),
            ));
        }
        for stray in strays.iter().filter(|stray| stray.source == Source::Typed) {
            if let Some(trouble) = stray.trouble.filter(|trouble| *trouble != Trouble::Oneself) {
                let found =
                    format!("the typed address {} leads to no machine of the fleet: {}", stray.address, trouble);
                checks.push(warning("FLEET_PEERS", found, Some(advice(trouble))));
            }
        }
        if let Some(seconds) = self.jumped_s {
            let found = format!(
                "the clock of this machine was set by {seconds} s while Herd ran; times in the history before and after do not fit together"
            );
            checks.push(warning("clock", found, Some("have the system keep its clock right (NTP)")));
        }
    }
}

fn advice(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Silent => {
            "see whether it is switched on, awake and on the same network, and whether a firewall stops the mesh port"
        }
        Trouble::Refused => "start Herd there",
        Trouble::NotOurs | Trouble::OtherNode | Trouble::NotAMember => {
            "see what its address is now; pair it again if it left"
        }
        Trouble::Pretender => "find out what listens there: it knows something of this fleet that it should not",
        Trouble::Oneself => "take it out of FLEET_PEERS",
        Trouble::HungUp => "look at `herd devices` there; if this machine is not listed, pair it again",
        Trouble::Version => "bring both to the same version",
    }
}

fn ok(check: &str, found: String) -> CheckView {
    CheckView { check: check.to_owned(), state: "ok".to_owned(), found, advice: None }
}

fn warning(check: &str, found: String, advice: Option<&str>) -> CheckView {
    CheckView { check: check.to_owned(), state: "warning".to_owned(), found, advice: advice.map(str::to_owned) }
}

fn problem(check: &str, found: String, advice: Option<&str>) -> CheckView {
    CheckView { check: check.to_owned(), state: "problem".to_owned(), found, advice: advice.map(str::to_owned) }
}
