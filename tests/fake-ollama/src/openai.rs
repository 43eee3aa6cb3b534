//! /v1/chat/completions and /v1/completions.

use std::collections::VecDeque;
use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::{EVENTS, Failure, Format, JSON, Payload, Reply, reply};
use crate::ask::{Ask, Think, Whole, collect, first_of};
use crate::clock;
use crate::fake::Call;
use crate::generation::{Finish, Piece};
use crate::input::{self, EOF, Fields, Go, Shape};
use crate::models::Template;
use crate::prompt::{Message, Prompt};
use crate::script::Call as ToolCall;
use crate::text::{draw, json, push_string};

const CHAT: Shape = Shape {
    name: "openai.ChatCompletionRequest",
    empty: EOF,
    fields: &[
        ("model", Go::Text),
        ("messages", Go::List("[]openai.Message")),
        ("stream", Go::Flag),
        ("stream_options", Go::Object("openai.StreamOptions")),
        ("max_tokens", Go::Whole),
        ("seed", Go::Whole),
        ("temperature", Go::Float),
        ("top_p", Go::Float),
        ("response_format", Go::Object("openai.ResponseFormat")),
        ("tools", Go::List("[]api.Tool")),
        ("reasoning_effort", Go::Text),
        ("logprobs", Go::Flag),
    ],
    messages: &[("role", Go::Text)],
};

const COMPLETION: Shape = Shape {
    name: "openai.CompletionRequest",
    empty: EOF,
    fields: &[
        ("model", Go::Text),
        ("prompt", Go::Text),
        ("suffix", Go::Text),
        ("stream", Go::Flag),
        ("stream_options", Go::Object("openai.StreamOptions")),
        ("max_tokens", Go::Whole),
        ("seed", Go::Whole),
        ("temperature", Go::Float),
    ],
    messages: &[],
};

/// Answers POST /v1/chat/completions.
pub(crate) async fn chat(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &CHAT)?;
    let list = input::list(&fields, "messages");
    if list.is_empty() {
        return Err(Failure::early(400, "[] is too short - 'messages'"));
    }
    let mut messages = Vec::with_capacity(list.len());
    for message in &list {
        push_message(&mut messages, message)?;
    }
    let mut ask = Ask::new(input::text(&fields, "model"), Prompt::Messages(messages));
    sampling(&fields, &mut ask);
    ask.tools = input::list(&fields, "tools");
    let effort = fields.get("reasoning").and_then(|reasoning| reasoning.get("effort"));
    let effort = effort.or_else(|| fields.get("reasoning_effort")).and_then(Value::as_str);
    ask.think = think(effort)?;
    ask.format = response_format(fields.get("response_format"));
    let remote = call.model(&ask.model, true)?.remote.is_some();
    let (model, mut generation) = ask.start(call, "chat").await?;
    let mut chunks = Chunks::new(&ask, &fields, Kind::Chat, model.template);
    if ask.stream {
        let first = first_of(&mut generation).await?;
        return Ok(reply(200, EVENTS, Payload::records(first, generation, Box::new(chunks))));
    }
    let body = chunks.whole(&collect(generation).await?);
    Ok(reply(200, JSON, if remote { Payload::chunked(body) } else { Payload::whole(body) }))
}

/// Answers POST /v1/completions.
pub(crate) async fn completions(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &COMPLETION)?;
    let prompt = Prompt::Plain { system: String::new(), prompt: input::text(&fields, "prompt").to_owned() };
    let mut ask = Ask::new(input::text(&fields, "model"), prompt);
    sampling(&fields, &mut ask);
    let model = call.model(&ask.model, false)?;
    if !input::text(&fields, "suffix").is_empty() && !model.can("insert") {
        return Err(Failure::new(400, format!("{} does not support insert", model.name.full())));
    }
    let (model, mut generation) = ask.start(call, "generate").await?;
    let mut chunks = Chunks::new(&ask, &fields, Kind::Completion, model.template);
    if ask.stream {
        let first = first_of(&mut generation).await?;
        return Ok(reply(200, EVENTS, Payload::records(first, generation, Box::new(chunks))));
    }
    Ok(reply(200, JSON, Payload::whole(chunks.whole(&collect(generation).await?))))
}

fn sampling(fields: &Fields, ask: &mut Ask) {
    if let Some(most) = fields.get("max_tokens").filter(|most| most.is_number()) {
        ask.options.insert("num_predict".to_owned(), most.clone());
    }
    match fields.get("stop") {
        Some(Value::String(stop)) => drop(ask.options.insert("stop".to_owned(), json!([stop]))),
        Some(Value::Array(stops)) => drop(ask.options.insert("stop".to_owned(), json!(stops))),
        _ => {}
    }
    ask.stream = input::flag(fields, "stream").unwrap_or(false);
}

/// Reads how hard to think, as the OpenAI-like APIs say it.
pub(crate) fn think(effort: Option<&str>) -> Result<Think, Failure> {
    match effort {
        None | Some("") => Ok(Think::Unsaid),
        Some("none") => Ok(Think::No),
        Some("minimal" | "low" | "medium" | "high" | "max" | "xhigh" | "ultra") => Ok(Think::Yes),
        Some(other) => {
            let known = "must be \"high\", \"medium\", \"low\", \"max\", or \"none\"";
            Err(Failure::early(400, format!("invalid reasoning value: {other:?} ({known})")))
        }
    }
}

/// Reads a `response_format`, or what stands for it in other APIs.
pub(crate) fn response_format(format: Option<&Value>) -> Option<Value> {
    let format = format?;
    match format.get("type").and_then(Value::as_str) {
        Some("json_object") => Some(json!("json")),
        Some("json_schema") => {
            let inner = format.get("json_schema").unwrap_or(format);
            inner.get("schema").cloned()
        }
        _ => None,
    }
}

/// Adds what `message` says: each part of its content becomes a message.
fn push_message(messages: &mut Vec<Message>, message: &Value) -> Result<(), Failure> {
    let role = message.get("role").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let calls = message.get("tool_calls").filter(|calls| calls.is_array()).cloned();
    let plain = |content: &str| Message { role: role.clone(), content: content.to_owned(), ..Message::default() };
    match message.get("content") {
        Some(Value::String(content)) => messages.push(Message { calls, ..plain(content) }),
        Some(Value::Array(parts)) => {
            for part in parts {
                match part.get("type").and_then(Value::as_str) {
                    Some("text") => messages.push(plain(part.get("text").and_then(Value::as_str).unwrap_or_default())),
                    Some("image_url") => {
                        let image = part.get("image_url").unwrap_or(&Value::Null);
                        let url = image.get("url").unwrap_or(image).as_str().unwrap_or_default();
                        data_url(url)?;
                        messages.push(Message { images: 1, ..plain("") });
                    }
                    Some("input_audio") => messages.push(Message { images: 1, ..plain("") }),
                    _ => return Err(Failure::early(400, "invalid message format")),
                }
            }
            if calls.is_some() {
                messages.push(Message { calls, ..plain("") });
            }
        }
        None | Some(Value::Null) if calls.is_some() => messages.push(Message { calls, ..plain("") }),
        None | Some(Value::Null) => messages.push(plain("")),
        Some(other) => {
            return Err(Failure::early(400, format!("invalid message content type: {}", input::kind(other))));
        }
    }
    Ok(())
}

/// Refuses images that are not in the request itself.
pub(crate) fn data_url(url: &str) -> Result<(), Failure> {
    if url.starts_with("http://") || url.starts_with("https://") {
        let text = "image URLs are not currently supported, please use base64 encoded data instead";
        return Err(Failure::early(400, text));
    }
    let good = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")).is_some_and(|(mime, data)| {
        matches!(mime, "" | "image/jpeg" | "image/jpg" | "image/png" | "image/webp")
            && crate::text::from_base64(data).is_ok()
    });
    if good { Ok(()) } else { Err(Failure::early(400, "invalid image input")) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Chat,
    Completion,
}

/// Writes the chunks of one answer.
struct Chunks {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    usage: bool,
    /// Tool calls come in a write of their own, not with the last chunks.
    calls_apart: bool,
    begun: bool,
}

impl Chunks {
    fn new(ask: &Ask, fields: &Fields, kind: Kind, template: Template) -> Chunks {
        let prefix = if kind == Kind::Chat { "chatcmpl" } else { "cmpl" };
        let options = fields.get("stream_options");
        Chunks {
            kind,
            // So few ids that they collide: clients must not rely on them.
            id: format!("{prefix}-{}", draw() % 999),
            created: clock::unix_seconds(),
            model: ask.model.clone(),
            usage: options.and_then(|options| options.get("include_usage")).and_then(Value::as_bool) == Some(true),
            calls_apart: template != Template::Gguf,
            begun: false,
        }
    }

    fn whole(&mut self, whole: &Whole) -> String {
        let calls = whole.finish.as_ref().map(|finish| finish.calls.as_slice()).unwrap_or_default();
        let reason = whole.finish.as_ref().map(reason);
        let choice = match self.kind {
            Kind::Completion => json!({"text": whole.text, "index": 0, "finish_reason": reason}),
            Kind::Chat => {
                let mut message = json!({"role": "assistant", "content": whole.text});
                if !whole.thinking.is_empty() {
                    message["reasoning"] = json!(whole.thinking);
                }
                if !calls.is_empty() {
                    message["tool_calls"] = calls_json(calls);
                }
                json!({"index": 0, "message": message, "finish_reason": reason})
            }
        };
        let object = if self.kind == Kind::Chat { "chat.completion" } else { "text_completion" };
        json(&json!({"id": self.id, "object": object, "created": self.created, "model": self.model,
            "system_fingerprint": "fp_ollama", "choices": [choice], "usage": usage(whole.finish.as_ref())}))
    }

    /// One chunk; `choices` is JSON.
    fn chunk(&self, model: &str, choices: &str, usage: Option<&Value>) -> String {
        let mut line = String::with_capacity(choices.len() + 200);
        let object = if self.kind == Kind::Chat { "chat.completion.chunk" } else { "text_completion" };
        write!(line, "data: {{\"id\":\"{}\",\"object\":\"{object}\",\"created\":{}", self.id, self.created)
            .expect("writing to a String cannot fail");
        let mut rest = String::from(",\"model\":");
        push_string(&mut rest, model);
        rest.push_str(",\"system_fingerprint\":\"fp_ollama\"");
        if self.kind == Kind::Completion {
            write!(line, ",\"choices\":[{choices}]{rest}").expect("writing to a String cannot fail");
        } else {
            write!(line, "{rest},\"choices\":[{choices}]").expect("writing to a String cannot fail");
        }
        if let Some(usage) = usage {
            write!(line, ",\"usage\":{usage}").expect("writing to a String cannot fail");
        }
        line.push_str("}\n\n");
        line
    }

    /// A chunk with text or thoughts.
    fn delta(&mut self, model: &str, text: &str, thinking: &str) -> String {
        let mut choice = String::with_capacity(text.len() + 80);
        if self.kind == Kind::Completion {
            choice.push_str("{\"text\":");
            push_string(&mut choice, text);
            choice.push_str(",\"index\":0,\"finish_reason\":null}");
            let none = usage(None);
            return self.chunk(model, &choice, self.usage.then_some(&none));
        }
        choice.push_str("{\"index\":0,\"delta\":{");
        choice.push_str(self.role());
        choice.push_str("\"content\":");
        push_string(&mut choice, text);
        if !thinking.is_empty() {
            choice.push_str(",\"reasoning\":");
            push_string(&mut choice, thinking);
        }
        choice.push_str("},\"finish_reason\":null}");
        self.chunk(model, &choice, None)
    }

    /// The role belongs to the first chunk only.
    fn role(&mut self) -> &'static str {
        if std::mem::replace(&mut self.begun, true) { "" } else { "\"role\":\"assistant\"," }
    }

    fn finish(&mut self, finish: &Finish) -> String {
        let model = self.model.clone();
        let reason = reason(finish);
        let none = usage(None);
        let mut last = match self.kind {
            Kind::Completion => {
                let choice = format!("{{\"text\":\"\",\"index\":0,\"finish_reason\":\"{reason}\"}}");
                self.chunk(&model, &choice, self.usage.then_some(&none))
            }
            Kind::Chat => {
                let choice = format!("{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}");
                self.chunk(&model, &choice, None)
            }
        };
        if self.usage {
            last.push_str(&self.chunk(&model, "", Some(&usage(Some(finish)))));
        }
        last.push_str("data: [DONE]\n\n");
        last
    }
}

impl Format for Chunks {
    fn records(&mut self, piece: Piece, out: &mut VecDeque<Bytes>) {
        let model = std::mem::take(&mut self.model);
        match piece {
            Piece::Text(text) => out.push_back(self.delta(&model, &text, "").into()),
            Piece::Thinking(text) if self.kind == Kind::Chat => out.push_back(self.delta(&model, "", &text).into()),
            Piece::Thinking(_) | Piece::Silence | Piece::Cut => {}
            Piece::End(finish) => {
                let mut record = String::new();
                if !finish.calls.is_empty() && self.kind == Kind::Chat {
                    let role = self.role();
                    let calls = json(&calls_json(&finish.calls));
                    let delta = format!("{{{role}\"content\":\"\",\"tool_calls\":{calls}}}");
                    let choice = format!("{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}");
                    record = self.chunk(&model, &choice, None);
                    if self.calls_apart {
                        out.push_back(std::mem::take(&mut record).into());
                    }
                }
                self.model.clone_from(&model);
                record.push_str(&self.finish(&finish));
                out.push_back(record.into());
            }
            // The error gets lost on its way through this API: what is left of it is a chunk without a model.
            Piece::Died | Piece::BadCall(_) => out.push_back(self.delta("", "", "").into()),
        }
        self.model = model;
    }
}

fn reason(finish: &Finish) -> &'static str {
    if finish.calls.is_empty() { finish.reason } else { "tool_calls" }
}

fn usage(finish: Option<&Finish>) -> Value {
    let (prompt, tokens) = finish.map_or((0, 0), |finish| (finish.prompt_tokens, finish.tokens));
    json!({"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens})
}

fn calls_json(calls: &[ToolCall]) -> Value {
    let one = |(index, call): (usize, &ToolCall)| {
        json!({"id": call.id, "index": index, "type": "function",
            "function": {"name": call.name, "arguments": json(&call.arguments)}})
    };
    Value::Array(calls.iter().enumerate().map(one).collect())
}
