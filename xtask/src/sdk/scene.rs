//! A backend and a Herd before it, on free ports of the loopback; both end when the scene is dropped.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parts::engine::{Engine, Running};
use parts::http;
use parts::tiny_gguf::{self, Variant};

use crate::process::Process;
use crate::program;

/// Longest time until Herd lists the model, in steps of [`STEP`].
const STEPS: u32 = 300;
const STEP: Duration = Duration::from_millis(100);

/// A backend and a Herd before it.
pub(crate) struct Scene {
    // Dropped in this order: first Herd, then what it stands on.
    _herd: Process,
    _backend: Backend,
    _files: tempfile::TempDir,
    direct: String,
    herd: String,
    names: &'static [(&'static str, &'static str)],
}

#[expect(dead_code, reason = "held for what dropping them does")]
enum Backend {
    Fake(Process),
    Real(Running),
}

impl Scene {
    /// With the stand-in for Ollama.
    pub(crate) fn fake_ollama() -> Result<Scene> {
        const MODELS: &str = "tiny,tiny-call,tiny-loop,tiny-think,all-minilm";
        let names = &[
            ("BACKEND", "ollama"),
            ("MODEL", "tiny"),
            ("EMBED_MODEL", "all-minilm"),
            ("CALL_MODEL", "tiny-call"),
            ("LOOP_MODEL", "tiny-loop"),
            ("THINK_MODEL", "tiny-think"),
        ];
        let mut fake = Command::new(program("debug", "fake-ollama"));
        fake.args(["--port", "0", "--models", MODELS, "--max-loaded", "8"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut fake = Process::start(&mut fake)?;
        let output = fake.stdout().context("a piped output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("reading where fake-ollama listens")?;
        let url =
            line.trim().strip_prefix("listening on ").with_context(|| format!("fake-ollama said {line:?}"))?.to_owned();
        let files = tempfile::tempdir().context("making a directory for Herd")?;
        Scene::before(url, Backend::Fake(fake), files, names)
    }

    /// With a real llama-server and the tiny model.
    pub(crate) fn llama_server(engine: &Engine) -> Result<Scene> {
        let names = &[
            ("BACKEND", "llama-server"),
            ("MODEL", "tiny"),
            ("EMBED_MODEL", "tiny"),
            ("CALL_MODEL", ""),
            ("LOOP_MODEL", ""),
            ("THINK_MODEL", ""),
        ];
        let files = tempfile::tempdir().context("making a directory for Herd")?;
        let model = files.path().join(Variant::Says.file_name());
        tiny_gguf::write(&model, Variant::Says).context("writing the tiny model")?;
        let running = engine.start(&model, &["--alias", "tiny", "--embeddings", "--pooling", "mean"])?;
        Scene::before(running.url(), Backend::Real(running), files, names)
    }

    fn before(
        direct: String,
        backend: Backend,
        files: tempfile::TempDir,
        names: &'static [(&'static str, &'static str)],
    ) -> Result<Scene> {
        let port = free_port()?;
        let log = files.path().join("herd.log");
        let file = File::create(&log).context("making a file for Herd's log")?;
        let mut herd = Command::new(program("debug", "herd"));
        herd.args(["serve", "--port", &port.to_string(), "--backend", &direct, "--data-dir"])
            .arg(files.path().join("data"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FLEET_") {
                herd.env_remove(name);
            }
        }
        // The servers of this machine are none of the tests' business.
        herd.env("FLEET_LOCAL_DISCOVERY", "off");
        herd.stdin(Stdio::null()).stdout(file.try_clone().context("sharing the log")?).stderr(file);
        let mut herd = Process::start(&mut herd)?;
        let door = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let model = format!("\"{}", names[1].1);
        for _ in 0..STEPS {
            if let Some(status) = herd.ended()? {
                bail!("herd ended before it answered ({status}):\n{}", text(&log));
            }
            crate::process::go_on()?;
            let listed = http::get(door, "/v1/models", Duration::from_secs(5));
            if listed.is_ok_and(|(status, text)| status == 200 && text.contains(&model)) {
                let herd_url = format!("http://{door}");
                return Ok(Scene { _herd: herd, _backend: backend, _files: files, direct, herd: herd_url, names });
            }
            sleep(STEP);
        }
        bail!("herd does not list {model} after {} s:\n{}", (STEP * STEPS).as_secs(), text(&log));
    }

    /// `ollama` or `llama-server`: whose APIs are asked.
    pub(crate) fn backend(&self) -> &'static str {
        self.names[0].1
    }

    /// What the suites are told.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.names.iter().copied().chain([("HERD_URL", self.herd.as_str()), ("DIRECT_URL", self.direct.as_str())])
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("looking for a free port")?.port())
}

fn text(log: &PathBuf) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}
