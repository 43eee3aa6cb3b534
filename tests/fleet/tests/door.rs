//! One machine, seen through its door: what apps get, and what they get when a backend fails them.

use std::sync::atomic::{AtomicUsize, Ordering};

use fleet_tests::{Fake, Herd, eventually, exchange, get, post};
use serde_json::{Value, json};

const CHAT: [(&str, bool); 4] =
    [("/api/chat", true), ("/v1/chat/completions", true), ("/api/chat", false), ("/v1/chat/completions", false)];

fn hello(model: &str, stream: bool) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }], "stream": stream, "max_tokens": 64 })
}

/// The text of an answer, whatever its form.
fn text(path: &str, answer: &fleet_tests::Answer) -> String {
    let mut said = String::new();
    if path.starts_with("/api/") {
        for line in answer.lines() {
            said.push_str(line["message"]["content"].as_str().unwrap_or(""));
        }
    } else if answer.body.starts_with("data:") {
        for event in answer.events() {
            let event: Value = serde_json::from_str(&event).unwrap_or(Value::Null);
            said.push_str(event["choices"][0]["delta"]["content"].as_str().unwrap_or(""));
        }
    } else {
        said.push_str(answer.json()["choices"][0]["message"]["content"].as_str().unwrap_or(""));
    }
    said
}

#[test]
fn an_app_gets_through_the_door_what_it_gets_directly() {
    let fake = Fake::start(&["--models", "tiny"]);
    let herd = Herd::start(&[&fake.url]);
    for (path, stream) in CHAT {
        let direct = post(&format!("{}{path}", fake.url), &hello("tiny", stream));
        let through = post(&herd.at(path), &hello("tiny", stream));
        assert_eq!(through.status, 200, "{through:?}");
        assert_eq!(through.header("content-type"), direct.header("content-type"));
        assert_eq!(text(path, &through), text(path, &direct), "{path}");
        assert!(!text(path, &through).is_empty());
        assert!(through.complete);
        for (name, value) in [
            ("x-fleet-node", "box"),
            ("x-fleet-served-model", "tiny"),
            ("x-fleet-requested-model", "tiny"),
            ("x-fleet-retries", "0"),
        ] {
            assert_eq!(through.header(name), Some(value), "{path} {name}");
        }
        let id = through.header("x-fleet-request-id").unwrap();
        let trace = herd.trace(id);
        assert_eq!(trace["status"], "completed", "{trace}");
        assert!(
            trace["completion_tokens"].as_u64().is_some_and(|tokens| tokens > 0) || (stream && path.starts_with("/v1")),
            "{trace}"
        );
    }
}

#[test]
fn lists_show_what_can_be_asked_for() {
    let (one, two) = (Fake::start(&["--models", "tiny"]), Fake::start(&["--models", "tiny,smollm2"]));
    let herd = Herd::start(&[&one.url, &two.url]);
    // Capabilities are asked for in the background; the list is the same from then on.
    let tags = eventually("a list that stays the same", || {
        let tags = get(&herd.at("/api/tags"));
        std::thread::sleep(std::time::Duration::from_millis(300));
        (get(&herd.at("/api/tags")).body == tags.body).then_some(tags)
    });
    let names: Vec<String> =
        tags.json()["models"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.iter().filter(|name| *name == "tiny:latest").count(), 1, "{names:?}");
    assert!(names.contains(&"smollm2:latest".to_owned()), "{names:?}");
    assert!(tags.header("etag").is_some());
    let again = fleet_tests::ask(&herd.at("/api/tags"), "GET", &[("If-None-Match", tags.header("etag").unwrap())], b"");
    assert_eq!(again.status, 304);
    let models = get(&herd.at("/v1/models")).json();
    assert!(models["data"].as_array().unwrap().iter().any(|row| row["id"] == "smollm2:latest"), "{models}");
    for (id, status) in
        [("tiny", 200), ("tiny:latest", 200), ("library/tiny", 200), ("library%2Ftiny", 200), ("nope", 404)]
    {
        assert_eq!(get(&herd.at(&format!("/v1/models/{id}"))).status, status, "{id}");
    }
    assert_eq!(get(&herd.at("/")).body, "Ollama is running");
    assert_eq!(fleet_tests::ask(&herd.url, "HEAD", &[], b"").status, 200);
    assert!(get(&herd.at("/api/version")).json()["herd"].is_string());
}

#[test]
fn a_backend_killed_in_mid_stream_ends_in_an_error_of_the_clients_dialect() {
    for path in
        ["/api/chat", "/api/generate", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]
    {
        let fake = Fake::start(&["--models", "tiny-loop", "--token-ms", "5"]);
        let herd = Herd::start(&[&fake.url]);
        let mut body = json!({ "model": "tiny-loop", "stream": true, "max_tokens": 100_000 });
        match path {
            "/api/generate" | "/v1/completions" => body["prompt"] = json!("hi"),
            "/v1/responses" => body["input"] = json!("hi"),
            _ => body["messages"] = json!([{ "role": "user", "content": "hi" }]),
        }
        let mut stream = exchange(&herd.at(path), &body);
        assert_eq!(stream.status(), 200, "{path}");
        let sign = match path {
            "/api/chat" | "/api/generate" => "\"done\":false",
            "/v1/responses" => "output_text.delta",
            "/v1/messages" => "content_block_delta",
            _ => "data: ",
        };
        assert!(stream.read_until(sign), "{path}");
        fake.program.signal("KILL");
        let answer = stream.finish();
        assert!(answer.complete, "{path}: a cut is not an error message");
        let last = match path {
            "/api/chat" | "/api/generate" => answer.lines().pop().unwrap(),
            _ => serde_json::from_str(&answer.events().pop().unwrap()).unwrap(),
        };
        let error = match path {
            "/v1/responses" => &last["response"]["error"],
            _ => &last["error"],
        };
        assert!(!error.is_null(), "{path}: {last}");
        assert!(!answer.body.contains("[DONE]"), "{path}");
        let id = answer.header("x-fleet-request-id").unwrap();
        assert_eq!(herd.trace(id)["status"], "incomplete", "{path}");
    }
}

#[test]
fn a_backend_that_fails_before_the_first_byte_is_not_noticed() {
    let fault = |kind: &str| json!({ "kind": kind });
    for kind in ["busy503", "runner_dies_before", "half_header", "flaky"] {
        let (bad, good) = (Fake::start(&["--models", "tiny"]), Fake::start(&["--models", "tiny"]));
        let herd = Herd::start(&[&format!("{}?name=bad", bad.url), &format!("{}?name=good", good.url)]);
        bad.fault(&if kind == "flaky" { json!({ "kind": "flaky", "after": 1 }) } else { fault(kind) });
        for _ in 0..6 {
            for (path, stream) in CHAT {
                let answer = post(&herd.at(path), &hello("tiny", stream));
                assert_eq!(answer.status, 200, "{kind} {path}: {answer:?}");
                assert_eq!(answer.header("x-fleet-backend"), Some("good"), "{kind}");
            }
        }
    }
}

#[test]
fn a_backend_killed_before_the_first_byte_is_not_noticed() {
    let (bad, good) = (Fake::start(&["--models", "tiny"]), Fake::start(&["--models", "tiny"]));
    for fake in [&bad, &good] {
        fake.load("tiny");
    }
    let herd = Herd::start(&[&format!("{}?name=bad&slots=8", bad.url), &format!("{}?name=good&slots=8", good.url)]);
    bad.fault(&json!({ "kind": "silent" }));
    let answers: Vec<_> = std::thread::scope(|scope| {
        let requests: Vec<_> =
            (0..8).map(|_| scope.spawn(|| post(&herd.at("/api/chat"), &hello("tiny", true)))).collect();
        eventually("the silent one to have drawn some", || (!bad.requests().is_empty()).then_some(()));
        bad.program.signal("KILL");
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    for answer in answers {
        assert_eq!((answer.status, answer.header("x-fleet-backend")), (200, Some("good")), "{answer:?}");
    }
}

#[test]
fn a_backend_that_hangs_loses_no_request() {
    let (bad, good) = (Fake::start(&["--models", "tiny"]), Fake::start(&["--models", "tiny"]));
    let herd = Herd::start(&[&format!("{}?name=bad&slots=8", bad.url), &format!("{}?name=good&slots=8", good.url)]);
    bad.program.signal("STOP");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let requests: Vec<_> =
            (0..8).map(|_| scope.spawn(|| post(&herd.at("/v1/chat/completions"), &hello("tiny", true)))).collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    bad.program.signal("CONT");
    for answer in answers {
        assert_eq!((answer.status, answer.header("x-fleet-backend")), (200, Some("good")), "{answer:?}");
    }
}

#[test]
fn a_thousand_streams_to_one_backend_are_all_answered() {
    let fake = Fake::start(&["--models", "tiny", "--parallel", "1000", "--token-ms", "20"]);
    let herd = Herd::start(&[&format!("{}?slots=1000", fake.url)]);
    let direct = text("/api/chat", &post(&format!("{}/api/chat", fake.url), &hello("tiny", true)));
    let whole = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..1000 {
            let thread = std::thread::Builder::new().stack_size(128 * 1024);
            let ask = || {
                let answer = post(&herd.at("/api/chat"), &hello("tiny", true));
                if answer.status == 200 && answer.complete && text("/api/chat", &answer) == direct {
                    whole.fetch_add(1, Ordering::Relaxed);
                }
            };
            thread.spawn_scoped(scope, ask).unwrap();
        }
    });
    assert_eq!(whole.load(Ordering::Relaxed), 1000);
}

#[test]
fn a_client_that_leaves_stops_the_generation() {
    let fake = Fake::start(&["--models", "tiny-loop", "--token-ms", "5"]);
    let herd = Herd::start(&[&fake.url]);
    let mut stream = exchange(&herd.at("/api/chat"), &hello("tiny-loop", true));
    assert!(stream.read_until("\"done\":false"));
    drop(stream);
    eventually("the backend to see that the client left", || {
        fake.requests()
            .last()
            .filter(|row| row["client_left"] == true || row["left"] == true || row["left_early"] == true)
            .map(|_| ())
    });
    // The slot is free again: the next one does not wait.
    let answer = post(
        &herd.at("/api/chat"),
        &json!({ "model": "tiny-loop", "messages": [{ "role": "user", "content": "hi" }], "options": { "num_predict": 3 } }),
    );
    assert_eq!(answer.status, 200);
}

#[test]
fn a_kept_connection_that_the_backend_closes_costs_nobody_an_error() {
    let fake = Fake::start(&["--models", "tiny"]);
    let herd = Herd::start(&[&fake.url]);
    fake.fault(&json!({ "kind": "close_idle" }));
    for _ in 0..50 {
        let answer = post(&herd.at("/api/chat"), &hello("tiny", false));
        assert_eq!((answer.status, answer.header("x-fleet-retries")), (200, Some("0")), "{answer:?}");
    }
}

#[test]
fn unknown_models_are_told_in_the_words_that_clients_look_for() {
    let fake = Fake::start(&["--models", "tiny"]);
    let herd = Herd::start(&[&fake.url]);
    for path in [
        "/api/chat",
        "/api/generate",
        "/api/embed",
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/messages",
        "/api/show",
    ] {
        let body = json!({
            "model": "nope", "prompt": "hi", "input": "hi", "max_tokens": 5, "messages": [{ "role": "user", "content": "hi" }],
        });
        let (direct, through) = (post(&format!("{}{path}", fake.url), &body), post(&herd.at(path), &body));
        assert_eq!(through.status, direct.status, "{path}");
        match path.starts_with("/v1") {
            // Ours says more than Ollama: `code` is what OpenAI's own clients look at.
            true => {
                for field in ["message", "type"] {
                    assert_eq!(through.json()["error"][field], direct.json()["error"][field], "{path}");
                }
            }
            false => assert_eq!(through.json(), direct.json(), "{path}"),
        }
    }
}

#[test]
fn a_fallback_serves_when_the_model_is_unknown() {
    let fake = Fake::start(&["--models", "tiny"]);
    let herd = Herd::start(&[&fake.url]);
    let mut body = hello("nope", false);
    body["fallback_models"] = json!(["tiny"]);
    body["metadata"] = json!({ "tags": ["a"] });
    let answer = post(&herd.at("/api/chat"), &body);
    assert_eq!((answer.status, answer.header("x-fleet-fallback")), (200, Some("tiny")), "{answer:?}");
    let sent = fake.requests().pop().unwrap();
    let sent: Value = match &sent["body"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    };
    assert_eq!(sent["model"], "tiny");
    assert!(sent.get("fallback_models").is_none() && sent.get("metadata").is_none(), "{sent}");
    let trace = herd.trace(answer.header("x-fleet-request-id").unwrap());
    assert_eq!((&trace["fallback_used"], &trace["tags"]), (&json!(true), &json!(["a"])), "{trace}");
}

#[test]
fn a_backend_that_starts_later_is_found() {
    let first = Fake::start(&["--models", "tiny"]);
    let port = first.port();
    let herd = Herd::start(&[&first.url]);
    drop(first);
    eventually("the end to be noticed", || {
        (get(&herd.at("/fleet/self")).json()["backends"][0]["health"] == "down").then_some(())
    });
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| post(&herd.at("/api/chat"), &hello("tiny", false)));
        let _second = Fake::start_at(port, &["--models", "tiny"]);
        let answer = waiting.join().unwrap();
        assert_eq!(answer.status, 200, "a request waits for a server that is starting: {answer:?}");
    });
}

#[test]
fn no_backend_is_said_at_once() {
    let herd = Herd::start(&[]);
    let answer = post(&herd.at("/v1/chat/completions"), &hello("tiny", true));
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("no inference server answers"), "{answer:?}");
}

#[test]
fn stopping_lets_streams_end() {
    let fake = Fake::start(&["--models", "tiny", "--token-ms", "50"]);
    let mut herd = Herd::start(&[&fake.url]);
    let mut stream = exchange(&herd.at("/api/chat"), &hello("tiny", true));
    assert!(stream.read_until("\"done\":false"));
    herd.program.signal("TERM");
    let answer = stream.finish();
    assert_eq!(answer.lines().pop().unwrap()["done"], true);
    assert_eq!(herd.program.wait(), Some(0));
}

#[test]
fn the_database_answers_the_documented_queries() {
    let fake = Fake::start(&["--models", "tiny"]);
    let herd = Herd::start(&[&fake.url]);
    let answer = post(&herd.at("/api/chat"), &hello("tiny", true));
    herd.trace(answer.header("x-fleet-request-id").unwrap());
    let database = rusqlite::Connection::open(herd.dir.path().join("latency.db")).unwrap();
    let row: (String, String, String, f64) = database
        .query_row("SELECT node_id, model, status, time_to_first_token_ms FROM request_traces", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    assert_eq!((row.0.as_str(), row.1.as_str(), row.2.as_str()), ("box", "tiny", "completed"));
    let observed: i64 = database.query_row("SELECT COUNT(*) FROM latency_observations", [], |row| row.get(0)).unwrap();
    assert_eq!(observed, 1);
    let everything = std::fs::read(herd.dir.path().join("logs/herd.jsonl")).unwrap();
    assert!(!String::from_utf8_lossy(&everything).contains("This reply"));
}
