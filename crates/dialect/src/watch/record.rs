//! Reads one record of an answer.

use memchr::memmem;
use proto::{Api, Dialect};

use super::facts::{Facts, elements, is_filled, members, set, set_error, set_reason, timings, usage};
use crate::reader::Reader;

/// The form of an answer's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON object per line.
    Ollama,
    /// Events with chunks, then `[DONE]`.
    Chunks,
    /// Events that name their type `response.…` or `transcript.…`.
    Responses,
    /// Events from `message_start` to `message_stop`.
    Messages,
}

/// Whether all lines of a stream's end, the first of which lacks its beginning if that `is_cut`, say the same but for their
/// time. Of fewer than four that is nothing to go by.
pub(super) fn is_repeated((end, is_cut): (&[u8], bool)) -> bool {
    const TIME: &[u8] = b"\"created_at\":\"";
    let timeless = |line: &[u8]| {
        let Some(at) = memmem::find(line, TIME) else { return (line.to_vec(), Vec::new()) };
        let after = &line[at + TIME.len()..];
        (line[..at].to_vec(), after[memchr::memchr(b'"', after).unwrap_or(after.len())..].to_vec())
    };
    let mut lines = end.split(|&byte| byte == b'\n').skip(usize::from(is_cut)).filter(|line| !line.is_empty());
    let Some(first) = lines.next().map(timeless) else { return false };
    let mut others = 0;
    lines.all(|line| {
        others += 1;
        timeless(line) == first
    }) && others >= 3
}

impl Form {
    pub(super) fn of(api: Api) -> Form {
        match api {
            Api::Responses | Api::Transcriptions => Form::Responses,
            _ => match api.dialect() {
                Dialect::Ollama => Form::Ollama,
                Dialect::OpenAi => Form::Chunks,
                Dialect::Anthropic => Form::Messages,
            },
        }
    }

    /// Whether records are server-sent events.
    pub(super) fn is_events(self) -> bool {
        self != Form::Ollama
    }

    /// Reads a record; of one that is no whole JSON object nothing is taken. `is_error` says that its event is an error.
    /// Returns whether it is whole.
    pub(super) fn read(self, record: &[u8], is_error: bool, found: &mut Facts) -> bool {
        if self == Form::Chunks && record == b"[DONE]" {
            (found.complete, found.content) = (true, true);
            return true;
        }
        if !is_object(record) {
            return false;
        }
        match self {
            _ if is_error => {
                found.error.get_or_insert_with(|| crate::error_text(record));
            }
            Form::Ollama => ollama(record, found),
            Form::Chunks => chunk(record, found),
            Form::Responses => response_event(record, found),
            Form::Messages => message_event(record, found),
        }
        true
    }

    /// Takes statistics from a record of which only the end is known.
    pub(super) fn read_headless(self, end: &[u8], found: &mut Facts) {
        match self {
            Form::Ollama => headless_ollama(end, found),
            Form::Chunks | Form::Responses | Form::Messages => headless_event(end, found),
        }
    }
}

/// Whether `bytes` are one whole JSON object.
pub(super) fn is_object(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    reader.skip_space();
    reader.peek() == Some(b'{') && reader.value(0).is_ok() && reader.end().is_ok()
}

fn ollama(record: &[u8], found: &mut Facts) {
    members(record, |key, value| {
        let counted = &mut found.counted;
        match key {
            b"message" => members(value, |key, value| {
                found.content |= matches!(key, b"content" | b"thinking" | b"tool_calls") && is_filled(value);
            }),
            b"response" | b"thinking" | b"tool_calls" => found.content |= is_filled(value),
            b"done" if value == b"true" => (found.complete, found.content) = (true, true),
            b"done_reason" => set_reason(value, counted),
            b"error" => set_error(value, &mut found.error),
            b"prompt_eval_count" => set(&mut counted.prompt_tokens, value),
            b"eval_count" => set(&mut counted.completion_tokens, value),
            b"load_duration" => set(&mut counted.load_ns, value),
            b"prompt_eval_duration" => set(&mut counted.prompt_eval_ns, value),
            b"eval_duration" => set(&mut counted.eval_ns, value),
            b"total_duration" => set(&mut counted.total_ns, value),
            _ => {}
        }
    });
}

fn chunk(record: &[u8], found: &mut Facts) {
    members(record, |key, value| match key {
        b"choices" => elements(value, |choice| {
            members(choice, |key, value| match key {
                b"delta" | b"message" => members(value, |key, value| {
                    let speaks = matches!(
                        key,
                        b"content"
                            | b"reasoning"
                            | b"reasoning_content"
                            | b"tool_calls"
                            | b"function_call"
                            | b"refusal"
                    );
                    found.content |= speaks && is_filled(value);
                }),
                b"text" => found.content |= is_filled(value),
                b"finish_reason" if value.starts_with(b"\"") => {
                    set_reason(value, &mut found.counted);
                    (found.complete, found.content) = (true, true);
                }
                _ => {}
            });
        }),
        b"usage" => usage(value, &mut found.counted),
        b"timings" => timings(value, found),
        b"error" => set_error(value, &mut found.error),
        _ => {}
    });
}

fn response_event<'a>(record: &'a [u8], found: &mut Facts) {
    let (mut kind, mut status) = (&b""[..], &b""[..]);
    let (mut delta, mut calls, mut cut_short) = (false, false, false);
    let mut response = |key: &[u8], value: &'a [u8], found: &mut Facts| match key {
        b"usage" => usage(value, &mut found.counted),
        b"timings" => timings(value, found),
        b"status" => status = value,
        b"incomplete_details" => members(value, |key, value| {
            if key == b"reason" {
                cut_short = true;
                set_reason(value, &mut found.counted);
            }
        }),
        b"error" => set_error(value, &mut found.error),
        _ => {}
    };
    members(record, |key, value| match key {
        b"type" => kind = value,
        b"delta" => delta = is_filled(value),
        b"item" => members(value, |key, value| calls |= key == b"type" && value == b"\"function_call\""),
        b"sequence_number" => set(&mut found.sequence, value),
        b"response" => members(value, |key, value| response(key, value, found)),
        _ => response(key, value, found),
    });
    if !cut_short && !matches!(status, b"\"in_progress\"" | b"\"queued\"") {
        set_reason(status, &mut found.counted);
    }
    match kind {
        b"\"response.completed\"" | b"\"response.incomplete\"" | b"\"transcript.text.done\"" => {
            (found.complete, found.content) = (true, true);
        }
        b"\"error\"" | b"\"response.failed\"" => {
            found.error.get_or_insert_with(|| crate::error_text(record));
        }
        _ => {
            let is_delta = kind.ends_with(b".delta\"");
            found.content |= is_delta && delta || calls;
        }
    }
}

fn message_event(record: &[u8], found: &mut Facts) {
    let mut kind = &b""[..];
    let mut starts_call = false;
    members(record, |key, value| match key {
        b"type" => kind = value,
        b"message" => members(value, |key, value| {
            if key == b"usage" {
                usage(value, &mut found.counted);
            }
        }),
        b"delta" => members(value, |key, value| {
            if key == b"stop_reason" {
                set_reason(value, &mut found.counted);
            }
        }),
        b"content_block" => {
            members(value, |key, value| starts_call |= key == b"type" && value.ends_with(b"tool_use\""))
        }
        b"usage" => usage(value, &mut found.counted),
        b"stop_reason" => set_reason(value, &mut found.counted),
        b"error" => set_error(value, &mut found.error),
        _ => {}
    });
    match kind {
        b"\"content_block_delta\"" => found.content = true,
        b"\"content_block_start\"" => found.content |= starts_call,
        b"\"message_stop\"" => (found.complete, found.content) = (true, true),
        _ => {}
    }
}

/// Ollama's statistics come last in the last record, after a tool call or a context of any length. What follows them up to
/// the end must close just one object, else they are not the record's own but part of a tool's arguments.
fn headless_ollama(end: &[u8], found: &mut Facts) {
    for key in [&b"\"done\":"[..], b"\"total_duration\":"] {
        let Some(at) = memmem::rfind(end, key) else { continue };
        let mut object = b"{".to_vec();
        object.extend_from_slice(&end[at..]);
        if is_object(&object) {
            ollama(&object, found);
            // Only the final record says how long it took.
            found.complete |= found.counted.total_ns.is_some();
            found.content |= found.complete;
            return;
        }
    }
}

fn headless_event(end: &[u8], found: &mut Facts) {
    type Take = fn(&[u8], &mut Facts);
    let takes: [(&[u8], Take); 5] = [
        (b"\"usage\":", |value, found| usage(value, &mut found.counted)),
        (b"\"timings\":", timings),
        (b"\"finish_reason\":", |value, found| set_reason(value, &mut found.counted)),
        (b"\"stop_reason\":", |value, found| set_reason(value, &mut found.counted)),
        (b"\"sequence_number\":", |value, found| set(&mut found.sequence, value)),
    ];
    for (key, take) in takes {
        let Some(at) = memmem::rfind(end, key) else { continue };
        let rest = &end[at + key.len()..];
        let mut reader = Reader::new(rest);
        reader.skip_space();
        if let Ok(range) = reader.value(0) {
            take(&rest[range], found);
        }
    }
    for kind in [&b"\"type\":\"response.completed\""[..], b"\"type\":\"response.incomplete\""] {
        found.complete |= memmem::find(end, kind).is_some();
    }
    found.content |= found.complete;
}
