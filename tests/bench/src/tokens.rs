//! Reads the stub's token streams in either dialect: order, delay of each token, and whether the end was proper.

use memchr::memmem::Finder;

/// Longest record of a stream; a longer one counts as a failure.
const LINE_LIMIT: usize = 64 * 1024;

/// One stream as it was received so far.
#[derive(Debug)]
pub(crate) struct Tokens {
    content: Finder<'static>,
    line: Vec<u8>,
    next: u64,
    disorder: bool,
    finished: bool,
    error: bool,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        let content = Finder::new(br#""content":""#);
        Self { content, line: Vec::new(), next: 0, disorder: false, finished: false, error: false }
    }

    /// Tokens received in order.
    pub(crate) fn count(&self) -> u64 {
        self.next
    }

    /// Whether the final record came, after `chunks` tokens in order and no error.
    pub(crate) fn is_whole(&self, chunks: u64) -> bool {
        self.finished && !self.disorder && !self.error && self.next == chunks
    }

    /// Whether the server said, in the stream, that it failed.
    pub(crate) fn said_error(&self) -> bool {
        self.error
    }

    /// Takes a piece of the body that was read at `now`; `token` is told the delay of each token in nanoseconds.
    pub(crate) fn feed(&mut self, mut piece: &[u8], now: u64, mut token: impl FnMut(u64)) {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            if self.line.is_empty() {
                self.record(&piece[..end], now, &mut token);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&piece[..end]);
                self.record(&line, now, &mut token);
                line.clear();
                self.line = line;
            }
            piece = &piece[end + 1..];
        }
        if self.line.len() + piece.len() > LINE_LIMIT {
            self.error = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(piece);
        }
    }

    fn record(&mut self, line: &[u8], now: u64, token: &mut impl FnMut(u64)) {
        if line.is_empty() || line.starts_with(b":") {
            return;
        }
        if let Some((index, written)) = self.content.find(line).and_then(|at| stamp(&line[at + 11..])) {
            if index == self.next {
                self.next += 1;
            } else {
                self.disorder = true;
            }
            token(now.saturating_sub(written));
        } else if line.starts_with(b"data: [DONE]") || memchr::memmem::find(line, br#""done":true"#).is_some() {
            self.finished = true;
        } else if memchr::memmem::find(line, br#""error""#).is_some() {
            self.error = true;
        }
    }
}

/// `INDEX:NANOSECONDS ` at the start of a token's text.
fn stamp(text: &[u8]) -> Option<(u64, u64)> {
    let (index, rest) = number(text)?;
    let (written, rest) = number(rest.strip_prefix(b":")?)?;
    rest.starts_with(b" ").then_some((index, written))
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take(19).take_while(|byte| byte.is_ascii_digit()).count();
    let value = text[..digits].iter().fold(0, |value: u64, byte| value * 10 + u64::from(byte - b'0'));
    (digits > 0).then(|| (value, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLLAMA: &str = concat!(
        "{\"message\":{\"role\":\"assistant\",\"content\":\"0:100 \"},\"done\":false}\n",
        "{\"message\":{\"role\":\"assistant\",\"content\":\"1:150 \"},\"done\":false}\n",
        "{\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true}\n"
    );
    const OPENAI: &str = concat!(
        ": keep-alive\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"0:100 \"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"1:150 \"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{}}]}\n\ndata: [DONE]\n\n"
    );

    fn read(pieces: &[&[u8]]) -> (Tokens, Vec<u64>) {
        let (mut tokens, mut delays) = (Tokens::new(), Vec::new());
        for piece in pieces {
            tokens.feed(piece, 1000, |delay| delays.push(delay));
        }
        (tokens, delays)
    }

    #[test]
    fn streams_are_read_alike_however_they_are_cut() {
        for text in [OLLAMA, OPENAI] {
            for cut in 0..text.len() {
                let (first, second) = text.as_bytes().split_at(cut);
                let (tokens, delays) = read(&[first, second]);
                assert!(tokens.is_whole(2), "{text:?} cut at {cut}");
                assert_eq!(delays, [900, 850]);
            }
        }
    }

    #[test]
    fn lost_repeated_and_missing_records_are_noticed() {
        let lines: Vec<&str> = OLLAMA.split_inclusive('\n').collect();
        for (order, why) in
            [(vec![0, 2], "lost"), (vec![0, 0, 1, 2], "twice"), (vec![0, 1], "no end"), (vec![1, 0, 2], "disorder")]
        {
            let text: String = order.iter().map(|at| lines[*at]).collect();
            assert!(!read(&[text.as_bytes()]).0.is_whole(2), "{why}");
        }
        let (tokens, _) = read(&[lines[0].as_bytes(), b"{\"error\":\"runner died\"}\n"]);
        assert!(tokens.said_error() && tokens.count() == 1);
    }
}
