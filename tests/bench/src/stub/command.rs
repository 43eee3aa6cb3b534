//! What a request asks of the stub: words in its prompt, because prompts pass every proxy untouched.
//!
//! `@bench stream chunks=40 pace_ms=20 id=7`, anywhere in the first 16 KiB of the body, up to the closing quote.

use std::time::Duration;

/// What the stub does with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// One small answer, after `delay`.
    Tiny { delay: Duration },
    /// A stream of tokens.
    Stream(Stream),
    /// Never answers; keeps the connection open until the client leaves.
    Hang,
    /// 503 at once.
    Busy,
}

/// How a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream {
    pub chunks: u64,
    /// Time between two chunks; zero writes as fast as the socket takes them.
    pub pace: Duration,
    /// When within a pace the tokens fall due; without one, from the start of the stream.
    pub phase: Option<Duration>,
    /// Chunks in one write, if unpaced.
    pub batch: u64,
    /// Name under which the times of the writes can be asked for; 0 keeps none.
    pub id: u64,
    /// Closes the connection without a final record after this many chunks; 0 never does.
    pub cut: u64,
}

impl Command {
    /// Reads the command of a body; a body without one is answered with a tiny answer.
    pub(crate) fn find(body: &[u8]) -> Self {
        let tiny = Self::Tiny { delay: Duration::ZERO };
        let Some(at) = memchr::memmem::find(body, b"@bench ") else { return tiny };
        let text = &body[at + 7..];
        let text = &text[..memchr::memchr(b'"', text).unwrap_or(text.len())];
        let text = String::from_utf8_lossy(text);
        let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let number = |name: &str| {
            let value = rest.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.and_then(|value| value.parse::<u64>().ok())
        };
        match verb {
            "stream" => Self::Stream(Stream {
                chunks: number("chunks").unwrap_or(10),
                pace: Duration::from_millis(number("pace_ms").unwrap_or(0)),
                phase: number("phase_us").map(Duration::from_micros),
                batch: number("batch").unwrap_or(1).clamp(1, 1000),
                id: number("id").unwrap_or(0),
                cut: number("cut").unwrap_or(0),
            }),
            "hang" => Self::Hang,
            "busy" => Self::Busy,
            _ => Self::Tiny { delay: Duration::from_millis(number("delay_ms").unwrap_or(0)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_words_in_the_prompt() {
        let ms = Duration::from_millis;
        let stream =
            |chunks, pace, batch, id, cut| Command::Stream(Stream { chunks, pace, phase: None, batch, id, cut });
        for (text, want) in [
            ("", Command::Tiny { delay: ms(0) }),
            ("hello", Command::Tiny { delay: ms(0) }),
            ("@bench tiny", Command::Tiny { delay: ms(0) }),
            ("@bench tiny delay_ms=30", Command::Tiny { delay: ms(30) }),
            ("@bench stream chunks=40 pace_ms=20 id=7", stream(40, ms(20), 1, 7, 0)),
            ("@bench stream batch=0 cut=3 chunks=x", stream(10, ms(0), 1, 0, 3)),
            ("@bench stream pace_ms=20 phase_us=100", {
                let phase = Some(Duration::from_micros(100));
                Command::Stream(Stream { chunks: 10, pace: ms(20), phase, batch: 1, id: 0, cut: 0 })
            }),
            ("@bench hang", Command::Hang),
            ("@bench busy now", Command::Busy),
        ] {
            let body = format!(r#"{{"messages":[{{"content":"{text}"}}],"chunks=9":1}}"#);
            assert_eq!(Command::find(body.as_bytes()), want, "{text:?}");
        }
    }
}
