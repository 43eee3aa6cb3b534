//! Rows 18, 18m and 18w: how often a stand-in for Ollama loads models, and how long one waits for another's room, asked
//! directly and through Herd. Counts and whole seconds: what others do on the machine hardly matters.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::client;
use crate::clock;
use crate::processes::Process;
use crate::report::{Bar, Column, Measure, median_of};
use crate::stage::{Stage, stub_says};
use crate::stub::MODEL;

/// Requests in row 18, and for each of six clients in row 18m.
const REQUESTS: usize = 24;
const EACH: usize = 10;
/// How long a model is waited for in row 18w: shorter than clients wait.
const LONGEST: Duration = Duration::from_secs(15);

/// What is asked, and the stand-in behind it.
struct Asked {
    column: Column,
    at: SocketAddr,
    ollama: Process,
    _herd: Option<Process>,
}

impl Asked {
    /// Engines that were started so far, for all models.
    fn starts(&self) -> Result<u64> {
        let state = stub_says(self.ollama.address(), "/_fake/state")?;
        let models = state["models"].as_object().context("the stand-in did not count")?;
        Ok(models.values().filter_map(|model| model["starts"].as_u64()).sum())
    }
}

/// A stand-in with these flags to be asked directly, and another one through Herd; none where it is not built.
fn both(stage: &Stage, flags: &[&str]) -> Result<Vec<Asked>> {
    let (Some(alone), Some(ollama)) = (stage.programs.ollama(flags)?, stage.programs.ollama(flags)?) else {
        eprintln!("no fake-ollama beside this program: build it with `cargo build --release --bin fake-ollama`");
        return Ok(Vec::new());
    };
    let mut all = vec![Asked { column: Column::Direct, at: alone.address(), ollama: alone, _herd: None }];
    if let Some((herd, _)) = stage.programs.herd_before(&[format!("http://{}?name=ollama", ollama.address())])? {
        all.push(Asked { column: Column::Herd, at: herd.address(), ollama, _herd: Some(herd) });
    }
    Ok(all)
}

/// Asks for a short answer and has it.
fn ask(at: SocketAddr, path: &str, body: &Value) -> Result<()> {
    let (answer, said) = client::ask(at, &client::request(at, path, &body.to_string()))?;
    ensure!(answer.status() == 200, "{}: {}", answer.status(), String::from_utf8_lossy(&said));
    Ok(())
}

fn chat(model: &str, options: Value) -> Value {
    json!({ "model": model, "stream": false, "options": options, "messages": [{ "role": "user", "content": "Hello?" }] })
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Row 18: clients that name different contexts, in turn.
pub(crate) fn contexts(stage: &mut Stage) -> Result<Vec<Measure>> {
    let mut reloads = Vec::new();
    for asked in both(stage, &["--models", &format!("{MODEL}=long")])? {
        let contexts =
            [json!({ "num_ctx": 16_384 }), json!({}), json!({ "num_ctx": 2048 }), json!({ "num_ctx": 131_072 })];
        ask(asked.at, "/api/chat", &chat(MODEL, contexts[0].clone()))?;
        let before = asked.starts()?;
        for (turn, options) in contexts.iter().cycle().take(REQUESTS).enumerate() {
            let path = if turn % 6 == 5 { "/v1/chat/completions" } else { "/api/chat" };
            ask(asked.at, path, &chat(MODEL, options.clone()))?;
        }
        reloads.push((asked.column, number(asked.starts()? - before)));
    }
    let what = format!("reloads by {REQUESTS} requests that name four contexts in turn");
    let bar = Bar::Most { must: 0.0, aim: 0.0 };
    Ok(vec![Measure { row: "18", what, unit: "loads", values: median_of(&reloads), bar }])
}

/// Row 18m: six clients of three models, and room for one.
pub(crate) fn models(stage: &mut Stage) -> Result<Vec<Measure>> {
    let mut loads = Vec::new();
    let models = format!("{MODEL}=long,two=long,three=long");
    for asked in both(stage, &["--models", &models, "--max-loaded", "1", "--load-ms", "100", "--tokens", "5"])? {
        let before = asked.starts()?;
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..6)
                .map(|client| {
                    let at = asked.at;
                    let model = [MODEL, "two", "three"][client % 3];
                    scope.spawn(move || (0..EACH).try_for_each(|_| ask(at, "/api/chat", &chat(model, json!({})))))
                })
                .collect();
            clients.into_iter().try_for_each(|client| client.join().unwrap_or_else(|_| anyhow::bail!("a client broke")))
        })?;
        loads.push((asked.column, number(asked.starts()? - before)));
    }
    let what = format!("loads by {} requests of six clients for three models, room for one", 6 * EACH);
    let bar = Bar::Most { must: 30.0, aim: 12.0 };
    Ok(vec![Measure { row: "18m", what, unit: "loads", values: median_of(&loads), bar }])
}

/// Row 18w: two clients keep one model busy without a gap, a third wants another one, and there is room for one.
pub(crate) fn wait(stage: &mut Stage) -> Result<Vec<Measure>> {
    let mut waits = Vec::new();
    let models = format!("{MODEL}=long,two=long");
    let flags = ["--models", &models, "--max-loaded", "1", "--load-ms", "300", "--token-ms", "20", "--tokens", "10"];
    for asked in both(stage, &flags)? {
        let (at, is_over) = (asked.at, AtomicBool::new(false));
        ask(at, "/api/chat", &chat(MODEL, json!({})))?;
        let waited = std::thread::scope(|scope| {
            let busy: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        while !is_over.load(Ordering::Relaxed) {
                            ask(at, "/api/chat", &chat(MODEL, json!({})))?;
                        }
                        anyhow::Ok(())
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(300));
            let began = clock::now_ns();
            let third = scope.spawn(|| ask(at, "/api/chat", &chat("two", json!({}))));
            let waited = || Duration::from_nanos(clock::now_ns() - began);
            while !third.is_finished() && waited() < LONGEST {
                std::thread::sleep(Duration::from_millis(5));
            }
            let waited = waited();
            is_over.store(true, Ordering::Relaxed);
            for client in busy.into_iter().chain([third]) {
                client.join().unwrap_or_else(|_| anyhow::bail!("a client broke"))?;
            }
            anyhow::Ok(waited)
        })?;
        waits.push((asked.column, waited.as_secs_f64()));
    }
    let what = format!("wait for a model whose room two clients keep ({} s: given up)", LONGEST.as_secs());
    let bar = Bar::Most { must: 12.0, aim: 6.0 };
    Ok(vec![Measure { row: "18w", what, unit: "s", values: median_of(&waits), bar }])
}
