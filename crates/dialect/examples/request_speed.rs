//! Prints what translating a request costs. Run with `--release`.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::hint::black_box;
use std::time::Instant;

use dialect::{scan, translate};
use proto::{Api, BackendKind};

/// The least time of a run, of several, in microseconds: what disturbs only ever adds.
fn best_us(rounds: u32, mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..15 {
        let start = Instant::now();
        for _ in 0..rounds {
            run();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
    }
    best
}

fn measure(name: &str, client: Api, kind: BackendKind, body: &str) {
    assert!(translate(client, kind, "m", body.as_bytes()).is_ok(), "{name}");
    let rounds = u32::try_from(5_000_000 / (body.len() + 5_000)).unwrap_or(1).max(1);
    let us = best_us(rounds, || {
        black_box(translate(client, kind, "m", black_box(body.as_bytes()))).ok();
    });
    let scan_us = best_us(rounds, || {
        black_box(scan(black_box(body.as_bytes()), false)).ok();
    });
    println!("{name:44} {:9} B {us:9.1} us (a scan alone {scan_us:9.1} us)", body.len());
}

fn main() {
    let chat = r#"{"model":"llama3.2:3b","messages":[{"role":"user","content":"Why is the sky blue? Be brief."}],"stream":true}"#;
    measure("tiny chat, OpenAI to Ollama", Api::ChatCompletions, BackendKind::Ollama, chat);
    measure("tiny chat, Ollama to llama-server", Api::OllamaChat, BackendKind::LlamaServer, chat);
    for every in [8, 60, 1_000_000] {
        let line = format!("{}\\n", "x".repeat(every));
        let text = line.repeat(1_000_000 / line.len() + 1);
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
        measure(&format!("1 MB, escape per {every} B, to Ollama"), Api::ChatCompletions, BackendKind::Ollama, &body);
        measure(
            &format!("1 MB, escape per {every} B, to llama-server"),
            Api::OllamaChat,
            BackendKind::LlamaServer,
            &body,
        );
    }
    let turn = r#"{"role":"user","content":[{"type":"text","text":"Please read it again and say what it does."}]},{"role":"assistant","content":[{"type":"tool_use","id":"toolu_01","name":"read","input":{"path":"/tmp/x"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_01","content":"some lines of text, some more, and yet some more"}]}"#;
    let turns = vec![turn; 300].join(",");
    let body = format!(r#"{{"model":"m","max_tokens":100,"messages":[{turns}]}}"#);
    measure("300 turns with tools, Anthropic to Ollama", Api::Messages, BackendKind::Ollama, &body);
}
