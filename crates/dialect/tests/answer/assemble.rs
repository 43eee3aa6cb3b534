//! Puts the records of a stream together again, as the clients' libraries do.

use proto::Api;
use serde_json::{Map, Value, json};

/// The object that the stream `answer` of `api` adds up to, and `whole` made comparable with it: what a stream has no
/// place for is left out there.
pub(crate) fn assembled(api: Api, answer: &str, whole: &str) -> (Value, Value) {
    let mut whole: Value = serde_json::from_str(whole).unwrap();
    let stream = match api {
        Api::OllamaChat | Api::OllamaGenerate => lines(answer),
        Api::Messages => message(answer),
        Api::Responses => {
            let last = super::client::data(answer).pop().unwrap();
            last["response"].clone()
        }
        Api::Completions => completion(answer),
        _ => {
            let said = whole["choices"][0]["message"].as_object_mut().unwrap();
            for nothing in ["refusal", "annotations"] {
                said.remove(nothing).unwrap();
            }
            // Whether nothing was said or the empty text is the same to every client.
            said.entry("content").and_modify(|content| {
                if content.is_null() {
                    *content = json!("");
                }
            });
            chat(answer)
        }
    };
    (stream, whole)
}

/// Adds the text in `from` to that in `to`.
fn add(to: &mut Value, from: &Value) {
    let Some(more) = from.as_str() else { return };
    *to = json!(format!("{}{more}", to.as_str().unwrap_or_default()));
}

fn add_all(to: &mut Value, from: &Value) {
    let Some(more) = from.as_array() else { return };
    let all = to.as_array().into_iter().flatten().chain(more).cloned().collect();
    *to = Value::Array(all);
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

fn lines(answer: &str) -> Value {
    let lines: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut whole = lines.last().unwrap().clone();
    let (mut said, mut logprobs) = (Map::new(), Value::Null);
    for line in &lines {
        let message = line.get("message").unwrap_or(line);
        for text in ["content", "response", "thinking"] {
            if message[text].is_string() {
                add(said.entry(text).or_insert(Value::Null), &message[text]);
            }
        }
        if message["tool_calls"].is_array() {
            add_all(said.entry("tool_calls").or_insert(Value::Null), &message["tool_calls"]);
        }
        add_all(&mut logprobs, &line["logprobs"]);
    }
    let into = if whole["message"].is_object() { &mut whole["message"] } else { &mut whole };
    into.as_object_mut().unwrap().extend(said);
    if logprobs.is_array() {
        whole["logprobs"] = logprobs;
    }
    whole
}

/// The chunks of `answer`, and an object with what all of them repeat and the usage.
fn chunks(answer: &str) -> (Vec<Value>, Value) {
    let mut chunks = super::client::data(answer);
    assert_eq!(chunks.pop().unwrap(), "[DONE]");
    let mut whole = without(without(chunks[0].clone(), "choices"), "usage");
    let last = chunks.last().unwrap();
    if last["choices"] == json!([]) {
        whole["usage"] = last["usage"].clone();
        chunks.pop();
    }
    (chunks, whole)
}

fn chat(answer: &str) -> Value {
    let (chunks, mut whole) = chunks(answer);
    whole["object"] = json!("chat.completion");
    let mut message = json!({"content": ""});
    let (mut finish, mut logprobs, mut calls) = (Value::Null, Value::Null, Vec::<Value>::new());
    for chunk in &chunks {
        let choice = &chunk["choices"][0];
        let delta = choice["delta"].as_object().unwrap();
        for (name, more) in delta {
            match &**name {
                "tool_calls" => {
                    for call in more.as_array().unwrap() {
                        if call["index"].as_u64().unwrap() as usize == calls.len() {
                            calls.push(without(call.clone(), "index"));
                        } else {
                            add(
                                &mut calls.last_mut().unwrap()["function"]["arguments"],
                                &call["function"]["arguments"],
                            );
                        }
                    }
                }
                _ => add(&mut message[name], more),
            }
        }
        if choice["logprobs"].is_object() {
            let mut all = logprobs["content"].take();
            add_all(&mut all, &choice["logprobs"]["content"]);
            logprobs = json!({"content": all, "refusal": null});
        }
        finish = choice["finish_reason"].clone();
    }
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    whole["choices"] = json!([{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}]);
    whole
}

fn completion(answer: &str) -> Value {
    let (chunks, mut whole) = chunks(answer);
    let (mut text, mut finish, mut logprobs) = (json!(""), Value::Null, Value::Null);
    for chunk in &chunks {
        let choice = &chunk["choices"][0];
        add(&mut text, &choice["text"]);
        for (name, more) in choice["logprobs"].as_object().into_iter().flatten() {
            let mut all = logprobs[name].take();
            add_all(&mut all, more);
            logprobs[name] = all;
        }
        finish = choice["finish_reason"].clone();
    }
    whole["choices"] = json!([{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish}]);
    whole
}

fn message(answer: &str) -> Value {
    let (mut whole, mut blocks, mut arguments) = (Value::Null, Vec::<Value>::new(), json!(""));
    for event in super::client::data(answer) {
        match event["type"].as_str().unwrap() {
            "message_start" => whole = event["message"].clone(),
            "content_block_start" => {
                blocks.push(event["content_block"].clone());
                arguments = json!("");
            }
            "content_block_delta" => {
                let block = blocks.last_mut().unwrap();
                for text in ["text", "thinking"] {
                    if event["delta"][text].is_string() {
                        add(&mut block[text], &event["delta"][text]);
                    }
                }
                add(&mut arguments, &event["delta"]["partial_json"]);
            }
            "content_block_stop" => {
                let block = blocks.last_mut().unwrap();
                if block["type"] == "tool_use" && arguments != "" {
                    block["input"] = serde_json::from_str(arguments.as_str().unwrap()).unwrap();
                }
            }
            "message_delta" => {
                for (place, more) in [("usage", &event["usage"]), ("", &event["delta"])] {
                    let into = if place.is_empty() { &mut whole } else { &mut whole[place] };
                    into.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                }
            }
            _ => {}
        }
    }
    whole["content"] = json!(blocks);
    whole
}
