//! Writes `/api/chat` and `/api/generate`.

use proto::Api;

use super::super::event::Finish;
use super::super::json::push;
use super::collected::{Collected, object};
use super::{Called, Ending, Head};
use crate::Failure;
use crate::heartbeat::rfc3339;

/// Writes lines.
#[derive(Debug, Default)]
pub(in super::super) struct Stream {
    /// Of the call that began last, since a line has whole ones only.
    pending: Collected,
    calls: u64,
    /// The last moment that was written, and how.
    moment: Option<(u64, String)>,
}

impl Stream {
    pub(super) fn thinking(&mut self, head: &Head, text: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.flush(head, Finish::Stop, out)?;
        self.start(head, out);
        let empty = if is_chat(head) { "\"content\":\"\"" } else { "\"response\":\"\"" };
        push!(out, empty, ",\"thinking\":\"", text, "\"");
        not_done(head, "", out);
        Ok(())
    }

    pub(super) fn text(&mut self, head: &Head, text: &str, logprobs: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.flush(head, Finish::Stop, out)?;
        self.start(head, out);
        push!(out, if is_chat(head) { "\"content\":\"" } else { "\"response\":\"" }, text, "\"");
        not_done(head, logprobs, out);
        Ok(())
    }

    pub(super) fn call(&mut self, head: &Head, call: Called<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.flush(head, Finish::Stop, out)?;
        self.pending.call(call)
    }

    pub(super) fn arguments(&mut self, text: &str) -> Result<(), Failure> {
        self.pending.arguments(text)
    }

    pub(super) fn end(&mut self, head: &Head, ending: &Ending, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.flush(head, ending.finish, out)?;
        self.start(head, out);
        push!(out, if is_chat(head) { "\"content\":\"\"}" } else { "\"response\":\"\"" }, ",\"done\":true");
        last(ending, "", out);
        push!(out, "}\n");
        Ok(())
    }

    /// Writes the call that is now complete.
    fn flush(&mut self, head: &Head, finish: Finish, out: &mut Vec<u8>) -> Result<(), Failure> {
        if self.pending.blocks.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        for (id, name, arguments) in pending.calls() {
            let Some(arguments) = object(name, arguments, finish)? else { continue };
            self.start(head, out);
            push!(out, if is_chat(head) { "\"content\":\"\"," } else { "\"response\":\"\"," }, "\"tool_calls\":[");
            call(self.calls, id, name, &arguments, out);
            push!(out, "]");
            not_done(head, "", out);
            self.calls += 1;
        }
        Ok(())
    }

    /// Begins a line, up to what is said.
    fn start(&mut self, head: &Head, out: &mut Vec<u8>) {
        let (at, moment) = self.moment.get_or_insert_with(|| (head.now_ms, rfc3339(head.now_ms)));
        if *at != head.now_ms {
            (*at, *moment) = (head.now_ms, rfc3339(head.now_ms));
        }
        start(head, moment, out);
    }
}

fn is_chat(head: &Head) -> bool {
    head.client == Api::OllamaChat
}

fn start(head: &Head, moment: &str, out: &mut Vec<u8>) {
    push!(out, "{\"model\":\"", &head.model, "\",\"created_at\":\"", moment, "\",");
    if is_chat(head) {
        push!(out, "\"message\":{\"role\":\"assistant\",");
    }
}

fn not_done(head: &Head, logprobs: &str, out: &mut Vec<u8>) {
    push!(out, if is_chat(head) { "},\"done\":false" } else { ",\"done\":false" });
    likely(logprobs, out);
    push!(out, "}\n");
}

fn likely(logprobs: &str, out: &mut Vec<u8>) {
    if !logprobs.is_empty() {
        push!(out, ",\"logprobs\":[", logprobs, "]");
    }
}

fn call(index: u64, id: &str, name: &str, arguments: &str, out: &mut Vec<u8>) {
    push!(out, "{\"id\":\"", id, "\",\"function\":{\"index\":", index, ",\"name\":\"", name, "\",\"arguments\":");
    push!(out, arguments, "}}");
}

/// Writes the whole answer. A call inside which it was cut is left out, as Ollama does.
pub(super) fn whole(head: &Head, collected: &Collected, ending: &Ending, out: &mut Vec<u8>) -> Result<(), Failure> {
    start(head, &rfc3339(head.now_ms), out);
    let text = collected.all_text();
    push!(out, if is_chat(head) { "\"content\":\"" } else { "\"response\":\"" }, &text, "\"");
    let thinking = collected.all_thinking();
    if !thinking.is_empty() {
        push!(out, ",\"thinking\":\"", &thinking, "\"");
    }
    let mut index = 0;
    for (id, name, arguments) in collected.calls() {
        if let Some(arguments) = object(name, arguments, ending.finish)? {
            push!(out, if index == 0 { ",\"tool_calls\":[" } else { "," });
            call(index, id, name, &arguments, out);
            index += 1;
        }
    }
    push!(out, if index == 0 { "" } else { "]" }, if is_chat(head) { "},\"done\":true" } else { ",\"done\":true" });
    last(ending, &collected.all_logprobs(), out);
    push!(out, "}");
    Ok(())
}

/// Why it ended and what it cost. What is not known is said to be 0, for programs that read it without asking.
fn last(ending: &Ending, logprobs: &str, out: &mut Vec<u8>) {
    let reason = match ending.finish {
        Finish::Stop | Finish::ToolCalls | Finish::Filter => "stop",
        Finish::Length => "length",
        Finish::Load => "load",
        Finish::Unload => "unload",
    };
    let usage = &ending.usage;
    let (prompt_ns, eval_ns) = (usage.prompt_ns.unwrap_or(0), usage.eval_ns.unwrap_or(0));
    let load_ns = usage.load_ns.unwrap_or(0);
    let total_ns = usage.total_ns.unwrap_or_else(|| load_ns.saturating_add(prompt_ns).saturating_add(eval_ns));
    push!(out, ",\"done_reason\":\"", reason, "\"");
    likely(logprobs, out);
    push!(out, ",\"total_duration\":", total_ns, ",\"load_duration\":", load_ns);
    push!(out, ",\"prompt_eval_count\":", ending.prompt_tokens(), ",\"prompt_eval_duration\":", prompt_ns);
    push!(out, ",\"eval_count\":", ending.completion_tokens(), ",\"eval_duration\":", eval_ns);
}
