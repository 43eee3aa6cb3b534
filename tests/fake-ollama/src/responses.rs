//! /v1/responses.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::answer::{EVENTS, Failure, Format, JSON, Payload, Reply, Tongue, reply, uncached};
use crate::ask::{Ask, Whole, collect, first_of};
use crate::clock;
use crate::fake::Call;
use crate::generation::{Finish, Piece};
use crate::input::{self, EOF, Fields, Go, Shape};
use crate::openai::{data_url, response_format, think};
use crate::prompt::{Message, Prompt};
use crate::script::Call as ToolCall;
use crate::text::{draw, json, push_string};

const RESPONSES: Shape = Shape {
    name: "openai.ResponsesRequest",
    empty: EOF,
    fields: &[
        ("model", Go::Text),
        ("instructions", Go::Text),
        ("stream", Go::Flag),
        ("max_output_tokens", Go::Whole),
        ("temperature", Go::Float),
        ("tools", Go::List("[]openai.ResponsesTool")),
    ],
    messages: &[],
};

/// Answers POST /v1/responses.
pub(crate) async fn responses(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let value = input::value(body, EOF)?;
    if let Some(wrong) = value.get("input").filter(|input| !input.is_string() && !input.is_array() && !input.is_null())
    {
        let inner = format!("json: cannot unmarshal {} into Go value of type []json.RawMessage", input::kind(wrong));
        return Err(Failure::early(400, format!("input must be a string or array: {inner}")));
    }
    let fields = input::fields(body, &RESPONSES)?;
    let mut ask = Ask::new(input::text(&fields, "model"), Prompt::Messages(turns(&fields)?));
    if let Some(most) = fields.get("max_output_tokens").filter(|most| most.is_number()) {
        ask.options.insert("num_predict".to_owned(), most.clone());
    }
    let tools = input::list(&fields, "tools");
    ask.tools = tools.iter().filter(|tool| tool.get("name").is_some()).cloned().collect();
    ask.think = think(fields.get("reasoning").and_then(|reasoning| reasoning.get("effort")).and_then(Value::as_str))?;
    ask.format = response_format(fields.get("text").and_then(|text| text.get("format")));
    ask.stream = input::flag(&fields, "stream").unwrap_or(false);
    let sheet = Sheet::new(&fields, &ask.model, &tools);
    if !ask.stream {
        let (_, generation) = ask.start(call, "chat").await?;
        return Ok(reply(200, JSON, Payload::whole(sheet.whole(&collect(generation).await?))));
    }
    let streamed = streamed(call, &ask, sheet).await;
    Ok(uncached(streamed.unwrap_or_else(|failure| failure.reply(Tongue::OpenAi))))
}

async fn streamed(call: &Call, ask: &Ask, sheet: Sheet) -> Result<Reply, Failure> {
    let (_, mut generation) = ask.start(call, "chat").await?;
    let first = first_of(&mut generation).await?;
    let events = Events {
        message: format!("msg_{}", draw() % 1_000_000),
        thought: format!("rs_{}", draw() % 1_000_000),
        sheet,
        number: 0,
        index: 0,
        text: None,
        thinking: None,
        output: Vec::new(),
    };
    Ok(reply(200, EVENTS, Payload::records(first, generation, Box::new(events))))
}

fn turns(fields: &Fields) -> Result<Vec<Message>, Failure> {
    let say = |role: &str, content: &str| Message { role: role.into(), content: content.into(), ..Message::default() };
    let mut turns = Vec::new();
    let instructions = input::text(fields, "instructions");
    if !instructions.is_empty() {
        turns.push(say("system", instructions));
    }
    let items = match fields.get("input") {
        Some(Value::String(text)) => vec![json!({"role": "user", "content": text})],
        Some(Value::Array(items)) => items.clone(),
        _ => Vec::new(),
    };
    for item in &items {
        let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "" | "message" => {
                let mut turn = say(&text("role").to_ascii_lowercase(), text("content"));
                for part in item.get("content").and_then(Value::as_array).into_iter().flatten() {
                    match part.get("type").and_then(Value::as_str) {
                        Some("input_image") => {
                            data_url(part.get("image_url").and_then(Value::as_str).unwrap_or_default())?;
                            turn.images += 1;
                        }
                        _ => turn.content.push_str(part.get("text").and_then(Value::as_str).unwrap_or_default()),
                    }
                }
                turns.push(turn);
            }
            "function_call" => {
                let call = json!([{"id": text("call_id"), "function": {"name": text("name"), "arguments": text("arguments")}}]);
                turns.push(Message { calls: Some(call), ..say("assistant", "") });
            }
            "function_call_output" => {
                turns.push(say("tool", &item.get("output").map(ToString::to_string).unwrap_or_default()));
            }
            "reasoning" | "web_search_call" => {}
            other => return Err(Failure::early(400, format!("unknown input item type: {other}"))),
        }
    }
    Ok(turns)
}

/// The response object, before and after it is filled in.
struct Sheet {
    id: String,
    created: u64,
    model: String,
    instructions: Value,
    tools: Vec<Value>,
    most: Value,
    format: Value,
    reasoning: Value,
}

impl Sheet {
    fn new(fields: &Fields, model: &str, tools: &[Value]) -> Sheet {
        let get = |key: &str| fields.get(key).cloned().unwrap_or(Value::Null);
        let tool = |tool: &Value| {
            let get = |key: &str| tool.get(key).cloned().unwrap_or(Value::Null);
            json!({"type": get("type"), "name": get("name"), "description": get("description"),
                "strict": get("strict"), "parameters": sorted(&get("parameters"))})
        };
        let format = fields.get("text").and_then(|text| text.get("format")).cloned();
        let effort = fields.get("reasoning").and_then(|reasoning| reasoning.get("effort")).cloned();
        Sheet {
            id: format!("resp_{}", draw() % 1_000_000),
            created: clock::unix_seconds(),
            model: model.to_owned(),
            instructions: get("instructions"),
            tools: tools.iter().map(tool).collect(),
            most: get("max_output_tokens"),
            format: format.unwrap_or_else(|| json!({"type": "text"})),
            reasoning: effort.map_or(Value::Null, |effort| json!({"effort": effort, "summary": null})),
        }
    }

    fn object(&self, output: &[Value], finish: Option<&Finish>) -> Value {
        let done = finish.is_some();
        let usage = finish.map(|finish| {
            json!({"input_tokens": finish.prompt_tokens, "output_tokens": finish.tokens,
                "total_tokens": finish.prompt_tokens + finish.tokens, "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0}})
        });
        json!({"id": self.id, "object": "response", "created_at": self.created,
            "completed_at": done.then(clock::unix_seconds), "status": if done { "completed" } else { "in_progress" },
            "incomplete_details": null, "model": self.model, "previous_response_id": null,
            "instructions": self.instructions, "output": output, "error": null, "tools": self.tools,
            "tool_choice": "auto", "truncation": "disabled", "parallel_tool_calls": true,
            "text": {"format": self.format}, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0,
            "top_logprobs": 0, "temperature": 1, "reasoning": self.reasoning, "usage": usage,
            "max_output_tokens": self.most, "max_tool_calls": null, "store": false, "background": false,
            "service_tier": "default", "metadata": {}, "safety_identifier": null, "prompt_cache_key": null})
    }

    fn whole(&self, whole: &Whole) -> String {
        // An answer that ended without a word is told as complete, with nothing counted.
        let finish = whole.finish.clone().unwrap_or_default();
        let mut output = Vec::new();
        if !whole.thinking.is_empty() {
            output.push(thought(&format!("rs_{}", draw() % 1_000_000), &whole.thinking));
        }
        for (index, call) in finish.calls.iter().enumerate() {
            output.push(function_call(&format!("fc_{}_{index}", self.id), call, true));
        }
        if finish.calls.is_empty() {
            output.push(message(&format!("msg_{}", draw() % 1_000_000), &whole.text));
        }
        json(&self.object(&output, Some(&finish)))
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn message(id: &str, text: &str) -> Value {
    json!({"id": id, "type": "message", "status": "completed", "role": "assistant", "content": [part(text)]})
}

fn thought(id: &str, text: &str) -> Value {
    json!({"id": id, "type": "reasoning", "summary": [{"type": "summary_text", "text": text}],
        "encrypted_content": text})
}

fn function_call(id: &str, call: &ToolCall, done: bool) -> Value {
    json!({"id": id, "type": "function_call", "status": if done { "completed" } else { "in_progress" },
        "call_id": call.id, "name": call.name,
        "arguments": if done { json(&call.arguments) } else { String::new() }})
}

/// Writes the events of one answer.
struct Events {
    sheet: Sheet,
    message: String,
    thought: String,
    number: u64,
    index: u64,
    text: Option<String>,
    thinking: Option<String>,
    output: Vec<Value>,
}

impl Events {
    fn push(&mut self, out: &mut VecDeque<Bytes>, event: &str, mut data: Value) {
        data["sequence_number"] = json!(self.number);
        data["type"] = json!(event);
        self.number += 1;
        out.push_back(format!("event: {event}\ndata: {}\n\n", json(&sorted(&data))).into());
    }

    fn begin(&mut self, out: &mut VecDeque<Bytes>) {
        if self.number == 0 {
            let object = self.sheet.object(&[], None);
            self.push(out, "response.created", json!({"response": object}));
            self.push(out, "response.in_progress", json!({"response": object}));
        }
    }

    fn text(&mut self, text: &str, out: &mut VecDeque<Bytes>) {
        self.begin(out);
        self.end_thought(out);
        let (index, id) = (self.index, self.message.clone());
        if self.text.is_none() {
            let item =
                json!({"id": id, "type": "message", "status": "in_progress", "role": "assistant", "content": []});
            self.push(out, "response.output_item.added", json!({"output_index": index, "item": item}));
            let data = json!({"item_id": id, "output_index": index, "content_index": 0, "part": part("")});
            self.push(out, "response.content_part.added", data);
            self.text = Some(String::new());
        }
        if let Some(all) = &mut self.text {
            all.push_str(text);
        }
        let mut line = String::from("event: response.output_text.delta\ndata: {\"content_index\":0,\"delta\":");
        push_string(&mut line, text);
        line.push_str(&format!(
            ",\"item_id\":\"{id}\",\"logprobs\":[],\"output_index\":{index},\"sequence_number\":{},\"type\":\"response.output_text.delta\"}}\n\n",
            self.number
        ));
        self.number += 1;
        out.push_back(line.into());
    }

    fn think(&mut self, text: &str, out: &mut VecDeque<Bytes>) {
        self.begin(out);
        let (index, id) = (self.index, self.thought.clone());
        if self.thinking.is_none() {
            let item = json!({"id": id, "type": "reasoning", "summary": []});
            self.push(out, "response.output_item.added", json!({"output_index": index, "item": item}));
        }
        self.thinking.get_or_insert_default().push_str(text);
        let data = json!({"item_id": id, "output_index": index, "summary_index": 0, "delta": text});
        self.push(out, "response.reasoning_summary_text.delta", data);
    }

    fn end_thought(&mut self, out: &mut VecDeque<Bytes>) {
        let Some(text) = self.thinking.take() else { return };
        let (index, id) = (self.index, self.thought.clone());
        let data = json!({"item_id": id, "output_index": index, "summary_index": 0, "text": text});
        self.push(out, "response.reasoning_summary_text.done", data);
        let item = thought(&id, &text);
        self.push(out, "response.output_item.done", json!({"output_index": index, "item": item}));
        self.output.push(item);
        self.index += 1;
    }

    fn call(&mut self, at: usize, call: &ToolCall, out: &mut VecDeque<Bytes>) {
        let id = format!("fc_{}_{at}", draw() % 1_000_000);
        let index = self.index;
        let arguments = json(&call.arguments);
        let added = json!({"output_index": index, "item": function_call(&id, call, false)});
        self.push(out, "response.output_item.added", added);
        let delta = json!({"item_id": id, "output_index": index, "delta": arguments});
        self.push(out, "response.function_call_arguments.delta", delta);
        let done = json!({"item_id": id, "output_index": index, "arguments": arguments});
        self.push(out, "response.function_call_arguments.done", done);
        let item = function_call(&id, call, true);
        self.push(out, "response.output_item.done", json!({"output_index": index, "item": item}));
        self.output.push(item);
        self.index += 1;
    }

    fn end(&mut self, finish: &Finish, out: &mut VecDeque<Bytes>) {
        self.begin(out);
        self.end_thought(out);
        for (at, call) in finish.calls.iter().enumerate() {
            self.call(at, call, out);
        }
        if let Some(text) = self.text.take() {
            let (index, id) = (self.index, self.message.clone());
            let item = message(&id, &text);
            // With tool calls the text's item is never closed, though the last event lists it.
            if finish.calls.is_empty() {
                let at = |more: Value| {
                    let mut data = json!({"item_id": id, "output_index": index, "content_index": 0});
                    data.as_object_mut()
                        .into_iter()
                        .for_each(|data| data.extend(more.as_object().cloned().unwrap_or_default()));
                    data
                };
                self.push(out, "response.output_text.done", at(json!({"text": text, "logprobs": []})));
                self.push(out, "response.content_part.done", at(json!({"part": part(&text)})));
                self.push(out, "response.output_item.done", json!({"output_index": index, "item": item}));
            }
            self.output.push(item);
        }
        let object = self.sheet.object(&self.output, Some(finish));
        self.push(out, "response.completed", json!({"response": object}));
    }
}

impl Format for Events {
    fn records(&mut self, piece: Piece, out: &mut VecDeque<Bytes>) {
        match piece {
            Piece::Text(text) => self.text(&text, out),
            Piece::Thinking(text) => self.think(&text, out),
            Piece::End(finish) => self.end(&finish, out),
            // This API just stops: nothing tells a client that the answer is not complete.
            Piece::Silence | Piece::Died | Piece::BadCall(_) | Piece::Cut => {}
        }
    }
}

/// The same with the keys of all objects in order, as Go writes its maps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(list) => Value::Array(list.iter().map(sorted).collect()),
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort();
            let pairs = keys.into_iter().map(|key| (key.clone(), sorted(&fields[key])));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}
