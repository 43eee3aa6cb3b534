//! Conversations of stored Responses through the door, as OpenAI's clients hold them.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

use fleet_tests::{Answer, Fake, Herd, ask, get, post};
use parts::engine;
use parts::tiny_gguf::{self, SAYS, Variant};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn house() -> (Fake, Herd) {
    let fake = Fake::start(&["--models", "tiny"]);
    let herd = Herd::start(&[&fake.url]);
    (fake, herd)
}

/// One turn; the response object, whether it was streamed or not.
fn turn(herd: &Herd, mut more: Value, previous: Option<&str>) -> Value {
    more["model"] = json!("tiny");
    if let Some(previous) = previous {
        more["previous_response_id"] = json!(previous);
    }
    let answer = post(&herd.at("/v1/responses"), &more);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-fleet-ignored"), None, "{answer:?}");
    if more["stream"] != true {
        return answer.json();
    }
    let events: Vec<Value> = answer.events().iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    for event in events.iter().filter(|event| !event["response"].is_null()) {
        assert_eq!(event["response"]["previous_response_id"], json!(previous), "{event}");
    }
    events.last().unwrap()["response"].clone()
}

fn refused(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json()["error"].clone())
}

/// The messages that the fake was asked to go on from, newest last.
fn told(fake: &Fake) -> Vec<(String, String)> {
    let asked = fake.requests().pop().unwrap();
    let body = match &asked["body"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        body => body.clone(),
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    body["messages"].as_array().unwrap().iter().map(|said| (text(&said["role"]), text(&said["content"]))).collect()
}

#[test]
fn a_conversation_is_gone_on_with_by_naming_its_last_response() {
    let (fake, herd) = house();
    let mut previous: Option<String> = None;
    let mut said: Vec<(String, String)> = Vec::new();
    for (at, stream) in [false, true, false, true].into_iter().enumerate() {
        let question = format!("question {at}");
        let mut request = json!({ "input": question, "stream": stream });
        if at == 0 {
            request["instructions"] = json!("be brief");
        }
        let response = turn(&herd, request, previous.as_deref());
        assert_eq!((&response["status"], &response["store"]), (&json!("completed"), &json!(true)), "{response}");
        assert_eq!(response["previous_response_id"], json!(previous));
        said.push(("user".to_owned(), question));
        let mut told = told(&fake);
        if at == 0 {
            // Instructions are for one turn.
            assert_eq!(told.remove(0), ("system".to_owned(), "be brief".to_owned()));
        }
        assert_eq!(told, said, "turn {at}");
        let text = response["output"][0]["content"][0]["text"].as_str().unwrap().to_owned();
        said.push(("assistant".to_owned(), text));
        let id = response["id"].as_str().unwrap().to_owned();
        assert_eq!(get(&herd.at(&format!("/v1/responses/{id}"))).json(), response);
        previous = Some(id);
    }
    let id = previous.unwrap();
    let list = get(&herd.at(&format!("/v1/responses/{id}/input_items?order=asc"))).json();
    assert_eq!(list["data"].as_array().unwrap().len(), said.len() - 1, "{list}");

    let deleted = ask(&herd.at(&format!("/v1/responses/{id}")), "DELETE", &[], b"");
    assert_eq!((deleted.status, &deleted.json()["deleted"]), (200, &json!(true)));
    let again = json!({ "model": "tiny", "input": "x", "previous_response_id": id });
    let (status, error) = refused(&post(&herd.at("/v1/responses"), &again));
    assert_eq!((status, &error["code"]), (400, &json!("previous_response_not_found")));
    assert!(error["message"].as_str().unwrap().contains(&id), "{error}");
}

#[test]
fn what_shall_not_be_stored_is_not() {
    let (_fake, herd) = house();
    let response = turn(&herd, json!({ "input": "hi", "store": false }), None);
    assert_eq!(response["store"], false);
    let answer = get(&herd.at(&format!("/v1/responses/{}", response["id"].as_str().unwrap())));
    let (status, error) = refused(&answer);
    assert_eq!((status, &error["type"]), (404, &json!("not_found_error")));
}

#[test]
fn what_was_not_used_for_the_longest_time_makes_room() {
    let (_fake, herd) = house();
    // What no model is told, and is kept all the same.
    let with = |bytes: usize| {
        let numbers = vec![1_234_567_890_123_456_789_u64; bytes / 20];
        json!({ "input": [{ "role": "user", "content": "hi", "created_by": numbers }] })
    };
    let is_kept =
        |response: &Value| get(&herd.at(&format!("/v1/responses/{}", response["id"].as_str().unwrap()))).status == 200;
    let first = turn(&herd, json!({ "input": "the first" }), None);
    // Eight of these are almost all that may be kept.
    let mut large: Vec<Value> = (0..8).map(|_| turn(&herd, with(8_300_000), None)).collect();
    assert!(large.iter().all(is_kept) && is_kept(&first));
    large.push(turn(&herd, with(8_300_000), None));
    assert!(is_kept(&first), "it was looked at last");
    assert!(!is_kept(&large[0]) && large[1..].iter().all(is_kept));
    // What is larger than an eighth of all is answered, and not kept.
    let larger = turn(&herd, with(8_500_000), None);
    assert!(!is_kept(&larger) && is_kept(&large[8]));
}

#[test]
fn tokens_of_a_conversation_are_estimated() {
    let (_fake, herd) = house();
    let first = turn(&herd, json!({ "input": "one two three four" }), None);
    let count = |request: &Value| {
        let answer = post(&herd.at("/v1/responses/input_tokens"), request);
        assert_eq!(answer.header("x-fleet-estimated"), Some("input_tokens"), "{answer:?}");
        answer.json()["input_tokens"].as_u64().unwrap()
    };
    let alone = count(&json!({ "model": "tiny", "input": "five" }));
    let continued = count(&json!({ "model": "tiny", "input": "five", "previous_response_id": first["id"] }));
    assert!(alone > 0 && continued > alone, "{alone} {continued}");
    let unknown = post(&herd.at("/v1/responses/input_tokens"), &json!({ "model": "nobody", "input": "x" }));
    assert_eq!(refused(&unknown).0, 404);
}

/// As much as Codex sends at "hi".
fn like_codex() -> Value {
    let tool = |at: usize| {
        json!({ "type": "function", "name": format!("tool_{at}"), "strict": false,
            "description": format!("{at} Runs a command and tells what it said. ").repeat(20),
            "parameters": { "type": "object", "properties": { "command": { "type": "array" } } } })
    };
    json!({
        "model": "tiny", "stream": true, "store": false, "parallel_tool_calls": true, "tool_choice": "auto",
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "reasoning": { "summary": "auto" },
        // Most of it where no model reads it: this one has a small context.
        "client_metadata": { "about": (0..8_000).map(|at| format!("{:x},", at * 7_919 % 4_096)).collect::<String>() },
        "tools": (0..5).map(tool).collect::<Vec<_>>(),
        "input": [{ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "hi" }] }],
    })
}

#[test]
fn a_packed_request_is_answered_like_a_plain_one() {
    let (fake, herd) = house();
    let plain = like_codex().to_string();
    assert!((36_000..46_000).contains(&plain.len()), "{}", plain.len());
    let packed = compress_to_vec(plain.as_bytes(), CompressionLevel::Fastest);
    let answer = ask(&herd.at("/v1/responses"), "POST", &[JSON, ("Content-Encoding", "zstd")], &packed);
    assert!(answer.status == 200 && answer.body.contains("response.completed"), "{answer:?}");
    assert_eq!(told(&fake), [("user".to_owned(), "hi".to_owned())]);
    let trace = herd.trace(answer.header("x-fleet-request-id").unwrap());
    assert_eq!(trace["status"], "completed", "{trace}");
    // Each four bytes become 128 KiB of blanks.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x50];
    for _ in 0..10_000 {
        bomb.extend_from_slice(&[0x02, 0x00, 0x10, b' ']);
    }
    let before = herd.memory();
    for _ in 0..20 {
        let answer = ask(&herd.at("/v1/responses"), "POST", &[JSON, ("Content-Encoding", "zstd")], &bomb);
        let (status, error) = refused(&answer);
        assert_eq!((status, &error["type"]), (413, &json!("invalid_request_error")), "{answer:?}");
    }
    assert!(herd.memory() < before + (64 << 20), "{} {before}", herd.memory());
}

#[test]
fn a_conversation_moves_between_an_ollama_and_a_llama_server() {
    let Some(engine) = engine::find().unwrap() else {
        eprintln!("SKIPPED: no llama-server here; `cargo xtask test` fetches one");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let model = directory.path().join(Variant::Says.file_name());
    tiny_gguf::write(&model, Variant::Says).unwrap();
    let running = engine.start(&model, &["--alias", "engine", "--jinja"]).unwrap();
    let fake = Fake::start(&["--models", "thinker"]);
    let herd = Herd::start(&[&running.url(), &fake.url]);
    let mut previous: Option<Value> = None;
    for (at, (model, stream)) in
        [("engine", false), ("thinker", false), ("engine", true), ("thinker", true), ("engine", false)]
            .into_iter()
            .enumerate()
    {
        let mut request = json!({ "model": model, "stream": stream, "input": "Hello?" });
        if let Some(previous) = &previous {
            request["previous_response_id"] = previous["id"].clone();
        }
        let answer = post(&herd.at("/v1/responses"), &request);
        assert_eq!(answer.status, 200, "turn {at}: {answer:?}");
        let response = match stream {
            true => serde_json::from_str::<Value>(answer.events().last().unwrap()).unwrap()["response"].clone(),
            false => answer.json(),
        };
        assert_eq!(response["store"], true, "turn {at}: {response}");
        assert_eq!(response["previous_response_id"], request["previous_response_id"], "turn {at}");
        let id = response["id"].as_str().unwrap();
        assert_eq!(get(&herd.at(&format!("/v1/responses/{id}"))).json(), response, "turn {at}");
        let items = get(&herd.at(&format!("/v1/responses/{id}/input_items?limit=100"))).json();
        // Thinking is an item of its own.
        assert_eq!(items["data"].as_array().unwrap().len(), [1, 3, 6, 8, 11][at], "turn {at}: {items}");
        if model == "engine" {
            let output = response["output"].to_string();
            assert!(output.contains(SAYS.trim()), "turn {at}: {output}");
        }
        previous = Some(response);
    }
}
