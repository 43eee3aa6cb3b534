//! No surprise reloads: who loads which model when, with how much context, and who waits for whom; each story told to an
//! Ollama directly where that shows the difference, and to one behind Herd.
//!
//! `cargo test -p fleet-tests --test loads -- --nocapture` prints the figures.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

#[path = "loads/apps.rs"]
mod apps;
#[path = "loads/engine.rs"]
mod engine;
#[path = "loads/hangs.rs"]
mod hangs;
#[path = "loads/long.rs"]
mod long;
#[path = "loads/modes.rs"]
mod modes;
#[path = "loads/orders.rs"]
mod orders;
#[path = "clients/recorded.rs"]
#[allow(dead_code, reason = "the replay of the clients uses all of it")]
mod recorded;
#[path = "loads/seen.rs"]
mod seen;
#[path = "loads/turns.rs"]
mod turns;

use fleet_tests::Answer;
use serde_json::{Value, json};

/// A chat of one message.
fn chat(model: &str, more: Value) -> Value {
    let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hello?" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The text of a streamed `/api/chat` answer.
fn said(answer: &Answer) -> String {
    answer.lines().iter().filter_map(|line| line["message"]["content"].as_str().map(str::to_owned)).collect()
}

/// A prompt of so many tokens, as the stand-in counts them: four bytes each.
fn prompt(tokens: usize) -> String {
    "one two ".repeat(tokens / 2)
}
