//! One machine: a `herd` and an inference server in a namespace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{Said, Space, Talk, within};
use crate::http::{Answer, send};
use crate::program::{Program, binary};

/// How long a start may take. Generous: these machines are busy.
const START: Duration = Duration::from_secs(30);

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `herd`
    pub herd: PathBuf,
    /// `fake-ollama`
    pub fake_ollama: PathBuf,
}

impl Programs {
    /// Those that were built with this test.
    ///
    /// # Panics
    /// If they were not.
    pub fn built() -> Programs {
        Programs { herd: binary("herd"), fake_ollama: binary("fake-ollama") }
    }
}

/// A machine.
pub struct Host {
    /// Its number, from 1.
    pub number: u8,
    /// Its shown name.
    pub name: String,
    /// Its network.
    pub space: Space,
    programs: Programs,
    dir: PathBuf,
    vars: Vec<(String, String)>,
    herd: Option<Program>,
    ollama: Option<Program>,
}

impl Host {
    /// A machine that has nothing running yet. What it writes goes below `dir`, which is made where needed.
    ///
    /// # Panics
    /// If the directory cannot be made.
    pub fn new(number: u8, name: &str, space: &Space, programs: &Programs, dir: &Path) -> Host {
        fs::create_dir_all(dir.join("data")).expect("a temporary directory can be written to");
        let (space, programs) = (space.clone(), programs.clone());
        let (name, dir) = (name.to_owned(), dir.to_owned());
        Host { number, name, space, programs, dir, vars: Vec::new(), herd: None, ollama: None }
    }

    /// Sets a variable for all starts that follow.
    pub fn set(&mut self, name: &str, value: &str) {
        self.vars.push((name.to_owned(), value.to_owned()));
    }

    /// The directory of Herd's files.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// A call of `herd` on this machine, which [`Space::inside`] has to start.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.herd);
        command.args(words).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &self.dir).env("USER", self.user());
        command.env("FLEET_DATA_DIR", self.data()).env("FLEET_NODE_ID", &self.name).env("FLEET_MDNS", "on");
        command.env("FLEET_LOG_LEVEL", "debug").envs(self.vars.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Who works at this machine.
    pub fn user(&self) -> String {
        format!("user-of-{}", self.name)
    }

    /// Starts an inference server with these models where Ollama listens.
    ///
    /// # Panics
    /// If it does not start.
    pub fn install(&mut self, models: &[String]) {
        self.install_with(models, &[]);
    }

    /// As above, with these flags besides.
    ///
    /// # Panics
    /// If it does not start.
    pub fn install_with(&mut self, models: &[String], flags: &[&str]) {
        self.ollama = None;
        let mut command = Command::new(&self.programs.fake_ollama);
        command.args(["--port", "11434", "--models", &models.join(",")]).args(flags).stdin(Stdio::null());
        command.stdout(File::create(self.dir.join("ollama.out")).expect("a temporary directory can be written to"));
        self.ollama = Some(Program(self.space.inside(|| command.spawn()).expect("fake-ollama can be started")));
        let up = within(START, || self.ask("http://127.0.0.1:11434/api/version"));
        assert!(up.is_some(), "the inference server of {} does not answer", self.name);
    }

    /// Starts Herd, without waiting for it.
    ///
    /// # Panics
    /// If it cannot be started, or one runs already.
    pub fn start(&mut self) {
        assert!(self.herd.is_none(), "one Herd per machine");
        let mut command = self.command(&["serve"]);
        let log = File::options().create(true).append(true).open(self.log()).expect("its directory can be written to");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.herd = Some(Program(self.space.inside(|| command.spawn()).expect("herd can be started")));
    }

    /// Waits until Herd answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn is_up_soon(&mut self) {
        let up = within(START, || {
            let ended = self.herd.as_mut().and_then(|herd| herd.0.try_wait().ok().flatten());
            assert!(ended.is_none(), "herd on {} ended: {}", self.name, self.said());
            self.get("/fleet/self")
        });
        assert!(up.is_some(), "herd on {} does not answer: {}", self.name, self.said());
    }

    /// Whether a Herd was started and not ended.
    pub fn is_running(&self) -> bool {
        self.herd.is_some()
    }

    /// Herd's process.
    ///
    /// # Panics
    /// If none runs.
    pub fn herd(&self) -> &Program {
        self.herd.as_ref().expect("it was started")
    }

    /// Ends Herd as a power cut would.
    pub fn kill(&mut self) {
        self.herd = None;
    }

    /// Ends everything on it as a power cut would.
    pub fn die(&mut self) {
        // Both at once: neither is to see the other end.
        for program in [&self.herd, &self.ollama].into_iter().flatten() {
            program.signal("KILL");
        }
        (self.herd, self.ollama) = (None, None);
    }

    /// Posts to its inference server.
    pub fn tell_ollama(&self, path: &str, body: &Value) -> Option<u16> {
        let url = format!("http://127.0.0.1:11434{path}");
        let headers = [("Content-Type", "application/json")];
        let body = body.to_string();
        self.space
            .inside(|| send(&url, "POST", &headers, body.as_bytes()).ok().map(|exchange| exchange.finish().status))
    }

    /// Ends Herd as its owner does, and tells the exit code.
    ///
    /// # Panics
    /// If it does not end.
    pub fn quit(&mut self) -> Option<i32> {
        let mut herd = self.herd.take()?;
        herd.signal("TERM");
        let ended = within(START, || herd.0.try_wait().expect("a child can be waited for"));
        ended.unwrap_or_else(|| panic!("herd on {} does not end: {}", self.name, self.said())).0.code()
    }

    /// Runs `herd` with `words` to its end.
    pub fn run(&self, words: &[&str]) -> Said {
        self.talk(words).end()
    }

    /// Starts `herd` with `words`.
    pub fn talk(&self, words: &[&str]) -> Talk {
        self.space.inside(|| Talk::start(&mut self.command(words)))
    }

    /// Reads a page at the door, if it answers with 200.
    pub fn get(&self, path: &str) -> Option<Answer> {
        self.ask(&format!("http://127.0.0.1:11435{path}"))
    }

    fn ask(&self, url: &str) -> Option<Answer> {
        let answer = self.space.inside(|| send(url, "GET", &[], &[]).ok().map(|exchange| exchange.finish()))?;
        (answer.status == 200).then_some(answer)
    }

    /// The names of the models that it lists.
    pub fn models(&self) -> Vec<String> {
        let tags = self.get("/api/tags").map(|answer| answer.json()).unwrap_or_default();
        let rows = tags["models"].as_array().cloned().unwrap_or_default();
        rows.iter().filter_map(|row| row["name"].as_str().map(str::to_owned)).collect()
    }

    /// Who leads, by its shown name, as this machine sees it.
    pub fn leader(&self) -> Option<String> {
        self.get("/fleet/self")?.json()["leader"]["name"].as_str().map(str::to_owned)
    }

    /// The rows of `/fleet/nodes`.
    pub fn nodes(&self) -> Vec<Value> {
        self.get("/fleet/nodes").and_then(|answer| answer.json().as_array().cloned()).unwrap_or_default()
    }

    /// The names of the nodes that it hears, its own among them.
    pub fn hears(&self) -> Vec<String> {
        let is_here = |row: &&Value| row["presence"] == "here";
        self.nodes().iter().filter(is_here).filter_map(|row| row["name"].as_str().map(str::to_owned)).collect()
    }

    /// What Herd has written to its standard error in all its starts.
    pub fn said(&self) -> String {
        fs::read(self.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Bytes of memory that Herd holds.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.herd().pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
    }

    fn log(&self) -> PathBuf {
        self.dir.join("herd.log")
    }
}

/// No test passes in which a Herd panicked; of one that fails, the last words are shown.
impl Drop for Host {
    fn drop(&mut self) {
        let said = self.said();
        if std::thread::panicking() {
            let lines: Vec<&str> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- {}\n{last}", self.name);
        } else {
            assert!(!said.contains("panicked"), "{said}");
        }
    }
}
