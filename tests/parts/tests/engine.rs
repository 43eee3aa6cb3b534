//! The tiny models in a real llama-server, where one is here: `cargo xtask test` fetches it, plain `cargo test` does not.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

use std::io::Read;
use std::time::Duration;

use parts::engine::{self, Running};
use parts::http;
use parts::tiny_gguf::{self, SAYS, Variant};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn start(variant: Variant, args: &[&str]) -> Option<(Running, tempfile::TempDir)> {
    let Some(engine) = engine::find().unwrap() else {
        eprintln!("SKIPPED: no llama-server here; `cargo xtask test` fetches one");
        return None;
    };
    let directory = tempfile::tempdir().unwrap();
    let model = directory.path().join(variant.file_name());
    tiny_gguf::write(&model, variant).unwrap();
    Some((engine.start(&model, args).unwrap(), directory))
}

fn post(running: &Running, path: &str, body: &Value) -> Value {
    let mut answer = http::call(running.addr, "POST", path, &[], body.to_string().as_bytes(), PATIENCE).unwrap();
    let text = answer.text().unwrap();
    assert_eq!(answer.status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn chat(running: &Running, more: Value) -> Value {
    let mut body = json!({"model": "tiny", "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 400});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    post(running, "/v1/chat/completions", &body)
}

fn weather_tool() -> Value {
    json!([{"type": "function", "function": {
        "name": "weather",
        "description": "Tells the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }}])
}

#[test]
fn the_tiny_model_says_its_sentence_and_keeps_to_schemas_and_tools() {
    let Some((running, _directory)) = start(Variant::Says, &[]) else { return };
    for _ in 0..5 {
        let plain = chat(&running, json!({}));
        assert_eq!(plain["choices"][0]["message"]["content"], SAYS);
        assert_eq!(plain["choices"][0]["finish_reason"], "stop");

        let schema = json!({"type": "object", "properties": {
            "name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        }, "required": ["name", "age", "tags"]});
        let shaped = chat(
            &running,
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}}),
        );
        let content = shaped["choices"][0]["message"]["content"].as_str().unwrap();
        let value: Value = serde_json::from_str(content).unwrap_or_else(|error| panic!("{error}: {content}"));
        assert!(value["name"].is_string() && value["age"].is_i64() && value["tags"].is_array(), "{value}");
        assert_eq!(shaped["choices"][0]["finish_reason"], "stop");

        let forced = chat(&running, json!({"tools": weather_tool(), "tool_choice": "required"}));
        let call = &forced["choices"][0]["message"]["tool_calls"][0]["function"];
        assert_eq!(call["name"], "weather", "{forced}");
        assert!(serde_json::from_str::<Value>(call["arguments"].as_str().unwrap()).unwrap()["city"].is_string());
        assert_eq!(forced["choices"][0]["finish_reason"], "tool_calls");

        let free = chat(&running, json!({"tools": weather_tool()}));
        assert_eq!(free["choices"][0]["message"]["content"], SAYS, "{free}");
    }
}

#[test]
fn the_eager_variant_calls_a_tool_unasked() {
    let Some((running, _directory)) = start(Variant::AlwaysCall, &[]) else { return };
    for _ in 0..5 {
        let answer = chat(&running, json!({"tools": weather_tool()}));
        assert_eq!(answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "weather", "{answer}");
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    }
}

#[test]
fn the_endless_variant_goes_on_until_it_is_cut() {
    let Some((running, _directory)) = start(Variant::Loop, &[]) else { return };
    let cut = chat(&running, json!({"max_tokens": 100}));
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
    assert_eq!(cut["usage"]["completion_tokens"], 100);
    let body = json!({"model": "tiny", "stream": true, "messages": [{"role": "user", "content": "Hello?"}]});
    let mut stream =
        http::call(running.addr, "POST", "/v1/chat/completions", &[], body.to_string().as_bytes(), PATIENCE).unwrap();
    let mut some = [0; 4096];
    stream.read_exact(&mut some).unwrap();
    assert!(String::from_utf8_lossy(&some).contains("data: "));
}

#[test]
fn different_texts_have_different_embeddings() {
    let Some((running, _directory)) = start(Variant::Says, &["--embeddings", "--pooling", "mean"]) else { return };
    let answer = post(&running, "/v1/embeddings", &json!({"model": "tiny", "input": ["one", "two"]}));
    let vector = |place: usize| answer["data"][place]["embedding"].as_array().unwrap().clone();
    assert_eq!(vector(0).len(), 128);
    assert_ne!(vector(0), vector(1));
    assert_eq!(chat(&running, json!({}))["choices"][0]["message"]["content"], SAYS, "the same server still chats");
}
