//! Writes `/v1/chat/completions`.

use super::super::event::Finish;
use super::super::json::push;
use super::collected::Collected;
use super::{Ending, Head};

/// Writes chunks.
#[derive(Debug)]
pub(in super::super) struct Stream {
    /// All of a chunk before what its delta says.
    before: String,
    /// Where in it something may be put that only the first chunk says.
    middle: usize,
    /// All after a delta that is not the last.
    after: &'static str,
    begun: bool,
    calls: u64,
}

const AFTER: &str = "},\"finish_reason\":null}]}\n\n";
const AFTER_WITHOUT_USAGE: &str = "},\"finish_reason\":null}],\"usage\":null}\n\n";

impl Stream {
    pub(super) fn new(head: &Head) -> Stream {
        let mut before = Vec::with_capacity(256);
        start(&mut before, head);
        let middle = before.len();
        push!(&mut before, "\"choices\":[{\"index\":0,\"delta\":{");
        Stream {
            before: String::from_utf8(before).unwrap_or_default(),
            middle,
            after: if head.include_usage { AFTER_WITHOUT_USAGE } else { AFTER },
            begun: false,
            calls: 0,
        }
    }

    #[inline]
    fn delta(&mut self, out: &mut Vec<u8>) {
        if self.begun {
            return push!(out, &self.before);
        }
        self.begun = true;
        let (start, choices) = self.before.split_at(self.middle);
        push!(out, start, "\"service_tier\":\"default\",", choices, "\"role\":\"assistant\",");
    }

    pub(super) fn thinking(&mut self, text: &str, out: &mut Vec<u8>) {
        self.delta(out);
        // Clients of llama-server and vLLM read the one, clients of Ollama the other.
        push!(out, "\"content\":\"\",\"reasoning\":\"", text, "\",\"reasoning_content\":\"", text, "\"", self.after);
    }

    #[inline]
    pub(super) fn text(&mut self, text: &str, logprobs: &str, out: &mut Vec<u8>) {
        out.reserve(self.before.len() + text.len() + 96);
        self.delta(out);
        push!(out, "\"content\":\"", text);
        if logprobs.is_empty() {
            push!(out, "\"", self.after);
        } else {
            let after = self.after.strip_prefix('}').unwrap_or_default();
            push!(out, "\"},\"logprobs\":{\"content\":[", logprobs, "],\"refusal\":null}", after);
        }
    }

    pub(super) fn call(&mut self, id: &str, name: &str, out: &mut Vec<u8>) {
        self.delta(out);
        push!(out, "\"tool_calls\":[{\"index\":", self.calls, ",\"id\":\"", id, "\",\"type\":\"function\",");
        push!(out, "\"function\":{\"name\":\"", name, "\",\"arguments\":\"\"}}]", self.after);
        self.calls += 1;
    }

    pub(super) fn arguments(&mut self, text: &str, out: &mut Vec<u8>) {
        self.delta(out);
        let index = self.calls.saturating_sub(1);
        push!(out, "\"tool_calls\":[{\"index\":", index, ",\"function\":{\"arguments\":\"", text, "\"}}]", self.after);
    }

    pub(super) fn end(&mut self, head: &Head, ending: &Ending, out: &mut Vec<u8>) {
        if !self.begun {
            self.text("", "", out);
        }
        self.delta(out);
        push!(out, "},\"finish_reason\":\"", reason(ending.finish), "\"}]");
        if head.include_usage {
            push!(out, ",\"usage\":null}\n\n");
            start(out, head);
            push!(out, "\"choices\":[],");
            usage(out, ending);
        }
        push!(out, "}\n\ndata: [DONE]\n\n");
    }
}

fn start(out: &mut Vec<u8>, head: &Head) {
    push!(out, "data: {\"id\":\"chatcmpl-", &head.id, "\",\"object\":\"chat.completion.chunk\",\"created\":");
    push!(out, head.created(), ",\"model\":\"", &head.model, "\",\"system_fingerprint\":\"fp_ollama\",");
}

/// Writes the whole answer.
pub(super) fn whole(head: &Head, collected: &Collected, ending: &Ending, out: &mut Vec<u8>) {
    push!(out, "{\"id\":\"chatcmpl-", &head.id, "\",\"object\":\"chat.completion\",\"created\":", head.created());
    push!(out, ",\"model\":\"", &head.model, "\",\"system_fingerprint\":\"fp_ollama\",");
    push!(out, "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    let text = collected.all_text();
    if text.is_empty() && collected.calls().next().is_some() {
        push!(out, "null");
    } else {
        push!(out, "\"", &text, "\"");
    }
    push!(out, ",\"refusal\":null,\"annotations\":[]");
    let thinking = collected.all_thinking();
    if !thinking.is_empty() {
        push!(out, ",\"reasoning\":\"", &thinking, "\",\"reasoning_content\":\"", &thinking, "\"");
    }
    for (at, (id, name, arguments)) in collected.calls().enumerate() {
        push!(out, if at == 0 { ",\"tool_calls\":[" } else { "," }, "{\"id\":\"", id, "\",\"type\":\"function\",");
        push!(out, "\"function\":{\"name\":\"", name, "\",\"arguments\":\"", arguments, "\"}}");
    }
    if collected.calls().next().is_some() {
        push!(out, "]");
    }
    let logprobs = collected.all_logprobs();
    if logprobs.is_empty() {
        push!(out, "},\"logprobs\":null");
    } else {
        push!(out, "},\"logprobs\":{\"content\":[", &logprobs, "],\"refusal\":null}");
    }
    push!(out, ",\"finish_reason\":\"", reason(ending.finish), "\"}],\"service_tier\":\"default\",");
    usage(out, ending);
    push!(out, "}");
}

pub(super) fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Load | Finish::Unload => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::Filter => "content_filter",
    }
}

pub(super) fn usage(out: &mut Vec<u8>, ending: &Ending) {
    push!(out, "\"usage\":{\"prompt_tokens\":", ending.prompt_tokens(), ",\"completion_tokens\":");
    push!(out, ending.completion_tokens(), ",\"total_tokens\":", ending.total_tokens());
    push!(out, ",\"prompt_tokens_details\":{\"cached_tokens\":", ending.cached_tokens());
    push!(out, ",\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":", ending.reasoning_tokens());
    push!(out, ",\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}");
}
