//! Says answers as backends do.

use proto::Api;
use serde_json::{Value, json};

/// What a model does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Think(String),
    Say(String),
    /// A call: id (may be empty), name, arguments.
    Call(String, String, Value),
}

pub(crate) fn think(text: &str) -> Act {
    Act::Think(text.to_owned())
}

pub(crate) fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

pub(crate) fn call(id: &str, name: &str, arguments: Value) -> Act {
    Act::Call(id.to_owned(), name.to_owned(), arguments)
}

/// An answer as `api` gives it, streamed or whole. `reason` is Ollama's or OpenAI's word alike.
pub(crate) fn answer(api: Api, stream: bool, acts: &[Act], reason: &str) -> Vec<u8> {
    match (api, stream) {
        (Api::OllamaChat | Api::OllamaGenerate, true) => ollama_stream(api, acts, reason),
        (Api::OllamaChat | Api::OllamaGenerate, false) => ollama_whole(api, acts, reason),
        (Api::Completions, _) => completions(stream, acts, reason),
        (_, true) => chat_stream(acts, reason),
        (_, false) => chat_whole(acts, reason),
    }
}

fn joined(acts: &[Act], pick: impl Fn(&Act) -> Option<&str>) -> String {
    acts.iter().filter_map(pick).collect()
}

fn said(act: &Act) -> Option<&str> {
    if let Act::Say(text) = act { Some(text) } else { None }
}

fn thought(act: &Act) -> Option<&str> {
    if let Act::Think(text) = act { Some(text) } else { None }
}

fn ollama_message(api: Api, text: &str, thinking: &str, calls: Vec<Value>) -> Value {
    let mut message = json!({"content": text});
    if !thinking.is_empty() {
        message["thinking"] = json!(thinking);
    }
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    let mut record = json!({"model": "there", "created_at": "2026-11-21T11:30:55.353774294Z"});
    if api == Api::OllamaChat {
        message["role"] = json!("assistant");
        record["message"] = message;
    } else {
        record["response"] = json!(text);
        if !thinking.is_empty() {
            record["thinking"] = json!(thinking);
        }
    }
    record
}

fn ollama_call(index: usize, id: &str, name: &str, arguments: &Value) -> Value {
    let mut call = json!({"function": {"index": index, "name": name, "arguments": arguments}});
    if !id.is_empty() {
        call["id"] = json!(id);
    }
    call
}

fn ollama_stats(record: &mut Value, reason: &str) {
    record["done"] = json!(true);
    record["done_reason"] = json!(reason);
    for (name, value) in [
        ("total_duration", 258_945_499),
        ("load_duration", 252_861_755),
        ("prompt_eval_count", 21),
        ("prompt_eval_duration", 1_142_000),
        ("eval_count", 11),
        ("eval_duration", 1_575_000),
    ] {
        record[name] = json!(value);
    }
}

fn ollama_stream(api: Api, acts: &[Act], reason: &str) -> Vec<u8> {
    let mut out = String::new();
    let mut calls = 0;
    for act in acts {
        let mut record = match act {
            Act::Think(text) => ollama_message(api, "", text, vec![]),
            Act::Say(text) => ollama_message(api, text, "", vec![]),
            Act::Call(id, name, arguments) => {
                calls += 1;
                ollama_message(api, "", "", vec![ollama_call(calls - 1, id, name, arguments)])
            }
        };
        record["done"] = json!(false);
        out += &format!("{record}\n");
    }
    let mut last = ollama_message(api, "", "", vec![]);
    ollama_stats(&mut last, reason);
    out += &format!("{last}\n");
    out.into_bytes()
}

fn ollama_whole(api: Api, acts: &[Act], reason: &str) -> Vec<u8> {
    let calls = acts.iter().filter_map(|act| match act {
        Act::Call(id, name, arguments) => Some((id, name, arguments)),
        Act::Think(_) | Act::Say(_) => None,
    });
    let calls = calls.enumerate().map(|(index, (id, name, arguments))| ollama_call(index, id, name, arguments));
    let mut record = ollama_message(api, &joined(acts, said), &joined(acts, thought), calls.collect());
    ollama_stats(&mut record, reason);
    record.to_string().into_bytes()
}

fn timings() -> Value {
    json!({"cache_n": 16, "prompt_n": 5, "prompt_ms": 261.198, "predicted_n": 11, "predicted_ms": 116.198})
}

fn usage() -> Value {
    json!({"completion_tokens": 11, "prompt_tokens": 21, "total_tokens": 32, "prompt_tokens_details": {"cached_tokens": 16}})
}

fn chat_stream(acts: &[Act], reason: &str) -> Vec<u8> {
    let mut out = String::new();
    let mut chunk = |choices: Value, more: &[(&str, Value)]| {
        let mut chunk = json!({"choices": choices, "created": 1, "id": "chatcmpl-x", "model": "there", "object": "chat.completion.chunk"});
        for (name, value) in more {
            chunk[name] = value.clone();
        }
        out += &format!("data: {chunk}\n\n");
    };
    let delta = |delta: Value| json!([{"finish_reason": null, "index": 0, "delta": delta}]);
    chunk(delta(json!({"role": "assistant", "content": null})), &[]);
    let mut calls = 0;
    for act in acts {
        match act {
            Act::Think(text) => chunk(delta(json!({"reasoning_content": text})), &[]),
            Act::Say(text) => chunk(delta(json!({"content": text})), &[]),
            Act::Call(id, name, arguments) => {
                let arguments = arguments.to_string();
                let middle = (arguments.len() / 2..).find(|&at| arguments.is_char_boundary(at)).unwrap();
                let (start, end) = arguments.split_at(middle);
                let first = json!({"index": calls, "id": id, "type": "function", "function": {"name": name, "arguments": start}});
                chunk(delta(json!({"tool_calls": [first]})), &[]);
                let rest = json!({"index": calls, "function": {"arguments": end}});
                chunk(delta(json!({"tool_calls": [rest]})), &[]);
                calls += 1;
            }
        }
    }
    chunk(json!([{"finish_reason": openai_reason(acts, reason), "index": 0, "delta": {}}]), &[]);
    chunk(json!([]), &[("usage", usage()), ("timings", timings())]);
    out += "data: [DONE]\n\n";
    out.into_bytes()
}

fn openai_reason<'a>(acts: &[Act], reason: &'a str) -> &'a str {
    if reason == "stop" && acts.iter().any(|act| matches!(act, Act::Call(..))) { "tool_calls" } else { reason }
}

fn chat_whole(acts: &[Act], reason: &str) -> Vec<u8> {
    let mut message = json!({"role": "assistant", "content": joined(acts, said)});
    let thinking = joined(acts, thought);
    if !thinking.is_empty() {
        message["reasoning_content"] = json!(thinking);
    }
    let calls = acts.iter().filter_map(|act| match act {
        Act::Call(id, name, arguments) => {
            let function = json!({"name": name, "arguments": arguments.to_string()});
            Some(json!({"type": "function", "id": id, "function": function}))
        }
        Act::Think(_) | Act::Say(_) => None,
    });
    let calls: Vec<Value> = calls.collect();
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    let choice = json!({"finish_reason": openai_reason(acts, reason), "index": 0, "message": message});
    json!({"choices": [choice], "created": 1, "model": "there", "object": "chat.completion", "usage": usage(), "timings": timings()})
        .to_string()
        .into_bytes()
}

fn completions(stream: bool, acts: &[Act], reason: &str) -> Vec<u8> {
    let choice =
        |text: &str, reason: Value| json!([{"text": text, "index": 0, "logprobs": null, "finish_reason": reason}]);
    if !stream {
        let choices = choice(&joined(acts, said), json!(reason));
        return json!({"choices": choices, "object": "text_completion", "usage": usage(), "timings": timings()})
            .to_string()
            .into_bytes();
    }
    let mut out = String::new();
    for text in acts.iter().filter_map(said) {
        out += &format!("data: {}\n\n", json!({"choices": choice(text, Value::Null), "object": "text_completion"}));
    }
    let last = json!({"choices": choice("", json!(reason)), "usage": usage(), "timings": timings()});
    out += &format!("data: {last}\n\ndata: [DONE]\n\n");
    out.into_bytes()
}
