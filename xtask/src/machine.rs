//! A machine of a fleet on loopback: an engine and a Herd before it, on ports of their own.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use parts::engine::Running;
use parts::http;
use serde_json::Value;

use crate::process::{self, Process};

/// Longest time until something that is expected has happened, in steps of [`STEP`].
const STEPS: u32 = 600;
const STEP: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(5);

/// One machine.
pub(crate) struct Machine {
    pub(crate) name: &'static str,
    pub(crate) door: SocketAddr,
    herd: PathBuf,
    data: PathBuf,
    // Dropped in this order: first Herd, then what it stands on.
    serving: Option<Process>,
    engine: Option<Running>,
}

/// Ports for the meshes of `count` machines: each machine's own, and the addresses of the others.
pub(crate) fn meshes(count: usize) -> Result<Vec<(u16, String)>> {
    let ports: Vec<u16> = (0..count).map(|_| free_port()).collect::<Result<_>>()?;
    let others = |own: u16| {
        let others = ports.iter().filter(|port| **port != own).map(|port| format!("127.0.0.1:{port}"));
        others.collect::<Vec<_>>().join(",")
    };
    Ok(ports.iter().map(|port| (*port, others(*port))).collect())
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("looking for a free port")?.port())
}

/// Looks until there is something to see.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    for _ in 0..STEPS {
        process::go_on()?;
        if let Some(found) = look()? {
            return Ok(found);
        }
        sleep(STEP);
    }
    bail!("waited {} s in vain: {what}", (STEP * STEPS).as_secs())
}

impl Machine {
    /// Starts the `herd` of one before `engine`; its files go below `below`.
    pub(crate) fn start(
        name: &'static str,
        herd: &Path,
        engine: Running,
        (port, peers): &(u16, String),
        below: &Path,
    ) -> Result<Machine> {
        let data = below.join(name);
        std::fs::create_dir_all(&data).context("making a directory for a machine's data")?;
        let log = File::create(data.join("herd.log")).context("making a file for Herd's log")?;
        let door = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = Command::new(herd);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FLEET_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--port", &door.port().to_string(), "--data-dir"]).arg(&data);
        command.args(["--backend", &format!("{}?name=llama-server", engine.url())]);
        // Of this machine's own servers and network nobody is to learn anything.
        command.env("FLEET_NODE_ID", name).env("FLEET_LOCAL_DISCOVERY", "off").env("FLEET_MDNS", "off");
        command.env("FLEET_MESH_PORT", port.to_string()).env("FLEET_PEERS", peers);
        command.stdin(Stdio::null()).stdout(log.try_clone().context("sharing the log")?).stderr(log);
        let serving = Process::start(&mut command)?;
        Ok(Machine { name, door, herd: herd.to_owned(), data, serving: Some(serving), engine: Some(engine) })
    }

    /// Waits until it lists `model` as one of so many machines.
    pub(crate) fn lists(&mut self, model: &str, machines: usize) -> Result<()> {
        let name = self.name;
        until(&format!("{name} to list {model} of {machines}"), || {
            if let Some(status) = self.serving.as_mut().map(Process::ended).transpose()?.flatten() {
                bail!("herd of {name} ended ({status}):\n{}", self.last_lines());
            }
            let listed = self.json("/api/tags").unwrap_or_default();
            let rows = listed["models"].as_array().cloned().unwrap_or_default();
            let row = rows
                .iter()
                .find(|row| row["name"].as_str().is_some_and(|name| name.trim_end_matches(":latest") == model));
            let nodes = row.and_then(|row| row["details"]["fleet_nodes"].as_array().map(Vec::len));
            Ok((row.is_some() && nodes.unwrap_or(1) == machines).then_some(()))
        })
    }

    /// A page at its door.
    pub(crate) fn json(&self, path: &str) -> Option<Value> {
        let (status, text) = http::get(self.door, path, PATIENCE).ok()?;
        serde_json::from_str(&text).ok().filter(|_| status == 200)
    }

    /// Who leads, as it sees it.
    pub(crate) fn leader(&self) -> Option<String> {
        self.json("/fleet/leader")?["name"].as_str().map(str::to_owned)
    }

    /// Names of the machines that it hears.
    pub(crate) fn hears(&self) -> usize {
        let rows = self.json("/fleet/nodes").unwrap_or_default();
        rows.as_array().map_or(0, |rows| rows.iter().filter(|row| row["presence"] == "here").count())
    }

    fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(self.data.join("herd.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.herd);
        command.args(words).args(["--port", &self.door.port().to_string()]).env("FLEET_DATA_DIR", &self.data);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    /// Lets `joiner` in: what people do at two machines, each step told to `say`.
    pub(crate) fn lets_in(&self, joiner: &Machine, say: &dyn Fn(&str)) -> Result<()> {
        let mut pairing = Process::start(&mut self.command(&["pair", "--yes", "--json"]))?;
        let mut line = String::new();
        let output = pairing.stdout().context("a piped output")?;
        BufReader::new(output).read_line(&mut line).context("reading the code")?;
        let shown: Value = serde_json::from_str(&line).with_context(|| format!("herd pair said {line:?}"))?;
        let (code, address) = (shown["code"].as_str(), shown["address"].as_str());
        let (code, address) = code.zip(address).with_context(|| format!("herd pair said {line:?}"))?;
        say(&format!("at {}: herd pair          shows {code}", self.name));
        say(&format!("at {}: herd join {code} --addr {address}", joiner.name));
        let joined = joiner.command(&["join", code, "--addr", address, "--json"]).stderr(Stdio::piped()).output();
        let joined = joined.context("starting herd")?;
        let why = String::from_utf8_lossy(&joined.stderr);
        ensure!(joined.status.success(), "herd join failed ({}): {why}", joined.status);
        Ok(())
    }

    /// Waits until `machines` hear each other and follow one leader; which of them that is.
    pub(crate) fn agree(machines: &[Machine]) -> Result<usize> {
        let on: Vec<&Machine> = machines.iter().filter(|machine| machine.serving.is_some()).collect();
        until("all to follow one leader", || {
            let Some(leader) = on.first().and_then(|machine| machine.leader()) else { return Ok(None) };
            let agree = |machine: &&Machine| machine.hears() == on.len() && machine.leader().as_ref() == Some(&leader);
            let at = machines.iter().position(|machine| machine.is_on() && machine.name == leader);
            Ok(at.filter(|_| on.iter().all(agree)))
        })
    }

    /// Kills all that runs on it, as a power cut would.
    pub(crate) fn die(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.kill();
        }
        self.engine = None;
    }

    /// Whether it was not killed.
    pub(crate) fn is_on(&self) -> bool {
        self.serving.is_some()
    }
}
