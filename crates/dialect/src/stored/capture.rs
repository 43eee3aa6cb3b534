//! Takes the response object out of an answer that goes by, and adds to it what its backend does not know.
//!
//! Memory per answer: a record that is cut into frames, or an answer that is not streamed, up to the bound that it was made
//! with. What is longer goes by as it is and is not taken.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use memchr::memrchr;

use crate::request::json::{Json, Kind};
use crate::request::writer::Writer;

/// Only records about the whole response have this member; inside of texts its quotes are escaped.
static RESPONSE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"response\""));

/// Takes the response object out of one answer.
#[derive(Debug)]
pub struct Capture {
    streamed: bool,
    /// What the object is to say in place of what the backend says, where the backend was not told of it.
    says: Option<Says>,
    most: usize,
    /// The beginning of a line whose end has not come yet; of an answer that is not streamed, all so far.
    held: Vec<u8>,
    /// More came than may be held.
    lost: bool,
    taken: Option<Bytes>,
}

#[derive(Debug)]
struct Says {
    /// The previous response's id.
    previous: Option<String>,
    store: bool,
}

impl Capture {
    /// Takes an object of at most `most` bytes from an answer that comes as a stream if `streamed`.
    pub fn new(streamed: bool, most: usize) -> Capture {
        Capture { streamed, says: None, most, held: Vec::new(), lost: false, taken: None }
    }

    /// Makes the object, wherever it shows up, say which response it continues and whether it is stored.
    #[must_use]
    pub fn saying(mut self, previous: Option<&str>, store: bool) -> Capture {
        self.says = Some(Says { previous: previous.map(str::to_owned), store });
        self
    }

    /// The object, once: as soon as it has gone by and if the response was completed, if not in full.
    pub fn taken(&mut self) -> Option<Bytes> {
        self.taken.take()
    }

    /// Takes all of an answer that is not streamed, and returns it as the client gets it.
    pub fn whole(&mut self, answer: Bytes) -> Bytes {
        self.object(&answer).map_or(answer, Bytes::from)
    }

    /// Takes the next bytes and returns those that can go to the client: of a stream, whole lines.
    pub fn feed(&mut self, bytes: Bytes) -> Bytes {
        if self.lost {
            return bytes;
        }
        if !self.streamed {
            self.lost = self.held.len() + bytes.len() > self.most;
            if self.lost {
                self.held = Vec::new();
            } else {
                self.held.extend_from_slice(&bytes);
            }
            return bytes;
        }
        let end = memrchr(b'\n', &bytes).map_or(0, |last| last + 1);
        let rest = bytes.slice(end..);
        let is_usual = self.held.is_empty() && RESPONSE.find(&bytes[..end]).is_none();
        let out = if is_usual {
            bytes.slice(..end)
        } else {
            let mut lines = std::mem::take(&mut self.held);
            lines.extend_from_slice(&bytes[..end]);
            if end > 0 {
                self.lines(lines)
            } else {
                self.held = lines;
                Bytes::new()
            }
        };
        self.lost = self.held.len() + rest.len() > self.most;
        if self.lost {
            return [&out[..], &std::mem::take(&mut self.held), &rest].concat().into();
        }
        self.held.extend_from_slice(&rest);
        out
    }

    /// The answer has ended. Returns what was still held back.
    pub fn finish(&mut self) -> Bytes {
        let held = std::mem::take(&mut self.held);
        if self.streamed {
            return self.lines(held);
        }
        // It has gone out as it came, so nothing can be added any more.
        self.object(&held);
        Bytes::new()
    }

    fn lines(&mut self, lines: Vec<u8>) -> Bytes {
        if RESPONSE.find(&lines).is_none() {
            return lines.into();
        }
        let mut out = Vec::with_capacity(lines.len() + 256);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            match self.record(line) {
                Some(said) => {
                    out.extend_from_slice(b"data: ");
                    out.extend_from_slice(said.as_bytes());
                    let end = line.trim_ascii_end().len();
                    out.extend_from_slice(&line[end..]);
                }
                None => out.extend_from_slice(line),
            }
        }
        out.into()
    }

    /// Looks at a line; returns its record where something was added to it.
    fn record(&mut self, line: &[u8]) -> Option<String> {
        let record = line.strip_prefix(b"data:")?;
        RESPONSE.find(record)?;
        let record = Json::parse(std::str::from_utf8(record).ok()?).ok()?;
        let response = record.get("response").filter(|response| response.kind() == Kind::Object)?;
        let is_last = record
            .get("type")
            .is_some_and(|kind| matches!(kind.as_str(), "\"response.completed\"" | "\"response.incomplete\""));
        let said = self.said(response);
        if is_last {
            self.take(said.as_deref().unwrap_or(response.as_str()));
        }
        let said = said?;
        let mut out = Writer::with_capacity(record.as_str().len() + said.len() - response.as_str().len() + 16);
        out.open('{');
        for (name, value) in record.members() {
            out.named(&name).raw(if name == "response" { &said } else { value.as_str() });
        }
        out.close('}');
        Some(out.into_string())
    }

    /// Looks at a whole answer; returns it where something was added to it.
    fn object(&mut self, answer: &[u8]) -> Option<String> {
        let response = Json::parse(std::str::from_utf8(answer).ok()?).ok()?;
        response.get("output")?;
        let said = self.said(response);
        let status = response.get("status");
        if status.is_some_and(|status| matches!(status.as_str(), "\"completed\"" | "\"incomplete\"")) {
            self.take(said.as_deref().unwrap_or(response.as_str()));
        }
        said
    }

    fn take(&mut self, object: &str) {
        if object.len() <= self.most {
            self.taken = Some(Bytes::copy_from_slice(object.as_bytes()));
        }
    }

    /// The object with what it is to say, in place of what the backend says about that.
    fn said(&self, response: Json<'_>) -> Option<String> {
        let says = self.says.as_ref()?;
        let mut out = Writer::with_capacity(response.as_str().len() + 96);
        out.open('{');
        for (name, value) in response.members() {
            if name != "previous_response_id" && name != "store" {
                out.named(&name).json(value);
            }
        }
        match &says.previous {
            Some(previous) => out.key("previous_response_id").text(previous),
            None => out.key("previous_response_id").raw("null"),
        }
        out.key("store").plain(says.store);
        out.close('}');
        Some(out.into_string())
    }
}
