//! Programs under test, as processes.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{get, post};

/// How long anything may take that is expected to happen. Generous: these machines are busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds something.
///
/// # Panics
/// If it does not within a minute; `what` says what was waited for.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    #[allow(clippy::disallowed_methods, reason = "tests wait in real time")]
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        #[allow(clippy::disallowed_methods, reason = "tests wait in real time")]
        let late = Instant::now() > end;
        assert!(!late, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A process that ends with this value.
pub struct Program(pub(crate) Child);

impl Program {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal, by its name: `KILL`, `TERM`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// If there is no `kill`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill is on every system these tests run on").success());
    }

    /// Waits for the end and tells the exit code; `None` after a signal.
    pub fn wait(&mut self) -> Option<i32> {
        self.0.wait().ok().and_then(|status| status.code())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A `fake-ollama`.
pub struct Fake {
    /// Its process.
    pub program: Program,
    /// `http://127.0.0.1:PORT`
    pub url: String,
}

impl Fake {
    /// Starts one with these flags, on a free port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(flags: &[&str]) -> Fake {
        Fake::start_at(0, flags)
    }

    /// Starts one on this port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_at(port: u16, flags: &[&str]) -> Fake {
        let mut child = Command::new(binary("fake-ollama"))
            .args(["--port", &port.to_string()])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("fake-ollama can be started");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output is a pipe");
        BufReader::new(out).read_line(&mut line).expect("its output can be read");
        let url = line.trim().strip_prefix("listening on ").expect("it says where it listens").to_owned();
        Fake { program: Program(child), url }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port is a number")
    }

    /// Makes it fail; see `fake-ollama`'s faults.
    pub fn fault(&self, fault: &Value) {
        let answer = post(&format!("{}/_fake/faults", self.url), fault);
        assert!(answer.status < 300, "{answer:?}");
    }

    /// Has it load `model`, as another program would.
    pub fn load(&self, model: &str) {
        let answer = post(&format!("{}/api/generate", self.url), &serde_json::json!({ "model": model }));
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// What it is doing.
    pub fn state(&self) -> Value {
        get(&format!("{}/_fake/state", self.url)).json()
    }

    /// Engines that it started so far, for all models: first loads and reloads.
    pub fn starts(&self) -> u64 {
        let models = self.state()["models"].as_object().cloned().unwrap_or_default();
        models.values().filter_map(|model| model["starts"].as_u64()).sum()
    }

    /// What it was asked for inference, newest last; Herd's own orders to load and unload are not among them.
    pub fn requests(&self) -> Vec<Value> {
        let is_order = |row: &Value| {
            let body: Value = row["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
            // What clients wish for the stay of a model never gets here.
            body["keep_alive"].is_number()
        };
        self.posts().into_iter().filter(|row| !is_order(row)).collect()
    }

    /// Everything that it was told to do, newest last.
    pub fn posts(&self) -> Vec<Value> {
        let all = get(&format!("{}/_fake/requests", self.url)).json();
        let rows = all.as_array().cloned().or_else(|| all["requests"].as_array().cloned()).unwrap_or_default();
        rows.into_iter().filter(|row| row["method"] == "POST" && row["path"] != "/api/show").collect()
    }
}

/// A running `herd serve`.
pub struct Herd {
    /// Its process.
    pub program: Program,
    /// `http://127.0.0.1:PORT`
    pub url: String,
    /// Its data directory.
    pub dir: tempfile::TempDir,
    said: tempfile::NamedTempFile,
    /// What it was started with.
    command: Command,
}

impl Herd {
    /// Starts one that uses these backends and no others, and waits until it knows a model of each.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(backends: &[&str]) -> Herd {
        Herd::start_with(backends, &[])
    }

    /// Starts one with more variables set.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with(backends: &[&str], vars: &[(&str, &str)]) -> Herd {
        Herd::start_with_by(&[], backends, vars)
    }

    pub(crate) fn start_with_by(launcher: &[String], backends: &[&str], vars: &[(&str, &str)]) -> Herd {
        Herd::start_by(launcher, free_port(), backends, vars, |status| {
            let backends_up = status["backends"]
                .as_array()
                .map_or(0, |all| all.iter().filter(|backend| backend["health"] == "up").count());
            backends_up >= backends.len()
        })
    }

    /// Starts one on `port` and waits until its `/fleet/self` is as `is_ready` wants it.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_when(port: u16, backends: &[&str], vars: &[(&str, &str)], is_ready: impl Fn(&Value) -> bool) -> Herd {
        Herd::start_by(&[], port, backends, vars, is_ready)
    }

    /// As above, by a program that becomes it, like `nsenter`: these words come before its own.
    pub(crate) fn start_by(
        launcher: &[String],
        port: u16,
        backends: &[&str],
        vars: &[(&str, &str)],
        is_ready: impl Fn(&Value) -> bool,
    ) -> Herd {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        // Not in the data directory, of which tests look at every file.
        let said = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        // The inference servers of the machine that runs the tests are left alone.
        let mut command = match launcher {
            [] => Command::new(binary("herd")),
            [program, words @ ..] => {
                let mut command = Command::new(program);
                command.args(words).arg(binary("herd"));
                command
            }
        };
        command.args(["serve", "--port", &port.to_string()]).env("FLEET_DATA_DIR", dir.path());
        command.env("FLEET_LOCAL_DISCOVERY", "off").env("FLEET_NODE_ID", "box");
        command.env("FLEET_BACKENDS", backends.join(",")).envs(vars.iter().copied());
        let url = format!("http://127.0.0.1:{port}");
        let program = start(&mut command, &said, &url, is_ready);
        Herd { program, url, dir, said, command }
    }

    /// Has it stop and starts it again with the same data directory, port and variables.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.program.signal("TERM");
        self.program.wait();
        let is_ready = |status: &Value| {
            let all = status["backends"].as_array();
            all.is_some_and(|all| all.iter().all(|backend| backend["health"] == "up"))
        };
        self.program = start(&mut self.command, &self.said, &self.url, is_ready);
    }

    /// Runs `herd` with `args` against it, as its owner would: the exit code and what was answered.
    ///
    /// # Panics
    /// If the program cannot be run.
    pub fn run(&self, args: &str) -> (Option<i32>, String) {
        let port = self.url.rsplit_once(':').map_or("", |(_, port)| port);
        let mut command = Command::new(binary("herd"));
        command.args(args.split_whitespace()).args(["--port", port]).env("FLEET_DATA_DIR", self.dir.path());
        let ran = command.output().expect("herd can be run");
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        (ran.status.code(), said)
    }

    /// What it has written to its standard error so far.
    pub fn said(&self) -> String {
        std::fs::read(self.said.path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Bytes of memory that it holds, as Linux counts them; 0 elsewhere.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib << 10)
    }

    /// What the command `herd` with these words answers about it, or says instead.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn command(&self, words: &[&str]) -> String {
        let port = self.url.rsplit_once(':').map_or("", |(_, port)| port);
        let mut command = Command::new(binary("herd"));
        command.args(words).args(["--port", port]).env("FLEET_DATA_DIR", self.dir.path());
        let output = command.output().expect("herd can be started");
        let said = if output.status.success() { output.stdout } else { output.stderr };
        String::from_utf8_lossy(&said).into_owned()
    }

    /// The lines of its log in which `text` is, parsed.
    pub fn logged(&self, text: &str) -> Vec<Value> {
        let folder = std::fs::read_dir(self.dir.path().join("logs")).into_iter().flatten().flatten();
        let all: String = folder.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
        let lines = all.lines().filter(|line| line.contains(text));
        lines.map(|line| serde_json::from_str(line).unwrap_or(Value::Null)).collect()
    }

    /// Waits until it has no request in work and none waiting.
    pub fn is_idle_soon(&self) {
        eventually("herd to be idle", || {
            let status = get(&self.at("/fleet/self")).json();
            (status["in_flight"] == 0 && status["queued"] == 0).then_some(())
        });
    }

    /// A path at its door.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The trace of a request, once it is there.
    pub fn trace(&self, request_id: &str) -> Value {
        eventually("the trace of a request", || {
            let answer = get(&self.at(&format!("/fleet/traces/{request_id}")));
            (answer.status == 200).then(|| answer.json())
        })
    }
}

fn start(
    command: &mut Command,
    said: &tempfile::NamedTempFile,
    url: &str,
    is_ready: impl Fn(&Value) -> bool,
) -> Program {
    let log = std::fs::OpenOptions::new().append(true).open(said.path());
    command.stderr(log.expect("a file that was just made can be opened"));
    let mut program = Program(command.spawn().expect("herd can be started"));
    eventually("herd to answer and know its backends", || {
        let ended = program.0.try_wait().ok().flatten();
        assert!(ended.is_none(), "herd ended: {}", std::fs::read_to_string(said.path()).unwrap_or_default());
        let status = crate::http::try_get(&format!("{url}/fleet/self"))?.json();
        is_ready(&status).then_some(())
    });
    program
}

/// No test passes in which it panicked, wherever that was.
impl Drop for Herd {
    fn drop(&mut self) {
        let said = self.said();
        if std::env::var_os("HERD_TEST_LOGS").is_some() || std::thread::panicking() {
            eprintln!("{said}");
        } else {
            assert!(!said.contains("panicked"), "{said}");
        }
    }
}

pub(crate) fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let folder = own.parent().and_then(|deps| deps.parent()).expect("tests lie in target/<profile>/deps");
    let path = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is not built: run `cargo build --bins` first, or `cargo xtask test`", path.display());
    path
}

/// A port that nobody listened on a moment ago.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("a listener has an address").port()
}
