//! Reads records of `/api/chat` and `/api/generate`; one of an answer that is not streamed reads the same.

use super::super::event::{Event, Finish, Listener, Usage};
use super::super::json::{count, escaped, filled, members, string};
use super::{Meaning, calls, inside, say, told};
use crate::Failure;

/// Reads one record.
pub(in super::super) fn read(record: &str, to: &mut impl Listener) -> Result<Meaning, Failure> {
    let mut found = Found::default();
    let is_whole = members(record, |key, value| found.member(key, value));
    if !is_whole {
        return Ok(Meaning::Unreadable);
    }
    if found.is_error {
        return Err(told(record));
    }
    if let Some(thinking) = found.thinking {
        to.hear(Event::Thinking(thinking))?;
    }
    say(found.text, found.logprobs, to)?;
    if let Some(array) = found.calls {
        read_calls(array, to)?;
    }
    if !found.done {
        return Ok(if found.is_ours { Meaning::Piece } else { Meaning::Foreign });
    }
    to.hear(Event::Usage(found.usage))?;
    to.hear(Event::Finish(match found.reason {
        Some("length") => Finish::Length,
        Some("load") => Finish::Load,
        Some("unload") => Finish::Unload,
        _ => Finish::Stop,
    }))?;
    Ok(Meaning::Last)
}

#[derive(Default)]
struct Found<'a> {
    thinking: Option<&'a str>,
    text: Option<&'a str>,
    calls: Option<&'a str>,
    logprobs: &'a str,
    done: bool,
    is_ours: bool,
    reason: Option<&'a str>,
    is_error: bool,
    usage: Usage,
}

impl<'a> Found<'a> {
    #[inline]
    fn member(&mut self, key: &str, value: &'a str) {
        self.is_ours |= matches!(key, "message" | "response" | "done");
        match key {
            "message" => {
                members(value, |key, value| match key {
                    "content" => self.text = filled(value),
                    "thinking" => self.thinking = filled(value),
                    "tool_calls" => self.calls = Some(value),
                    _ => {}
                });
            }
            "response" => self.text = filled(value),
            "thinking" => self.thinking = filled(value),
            "tool_calls" => self.calls = Some(value),
            "done" => self.done = value == "true",
            "done_reason" => self.reason = string(value),
            "logprobs" => self.logprobs = inside(value),
            "error" => self.is_error = value != "null",
            "total_duration" => self.usage.total_ns = count(value),
            "load_duration" => self.usage.load_ns = count(value),
            "prompt_eval_count" => self.usage.prompt_tokens = count(value),
            "prompt_eval_duration" => self.usage.prompt_ns = count(value),
            "eval_count" => self.usage.completion_tokens = count(value),
            "eval_duration" => self.usage.eval_ns = count(value),
            _ => {}
        }
    }
}

/// Calls come whole, their arguments as an object.
fn read_calls(array: &str, to: &mut impl Listener) -> Result<(), Failure> {
    let mut done = Ok(());
    calls(array, |call| {
        if done.is_ok() {
            done = to.hear(Event::Call { id: call.id, name: call.name.unwrap_or_default() });
        }
        if done.is_ok() {
            let arguments = call.arguments.filter(|text| *text != "null").unwrap_or("{}");
            done = to.hear(Event::Arguments(&escaped(arguments)));
        }
    });
    done
}
