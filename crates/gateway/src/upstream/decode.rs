//! Takes the framing off an answer's body (RFC 9112 sections 6 and 7.1), in whatever pieces it comes.

use bytes::BytesMut;

use super::Broken;

/// Digits of a chunk's size; more would be a chunk larger than any memory.
const SIZE_DIGITS: u8 = 15;
/// Bytes of a chunk's extensions, and of all trailers: nobody sends any, so more is an attack or an accident.
const EXTRA_MOST: u16 = 4096;

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks; the state of reading them.
    Chunked(Chunk),
    /// Everything until the connection is closed.
    UntilClosed,
}

/// Where in a chunked body reading stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the size line, after so many digits.
    Size { size: u64, digits: u8 },
    /// In the extensions after the size, so many bytes in.
    Extension { size: u64, seen: u16 },
    /// Before the line feed of the size line.
    SizeEnd { size: u64 },
    /// In the data.
    Data { left: u64 },
    /// Before the carriage return after the data.
    DataEnd,
    /// Before the line feed after the data.
    DataFeed,
    /// In the trailers, so many bytes in; whether the line has had anything in it.
    Trailer { seen: u16, is_blank: bool },
    /// After the last line feed.
    Done,
}

/// Takes one body's framing off.
pub(super) struct Decoder {
    body: Body,
    keeps_alive: bool,
    /// More came than the body has: the connection cannot be trusted any more.
    is_overrun: bool,
}

impl Decoder {
    pub(super) fn new(body: Body, keeps_alive: bool) -> Decoder {
        Decoder { body, keeps_alive, is_overrun: false }
    }

    /// Whether all of it has come.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.body, Body::Length(0) | Body::Chunked(Chunk::Done))
    }

    /// Whether the end of the connection is the end of the body.
    pub(super) fn ends_with_the_connection(&self) -> bool {
        self.body == Body::UntilClosed
    }

    /// Whether another request may follow on the connection.
    pub(super) fn is_reusable(&self) -> bool {
        self.is_done() && self.keeps_alive && !self.is_overrun
    }

    /// Appends the body's bytes in `input` to `out`.
    ///
    /// # Errors
    /// What came is not chunked as it was said to be.
    pub(super) fn decode(&mut self, mut input: &[u8], out: &mut BytesMut) -> Result<(), Broken> {
        match &mut self.body {
            Body::UntilClosed => {
                out.extend_from_slice(input);
                input = &[];
            }
            Body::Length(left) => {
                let taken = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.extend_from_slice(&input[..taken]);
                *left -= taken as u64;
                input = &input[taken..];
            }
            Body::Chunked(chunk) => {
                while let Some((&byte, rest)) = input.split_first()
                    && *chunk != Chunk::Done
                {
                    if let Chunk::Data { left } = chunk {
                        let taken = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                        out.extend_from_slice(&input[..taken]);
                        input = &input[taken..];
                        *left -= taken as u64;
                        if *left == 0 {
                            *chunk = Chunk::DataEnd;
                        }
                    } else {
                        *chunk = chunk.after(byte)?;
                        input = rest;
                    }
                }
            }
        }
        self.is_overrun |= !input.is_empty();
        Ok(())
    }
}

impl Chunk {
    /// The state after one byte of framing.
    fn after(self, byte: u8) -> Result<Chunk, Broken> {
        Ok(match (self, byte) {
            (Chunk::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == SIZE_DIGITS {
                    return Err(Broken::NotHttp);
                }
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                Chunk::Size { size: size * 16 + digit, digits: digits + 1 }
            }
            (Chunk::Size { digits: 0, .. }, _) => return Err(Broken::NotHttp),
            (Chunk::Size { size, .. } | Chunk::Extension { size, .. }, b'\r') => Chunk::SizeEnd { size },
            (Chunk::Size { size, .. }, b';' | b' ' | b'\t') => Chunk::Extension { size, seen: 0 },
            (Chunk::Extension { size, seen }, _) if byte != b'\n' && seen < EXTRA_MOST => {
                Chunk::Extension { size, seen: seen + 1 }
            }
            (Chunk::SizeEnd { size: 0 }, b'\n') => Chunk::Trailer { seen: 0, is_blank: true },
            (Chunk::SizeEnd { size }, b'\n') => Chunk::Data { left: size },
            (Chunk::DataEnd, b'\r') => Chunk::DataFeed,
            (Chunk::DataFeed, b'\n') => Chunk::Size { size: 0, digits: 0 },
            (Chunk::Trailer { is_blank: true, .. }, b'\n') => Chunk::Done,
            (Chunk::Trailer { seen, is_blank }, _) if seen < EXTRA_MOST => {
                Chunk::Trailer { seen: seen + 1, is_blank: byte == b'\n' || (is_blank && byte == b'\r') }
            }
            _ => return Err(Broken::NotHttp),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: Body = Body::Chunked(Chunk::Size { size: 0, digits: 0 });

    fn decoded(body: Body, pieces: &[&[u8]]) -> Result<(String, bool, bool), ()> {
        let mut decoder = Decoder::new(body, true);
        let mut out = BytesMut::new();
        for piece in pieces {
            decoder.decode(piece, &mut out).map_err(drop)?;
        }
        Ok((String::from_utf8(out.to_vec()).unwrap(), decoder.is_done(), decoder.is_reusable()))
    }

    #[test]
    fn any_cut_gives_the_same_body() {
        let wire: &[u8] = b"5\r\nhello\r\n1;name=\"v\"\r\n \r\nA \r\nworld, you\r\n0\r\nTrailer: x\r\n\r\n";
        let whole = Ok(("hello world, you".to_owned(), true, true));
        assert_eq!(decoded(CHUNKED, &[wire]), whole);
        for cut in 0..wire.len() {
            assert_eq!(decoded(CHUNKED, &[&wire[..cut], &wire[cut..]]), whole, "{cut}");
        }
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(decoded(CHUNKED, &bytes), whole);
    }

    #[test]
    fn what_is_not_whole_is_not_done() {
        for (body, wire, text, done, reusable) in [
            (CHUNKED, "5\r\nhel", "hel", false, false),
            (CHUNKED, "0\r\n", "", false, false),
            (CHUNKED, "0\r\n\r\n", "", true, true),
            (CHUNKED, "0\r\n\r\nHTTP", "", true, false),
            (Body::Length(5), "hel", "hel", false, false),
            (Body::Length(5), "hello", "hello", true, true),
            (Body::Length(5), "hello!", "hello", true, false),
            (Body::Length(0), "", "", true, true),
            (Body::UntilClosed, "hello", "hello", false, false),
        ] {
            assert_eq!(decoded(body, &[wire.as_bytes()]), Ok((text.to_owned(), done, reusable)), "{wire:?}");
        }
    }

    #[test]
    fn what_is_not_chunked_is_refused() {
        let long = format!("1{}\r\n", ";".repeat(5000));
        let trailers = format!("0\r\n{}", "a".repeat(5000));
        for wire in
            ["\r\n", "x\r\n", "5\rx", "1\r\nab", "1\r\na\rb", "1234567890123456\r\n", "-1\r\n", &long, &trailers]
        {
            assert_eq!(decoded(CHUNKED, &[wire.as_bytes()]), Err(()), "{:?}", &wire[..wire.len().min(20)]);
        }
    }
}
