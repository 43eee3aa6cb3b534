//! Reads HTTP/1.1 bodies and answers from bytes as they come, without touching a socket.
//!
//! Written by hand so that the generator and the stub cost as little as they can. It accepts what the servers under
//! test send and refuses the rest by name; nothing is kept but one line or one head, each with a limit.

/// Most bytes of one head. A longer one is refused.
const HEAD_LIMIT: usize = 64 * 1024;

/// What made a message unreadable.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(crate) enum BadMessage {
    HeadTooLong,
    StatusLine,
    Length,
    Chunk,
}

impl std::fmt::Display for BadMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::HeadTooLong => "a head longer than 64 KiB",
            Self::StatusLine => "a first line that is not HTTP/1",
            Self::Length => "a content-length that is no number",
            Self::Chunk => "a malformed chunk",
        })
    }
}

impl std::error::Error for BadMessage {}

/// How a message says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// The headers this program needs of a head, found without copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Headers {
    pub framing: Option<Framing>,
    pub close: bool,
    pub expects_continue: bool,
}

/// Length of the head in `bytes`, blank line included, once all of it is there.
pub(crate) fn head_length(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// Reads the headers of `head` (first line included; it is skipped).
pub(crate) fn headers(head: &[u8]) -> Result<Headers, BadMessage> {
    let mut found = Headers { framing: None, close: false, expects_continue: false };
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            // A chunked message's length field means nothing (RFC 9112, section 6.3).
            if found.framing != Some(Framing::Chunked) {
                found.framing = Some(Framing::Length(length.ok_or(BadMessage::Length)?));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if value.to_ascii_lowercase().ends_with(b"chunked") {
                found.framing = Some(Framing::Chunked);
            }
        } else if name.eq_ignore_ascii_case(b"connection") {
            found.close |= value.eq_ignore_ascii_case(b"close");
        } else if name.eq_ignore_ascii_case(b"expect") {
            found.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
        }
    }
    Ok(found)
}

/// Where a body is, between two pieces of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// This many bytes of a body of known length are missing.
    Counted(u64),
    /// In the hexadecimal length of a chunk; `extension` once a `;` was seen.
    Size {
        so_far: u64,
        digits: u8,
        extension: bool,
    },
    /// This many bytes of the chunk are missing.
    Chunk(u64),
    /// Before the line end that closes a chunk.
    ChunkEnd,
    /// In the trailers; how many bytes the line has so far.
    Trailer {
        line: u32,
    },
    Open,
    Done,
}

/// Takes a body apart as its bytes come.
#[derive(Debug)]
pub(crate) struct Body(Place);

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(0) => Place::Done,
            Framing::Length(length) => Place::Counted(length),
            Framing::Chunked => Place::Size { so_far: 0, digits: 0, extension: false },
            Framing::UntilClose => Place::Open,
        })
    }

    pub(crate) fn is_done(&self) -> bool {
        self.0 == Place::Done
    }

    /// Whether the end of the connection is a proper end of this body.
    pub(crate) fn may_close(&self) -> bool {
        matches!(self.0, Place::Done | Place::Open)
    }

    /// Takes from `input`, hands content to `content`, and answers how many bytes it took; what is left belongs to
    /// the next message.
    pub(crate) fn feed(&mut self, input: &[u8], mut content: impl FnMut(&[u8])) -> Result<usize, BadMessage> {
        let mut at = 0;
        while at < input.len() {
            match &mut self.0 {
                Place::Done => break,
                Place::Open => {
                    content(&input[at..]);
                    at = input.len();
                }
                Place::Counted(left) | Place::Chunk(left) => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len() - at);
                    content(&input[at..at + take]);
                    at += take;
                    *left -= take as u64;
                    if *left == 0 {
                        self.0 = if matches!(self.0, Place::Chunk(_)) { Place::ChunkEnd } else { Place::Done };
                    }
                }
                Place::Size { so_far, digits, extension } => {
                    let byte = input[at];
                    at += 1;
                    match (byte, char::from(byte).to_digit(16)) {
                        (b'\n', _) if *digits == 0 => return Err(BadMessage::Chunk),
                        (b'\n', _) => {
                            self.0 = if *so_far == 0 { Place::Trailer { line: 0 } } else { Place::Chunk(*so_far) };
                        }
                        (b'\r', _) => {}
                        (_, _) if *extension => {}
                        (b';' | b' ', _) if *digits > 0 => *extension = true,
                        (_, Some(value)) if *digits < 15 => {
                            *so_far = *so_far * 16 + u64::from(value);
                            *digits += 1;
                        }
                        _ => return Err(BadMessage::Chunk),
                    }
                }
                Place::ChunkEnd => {
                    match input[at] {
                        b'\r' => {}
                        b'\n' => self.0 = Place::Size { so_far: 0, digits: 0, extension: false },
                        _ => return Err(BadMessage::Chunk),
                    }
                    at += 1;
                }
                Place::Trailer { line } => {
                    match input[at] {
                        b'\n' if *line == 0 => self.0 = Place::Done,
                        b'\n' => *line = 0,
                        b'\r' => {}
                        _ => {
                            *line += 1;
                            if *line as usize > HEAD_LIMIT {
                                return Err(BadMessage::HeadTooLong);
                            }
                        }
                    }
                    at += 1;
                }
            }
        }
        Ok(at)
    }
}

/// One answer of a server, read as its bytes come.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    head: Vec<u8>,
    status: u16,
    close: bool,
    body: Option<Body>,
}

impl Answer {
    /// Status of the answer; 0 until its head is there.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Whether the server said that it will close the connection.
    pub(crate) fn closes(&self) -> bool {
        self.close
    }

    pub(crate) fn is_done(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_done)
    }

    /// Whether the end of the connection is a proper end here.
    pub(crate) fn may_close(&self) -> bool {
        self.body.as_ref().is_some_and(Body::may_close)
    }

    /// Value of a header of the answer, in the case it was sent.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let same = line[..colon].trim_ascii().eq_ignore_ascii_case(name.as_bytes());
            same.then(|| std::str::from_utf8(line[colon + 1..].trim_ascii()).ok())?
        })
    }

    /// Takes from `input` and hands content to `content`; answers how many bytes it took.
    pub(crate) fn feed(&mut self, input: &[u8], content: impl FnMut(&[u8])) -> Result<usize, BadMessage> {
        let mut from = 0;
        loop {
            if let Some(body) = &mut self.body {
                return Ok(from + body.feed(&input[from..], content)?);
            }
            let before = self.head.len();
            self.head.extend_from_slice(&input[from..]);
            // The blank line may have begun in the piece before.
            let search = before.saturating_sub(3);
            let Some(length) = head_length(&self.head[search..]).map(|length| search + length) else {
                if self.head.len() > HEAD_LIMIT {
                    return Err(BadMessage::HeadTooLong);
                }
                return Ok(input.len());
            };
            from += length - before;
            self.head.truncate(length);
            let status = status(&self.head).ok_or(BadMessage::StatusLine)?;
            if (100..200).contains(&status) {
                self.head.clear();
                continue;
            }
            let headers = headers(&self.head)?;
            self.status = status;
            self.close = headers.close;
            let framing = match status {
                204 | 304 => Framing::Length(0),
                _ => headers.framing.unwrap_or(Framing::UntilClose),
            };
            self.body = Some(Body::new(framing));
        }
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    let digits = rest.get(2..5)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<(u16, Vec<u8>, bool, usize), BadMessage> {
        let mut answer = Answer::default();
        let mut content = Vec::new();
        let mut left = 0;
        for piece in pieces {
            left += piece.len() - answer.feed(piece, |bytes| content.extend_from_slice(bytes))?;
        }
        Ok((answer.status(), content, answer.is_done(), left))
    }

    #[test]
    fn answers_are_read_alike_however_they_are_cut() {
        let rows: [(&str, u16, &str, usize); 7] = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 0),
            ("HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhelloHTTP/1.1", 200, "hello", 8),
            ("HTTP/1.0 503 Busy\r\nContent-Length: 0\r\n\r\n", 503, "", 0),
            ("HTTP/1.1 204 Nothing\r\n\r\n", 204, "", 0),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", 0),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
                200,
                "abc0123456789",
                0,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\nT: 1\r\n\r\n",
                200,
                "\n",
                0,
            ),
        ];
        for (text, status, content, left) in rows {
            let want = Ok((status, content.as_bytes().to_vec(), true, left));
            for cut in 0..text.len() {
                let (first, second) = text.as_bytes().split_at(cut);
                assert_eq!(read(&[first, second]), want, "{text:?} cut at {cut}");
            }
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(read(&single), want, "{text:?} byte by byte");
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let rows: [(&[u8], BadMessage); 5] = [
            (b"SSH-2.0-x\r\n\r\n", BadMessage::StatusLine),
            (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", BadMessage::Length),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", BadMessage::Chunk),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", BadMessage::Chunk),
            (&[b'a'; HEAD_LIMIT + 1], BadMessage::HeadTooLong),
        ];
        for (bytes, why) in rows {
            assert_eq!(read(&[bytes]), Err(why));
        }
    }

    #[test]
    fn an_answer_without_length_ends_with_its_connection() {
        let mut answer = Answer::default();
        answer.feed(b"HTTP/1.1 200 OK\r\nX-A: b \r\n\r\nabc", |_| {}).unwrap();
        assert!(answer.may_close() && !answer.is_done());
        assert_eq!(answer.header("x-a"), Some("b"));
    }

    #[test]
    fn a_cut_stream_is_no_proper_end() {
        let mut answer = Answer::default();
        answer.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", |_| {}).unwrap();
        assert!(!answer.may_close());
    }
}
