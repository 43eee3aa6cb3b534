//! Turns a trace into what its columns hold: bounded texts, JSON, and numbers that SQLite takes.

use std::borrow::Cow;

use proto::{Api, Candidate, Trace};
use serde_json::Value;

/// Most bytes of a name: models, backends, apps, tags. What is longer is cut.
const NAME_BYTES: usize = 256;

/// Most bytes of a sentence: error messages.
const SENTENCE_BYTES: usize = 1024;

/// Most tags, candidates and attempts of one request that are kept; the first ones are.
const MOST_ITEMS: usize = 64;

/// A name as stored.
pub(crate) fn name(text: &str) -> &str {
    cut(text, NAME_BYTES)
}

/// A sentence as stored.
pub(crate) fn sentence(text: &str) -> &str {
    cut(text, SENTENCE_BYTES)
}

/// A count as stored: SQLite's integers are signed.
pub(crate) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A measured number as stored; infinite ones and what is no number are 0.
pub(crate) fn measure(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
}

/// What sort of work the call is.
pub(crate) fn kind(api: Api) -> &'static str {
    match api {
        Api::OllamaEmbed | Api::OllamaEmbeddings | Api::Embeddings => "embed",
        Api::Transcriptions => "stt",
        Api::OllamaChat
        | Api::OllamaGenerate
        | Api::ChatCompletions
        | Api::Completions
        | Api::Responses
        | Api::Messages
        | Api::CountTokens
        | Api::OllamaShow => "text",
    }
}

/// The candidate that was chosen, as far as the trace tells.
pub(crate) fn chosen(trace: &Trace) -> Option<&Candidate> {
    let served = trace.backend.as_ref()?;
    let node = trace.server.as_ref().map(|server| &server.name);
    let is_there = |candidate: &&Candidate| candidate.backend == *served && candidate.node.as_ref() == node;
    trace.candidates.iter().find(is_there).or(trace.candidates.first())
}

/// The JSON columns of one row. Kept between rows, so that filling them allocates nothing.
#[derive(Default)]
pub(crate) struct Json {
    text: Vec<u8>,
    ends: [usize; Json::COLUMNS],
}

impl Json {
    const COLUMNS: usize = 5;

    /// Writes the columns of `trace`, in the order of the methods below.
    pub(crate) fn fill(&mut self, trace: &Trace) {
        self.text.clear();
        if let Some(chosen) = chosen(trace) {
            let points = [
                ("thermal", chosen.thermal),
                ("memory_fit", chosen.memory_fit),
                ("queue_depth", chosen.queue_depth),
                ("wait_time", chosen.wait_time),
                ("role_affinity", chosen.role_affinity),
                ("availability_trend", chosen.availability_trend),
                ("context_fit", chosen.context_fit),
                ("total", chosen.total()),
            ];
            let predicted = chosen.predicted.map(|predicted| ("predicted_ms", predicted.total_ms()));
            for (at, (name, number)) in points.into_iter().chain(predicted).enumerate() {
                self.text.push(if at == 0 { b'{' } else { b',' });
                self.put(name);
                self.text.push(b':');
                self.put(&measure(number));
            }
            self.text.push(b'}');
        }
        self.ends[0] = self.text.len();
        let failed = trace.attempts.iter().take(MOST_ITEMS).filter(|attempt| attempt.error.is_some());
        let mut names: Vec<Cow<'_, str>> = Vec::new();
        for attempt in failed {
            let backend = attempt.backend.as_str();
            let failed = match &attempt.node {
                Some(node) => Cow::Owned(name(&format!("{node}/{backend}")).to_owned()),
                None => Cow::Borrowed(name(backend)),
            };
            if !names.contains(&failed) {
                names.push(failed);
            }
        }
        self.put_list(&names);
        self.ends[1] = self.text.len();
        let tags: Vec<&str> = trace.tags.iter().take(MOST_ITEMS).map(|tag| name(tag)).collect();
        self.put_list(&tags);
        self.ends[2] = self.text.len();
        self.put_list(&trace.candidates[..trace.candidates.len().min(MOST_ITEMS)]);
        self.ends[3] = self.text.len();
        let attempts = &trace.attempts[..trace.attempts.len().min(MOST_ITEMS)];
        if attempts.iter().any(|attempt| attempt.error.as_ref().is_some_and(|error| error.len() > SENTENCE_BYTES)) {
            let mut short = attempts.to_vec();
            for error in short.iter_mut().filter_map(|attempt| attempt.error.as_mut()) {
                error.truncate(error.floor_char_boundary(SENTENCE_BYTES));
            }
            self.put_list(&short);
        } else {
            self.put_list(attempts);
        }
        self.ends[4] = self.text.len();
    }

    pub(crate) fn scores_breakdown(&self) -> Option<&str> {
        self.column(0)
    }

    pub(crate) fn excluded_nodes(&self) -> Option<&str> {
        self.column(1)
    }

    pub(crate) fn tags(&self) -> Option<&str> {
        self.column(2)
    }

    pub(crate) fn candidates(&self) -> Option<&str> {
        self.column(3)
    }

    pub(crate) fn attempts(&self) -> Option<&str> {
        self.column(4)
    }

    fn column(&self, at: usize) -> Option<&str> {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        let text = &self.text[start..self.ends[at]];
        (!text.is_empty()).then(|| std::str::from_utf8(text).expect("serde_json writes UTF-8 only"))
    }

    // An empty list is no list: the documented columns are NULL then.
    fn put_list<T: serde::Serialize>(&mut self, list: &[T]) {
        if !list.is_empty() {
            self.put(list);
        }
    }

    fn put<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        serde_json::to_writer(&mut self.text, value).expect("plain structs become JSON, and memory takes every write");
    }
}

/// The JSON of a column, or null where it holds none.
pub(crate) fn parsed(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
