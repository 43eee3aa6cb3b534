//! Heads: of requests, as they are sent, and of answers, as they are read.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::decode::{Body, Chunk, Decoder};
use super::{Broken, Head};
use crate::headers;

/// Headers of an answer; more are an error.
const HEADERS_MOST: usize = 100;

/// How long the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// So many bytes.
    Known(u64),
    /// Not known: it is sent in chunks.
    Chunked,
    /// There is none.
    NoBody,
}

/// The head of a request: `target` is a path with its query, `client` what the client sent, of which a backend sees
/// what it may.
pub(crate) fn request_head(
    method: &Method,
    target: [&str; 2],
    host: &str,
    client: &HeaderMap,
    length: Length,
    own_token: &str,
) -> Bytes {
    let mut head = BytesMut::with_capacity(512);
    for text in [method.as_str(), " ", target[0], target[1], " HTTP/1.1\r\nhost: ", host, "\r\n"] {
        head.put_slice(text.as_bytes());
    }
    for (name, value) in headers::for_backend(client, own_token) {
        head.put_slice(name.as_str().as_bytes());
        head.put_slice(b": ");
        head.put_slice(value.as_bytes());
        head.put_slice(b"\r\n");
    }
    match length {
        Length::Known(bytes) => {
            head.put_slice(b"content-length: ");
            head.put_slice(bytes.to_string().as_bytes());
            head.put_slice(b"\r\n");
        }
        Length::Chunked => head.put_slice(b"transfer-encoding: chunked\r\n"),
        Length::NoBody => {}
    }
    head.put_slice(b"\r\n");
    head.freeze()
}

/// Reads the head of an answer at the beginning of `bytes`; `None` if it is not whole yet. The last part is what came
/// after it. Interim answers (100 Continue, 103 Early Hints) are skipped.
pub(super) fn parse(mut bytes: &[u8], has_no_body: bool) -> Result<Option<(Head, Decoder, Bytes)>, Broken> {
    loop {
        let mut slots = [const { std::mem::MaybeUninit::uninit() }; HEADERS_MOST];
        let mut response = httparse::Response::new(&mut []);
        let parsed =
            httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut slots);
        let length = match parsed {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Broken::NotHttp),
        };
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Broken::NotHttp)?;
        let rest = &bytes[length..];
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Broken::NotHttp);
        }
        if status.is_informational() {
            bytes = rest;
            continue;
        }
        let is_1_1 = response.version == Some(1);
        let (headers, framing) = sorted(response.headers, is_1_1)?;
        let is_empty = has_no_body || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let body = match framing.length {
            _ if is_empty => Body::Length(0),
            _ if framing.is_chunked => Body::Chunked(Chunk::Size { size: 0, digits: 0 }),
            Some(length) => Body::Length(length),
            None => Body::UntilClosed,
        };
        let decoder = Decoder::new(body, framing.keeps_alive);
        return Ok(Some((Head { status, headers }, decoder, Bytes::copy_from_slice(rest))));
    }
}

/// What the headers of an answer say of its body and its connection.
struct Framing {
    length: Option<u64>,
    is_chunked: bool,
    keeps_alive: bool,
}

/// Tells the headers for the client from those for us.
fn sorted(read: &[httparse::Header<'_>], is_1_1: bool) -> Result<(HeaderMap, Framing), Broken> {
    let mut framing = Framing { length: None, is_chunked: false, keeps_alive: is_1_1 };
    let mut kept = HeaderMap::with_capacity(16);
    for header in read {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse().ok());
            // Two lengths that differ are an attack on whoever reads after us (RFC 9112 section 6.3).
            if length.is_none() || framing.length.is_some_and(|other| Some(other) != length) {
                return Err(Broken::NotHttp);
            }
            framing.length = length;
        } else if is("transfer-encoding") {
            if !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Broken::NotHttp);
            }
            framing.is_chunked = true;
        } else if is("connection") {
            for word in header.value.split(|byte| *byte == b',') {
                let word = word.trim_ascii();
                if word.eq_ignore_ascii_case(b"close") {
                    framing.keeps_alive = false;
                } else if word.eq_ignore_ascii_case(b"keep-alive") {
                    framing.keeps_alive = true;
                }
            }
        } else {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Broken::NotHttp)?;
            if headers::is_for_client(&name) {
                let value = HeaderValue::from_bytes(header.value).map_err(|_| Broken::NotHttp)?;
                kept.append(name, value);
            }
        }
    }
    Ok((kept, framing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(wire: &str) -> Result<Option<(u16, usize, bool, String)>, ()> {
        let parsed = parse(wire.as_bytes(), false).map_err(drop)?;
        Ok(parsed.map(|(head, decoder, rest)| {
            let rest = String::from_utf8(rest.to_vec()).unwrap();
            (head.status.as_u16(), head.headers.len(), decoder.is_done(), rest)
        }))
    }

    #[test]
    fn heads_are_read_with_what_comes_after() {
        for (wire, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nhi", Ok(Some((200, 1, false, "hi".to_owned())))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", Ok(None)),
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok(Some((204, 0, true, String::new())))),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                Ok(Some((200, 0, true, String::new()))),
            ),
            ("HTTP/1.0 200 OK\r\n\r\nx", Ok(Some((200, 0, false, "x".to_owned())))),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Err(())),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", Err(())),
            ("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n", Err(())),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err(())),
            ("SSH-2.0-OpenSSH\r\n\r\n", Err(())),
        ] {
            assert_eq!(body_of(wire), expected, "{wire}");
        }
    }

    #[test]
    fn whether_a_connection_can_be_kept_is_seen() {
        for (wire, keeps) in [
            ("HTTP/1.1 204 x\r\n\r\n", true),
            ("HTTP/1.1 204 x\r\nConnection: close\r\n\r\n", false),
            ("HTTP/1.0 204 x\r\n\r\n", false),
            ("HTTP/1.0 204 x\r\nConnection: keep-alive\r\n\r\n", true),
        ] {
            let (_, decoder, _) = parse(wire.as_bytes(), false).ok().flatten().unwrap();
            assert_eq!(decoder.is_reusable(), keeps, "{wire}");
        }
    }

    #[test]
    fn a_request_head_says_what_it_must() {
        let mut client = HeaderMap::new();
        client.insert("content-type", HeaderValue::from_static("application/json"));
        client.insert("cookie", HeaderValue::from_static("a=b"));
        let head =
            request_head(&Method::POST, ["/base", "/api/chat?x=1"], "127.0.0.1:1", &client, Length::Known(7), "token");
        let expected = "POST /base/api/chat?x=1 HTTP/1.1\r\nhost: 127.0.0.1:1\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n";
        assert_eq!(head, expected);
    }
}
