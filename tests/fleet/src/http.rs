//! A small HTTP/1.1 client that hides nothing: what was sent, what came, and how it ended.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long a silent server is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: String,
    /// Whether it ended as its framing says; false when the connection was cut.
    pub complete: bool,
}

impl Answer {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null where it is not.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The lines of an NDJSON body, parsed.
    pub fn lines(&self) -> Vec<Value> {
        self.body.lines().map(|line| serde_json::from_str(line).unwrap_or(Value::Null)).collect()
    }

    /// The events of a server-sent stream: the data of each, as text.
    pub fn events(&self) -> Vec<String> {
        self.body.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

/// A request that was sent and an answer that is being read.
pub struct Exchange {
    reader: BufReader<TcpStream>,
    status: u16,
    headers: Vec<(String, String)>,
    left: Framing,
    body: Vec<u8>,
    complete: bool,
}

#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClosed,
}

impl Exchange {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Reads on until the body has `text` in it; true if it came.
    pub fn read_until(&mut self, text: &str) -> bool {
        loop {
            if String::from_utf8_lossy(&self.body).contains(text) {
                return true;
            }
            match self.more() {
                Ok(true) => {}
                _ => return false,
            }
        }
    }

    /// Reads on while `is_wanting` says so of the body so far; false if the answer ended before.
    pub(crate) fn read_while(&mut self, is_wanting: impl Fn(&str) -> bool) -> bool {
        while is_wanting(&String::from_utf8_lossy(&self.body)) {
            if !matches!(self.more(), Ok(true)) {
                return !is_wanting(&String::from_utf8_lossy(&self.body));
            }
        }
        true
    }

    /// The whole lines of an NDJSON body that were read so far, parsed.
    pub fn lines_so_far(&self) -> Vec<Value> {
        let body = String::from_utf8_lossy(&self.body);
        let whole = body.rfind('\n').map_or("", |end| &body[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or(Value::Null)).collect()
    }

    /// Reads to the end.
    pub fn finish(self) -> Answer {
        self.finish_and_keep().0
    }

    /// Reads to the end of this answer and keeps the connection.
    pub(crate) fn finish_and_keep(mut self) -> (Answer, BufReader<TcpStream>) {
        while let Ok(true) = self.more() {}
        let body = String::from_utf8_lossy(&self.body).into_owned();
        (Answer { status: self.status, headers: self.headers, body, complete: self.complete }, self.reader)
    }

    /// Reads the next piece; false at the end.
    fn more(&mut self) -> io::Result<bool> {
        match self.left {
            Framing::Length(0) => {
                self.complete = true;
                Ok(false)
            }
            Framing::Length(left) => {
                let mut piece = vec![0; left.min(65536)];
                let read = self.reader.read(&mut piece)?;
                self.body.extend_from_slice(&piece[..read]);
                self.left = Framing::Length(left - read);
                Ok(read > 0)
            }
            Framing::UntilClosed => {
                let mut piece = [0; 65536];
                let read = self.reader.read(&mut piece)?;
                self.body.extend_from_slice(&piece[..read]);
                self.complete = read == 0;
                Ok(read > 0)
            }
            Framing::Chunked => {
                let mut line = String::new();
                if self.reader.read_line(&mut line)? == 0 {
                    return Ok(false);
                }
                let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
                let mut piece = vec![0; size + 2];
                self.reader.read_exact(&mut piece)?;
                self.body.extend_from_slice(&piece[..size]);
                if size == 0 {
                    self.complete = true;
                    self.left = Framing::Length(0);
                }
                Ok(size > 0)
            }
        }
    }
}

/// Sends `head` (a request line and headers, without Host unless given) and `body`, and reads the answer's head.
///
/// # Errors
/// The connection could not be made or broke before the end of the answer's head.
pub fn send(url: &str, method: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Exchange> {
    let (authority, path) = split(url);
    let mut stream = TcpStream::connect(&authority)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: {authority}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // A server may refuse before it has read everything; its answer still counts.
    let _ = stream.write_all(body);
    read_head(BufReader::new(stream), method)
}

pub(crate) fn read_head(mut reader: BufReader<TcpStream>, method: &str) -> io::Result<Exchange> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status =
        line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| io::Error::other("no answer"))?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let value = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let left = if method == "HEAD" || status < 200 || status == 204 || status == 304 {
        Framing::Length(0)
    } else if value("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        Framing::Chunked
    } else if let Some(length) = value("content-length").and_then(|length| length.parse().ok()) {
        Framing::Length(length)
    } else {
        Framing::UntilClosed
    };
    Ok(Exchange { reader, status, headers, left, body: Vec::new(), complete: false })
}

/// Sends a request with a JSON body and starts to read the answer.
///
/// # Panics
/// If there is no answer.
pub fn exchange(url: &str, body: &Value) -> Exchange {
    let headers = [("Content-Type", "application/json")];
    send(url, "POST", &headers, body.to_string().as_bytes()).expect("the server answers")
}

/// Sends a request with a JSON body and reads the whole answer.
///
/// # Panics
/// If there is no answer.
pub fn post(url: &str, body: &Value) -> Answer {
    exchange(url, body).finish()
}

/// Sends any request and reads the whole answer.
///
/// # Panics
/// If there is no answer.
pub fn ask(url: &str, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    send(url, method, headers, body).expect("the server answers").finish()
}

/// Reads a page.
///
/// # Panics
/// If there is no answer.
pub fn get(url: &str) -> Answer {
    ask(url, "GET", &[], &[])
}

pub(crate) fn try_get(url: &str) -> Option<Answer> {
    send(url, "GET", &[], &[]).ok().map(Exchange::finish)
}

pub(crate) fn split(url: &str) -> (String, String) {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    match rest.split_once('/') {
        Some((authority, path)) => (authority.to_owned(), format!("/{path}")),
        None => (rest.to_owned(), "/".to_owned()),
    }
}
