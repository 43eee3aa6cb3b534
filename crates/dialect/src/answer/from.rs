//! Reads the backend's records.

pub(super) mod ollama;
pub(super) mod openai;

use super::event::{Event, Listener};
use super::json::{elements, filled, members};
use crate::{Cause, Failure};

/// What a record meant for the answer as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// More is to come.
    Piece,
    /// It was the last one.
    Last,
    /// It has nothing that belongs to such an answer.
    Foreign,
    /// It is no JSON object: cut, or nonsense.
    Unreadable,
}

/// The failure that an error record tells of.
pub(super) fn told(record: &str) -> Failure {
    let is_excess = memchr::memmem::find(record.as_bytes(), b"exceed_context_size_error").is_some();
    let cause = if is_excess { Cause::ContextLength } else { Cause::BadGateway };
    let mut text = crate::error_text(record.as_bytes());
    if text.is_empty() {
        text = "the backend broke off with an error".to_owned();
    }
    Failure::new(cause, text)
}

/// One element of `tool_calls`, each part as written.
#[derive(Clone, Copy, Debug, Default)]
struct Call<'a> {
    index: Option<u64>,
    id: &'a str,
    name: Option<&'a str>,
    arguments: Option<&'a str>,
}

fn calls<'a>(array: &'a str, mut each: impl FnMut(Call<'a>)) {
    elements(array, |element| {
        let mut call = Call::default();
        members(element, |key, value| match key {
            "index" => call.index = super::json::count(value),
            "id" => call.id = filled(value).unwrap_or_default(),
            "function" => {
                members(value, |key, value| match key {
                    "name" => call.name = filled(value),
                    "arguments" => call.arguments = Some(value),
                    _ => {}
                });
            }
            _ => {}
        });
        each(call);
    });
}

/// The elements inside `array`, without its brackets; empty if it is no array.
fn inside(array: &str) -> &str {
    array.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::trim).unwrap_or_default()
}

fn say(text: Option<&str>, logprobs: &str, to: &mut impl Listener) -> Result<(), Failure> {
    match text {
        None if logprobs.is_empty() => Ok(()),
        text => to.hear(Event::Text { text: text.unwrap_or_default(), logprobs }),
    }
}
