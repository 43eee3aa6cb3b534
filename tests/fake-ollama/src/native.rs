//! /api/chat and /api/generate.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::answer::{Failure, Format, JSON_UTF8, NDJSON, Payload, Reply, ok, reply};
use crate::ask::{Ask, Think, Whole, bad_call, collect, died, first_of};
use crate::clock;
use crate::fake::Call;
use crate::generation::{Finish, Piece};
use crate::input::{self, Fields, Go, MISSING, Shape};
use crate::models::Model;
use crate::prompt::{Message, Prompt};
use crate::script::Call as ToolCall;
use crate::text::{draw_letters, from_base64, push_string};
use crate::wishes;

const CHAT: Shape = Shape {
    name: "api.ChatRequest",
    empty: MISSING,
    fields: &[
        ("model", Go::Text),
        ("messages", Go::List("[]api.Message")),
        ("stream", Go::Flag),
        ("tools", Go::List("api.Tools")),
        ("options", Go::Object("map[string]interface {}")),
        ("truncate", Go::Flag),
        ("shift", Go::Flag),
        ("logprobs", Go::Flag),
        ("top_logprobs", Go::Whole),
    ],
    messages: &[
        ("role", Go::Text),
        ("content", Go::Text),
        ("thinking", Go::Text),
        ("images", Go::List("[]api.ImageData")),
    ],
};

const GENERATE: Shape = Shape {
    name: "api.GenerateRequest",
    empty: MISSING,
    fields: &[
        ("model", Go::Text),
        ("prompt", Go::Text),
        ("suffix", Go::Text),
        ("system", Go::Text),
        ("template", Go::Text),
        ("context", Go::List("[]int")),
        ("stream", Go::Flag),
        ("raw", Go::Flag),
        ("images", Go::List("[]api.ImageData")),
        ("options", Go::Object("map[string]interface {}")),
        ("truncate", Go::Flag),
        ("shift", Go::Flag),
    ],
    messages: &[],
};

/// Which of the two; their records differ in one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    Chat,
    Generate,
}

/// Answers POST /api/chat.
pub(crate) async fn chat(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &CHAT)?;
    let messages = input::list(&fields, "messages").iter().map(message).collect::<Result<Vec<_>, _>>()?;
    let empty = messages.is_empty();
    let mut ask = ask(&fields, Prompt::Messages(messages))?;
    ask.tools = input::list(&fields, "tools");
    let model = call.model(&ask.model, true)?;
    if model.remote.is_some() {
        return forwarded(call, &ask, &model).await;
    }
    answer(call, ask, &model, empty, Api::Chat, input::flag(&fields, "_debug_render_only") == Some(true)).await
}

/// Answers POST /api/generate.
pub(crate) async fn generate(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &GENERATE)?;
    let prompt = input::text(&fields, "prompt").to_owned();
    let images = images(&input::list(&fields, "images"))?;
    let raw = input::flag(&fields, "raw") == Some(true);
    let empty = prompt.is_empty() && images == 0;
    let prompt = match raw {
        true => Prompt::Raw(prompt),
        false => Prompt::Plain { system: input::text(&fields, "system").to_owned(), prompt },
    };
    let mut ask = ask(&fields, prompt)?;
    ask.images = images;
    let model = call.model(&ask.model, false)?;
    let said = |key: &str| fields.get(key).is_some_and(|value| value.as_str() != Some("") && !value.is_null());
    if raw && (said("template") || said("system") || said("context")) {
        return Err(Failure::new(400, "raw mode does not support template, system, or context"));
    }
    if said("suffix") && !model.can("insert") {
        return Err(Failure::new(400, format!("{} does not support insert", model.name.full())));
    }
    answer(call, ask, &model, empty, Api::Generate, false).await
}

async fn answer(
    call: &Call,
    ask: Ask,
    model: &std::sync::Arc<Model>,
    empty: bool,
    api: Api,
    render: bool,
) -> Result<Reply, Failure> {
    if empty && ask.keep_alive == Some(Duration::ZERO) {
        call.fake.scheduler.unload(model);
        return Ok(ok(&nothing(&ask.model, api, "unload")));
    }
    ask.check(model, if api == Api::Chat { "chat" } else { "generate" })?;
    let (user, fit) = ask.runner(call, model).await?;
    if empty {
        return Ok(ok(&nothing(&ask.model, api, "load")));
    }
    if render {
        let mut record = json!({"model": ask.model, "created_at": clock::stamp(),
            "message": {"role": "", "content": ""}, "done": false});
        record["_debug_info"] = json!({"rendered_template": ask.shortened(model, &fit).render(model)});
        return Ok(ok(&record));
    }
    let mut generation = ask.begin(call, model, user, &fit).await?;
    let names_calls = model.template != crate::models::Template::Gguf;
    let mut lines = Lines::new(&ask, api, names_calls);
    if ask.stream {
        let first = first_of(&mut generation).await?;
        return Ok(reply(200, NDJSON, Payload::records(first, generation, Box::new(lines))));
    }
    let whole = collect(generation).await?;
    Ok(reply(200, JSON_UTF8, Payload::whole(lines.whole(&whole))))
}

/// A stub's answer: the same model here, told as the other host's.
async fn forwarded(call: &Call, ask: &Ask, stub: &Model) -> Result<Reply, Failure> {
    let Some((target, host)) = &stub.remote else { return Err(Failure::new(500, "not a stub")) };
    if !call.fake.options.remotes {
        return Err(Failure::new(400, "this server cannot run this remote model"));
    }
    let model = call.model(target, true)?;
    let (user, fit) = ask.runner(call, &model).await?;
    let mut generation = ask.begin(call, &model, user, &fit).await?;
    let mut lines = Lines::new(ask, Api::Chat, false);
    lines.remote(target, host);
    if ask.stream {
        let first = first_of(&mut generation).await?;
        return Ok(reply(200, NDJSON, Payload::records(first, generation, Box::new(lines))));
    }
    let whole = collect(generation).await?;
    Ok(reply(200, JSON_UTF8, Payload::chunked(lines.whole(&whole))))
}

fn nothing(model: &str, api: Api, reason: &str) -> Value {
    let mut record = Map::new();
    record.insert("model".to_owned(), json!(model));
    record.insert("created_at".to_owned(), json!(clock::stamp()));
    match api {
        Api::Chat => record.insert("message".to_owned(), json!({"role": "assistant", "content": ""})),
        Api::Generate => record.insert("response".to_owned(), json!("")),
    };
    record.insert("done".to_owned(), json!(true));
    record.insert("done_reason".to_owned(), json!(reason));
    Value::Object(record)
}

fn ask(fields: &Fields, prompt: Prompt) -> Result<Ask, Failure> {
    let early = |text: String| Failure::early(400, text);
    let mut ask = Ask::new(input::text(fields, "model"), prompt);
    if let Some(value) = fields.get("keep_alive").filter(|value| !value.is_null()) {
        ask.keep_alive = Some(wishes::keep_alive(value).map_err(early)?);
    }
    ask.think = match fields.get("think") {
        None | Some(Value::Null) => Think::Unsaid,
        Some(Value::Bool(false)) => Think::No,
        Some(Value::Bool(true)) => Think::Yes,
        Some(Value::String(level)) if matches!(level.as_str(), "high" | "medium" | "low" | "max") => Think::Yes,
        Some(Value::String(level)) => {
            let known = "must be \"high\", \"medium\", \"low\", \"max\", true, or false";
            return Err(early(format!("invalid think value: {level:?} ({known})")));
        }
        Some(_) => {
            return Err(early(
                "think must be a boolean or string (\"high\", \"medium\", \"low\", \"max\", true, or false)".to_owned(),
            ));
        }
    };
    let top = fields.get("top_logprobs").and_then(wishes::number).unwrap_or(0);
    if !(0..=20).contains(&top) {
        return Err(Failure::new(400, "top_logprobs must be between 0 and 20"));
    }
    ask.logprobs = (input::flag(fields, "logprobs") == Some(true)).then(|| u64::try_from(top).unwrap_or(0));
    ask.format = fields.get("format").cloned();
    ask.options = fields.get("options").and_then(Value::as_object).cloned().unwrap_or_default();
    ask.truncate = input::flag(fields, "truncate").unwrap_or(true);
    ask.shift = input::flag(fields, "shift").unwrap_or(true);
    ask.stream = input::flag(fields, "stream").unwrap_or(true);
    Ok(ask)
}

fn message(value: &Value) -> Result<Message, Failure> {
    let empty = Map::new();
    let fields = value.as_object().unwrap_or(&empty);
    Ok(Message {
        role: input::text(fields, "role").to_ascii_lowercase(),
        content: input::text(fields, "content").to_owned(),
        images: images(&input::list(fields, "images"))?,
        calls: fields.get("tool_calls").filter(|calls| !calls.is_null()).cloned(),
    })
}

fn images(list: &[Value]) -> Result<usize, Failure> {
    for image in list {
        let bad = |at| Failure::early(400, format!("illegal base64 data at input byte {at}"));
        from_base64(image.as_str().unwrap_or_default()).map_err(bad)?;
    }
    Ok(list.len())
}

/// Writes the records of one answer.
struct Lines {
    api: Api,
    /// `{"model":…,` and what a forwarded answer adds.
    head: String,
    logprobs: Option<u64>,
    /// Tool calls come in a record of their own, named by Ollama instead of the engine.
    names_calls: bool,
    /// The last record holds the deprecated `context`.
    gives_context: bool,
}

impl Lines {
    fn new(ask: &Ask, api: Api, names_calls: bool) -> Lines {
        let mut head = String::from("{\"model\":");
        push_string(&mut head, &ask.model);
        head.push(',');
        let gives_context = api == Api::Generate && !matches!(ask.prompt, Prompt::Raw(_));
        Lines { api, head, logprobs: ask.logprobs, names_calls, gives_context }
    }

    fn remote(&mut self, model: &str, host: &str) {
        self.head.push_str("\"remote_model\":");
        push_string(&mut self.head, model);
        self.head.push_str(",\"remote_host\":");
        push_string(&mut self.head, host);
        self.head.push(',');
    }

    /// One record up to and without its last fields.
    fn line(&self, text: &str, thinking: &str, calls: &[ToolCall], done: bool) -> String {
        let mut line = String::with_capacity(self.head.len() + text.len() + 120);
        line.push_str(&self.head);
        line.push_str("\"created_at\":\"");
        clock::push_stamp(&mut line);
        line.push_str(match self.api {
            Api::Chat => "\",\"message\":{\"role\":\"assistant\",\"content\":",
            Api::Generate => "\",\"response\":",
        });
        push_string(&mut line, text);
        if !thinking.is_empty() {
            line.push_str(",\"thinking\":");
            push_string(&mut line, thinking);
        }
        if !calls.is_empty() {
            line.push_str(",\"tool_calls\":");
            line.push_str(&crate::text::json(&Value::Array(calls.iter().enumerate().map(call_json).collect())));
        }
        line.push_str(match (self.api, done) {
            (Api::Chat, false) => "},\"done\":false",
            (Api::Chat, true) => "},\"done\":true",
            (Api::Generate, false) => ",\"done\":false",
            (Api::Generate, true) => ",\"done\":true",
        });
        line
    }

    fn push_logprobs(&self, line: &mut String, tokens: &[String]) {
        let Some(top) = self.logprobs else { return };
        let one = |token: &String| {
            let bytes = token.as_bytes();
            json!({"token": token, "logprob": -0.01, "bytes": bytes})
        };
        let all: Vec<Value> = tokens
            .iter()
            .map(|token| {
                let mut likely = one(token);
                if top > 0 {
                    likely["top_logprobs"] = json!([one(token)]);
                }
                likely
            })
            .collect();
        line.push_str(",\"logprobs\":");
        line.push_str(&crate::text::json(&Value::Array(all)));
    }

    fn whole(&mut self, whole: &Whole) -> String {
        let mut calls = whole.finish.as_ref().map(|finish| finish.calls.clone()).unwrap_or_default();
        self.rename(&mut calls);
        let mut line = self.line(&whole.text, &whole.thinking, &calls, whole.finish.is_some());
        if let Some(finish) = &whole.finish {
            push_reason(&mut line, finish);
            self.push_logprobs(&mut line, &whole.tokens);
            self.push_counts(&mut line, finish);
        }
        line.push('}');
        line
    }

    fn rename(&self, calls: &mut [ToolCall]) {
        for call in calls.iter_mut().filter(|_| self.names_calls) {
            call.id = format!("call_{}", draw_letters(8).to_ascii_lowercase());
        }
    }

    fn push_counts(&self, line: &mut String, finish: &Finish) {
        if self.gives_context {
            // Deprecated, but clients parse it.
            line.push_str(",\"context\":[2,345,343,329,342,332,333,3,14,2,325,343,1]");
        }
        let counts = [
            ("total_duration", finish.total.as_nanos()),
            ("load_duration", finish.load.as_nanos()),
            ("prompt_eval_count", u128::from(finish.prompt_tokens)),
            ("prompt_eval_duration", finish.prompt.as_nanos().max(1)),
            ("eval_count", u128::from(finish.tokens)),
            ("eval_duration", finish.eval.as_nanos().max(1)),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            write!(line, ",\"{name}\":{count}").expect("writing to a String cannot fail");
        }
    }
}

fn push_reason(line: &mut String, finish: &Finish) {
    write!(line, ",\"done_reason\":\"{}\"", finish.reason).expect("writing to a String cannot fail");
}

fn call_json((index, call): (usize, &ToolCall)) -> Value {
    json!({"id": call.id, "function": {"index": index, "name": call.name, "arguments": call.arguments}})
}

impl Format for Lines {
    fn records(&mut self, piece: Piece, out: &mut VecDeque<Bytes>) {
        let mut push = |mut line: String| {
            line.push_str("}\n");
            out.push_back(Bytes::from(line));
        };
        match piece {
            Piece::Text(text) => {
                let mut line = self.line(&text, "", &[], false);
                if self.logprobs.is_some() {
                    self.push_logprobs(&mut line, &[text.into_owned()]);
                }
                push(line);
            }
            Piece::Thinking(text) => push(self.line("", &text, &[], false)),
            Piece::End(mut finish) => {
                let mut calls = std::mem::take(&mut finish.calls);
                if self.names_calls && !calls.is_empty() {
                    self.rename(&mut calls);
                    push(self.line("", "", &calls, false));
                    calls.clear();
                }
                let mut line = self.line("", "", &calls, true);
                push_reason(&mut line, &finish);
                self.push_counts(&mut line, &finish);
                push(line);
            }
            Piece::Died => out.push_back(error_line(&died().text)),
            Piece::BadCall(name) => out.push_back(error_line(&bad_call(&name).text)),
            Piece::Silence | Piece::Cut => {}
        }
    }
}

fn error_line(text: &str) -> Bytes {
    Bytes::from(crate::text::json(&json!({"error": text})) + "\n")
}
