//! Prompts that are longer than what is loaded.

use fleet_tests::{Answer, Fake, Herd, post};
use serde_json::{Value, json};

use crate::{chat, prompt};

const TOKENS: usize = 30_000;

/// A long prompt for `model` in the words of each dialect.
fn asks(model: &str) -> [(&'static str, Value); 3] {
    let messages = json!([{ "role": "user", "content": prompt(TOKENS) }]);
    [
        ("/api/chat", json!({ "model": model, "messages": messages, "stream": false })),
        ("/v1/chat/completions", json!({ "model": model, "messages": messages })),
        ("/v1/messages", json!({ "model": model, "messages": messages, "max_tokens": 100 })),
    ]
}

fn verdict(answer: &Answer) -> &str {
    answer.header("x-fleet-context").unwrap_or("none")
}

#[test]
fn a_model_that_can_hold_a_long_prompt_gets_its_whole_text() {
    let directly = Fake::start(&["--models", "m=long"]);
    directly.load("m");
    let answer = post(&format!("{}/api/chat", directly.url), &asks("m")[0].1);
    let left = answer.json()["prompt_eval_count"].as_u64().unwrap();
    assert!(left < 4096, "an Ollama alone cuts it in silence: {left}");

    let fake = Fake::start(&["--models", "m=long"]);
    fake.load("m");
    let herd = Herd::start(&[&fake.url]);
    for ((path, body), expected) in asks("m").into_iter().zip(["grown", "kept", "kept"]) {
        let answer = post(&herd.at(path), &body);
        assert_eq!((answer.status, verdict(&answer)), (200, expected), "{path}: {answer:?}");
        let row = fake.requests().pop().unwrap();
        assert!(row["prompt_tokens"].as_u64() >= Some(TOKENS as u64), "{path}: {row}");
        println!("FIGURE tokens read of a prompt of {TOKENS} ({path}): direct {left}, Herd {}", row["prompt_tokens"]);
    }
    assert_eq!(fake.starts(), 2, "one load by another program, one on purpose");
}

#[test]
fn a_model_that_cannot_says_so_in_the_clients_own_words() {
    for kind in ["call-go", "tiny"] {
        let fake = Fake::start(&["--models", &format!("m={kind}")]);
        fake.load("m");
        let herd = Herd::start(&[&fake.url]);
        let [(_, ollama), (_, openai), (_, anthropic)] = asks("m");
        let answer = post(&herd.at("/v1/chat/completions"), &openai);
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &json!("context_length_exceeded")),
            "{kind}"
        );
        let answer = post(&herd.at("/v1/messages"), &anthropic);
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["type"]), (400, &json!("invalid_request_error")), "{kind}: {answer:?}");
        assert!(error["message"].as_str().unwrap().starts_with("prompt is too long: "), "{kind}: {error}");
        assert!(fake.requests().iter().all(|row| row["path"] != "/api/chat"), "nothing was sent");
        // What Ollama does: where it fills in the template itself it cuts, else the engine refuses.
        let answer = post(&herd.at("/api/chat"), &ollama);
        assert_eq!(verdict(&answer), "cut", "{kind}: {answer:?}");
        let directly = post(&format!("{}/api/chat", fake.url), &ollama);
        assert_eq!(answer.status, directly.status, "{kind}");
        if kind == "tiny" {
            assert!(answer.body.contains("exceed_context_size_error"), "{answer:?}");
        } else {
            assert!(answer.json()["prompt_eval_count"].as_u64() < Some(4096), "{answer:?}");
            // Who does not want that says so.
            let answer =
                post(&herd.at("/api/chat"), &chat("m", json!({ "messages": ollama["messages"], "truncate": false })));
            assert_eq!(answer.status, 400, "{answer:?}");
        }
    }
}

#[test]
fn a_small_context_that_a_client_names_makes_nothing_smaller() {
    let fake = Fake::start(&["--models", "m=long"]);
    let herd = Herd::start(&[&fake.url]);
    for num_ctx in [json!(8192), json!(2048), json!(0), json!(-1), json!(4096), json!(null), json!(100_000)] {
        let answer = post(&herd.at("/api/chat"), &chat("m", json!({ "options": { "num_ctx": num_ctx } })));
        assert_eq!((answer.status, verdict(&answer)), (200, "kept"), "{num_ctx}: {answer:?}");
        assert_eq!(fake.requests().pop().unwrap()["context"], 8192, "{num_ctx}");
    }
    assert_eq!(fake.starts(), 1);
}
