//! Writes `/v1/completions`.

use super::super::event::Finish;
use super::super::json::{push, unescaped};
use super::super::logprobs;
use super::chat::usage;
use super::collected::Collected;
use super::{Ending, Head};

/// Writes chunks.
#[derive(Debug)]
pub(in super::super) struct Stream {
    before: String,
    begun: bool,
    /// Characters of text so far, counted only where log probabilities come.
    offset: u64,
}

impl Stream {
    pub(super) fn new(head: &Head) -> Stream {
        let mut before = Vec::with_capacity(256);
        start(&mut before, head);
        push!(&mut before, "\"choices\":[{\"index\":0,\"text\":\"");
        Stream { before: String::from_utf8(before).unwrap_or_default(), begun: false, offset: 0 }
    }

    pub(super) fn text(&mut self, head: &Head, text: &str, likely: &str, out: &mut Vec<u8>) {
        self.chunk(head, text, likely, None, out);
    }

    fn chunk(&mut self, head: &Head, text: &str, likely: &str, finish: Option<&str>, out: &mut Vec<u8>) {
        push!(out, &self.before);
        if !self.begun {
            self.begun = true;
            let echo = head.echo.as_deref().unwrap_or_default();
            self.offset = unescaped(echo).chars().count() as u64;
            push!(out, echo);
        }
        push!(out, text, "\",\"logprobs\":");
        if likely.is_empty() {
            push!(out, "null");
        } else {
            push!(out, &logprobs::to_lists(likely, self.offset));
            self.offset += unescaped(text).chars().count() as u64;
        }
        match finish {
            Some(reason) => push!(out, ",\"finish_reason\":\"", reason, "\"}]"),
            None => push!(out, ",\"finish_reason\":null}]"),
        }
        push!(out, if head.include_usage { ",\"usage\":null}\n\n" } else { "}\n\n" });
    }

    pub(super) fn end(&mut self, head: &Head, ending: &Ending, out: &mut Vec<u8>) {
        self.chunk(head, "", "", Some(reason(ending.finish)), out);
        if head.include_usage {
            start(out, head);
            push!(out, "\"choices\":[],");
            usage(out, ending);
            push!(out, "}\n\n");
        }
        push!(out, "data: [DONE]\n\n");
    }
}

fn start(out: &mut Vec<u8>, head: &Head) {
    push!(out, "data: {\"id\":\"cmpl-", &head.id, "\",\"object\":\"text_completion\",\"created\":", head.created());
    push!(out, ",\"model\":\"", &head.model, "\",\"system_fingerprint\":\"fp_ollama\",");
}

/// Writes the whole answer.
pub(super) fn whole(head: &Head, collected: &Collected, ending: &Ending, out: &mut Vec<u8>) {
    let echo = head.echo.as_deref().unwrap_or_default();
    push!(out, "{\"id\":\"cmpl-", &head.id, "\",\"object\":\"text_completion\",\"created\":", head.created());
    push!(out, ",\"model\":\"", &head.model, "\",\"system_fingerprint\":\"fp_ollama\",");
    push!(out, "\"choices\":[{\"index\":0,\"text\":\"", echo, &collected.all_text(), "\",\"logprobs\":");
    let likely = collected.all_logprobs();
    if likely.is_empty() {
        push!(out, "null");
    } else {
        push!(out, &logprobs::to_lists(&likely, unescaped(echo).chars().count() as u64));
    }
    push!(out, ",\"finish_reason\":\"", reason(ending.finish), "\"}],");
    usage(out, ending);
    push!(out, "}");
}

/// Here, nothing is called.
fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::ToolCalls => "stop",
        finish => super::chat::reason(finish),
    }
}
