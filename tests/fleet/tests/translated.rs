//! Clients of one dialect in front of a real `llama-server` that speaks another.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

use fleet_tests::{Answer, Herd, get, post};
use parts::engine::{self, Running};
use parts::tiny_gguf::{self, SAYS, Variant};
use serde_json::{Value, json};

/// A `llama-server` with the tiny model, and a Herd in front of it, where there is one to be had.
fn house(variant: Variant) -> Option<(Running, tempfile::TempDir, Herd)> {
    let Some(engine) = engine::find().unwrap() else {
        eprintln!("SKIPPED: no llama-server here; `cargo xtask test` fetches one");
        return None;
    };
    let directory = tempfile::tempdir().unwrap();
    let model = directory.path().join(variant.file_name());
    tiny_gguf::write(&model, variant).unwrap();
    let running = engine.start(&model, &["--alias", "tiny", "--jinja"]).unwrap();
    let herd = Herd::start(&[&running.url()]);
    Some((running, directory, herd))
}

fn chat(more: Value) -> Value {
    let mut body = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "Hello?" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn said(answer: &Answer) -> String {
    answer.lines().iter().filter_map(|line| line["message"]["content"].as_str().map(str::to_owned)).collect()
}

#[test]
fn an_ollama_client_talks_to_a_llama_server() {
    let Some((_running, _directory, herd)) = house(Variant::Says) else { return };
    let streamed = post(&herd.at("/api/chat"), &chat(json!({ "keep_alive": "5m", "options": { "num_predict": 64 } })));
    assert_eq!((streamed.status, streamed.header("content-type")), (200, Some("application/x-ndjson")), "{streamed:?}");
    assert_eq!(said(&streamed).trim(), SAYS.trim());
    assert_eq!(streamed.header("x-fleet-ignored"), Some("keep_alive"));
    let last = streamed.lines().pop().unwrap();
    assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("stop")), "{last}");
    assert!(last["eval_count"].as_u64().unwrap() > 0 && last["eval_duration"].as_u64().unwrap() > 0, "{last}");
    let whole = post(&herd.at("/api/chat"), &chat(json!({ "stream": false })));
    assert_eq!(whole.json()["message"]["content"].as_str().unwrap().trim(), SAYS.trim());
    let generated = post(&herd.at("/api/generate"), &json!({ "model": "tiny", "prompt": "Hello?", "stream": false }));
    assert_eq!(generated.json()["response"].as_str().unwrap().trim(), SAYS.trim(), "{generated:?}");
    let shown = post(&herd.at("/api/show"), &json!({ "model": "tiny" })).json();
    assert!(shown["model_info"]["general.architecture"].is_string(), "{shown}");
    // Ollama's command line panics over a model without a digest.
    let lists = [get(&herd.at("/api/tags")).json(), get(&herd.at("/api/ps")).json()];
    for model in lists.iter().map(|list| &list["models"][0]) {
        let digest = model["digest"].as_str().unwrap();
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{model}");
        assert_eq!((&model["name"], &model["digest"]), (&json!("tiny"), &lists[0]["models"][0]["digest"]));
    }
    let trace = herd.trace(streamed.header("x-fleet-request-id").unwrap());
    assert!(trace["completion_tokens"].as_u64().unwrap() > 0, "{trace}");
}

#[test]
fn an_ollama_client_gets_tool_calls_and_schemas_from_a_llama_server() {
    let Some((_running, _directory, herd)) = house(Variant::AlwaysCall) else { return };
    let tools = json!([{ "type": "function", "function": {
        "name": "weather",
        "parameters": { "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] },
    } }]);
    for stream in [true, false] {
        let answer = post(&herd.at("/api/chat"), &chat(json!({ "tools": tools, "stream": stream })));
        let calls: Vec<Value> = answer
            .lines()
            .iter()
            .flat_map(|line| line["message"]["tool_calls"].as_array().cloned().unwrap_or_default())
            .collect();
        assert_eq!(calls.len(), 1, "{answer:?}");
        assert_eq!(calls[0]["function"]["name"], "weather");
        assert!(calls[0]["function"]["arguments"].is_object(), "{calls:?}");
    }
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    let answer = post(&herd.at("/api/chat"), &chat(json!({ "format": schema, "stream": false })));
    let text = answer.json()["message"]["content"].as_str().unwrap().to_owned();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert!(value["n"].is_i64(), "{text}");
}

#[test]
fn a_field_that_cannot_be_had_is_refused_by_its_name() {
    let Some((_running, _directory, herd)) = house(Variant::Says) else { return };
    let picture = json!([{ "role": "user", "content": "x", "images": ["not base64!"] }]);
    for (more, named) in [(json!({ "think": "extreme" }), "think"), (json!({ "messages": picture }), "image")] {
        let answer = post(&herd.at("/api/chat"), &chat(more));
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!((400..=501).contains(&answer.status) && error.contains(named), "{named}: {answer:?}");
    }
    let unknown = post(&herd.at("/api/embed"), &json!({ "model": "tiny", "input": "x" }));
    assert_eq!(unknown.status, 501, "{unknown:?}");
}

#[test]
fn an_engine_that_dies_in_mid_translation_ends_in_an_error_line() {
    let Some((running, _directory, herd)) = house(Variant::Loop) else { return };
    let mut stream =
        fleet_tests::exchange(&herd.at("/api/chat"), &chat(json!({ "options": { "num_predict": 100_000 } })));
    assert!(stream.read_until("\"done\":false"));
    drop(running);
    let answer = stream.finish();
    assert!(answer.complete, "a cut is not an error message");
    let last = answer.lines().pop().unwrap();
    assert!(last["error"].is_string() || last["done"] == true, "{last}");
}
