//! Watches an answer go by: when content begins, whether it ends as it should, and what it cost.
//!
//! Until content was seen each record is read. From then on a frame costs one search for error records and one copy of its
//! end; what the last records say is read when the answer has ended. However an answer is cut into frames, what is said at
//! the end is the same.
//!
//! Memory per answer: at most 64 KiB of a record that is cut into frames (or of an answer that is not streamed) and 4 KiB of
//! the stream's end. A record longer than 64 KiB counts as content unread; only its last 2 KiB are searched for statistics.

mod facts;
mod record;
mod tail;

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use memchr::{memchr, memrchr};
use proto::Api;

use facts::Facts;
use record::Form;
use tail::Tail;

/// The longest record that is read, and the most that is kept of one that is cut into frames.
const LONGEST_RECORD: usize = 64 * 1024;
/// Memory for cut records that is kept for the next one; a stream whose records are cut would else allocate for each.
const KEPT_CAPACITY: usize = 1024;

static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"error\""));
static RESPONSE_COMPLETED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("response.completed"));
static RESPONSE_INCOMPLETE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("response.incomplete"));

/// Watches one answer.
#[derive(Debug)]
pub struct StreamWatch {
    form: Form,
    streamed: bool,
    /// Whether a text that is not JSON is an answer too.
    plain: bool,
    facts: Facts,
    /// The beginning of a record whose end has not come yet; of an answer that is not streamed, the beginning of the whole.
    partial: Vec<u8>,
    /// More came than `partial` may hold.
    partial_lost: bool,
    tail: Tail,
    event: Event,
}

/// What the last `event:` line says about the `data:` line after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Event {
    #[default]
    Usual,
    Error,
    Final,
}

/// What a frame brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Content has been seen, now or before.
    pub content: bool,
    /// The text of an error record that ends in this frame, at most 500 characters.
    pub error: Option<String>,
}

/// How an answer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The final record was there. An answer that is not streamed is complete when it is one whole JSON object without an
    /// error; of one longer than 64 KiB only the last byte is looked at.
    pub complete: bool,
    /// The answer broke off inside a record.
    pub mid_record: bool,
    /// What the backend counted.
    pub stats: Stats,
    /// The text of the first error record, at most 500 characters.
    pub error: Option<String>,
    /// The number of the last event of a Responses stream.
    pub sequence: Option<u64>,
    /// The last records say the same, but for their time; as far back as 2 KiB, and at least four of them.
    pub repeats: bool,
}

/// What a backend counted. Each may be missing: Ollama leaves zeros out, others do not measure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tokens of the prompt, those in the cache included.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<u64>,
    /// Why the model stopped, in the backend's word, at most 64 bytes.
    pub finish_reason: Option<String>,
    /// Loading the model, in nanoseconds.
    pub load_ns: Option<u64>,
    /// Reading the prompt, in nanoseconds.
    pub prompt_eval_ns: Option<u64>,
    /// Writing the answer, in nanoseconds.
    pub eval_ns: Option<u64>,
    /// The whole request, in nanoseconds.
    pub total_ns: Option<u64>,
    /// Tokens of the prompt that were already in the cache.
    pub cached_tokens: Option<u64>,
}

impl StreamWatch {
    /// A watch over an answer of `api`, which comes as a stream if `streamed` and the call has streams.
    pub fn new(api: Api, streamed: bool) -> StreamWatch {
        let has_streams = match api {
            Api::OllamaChat
            | Api::OllamaGenerate
            | Api::ChatCompletions
            | Api::Completions
            | Api::Responses
            | Api::Messages
            | Api::Transcriptions => true,
            Api::OllamaEmbed | Api::OllamaEmbeddings | Api::OllamaShow | Api::Embeddings | Api::CountTokens => false,
        };
        StreamWatch {
            form: Form::of(api),
            streamed: streamed && has_streams,
            plain: api == Api::Transcriptions,
            facts: Facts::default(),
            partial: Vec::new(),
            partial_lost: false,
            tail: Tail::default(),
            event: Event::Usual,
        }
    }

    /// Looks at the next frame.
    #[inline]
    pub fn feed(&mut self, frame: &Bytes) -> Seen {
        if frame.is_empty() {
            return Seen { content: self.facts.content, error: None };
        }
        if self.streamed {
            self.tail.push(frame);
            let error = self.records(frame);
            return Seen { content: self.facts.content, error };
        }
        self.facts.content = true;
        self.whole(frame);
        Seen { content: true, error: None }
    }

    /// Says how the answer ended. To be called once, after the last frame.
    pub fn finish(&mut self) -> End {
        let repeats = self.streamed && self.form == Form::Ollama && record::is_repeated(self.tail.last());
        let mid_record = if self.streamed { self.finish_stream() } else { self.finish_whole() };
        let facts = std::mem::take(&mut self.facts);
        let (complete, sequence) = (facts.complete, facts.sequence);
        End { complete, mid_record, stats: facts.stats(), error: facts.error, sequence, repeats }
    }

    /// Keeps an answer that is not streamed, and only its two ends if it is too long.
    fn whole(&mut self, frame: &[u8]) {
        if !self.partial_lost && self.partial.len() + frame.len() > LONGEST_RECORD {
            self.tail.push(&self.partial);
        }
        self.keep_partial(frame);
        if self.partial_lost {
            self.tail.push(frame);
        }
    }

    /// Looks at the records that end in `rest` and keeps the beginning of the one that does not. Returns the first error.
    fn records(&mut self, mut rest: &[u8]) -> Option<String> {
        let mut error = None;
        if !self.partial.is_empty() {
            let end = memchr(b'\n', rest);
            self.keep_partial(&rest[..end.unwrap_or(rest.len())]);
            rest = &rest[end? + 1..];
            error = self.partial_record();
        }
        if !self.facts.content || self.event != Event::Usual || self.is_worth_reading(rest) {
            while let Some(end) = memchr(b'\n', rest) {
                let found = self.line(&rest[..end]);
                error = error.or(found);
                rest = &rest[end + 1..];
            }
        } else if rest.last() != Some(&b'\n') {
            rest = &rest[memrchr(b'\n', rest).map_or(0, |last| last + 1)..];
        } else {
            rest = &[];
        }
        if !rest.is_empty() {
            self.keep_partial(rest);
        }
        error
    }

    /// Whether there may be a record in `bytes` that matters before the end.
    #[inline]
    fn is_worth_reading(&self, bytes: &[u8]) -> bool {
        ERROR.find(bytes).is_some()
            || (self.form == Form::Responses
                && (RESPONSE_COMPLETED.find(bytes).is_some() || RESPONSE_INCOMPLETE.find(bytes).is_some()))
    }

    fn keep_partial(&mut self, bytes: &[u8]) {
        let room = LONGEST_RECORD - self.partial.len();
        self.partial_lost |= bytes.len() > room;
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Reads the record in `partial` as if it had ended.
    fn partial_record(&mut self) -> Option<String> {
        let mut partial = std::mem::take(&mut self.partial);
        let lost = std::mem::take(&mut self.partial_lost);
        let error = if lost { self.long_line(&partial) } else { self.line(&partial) };
        partial.clear();
        partial.shrink_to(KEPT_CAPACITY);
        self.partial = partial;
        error
    }

    fn line(&mut self, line: &[u8]) -> Option<String> {
        if line.len() > LONGEST_RECORD {
            return self.long_line(line);
        }
        let had_content = self.facts.content;
        if had_content && self.event == Event::Usual && !self.is_worth_reading(line) {
            return None;
        }
        let mut found = Facts::default();
        self.read(line, &mut found);
        let error = found.error.take();
        if had_content {
            // What else such a record says is read at the end, from the tail: else it would depend on how the stream was cut.
            self.facts.complete |= found.complete;
        } else {
            self.facts.add(found);
        }
        let error = error?;
        self.facts.error.get_or_insert_with(|| error.clone());
        Some(error)
    }

    /// A record that is too long to be read: what comes at such length is content.
    fn long_line(&mut self, start: &[u8]) -> Option<String> {
        self.facts.content = true;
        if self.form.is_events() && start.starts_with(b"data:") {
            self.facts.complete |= std::mem::take(&mut self.event) == Event::Final;
        }
        None
    }

    /// Reads one line of the stream.
    fn read(&mut self, line: &[u8], found: &mut Facts) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !self.form.is_events() {
            self.form.read(line, false, found);
            return;
        }
        if let Some(name) = line.strip_prefix(b"event:") {
            self.event = match name.trim_ascii() {
                b"error" => Event::Error,
                b"response.completed" | b"response.incomplete" => Event::Final,
                _ => Event::Usual,
            };
        } else if let Some(data) = line.strip_prefix(b"data:") {
            let event = std::mem::take(&mut self.event);
            self.form.read(data.trim_ascii(), event == Event::Error, found);
            found.complete |= event == Event::Final;
        } else if line.is_empty() {
            self.event = Event::Usual;
        }
    }

    /// Reads the last records; returns whether the stream was cut inside one.
    fn finish_stream(&mut self) -> bool {
        let tail = std::mem::take(&mut self.tail);
        let (end, is_cut) = tail.last();
        let mut unfinished = !self.partial.is_empty();
        if unfinished {
            // A last line without its end counts if it is whole; cut JSON says nothing.
            let whole = !self.partial_lost && record::is_object(&self.partial);
            if self.partial_lost || !self.form.is_events() && !whole {
                self.partial.clear();
            } else {
                self.partial_record();
                unfinished = !whole;
            }
        }
        if self.form.is_events() {
            unfinished = !end.is_empty() && !end.ends_with(b"\n\n") && !end.ends_with(b"\n\r\n");
        }

        let mut lines = end.split(|&byte| byte == b'\n');
        let mut last = Facts::default();
        self.event = Event::Usual;
        if is_cut && let Some(headless) = lines.next() {
            self.form.read_headless(headless, &mut last);
        }
        for line in lines {
            self.read(line, &mut last);
        }
        self.facts.add(last);
        unfinished
    }

    /// Reads an answer that is not streamed; returns whether it was cut.
    fn finish_whole(&mut self) -> bool {
        let body = std::mem::take(&mut self.partial);
        let is_whole = if self.partial_lost {
            let (end, _) = self.tail.last();
            self.form.read_headless(end, &mut self.facts);
            end.trim_ascii_end().ends_with(b"}")
        } else {
            self.form.read(&body, false, &mut self.facts)
        };
        let is_whole = is_whole || self.plain && !body.is_empty();
        self.facts.complete = is_whole && self.facts.error.is_none();
        !is_whole && !body.is_empty()
    }
}
