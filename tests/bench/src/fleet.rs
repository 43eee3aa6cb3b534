//! Machines of one fleet on loopback: a Herd and, where wanted, a stub each.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fleet_tests::{Exchange, eventually, get, meshes, send};
use serde_json::{Value, json};

use crate::processes::{Process, Programs};

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub herd: Process,
    pub stub: Option<Process>,
    pub name: String,
    folder: PathBuf,
}

impl Machine {
    /// A path at its door.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.herd.address())
    }

    fn order(&self, path: &str, body: &Value) -> Result<Exchange> {
        let token = std::fs::read_to_string(self.folder.join("data").join("control.token"))?;
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        send(&self.at(path), "POST", &headers, body.to_string().as_bytes()).context("ordering something of a herd")
    }

    /// The name of the machine that leads, as this one sees it.
    fn leader(&self) -> Option<String> {
        get(&self.at("/fleet/leader")).json()["name"].as_str().map(str::to_owned)
    }
}

/// Starts machines that follow one leader; `slots`: for each, what its stub answers at once, 0: it has none. `None` without a
/// Herd. All list the model of the stubs at the end.
pub(crate) fn start(programs: &Programs, slots: &[u32]) -> Result<Option<Vec<Machine>>> {
    let mut machines: Vec<Machine> = Vec::new();
    for ((port, peers), (number, slots)) in meshes(slots.len()).into_iter().zip((1..).zip(slots)) {
        let stub = if *slots > 0 { Some(programs.stub()?) } else { None };
        let backends: Vec<String> =
            stub.iter().map(|stub| format!("http://{}?slots={slots}&name=stub", stub.address())).collect();
        let name = format!("machine-{number}");
        let port = port.to_string();
        let vars = [
            ("FLEET_NODE_ID", name.as_str()),
            ("FLEET_MDNS", "off"),
            ("FLEET_MESH_PORT", &port),
            ("FLEET_PEERS", &peers),
        ];
        let Some((herd, folder)) = programs.herd_with(&backends, &vars)? else { return Ok(None) };
        machines.push(Machine { herd, stub, name, folder });
    }
    for machine in &machines {
        let up = |machine: &Machine| {
            send(&machine.at("/fleet/self"), "GET", &[], &[])
                .ok()
                .map(Exchange::finish)
                .filter(|said| said.status == 200)
        };
        eventually("a herd to answer", || up(machine));
    }
    for joiner in &machines[1..] {
        join(&machines[0], joiner)?;
    }
    eventually("all to follow one leader", || {
        let leader = machines[0].leader()?;
        let hears = |machine: &Machine| {
            let rows = get(&machine.at("/fleet/nodes")).json().as_array().cloned().unwrap_or_default();
            rows.iter().filter(|row| row["presence"] == "here").count() == machines.len()
        };
        machines.iter().all(|machine| machine.leader().as_ref() == Some(&leader) && hears(machine)).then_some(())
    });
    let with_stub = machines.iter().filter(|machine| machine.stub.is_some()).count();
    eventually("all to list the model of all stubs", || {
        let lists = |machine: &Machine| {
            let listed = get(&machine.at("/api/tags")).json();
            listed["models"][0]["details"]["fleet_nodes"].as_array().is_some_and(|nodes| nodes.len() == with_stub)
        };
        machines.iter().all(lists).then_some(())
    });
    Ok(Some(machines))
}

fn join(member: &Machine, joiner: &Machine) -> Result<()> {
    let mut shown = member.order("/fleet/pair", &json!({ "yes": true }))?;
    ensure!(shown.read_until("\n"), "{} shows no code", member.name);
    let first = shown.lines_so_far().first().cloned().unwrap_or_default();
    let body = json!({ "code": first["code"], "address": first["address"] });
    let joined = joiner.order("/fleet/join", &body)?.finish();
    if joined.status != 200 {
        bail!("{} does not get in: {} {}", joiner.name, joined.status, joined.body);
    }
    shown.finish();
    Ok(())
}

/// Where the machine that leads is among `machines`.
pub(crate) fn leader(machines: &[Machine]) -> Result<usize> {
    let leader = machines[0].leader();
    machines.iter().position(|machine| Some(&machine.name) == leader.as_ref()).context("nobody leads")
}

/// Long enough for what nodes tell each other of their work and speed to arrive.
pub(crate) fn settle() {
    std::thread::sleep(Duration::from_secs(4));
}
