//! Writes `/v1/messages`.

use super::super::event::Finish;
use super::super::json::push;
use super::collected::{Block, Collected, object};
use super::{Ending, Head};
use crate::Failure;

/// What a whole message's usage says of Anthropic's own servers.
const UNKNOWN_USAGE: &str = ",\"cache_creation\":null,\"service_tier\":null,\"inference_geo\":null,\"speed\":null";

/// Writes events.
#[derive(Debug, Default)]
pub(in super::super) struct Stream {
    begun: bool,
    open: Option<Kind>,
    /// The open block's number, or the next one's.
    index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Thinking,
    Text,
    Call,
}

impl Stream {
    pub(super) fn thinking(&mut self, head: &Head, text: &str, out: &mut Vec<u8>) {
        if self.open != Some(Kind::Thinking) {
            self.next(head, Kind::Thinking, out);
            push!(out, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n");
        }
        self.delta(out);
        push!(out, "{\"type\":\"thinking_delta\",\"thinking\":\"", text, "\"}}\n\n");
    }

    #[inline]
    pub(super) fn text(&mut self, head: &Head, text: &str, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if self.open != Some(Kind::Text) {
            self.next(head, Kind::Text, out);
            push!(out, "{\"type\":\"text\",\"text\":\"\"}}\n\n");
        }
        self.delta(out);
        push!(out, "{\"type\":\"text_delta\",\"text\":\"", text, "\"}}\n\n");
    }

    pub(super) fn call(&mut self, head: &Head, id: &str, name: &str, out: &mut Vec<u8>) {
        self.next(head, Kind::Call, out);
        tool_use(id, name, "{}", out);
        push!(out, "}\n\n");
    }

    pub(super) fn arguments(&mut self, text: &str, out: &mut Vec<u8>) {
        self.delta(out);
        push!(out, "{\"type\":\"input_json_delta\",\"partial_json\":\"", text, "\"}}\n\n");
    }

    pub(super) fn end(&mut self, head: &Head, ending: &Ending, out: &mut Vec<u8>) {
        self.begin(head, out);
        self.close(out);
        push!(out, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
        stop(out, ending);
        push!(out, "},\"usage\":{");
        tokens(out, ending);
        push!(out, "}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn begin(&mut self, head: &Head, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        push!(out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_", &head.id);
        push!(out, "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"", &head.model, "\",\"content\":[],");
        push!(out, "\"stop_reason\":null,\"stop_sequence\":null,\"stop_details\":null,\"container\":null,");
        // What a prompt costs is known when the backend says it, at the end.
        push!(out, "\"diagnostics\":null,\"usage\":{\"input_tokens\":", head.prompt_tokens_estimate);
        push!(out, ",\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":0,");
        push!(out, "\"output_tokens_details\":null,\"server_tool_use\":null", UNKNOWN_USAGE, "}}}\n\n");
    }

    /// Begins the next block, up to what it is.
    fn next(&mut self, head: &Head, kind: Kind, out: &mut Vec<u8>) {
        self.begin(head, out);
        self.close(out);
        self.open = Some(kind);
        push!(out, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":", self.index);
        push!(out, ",\"content_block\":");
    }

    #[inline]
    fn delta(&self, out: &mut Vec<u8>) {
        push!(out, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":", self.index);
        push!(out, ",\"delta\":");
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            push!(out, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":", self.index);
            push!(out, "}\n\n");
            self.index += 1;
        }
    }
}

/// Writes the whole answer. A call inside which it was cut is left out: its input would be no object.
pub(super) fn whole(head: &Head, collected: &Collected, ending: &Ending, out: &mut Vec<u8>) -> Result<(), Failure> {
    push!(out, "{\"id\":\"msg_", &head.id, "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"", &head.model);
    push!(out, "\",\"content\":[");
    let mut is_first = true;
    for block in &collected.blocks {
        let mut comma = |out: &mut Vec<u8>| push!(out, if std::mem::take(&mut is_first) { "" } else { "," });
        match block {
            Block::Thinking(text) => {
                comma(out);
                push!(out, "{\"type\":\"thinking\",\"thinking\":\"", text, "\",\"signature\":\"\"}");
            }
            Block::Text { text, .. } if text.is_empty() => {}
            Block::Text { text, .. } => {
                comma(out);
                push!(out, "{\"type\":\"text\",\"text\":\"", text, "\"}");
            }
            Block::Call { id, name, arguments, .. } => {
                if let Some(input) = object(name, arguments, ending.finish)? {
                    comma(out);
                    tool_use(id, name, &input, out);
                }
            }
        }
    }
    push!(out, "],");
    stop(out, ending);
    push!(out, ",\"diagnostics\":null,\"usage\":{");
    tokens(out, ending);
    push!(out, UNKNOWN_USAGE, "}}");
    Ok(())
}

fn tool_use(id: &str, name: &str, input: &str, out: &mut Vec<u8>) {
    push!(out, "{\"type\":\"tool_use\",\"id\":\"", id, "\",\"name\":\"", name, "\",\"input\":", input);
    push!(out, ",\"caller\":{\"type\":\"direct\"}}");
}

fn stop(out: &mut Vec<u8>, ending: &Ending) {
    let reason = match ending.finish {
        Finish::Stop if ending.stop_text.is_some() => "stop_sequence",
        Finish::Stop | Finish::Load | Finish::Unload => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::Filter => "refusal",
    };
    push!(out, "\"stop_reason\":\"", reason, "\",\"stop_sequence\":");
    match &ending.stop_text {
        Some(text) if reason == "stop_sequence" => push!(out, "\"", text, "\""),
        _ => push!(out, "null"),
    }
    push!(out, ",\"stop_details\":");
    push!(
        out,
        match ending.finish {
            Finish::Filter => "{\"type\":\"refusal\",\"category\":null,\"explanation\":null}",
            _ => "null",
        }
    );
    push!(out, ",\"container\":null");
}

/// Here, cached tokens are no part of the input.
fn tokens(out: &mut Vec<u8>, ending: &Ending) {
    let cached = ending.cached_tokens().min(ending.prompt_tokens());
    push!(out, "\"input_tokens\":", ending.prompt_tokens() - cached, ",\"cache_creation_input_tokens\":0,");
    push!(out, "\"cache_read_input_tokens\":", cached, ",\"output_tokens\":", ending.completion_tokens());
    push!(out, ",\"output_tokens_details\":");
    match ending.usage.reasoning_tokens {
        Some(tokens) => push!(out, "{\"thinking_tokens\":", tokens, "}"),
        None => push!(out, "null"),
    }
    push!(out, ",\"server_tool_use\":null");
}
