//! Translates answers: bytes in as they come from the backend, bytes out as the client expects them.
//!
//! Records are translated as soon as they are whole, so that a stream stays a stream; how it was cut into pieces changes
//! nothing. Memory per answer: a cut record, at most 4 MiB; an answer that is not streamed, at most 16 MiB as it came (64 MiB
//! of embeddings) and as much again until it is written; for clients of Responses, whose last records repeat all that was
//! said, at most 16 MiB of that. Beyond any of these the answer fails.

mod embeddings;
mod errors;
mod event;
mod forced;
mod from;
mod json;
mod logprobs;
mod prefill;
mod records;
mod state;
mod to;

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memmem;
use proto::Api;

use crate::{Cause, Expect, Failure, reshape_error, stream_content_type};
use from::{Meaning, ollama, openai};
use records::{Record, Records};
use state::{Scribe, State};
pub(crate) use to::responses::unknown_failed;
use to::{Head, Writer};

/// The longest record of a stream, in bytes.
const LONGEST_RECORD: usize = 4 << 20;
/// The longest answer that is not streamed, in bytes.
const LONGEST_WHOLE: usize = 16 << 20;
/// As many numbers take more room than any text.
const LONGEST_EMBEDDINGS: usize = 64 << 20;

/// Translates one answer.
#[derive(Debug)]
pub struct AnswerTranslator {
    expect: Expect,
    records: Records,
    chunks: openai::Chunks,
    state: State,
}

impl AnswerTranslator {
    /// A translator for the answer to one request.
    ///
    /// `id` is unique to the request (20 characters do); `chatcmpl-…`, `resp_…`, `msg_…` and the ids of calls that the
    /// backend gave none are made from it. `unix_ms` is the present, in milliseconds since 1970.
    pub fn new(expect: Expect, id: &str, unix_ms: u64) -> AnswerTranslator {
        let is_embedding = matches!(expect.upstream, Api::OllamaEmbed | Api::OllamaEmbeddings | Api::Embeddings);
        let records = match expect.upstream {
            _ if is_embedding => Records::whole(LONGEST_EMBEDDINGS),
            _ if !expect.stream => Records::whole(LONGEST_WHOLE),
            Api::OllamaChat | Api::OllamaGenerate => Records::lines(LONGEST_RECORD),
            _ => Records::events(LONGEST_RECORD, LONGEST_WHOLE),
        };
        let state = State::new(&expect, Head::new(&expect, id, unix_ms));
        AnswerTranslator { expect, records, chunks: openai::Chunks::default(), state }
    }

    /// Says how long the request has taken so far, in nanoseconds. For Ollama's clients, times that the backend does not
    /// measure are taken from it; without it they are said to be 0.
    pub fn elapsed(&mut self, ns: u64) {
        self.state.elapsed_ns = Some(ns);
        self.state.head.now_ms = self.state.head.created_ms.saturating_add(ns / 1_000_000);
    }

    /// Takes bytes of the backend's answer and appends to `out` what can be said now.
    ///
    /// An error means that the backend told of one, or that the answer makes no sense: nothing more will come, and the
    /// caller ends the stream with [`Failure::stream_end_after`] and [`sequence`](AnswerTranslator::sequence). What was
    /// appended to `out` before is whole records.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let AnswerTranslator { expect, records, chunks, state } = self;
        records.feed(bytes, |record| {
            // A record that makes no sense where others came is told from one that is only not for us.
            match read(expect, chunks, state, record, out)? {
                Meaning::Unreadable => Err(unreadable()),
                Meaning::Piece | Meaning::Last | Meaning::Foreign => Ok(()),
            }
        })
    }

    /// The backend's answer has ended, as far as the connection goes in good order. Appends the last records, or the whole
    /// object. An error means that what came is no complete answer.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let AnswerTranslator { expect, records, chunks, state } = self;
        let is_whole = records.is_whole();
        let rest = records.rest();
        let is_empty = rest.is_empty();
        if matches!(expect.upstream, Api::OllamaEmbed | Api::OllamaEmbeddings | Api::Embeddings) {
            state.has_ended = true;
            return embeddings::translate(expect, state.elapsed_ns, &String::from_utf8_lossy(&rest), out);
        }
        if !is_empty {
            match read(expect, chunks, state, Record { bytes: &rest, is_error: false }, out)? {
                Meaning::Unreadable => return Err(unreadable()),
                Meaning::Foreign if is_whole => {
                    return Err(Failure::new(Cause::BadGateway, "the backend answered something else than was asked"));
                }
                Meaning::Piece | Meaning::Last | Meaning::Foreign => {}
            }
        }
        if state.has_ended {
            return Ok(());
        }
        let is_ollama = matches!(expect.upstream, Api::OllamaChat | Api::OllamaGenerate);
        // Ollama ends without a final record after many equal tokens, and only its silence says so.
        let is_complete = state.finish.is_some() || is_whole && !is_empty || is_ollama && records.any();
        if !is_complete {
            return Err(Failure::new(Cause::BadGateway, "the backend's answer ended too early"));
        }
        state.end(out)
    }

    /// The content type of what is written.
    pub fn content_type(&self) -> &'static str {
        let client = self.expect.client;
        let is_embedding = matches!(client, Api::OllamaEmbed | Api::OllamaEmbeddings | Api::Embeddings);
        if self.expect.stream && !is_embedding {
            stream_content_type(client)
        } else {
            Failure::content_type(client.dialect())
        }
    }

    /// Whether the model has said, thought or called something.
    pub fn has_content(&self) -> bool {
        self.state.has_content
    }

    /// Whether the last record was written: what the backend still sends changes nothing.
    pub fn has_ended(&self) -> bool {
        self.state.has_ended
    }

    /// The number of the last event of a Responses stream.
    pub fn sequence(&self) -> Option<u64> {
        match &self.state.writer {
            Writer::Responses(stream) => stream.last(),
            _ => None,
        }
    }

    /// What ends the stream after `failure`, as [`Failure::stream_end_after`] says it, with all that this answer's records
    /// repeat. Nothing can be said after it.
    pub fn stream_end(&mut self, failure: &Failure) -> Bytes {
        let State { head, writer, has_ended, .. } = &mut self.state;
        *has_ended = true;
        let Writer::Responses(stream) = writer else { return failure.stream_end(self.expect.client, false) };
        let mut out = Vec::with_capacity(1_024);
        stream.fail(head, failure.response_code(), &failure.message, &mut out);
        out.into()
    }

    /// The backend's error answer in the client's words: status and body.
    pub fn error(expect: &Expect, status: u16, body: &[u8]) -> (u16, Bytes) {
        let status = match status {
            400..=599 if is_clients_fault(body) => 400,
            400..=599 => status,
            // An error under another status is still one.
            _ => 502,
        };
        let dialect = expect.client.dialect();
        let reshaped = reshape_error(status, body, dialect).or_else(|| errors::completed(body, dialect));
        (status, reshaped.unwrap_or_else(|| Bytes::copy_from_slice(body)))
    }
}

/// Whether an engine's error, which Ollama passes on under 500, is about the request: trying again would not help.
fn is_clients_fault(body: &[u8]) -> bool {
    ["exceed_context_size_error", "image input is not supported"]
        .iter()
        .any(|sign| memmem::find(body, sign.as_bytes()).is_some())
}

fn unreadable() -> Failure {
    Failure::new(Cause::BadGateway, "the backend sent something that is no JSON object")
}

fn read(
    expect: &Expect,
    chunks: &mut openai::Chunks,
    state: &mut State,
    record: Record<'_>,
    out: &mut Vec<u8>,
) -> Result<Meaning, Failure> {
    if state.has_ended {
        return Ok(Meaning::Foreign);
    }
    let text = match std::str::from_utf8(record.bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(record.bytes),
    };
    if record.is_error {
        return Err(from::told(&text));
    }
    let mut listener = Scribe { state, out };
    let meaning = match expect.upstream {
        Api::OllamaChat | Api::OllamaGenerate => ollama::read(&text, &mut listener)?,
        _ => chunks.read(&text, &mut listener)?,
    };
    if meaning == Meaning::Last {
        state.end(out)?;
    }
    Ok(meaning)
}
