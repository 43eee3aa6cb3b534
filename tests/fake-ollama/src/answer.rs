//! Answers as bytes: whole ones, streams of records, errors in each API's own words.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::generation::{Generation, Piece};
use crate::io::Wire;
use crate::peer::Job;
use crate::record::Entry;
use crate::text;

pub(crate) const JSON_UTF8: &str = "application/json; charset=utf-8";
pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";
pub(crate) const EVENTS: &str = "text/event-stream";

/// Longest body that Go sends with a Content-Length when the handler does not give one.
const GO_BUFFER: usize = 2048;

/// Turns pieces of an answer into the records of one API.
pub(crate) trait Format: Send {
    /// Appends the records for `piece`, each of which becomes one HTTP chunk; none if this API says nothing of it.
    fn records(&mut self, piece: Piece, out: &mut VecDeque<Bytes>);
}

/// The reply of a handler: a status, headers and what follows.
pub(crate) type Reply = Response<Payload>;

/// A body and the note of whether it was sent to its end.
pub(crate) struct Payload {
    content: Content,
    note: Option<Note>,
}

enum Content {
    Whole { bytes: Option<Bytes>, sized: bool },
    Records(Box<Records>),
    Timed(Box<Timed>),
    Job(Box<Job>),
}

/// Marks a request as answered, or as left early if the body is dropped before its end.
pub(crate) struct Note {
    pub(crate) entry: Arc<Entry>,
    pub(crate) wire: Arc<Wire>,
    pub(crate) complete: bool,
}

impl Drop for Note {
    fn drop(&mut self) {
        if self.complete {
            self.entry.answered.store(true, Ordering::Relaxed);
            self.wire.answered();
        } else if !self.wire.is_reset() {
            self.entry.left.store(true, Ordering::Relaxed);
        }
    }
}

struct Records {
    generation: Option<Generation>,
    format: Box<dyn Format>,
    ready: VecDeque<Bytes>,
    wrote: bool,
}

/// Lines with pauses between them, for pulls.
struct Timed {
    lines: VecDeque<Bytes>,
    pause: std::time::Duration,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    then: Option<Box<dyn FnOnce() + Send>>,
}

impl Payload {
    /// An answer of known length; longer ones go out in chunks, as Go's server does it.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Payload {
        let bytes = bytes.into();
        let sized = bytes.len() <= GO_BUFFER;
        Payload { content: Content::Whole { bytes: Some(bytes), sized }, note: None }
    }

    /// One that goes out in a chunk although it is short: the handler had flushed or streamed.
    pub(crate) fn chunked(bytes: impl Into<Bytes>) -> Payload {
        Payload { content: Content::Whole { bytes: Some(bytes.into()), sized: false }, note: None }
    }

    /// A stream that begins with `first` and goes on as long as `generation` does.
    pub(crate) fn records(first: Piece, generation: Generation, mut format: Box<dyn Format>) -> Payload {
        let mut ready = VecDeque::new();
        let ended = !matches!(first, Piece::Text(_) | Piece::Thinking(_));
        format.records(first, &mut ready);
        let generation = (!ended).then_some(generation);
        let records = Records { generation, format, ready, wrote: false };
        Payload { content: Content::Records(Box::new(records)), note: None }
    }

    /// Lines with a pause before each but the first; `then` happens before the last.
    pub(crate) fn lines(
        lines: impl IntoIterator<Item = Value>,
        pause: std::time::Duration,
        then: impl FnOnce() + Send + 'static,
    ) -> Payload {
        let lines = lines.into_iter().map(|line| Bytes::from(text::json(&line) + "\n")).collect();
        let timed = Timed { lines, pause, sleep: None, then: Some(Box::new(then)) };
        Payload { content: Content::Timed(Box::new(timed)), note: None }
    }

    /// The lines of a pull as they come.
    pub(crate) fn job(job: Job) -> Payload {
        Payload { content: Content::Job(Box::new(job)), note: None }
    }

    /// Notes in `note` how the sending ends.
    pub(crate) fn noted(mut self, note: Note) -> Payload {
        self.note = Some(note);
        self
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match &mut self.content {
            Content::Whole { bytes, .. } => Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty())),
            Content::Records(records) => records.poll(cx),
            Content::Timed(timed) => timed.poll(cx),
            Content::Job(job) => job.poll(cx),
        };
        let next = std::task::ready!(next);
        if self.note.as_ref().is_some_and(|note| note.wire.is_reset()) {
            // A failing body makes hyper drop the connection, and dropping it sends the reset.
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
        }
        if let (None, Some(note)) = (&next, &mut self.note) {
            note.complete = true;
            self.note = None;
        }
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole { bytes, .. } if bytes.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole { bytes, sized: true } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(0)))
            }
            _ => SizeHint::default(),
        }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        // hyper does not ask a body of known length for its end.
        if let (Content::Whole { bytes, .. }, Some(note)) = (&self.content, &mut self.note) {
            note.complete = note.complete || bytes.as_ref().is_none_or(Bytes::is_empty);
        }
    }
}

impl Records {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(record) = self.ready.pop_front() {
            self.wrote = true;
            return Poll::Ready(Some(record));
        }
        if self.generation.is_none() {
            return Poll::Ready(None);
        }
        if std::mem::take(&mut self.wrote) {
            // One write per token: hyper flushes what it has when the body is not ready.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while self.ready.is_empty() {
            let Some(generation) = &mut self.generation else { return Poll::Ready(None) };
            let piece = std::task::ready!(generation.poll_piece(cx));
            if piece == Piece::Cut {
                return Poll::Ready(None);
            }
            if !matches!(piece, Piece::Text(_) | Piece::Thinking(_)) {
                self.generation = None;
            }
            self.format.records(piece, &mut self.ready);
        }
        self.wrote = true;
        Poll::Ready(self.ready.pop_front())
    }
}

impl Timed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(sleep) = &mut self.sleep {
            std::task::ready!(Future::poll(sleep.as_mut(), cx));
            self.sleep = None;
        }
        let line = self.lines.pop_front();
        if self.lines.len() <= 1
            && let Some(then) = self.then.take()
        {
            then();
        }
        if line.is_some() && !self.pause.is_zero() {
            self.sleep = Some(Box::pin(tokio::time::sleep(self.pause)));
        }
        Poll::Ready(line)
    }
}

/// A reply with this status, content type and body.
pub(crate) fn reply(status: u16, content_type: &'static str, payload: Payload) -> Reply {
    let mut reply = Response::new(payload);
    *reply.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A reply without body and content type.
pub(crate) fn bare(status: u16) -> Reply {
    let mut reply = reply(status, JSON, Payload::whole(""));
    reply.headers_mut().remove(CONTENT_TYPE);
    reply
}

/// 200 with `value`, the way the Ollama handlers answer.
pub(crate) fn ok(value: &Value) -> Reply {
    reply(200, JSON_UTF8, Payload::whole(text::json(value)))
}

/// The same with another header.
pub(crate) fn with(mut reply: Reply, name: HeaderName, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
    reply
}

/// The headers of the event streams of /v1/messages and /v1/responses; their errors carry them, too.
pub(crate) fn uncached(reply: Reply) -> Reply {
    with(with(reply, CACHE_CONTROL, "no-cache"), CONNECTION, "keep-alive")
}

/// Whose words an error is told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tongue {
    Ollama,
    OpenAi,
    Anthropic,
}

/// A refusal or failure, before it is put into an API's words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    pub(crate) text: String,
    /// Found while the request was read, before any handler ran: OpenAI-like answers then name a charset.
    pub(crate) early: bool,
    /// Told after the handler had begun to stream: sent in a chunk.
    pub(crate) late: bool,
    /// Told in Ollama's own words whatever the API: found before the translation begins.
    pub(crate) plain: bool,
}

impl Failure {
    pub(crate) fn new(status: u16, text: impl Into<String>) -> Failure {
        Failure { status, text: text.into(), early: false, late: false, plain: false }
    }

    pub(crate) fn early(status: u16, text: impl Into<String>) -> Failure {
        Failure { early: true, ..Failure::new(status, text) }
    }

    /// The reply in the words of `tongue`.
    pub(crate) fn reply(&self, tongue: Tongue) -> Reply {
        let tongue = if self.plain { Tongue::Ollama } else { tongue };
        let kind = match self.status {
            400 => "invalid_request_error",
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            503 if tongue == Tongue::Anthropic => "overloaded_error",
            _ => "api_error",
        };
        let body = match tongue {
            Tongue::Ollama => json!({"error": self.text}),
            Tongue::OpenAi => json!({"error": {"message": self.text, "type": kind, "param": null, "code": null}}),
            Tongue::Anthropic => json!({"type": "error", "error": {"type": kind, "message": self.text},
                "request_id": format!("req_{}", text::draw_hex(24))}),
        };
        let content_type = if (self.early || tongue == Tongue::Ollama) && !self.late { JSON_UTF8 } else { JSON };
        let body = text::json(&body);
        let payload = if self.late { Payload::chunked(body) } else { Payload::whole(body) };
        reply(self.status, content_type, payload)
    }
}
