//! Requests that are answered by other machines of the fleet: everything that a client sees of them, and what happens when
//! such a machine fails.
#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

use fleet_tests::{Machine, ask, eventually, exchange, get, post};
use serde_json::{Value, json};

fn chat(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "What is it?" }] })
}

/// Until `machine` lists `model`.
fn until_listed(machine: &Machine, model: &str) {
    eventually("a model of another machine to be listed", || {
        machine.tags().iter().any(|(name, _)| name == &format!("{model}:latest")).then_some(())
    });
}

fn two() -> Vec<Machine> {
    let fleet = Machine::fleet(&[("studio", &["--models", "alpha"]), ("den", &["--models", "beta"])]);
    until_listed(&fleet[0], "beta");
    until_listed(&fleet[1], "alpha");
    fleet
}

#[test]
fn every_dialect_is_answered_by_the_machine_that_has_the_model() {
    let fleet = two();
    let (studio, den) = (&fleet[0], &fleet[1]);
    for (door, model, server) in [(studio, "beta", "den"), (den, "alpha", "studio")] {
        for (path, mut body, end) in [
            ("/api/chat", chat(model), "\"done\":true"),
            ("/api/generate", json!({ "model": model, "prompt": "What?" }), "\"done\":true"),
            ("/v1/chat/completions", chat(model), "[DONE]"),
            ("/v1/responses", json!({ "model": model, "input": "What?" }), "response.completed"),
            (
                "/v1/messages",
                json!({ "model": model, "max_tokens": 50, "messages": chat(model)["messages"] }),
                "message_stop",
            ),
        ] {
            for stream in [true, false] {
                body["stream"] = json!(stream);
                let answer = post(&door.herd.at(path), &body);
                assert_eq!(answer.status, 200, "{path} {stream} {answer:?}\n{}", door.herd.said());
                assert_eq!(answer.header("x-fleet-node"), Some(server), "{path} {answer:?}");
                assert_eq!(answer.header("x-fleet-served-model"), Some(model), "{path} {answer:?}");
                assert_eq!(answer.header("x-fleet-backend"), Some("ollama"), "{path} {answer:?}");
                assert_eq!(answer.header("x-fleet-retries"), Some("0"), "{path} {answer:?}");
                assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("herd-")), "{answer:?}");
                if stream {
                    assert!(answer.body.contains(end), "{path} {answer:?}");
                } else {
                    assert!(answer.json().is_object(), "{path} {answer:?}");
                }
                let trace = door.herd.trace(answer.header("x-fleet-request-id").unwrap());
                assert_eq!((&trace["status"], &trace["node_id"]), (&json!("completed"), &json!(server)), "{trace}");
                assert!(
                    trace["completion_tokens"].as_u64().is_some_and(|tokens| tokens > 0),
                    "{path} {stream} {trace}"
                );
            }
        }
        let shown = post(&door.herd.at("/api/show"), &json!({ "model": model }));
        assert_eq!(shown.status, 200, "{shown:?}");
    }
    let unknown = post(&studio.herd.at("/api/chat"), &chat("gamma"));
    assert_eq!((unknown.status, unknown.body.contains("not found")), (404, true), "{unknown:?}");
    // Only its door remembers a request.
    let rows = get(&den.herd.at("/dashboard/api/traces?limit=500")).json();
    let doors_own = rows["traces"]
        .as_array()
        .map_or(0, |rows| rows.iter().filter(|row| row["original_model"] == "beta" && row["node_id"] == "den").count());
    assert!(doors_own <= 12, "{doors_own} rows of requests that came in elsewhere");
}

#[test]
fn a_machine_can_be_named() {
    let fleet = Machine::fleet(&[("studio", &["--models", "tiny"]), ("den", &["--models", "tiny"])]);
    eventually("both to have it", || (fleet[0].tags().first()?.1.len() == 2).then_some(()));
    for (name, server) in [("tiny@den", "den"), ("tiny@studio", "studio"), ("tiny:latest@DEN", "den")] {
        let answer = post(&fleet[0].herd.at("/api/chat"), &chat(name));
        assert_eq!((answer.status, answer.header("x-fleet-node")), (200, Some(server)), "{name} {answer:?}");
    }
    let nowhere = post(&fleet[0].herd.at("/api/chat"), &chat("tiny@attic"));
    assert_eq!(nowhere.status, 404, "{nowhere:?}");
}

#[test]
fn a_client_that_leaves_ends_the_work_at_the_other_machine() {
    let fleet = Machine::fleet(&[
        ("studio", &["--models", "alpha"]),
        ("den", &["--models", "beta", "--token-ms", "20", "--tokens", "5000"]),
    ]);
    until_listed(&fleet[0], "beta");
    let mut answer = exchange(&fleet[0].herd.at("/api/chat"), &chat("beta"));
    assert!(answer.read_until("\n"));
    drop(answer);
    eventually("the other machine to stop", || {
        let state = fleet[1].fake.state();
        (state["in_flight"].as_u64() == Some(0) || state["running"].as_u64() == Some(0)).then_some(())
    });
    fleet[1].herd.is_idle_soon();
}

#[test]
fn an_answer_moves_before_its_first_content_and_ends_in_an_error_after_it() {
    let fleet = Machine::fleet(&[
        ("studio", &["--models", "alpha"]),
        ("den", &["--models", "beta"]),
        ("attic", &["--models", "beta", "--token-ms", "30", "--tokens", "2000"]),
    ]);
    eventually("both to have it", || {
        fleet[0].tags().iter().any(|(name, nodes)| name == "beta:latest" && nodes.len() == 2).then_some(())
    });
    // Whichever is asked: the one that answers 503 gives way, and nobody notices.
    fleet[1].fake.fault(&json!({ "kind": "runner_dies_before" }));
    for _ in 0..4 {
        let mut answer = exchange(&fleet[0].herd.at("/api/chat"), &chat("beta"));
        assert_eq!(answer.status(), 200);
        assert!(answer.read_until("\n"));
    }
    // The machine is killed in mid-stream.
    let mut answer = exchange(&fleet[0].herd.at("/api/chat"), &chat("beta"));
    assert!(answer.read_until("\n"));
    fleet[2].herd.program.signal("KILL");
    let whole = answer.finish();
    let last = whole.lines().pop().unwrap();
    assert!(last["error"].as_str().is_some_and(|error| error.contains("attic")), "{last}");
}

#[test]
fn bad_requests_are_refused_in_the_clients_words_wherever_they_go() {
    let fleet = two();
    let url = fleet[0].herd.at("/v1/chat/completions");
    let mut wrong = chat("beta");
    wrong["temperature"] = json!("hot");
    let refused = post(&url, &wrong);
    assert!((400..500).contains(&refused.status) && refused.json()["error"]["message"].is_string(), "{refused:?}");
    let refused = ask(&url, "POST", &[("Content-Type", "application/json")], b"{\"model\":\"beta\"");
    assert_eq!(refused.status, 400, "{refused:?}");
    let unspoken = post(&fleet[0].herd.at("/v1/messages"), &json!({ "model": "beta" }));
    assert!((400..500).contains(&unspoken.status) && unspoken.json()["type"] == "error", "{unspoken:?}");
}

#[test]
fn a_body_that_is_too_large_to_be_kept_travels_as_it_comes() {
    let fleet = two();
    let mut body = chat("beta");
    body["messages"][0]["content"] = json!("long words of no meaning ".repeat(800_000));
    body["stream"] = json!(false);
    let answer = post(&fleet[0].herd.at("/api/chat"), &body);
    // Its engine has counted all of it.
    assert_eq!((answer.status, answer.header("x-fleet-node")), (400, Some("den")), "{:.300}", answer.body);
    assert!(answer.body.contains("request (5000012 tokens) exceeds"), "{:.300}", answer.body);
}
