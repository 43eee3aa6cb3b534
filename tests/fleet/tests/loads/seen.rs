//! What people see while somebody waits, and what waiting clients get.

use fleet_tests::{Answer, Fake, Herd, eventually, exchange, get, post};
use serde_json::{Value, json};

use crate::chat;

#[test]
fn whoever_waits_for_another_model_is_told_why_and_for_how_long() {
    // `a` speaks for half a minute, longer than headers are held back.
    let flags =
        ["--models", "a=long,b=long", "--max-loaded", "1", "--load-ms", "400", "--token-ms", "100", "--tokens", "250"];
    let fake = Fake::start(&flags);
    let herd = Herd::start(&[&format!("{}?models=1", fake.url)]);
    let mut running = exchange(&herd.at("/api/chat"), &chat("a", json!({})));
    assert!(running.read_until("\"content\""));
    std::thread::scope(|scope| {
        let ollama =
            scope.spawn(|| post(&herd.at("/api/chat"), &chat("b", json!({ "options": { "num_predict": 2 } }))));
        let openai = scope
            .spawn(|| post(&herd.at("/v1/chat/completions"), &chat("b", json!({ "stream": true, "max_tokens": 2 }))));
        let anthropic =
            scope.spawn(|| post(&herd.at("/v1/messages"), &chat("b", json!({ "stream": true, "max_tokens": 2 }))));
        let row = eventually("b to be seen waiting", || {
            let all = get(&herd.at("/fleet/ps")).json();
            all.as_array()?.iter().find(|row| row["name"] == "b:latest" && row["waiting"] == 3).cloned()
        });
        assert_eq!(row["state"], "waiting", "{row}");
        assert!(row["reason"].as_str().unwrap().starts_with("waiting for a to finish 1 answer, then loads"), "{row}");
        let table = herd.command(&["ps"]);
        let line = table.lines().find(|line| line.starts_with("b:latest")).unwrap_or_else(|| panic!("{table}"));
        assert!(line.contains("waiting for a to finish 1 answer, then loads"), "{table}");
        let queue = get(&herd.at("/fleet/queue")).json();
        assert!(queue.to_string().contains("waiting for a to finish"), "{queue}");

        for (answer, beat, content) in [
            (ollama.join().unwrap(), "\"content\":\"\"},\"done\":false", "\"content\":\"A\""),
            (openai.join().unwrap(), ": waiting", "\"content\":\"A\""),
            (anthropic.join().unwrap(), "event: ping", "text_delta"),
        ] {
            assert!(answer.complete && answer.body.contains(beat) && answer.body.contains(content), "{answer:?}");
            assert!(answer.body.find(beat) < answer.body.find(content), "{answer:?}");
            tells_afterwards(&herd, &answer);
        }
    });
    let all = running.finish();
    assert_eq!(all.lines().last().unwrap()["eval_count"], 251, "nobody's answer is cut for another model");
}

fn tells_afterwards(herd: &Herd, answer: &Answer) {
    let id = answer.header("x-fleet-request-id").unwrap();
    let trace = herd.trace(id);
    assert!(trace["queued_ms"].as_f64() >= trace["loaded_ms"].as_f64(), "{trace}");
    assert!(trace["loaded_ms"].as_f64() > Some(0.0), "{trace}");
    let told = herd.command(&["why", id]);
    assert!(told.contains("It waited ") && told.contains(" of that until the model was loaded."), "{told}");
}

#[test]
fn a_model_that_is_loaded_again_with_more_context_is_told_in_the_story() {
    let fake = Fake::start(&["--models", "m=long"]);
    let herd = Herd::start(&[&fake.url]);
    assert_eq!(post(&herd.at("/api/chat"), &chat("m", json!({}))).status, 200);
    let long = json!({ "messages": [{ "role": "user", "content": crate::prompt(6000) }], "stream": false });
    let answer = post(&herd.at("/api/chat"), &chat("m", long));
    let id = answer.header("x-fleet-request-id").unwrap();
    herd.trace(id);
    let told = herd.command(&["why", id]);
    assert!(told.contains("The model was loaded again with a context of "), "{told}");
    let row: Value = get(&herd.at("/fleet/ps")).json()[0].clone();
    assert!(row["loaded"]["context"].as_u64() >= Some(8192), "{row}");
}
