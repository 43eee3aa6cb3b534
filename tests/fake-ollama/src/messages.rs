//! /v1/messages.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::{EVENTS, Failure, Format, JSON, Payload, Reply, Tongue, reply, uncached};
use crate::ask::{Ask, Think, Whole, collect, first_of};
use crate::fake::Call;
use crate::generation::{Finish, Piece};
use crate::input::{self, EOF, Fields, Go, Shape};
use crate::prompt::{Message, Prompt};
use crate::script::Call as ToolCall;
use crate::text::{draw_hex, json, push_string};

const MESSAGES: Shape = Shape {
    name: "anthropic.MessagesRequest",
    empty: EOF,
    fields: &[
        ("model", Go::Text),
        ("max_tokens", Go::Whole),
        ("messages", Go::List("[]anthropic.MessageParam")),
        ("stream", Go::Flag),
        ("temperature", Go::Float),
        ("stop_sequences", Go::List("[]string")),
        ("tools", Go::List("[]anthropic.Tool")),
    ],
    messages: &[("role", Go::Text)],
};

/// Answers POST /v1/messages.
pub(crate) async fn messages(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &MESSAGES)?;
    let model = input::text(&fields, "model").to_owned();
    if model.is_empty() {
        return Err(Failure::early(400, "model is required"));
    }
    let most = fields.get("max_tokens").and_then(Value::as_i64).unwrap_or(0);
    if most <= 0 {
        return Err(Failure::early(400, "max_tokens is required and must be positive"));
    }
    let mut ask = Ask::new(&model, Prompt::Messages(turns(&fields)?));
    if ask_is_empty(&ask) {
        return Err(Failure::early(400, "messages is required"));
    }
    ask.options.insert("num_predict".to_owned(), json!(most));
    if let Some(stops) = fields.get("stop_sequences").filter(|stops| stops.is_array()) {
        ask.options.insert("stop".to_owned(), stops.clone());
    }
    ask.tools = input::list(&fields, "tools").iter().filter(|tool| !is_web_search(tool)).map(function).collect();
    ask.think = match fields.get("thinking").and_then(|thinking| thinking.get("type")).and_then(Value::as_str) {
        Some("disabled") => Think::No,
        Some(_) => Think::IfAble,
        None => Think::Unsaid,
    };
    ask.stream = input::flag(&fields, "stream").unwrap_or(false);
    if !ask.stream {
        let (_, generation) = ask.start(call, "chat").await?;
        return Ok(reply(200, JSON, Payload::whole(whole(&model, &collect(generation).await?))));
    }
    // The stream's headers are set before anything can go wrong, so an error carries them.
    let streamed = streamed(call, &ask).await;
    Ok(uncached(streamed.unwrap_or_else(|failure| failure.reply(Tongue::Anthropic))))
}

async fn streamed(call: &Call, ask: &Ask) -> Result<Reply, Failure> {
    let (model, mut generation) = ask.start(call, "chat").await?;
    let first = first_of(&mut generation).await?;
    let letters: usize = match &ask.prompt {
        Prompt::Messages(messages) => messages.iter().map(|message| message.content.len()).sum(),
        _ => ask.render(&model).len(),
    };
    let events =
        Events { model: ask.model.clone(), estimate: (letters / 4).max(1), begun: false, block: None, index: 0 };
    Ok(reply(200, EVENTS, Payload::records(first, generation, Box::new(events))))
}

fn ask_is_empty(ask: &Ask) -> bool {
    matches!(&ask.prompt, Prompt::Messages(messages) if messages.iter().all(|message| message.role == "system"))
}

fn is_web_search(tool: &Value) -> bool {
    tool.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("web_search"))
}

fn function(tool: &Value) -> Value {
    json!({"type": "function", "function": {"name": tool.get("name"), "description": tool.get("description"),
        "parameters": tool.get("input_schema")}})
}

fn turns(fields: &Fields) -> Result<Vec<Message>, Failure> {
    let mut turns = Vec::new();
    let say = |role: &str, content: &str| Message { role: role.into(), content: content.into(), ..Message::default() };
    match fields.get("system") {
        Some(Value::String(text)) => turns.push(say("system", text)),
        Some(Value::Array(blocks)) => {
            let texts = blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str));
            turns.push(say("system", &texts.collect::<Vec<_>>().join("\n")));
        }
        _ => {}
    }
    for message in input::list(fields, "messages") {
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
        let blocks = match message.get("content") {
            Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
            Some(Value::Array(blocks)) => blocks.clone(),
            _ => return Err(Failure::early(400, "content must be a string or an array of content blocks")),
        };
        let mut turn = say(&role, "");
        let mut results = Vec::new();
        for block in &blocks {
            let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
            match text("type") {
                "text" => turn.content.push_str(text("text")),
                "image" => turn.images += 1,
                "tool_use" => {
                    let one =
                        json!({"id": text("id"), "function": {"name": text("name"), "arguments": block.get("input")}});
                    match &mut turn.calls {
                        Some(Value::Array(calls)) => calls.push(one),
                        calls => *calls = Some(json!([one])),
                    }
                }
                "tool_result" => {
                    results.push(say("tool", &block.get("content").map(ToString::to_string).unwrap_or_default()))
                }
                _ => {}
            }
        }
        if !turn.content.is_empty() || turn.images > 0 || turn.calls.is_some() || results.is_empty() {
            turns.push(turn);
        }
        turns.append(&mut results);
    }
    Ok(turns)
}

fn stop_reason(finish: &Finish) -> &'static str {
    match finish.reason {
        _ if !finish.calls.is_empty() => "tool_use",
        "length" => "max_tokens",
        _ => "end_turn",
    }
}

fn whole(model: &str, whole: &Whole) -> String {
    let mut content = Vec::new();
    if !whole.thinking.is_empty() {
        content.push(json!({"type": "thinking", "thinking": whole.thinking}));
    }
    if !whole.text.is_empty() {
        content.push(json!({"type": "text", "text": whole.text}));
    }
    let finish = whole.finish.clone().unwrap_or_default();
    for call in &finish.calls {
        content.push(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}));
    }
    let mut answer = json!({"id": format!("msg_{}", draw_hex(24)), "type": "message", "role": "assistant",
        "model": model, "content": content});
    if whole.finish.is_some() {
        answer["stop_reason"] = json!(stop_reason(&finish));
    }
    answer["usage"] = json!({"input_tokens": finish.prompt_tokens, "output_tokens": finish.tokens});
    json(&answer)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
}

/// Writes the events of one answer.
struct Events {
    model: String,
    /// Tokens of the prompt, guessed before the engine has counted them.
    estimate: usize,
    begun: bool,
    block: Option<Block>,
    index: usize,
}

impl Events {
    fn begin(&mut self, out: &mut VecDeque<Bytes>) {
        if !std::mem::replace(&mut self.begun, true) {
            let usage = json!({"input_tokens": self.estimate, "output_tokens": 0});
            let message = json!({"id": format!("msg_{}", draw_hex(24)), "type": "message", "role": "assistant",
                "model": self.model, "content": [], "usage": usage});
            push(out, "message_start", &json!({"type": "message_start", "message": message}));
        }
    }

    fn open(&mut self, block: Block, out: &mut VecDeque<Bytes>) {
        if self.block == Some(block) {
            return;
        }
        self.close(out);
        self.block = Some(block);
        let content = match block {
            Block::Text => json!({"type": "text", "text": ""}),
            Block::Thinking => json!({"type": "thinking", "thinking": ""}),
        };
        self.start(&content, out);
    }

    fn start(&self, content: &Value, out: &mut VecDeque<Bytes>) {
        let event = json!({"type": "content_block_start", "index": self.index, "content_block": content});
        push(out, "content_block_start", &event);
    }

    fn close(&mut self, out: &mut VecDeque<Bytes>) {
        if self.block.take().is_some() {
            push(out, "content_block_stop", &json!({"type": "content_block_stop", "index": self.index}));
            self.index += 1;
        }
    }

    /// A delta, built by hand: there is one for each token.
    fn delta(&mut self, block: Block, text: &str, out: &mut VecDeque<Bytes>) {
        self.begin(out);
        self.open(block, out);
        let (kind, key) = match block {
            Block::Text => ("text_delta", "text"),
            Block::Thinking => ("thinking_delta", "thinking"),
        };
        let mut line = format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{},\"delta\":{{\"type\":\"{kind}\",\"{key}\":",
            self.index
        );
        push_string(&mut line, text);
        line.push_str("}}\n\n");
        out.push_back(line.into());
    }

    fn call(&mut self, call: &ToolCall, out: &mut VecDeque<Bytes>) {
        self.close(out);
        self.start(&json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}), out);
        let delta = json!({"type": "input_json_delta", "partial_json": json(&call.arguments)});
        push(out, "content_block_delta", &json!({"type": "content_block_delta", "index": self.index, "delta": delta}));
        push(out, "content_block_stop", &json!({"type": "content_block_stop", "index": self.index}));
        self.index += 1;
    }
}

impl Format for Events {
    fn records(&mut self, piece: Piece, out: &mut VecDeque<Bytes>) {
        match piece {
            Piece::Text(text) => self.delta(Block::Text, &text, out),
            Piece::Thinking(text) => self.delta(Block::Thinking, &text, out),
            Piece::End(finish) => {
                self.begin(out);
                self.close(out);
                for call in &finish.calls {
                    self.call(call, out);
                }
                let usage = json!({"input_tokens": finish.prompt_tokens, "output_tokens": finish.tokens});
                let delta = json!({"stop_reason": stop_reason(&finish)});
                push(out, "message_delta", &json!({"type": "message_delta", "delta": delta, "usage": usage}));
                push(out, "message_stop", &json!({"type": "message_stop"}));
            }
            // This API just stops: nothing tells a client that the answer is not complete.
            Piece::Silence | Piece::Died | Piece::BadCall(_) | Piece::Cut => {}
        }
    }
}

fn push(out: &mut VecDeque<Bytes>, event: &str, data: &Value) {
    out.push_back(format!("event: {event}\ndata: {}\n\n", json(data)).into());
}
