//! Translates answers: bytes in as they come from the backend, bytes out as the client expects them.
//!
//! Records are translated as soon as they are whole, so that a stream stays a stream; how it was cut into pieces changes
//! nothing. Memory per answer: a cut record, at most 4 MiB; an answer that is not streamed, at most 16 MiB (64 MiB of
//! embeddings); for clients of Responses also all that was said, at most 16 MiB. Beyond that the answer fails.

mod embeddings;
mod event;
mod forced;
mod from;
mod json;
mod logprobs;
mod records;
mod to;

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memmem;
use proto::Api;

use crate::{Cause, Expect, Failure, RenamedTool, reshape_error, stream_content_type};
use event::{Event, Finish, Listener, Usage, merged};
use forced::Forced;
use from::{Meaning, ollama, openai};
use records::{Record, Records};
use to::{Called, Ending, Head, Writer};

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
        let head = Head::new(&expect, id, unix_ms);
        let state = State {
            writer: Writer::new(&expect, &head),
            head,
            forced: expect.forced_tool.as_ref().map(Forced::new),
            wishes: Wishes::of(&expect),
            is_hidden: false,
            calls: 0,
            has_content: false,
            has_ended: false,
            finish: None,
            stop_text: None,
            usage: Usage::default(),
            elapsed_ns: None,
            first_ns: None,
        };
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

    /// The backend's error answer in the client's words: status and body.
    pub fn error(expect: &Expect, status: u16, body: &[u8]) -> (u16, Bytes) {
        let status = match status {
            400..=599 if is_clients_fault(body) => 400,
            400..=599 => status,
            // An error under another status is still one.
            _ => 502,
        };
        let reshaped = reshape_error(status, body, expect.client.dialect());
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

/// What of an answer the client wants to see.
#[derive(Debug)]
struct Wishes {
    only_load: bool,
    one_tool_call: bool,
    logprobs: bool,
    /// Names as the backend writes them, names and namespaces as the client does: insides of JSON strings.
    renamed: Vec<RenamedTool>,
}

impl Wishes {
    fn of(expect: &Expect) -> Wishes {
        let quoted = |tool: &RenamedTool| RenamedTool {
            sent: json::escaped(&tool.sent),
            namespace: json::escaped(&tool.namespace),
            name: json::escaped(&tool.name),
        };
        Wishes {
            only_load: expect.only_load,
            one_tool_call: expect.one_tool_call,
            logprobs: expect.logprobs,
            renamed: expect.renamed_tools.iter().map(quoted).collect(),
        }
    }
}

/// What is known of an answer.
#[derive(Debug)]
struct State {
    head: Head,
    writer: Writer,
    forced: Option<Forced>,
    wishes: Wishes,
    /// The call that began last is not shown.
    is_hidden: bool,
    calls: u64,
    has_content: bool,
    has_ended: bool,
    finish: Option<Finish>,
    stop_text: Option<String>,
    usage: Usage,
    /// How long the request has taken, and had when content began.
    elapsed_ns: Option<u64>,
    first_ns: Option<u64>,
}

impl State {
    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        if let Some(forced) = self.forced.take() {
            forced.end(&mut Scribe { state: self, out })?;
        }
        self.has_ended = true;
        let finish = match self.finish.unwrap_or(Finish::Stop) {
            _ if self.wishes.only_load => Finish::Load,
            Finish::Stop if self.calls > 0 => Finish::ToolCalls,
            finish => finish,
        };
        let usage = merged(self.measured(), self.usage);
        let ending = Ending { finish, usage, stop_text: self.stop_text.take() };
        self.writer.end(&self.head, &ending, out)
    }

    /// What can be said of times without the backend's word.
    fn measured(&self) -> Usage {
        let first = self.first_ns.or(self.elapsed_ns);
        let since_first = self.elapsed_ns.zip(first).map(|(all, first)| all.saturating_sub(first));
        Usage { total_ns: self.elapsed_ns, prompt_ns: first, eval_ns: since_first, ..Usage::default() }
    }

    fn said_something(&mut self) {
        if !self.has_content {
            self.has_content = true;
            self.first_ns = self.elapsed_ns;
        }
    }
}

/// Hears what the backend says and writes it down for the client.
struct Scribe<'a> {
    state: &'a mut State,
    out: &'a mut Vec<u8>,
}

impl Listener for Scribe<'_> {
    #[inline]
    fn hear(&mut self, event: Event<'_>) -> Result<(), Failure> {
        let Scribe { state, out } = self;
        match event {
            Event::Thinking(_) | Event::Text { .. } | Event::Call { .. } | Event::Arguments(_)
                if state.wishes.only_load =>
            {
                Ok(())
            }
            Event::Thinking(text) => {
                state.said_something();
                state.writer.thinking(&state.head, text, out)
            }
            Event::Text { text, logprobs } => {
                state.said_something();
                let Some(mut forced) = state.forced.take() else {
                    let logprobs = if state.wishes.logprobs { logprobs } else { "" };
                    return state.writer.text(&state.head, text, logprobs, out);
                };
                let heard = forced.text(text, self);
                self.state.forced = Some(forced);
                heard
            }
            Event::Call { id, name } => {
                state.said_something();
                state.is_hidden = state.wishes.one_tool_call && state.calls > 0;
                if state.is_hidden {
                    return Ok(());
                }
                state.calls += 1;
                let made;
                let id = if id.is_empty() {
                    let prefix = if state.head.client == Api::Messages { "toolu" } else { "call" };
                    made = format!("{prefix}_{}_{}", state.head.id, state.calls);
                    &made
                } else {
                    id
                };
                let renamed = state.wishes.renamed.iter().find(|tool| tool.sent == name);
                let (name, namespace) = renamed.map_or((name, ""), |tool| (&tool.name, &tool.namespace));
                state.writer.call(&state.head, Called { id, name, namespace }, out)
            }
            Event::Arguments(_) if state.is_hidden => Ok(()),
            Event::Arguments(text) => state.writer.arguments(&state.head, text, out),
            Event::Finish(finish) => {
                state.finish = Some(finish);
                Ok(())
            }
            Event::StopText(text) => {
                state.stop_text = Some(text.to_owned());
                Ok(())
            }
            Event::Usage(usage) => {
                state.usage = merged(state.usage, usage);
                Ok(())
            }
        }
    }
}
