//! The load generator's own HTTP/1.1 client: one kept-alive connection, one request at a time, nothing allocated per read.
//!
//! The blocking one is for latency of a single connection, the async one for many; both read until the answer is whole.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clock;
use crate::http::{Answer, BadMessage};
use crate::stub::MODEL;

/// Longest silence that the blocking client bears.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes asked for in one read.
const READ: usize = 32 * 1024;

/// Why an exchange did not end in a whole answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection.
    Refused(std::io::Error),
    /// The connection ended or broke; true when part of the answer had come.
    Cut(bool),
    /// The answer could not be read.
    Malformed(BadMessage),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "no connection: {why}"),
            Self::Cut(false) => f.write_str("the connection ended before an answer"),
            Self::Cut(true) => f.write_str("the connection ended within the answer"),
            Self::Malformed(why) => write!(f, "the answer has {why}"),
        }
    }
}

impl std::error::Error for Failure {}

/// A chat request for the stub's `command`, as bytes for the server at `address`; `padding` bytes of prompt follow the
/// command in a second message.
pub(crate) fn chat(address: SocketAddr, command: &str, stream: bool, padding: usize) -> Vec<u8> {
    request(address, "/api/chat", &chat_body(command, stream, padding))
}

/// The same in OpenAI's dialect.
pub(crate) fn chat_openai(address: SocketAddr, command: &str, stream: bool, padding: usize) -> Vec<u8> {
    request(address, "/v1/chat/completions", &chat_body(command, stream, padding))
}

fn chat_body(command: &str, stream: bool, padding: usize) -> String {
    let mut body =
        format!(r#"{{"model":"{MODEL}","stream":{stream},"messages":[{{"role":"user","content":"@bench {command}"}}"#);
    if padding > 0 {
        const WORDS: &str = "the quick brown fox jumps over the lazy dog and rests ";
        body.reserve(padding + 64);
        body.push_str(r#",{"role":"user","content":""#);
        for _ in 0..padding / WORDS.len() {
            body.push_str(WORDS);
        }
        body.push_str(&WORDS[..padding % WORDS.len()]);
        body.push_str(r#""}"#);
    }
    body.push_str("]}");
    body
}

/// A request with a JSON body.
pub(crate) fn request(address: SocketAddr, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// A request without a body.
pub(crate) fn get(address: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes()
}

/// A blocking connection.
#[derive(Debug)]
pub(crate) struct Line {
    socket: std::net::TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let connect = || {
            let socket = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        Ok(Self { socket: connect().map_err(Failure::Refused)?, buffer: vec![0; READ] })
    }

    /// Sends `request` and hands the content of the answer to `content` as it comes.
    pub(crate) fn exchange(&mut self, request: &[u8], mut content: impl FnMut(&[u8])) -> Result<Answer, Failure> {
        self.socket.write_all(request).map_err(|_| Failure::Cut(false))?;
        let mut answer = Answer::default();
        loop {
            let read = self.socket.read(&mut self.buffer).map_err(|_| Failure::Cut(answer.status() > 0))?;
            if read == 0 {
                return if answer.may_close() { Ok(answer) } else { Err(Failure::Cut(answer.status() > 0)) };
            }
            answer.feed(&self.buffer[..read], &mut content).map_err(Failure::Malformed)?;
            if answer.is_done() {
                return Ok(answer);
            }
        }
    }
}

/// An async connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: tokio::net::TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let socket = tokio::net::TcpStream::connect(address).await.map_err(Failure::Refused)?;
        socket.set_nodelay(true).map_err(Failure::Refused)?;
        Ok(Self { socket, buffer: vec![0; READ] })
    }

    /// Sends `request` and hands the content of the answer to `content` as it comes, with the time of the read; the
    /// answer may end early by `content` answering false. Dropping it half-way leaves a connection that must be dropped too.
    pub(crate) async fn exchange(
        &mut self,
        request: &[u8],
        mut content: impl FnMut(&[u8], u64) -> bool,
    ) -> Result<Answer, Failure> {
        self.socket.write_all(request).await.map_err(|_| Failure::Cut(false))?;
        let mut answer = Answer::default();
        let mut go_on = true;
        loop {
            let read = self.socket.read(&mut self.buffer).await.map_err(|_| Failure::Cut(answer.status() > 0))?;
            let now = clock::now_ns();
            if read == 0 {
                return if answer.may_close() { Ok(answer) } else { Err(Failure::Cut(answer.status() > 0)) };
            }
            let piece = |bytes: &[u8]| go_on &= content(bytes, now);
            answer.feed(&self.buffer[..read], piece).map_err(Failure::Malformed)?;
            if answer.is_done() || !go_on {
                return Ok(answer);
            }
        }
    }
}

/// Asks `address` one question on a connection of its own and answers with status and body.
pub(crate) fn ask(address: SocketAddr, request: &[u8]) -> Result<(Answer, Vec<u8>), Failure> {
    let mut body = Vec::new();
    let answer = Line::connect(address)?.exchange(request, |bytes| body.extend_from_slice(bytes))?;
    Ok((answer, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_padding_is_as_long_as_asked() {
        for padding in [1, 53, 54, 55, 1_000_000] {
            let body = chat_body("tiny", false, padding);
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(value["messages"][1]["content"].as_str().map(str::len), Some(padding));
        }
        let body: serde_json::Value = serde_json::from_str(&chat_body("tiny", true, 0)).unwrap();
        assert_eq!(body["messages"].as_array().map(Vec::len), Some(1));
    }
}
