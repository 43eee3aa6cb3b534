//! Holds the stand-in against recorded exchanges with the real program.

#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

#[path = "captures/compare.rs"]
mod compare;
#[path = "captures/exchange.rs"]
mod exchange;
#[path = "captures/registry.rs"]
mod registry;
#[path = "captures/table.rs"]
mod table;

use std::path::Path;

use exchange::{Capture, Reply};
use fake_ollama::Server;

/// All that differs between `capture` and what a stand-in in the state of `row` answers.
fn differences(capture: &Capture, row: &table::Row) -> Vec<String> {
    let server = Server::start(row.options()).unwrap();
    for (method, path, body) in &row.before {
        let reply = exchange::send(server.addr, &exchange::request(method, path, body));
        let good = reply.status < 300 || !row.faults.is_empty();
        assert!(good, "{}: {method} {path} in its set-up: {} {}", capture.file, reply.status, reply.body);
    }
    let _held = row.held.as_ref().map(|(path, body)| {
        let stream = exchange::open(server.addr, &exchange::request("POST", path, body));
        exchange::first_byte(stream)
    });
    if let Some(model) = row.then_deletes {
        let body = format!("{{\"model\":\"{model}\"}}");
        assert_eq!(exchange::send(server.addr, &exchange::request("DELETE", "/api/delete", &body)).status, 200);
    }
    let mut waiting = Vec::new();
    for body in &row.waiting {
        waiting.push(exchange::open(server.addr, &exchange::request("POST", "/api/generate", body)));
        // The first has its turn, the others wait for theirs.
        exchange::until_pending(server.addr, waiting.len(), waiting.len() - 1);
    }
    let peer = row.peer.then(registry::Registry::start);
    let mut capture = capture.clone();
    if let Some(registry) = &peer {
        capture.moved(5000, registry.port);
    }
    let mut request = capture.request.clone();
    if let Some(body) = &row.body {
        request.body = body.clone().into_bytes();
    }
    if let (Some(path), Some(line)) = (row.path, request.head.first_mut()) {
        *line = format!("POST {path} HTTP/1.1");
    }
    compare::all(&capture, &exchange::send(server.addr, &request), row)
}

fn captures() -> Vec<Capture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../captures");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "txt"));
    files.sort();
    files.iter().map(|file| Capture::read(file)).collect()
}

#[test]
fn the_stand_in_answers_like_the_recorded_program() {
    let captures = captures();
    assert_eq!(captures.len(), 306);
    let (mut wrong, mut covered) = (Vec::new(), 0);
    for capture in &captures {
        let row = table::row(capture.number);
        if row.left_out.is_some() {
            continue;
        }
        covered += 1;
        let found = differences(capture, &row);
        match (&row.known, found.is_empty()) {
            (None, false) => wrong.push(format!("{}\n    {}", capture.file, found.join("\n    "))),
            (Some(known), true) => wrong.push(format!("{}: no difference any more: {known}", capture.file)),
            _ => {}
        }
    }
    assert!(covered >= 150, "only {covered} captures are covered");
    assert!(wrong.is_empty(), "{} of {covered} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_wrong_answer_is_noticed() {
    let captures = captures();
    let chat = captures.iter().find(|capture| capture.number == 29).unwrap();
    let row = table::row(29);
    let good = exchange::recorded(chat);
    assert!(compare::all(chat, &good, &row).is_empty(), "an answer equals itself");
    let spoil = |from: &str, to: &str| Reply { body: good.body.replacen(from, to, 1), ..good.clone() };
    for (what, reply) in [
        ("another status", Reply { status: 201, ..good.clone() }),
        ("another content type", Reply { headers: Vec::new(), ..good.clone() }),
        ("another word", spoil(" reply", " answer")),
        ("another reason", spoil("\"stop\"", "\"length\"")),
        ("a field more", spoil("\"done\":false", "\"done\":false,\"more\":1")),
        ("a field less", spoil("\"eval_count\":11,", "")),
        ("a number as text", spoil("\"eval_count\":11", "\"eval_count\":\"11\"")),
        ("no time", spoil("2026-11-21T11:30:55.353774294Z", "yesterday")),
        ("an end too soon", Reply { complete: false, ..good.clone() }),
    ] {
        assert!(!compare::all(chat, &reply, &row).is_empty(), "{what} goes unnoticed");
    }
}
