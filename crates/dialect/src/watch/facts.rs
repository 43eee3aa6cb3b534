//! What records say, put together.

use serde_json::Value;

use super::Stats;
use crate::error_text::{message, shortened};
use crate::reader::Reader;

/// The longest reason that is kept, in bytes.
const LONGEST_REASON: usize = 64;

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
    pub(super) counted: Stats,
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

pub(super) fn usage(usage: &[u8], counted: &mut Stats) {
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

pub(super) fn timings(timings: &[u8], found: &mut Facts) {
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

/// Hands the members of an object to `take`, names and values as they are written. Nothing for other values.
pub(super) fn members<'a>(object: &'a [u8], mut take: impl FnMut(&[u8], &'a [u8])) {
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
pub(super) fn elements<'a>(array: &'a [u8], mut take: impl FnMut(&'a [u8])) {
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
pub(super) fn is_filled(value: &[u8]) -> bool {
    !matches!(value, b"" | b"null" | b"false" | b"\"\"" | b"[]" | b"{}")
}

pub(super) fn set(place: &mut Option<u64>, value: &[u8]) {
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

pub(super) fn set_reason(value: &[u8], counted: &mut Stats) {
    if value.starts_with(b"\"")
        && let Ok(reason) = Reader::new(value).string()
        && reason.raw.len() <= LONGEST_REASON
    {
        counted.finish_reason = Some(reason.text().into_owned());
    }
}

pub(super) fn set_error(value: &[u8], place: &mut Option<String>) {
    if place.is_some() || !is_filled(value) {
        return;
    }
    let parsed = serde_json::from_slice::<Value>(value).ok();
    let text = parsed.as_ref().and_then(message);
    *place = Some(shortened(&text.unwrap_or_else(|| String::from_utf8_lossy(value).into_owned())));
}
