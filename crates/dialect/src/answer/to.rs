//! Writes answers in the clients' dialects.

pub(super) mod chat;
pub(super) mod collected;
pub(super) mod completions;
pub(super) mod messages;
pub(super) mod ollama;
pub(super) mod responses;

use proto::Api;

use super::event::{Finish, Usage};
use super::json::escaped;
use crate::{Expect, Failure};
use collected::Collected;

/// What every record of one answer repeats.
#[derive(Debug)]
pub(super) struct Head {
    /// Unique to the request; the inside of a JSON string, as the model's name.
    pub(super) id: String,
    pub(super) model: String,
    /// When the answer was begun, in milliseconds since 1970.
    pub(super) created_ms: u64,
    /// The present, as far as it is known.
    pub(super) now_ms: u64,
    pub(super) client: Api,
    pub(super) include_usage: bool,
    /// Tokens that the prompt is thought to have.
    pub(super) prompt_tokens_estimate: u64,
    /// What stands before the text of a plain completion; the inside of a JSON string.
    pub(super) echo: Option<String>,
}

impl Head {
    pub(super) fn new(expect: &Expect, id: &str, unix_ms: u64) -> Head {
        Head {
            id: escaped(id),
            model: escaped(&expect.model),
            created_ms: unix_ms,
            now_ms: unix_ms,
            client: expect.client,
            include_usage: expect.include_usage,
            prompt_tokens_estimate: expect.prompt_tokens_estimate,
            echo: expect.echo.as_deref().map(escaped),
        }
    }

    /// When the answer was begun, in seconds since 1970.
    pub(super) fn created(&self) -> u64 {
        self.created_ms / 1_000
    }
}

/// A tool call that begins. All are insides of JSON strings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Called<'a> {
    pub(super) id: &'a str,
    /// The tool's name as the client knows it.
    pub(super) name: &'a str,
    /// The client's namespace of the tool; empty for most.
    pub(super) namespace: &'a str,
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) finish: Finish,
    pub(super) usage: Usage,
    /// The stop text that came, where the backend tells it; the inside of a JSON string.
    pub(super) stop_text: Option<String>,
}

impl Ending {
    pub(super) fn prompt_tokens(&self) -> u64 {
        self.usage.prompt_tokens.unwrap_or(0)
    }

    pub(super) fn completion_tokens(&self) -> u64 {
        self.usage.completion_tokens.unwrap_or(0)
    }

    pub(super) fn total_tokens(&self) -> u64 {
        self.prompt_tokens().saturating_add(self.completion_tokens())
    }

    pub(super) fn cached_tokens(&self) -> u64 {
        self.usage.cached_tokens.unwrap_or(0)
    }

    pub(super) fn reasoning_tokens(&self) -> u64 {
        self.usage.reasoning_tokens.unwrap_or(0)
    }
}

/// Writes one answer, record by record or at its end.
#[derive(Debug)]
pub(super) enum Writer {
    Whole(Collected, responses::Fields),
    Chat(chat::Stream),
    Completions(completions::Stream),
    Responses(Box<responses::Stream>),
    Messages(messages::Stream),
    Ollama(ollama::Stream),
}

impl Writer {
    pub(super) fn new(expect: &Expect, head: &Head) -> Writer {
        let fields = || responses::Fields::new(&expect.response_members);
        if !expect.stream {
            return Writer::Whole(Collected::default(), fields());
        }
        match expect.client {
            Api::Completions => Writer::Completions(completions::Stream::new(head)),
            Api::Responses => Writer::Responses(Box::new(responses::Stream::new(head, fields()))),
            Api::Messages => Writer::Messages(messages::Stream::default()),
            Api::OllamaChat | Api::OllamaGenerate => Writer::Ollama(ollama::Stream::default()),
            _ => Writer::Chat(chat::Stream::new(head)),
        }
    }

    #[inline]
    pub(super) fn thinking(&mut self, head: &Head, text: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
        match self {
            Writer::Whole(collected, _) => collected.thinking(text)?,
            Writer::Chat(stream) => stream.thinking(text, out),
            // Plain completions have no place for it; Ollama leaves it out too.
            Writer::Completions(_) => {}
            Writer::Responses(stream) => stream.thinking(head, text, out)?,
            Writer::Messages(stream) => stream.thinking(head, text, out),
            Writer::Ollama(stream) => stream.thinking(head, text, out)?,
        }
        Ok(())
    }

    #[inline]
    pub(super) fn text(&mut self, head: &Head, text: &str, logprobs: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
        match self {
            Writer::Whole(collected, _) => collected.text(text, logprobs)?,
            Writer::Chat(stream) => stream.text(text, logprobs, out),
            Writer::Completions(stream) => stream.text(head, text, logprobs, out),
            Writer::Responses(stream) => stream.text(head, text, logprobs, out)?,
            Writer::Messages(stream) => stream.text(head, text, out),
            Writer::Ollama(stream) => stream.text(head, text, logprobs, out)?,
        }
        Ok(())
    }

    pub(super) fn call(&mut self, head: &Head, call: Called<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let Called { id, name, .. } = call;
        match self {
            Writer::Whole(collected, _) => collected.call(call)?,
            Writer::Chat(stream) => stream.call(id, name, out),
            // Nothing can be called from a plain completion.
            Writer::Completions(_) => {}
            Writer::Responses(stream) => stream.call(head, call, out)?,
            Writer::Messages(stream) => stream.call(head, id, name, out),
            Writer::Ollama(stream) => stream.call(head, call, out)?,
        }
        Ok(())
    }

    pub(super) fn arguments(&mut self, head: &Head, text: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
        match self {
            Writer::Whole(collected, _) => collected.arguments(text)?,
            Writer::Chat(stream) => stream.arguments(text, out),
            Writer::Completions(_) => {}
            Writer::Responses(stream) => stream.arguments(head, text, out)?,
            Writer::Messages(stream) => stream.arguments(text, out),
            Writer::Ollama(stream) => stream.arguments(text)?,
        }
        Ok(())
    }

    pub(super) fn end(&mut self, head: &Head, ending: &Ending, out: &mut Vec<u8>) -> Result<(), Failure> {
        match self {
            Writer::Whole(collected, fields) => match head.client {
                Api::Completions => completions::whole(head, collected, ending, out),
                Api::Responses => responses::whole(head, fields, collected, ending, out),
                Api::Messages => return messages::whole(head, collected, ending, out),
                Api::OllamaChat | Api::OllamaGenerate => return ollama::whole(head, collected, ending, out),
                _ => chat::whole(head, collected, ending, out),
            },
            Writer::Chat(stream) => stream.end(head, ending, out),
            Writer::Completions(stream) => stream.end(head, ending, out),
            Writer::Responses(stream) => stream.end(head, ending, out),
            Writer::Messages(stream) => stream.end(head, ending, out),
            Writer::Ollama(stream) => return stream.end(head, ending, out),
        }
        Ok(())
    }
}
