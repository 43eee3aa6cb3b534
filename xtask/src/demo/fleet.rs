//! Shows several machines that answer as one, and what the apps see of it when the one dies that leads.
//!
//! The machines are processes on loopback, each with a Herd, an inference server and a data directory of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use parts::http;
use serde_json::json;

use super::chat::{Token, token};
use super::{MODEL, Options, STEP, fetch, step};
use crate::machine::{Machine, meshes, until};
use crate::process::{go_on, interrupted};

const NAMES: [&str; 5] = ["attic", "bureau", "cellar", "den", "eyrie"];
const PATIENCE: Duration = Duration::from_secs(300);
/// Words that each stream has when the leader dies.
const BEGUN: u32 = 5;

/// What an app saw.
struct Seen {
    node: String,
    words: u32,
    first: Duration,
    /// The longest time without a word.
    pause: Duration,
    /// When it ended, and with what error.
    ended: Instant,
    error: Option<String>,
}

/// An app that is being answered.
struct App {
    at: &'static str,
    asks: String,
    words: Arc<AtomicU32>,
    seen: JoinHandle<Result<Seen>>,
}

pub(super) fn run(herd: &Path, options: &Options) -> Result<()> {
    step("an inference server and a small model for each machine");
    let (engine, model) = fetch()?;
    let below =
        tempfile::Builder::new().prefix("herd-demo-").tempdir().context("making a directory for the machines")?;
    let count = usize::from(options.nodes);
    step(&format!("starting {count} machines: a herd and a llama-server each"));
    let mut machines = Vec::new();
    for (name, mesh) in NAMES.into_iter().zip(meshes(count)?) {
        go_on()?;
        let engine = engine.start(&model, &["--alias", MODEL, "--ctx-size", "8192", "--parallel", "4"])?;
        let mut machine = Machine::start(name, herd, engine, &mesh, below.path())?;
        machine.lists(MODEL, 1)?;
        println!("  {name:6} http://{}", machine.door);
        machines.push(machine);
    }
    step("they become one fleet");
    for joiner in &machines[1..] {
        machines[0].lets_in(joiner, &|line| println!("  {line}"))?;
    }
    let leader = Machine::agree(&machines)?;
    for machine in &mut machines {
        machine.lists(MODEL, count)?;
    }
    println!("  all hear each other; {} leads", machines[leader].name);

    step("who answers what");
    println!("  {:8} {:28} is answered by", "app at", "asks for");
    for machine in &machines {
        for asks in [MODEL.to_owned(), format!("{MODEL}@{}", machines[leader].name)] {
            let seen = app(machine, &asks, 8).end()?;
            ensure!(seen.error.is_none(), "{asks} at {}: {:?}", machine.name, seen.error);
            println!("  {:8} {asks:28} {}", machine.name, seen.node);
        }
    }
    kill(&mut machines, leader)?;
    if options.once {
        return Ok(());
    }
    step("the others stay up; try, from another terminal");
    for machine in machines.iter().filter(|machine| machine.is_on()) {
        println!("curl http://{}/fleet/nodes        # {}", machine.door, machine.name);
    }
    println!("\nCtrl-C ends it all.");
    while !interrupted() {
        sleep(STEP);
    }
    println!("\nended");
    Ok(())
}

/// Kills the leader in the middle of three streams.
fn kill(machines: &mut [Machine], leader: usize) -> Result<()> {
    let dies = machines[leader].name;
    let others: Vec<usize> = (0..machines.len()).filter(|at| *at != leader).collect();
    let (one, two) = (&machines[others[0]], &machines[others[1]]);
    step(&format!("three answers run when {dies}, which leads, is killed with all that runs on it"));
    let apps = [
        app(one, &format!("{MODEL}@{}", two.name), 300),
        app(one, &format!("{MODEL}@{dies}"), 300),
        app(two, &format!("{MODEL}@{}", two.name), 300),
    ];
    until("all three to have begun", || {
        let has_begun = |app: &App| app.words.load(Ordering::Relaxed) >= BEGUN;
        match apps.iter().find(|app| app.seen.is_finished()) {
            Some(app) => bail!("the answer to {} at {} ended too soon", app.asks, app.at),
            None => Ok(apps.iter().all(has_begun).then_some(())),
        }
    })?;
    machines[leader].die();
    let died = now();
    println!("  killed; at once an app at {} asks for {MODEL}", machines[others[0]].name);
    let late = app(&machines[others[0]], MODEL, 8);
    for app in apps {
        let (at, asks) = (app.at, app.asks.clone());
        let seen = app.end()?;
        let ran_there = asks.ends_with(dies);
        match &seen.error {
            None => println!(
                "  app at {at}, {asks}: went on to its end, {} words, never more than {} ms without one",
                seen.words,
                seen.pause.as_millis()
            ),
            Some(error) => println!(
                "  app at {at}, {asks}: got {} words; {} ms after the kill it was told: {error}",
                seen.words,
                seen.ended.saturating_duration_since(died).as_millis()
            ),
        }
        ensure!(seen.error.is_some() == ran_there, "only what ran on {dies} may end in an error");
    }
    let seen = late.end()?;
    ensure!(seen.error.is_none(), "the app that came last: {:?}", seen.error);
    println!("  the app that asked at once: answered by {}, first word after {} ms", seen.node, seen.first.as_millis());
    let next = Machine::agree(machines)?;
    println!("  {} leads now; nobody had to do anything", machines[next].name);
    Ok(())
}

/// Has an app at `machine` ask for `model`, and for at most so many words.
fn app(machine: &Machine, model: &str, most: u32) -> App {
    let (door, words, asks) = (machine.door, Arc::new(AtomicU32::new(0)), model.to_owned());
    // One machine each: who has read the beginning of a prompt goes on with it.
    let prompt = format!("{}: tell me a long story about a shepherd and his herd.", machine.name);
    let (counted, asked) = (words.clone(), asks.clone());
    let seen = std::thread::spawn(move || ask(door, &asked, &prompt, most, &counted));
    App { at: machine.name, asks, words, seen }
}

impl App {
    fn end(self) -> Result<Seen> {
        let App { at, asks, seen, .. } = self;
        let seen = seen.join().map_err(|_| anyhow::anyhow!("the app at {at} broke"))?;
        seen.with_context(|| format!("asking for {asks} at {at}"))
    }
}

fn ask(door: SocketAddr, model: &str, prompt: &str, most: u32, words: &AtomicU32) -> Result<Seen> {
    let start = now();
    let messages = json!([{ "role": "user", "content": prompt }]);
    let body = json!({ "model": model, "messages": messages, "max_tokens": most, "stream": true });
    let path = "/v1/chat/completions";
    let mut answer = http::call(door, "POST", path, &[], body.to_string().as_bytes(), PATIENCE)?;
    if answer.status != 200 {
        let text = answer.text().unwrap_or_default();
        bail!("herd answered {}: {text}", answer.status);
    }
    let node = answer.header("x-fleet-node").unwrap_or("?").to_owned();
    let (mut first, mut last, mut pause, mut error) = (None, start, Duration::ZERO, None);
    let mut is_whole = false;
    while let Some(line) = answer.line().context("the answer broke off without a word")? {
        is_whole |= line == "data: [DONE]";
        match token(&line, false) {
            Token::Text(_) => {
                let now = now();
                if first.is_some() {
                    pause = pause.max(now - last);
                }
                first.get_or_insert(now - start);
                last = now;
                words.fetch_add(1, Ordering::Relaxed);
            }
            Token::Error(said) => error = Some(said),
            Token::Nothing => {}
        }
    }
    ensure!(is_whole || error.is_some(), "the answer ended without a word about it");
    let words = words.load(Ordering::Relaxed);
    Ok(Seen { node, words, first: first.unwrap_or_default(), pause, ended: now(), error })
}

#[allow(clippy::disallowed_methods, reason = "a demonstration tells how long things took")]
fn now() -> Instant {
    Instant::now()
}
