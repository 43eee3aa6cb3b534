//! Unpacks request bodies that come with a `Content-Encoding`, piece by piece as they come in.
//!
//! What is unpacked goes into memory that is counted like that of plain bodies. A body that swells far beyond what text
//! does is refused after 4 MiB of it, whatever the limit for bodies is.

mod zstd;

use std::io::{self, Write};

use dialect::{Cause, Failure};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::body::{Full, Growing};
use crate::budget::Budget;
use zstd::Zstd;

/// Bytes that may be unpacked from however few.
const FREE: u64 = 4 << 20;
/// Bytes that each packed byte may become beyond that. Text becomes 3 to 10 times as long, a log that repeats itself some
/// 50 times; deflate ends at about 1 000, zstd at 30 000.
const RATIO: u64 = 200;
/// Bytes of an encoding's name that are repeated to a client.
const SHOWN: usize = 64;

/// A way of packing a body (RFC 9110 section 8.4.1, RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    /// With zlib's head and sum as the RFC says, or without, as some send it.
    Deflate,
    Zstd,
}

impl Coding {
    /// How the body that comes with these headers is packed; `None` if it is not. More than one way, and ways that nobody
    /// here knows, are refused with 415.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Coding>, Failure> {
        let mut found = None;
        for value in headers.get_all(CONTENT_ENCODING) {
            let named = String::from_utf8_lossy(value.as_bytes());
            for name in named.split(',').map(str::trim) {
                let coding = match name.to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Coding::Gzip,
                    "deflate" => Coding::Deflate,
                    "zstd" => Coding::Zstd,
                    _ => {
                        let name: String = name.chars().take(SHOWN).collect();
                        return Err(not_taken(format!(
                            "Content-Encoding `{name}` is not taken: only gzip, deflate and zstd are"
                        )));
                    }
                };
                if found.replace(coding).is_some() {
                    return Err(not_taken(
                        "more than one Content-Encoding is not taken: pack the body once".to_owned(),
                    ));
                }
            }
        }
        Ok(found)
    }

    fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
            Coding::Zstd => "zstd",
        }
    }
}

fn not_taken(text: String) -> Failure {
    Failure::new(Cause::UnsupportedMediaType, text)
}

/// Unpacks one body.
pub(crate) struct Unpacker {
    coding: Coding,
    machine: Machine,
}

enum Machine {
    Gzip(Box<MultiGzDecoder<Sink>>),
    Zlib(Box<ZlibDecoder<Sink>>),
    Raw(Box<DeflateDecoder<Sink>>),
    Zstd(Box<Zstd>, Sink),
}

impl Unpacker {
    /// An unpacker for a body that begins with the byte `first`, into `growing`.
    pub(crate) fn new(coding: Coding, first: u8, growing: Growing, budget: &Budget) -> Unpacker {
        let sink = Sink { growing, packed: 0, unpacked: 0, wrong: None };
        let machine = match coding {
            Coding::Gzip => Machine::Gzip(Box::new(MultiGzDecoder::new(sink))),
            // zlib's first byte says 8, for deflate, in its lower half (RFC 1950). Bare deflate would begin so only with a
            // stored block whose padding is not zero.
            Coding::Deflate if first & 0x0f == 8 => Machine::Zlib(Box::new(ZlibDecoder::new(sink))),
            Coding::Deflate => Machine::Raw(Box::new(DeflateDecoder::new(sink))),
            Coding::Zstd => Machine::Zstd(Box::new(Zstd::new(budget.clone())), sink),
        };
        Unpacker { coding, machine }
    }

    /// Unpacks the next bytes; returns how many they became.
    pub(crate) fn feed(&mut self, packed: &[u8]) -> Result<u64, Failure> {
        let sink = self.sink();
        sink.packed += packed.len() as u64;
        let before = sink.unpacked;
        let done = match &mut self.machine {
            Machine::Gzip(gzip) => gzip.write_all(packed).and_then(|()| gzip.flush()),
            Machine::Zlib(zlib) => zlib.write_all(packed).and_then(|()| zlib.flush()),
            Machine::Raw(raw) => raw.write_all(packed).and_then(|()| raw.flush()),
            Machine::Zstd(zstd, sink) => zstd.feed(packed, sink),
        };
        match done {
            Ok(()) => Ok(self.sink().unpacked - before),
            Err(error) => Err(self.wrong(&error)),
        }
    }

    /// The whole body. Fails if the packed one is not whole.
    pub(crate) fn finish(mut self) -> Result<Growing, Failure> {
        let done = match &mut self.machine {
            Machine::Gzip(gzip) => gzip.try_finish(),
            Machine::Zlib(zlib) => zlib.try_finish(),
            Machine::Raw(raw) => raw.try_finish(),
            Machine::Zstd(zstd, _) => zstd.finish(),
        };
        if let Err(error) = done {
            return Err(self.wrong(&error));
        }
        let coding = self.coding;
        let sink = match self.machine {
            Machine::Gzip(gzip) => gzip.finish(),
            Machine::Zlib(zlib) => zlib.finish(),
            Machine::Raw(raw) => raw.finish(),
            Machine::Zstd(_, sink) => Ok(sink),
        };
        sink.map(|sink| sink.growing).map_err(|error| damaged(coding, &error))
    }

    fn sink(&mut self) -> &mut Sink {
        match &mut self.machine {
            Machine::Gzip(gzip) => gzip.get_mut(),
            Machine::Zlib(zlib) => zlib.get_mut(),
            Machine::Raw(raw) => raw.get_mut(),
            Machine::Zstd(_, sink) => sink,
        }
    }

    /// What the sink did not take tells more than the error that this became on its way.
    fn wrong(&mut self, error: &io::Error) -> Failure {
        let coding = self.coding;
        self.sink().wrong.take().unwrap_or_else(|| match error.kind() {
            io::ErrorKind::OutOfMemory => no_room(),
            _ => damaged(coding, error),
        })
    }
}

fn damaged(coding: Coding, error: &io::Error) -> Failure {
    Failure::new(Cause::BadRequest, format!("the request body is not whole {}: {error}", coding.name()))
}

pub(crate) fn no_room() -> Failure {
    let mut failure = Failure::new(
        Cause::Busy,
        "other large requests fill the memory for request bodies, and this one must be unpacked: try again",
    );
    failure.retry_after_s = Some(1);
    failure
}

/// Takes what is unpacked, as long as that is allowed.
struct Sink {
    growing: Growing,
    packed: u64,
    unpacked: u64,
    /// Why nothing more is taken.
    wrong: Option<Failure>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unpacked += bytes.len() as u64;
        let wrong = if self.unpacked > FREE.max(self.packed.saturating_mul(RATIO)) {
            let text = format!("the request body unpacks to more than {RATIO} times its size, which is not taken");
            Some(Failure::new(Cause::TooLarge, text))
        } else {
            match self.growing.push(bytes) {
                Ok(()) => None,
                Err(Full::TooLarge(failure)) => Some(failure),
                Err(Full::NoRoom) => Some(no_room()),
            }
        };
        match wrong {
            None => Ok(bytes.len()),
            Some(failure) => {
                self.wrong.get_or_insert(failure);
                Err(io::Error::other("no more is taken"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
