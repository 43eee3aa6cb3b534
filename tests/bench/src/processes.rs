//! Starts and ends the servers under test: the stub, nginx and Herd. All listen on loopback and live in one temporary
//! folder; each is ended, by its own id, when its handle is dropped or the program is interrupted.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::client;
use crate::clock;
use crate::sockets;

/// Longest that a server may take to answer its first request.
const START: Duration = Duration::from_secs(15);

/// Ids of all processes that run.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The temporary folder, to be removed when the program is interrupted.
static FOLDER: Mutex<Option<PathBuf>> = Mutex::new(None);

/// A process that ends with its handle.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    name: &'static str,
    /// When it was started, in nanoseconds of the clock.
    since: u64,
}

impl Process {
    fn spawn(name: &'static str, command: &mut Command, port: u16) -> Result<Self> {
        let since = clock::now_ns();
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(child.id());
        Ok(Self { child, address: address(port), name, since })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Fails when the process has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} has ended by itself: {status}", self.name),
            None => Ok(()),
        }
    }

    /// Waits until a tiny chat is answered; answers how long that took from `since` (nanoseconds of the clock).
    fn until_ready(&mut self, since: u64, pause: Duration) -> Result<Duration> {
        let request = client::chat(self.address, "tiny", false, 0);
        loop {
            self.check_alive()?;
            let answered = client::ask(self.address, &request);
            let took = Duration::from_nanos(clock::now_ns() - since);
            match answered {
                Ok((answer, _)) if answer.status() == 200 => return Ok(took),
                Ok((answer, body)) if took > START => {
                    let body = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
                    bail!("{} answers {} after {took:.0?}: {body}", self.name, answer.status())
                }
                Err(why) if took > START => bail!("{} does not answer after {took:.0?}: {why}", self.name),
                _ => std::thread::sleep(pause),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only a child that was not waited for keeps its id, so nobody else's process can be hit.
        let _ = self.child.kill();
        let _ = self.child.wait();
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|pid| *pid != self.child.id());
    }
}

/// Ends all processes when the program is told to end.
pub(crate) fn end_all_on_signal() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
                return;
            };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
            for pid in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            if let Some(folder) = FOLDER.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = fs::remove_dir_all(folder);
            }
            #[allow(clippy::disallowed_methods, reason = "all that outlives this process is ended and removed above")]
            std::process::exit(130);
        });
    })?;
    Ok(())
}

/// Lets this process and its children open as many files as the system allows: a thousand streams need two each.
pub(crate) fn allow_many_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raising the limit of open files")
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The programs under test and the folder they run in.
#[derive(Debug)]
pub(crate) struct Programs {
    pub herd: Option<PathBuf>,
    pub nginx: Option<PathBuf>,
    pub folder: tempfile::TempDir,
    started: std::cell::Cell<u32>,
}

impl Programs {
    pub(crate) fn new(herd: Option<PathBuf>, nginx: Option<PathBuf>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("herd-bench-").tempdir()?;
        *FOLDER.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.path().to_owned());
        Ok(Self { herd, nginx, folder, started: std::cell::Cell::new(0) })
    }

    fn fresh_folder(&self) -> Result<PathBuf> {
        self.started.set(self.started.get() + 1);
        let folder = self.folder.path().join(self.started.get().to_string());
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// Starts a stub.
    pub(crate) fn stub(&self) -> Result<Process> {
        self.stub_at(0)
    }

    /// Starts a stub on `port`; 0 is any.
    pub(crate) fn stub_at(&self, port: u16) -> Result<Process> {
        self.stub_that_lists(port, 0)
    }

    /// Starts a stub on `port` that lists `more` models beside its own.
    pub(crate) fn stub_that_lists(&self, port: u16, more: u32) -> Result<Process> {
        let me = std::env::current_exe().context("finding this program")?;
        // Its standard input stays open as long as this process lives: its end ends the stub.
        let mut process = Process::spawn(
            "the stub",
            Command::new(me)
                .args(["stub", "--port", &port.to_string(), "--more", &more.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
            0,
        )?;
        let output = process.child.stdout.take().context("the stub has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        process.address = address(line.trim().parse().context("the stub did not say its port")?);
        Ok(process)
    }

    /// Starts a `fake-ollama` with these flags; `None` where it is not built beside this program.
    pub(crate) fn ollama(&self, flags: &[&str]) -> Result<Option<Process>> {
        let program = std::env::current_exe().context("finding this program")?.with_file_name("fake-ollama");
        if !program.is_file() {
            return Ok(None);
        }
        let mut command = Command::new(program);
        command.args(["--port", "0", "--with-parent"]).args(flags).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn("the stand-in for Ollama", &mut command, 0)?;
        let output = process.child.stdout.take().context("the stand-in has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let told = line.trim().strip_prefix("listening on http://").context("the stand-in did not say its port")?;
        process.address = told.parse().context("the stand-in said no address")?;
        Ok(Some(process))
    }

    /// Starts nginx in front of `stubs`; answers it, the address of its second door, which buffers
    /// neither bodies nor answers, and how long it took to its first answer.
    pub(crate) fn nginx(&self, stubs: &[SocketAddr]) -> Result<Option<(Process, SocketAddr, Duration)>> {
        let Some(program) = &self.nginx else { return Ok(None) };
        let folder = self.fresh_folder()?;
        let (plain, unbuffered) = (sockets::free_port()?, sockets::free_port()?);
        let settings = folder.join("nginx.conf");
        fs::write(&settings, nginx_settings(&folder, stubs, plain, unbuffered))?;
        let since = clock::now_ns();
        let mut command = Command::new(program);
        command.arg("-p").arg(&folder).arg("-c").arg(&settings).arg("-e").arg(folder.join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(folder.join("stderr"))?);
        let mut process = Process::spawn("nginx", &mut command, plain)?;
        let took =
            process.until_ready(since, Duration::from_millis(1)).with_context(|| tail(&folder.join("stderr")))?;
        Ok(Some((process, address(unbuffered), took)))
    }

    /// Starts Herd in front of `stubs` with all that is on by default, on a new data directory; answers it and how long
    /// it took from its start to its first answer.
    pub(crate) fn herd(&self, stubs: &[SocketAddr]) -> Result<Option<(Process, Duration)>> {
        let names = (0..).map(|index| if index == 0 { "stub".to_owned() } else { format!("stub{index}") });
        let backends = stubs.iter().zip(names).map(|(stub, name)| format!("http://{stub}?slots=4096&name={name}"));
        self.herd_before(&backends.collect::<Vec<_>>())
    }

    /// As [`Programs::herd`], in front of `backends` as Herd's settings name them.
    pub(crate) fn herd_before(&self, backends: &[String]) -> Result<Option<(Process, Duration)>> {
        let Some((mut process, folder)) = self.herd_with(backends, &[])? else { return Ok(None) };
        let since = process.since;
        let took =
            process.until_ready(since, Duration::from_millis(1)).with_context(|| tail(&folder.join("stderr")))?;
        Ok(Some((process, took)))
    }

    /// Starts Herd in front of `backends` with these variables besides, without waiting for it; answers the folder, in
    /// which `data` is its data directory.
    pub(crate) fn herd_with(&self, backends: &[String], vars: &[(&str, &str)]) -> Result<Option<(Process, PathBuf)>> {
        let Some(program) = &self.herd else { return Ok(None) };
        let folder = self.fresh_folder()?;
        let port = sockets::free_port()?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FLEET_") {
                command.env_remove(name);
            }
        }
        command.arg("serve").args(["--port", &port.to_string()]).arg("--data-dir").arg(folder.join("data"));
        for backend in backends {
            command.args(["--backend", backend]);
        }
        command.env("FLEET_LOCAL_DISCOVERY", "off").envs(vars.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(folder.join("stderr"))?);
        Ok(Some((Process::spawn("herd", &mut command, port)?, folder)))
    }
}

/// The last words of a program, for the message of its failure.
fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("its last words: {}", lines[lines.len().saturating_sub(5)..].join(" | "))
}

/// One worker, kept-alive upstreams, no access log, nothing else but defaults; two doors, one of
/// which passes bodies and answers on as they come.
/// With several upstreams a refusal is passed to the next one, as Herd would.
fn nginx_settings(folder: &Path, stubs: &[SocketAddr], plain: u16, unbuffered: u16) -> String {
    let servers: String = stubs.iter().map(|stub| format!("    server {stub};\n")).collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("  {name}_temp_path {}/{name};\n", folder.display()))
        .collect();
    let location = "location / { proxy_pass http://stubs; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                    proxy_set_header Host $host; proxy_read_timeout 600s; \
                    proxy_next_upstream error timeout http_503 non_idempotent; ";
    format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\nworker_rlimit_nofile 16384;\npid {folder}/pid;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n  access_log off;\n  client_max_body_size 64m;\n  keepalive_timeout 600s;\n  keepalive_requests 1000000000;\n{temporary}\
         \x20 upstream stubs {{\n{servers}    keepalive 1024;\n    keepalive_requests 1000000000;\n    keepalive_timeout 600s;\n  }}\n\
         \x20 server {{ listen 127.0.0.1:{plain} backlog=4096; {location} }} }}\n\
         \x20 server {{ listen 127.0.0.1:{unbuffered} backlog=4096; {location} proxy_buffering off; proxy_request_buffering off; }} }}\n}}\n",
        folder = folder.display()
    )
}
