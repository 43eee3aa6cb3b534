//! Machines that become a fleet: a program and a stand-in for Ollama each, all on loopback.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use serde_json::{Value, json};

use crate::{Answer, Exchange, Fake, Herd, eventually, free_port, get, send};

/// A machine: a `herd` with a stand-in for Ollama.
pub struct Machine {
    /// The program.
    pub herd: Herd,
    /// Its server.
    pub fake: Fake,
    /// What it is called.
    pub name: &'static str,
}

/// Ports for the meshes of as many machines, and what each machine is told of the others.
pub fn meshes(count: usize) -> Vec<(u16, String)> {
    let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
    let others = |own: u16| {
        let others = ports.iter().filter(|port| **port != own).map(|port| format!("127.0.0.1:{port}"));
        others.collect::<Vec<_>>().join(",")
    };
    ports.iter().map(|port| (*port, others(*port))).collect()
}

impl Machine {
    /// Starts a machine that is alone.
    pub fn start(name: &'static str, models: &str, mesh: &(u16, String)) -> Machine {
        Machine::start_with(name, &["--models", models], mesh, &[])
    }

    /// As above, with these flags for its server and these variables besides.
    pub fn start_with(name: &'static str, flags: &[&str], mesh: &(u16, String), vars: &[(&str, &str)]) -> Machine {
        Machine::start_by(&[], name, flags, mesh, vars)
    }

    /// As above, by a program that becomes `herd`.
    pub(crate) fn start_by(
        launcher: &[String],
        name: &'static str,
        flags: &[&str],
        mesh: &(u16, String),
        vars: &[(&str, &str)],
    ) -> Machine {
        let fake = Fake::start(flags);
        let port = mesh.0.to_string();
        let mut all = vec![
            ("FLEET_NODE_ID", name),
            ("FLEET_MDNS", "off"),
            ("FLEET_MESH_PORT", port.as_str()),
            ("FLEET_PEERS", mesh.1.as_str()),
        ];
        all.extend_from_slice(vars);
        Machine { herd: Herd::start_with_by(launcher, &[&fake.url], &all), fake, name }
    }

    /// A fleet of machines with these models each, that know each other and follow one leader.
    pub fn fleet(machines: &[(&'static str, &[&str])]) -> Vec<Machine> {
        let meshes = meshes(machines.len());
        let started: Vec<Machine> = machines
            .iter()
            .zip(&meshes)
            .map(|((name, flags), mesh)| Machine::start_with(name, flags, mesh, &[]))
            .collect();
        for two in started.windows(2) {
            pair(&two[0], &two[1]);
        }
        until_all_agree(&started.iter().collect::<Vec<_>>());
        started
    }

    /// Posts a control verb; the answer is read as it comes.
    pub fn order(&self, path: &str, body: &Value) -> Exchange {
        let token = std::fs::read_to_string(self.herd.dir.path().join("control.token")).unwrap();
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        send(&self.herd.at(path), "POST", &headers, body.to_string().as_bytes()).unwrap()
    }

    /// Posts a control verb.
    pub fn change(&self, path: &str, body: &Value) -> Answer {
        self.order(path, body).finish()
    }

    /// Shows a code: the rest of the conversation, the code, and where.
    pub fn shows_code(&self, yes: bool) -> (Exchange, String, String) {
        let mut shown = self.order("/fleet/pair", &json!({ "yes": yes }));
        assert!(shown.read_until("\n"), "{}", self.herd.said());
        let first = shown.lines_so_far().remove(0);
        (shown, first["code"].as_str().unwrap().to_owned(), first["address"].as_str().unwrap().to_owned())
    }

    /// Posts a control verb on a thread of its own.
    pub fn order_in_background(&self, path: &str, body: Value) -> std::thread::JoinHandle<Answer> {
        let token = std::fs::read_to_string(self.herd.dir.path().join("control.token")).unwrap();
        let url = self.herd.at(path);
        std::thread::spawn(move || {
            let bearer = format!("Bearer {}", token.trim());
            let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
            send(&url, "POST", &headers, body.to_string().as_bytes()).unwrap().finish()
        })
    }

    /// The rows of a list.
    pub fn rows(&self, path: &str) -> Vec<Value> {
        get(&self.herd.at(path)).json().as_array().cloned().unwrap_or_default()
    }

    /// Name and presence of all nodes, by name.
    pub fn nodes(&self) -> Vec<(String, String)> {
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("").to_owned();
        let mut nodes: Vec<_> =
            self.rows("/fleet/nodes").iter().map(|row| (text(row, "name"), text(row, "presence"))).collect();
        nodes.sort();
        nodes
    }

    /// Who leads, as this machine sees it.
    pub fn leader(&self) -> Option<String> {
        get(&self.herd.at("/fleet/leader")).json()["name"].as_str().map(str::to_owned)
    }

    /// What can be asked for, with the machines that have it.
    pub fn tags(&self) -> Vec<(String, Vec<String>)> {
        let listed = get(&self.herd.at("/api/tags")).json();
        let row = |row: &Value| {
            let nodes = row["details"]["fleet_nodes"].as_array().cloned().unwrap_or_default();
            let mut nodes: Vec<String> = nodes.iter().filter_map(|node| node.as_str().map(str::to_owned)).collect();
            nodes.sort();
            (row["name"].as_str().unwrap_or("").to_owned(), nodes)
        };
        let mut tags: Vec<_> = listed["models"].as_array().unwrap_or(&Vec::new()).iter().map(row).collect();
        tags.sort();
        tags
    }
}

/// `joiner` joins the fleet of `member`.
pub fn pair(member: &Machine, joiner: &Machine) {
    let (shown, code, address) = member.shows_code(true);
    let joined = joiner.change("/fleet/join", &json!({ "code": code, "address": address }));
    assert_eq!(joined.status, 200, "{joined:?}\n{}", member.herd.said());
    let told = shown.finish().lines();
    assert_eq!(told.last().unwrap()["joined"]["name"], joiner.name, "{told:?}");
}

/// These machines, all within reach.
pub fn here(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), "here".to_owned())).collect()
}

/// Waits until all see each other and follow one leader; who that is.
pub fn until_all_agree(machines: &[&Machine]) -> String {
    let mut names: Vec<&str> = machines.iter().map(|machine| machine.name).collect();
    names.sort_unstable();
    eventually("all to see each other and follow one leader", || {
        let leader = machines[0].leader()?;
        let agree = |machine: &&Machine| machine.nodes() == here(&names) && machine.leader().as_ref() == Some(&leader);
        (names.contains(&leader.as_str()) && machines.iter().all(agree)).then_some(leader)
    })
}
