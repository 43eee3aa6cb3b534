//! Writes `/v1/responses`.

mod object;

use super::super::json::push;
use super::collected::{Block, Collected};
use super::{Called, Ending, Head};
use crate::Failure;
pub(crate) use object::{Fields, unknown_failed};
use object::{State, item, item_id, response, status, text_part};

/// Writes events.
#[derive(Debug)]
pub(in super::super) struct Stream {
    fields: Fields,
    /// What was said, since the last events repeat it; one output item per block.
    said: Collected,
    /// The number of the next event.
    sequence: u64,
    is_open: bool,
}

impl Stream {
    pub(super) fn new(_head: &Head, fields: Fields) -> Stream {
        Stream { fields, said: Collected::default(), sequence: 0, is_open: false }
    }

    /// The number of the last event.
    pub(in super::super) fn last(&self) -> Option<u64> {
        self.sequence.checked_sub(1)
    }

    pub(super) fn thinking(&mut self, head: &Head, text: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
        if !self.is_open || !matches!(self.said.blocks.last(), Some(Block::Thinking(_))) {
            self.close(head, "completed", out);
            self.begin(head, out);
            self.said.thinking("")?;
            self.open(head, out);
            self.event("response.reasoning_summary_part.added", out);
            self.place(head, out);
            push!(out, ",\"summary_index\":0,\"part\":{\"type\":\"summary_text\",\"text\":\"\"}}\n\n");
        }
        self.said.thinking(text)?;
        self.event("response.reasoning_summary_text.delta", out);
        self.place(head, out);
        push!(out, ",\"summary_index\":0,\"delta\":\"", text, "\"}\n\n");
        Ok(())
    }

    #[inline]
    pub(super) fn text(&mut self, head: &Head, text: &str, likely: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
        if !self.is_open || !matches!(self.said.blocks.last(), Some(Block::Text { .. })) {
            self.close(head, "completed", out);
            self.begin(head, out);
            self.said.text("", "")?;
            self.open(head, out);
            self.event("response.content_part.added", out);
            self.place(head, out);
            push!(out, ",\"content_index\":0,\"part\":");
            text_part("", "", out);
            push!(out, "}\n\n");
        }
        self.said.text(text, likely)?;
        self.event("response.output_text.delta", out);
        self.place(head, out);
        push!(out, ",\"content_index\":0,\"delta\":\"", text, "\",\"logprobs\":[", likely, "]}\n\n");
        Ok(())
    }

    pub(super) fn call(&mut self, head: &Head, call: Called<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.close(head, "completed", out);
        self.begin(head, out);
        self.said.call(call)?;
        self.open(head, out);
        Ok(())
    }

    pub(super) fn arguments(&mut self, head: &Head, text: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.said.arguments(text)?;
        self.event("response.function_call_arguments.delta", out);
        self.place(head, out);
        push!(out, ",\"delta\":\"", text, "\"}\n\n");
        Ok(())
    }

    pub(super) fn end(&mut self, head: &Head, ending: &Ending, out: &mut Vec<u8>) {
        self.begin(head, out);
        let status = status(ending.finish);
        self.close(head, status, out);
        self.event(if status == "completed" { "response.completed" } else { "response.incomplete" }, out);
        push!(out, ",\"response\":");
        response(head, &self.fields, &self.said, &State::Ended(ending), out);
        push!(out, "}\n\n");
    }

    /// Ends the stream with an error.
    pub(in super::super) fn fail(&mut self, head: &Head, code: &str, message: &str, out: &mut Vec<u8>) {
        self.begin(head, out);
        self.event("response.failed", out);
        push!(out, ",\"response\":");
        response(head, &self.fields, &self.said, &State::Failed { code, message }, out);
        push!(out, "}\n\n");
    }

    fn begin(&mut self, head: &Head, out: &mut Vec<u8>) {
        if self.sequence > 0 {
            return;
        }
        for name in ["response.created", "response.in_progress"] {
            self.event(name, out);
            push!(out, ",\"response\":");
            response(head, &self.fields, &self.said, &State::Begun, out);
            push!(out, "}\n\n");
        }
    }

    /// Begins an event, up to its own members.
    #[inline]
    fn event(&mut self, name: &str, out: &mut Vec<u8>) {
        push!(out, "event: ", name, "\ndata: {\"type\":\"", name, "\",\"sequence_number\":", self.sequence);
        self.sequence += 1;
    }

    /// Which item the event is about: always the last.
    #[inline]
    fn place(&self, head: &Head, out: &mut Vec<u8>) {
        let index = self.index();
        push!(out, ",\"item_id\":\"");
        if let Some(block) = self.said.blocks.last() {
            item_id(head, index, block, out);
        }
        push!(out, "\",\"output_index\":", index);
    }

    fn index(&self) -> u64 {
        (self.said.blocks.len() as u64).saturating_sub(1)
    }

    fn open(&mut self, head: &Head, out: &mut Vec<u8>) {
        self.is_open = true;
        self.event("response.output_item.added", out);
        push!(out, ",\"output_index\":", self.index(), ",\"item\":");
        if let Some(block) = self.said.blocks.last() {
            item(head, self.index(), block, "in_progress", out);
        }
        push!(out, "}\n\n");
    }

    fn close(&mut self, head: &Head, status: &str, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        // Taken out, so that it can be read while events are numbered.
        let Some(block) = self.said.blocks.pop() else { return };
        let index = self.said.blocks.len() as u64;
        let mut about = |stream: &mut Stream, name: &str| {
            stream.event(name, out);
            push!(out, ",\"item_id\":\"");
            item_id(head, index, &block, out);
            push!(out, "\",\"output_index\":", index);
            match (&block, name) {
                (Block::Thinking(text), "response.reasoning_summary_text.done") => {
                    push!(out, ",\"summary_index\":0,\"text\":\"", text, "\"");
                }
                (Block::Thinking(text), _) => {
                    push!(out, ",\"summary_index\":0,\"part\":{\"type\":\"summary_text\",\"text\":\"", text, "\"}");
                }
                (Block::Text { text, logprobs }, "response.output_text.done") => {
                    push!(out, ",\"content_index\":0,\"text\":\"", text, "\",\"logprobs\":[", logprobs, "]");
                }
                (Block::Text { text, logprobs }, _) => {
                    push!(out, ",\"content_index\":0,\"part\":");
                    text_part(text, logprobs, out);
                }
                (Block::Call { name, arguments, .. }, _) => {
                    push!(out, ",\"name\":\"", name, "\",\"arguments\":\"", arguments, "\"");
                }
            }
            push!(out, "}\n\n");
        };
        match &block {
            Block::Thinking(_) => {
                about(self, "response.reasoning_summary_text.done");
                about(self, "response.reasoning_summary_part.done");
            }
            Block::Text { .. } => {
                about(self, "response.output_text.done");
                about(self, "response.content_part.done");
            }
            Block::Call { .. } => about(self, "response.function_call_arguments.done"),
        }
        self.event("response.output_item.done", out);
        push!(out, ",\"output_index\":", index, ",\"item\":");
        item(head, index, &block, status, out);
        push!(out, "}\n\n");
        self.said.blocks.push(block);
    }
}

/// Writes the whole answer.
pub(super) fn whole(head: &Head, fields: &Fields, collected: &Collected, ending: &Ending, out: &mut Vec<u8>) {
    response(head, fields, collected, &State::Ended(ending), out);
}
