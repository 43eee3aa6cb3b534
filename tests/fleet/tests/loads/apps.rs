//! Apps that each name another context, against one model.

use fleet_tests::{Fake, Herd, post};
use serde_json::json;

use crate::prompt;
use crate::recorded::{Length, Request, recorded};

/// Names another context each time; 131 072; two in turn; with options of a machine; 8 192 for ever; none (two).
const APPS: [&str; 7] =
    ["aider", "llamaindex", "open-webui", "continue-ide", "home-assistant", "langchain", "opencode"];
const MODELS: &str = "qwen3-coder:30b=long,all-minilm";

/// What an app sends to its model.
fn requests(app: &str) -> Vec<Request> {
    let all = recorded(app, Length::Full).requests;
    all.into_iter().filter(|request| request.is_inference() && request.body["model"] == "qwen3-coder:30b").collect()
}

/// The first request of each app, then the second, and so on.
fn in_turns() -> Vec<Request> {
    let mut apps: Vec<_> = APPS.iter().map(|app| requests(app).into_iter()).collect();
    let longest = apps.iter().map(ExactSizeIterator::len).max().unwrap();
    (0..longest).flat_map(|_| apps.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()).collect()
}

#[test]
fn apps_that_each_name_another_context_load_one_model_once() {
    let fake = Fake::start(&["--models", MODELS]);
    let asked = in_turns();
    assert!(asked.iter().all(|request| request.send(&fake.url).status == 200));
    let direct = fake.starts() - 1;

    let fake = Fake::start(&["--models", MODELS]);
    let herd = Herd::start(&[&fake.url]);
    for request in &asked {
        let answer = request.send(&herd.url);
        assert_eq!(answer.status, 200, "{}: {answer:?}", request.what);
        assert_eq!(answer.header("x-fleet-context"), Some("kept"), "{}", request.what);
    }
    let reloads = fake.starts() - 1;
    println!(
        "FIGURE reloads by {} requests of {} apps in turns: direct {direct}, Herd {reloads}",
        asked.len(),
        APPS.len()
    );
    assert_eq!(reloads, 0);
    assert!(direct >= 10, "{direct}");
}

/// An Ollama alone is no measure here: the first request with `keep_alive: -1` that comes while another waits for a reload
/// keeps that one, and all behind it, waiting for ever.
#[test]
fn apps_at_the_same_time_load_one_model_once() {
    let play = |url: &str| {
        std::thread::scope(|scope| {
            for app in APPS {
                scope.spawn(move || {
                    for request in requests(app).iter().cycle().take(12) {
                        let answer = request.send(url);
                        assert_eq!(answer.status, 200, "{}: {answer:?}", request.what);
                    }
                });
            }
        });
    };
    let fake = Fake::start(&["--models", MODELS]);
    let herd = Herd::start(&[&fake.url]);
    // The first decides with how much context: one that is enough for all.
    let first =
        post(&herd.at("/api/generate"), &json!({ "model": "qwen3-coder:30b", "options": { "num_ctx": 16_384 } }));
    assert_eq!(first.status, 200, "{first:?}");
    play(&herd.url);
    let reloads = fake.starts() - 1;
    println!("FIGURE reloads by 84 requests of {} apps at the same time: Herd {reloads}", APPS.len());
    assert_eq!(reloads, 0);
}

#[test]
fn a_conversation_that_outgrows_its_context_loads_once_more() {
    let fake = Fake::start(&["--models", "m=long", "--tokens", "20"]);
    let herd = Herd::start(&[&fake.url]);
    let mut messages = Vec::new();
    let mut verdicts = Vec::new();
    for turn in 0..12 {
        messages.push(json!({ "role": "user", "content": format!("{turn}: {}", prompt(500)) }));
        // A client with its own idea of a context, which changes.
        let context = if turn % 2 == 0 { json!({ "num_ctx": 4096 }) } else { json!({ "num_ctx": 2048 }) };
        let body = json!({ "model": "m", "messages": messages, "options": context, "stream": false });
        let answer = post(&herd.at("/api/chat"), &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        verdicts.push(answer.header("x-fleet-context").unwrap().to_owned());
        messages.push(answer.json()["message"].clone());
        let last = fake.requests().pop().unwrap();
        assert!(last["prompt_tokens"].as_u64() >= Some(500 * (turn + 1)), "nothing was cut: {last}");
    }
    let grown = verdicts.iter().filter(|verdict| *verdict == "grown").count();
    println!(
        "FIGURE loads by a conversation that grows to 6 000 tokens: Herd {} ({})",
        fake.starts(),
        verdicts.join(" ")
    );
    assert_eq!((grown, fake.starts()), (1, 2), "{verdicts:?}");
    assert!(verdicts.iter().all(|verdict| verdict == "grown" || verdict == "kept"), "{verdicts:?}");
}
