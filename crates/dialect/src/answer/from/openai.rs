//! Reads chunks and whole answers of `/v1/chat/completions` and `/v1/completions`, as llama-server, vLLM, LM Studio, MLX
//! servers and Ollama write them.

use super::super::event::{Event, Finish, Listener, Usage};
use super::super::json::{count, elements, filled, members, string};
use super::{Call, Meaning, calls, inside, say, told};
use crate::{Cause, Failure};

/// Reads chunks of one answer.
#[derive(Debug, Default)]
pub(in super::super) struct Chunks {
    /// The `index` of the call that began last.
    call: Option<u64>,
    /// The `index` that a backend which gives none would give next.
    next: u64,
}

impl Chunks {
    /// Reads one chunk, or a whole answer.
    pub(in super::super) fn read(&mut self, record: &str, to: &mut impl Listener) -> Result<Meaning, Failure> {
        if record == "[DONE]" {
            return Ok(Meaning::Last);
        }
        let mut found = Found::default();
        if !members(record, |key, value| found.member(key, value)) {
            return Ok(Meaning::Unreadable);
        }
        if found.is_error {
            return Err(told(record));
        }
        if let Some(thinking) = found.thinking {
            to.hear(Event::Thinking(thinking))?;
        }
        for part in found.parts.into_iter().flat_map(text_parts) {
            say(Some(part), "", to)?;
        }
        let legacy = found.legacy_logprobs.map(super::super::logprobs::from_lists).unwrap_or_default();
        say(found.text, if legacy.is_empty() { found.logprobs } else { &legacy }, to)?;
        if let Some(array) = found.calls {
            self.read_calls(array, to)?;
        }
        if found.has_usage {
            to.hear(Event::Usage(found.usage))?;
        }
        if let Some(text) = found.stop_text {
            to.hear(Event::StopText(text))?;
        }
        if let Some(reason) = found.reason {
            to.hear(Event::Finish(match reason {
                "length" => Finish::Length,
                "tool_calls" | "function_call" => Finish::ToolCalls,
                "content_filter" => Finish::Filter,
                _ => Finish::Stop,
            }))?;
        }
        Ok(if found.is_ours { Meaning::Piece } else { Meaning::Foreign })
    }

    fn read_calls(&mut self, array: &str, to: &mut impl Listener) -> Result<(), Failure> {
        let mut done = Ok(());
        calls(array, |call| {
            if done.is_ok() {
                done = self.read_call(call, to);
            }
        });
        done
    }

    fn read_call(&mut self, call: Call<'_>, to: &mut impl Listener) -> Result<(), Failure> {
        // Some backends give no index: a fragment with a name begins a call, one without goes on with the last.
        let index = match (call.index, call.name) {
            (Some(index), _) => index,
            (None, Some(_)) => self.next,
            (None, None) => self.call.unwrap_or(0),
        };
        if self.call != Some(index) {
            // The clients' streams have one call after another, so what comes for an earlier one has no place.
            if self.call.is_some_and(|last| index < last) {
                return Err(Failure::new(Cause::BadGateway, "the backend mixed the parts of several tool calls"));
            }
            let Some(name) = call.name else {
                return Err(Failure::new(Cause::BadGateway, "the backend called a tool without a name"));
            };
            self.call = Some(index);
            self.next = index.saturating_add(1);
            to.hear(Event::Call { id: call.id, name })?;
        }
        match call.arguments {
            None | Some("null" | "\"\"") => Ok(()),
            Some(arguments) => match string(arguments) {
                Some(fragment) => to.hear(Event::Arguments(fragment)),
                // Against the specification, some servers write the object itself.
                None => to.hear(Event::Arguments(&super::super::json::escaped(arguments))),
            },
        }
    }
}

#[derive(Default)]
struct Found<'a> {
    thinking: Option<&'a str>,
    text: Option<&'a str>,
    /// A content of several parts.
    parts: Option<&'a str>,
    calls: Option<&'a str>,
    logprobs: &'a str,
    legacy_logprobs: Option<&'a str>,
    reason: Option<&'a str>,
    stop_text: Option<&'a str>,
    is_ours: bool,
    is_error: bool,
    has_usage: bool,
    usage: Usage,
}

impl<'a> Found<'a> {
    fn member(&mut self, key: &str, value: &'a str) {
        match key {
            "choices" => {
                self.is_ours = true;
                let mut is_first = true;
                elements(value, |choice| {
                    // Nobody asks for more than one where answers are translated.
                    if std::mem::take(&mut is_first) {
                        members(choice, |key, value| self.choice(key, value));
                    }
                });
            }
            "usage" => self.usage(value),
            "timings" => self.timings(value),
            "error" => self.is_error = value != "null",
            _ => {}
        }
    }

    fn choice(&mut self, key: &str, value: &'a str) {
        match key {
            "delta" | "message" => {
                members(value, |key, value| match key {
                    "content" if value.starts_with('[') => self.parts = Some(value),
                    "content" => self.text = filled(value).or(self.text),
                    "refusal" => self.text = self.text.or(filled(value)),
                    // llama-server and older vLLM say the one, Ollama and newer vLLM the other, some both.
                    "reasoning_content" => self.thinking = filled(value).or(self.thinking),
                    "reasoning" => self.thinking = self.thinking.or(filled(value)),
                    "tool_calls" => self.calls = Some(value),
                    _ => {}
                });
            }
            "text" => self.text = filled(value),
            "finish_reason" => self.reason = filled(value),
            // vLLM: the stop text that came, or the number of a token.
            "stop_reason" => self.stop_text = filled(value),
            "logprobs" => {
                members(value, |key, inner| match key {
                    "content" => self.logprobs = inside(inner),
                    "tokens" => self.legacy_logprobs = Some(value),
                    _ => {}
                });
            }
            _ => {}
        }
    }

    fn usage(&mut self, object: &'a str) {
        let usage = &mut self.usage;
        self.has_usage |= members(object, |key, value| match key {
            "prompt_tokens" => usage.prompt_tokens = count(value),
            "completion_tokens" => usage.completion_tokens = count(value),
            "prompt_tokens_details" => {
                members(value, |key, value| {
                    if key == "cached_tokens" {
                        usage.cached_tokens = count(value).or(usage.cached_tokens);
                    }
                });
            }
            "completion_tokens_details" => {
                members(value, |key, value| {
                    if key == "reasoning_tokens" {
                        usage.reasoning_tokens = count(value);
                    }
                });
            }
            _ => {}
        });
    }

    /// llama-server's own measurements, in milliseconds.
    fn timings(&mut self, object: &'a str) {
        let (mut prompt, mut cached, mut predicted) = (None, None, None);
        let usage = &mut self.usage;
        self.has_usage |= members(object, |key, value| match key {
            "prompt_n" => prompt = count(value),
            "cache_n" => cached = count(value),
            "predicted_n" => predicted = count(value),
            "prompt_ms" => usage.prompt_ns = nanoseconds(value),
            "predicted_ms" => usage.eval_ns = nanoseconds(value),
            _ => {}
        });
        // `prompt_n` is without the cached ones; where there is a `usage`, it has the sum.
        let whole = prompt.map(|new: u64| new.saturating_add(cached.unwrap_or(0)));
        usage.prompt_tokens = usage.prompt_tokens.or(whole);
        usage.cached_tokens = usage.cached_tokens.or(cached);
        usage.completion_tokens = usage.completion_tokens.or(predicted);
    }
}

fn nanoseconds(ms: &str) -> Option<u64> {
    let ms: f64 = ms.parse().ok()?;
    (ms.is_finite() && ms >= 0.0).then_some((ms * 1e6).round() as u64)
}

/// The texts of a content that is a list of parts.
fn text_parts(array: &str) -> Vec<&str> {
    let mut texts = Vec::new();
    elements(array, |part| {
        members(part, |key, value| {
            if key == "text" {
                texts.extend(filled(value));
            }
        });
    });
    texts
}
