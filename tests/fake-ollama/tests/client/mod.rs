//! A client for tests: one request per connection, read as slowly or as quickly as the test likes.

#![allow(clippy::unwrap_used, reason = "code of tests: what fails here fails the test")]
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use fake_ollama::Server;
use serde_json::Value;

/// Patience with a stand-in that hangs; nothing waits this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer that is being read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    reader: BufReader<TcpStream>,
}

/// Sends a request without waiting for its answer.
pub(crate) fn send(server: &Server, method: &str, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    stream
}

/// Reads the head of the answer on `stream`; `None` when the connection ends first.
pub(crate) fn head(stream: TcpStream) -> Option<Answer> {
    let mut reader = BufReader::new(stream);
    let mut headers = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        headers.push_str(&line);
    }
    let status = headers.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, headers, reader })
}

impl Answer {
    /// The next non-empty line that is no chunk size; `None` at the end, however it came.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if line == "0" {
                return None;
            }
            if !line.is_empty() && !line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Some(line.to_owned());
            }
        }
    }

    /// Reads to the end and says how it came: `None` is an orderly one.
    pub(crate) fn end(mut self) -> Option<std::io::ErrorKind> {
        self.reader.read_to_end(&mut Vec::new()).err().map(|error| error.kind())
    }

    /// All lines until the end, and whether the end was a proper one.
    pub(crate) fn rest(mut self) -> (String, bool) {
        let mut text = String::new();
        let ended = self.reader.read_to_string(&mut text).is_ok();
        let length = self.headers.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let whole = length.map_or(text.ends_with("0\r\n\r\n"), |length| length.trim() == text.len().to_string());
        (text, ended && whole)
    }

    /// The body of an answer with a Content-Length.
    pub(crate) fn body(mut self) -> String {
        let length = self.headers.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        match length.and_then(|length| length.trim().parse().ok()) {
            Some(length) => {
                let mut bytes = vec![0; length];
                self.reader.read_exact(&mut bytes).unwrap();
                String::from_utf8(bytes).unwrap()
            }
            None => {
                let mut all = String::new();
                while let Some(line) = self.line() {
                    all.push_str(&line);
                    all.push('\n');
                }
                all
            }
        }
    }
}

/// A whole exchange: status and body.
pub(crate) fn call(server: &Server, method: &str, path: &str, body: &str) -> (u16, String) {
    let answer = head(send(server, method, path, body)).expect("an answer");
    (answer.status, answer.body())
}

/// The same for JSON.
pub(crate) fn json(server: &Server, method: &str, path: &str, body: &str) -> Value {
    let (_, body) = call(server, method, path, body);
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// A prompt for `model`, streamed, with more fields.
pub(crate) fn prompt(model: &str, more: &str) -> String {
    format!("{{\"model\":\"{model}\",\"prompt\":\"hi\"{more}}}")
}

/// Begins a streamed answer and waits for its first line.
pub(crate) fn begin(server: &Server, model: &str, more: &str) -> Answer {
    let mut answer = head(send(server, "POST", "/api/generate", &prompt(model, more))).expect("an answer");
    assert_eq!(answer.status, 200);
    answer.line().expect("a first line");
    answer
}

/// Names of what /api/ps lists.
pub(crate) fn loaded(server: &Server) -> Vec<String> {
    let ps = json(server, "GET", "/api/ps", "");
    ps["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
}

/// Asks for the state until it is as wished. A stand-in that never gets there fails the test.
pub(crate) fn until(server: &Server, wished: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..200_000 {
        let state = json(server, "GET", "/_fake/state", "");
        if wished(&state) {
            return state;
        }
        std::thread::yield_now();
    }
    panic!("never: {}", json(server, "GET", "/_fake/state", ""));
}
