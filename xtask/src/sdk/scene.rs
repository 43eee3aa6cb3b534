//! Backends and a Herd before them, and a Herd with none, on free ports of the loopback; all end when the scene is dropped.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parts::engine::{Engine, Running};
use parts::http;
use parts::tiny_gguf::{self, Variant};

use crate::process::Process;
use crate::{program, root};

/// Longest time until Herd lists the models, in steps of [`STEP`].
const STEPS: u32 = 300;
const STEP: Duration = Duration::from_millis(100);

/// Backends and a Herd before them.
pub(crate) struct Scene {
    // Dropped in this order: first Herd, then what it stands on.
    _herds: [Process; 2],
    _backend: Backend,
    _files: tempfile::TempDir,
    backend: &'static str,
    variables: Vec<(&'static str, String)>,
}

#[expect(dead_code, reason = "held for what dropping them does")]
enum Backend {
    Fake(Process),
    Real(Vec<Running>),
}

impl Scene {
    /// With the stand-in for Ollama.
    pub(crate) fn fake_ollama() -> Result<Scene> {
        const MODELS: &str = "tiny,tiny-call,tiny-loop,tiny-think,tiny-see,tiny-dies=tiny,all-minilm";
        let mut fake = Command::new(program("debug", "fake-ollama"));
        fake.args(["--port", "0", "--models", MODELS, "--max-loaded", "8", "--calls", "2"]);
        fake.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut fake = Process::start(&mut fake)?;
        let output = fake.stdout().context("a piped output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("reading where fake-ollama listens")?;
        let url = line.trim().strip_prefix("listening on ");
        let url = url.with_context(|| format!("fake-ollama said {line:?}"))?.to_owned();
        let mut variables = vec![("DIRECT_URL", url.clone()), ("EMBED_MODEL", "all-minilm".to_owned())];
        variables.extend([("SEE_MODEL", "tiny-see".to_owned()), ("DIES_MODEL", "tiny-dies".to_owned())]);
        Scene::before("ollama", &[url], Backend::Fake(fake), files()?, variables)
    }

    /// With real llama-servers, one for each variant of the tiny model.
    pub(crate) fn llama_server(engine: &Engine) -> Result<Scene> {
        let files = files()?;
        let template = root().join("tests/sdk/think.jinja");
        let template = template.to_str().context("the checkout's path is no text")?;
        let mut running = Vec::new();
        for (alias, variant, more) in [
            ("tiny", Variant::Says, &["--embeddings", "--pooling", "mean"][..]),
            ("tiny-call", Variant::AlwaysCall, &[]),
            // Its context is shifted, so it never ends.
            ("tiny-loop", Variant::Loop, &["--context-shift", "--parallel", "1"]),
            // It thinks because the template says so, and stops thinking because its budget is used up.
            ("tiny-think", Variant::Says, &["--chat-template-file", template, "--reasoning-budget", "4"]),
        ] {
            let model = files.path().join(variant.file_name());
            tiny_gguf::write(&model, variant).context("writing the tiny model")?;
            running.push(engine.start(&model, &[&["--alias", alias], more].concat())?);
            crate::process::go_on()?;
        }
        let urls: Vec<String> = running.iter().map(Running::url).collect();
        let mut variables = vec![("DIRECT_URL", urls[0].clone()), ("LOOP_URL", urls[2].clone())];
        variables.push(("EMBED_MODEL", "tiny".to_owned()));
        variables.extend([("SEE_MODEL", String::new()), ("DIES_MODEL", String::new())]);
        Scene::before("llama-server", &urls, Backend::Real(running), files, variables)
    }

    fn before(
        kind: &'static str,
        urls: &[String],
        backend: Backend,
        files: tempfile::TempDir,
        mut variables: Vec<(&'static str, String)>,
    ) -> Result<Scene> {
        const ALWAYS: [(&str, &str); 4] = [
            ("MODEL", "tiny"),
            ("CALL_MODEL", "tiny-call"),
            ("LOOP_MODEL", "tiny-loop"),
            ("THINK_MODEL", "tiny-think"),
        ];
        let (herd, url) = herd(files.path(), "herd", urls, &ALWAYS.map(|(_, model)| model))?;
        let (lonely, lonely_url) = self::herd(files.path(), "lonely", &[], &[])?;
        variables.extend(ALWAYS.map(|(name, model)| (name, model.to_owned())));
        variables.extend([("BACKEND", kind.to_owned()), ("HERD_URL", url), ("EMPTY_URL", lonely_url)]);
        Ok(Scene { _herds: [herd, lonely], _backend: backend, _files: files, backend: kind, variables })
    }

    /// `ollama` or `llama-server`: whose APIs are asked.
    pub(crate) fn backend(&self) -> &'static str {
        self.backend
    }

    /// What the suites are told.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

fn files() -> Result<tempfile::TempDir> {
    tempfile::tempdir().context("making a directory for Herd")
}

/// A Herd before the servers at `urls`, as soon as it lists `models`, and its own URL. Its files are in `directory`/`name`.
fn herd(directory: &Path, name: &str, urls: &[String], models: &[&str]) -> Result<(Process, String)> {
    let port = free_port()?;
    let log = directory.join(format!("{name}.log"));
    let file = File::create(&log).context("making a file for Herd's log")?;
    let mut herd = Command::new(program("debug", "herd"));
    herd.args(["serve", "--port", &port.to_string(), "--data-dir"]).arg(directory.join(name));
    for url in urls {
        herd.args(["--backend", url]);
    }
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
    let lists = |text: &str| {
        models.iter().all(|model| [":latest", ""].iter().any(|tag| text.contains(&format!("\"{model}{tag}\""))))
    };
    for _ in 0..STEPS {
        if let Some(status) = herd.ended()? {
            bail!("herd ended before it answered ({status}):\n{}", text(&log));
        }
        crate::process::go_on()?;
        let listed = http::get(door, "/v1/models", Duration::from_secs(5));
        if listed.is_ok_and(|(status, text)| status == 200 && lists(&text)) {
            return Ok((herd, format!("http://{door}")));
        }
        sleep(STEP);
    }
    bail!("herd does not list {models:?} after {} s:\n{}", (STEP * STEPS).as_secs(), text(&log));
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("looking for a free port")?.port())
}

fn text(log: &PathBuf) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}
