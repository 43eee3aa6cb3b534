//! Reading a recorded exchange, and making one with a stand-in, byte by byte.

#![allow(clippy::unwrap_used, reason = "code of tests: what fails here fails the test")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// Patience with a stand-in that hangs; nothing waits this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Request line and headers, without Content-Length.
    pub(crate) head: Vec<String>,
    pub(crate) body: Vec<u8>,
    /// Whether the recorded request told a length.
    sized: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Chunks it came in; each is one write of the server.
    pub(crate) chunks: usize,
    /// The last chunk or all bytes of the length came.
    pub(crate) complete: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Capture {
    pub(crate) number: u32,
    pub(crate) file: String,
    pub(crate) request: Request,
    pub(crate) reply: Reply,
}

impl Capture {
    pub(crate) fn read(path: &Path) -> Capture {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let (comments, rest) = text.split_once("--- request\n").unwrap();
        let (request, response) = rest.split_once("--- response\n").unwrap();
        let (head, body) = request.split_once("\n\n").unwrap();
        let lines: Vec<String> = head.lines().map(|line| line.replace("<host>", &own_host())).collect();
        let sized = lines.iter().any(|line| line.starts_with("Content-Length:"));
        let head = lines.into_iter().filter(|line| !line.starts_with("Content-Length:")).collect();
        let sent = body.strip_suffix('\n').unwrap_or(body).as_bytes().to_vec();
        let (status, body) = response.split_once("\n\n").unwrap_or((response, ""));
        let mut lines = status.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines.map(header).collect();
        let chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
        let whole = body.strip_suffix('\n').unwrap_or(body);
        let (body, chunks) = if chunked { without_sizes(body) } else { (whole.to_owned(), 0) };
        let reply = Reply { status, headers, body, chunks, complete: !comments.contains("connection ended early") };
        Capture { number: file[..3].parse().unwrap(), file, request: Request { head, body: sent, sized }, reply }
    }
}

impl Capture {
    /// Writes another port for that of the registry.
    pub(crate) fn moved(&mut self, from: u16, to: u16) {
        let (from, to) = (format!("127.0.0.1:{from}"), format!("127.0.0.1:{to}"));
        self.request.body = String::from_utf8_lossy(&self.request.body).replace(&from, &to).into_bytes();
        self.reply.body = self.reply.body.replace(&from, &to);
    }
}

/// The recorded reply itself.
pub(crate) fn recorded(capture: &Capture) -> Reply {
    capture.reply.clone()
}

fn own_host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    name.trim().to_owned()
}

fn header(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

/// A recorded body without the chunk sizes, and how many there were.
fn without_sizes(body: &str) -> (String, usize) {
    let is_size =
        |line: &&str| !line.is_empty() && line.len() < 9 && line.bytes().all(|digit| digit.is_ascii_hexdigit());
    let chunks = body.lines().filter(|line| is_size(line) && *line != "0").count();
    (body.lines().filter(|line| !is_size(line)).collect::<Vec<_>>().join("\n"), chunks)
}

/// A request of our own, for set-ups.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Request {
    let head = vec![format!("{method} {path} HTTP/1.1"), "Host: 127.0.0.1".to_owned()];
    Request { head, body: body.as_bytes().to_vec(), sized: !body.is_empty() }
}

/// Sends `request` on a connection of its own and reads the whole answer.
pub(crate) fn send(addr: SocketAddr, request: &Request) -> Reply {
    let mut stream = open(addr, request);
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 65536];
    loop {
        let bodiless = request.head.first().is_some_and(|line| line.starts_with("HEAD "));
        if let Some(reply) = parse(&bytes, false, bodiless) {
            return reply;
        }
        match stream.read(&mut chunk) {
            Ok(0) => return parse(&bytes, true, bodiless).expect("the connection ended before an answer"),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) => return parse(&bytes, true, bodiless).unwrap_or_else(|| panic!("no answer: {error}")),
        }
    }
}

/// Waits for the first byte of an answer; the connection stays open.
pub(crate) fn first_byte(mut stream: TcpStream) -> TcpStream {
    let mut byte = [0u8; 1];
    stream.read_exact(&mut byte).unwrap();
    stream
}

/// Asks until `queued` requests wait, `pending` of them for their turn.
pub(crate) fn until_pending(addr: SocketAddr, queued: usize, pending: usize) {
    loop {
        let state = send(addr, &request("GET", "/_fake/state", "")).body;
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        if state["queued"] == queued && state["pending"] == pending {
            return;
        }
        std::thread::yield_now();
    }
}

/// Sends `request` on a connection of its own.
pub(crate) fn open(addr: SocketAddr, request: &Request) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = request.head.join("\r\n").into_bytes();
    if request.sized || !request.body.is_empty() {
        bytes.extend_from_slice(format!("\r\nContent-Length: {}", request.body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(&request.body);
    stream.write_all(&bytes).unwrap();
    stream
}

/// The reply in `bytes`, once it is complete or `ended`. A `bodiless` one tells a length and has nothing behind it.
fn parse(bytes: &[u8], ended: bool, bodiless: bool) -> Option<Reply> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let mut lines = head.lines();
    let status_line = lines.next()?;
    let status = status_line.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines.map(header).collect();
    let find = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let rest = &bytes[at + 4..];
    let (body, chunks, complete) = match (find("transfer-encoding"), find("content-length")) {
        _ if bodiless || status == 204 => (Vec::new(), 0, true),
        (Some(_), _) => dechunk(rest),
        (None, length) => {
            let length: usize = length.unwrap_or("0").parse().ok()?;
            (rest[..rest.len().min(length)].to_vec(), 0, rest.len() >= length)
        }
    };
    let reply = Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned(), chunks, complete };
    (complete || ended).then_some(reply)
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, usize, bool) {
    let (mut body, mut chunks) = (Vec::new(), 0);
    loop {
        let Some(at) = rest.windows(2).position(|two| two == b"\r\n") else { return (body, chunks, false) };
        let Ok(size) = usize::from_str_radix(&String::from_utf8_lossy(&rest[..at]), 16) else {
            return (body, chunks, false);
        };
        rest = &rest[at + 2..];
        if rest.len() < size + 2 {
            return (body, chunks, false);
        }
        if size == 0 {
            return (body, chunks, true);
        }
        chunks += 1;
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}
