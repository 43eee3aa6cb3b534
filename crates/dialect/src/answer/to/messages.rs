//! Writes `/v1/messages`.

use super::super::event::Finish;
use super::super::json::push;
use super::collected::{Block, Collected, object};
use super::{Ending, Head};
use crate::Failure;

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
            push!(out, "{\"type\":\"text\",\"text\":\"\",\"citations\":null}}\n\n");
        }
        self.delta(out);
        push!(out, "{\"type\":\"text_delta\",\"text\":\"", text, "\"}}\n\n");
    }

    pub(super) fn call(&mut self, head: &Head, id: &str, name: &str, out: &mut Vec<u8>) {
        self.next(head, Kind::Call, out);
        push!(out, "{\"type\":\"tool_use\",\"id\":\"", id, "\",\"name\":\"", name, "\",\"input\":{}}}\n\n");
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
        push!(out, ",\"container\":null},\"usage\":{");
        tokens(out, ending);
        push!(out, ",\"server_tool_use\":null}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn begin(&mut self, head: &Head, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        push!(out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_", &head.id);
        push!(out, "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"", &head.model, "\",\"content\":[],");
        push!(out, "\"stop_reason\":null,\"stop_sequence\":null,\"container\":null,\"usage\":{");
        // What a prompt costs is known when the backend says it, at the end.
        push!(out, "\"input_tokens\":0,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,");
        push!(out, "\"output_tokens\":0,\"cache_creation\":null,\"server_tool_use\":null,\"service_tier\":null}}}\n\n");
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
                push!(out, "{\"type\":\"text\",\"text\":\"", text, "\",\"citations\":null}");
            }
            Block::Call { id, name, arguments, .. } => {
                if let Some(input) = object(name, arguments, ending.finish)? {
                    comma(out);
                    push!(
                        out,
                        "{\"type\":\"tool_use\",\"id\":\"",
                        id,
                        "\",\"name\":\"",
                        name,
                        "\",\"input\":",
                        &input,
                        "}"
                    );
                }
            }
        }
    }
    push!(out, "],");
    stop(out, ending);
    push!(out, ",\"container\":null,\"usage\":{");
    tokens(out, ending);
    push!(out, ",\"cache_creation\":null,\"server_tool_use\":null,\"service_tier\":null}}");
    Ok(())
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
}

/// Here, cached tokens are no part of the input.
fn tokens(out: &mut Vec<u8>, ending: &Ending) {
    let cached = ending.cached_tokens().min(ending.prompt_tokens());
    push!(out, "\"input_tokens\":", ending.prompt_tokens() - cached, ",\"cache_creation_input_tokens\":0,");
    push!(out, "\"cache_read_input_tokens\":", cached, ",\"output_tokens\":", ending.completion_tokens());
}
