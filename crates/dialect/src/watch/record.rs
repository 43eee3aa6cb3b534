//! Reads one record of an answer.

use memchr::memmem;
use proto::{Api, Dialect};
use serde_json::Value;

use super::Stats;
use crate::error_text::{message, shortened};
use crate::reader::Reader;

/// The longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 64;

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

/// What records have said so far.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// There was content, or the end.
    pub(super) content: bool,
    /// The final record was there.
    pub(super) complete: bool,
    /// The text of the first error record.
    pub(super) error: Option<String>,
    /// The last event's number.
    pub(super) sequence: Option<u64>,
    counted: Stats,
    /// Tokens that llama-server timed, for where it did not count.
    timed_prompt: Option<u64>,
    timed_completion: Option<u64>,
}

impl Facts {
    /// Adds what later records have said.
    pub(super) fn add(&mut self, later: Facts) {
        self.content |= later.content;
        self.complete |= later.complete;
        self.error = self.error.take().or(later.error);
        self.sequence = later.sequence.or(self.sequence);
        self.timed_prompt = later.timed_prompt.or(self.timed_prompt);
        self.timed_completion = later.timed_completion.or(self.timed_completion);
        let Stats {
            prompt_tokens,
            completion_tokens,
            finish_reason,
            load_ns,
            prompt_eval_ns,
            eval_ns,
            total_ns,
            cached_tokens,
        } = later.counted;
        let mine = &mut self.counted;
        mine.prompt_tokens = prompt_tokens.or(mine.prompt_tokens);
        mine.completion_tokens = completion_tokens.or(mine.completion_tokens);
        mine.finish_reason = finish_reason.or(mine.finish_reason.take());
        mine.load_ns = load_ns.or(mine.load_ns);
        mine.prompt_eval_ns = prompt_eval_ns.or(mine.prompt_eval_ns);
        mine.eval_ns = eval_ns.or(mine.eval_ns);
        mine.total_ns = total_ns.or(mine.total_ns);
        mine.cached_tokens = cached_tokens.or(mine.cached_tokens);
    }

    /// What was counted.
    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.counted.clone();
        stats.prompt_tokens = stats.prompt_tokens.or(self.timed_prompt);
        stats.completion_tokens = stats.completion_tokens.or(self.timed_completion);
        stats
    }
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

fn usage(usage: &[u8], counted: &mut Stats) {
    let (mut prompt, mut cached, mut beside, mut completion) = (None, None, None, None);
    members(usage, |key, value| match key {
        b"prompt_tokens" | b"input_tokens" => set(&mut prompt, value),
        b"completion_tokens" | b"output_tokens" => set(&mut completion, value),
        b"prompt_tokens_details" | b"input_tokens_details" => members(value, |key, value| {
            if key == b"cached_tokens" {
                set(&mut cached, value);
            }
        }),
        // Anthropic counts these apart from the input.
        b"cache_read_input_tokens" | b"cache_creation_input_tokens" => {
            let mut tokens = None;
            set(&mut tokens, value);
            beside = Some(beside.unwrap_or(0u64).saturating_add(tokens.unwrap_or(0)));
            if key == b"cache_read_input_tokens" {
                cached = tokens;
            }
        }
        _ => {}
    });
    // Ollama puts zeros into the chunks of a completion before the one that counts, and perhaps after.
    let says_nothing = prompt.unwrap_or(0) == 0 && completion.unwrap_or(0) == 0;
    if says_nothing && counted.prompt_tokens.is_some() {
        return;
    }
    let prompt = prompt.map(|tokens| tokens.saturating_add(beside.unwrap_or(0)));
    counted.prompt_tokens = prompt.or(counted.prompt_tokens);
    counted.completion_tokens = completion.or(counted.completion_tokens);
    counted.cached_tokens = cached.or(counted.cached_tokens);
}

fn timings(timings: &[u8], found: &mut Facts) {
    let (mut read, mut cached) = (None, None);
    members(timings, |key, value| match key {
        b"prompt_n" => set(&mut read, value),
        b"cache_n" => set(&mut cached, value),
        b"predicted_n" => set(&mut found.timed_completion, value),
        b"prompt_ms" => set_ns(&mut found.counted.prompt_eval_ns, value),
        b"predicted_ms" => set_ns(&mut found.counted.eval_ns, value),
        _ => {}
    });
    found.timed_prompt = read.map(|read| cached.unwrap_or(0).saturating_add(read)).or(found.timed_prompt);
    found.counted.cached_tokens = cached.or(found.counted.cached_tokens);
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

/// Hands the members of an object to `take`, names and values as they are written. Nothing for other values.
fn members<'a>(object: &'a [u8], mut take: impl FnMut(&[u8], &'a [u8])) {
    let mut reader = Reader::new(object);
    reader.skip_space();
    if reader.peek() != Some(b'{') {
        return;
    }
    reader.enter();
    let mut first = true;
    while let Ok(Some(member)) = reader.next_member(&mut first) {
        let Ok(range) = reader.value(1) else { return };
        take(member.key.raw, &object[range]);
    }
}

/// Hands the elements of an array to `take`. Nothing for other values.
fn elements<'a>(array: &'a [u8], mut take: impl FnMut(&'a [u8])) {
    let mut reader = Reader::new(array);
    if reader.peek() != Some(b'[') {
        return;
    }
    reader.enter();
    let mut first = true;
    while let Ok(true) = reader.next_element(&mut first) {
        let Ok(range) = reader.value(1) else { return };
        take(&array[range]);
    }
}

/// Whether a value says anything.
fn is_filled(value: &[u8]) -> bool {
    !matches!(value, b"" | b"null" | b"false" | b"\"\"" | b"[]" | b"{}")
}

fn set(place: &mut Option<u64>, value: &[u8]) {
    if let Ok(Some(number)) = Reader::new(value).take_number(0) {
        *place = Some(number);
    }
}

fn set_ns(place: &mut Option<u64>, ms: &[u8]) {
    let ms = std::str::from_utf8(ms).ok().and_then(|ms| ms.parse::<f64>().ok());
    if let Some(ms) = ms.filter(|ms| *ms >= 0.0) {
        *place = Some((ms * 1e6) as u64);
    }
}

fn set_reason(value: &[u8], counted: &mut Stats) {
    if value.starts_with(b"\"")
        && let Ok(reason) = Reader::new(value).string()
        && reason.raw.len() <= LONGEST_REASON
    {
        counted.finish_reason = Some(reason.text().into_owned());
    }
}

fn set_error(value: &[u8], place: &mut Option<String>) {
    if place.is_some() || !is_filled(value) {
        return;
    }
    let parsed = serde_json::from_slice::<Value>(value).ok();
    let text = parsed.as_ref().and_then(message);
    *place = Some(shortened(&text.unwrap_or_else(|| String::from_utf8_lossy(value).into_owned())));
}
