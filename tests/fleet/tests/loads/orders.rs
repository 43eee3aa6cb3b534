//! People and clients who load and unload by order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleet_tests::{Fake, Herd, eventually, exchange, get, post};
use serde_json::{Value, json};

use crate::chat;

/// What `GET /fleet/ps` tells of model `name`.
fn row(herd: &Herd, name: &str) -> Option<Value> {
    get(&herd.at("/fleet/ps")).json().as_array()?.iter().find(|row| row["name"] == name).cloned()
}

#[test]
fn a_model_is_loaded_and_unloaded_by_order() {
    let fake = Fake::start(&["--models", "m=long"]);
    let herd = Herd::start(&[&fake.url]);
    let told = herd.command(&["load", "m", "--context", "9000"]);
    assert!(told.starts_with("m:latest is in memory at") && told.contains("of context"), "{told}");
    assert_eq!(row(&herd, "m:latest").unwrap()["loaded"]["context"], 9000);
    let answer = post(&herd.at("/api/chat"), &chat("m", json!({})));
    assert_eq!((answer.header("x-fleet-context"), fake.starts()), (Some("kept"), 1));
    let told = herd.command(&["unload", "m"]);
    assert!(told.contains("is not in memory any more"), "{told}");
    assert_eq!((row(&herd, "m:latest"), fake.state()["loaded"].clone()), (None, json!([])));
    let told = herd.command(&["load", "nope"]);
    assert!(told.to_lowercase().contains("no backend has model"), "{told}");
}

#[test]
fn clients_load_and_unload_with_an_empty_prompt() {
    let fake = Fake::start(&["--models", "m=long,all-minilm"]);
    let herd = Herd::start(&[&fake.url]);
    for (path, more) in [("/api/generate", json!({})), ("/api/chat", json!({ "messages": [] }))] {
        let mut body = json!({ "model": "m", "keep_alive": "10m" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = post(&herd.at(path), &body);
        assert_eq!((answer.status, &answer.json()["done_reason"]), (200, &json!("load")), "{path}: {answer:?}");
        assert_eq!(fake.state()["loaded"], json!(["m:latest"]), "{path}");
        body["keep_alive"] = json!(0);
        let answer = post(&herd.at(path), &body);
        assert_eq!((answer.status, &answer.json()["done_reason"]), (200, &json!("unload")), "{path}: {answer:?}");
        assert_eq!(fake.state()["loaded"], json!([]), "{path}");
    }
    // One that only makes vectors is loaded by its own call, and unloaded by the same as all.
    assert_eq!(post(&herd.at("/api/embed"), &json!({ "model": "all-minilm", "input": [] })).status, 200);
    assert_eq!(fake.state()["loaded"], json!(["all-minilm:latest"]));
    let answer = post(&herd.at("/api/generate"), &json!({ "model": "all-minilm", "keep_alive": 0 }));
    assert_eq!((answer.status, fake.state()["loaded"].clone()), (200, json!([])), "{answer:?}");
}

#[test]
fn an_order_to_unload_cuts_nobodys_answer() {
    let fake = Fake::start(&["--models", "m=long", "--token-ms", "40", "--tokens", "200"]);
    let herd = Herd::start(&[&fake.url]);
    let mut running = exchange(&herd.at("/api/chat"), &chat("m", json!({})));
    assert!(running.read_until("\"content\""));
    let answer = post(&herd.at("/api/generate"), &json!({ "model": "m", "keep_alive": 0 }));
    assert_eq!((answer.status, &answer.json()["done_reason"]), (200, &json!("unload")), "{answer:?}");
    assert_eq!(fake.state()["in_flight"], 1, "the answer goes on");
    std::thread::scope(|scope| {
        let ordered = scope.spawn(|| herd.command(&["unload", "m"]));
        // A request that comes meanwhile is served before it goes.
        let late = scope.spawn(|| post(&herd.at("/api/chat"), &chat("m", json!({ "options": { "num_predict": 3 } }))));
        let all = running.finish();
        assert_eq!(all.lines().last().unwrap()["eval_count"], 201, "{all:?}");
        assert_eq!(late.join().unwrap().status, 200);
        assert!(ordered.join().unwrap().contains("is not in memory any more"));
    });
    eventually("the model to be gone", || (fake.state()["loaded"] == json!([])).then_some(()));
    assert_eq!(post(&herd.at("/api/chat"), &chat("m", json!({ "options": { "num_predict": 3 } }))).status, 200);
    assert!(fake.starts() <= 3, "{}", fake.starts());
}

#[test]
fn orders_that_cannot_be_carried_out_say_why() {
    let fake = Fake::start(&["--models", "m=long"]);
    let herd = Herd::start(&[&fake.url]);
    fake.fault(&json!({ "kind": "load_never_starts", "times": 1, "path": "/api/generate" }));
    let told = herd.command(&["load", "m"]);
    assert!(told.contains("could not be loaded") && told.contains("exit status"), "{told}");
    let told = herd.command(&["load", "m"]);
    assert!(told.starts_with("m:latest is in memory at"), "{told}");
    // More context is a load of its own.
    let told = herd.command(&["load", "m", "--context", "16384"]);
    assert!(told.contains("with 16k tokens of context"), "{told}");
    assert_eq!(row(&herd, "m:latest").unwrap()["loaded"]["context"], 16_384);
    let told = herd.command(&["load", "m", "--context", "8192"]);
    assert!(told.contains("with 16k tokens of context"), "less is there already: {told}");
}

#[test]
fn an_order_to_unload_ends_although_others_want_the_model_at_once_again() {
    let fake = Fake::start(&["--models", "m=long", "--tokens", "3"]);
    let herd = Herd::start(&[&fake.url]);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let is_over = AtomicBool::new(false);
            std::thread::scope(|clients| {
                for _ in 0..2 {
                    clients.spawn(|| {
                        while !is_over.load(Ordering::Relaxed) {
                            assert_eq!(post(&herd.at("/api/chat"), &chat("m", json!({}))).status, 200);
                        }
                    });
                }
                let ordered = scope.spawn(|| herd.command(&["unload", "m"]));
                std::thread::sleep(Duration::from_millis(300));
                is_over.store(true, Ordering::Relaxed);
                let told = ordered.join().unwrap();
                assert!(told.contains("is not in memory any more"), "{told}");
            });
        }
    });
}
