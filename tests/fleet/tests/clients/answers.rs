//! Looks at answers as the apps' own libraries do: every record, in its order.

use fleet_tests::Answer;
use serde_json::{Value, json};

use crate::recorded::Request;

/// Says what is wrong with the answer to an inference request; it may tell the model as it was `requested` or as `served`.
pub(crate) fn look(request: &Request, answer: &Answer, requested: &str, served: &str) -> Result<(), String> {
    let wrong = |why: &str| format!("{}: {why}: {} {}", request.what, answer.status, tail(&answer.body));
    if answer.status != 200 {
        return Err(wrong("refused"));
    }
    if !answer.complete {
        return Err(wrong("cut off"));
    }
    let streams = request.streams();
    let kind = match (request.path().starts_with("/api/"), streams) {
        (_, false) => "application/json",
        (true, true) => "application/x-ndjson",
        (false, true) => "text/event-stream",
    };
    if !answer.header("content-type").is_some_and(|told| told.starts_with(kind)) {
        return Err(wrong(&format!("not {kind}")));
    }
    let tells = |name: &str| answer.body.contains(&format!("\"{name}\""));
    let model = if tells(requested) { requested } else { served };
    let found = match (request.path(), streams) {
        ("/api/chat", _) => lines(answer, "message", model),
        ("/api/generate", _) => lines(answer, "response", model),
        ("/api/embed", _) => embeddings(&answer.json()),
        ("/v1/chat/completions", true) => chunks(answer, request, model),
        ("/v1/chat/completions", false) => completion(&answer.json(), model),
        ("/v1/responses", _) => responses(answer, model),
        ("/v1/messages", _) => messages(answer, model),
        (other, _) => Err(format!("nobody knows how {other} answers")),
    };
    found.map_err(|why| wrong(&why))
}

/// The end of an answer, where most faults show.
fn tail(body: &str) -> String {
    let from = body.char_indices().rev().nth(500).map_or(0, |(at, _)| at);
    body[from..].to_owned()
}

macro_rules! must {
    ($holds:expr, $($why:tt)+) => { if !$holds { return Err(format!($($why)+)); } };
}

/// Ollama's records: all of one model, the last one done, with its counts.
fn lines(answer: &Answer, field: &str, model: &str) -> Result<(), String> {
    let lines = answer.lines();
    let Some((last, others)) = lines.split_last() else { return Err("empty".to_owned()) };
    let mut said = 0;
    for line in &lines {
        must!(line["model"] == model, "the model is {}", line["model"]);
        must!(line["created_at"].is_string(), "no time in {line}");
        let text = if field == "message" { &line["message"]["content"] } else { &line["response"] };
        must!(text.is_string(), "no text in {line}");
        must!(field != "message" || line["message"]["role"] == "assistant", "who says {line}");
        let calls = line["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
        for call in &calls {
            let arguments = &call["function"]["arguments"];
            must!(call["function"]["name"].is_string() && arguments.is_object(), "no call: {call}");
        }
        said += text.as_str().map_or(0, str::len) + calls.len();
    }
    must!(said > 0, "nothing was said");
    must!(others.iter().all(|line| line["done"] == false), "done before the end");
    must!(last["done"] == true && last["done_reason"] == "stop", "not done: {last}");
    for count in ["total_duration", "prompt_eval_count", "eval_count", "eval_duration"] {
        must!(last[count].as_u64().is_some_and(|count| count > 0), "no {count} in {last}");
    }
    Ok(())
}

fn embeddings(whole: &Value) -> Result<(), String> {
    let rows = whole["embeddings"].as_array().map_or(0, Vec::len);
    must!(rows == 2 && whole["embeddings"][1][0].is_number(), "{rows} embeddings");
    Ok(())
}

/// OpenAI's chunks: one id and time, the role once, one finish, usage last and only if asked for, then `[DONE]`.
fn chunks(answer: &Answer, request: &Request, model: &str) -> Result<(), String> {
    let mut events = answer.events();
    must!(events.pop().as_deref() == Some("[DONE]"), "no [DONE]");
    let chunks: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap_or_default()).collect();
    let Some(first) = chunks.first() else { return Err("empty".to_owned()) };
    let (mut said, mut finishes, mut usages) = (0, Vec::new(), Vec::new());
    for (at, chunk) in chunks.iter().enumerate() {
        must!(chunk["object"] == "chat.completion.chunk" && chunk["model"] == model, "not a chunk of {model}: {chunk}");
        must!(chunk["id"] == first["id"] && chunk["created"].is_u64(), "not of one answer: {chunk}");
        // What is passed on from llama-server has the time of each chunk.
        must!(chunk["created"] == first["created"] || chunk["system_fingerprint"] != "fp_ollama", "two times: {chunk}");
        if chunk["usage"].is_object() {
            usages.push(at);
        }
        let Some(choice) = chunk["choices"].get(0) else { continue };
        let (delta, finish) = (&choice["delta"], &choice["finish_reason"]);
        must!(choice["index"] == 0 && delta.is_object(), "no delta: {chunk}");
        must!(at == 0 || delta["role"].is_null() || chunks[0]["choices"][0]["delta"]["role"].is_null(), "two roles");
        must!(finishes.is_empty() || finish.is_null(), "two finishes");
        said += delta["content"].as_str().map_or(0, str::len);
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            must!(call["index"].is_u64() && call["function"]["arguments"].is_string(), "no call: {call}");
            said += 1;
        }
        if let Some(finish) = finish.as_str() {
            finishes.push(finish.to_owned());
        }
    }
    must!(first["choices"][0]["delta"]["role"] == "assistant", "no role in {first}");
    must!(said > 0, "nothing was said");
    must!(matches!(finishes.first().map(String::as_str), Some("stop" | "tool_calls")), "finished by {finishes:?}");
    let asks = request.body["stream_options"]["include_usage"] == true;
    must!(usages == if asks { vec![chunks.len() - 1] } else { Vec::new() }, "usage in {usages:?} of {}", chunks.len());
    if let Some(last) = chunks.last().filter(|_| asks) {
        must!(last["choices"] == json!([]), "choices beside usage: {last}");
        usage(&last["usage"], "prompt_tokens", "completion_tokens")?;
    }
    Ok(())
}

fn usage(told: &Value, prompt: &str, answer: &str) -> Result<(), String> {
    let count = |name: &str| told[name].as_u64().unwrap_or_default();
    must!(count(prompt) > 0 && count(answer) > 0, "usage {told}");
    must!(told["total_tokens"].is_null() || count("total_tokens") == count(prompt) + count(answer), "sum {told}");
    Ok(())
}

fn completion(whole: &Value, model: &str) -> Result<(), String> {
    must!(whole["object"] == "chat.completion" && whole["model"] == model, "not a completion of {model}");
    let choice = &whole["choices"][0];
    must!(choice["message"]["role"] == "assistant" && choice["finish_reason"] == "stop", "odd choice {choice}");
    must!(choice["message"]["content"].as_str().is_some_and(|text| !text.is_empty()), "nothing was said");
    usage(&whole["usage"], "prompt_tokens", "completion_tokens")
}

/// The name of each event and its data.
fn named(answer: &Answer) -> Vec<(String, Value)> {
    let mut name = String::new();
    let mut found = Vec::new();
    for line in answer.body.lines() {
        if let Some(told) = line.strip_prefix("event: ") {
            told.clone_into(&mut name);
        } else if let Some(data) = line.strip_prefix("data: ") {
            found.push((std::mem::take(&mut name), serde_json::from_str(data).unwrap_or_default()));
        }
    }
    found
}

/// OpenAI's events: numbered from 0, items begun and ended one after the other, and all of them again at the end.
fn responses(answer: &Answer, model: &str) -> Result<(), String> {
    let events = named(answer);
    for (at, (name, data)) in events.iter().enumerate() {
        must!(data["type"] == **name && data["sequence_number"] == at, "event {at} is called {name}: {data}");
    }
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    must!(names.starts_with(&["response.created", "response.in_progress"]), "begins with {:?}", names.first());
    let Some(("response.completed", last)) = events.last().map(|(name, data)| (name.as_str(), data)) else {
        return Err("not completed".to_owned());
    };
    let (mut open, mut text, mut arguments, mut done) = (None, String::new(), String::new(), Vec::new());
    for (name, data) in &events {
        let kind = name.strip_prefix("response.").unwrap_or_default();
        match kind {
            "output_item.added" => {
                must!(open.is_none() && data["output_index"] == done.len(), "an item begins inside of another: {data}");
                open = Some(data["item"]["type"].clone());
                (text, arguments) = (String::new(), String::new());
            }
            "output_item.done" => {
                must!(open.take() == Some(data["item"]["type"].clone()), "an item ends that did not begin: {data}");
                let item = &data["item"];
                match item["type"].as_str() {
                    Some("message") => must!(item["content"][0]["text"] == *text, "{item} was told as {text}"),
                    Some("function_call") => must!(item["arguments"] == *arguments, "{item} was told as {arguments}"),
                    _ => {}
                }
                done.push(item.clone());
            }
            "output_text.delta" => text.push_str(data["delta"].as_str().unwrap_or_default()),
            "output_text.done" => must!(data["text"] == *text, "{data} was told as {text}"),
            "function_call_arguments.delta" => arguments.push_str(data["delta"].as_str().unwrap_or_default()),
            "function_call_arguments.done" => must!(data["arguments"] == *arguments, "{data}"),
            _ => {}
        }
    }
    let response = &last["response"];
    must!(!done.is_empty() && response["output"] == Value::Array(done), "the output differs: {response}");
    must!(response["status"] == "completed" && response["model"] == model, "{response}");
    usage(&response["usage"], "input_tokens", "output_tokens")
}

/// Anthropic's events: blocks one after the other, then why it stopped, then the end.
fn messages(answer: &Answer, model: &str) -> Result<(), String> {
    let events: Vec<_> = named(answer).into_iter().filter(|(name, _)| name != "ping").collect();
    for (name, data) in &events {
        must!(data["type"] == **name, "event {name}: {data}");
    }
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let (Some(first), [.., "message_delta", "message_stop"]) = (events.first(), names.as_slice()) else {
        return Err(format!("ends with {:?}", names.last()));
    };
    let message = &first.1["message"];
    must!(first.0 == "message_start" && message["role"] == "assistant" && message["model"] == model, "{message}");
    must!(message["usage"]["input_tokens"].as_u64().is_some_and(|count| count > 0), "{message}");
    let (mut open, mut blocks, mut input, mut last) = (None, 0, String::new(), String::new());
    for (name, data) in &events[1..events.len() - 2] {
        must!(data["index"] == blocks, "block {blocks}: {data}");
        let kind = &data["content_block"]["type"];
        match name.as_str() {
            "content_block_start" => {
                must!(open.is_none(), "a block begins inside of another: {data}");
                open = kind.as_str().map(str::to_owned);
                input.clear();
            }
            "content_block_delta" => {
                let wanted = match data["delta"]["type"].as_str() {
                    Some("text_delta") => "text",
                    Some("thinking_delta" | "signature_delta") => "thinking",
                    Some("input_json_delta") => "tool_use",
                    other => return Err(format!("delta {other:?}")),
                };
                must!(open.as_deref() == Some(wanted), "{data} in {open:?}");
                input.push_str(data["delta"]["partial_json"].as_str().unwrap_or_default());
            }
            "content_block_stop" => {
                last = open.take().ok_or_else(|| format!("nothing to stop: {data}"))?;
                let is_object = serde_json::from_str::<Value>(&input).is_ok_and(|input| input.is_object());
                must!(last != "tool_use" || is_object, "input {input}");
                blocks += 1;
            }
            other => return Err(format!("{other} among the blocks")),
        }
    }
    let delta = &events[events.len() - 2].1;
    let wanted = if last == "tool_use" { "tool_use" } else { "end_turn" };
    must!(blocks > 0 && open.is_none() && delta["delta"]["stop_reason"] == wanted, "{blocks} blocks, {delta}");
    must!(delta["usage"]["output_tokens"].as_u64().is_some_and(|count| count > 0), "{delta}");
    Ok(())
}
