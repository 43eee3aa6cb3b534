//! Writes Responses objects and their items.

use super::super::super::event::Finish;
use super::super::super::json::{elements, escaped, is_object, members, push};
use super::super::collected::{Block, Collected};
use super::super::{Ending, Head};

/// Fields of a Responses object that are about the request, and what they are where it does not say. Nothing is kept here,
/// and nothing runs unattended.
const FIELDS: [(&str, &str); 22] = [
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("presence_penalty", "0"),
    ("previous_response_id", "null"),
    ("frequency_penalty", "0"),
    ("prompt_cache_key", "null"),
    ("reasoning", "null"),
    ("safety_identifier", "null"),
    ("service_tier", r#""default""#),
    ("store", "false"),
    ("temperature", "1"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1"),
    ("truncation", r#""disabled""#),
    ("user", "null"),
];

/// Members of every Responses object of one answer, each with a comma before it.
#[derive(Debug)]
pub(crate) struct Fields(String);

impl Fields {
    /// `said` are members that the request gave, as JSON between the braces.
    pub(crate) fn new(said: &str) -> Fields {
        let object = format!("{{{said}}}");
        let object = if is_object(&object) { object } else { "{}".to_owned() };
        let mut known = Vec::new();
        let mut out = Vec::with_capacity(said.len() + 512);
        members(&object, |name, value| {
            let default = FIELDS.iter().find(|(field, _)| *field == name).map(|(_, default)| *default);
            // A request may say null where an answer may not.
            if value == "null" && default != Some("null") {
                return;
            }
            known.push(name);
            push!(&mut out, ",\"", name, "\":");
            if name == "tools" { tools(value, &mut out) } else { push!(&mut out, value) }
        });
        for (name, default) in FIELDS.into_iter().filter(|(name, _)| !known.contains(name)) {
            push!(&mut out, ",\"", name, "\":", default);
        }
        Fields(String::from_utf8(out).unwrap_or_default())
    }
}

/// Writes the tools of the request; a function says in an answer what it may leave out in a request.
fn tools(list: &str, out: &mut Vec<u8>) {
    out.push(b'[');
    let mut is_first = true;
    elements(list, |tool| {
        push!(out, if std::mem::take(&mut is_first) { "" } else { "," });
        let (mut is_function, mut parameters, mut strict) = (false, false, false);
        members(tool, |name, value| match name {
            "type" => is_function = value == "\"function\"",
            "parameters" => parameters = true,
            "strict" => strict = true,
            _ => {}
        });
        match tool.strip_suffix('}').filter(|_| is_function) {
            None => push!(out, tool),
            Some(inner) => {
                push!(out, inner);
                push!(out, if parameters { "" } else { ",\"parameters\":null" });
                push!(out, if strict { "" } else { ",\"strict\":null" }, "}");
            }
        }
    });
    out.push(b']');
}

pub(super) fn status(finish: Finish) -> &'static str {
    match finish {
        Finish::Length | Finish::Filter => "incomplete",
        Finish::Stop | Finish::ToolCalls | Finish::Load | Finish::Unload => "completed",
    }
}

/// How far an answer has come.
pub(super) enum State<'a> {
    /// It has no output yet.
    Begun,
    Ended(&'a Ending),
    /// It broke off with this error.
    Failed {
        code: &'a str,
        message: &'a str,
    },
}

/// Writes a Responses object.
pub(super) fn response(head: &Head, fields: &Fields, said: &Collected, state: &State<'_>, out: &mut Vec<u8>) {
    push!(out, "{\"id\":\"resp_", &head.id, "\",\"object\":\"response\",\"created_at\":", head.created());
    let (status, item_status) = match state {
        State::Begun => ("in_progress", "in_progress"),
        State::Ended(ending) => (status(ending.finish), status(ending.finish)),
        State::Failed { .. } => ("failed", "incomplete"),
    };
    push!(out, ",\"status\":\"", status, "\",\"completed_at\":");
    match status {
        "completed" => push!(out, head.now_ms / 1_000),
        _ => push!(out, "null"),
    }
    push!(out, ",\"error\":");
    match state {
        State::Failed { code, message } => {
            push!(out, "{\"code\":\"", *code, "\",\"message\":\"", &escaped(message), "\"}");
        }
        State::Begun | State::Ended(_) => push!(out, "null"),
    }
    push!(out, ",\"incomplete_details\":");
    push!(
        out,
        match state {
            State::Ended(Ending { finish: Finish::Length, .. }) => "{\"reason\":\"max_output_tokens\"}",
            State::Ended(Ending { finish: Finish::Filter, .. }) => "{\"reason\":\"content_filter\"}",
            _ => "null",
        }
    );
    push!(out, ",\"model\":\"", &head.model, "\"", &fields.0, ",\"output\":[");
    let blocks = if matches!(state, State::Begun) { &[][..] } else { &said.blocks };
    for (at, block) in blocks.iter().enumerate() {
        push!(out, if at == 0 { "" } else { "," });
        let is_last = at + 1 == said.blocks.len();
        item(head, at as u64, block, if is_last { item_status } else { "completed" }, out);
    }
    let State::Ended(ending) = state else { return push!(out, "],\"usage\":null}") };
    push!(out, "],\"usage\":{\"input_tokens\":", ending.prompt_tokens());
    push!(out, ",\"input_tokens_details\":{\"cached_tokens\":", ending.cached_tokens(), ",\"cache_write_tokens\":0}");
    push!(out, ",\"output_tokens\":", ending.completion_tokens());
    push!(out, ",\"output_tokens_details\":{\"reasoning_tokens\":", ending.reasoning_tokens(), "}");
    push!(out, ",\"total_tokens\":", ending.total_tokens(), "}}");
}

/// The event `number` with which an answer ends of which nothing else is known.
pub(crate) fn unknown_failed(number: u64, code: &str, message: &str) -> String {
    let head = Head {
        id: "unknown".to_owned(),
        model: String::new(),
        created_ms: 0,
        now_ms: 0,
        client: proto::Api::Responses,
        include_usage: false,
        prompt_tokens_estimate: 0,
        echo: None,
    };
    let mut out = Vec::with_capacity(1_024);
    push!(&mut out, "{\"type\":\"response.failed\",\"sequence_number\":", number, ",\"response\":");
    response(&head, &Fields::new(""), &Collected::default(), &State::Failed { code, message }, &mut out);
    push!(&mut out, "}");
    String::from_utf8(out).unwrap_or_default()
}

pub(super) fn item_id(head: &Head, index: u64, block: &Block, out: &mut Vec<u8>) {
    let kind = match block {
        Block::Thinking(_) => "rs_",
        Block::Text { .. } => "msg_",
        Block::Call { .. } => "fc_",
    };
    push!(out, kind, &head.id, "_", index);
}

/// Writes an output item; one in progress is still empty.
pub(super) fn item(head: &Head, index: u64, block: &Block, status: &str, out: &mut Vec<u8>) {
    push!(out, "{\"id\":\"");
    item_id(head, index, block, out);
    let is_full = status != "in_progress";
    match block {
        Block::Thinking(text) => {
            push!(out, "\",\"type\":\"reasoning\",\"status\":\"", status, "\",\"summary\":[");
            if is_full {
                push!(out, "{\"type\":\"summary_text\",\"text\":\"", text, "\"}");
            }
            push!(out, "]}");
        }
        Block::Text { text, logprobs } => {
            push!(out, "\",\"type\":\"message\",\"status\":\"", status, "\",\"role\":\"assistant\",\"content\":[");
            if is_full {
                text_part(text, logprobs, out);
            }
            push!(out, "]}");
        }
        Block::Call { id, name, namespace, arguments } => {
            push!(out, "\",\"type\":\"function_call\",\"status\":\"", status, "\",\"call_id\":\"", id);
            if !namespace.is_empty() {
                push!(out, "\",\"namespace\":\"", namespace);
            }
            push!(out, "\",\"name\":\"", name, "\",\"arguments\":\"", if is_full { arguments } else { "" }, "\"}");
        }
    }
}

pub(super) fn text_part(text: &str, logprobs: &str, out: &mut Vec<u8>) {
    push!(out, "{\"type\":\"output_text\",\"text\":\"", text, "\",\"annotations\":[],\"logprobs\":[", logprobs, "]}");
}
