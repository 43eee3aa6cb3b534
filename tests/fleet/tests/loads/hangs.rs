//! Servers that hang while they load, hang while they answer, break off, or start anew.

use std::time::{Duration, Instant};

use fleet_tests::{Fake, Herd, ask, eventually, exchange, get, post};
use serde_json::json;

use crate::{chat, said};

#[allow(clippy::disallowed_methods, reason = "tests wait in real time")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_load_that_hangs_is_not_waited_for_where_another_server_has_the_model() {
    let fakes = [Fake::start(&["--models", "m=long"]), Fake::start(&["--models", "m=long"])];
    fakes.iter().for_each(|fake| fake.fault(&json!({ "kind": "silent", "path": "/api/generate" })));
    let herd = Herd::start(&[&format!("{}?name=one", fakes[0].url), &format!("{}?name=two", fakes[1].url)]);
    let asked = now();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| post(&herd.at("/api/chat"), &chat("m", json!({ "stream": false }))));
        let ordered = |fake: &Fake| fake.posts().iter().any(|row| row["path"] == "/api/generate");
        let hanging = eventually("a load", || fakes.iter().position(ordered));
        let well = &fakes[1 - hanging];
        ask(&format!("{}/_fake/faults", well.url), "DELETE", &[], &[]);
        let answer = waits.join().unwrap();
        assert_eq!(answer.header("x-fleet-backend"), Some(["one", "two"][1 - hanging]), "{answer:?}");
        let waited = asked.elapsed();
        println!("FIGURE a load that hangs, and another server with the model: answered after {waited:?}");
        assert!(waited < Duration::from_secs(40), "{waited:?}");
        assert_eq!(fakes[hanging].posts().len(), 1, "the hanging load is neither aborted nor ordered again");
        assert_eq!(fakes[hanging].posts()[0]["left_early"], false);
        // Whoever comes next does not wait.
        let next = post(&herd.at("/v1/chat/completions"), &chat("m", json!({})));
        assert_eq!(next.header("x-fleet-backend"), Some(["one", "two"][1 - hanging]), "{next:?}");
    });
}

#[test]
fn an_engine_that_hangs_in_the_middle_of_an_answer_is_found_out() {
    let models = ["a", "b", "c"];
    let fakes = models.map(|model| Fake::start(&["--models", &format!("{model}=long")]));
    let backends: Vec<String> =
        fakes.iter().zip(models).map(|(fake, name)| format!("{}?name={name}", fake.url)).collect();
    let herd = Herd::start(&backends.iter().map(String::as_str).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for ((fake, model), (path, more, told)) in fakes.iter().zip(models).zip([
            ("/api/chat", json!({}), "{\"error\":\""),
            ("/v1/chat/completions", json!({ "stream": true }), "data: {\"error\":"),
            ("/v1/messages", json!({ "stream": true, "max_tokens": 100 }), "event: error"),
        ]) {
            let herd = &herd;
            scope.spawn(move || {
                fake.load(model);
                fake.fault(&json!({ "kind": "engine_hangs_after", "after": 3, "times": 1, "path": "/api/chat" }));
                let began = now();
                let answer = post(&herd.at(path), &chat(model, more));
                println!(
                    "FIGURE an engine that hangs after three tokens ({path}): told after {:?} (direct: never)",
                    began.elapsed()
                );
                assert!(answer.complete && answer.body.contains(told), "{path}: {answer:?}");
                assert!(answer.body.contains("said nothing for"), "{path}: {answer:?}");
                let trace = herd.trace(answer.header("x-fleet-request-id").unwrap());
                assert_eq!(trace["status"], "incomplete", "{path}: {trace}");
            });
        }
    });
    for fake in &fakes {
        eventually("the hanging answer to be given up", || (fake.state()["in_flight"] == 0).then_some(()));
    }
}

#[test]
fn an_answer_that_ollama_ends_in_silence_after_31_equal_tokens_is_whole() {
    let fake = Fake::start(&["--models", "m=tiny-rep3"]);
    let herd = Herd::start(&[&fake.url]);
    let answer = post(&herd.at("/api/chat"), &chat("m", json!({})));
    assert!(answer.complete && !answer.body.contains("error"), "{answer:?}");
    assert!(said(&answer).len() > 50 && said(&answer).replace("na", "").is_empty(), "{answer:?}");
    let trace = herd.trace(answer.header("x-fleet-request-id").unwrap());
    assert_eq!(trace["status"], "completed", "{trace}");
    let streamed = post(&herd.at("/v1/chat/completions"), &chat("m", json!({ "stream": true })));
    assert!(streamed.body.ends_with("data: [DONE]\n\n") && !streamed.body.contains("error"), "{streamed:?}");
    assert_eq!(fake.starts(), 1, "it is not tried again");
}

#[test]
fn a_server_that_starts_anew_has_nothing_loaded_and_is_loaded_once() {
    let mut fake = Fake::start(&["--models", "m=long", "--token-ms", "50"]);
    let port = fake.port();
    let herd = Herd::start(&[&fake.url]);
    let mut running = exchange(&herd.at("/api/chat"), &chat("m", json!({})));
    assert!(running.read_until("\"content\""));
    fake.program.signal("KILL");
    fake.program.wait();
    let cut = running.finish();
    assert!(cut.complete && cut.lines().last().unwrap()["error"].is_string(), "{cut:?}");
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| post(&herd.at("/api/chat"), &chat("m", json!({ "stream": false })))))
            .collect();
        eventually("them to wait", || (get(&herd.at("/fleet/self")).json()["queued"] == 4).then_some(()));
        let fake = Fake::start_at(port, &["--models", "m=long"]);
        for one in all {
            let answer = one.join().unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        assert_eq!(fake.starts(), 1);
    });
}
