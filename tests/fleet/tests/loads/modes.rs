//! What is done with options that describe a machine, and what is said of it.

use fleet_tests::{Fake, Herd, eventually, post};
use serde_json::{Value, json};

use crate::chat;

#[test]
fn options_that_would_load_the_model_again_are_dropped_kept_or_kept_with_a_warning() {
    // (mode, what reaches the server of num_gpu and of num_ctx, reloads, the log's level and fields)
    for (mode, kept, told) in [
        ("strip", false, Some(("INFO", "keep_alive, shift, options.num_thread, options.num_ctx"))),
        ("warn", true, Some(("WARNING", "shift, options.num_thread, options.num_ctx"))),
        ("passthrough", true, None),
    ] {
        let fake = Fake::start(&["--models", "m=long"]);
        let herd = Herd::start_with(&[&fake.url], &[("FLEET_CONTEXT_PROTECTION", mode)]);
        assert_eq!(post(&herd.at("/api/chat"), &chat("m", json!({}))).status, 200);
        let named =
            chat("m", json!({ "options": { "num_thread": 2, "num_ctx": 2000 }, "shift": false, "keep_alive": "7m" }));
        for _ in 0..3 {
            let answer = post(&herd.at("/api/chat"), &named);
            assert_eq!(answer.status, 200, "{mode}: {answer:?}");
            let ignored = answer.header("x-fleet-ignored").unwrap_or_default().to_owned();
            assert!(ignored.contains("keep_alive"), "{mode}: {ignored}");
            assert_eq!(ignored.contains("options.num_thread"), !kept, "{mode}: {ignored}");
        }
        let sent: Value = serde_json::from_str(fake.requests().pop().unwrap()["body"].as_str().unwrap()).unwrap();
        let expected = if kept { json!([2, 2000, false]) } else { json!([null, 4096, null]) };
        let got = json!([sent["options"]["num_thread"], sent["options"]["num_ctx"], sent["shift"]]);
        assert_eq!(got, expected, "{mode}: {sent}");
        assert!(sent["keep_alive"].is_null(), "{mode}: how long a model stays is never a client's to say");
        assert_eq!(fake.starts() > 1, kept, "{mode}: {} loads", fake.starts());
        let Some((level, fields)) = told else {
            assert_eq!(herd.logged("Context protection"), Vec::<Value>::new(), "{mode}");
            continue;
        };
        let said =
            eventually("the log to tell", || Some(herd.logged("Context protection")).filter(|said| !said.is_empty()));
        assert_eq!(said.len(), 1, "{mode}: once an hour: {said:?}");
        assert_eq!(
            (&said[0]["level"], &said[0]["model"], &said[0]["fields"]),
            (&json!(level), &json!("m"), &json!(fields))
        );
    }
}

#[test]
fn the_log_says_which_app_it_was() {
    let fake = Fake::start(&["--models", "m=long"]);
    let herd = Herd::start(&[&fake.url]);
    let body = chat("m", json!({ "options": { "num_gpu": 1 }, "stream": false })).to_string();
    for (agent, path) in
        [("aider/0.86", "/api/chat"), ("continue/1.2", "/v1/chat/completions"), ("aider/0.86", "/api/chat")]
    {
        let headers = [("User-Agent", agent), ("Content-Type", "application/json")];
        assert_eq!(fleet_tests::ask(&herd.at(path), "POST", &headers, body.as_bytes()).status, 200);
    }
    let said = eventually("the log to tell", || Some(herd.logged("Context protection")).filter(|said| said.len() >= 2));
    let mut apps: Vec<&str> = said.iter().map(|line| line["app"].as_str().unwrap()).collect();
    apps.sort_unstable();
    assert_eq!(apps, ["aider", "continue"], "{said:?}");
    assert!(said.iter().all(|line| line["fields"] == "options.num_gpu"), "{said:?}");
}
