//! Many apps that ask at once, in all dialects, and what each of them got to see.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::send;

/// How an app asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Ollama's stream.
    Ollama,
    /// OpenAI's stream.
    OpenAi,
    /// Anthropic's stream.
    Anthropic,
    /// OpenAI's whole answer.
    Whole,
}

impl Manner {
    /// All of them, to be taken in turn.
    pub const ALL: [Manner; 4] = [Manner::Ollama, Manner::OpenAi, Manner::Anthropic, Manner::Whole];

    fn path(self) -> &'static str {
        match self {
            Manner::Ollama => "/api/chat",
            Manner::OpenAi | Manner::Whole => "/v1/chat/completions",
            Manner::Anthropic => "/v1/messages",
        }
    }

    fn body(self, model: &str, words: &str) -> Value {
        let messages = json!([{ "role": "user", "content": words }]);
        let stream = self != Manner::Whole;
        match self {
            Manner::Anthropic => json!({ "model": model, "stream": stream, "max_tokens": 4096, "messages": messages }),
            _ => json!({ "model": model, "stream": stream, "messages": messages }),
        }
    }

    /// What `body` came to; `complete`: it ended as its framing says.
    fn fate(self, status: u16, body: &str, complete: bool) -> Fate {
        if status != 200 {
            return Fate::Refused(status, body.chars().take(300).collect());
        }
        let records = body.lines().filter_map(|line| {
            let text =
                if self == Manner::Ollama || self == Manner::Whole { line } else { line.strip_prefix("data: ")? };
            Some(serde_json::from_str::<Value>(text).unwrap_or(Value::String(text.to_owned())))
        });
        let mut has_ended = false;
        for record in records {
            let error = &record["error"];
            if let Some(said) = error.as_str().or(error["message"].as_str()) {
                return Fate::Told(said.to_owned());
            }
            has_ended |= match self {
                Manner::Ollama => record["done"] == true,
                Manner::OpenAi => record == "[DONE]",
                Manner::Anthropic => record["type"] == "message_stop",
                Manner::Whole => record["choices"][0]["message"]["content"].is_string(),
            };
        }
        if has_ended && complete { Fate::Whole } else { Fate::Silent }
    }

    /// Whether a word of the model is in `body`.
    fn has_content(self, body: &str) -> bool {
        match self {
            Manner::Ollama => {
                body.lines().any(|line| line.contains("\"content\":\"") && !line.contains("\"content\":\"\""))
            }
            Manner::OpenAi => {
                body.contains("\"content\":\"")
                    && body.matches("\"content\":\"").count() > body.matches("\"content\":\"\"").count()
            }
            Manner::Anthropic => body.contains("content_block_delta"),
            Manner::Whole => body.contains("\"choices\""),
        }
    }
}

/// How an answer ended, as its app sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As it should.
    Whole,
    /// In an error record of its dialect.
    Told(String),
    /// With an error status.
    Refused(u16, String),
    /// Without its end and without a word about it.
    Silent,
    /// The connection broke before there was an answer.
    Broken(String),
}

/// What an app got.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How it asked.
    pub manner: Manner,
    /// By which its door remembers it.
    pub id: Option<String>,
    /// From asking to the first content; `None`: none came.
    pub first: Option<Duration>,
    /// From asking to the end.
    pub took: Duration,
    /// How it ended.
    pub fate: Fate,
}

impl Seen {
    /// Whether nothing came of it although nothing had come yet: another machine could have done it.
    pub fn is_lost(&self) -> bool {
        self.first.is_none() && self.fate != Fate::Whole
    }

    /// Whether it had begun and broke off.
    pub fn is_cut(&self) -> bool {
        self.first.is_some() && self.fate != Fate::Whole
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, first {:?}, took {:?}: {:?}", self.manner, self.first, self.took, self.fate)
    }
}

/// Asks the door at `url` (`http://HOST:PORT`) for `model` and reads to the end; `begun` is called at the first content.
pub fn app(url: &str, manner: Manner, model: &str, words: &str, begun: impl FnOnce()) -> Seen {
    let start = now();
    let mut seen = Seen { manner, id: None, first: None, took: Duration::ZERO, fate: Fate::Silent };
    let headers = [("Content-Type", "application/json")];
    let body = manner.body(model, words).to_string();
    let mut exchange = match send(&format!("{url}{}", manner.path()), "POST", &headers, body.as_bytes()) {
        Ok(exchange) => exchange,
        Err(error) => {
            return Seen { took: start.elapsed(), fate: Fate::Broken(error.to_string()), ..seen };
        }
    };
    let status = exchange.status();
    if status == 200 {
        let first = exchange.read_while(|body| !manner.has_content(body));
        if first {
            seen.first = Some(start.elapsed());
            begun();
        }
    }
    let answer = exchange.finish();
    seen.id = answer.header("x-fleet-request-id").map(str::to_owned);
    seen.fate = manner.fate(status, &answer.body, answer.complete);
    seen.took = start.elapsed();
    seen
}

#[allow(clippy::disallowed_methods, reason = "apps wait in real time")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_told_from_every_other() {
        let told = |said: &str| Fate::Told(said.to_owned());
        for (manner, body, complete, fate) in [
            (Manner::Ollama, "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"done\":true}\n", true, Fate::Whole),
            (Manner::Ollama, "{\"message\":{\"content\":\"a\"},\"done\":false}\n", true, Fate::Silent),
            (Manner::Ollama, "{\"done\":true}\n", false, Fate::Silent),
            (Manner::Ollama, "{\"done\":false}\n{\"error\":\"gone\"}\n", true, told("gone")),
            (Manner::OpenAi, "data: {\"choices\":[]}\n\ndata: [DONE]\n\n", true, Fate::Whole),
            (Manner::OpenAi, "data: {\"error\":{\"message\":\"gone\"}}\n\ndata: [DONE]\n\n", true, told("gone")),
            (Manner::OpenAi, "data: {\"choices\":[]}\n\n", true, Fate::Silent),
            (Manner::Anthropic, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", true, Fate::Whole),
            (
                Manner::Anthropic,
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"gone\"}}\n\n",
                true,
                told("gone"),
            ),
            (Manner::Whole, "{\"choices\":[{\"message\":{\"content\":\"a\"}}]}", true, Fate::Whole),
            (Manner::Whole, "{\"choices\":[{\"mess", false, Fate::Silent),
        ] {
            assert_eq!(manner.fate(200, body, complete), fate, "{manner:?} {body}");
        }
        assert_eq!(Manner::Whole.fate(503, "no", true), Fate::Refused(503, "no".to_owned()));
    }

    #[test]
    fn heartbeats_and_heads_are_no_content() {
        for (manner, head, word) in [
            (
                Manner::Ollama,
                "{\"message\":{\"content\":\"\"},\"done\":false}\n",
                "{\"message\":{\"content\":\"a\"},\"done\":false}\n",
            ),
            (
                Manner::OpenAi,
                ": wait\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n",
                "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n",
            ),
            (Manner::Anthropic, "event: message_start\n", "event: content_block_delta\n"),
        ] {
            assert!(!manner.has_content(head), "{head}");
            assert!(manner.has_content(&format!("{head}{word}")), "{word}");
        }
    }
}
