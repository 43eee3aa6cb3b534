//! Reads answers as clients do.

use proto::Api;
use serde_json::{Value, json};

/// What a client understood.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Heard {
    pub(crate) thinking: String,
    pub(crate) text: String,
    /// Id, name and arguments.
    pub(crate) calls: Vec<(String, String, String)>,
    pub(crate) finish: String,
    /// Tokens of prompt and answer.
    pub(crate) tokens: (u64, u64),
    pub(crate) logprobs: Vec<Value>,
}

/// Reads `answer` of `api`; checks what must hold of any such answer.
pub(crate) fn hear(api: Api, stream: bool, answer: &str) -> Heard {
    let mut heard = Heard::default();
    match (api, stream) {
        (Api::OllamaChat | Api::OllamaGenerate, true) => {
            let lines: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            for (at, line) in lines.iter().enumerate() {
                assert_eq!(line["done"], json!(at + 1 == lines.len()), "{answer}");
                ollama(line, &mut heard);
            }
        }
        (Api::OllamaChat | Api::OllamaGenerate, false) => ollama(&serde_json::from_str(answer).unwrap(), &mut heard),
        (Api::Responses, true) => responses_stream(answer, &mut heard),
        (Api::Responses, false) => response(&serde_json::from_str(answer).unwrap(), &mut heard),
        (Api::Messages, true) => messages_stream(answer, &mut heard),
        (Api::Messages, false) => message(&serde_json::from_str(answer).unwrap(), &mut heard),
        (_, true) => chunks(answer, &mut heard),
        (_, false) => {
            let whole: Value = serde_json::from_str(answer).unwrap();
            choice(&whole["choices"][0], &whole["choices"][0]["message"], &mut heard);
            openai_usage(&whole["usage"], &mut heard);
        }
    }
    heard
}

fn add(to: &mut String, text: &Value) {
    *to += text.as_str().unwrap_or_default();
}

fn owned(text: &Value) -> String {
    text.as_str().unwrap().to_owned()
}

fn ollama(line: &Value, heard: &mut Heard) {
    assert!(line["model"] == "asked" && line["created_at"].is_string());
    let message = if line["message"].is_object() { &line["message"] } else { line };
    assert!(message["content"].is_string() || message["response"].is_string());
    add(&mut heard.text, &message["content"]);
    add(&mut heard.text, &message["response"]);
    add(&mut heard.thinking, &message["thinking"]);
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        assert_eq!(call["function"]["index"], heard.calls.len());
        let function = &call["function"];
        assert!(function["arguments"].is_object());
        heard.calls.push((owned(&call["id"]), owned(&function["name"]), function["arguments"].to_string()));
    }
    heard.logprobs.extend(line["logprobs"].as_array().into_iter().flatten().cloned());
    if line["done"] == true {
        heard.finish = owned(&line["done_reason"]);
        heard.tokens = (line["prompt_eval_count"].as_u64().unwrap(), line["eval_count"].as_u64().unwrap());
        for duration in ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"] {
            assert!(line[duration].is_u64(), "{line}");
        }
    }
}

/// What the events of `answer` say.
pub(crate) fn data(answer: &str) -> Vec<Value> {
    let events = answer.split_terminator("\n\n").map(|event| {
        let (name, data) = match event.strip_prefix("event: ") {
            Some(rest) => rest.split_once("\ndata: ").unwrap(),
            None => ("", event.strip_prefix("data: ").unwrap()),
        };
        if data == "[DONE]" {
            return json!("[DONE]");
        }
        let value: Value = serde_json::from_str(data).unwrap();
        assert!(name.is_empty() || value["type"] == name, "{event}");
        value
    });
    assert!(answer.ends_with("\n\n"));
    events.collect()
}

fn openai_usage(usage: &Value, heard: &mut Heard) {
    heard.tokens = (usage["prompt_tokens"].as_u64().unwrap(), usage["completion_tokens"].as_u64().unwrap());
    assert_eq!(usage["total_tokens"], heard.tokens.0 + heard.tokens.1);
}

fn choice(choice: &Value, said: &Value, heard: &mut Heard) {
    assert_eq!(choice["index"], 0);
    add(&mut heard.text, &choice["text"]);
    add(&mut heard.text, &said["content"]);
    assert_eq!(said["reasoning"], said["reasoning_content"]);
    add(&mut heard.thinking, &said["reasoning"]);
    for call in said["tool_calls"].as_array().into_iter().flatten() {
        let arguments = owned(&call["function"]["arguments"]);
        if call["id"].is_string() {
            assert_eq!(call["type"], "function");
            heard.calls.push((owned(&call["id"]), owned(&call["function"]["name"]), arguments));
        } else {
            heard.calls.last_mut().unwrap().2 += &arguments;
        }
        if call["index"].is_u64() {
            assert_eq!(call["index"], heard.calls.len() - 1);
        }
    }
    heard.logprobs.extend(choice["logprobs"]["content"].as_array().into_iter().flatten().cloned());
    heard.logprobs.extend(choice["logprobs"]["tokens"].as_array().into_iter().flatten().cloned());
    add(&mut heard.finish, &choice["finish_reason"]);
}

fn chunks(answer: &str, heard: &mut Heard) {
    let chunks = data(answer);
    assert_eq!(chunks.last().unwrap(), "[DONE]");
    for (at, chunk) in chunks[..chunks.len() - 1].iter().enumerate() {
        assert_eq!((&chunk["id"], &chunk["created"]), (&chunks[0]["id"], &chunks[0]["created"]));
        assert!(chunk["model"] == "asked" && chunk["object"].is_string());
        let said = &chunk["choices"][0];
        assert!(said["text"].is_string() || (at == 0) == (said["delta"]["role"] == "assistant"), "{chunk}");
        if said.is_null() {
            assert_eq!(at, chunks.len() - 2, "the usage comes last");
            openai_usage(&chunk["usage"], heard);
        } else {
            assert!(chunk["usage"].is_null() && said.get("finish_reason").is_some());
            choice(said, &said["delta"], heard);
        }
    }
}

fn response(response: &Value, heard: &mut Heard) {
    for field in [
        "id",
        "object",
        "created_at",
        "completed_at",
        "status",
        "error",
        "incomplete_details",
        "instructions",
        "metadata",
        "model",
        "output",
        "parallel_tool_calls",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "usage",
        "text",
        "truncation",
        "reasoning",
        "max_output_tokens",
        "previous_response_id",
        "store",
    ] {
        assert!(response.get(field).is_some(), "{field} is missing in {response}");
    }
    for item in response["output"].as_array().unwrap() {
        match item["type"].as_str().unwrap() {
            "reasoning" => add(&mut heard.thinking, &item["summary"][0]["text"]),
            "message" => {
                add(&mut heard.text, &item["content"][0]["text"]);
                heard.logprobs.extend(item["content"][0]["logprobs"].as_array().unwrap().iter().cloned());
            }
            _ => heard.calls.push((owned(&item["call_id"]), owned(&item["name"]), owned(&item["arguments"]))),
        }
    }
    heard.finish = format!("{} {}", owned(&response["status"]), response["incomplete_details"]["reason"]);
    let usage = &response["usage"];
    heard.tokens = (usage["input_tokens"].as_u64().unwrap(), usage["output_tokens"].as_u64().unwrap());
    assert_eq!(usage["total_tokens"], heard.tokens.0 + heard.tokens.1);
}

/// Hears the deltas, and checks that whatever repeats them agrees.
fn responses_stream(answer: &str, heard: &mut Heard) {
    let events = data(answer);
    let mut items: Vec<Value> = Vec::new();
    let mut open = false;
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], at);
        let kind = event["type"].as_str().unwrap().strip_prefix("response.").unwrap();
        assert_eq!(at == 0, kind == "created");
        assert_eq!(at == 1, kind == "in_progress");
        if let Some(index) = event["output_index"].as_u64() {
            assert_eq!(index as usize + usize::from(kind != "output_item.added"), items.len(), "{event}");
            let id = if event["item"].is_object() { &event["item"]["id"] } else { &event["item_id"] };
            assert!(kind == "output_item.added" || *id == items.last().unwrap()["id"], "{event}");
        }
        match kind {
            "output_item.added" => {
                assert!(!std::mem::replace(&mut open, true));
                let item = &event["item"];
                assert_eq!(item["status"], "in_progress");
                if item["type"] == "function_call" {
                    heard.calls.push((owned(&item["call_id"]), owned(&item["name"]), String::new()));
                }
                items.push(item.clone());
            }
            "reasoning_summary_text.delta" => add(&mut heard.thinking, &event["delta"]),
            "output_text.delta" => {
                add(&mut heard.text, &event["delta"]);
                heard.logprobs.extend(event["logprobs"].as_array().unwrap().iter().cloned());
            }
            "function_call_arguments.delta" => add(&mut heard.calls.last_mut().unwrap().2, &event["delta"]),
            "function_call_arguments.done" => assert_eq!(event["arguments"], heard.calls.last().unwrap().2),
            "reasoning_summary_text.done" => assert!(heard.thinking.ends_with(event["text"].as_str().unwrap())),
            "output_text.done" => assert!(heard.text.ends_with(event["text"].as_str().unwrap())),
            "output_item.done" => {
                assert!(std::mem::replace(&mut open, false));
                *items.last_mut().unwrap() = event["item"].clone();
            }
            "completed" | "incomplete" => {
                assert_eq!(at + 1, events.len());
                assert_eq!(event["response"]["output"], json!(items));
                let mut whole = Heard::default();
                response(&event["response"], &mut whole);
                (heard.finish, heard.tokens) = (whole.finish.clone(), whole.tokens);
                assert_eq!(*heard, whole);
            }
            "created" | "in_progress" => assert!(event["response"]["usage"].is_null()),
            "content_part.added"
            | "content_part.done"
            | "reasoning_summary_part.added"
            | "reasoning_summary_part.done" => {}
            other => panic!("{other}"),
        }
    }
    assert!(!heard.finish.is_empty(), "no final event");
}

fn message(message: &Value, heard: &mut Heard) {
    for field in ["id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"] {
        assert!(message.get(field).is_some(), "{field} is missing in {message}");
    }
    for block in message["content"].as_array().unwrap() {
        match block["type"].as_str().unwrap() {
            "thinking" => add(&mut heard.thinking, &block["thinking"]),
            "text" => add(&mut heard.text, &block["text"]),
            _ => {
                assert!(block["input"].is_object());
                heard.calls.push((owned(&block["id"]), owned(&block["name"]), block["input"].to_string()));
            }
        }
    }
    add(&mut heard.finish, &message["stop_reason"]);
    anthropic_usage(&message["usage"], heard);
}

fn anthropic_usage(usage: &Value, heard: &mut Heard) {
    let input = usage["input_tokens"].as_u64().unwrap() + usage["cache_read_input_tokens"].as_u64().unwrap();
    heard.tokens = (input, usage["output_tokens"].as_u64().unwrap());
}

fn messages_stream(answer: &str, heard: &mut Heard) {
    let events = data(answer);
    let (mut open, mut blocks) = (false, 0);
    for (at, event) in events.iter().enumerate() {
        let kind = event["type"].as_str().unwrap();
        assert_eq!(at == 0, kind == "message_start");
        assert_eq!(at + 1 == events.len(), kind == "message_stop");
        if event["index"].is_u64() {
            assert_eq!(event["index"], blocks, "{event}");
        }
        match kind {
            "message_start" => message(&event["message"], &mut Heard::default()),
            "content_block_start" => {
                assert!(!std::mem::replace(&mut open, true));
                let block = &event["content_block"];
                if block["type"] == "tool_use" {
                    heard.calls.push((owned(&block["id"]), owned(&block["name"]), String::new()));
                }
            }
            "content_block_delta" => {
                assert!(open);
                add(&mut heard.thinking, &event["delta"]["thinking"]);
                add(&mut heard.text, &event["delta"]["text"]);
                if event["delta"]["type"] == "input_json_delta" {
                    add(&mut heard.calls.last_mut().unwrap().2, &event["delta"]["partial_json"]);
                }
            }
            "content_block_stop" => {
                assert!(std::mem::replace(&mut open, false));
                blocks += 1;
            }
            "message_delta" => {
                assert!(!open);
                add(&mut heard.finish, &event["delta"]["stop_reason"]);
                anthropic_usage(&event["usage"], heard);
            }
            "message_stop" => {}
            other => panic!("{other}"),
        }
    }
}
