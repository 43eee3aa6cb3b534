//! A backend that looks like an Ollama and costs next to nothing, so that what is measured is the proxy.
//!
//! Runs as its own process (`bench stub`), prints the port it listens on, and ends when its standard input does. Bounded
//! by the connections that the system lets it hold; a body is read and thrown away, but for its first 16 KiB.

mod answers;
mod command;
mod pace;

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use answers::Dialect;
pub(crate) use answers::MODEL;
use command::{Command, Stream};
use pace::Beat;

use crate::http::{self, Body, Framing};

/// Bytes of a body in which a command is looked for.
const LOOKED_AT: usize = 16 * 1024;

/// Streams whose times of writing are kept; the oldest go first.
const KEPT_STREAMS: usize = 256;

/// Times kept of one stream, the latest.
const KEPT_WRITES: usize = 64;

/// How the stub behaves, whatever a request asks for.
const NORMAL: u8 = 0;
/// 503 to all inference.
const BUSY: u8 = 1;
/// No answer to any inference.
const HANG: u8 = 2;
/// No answer to anything but its own controls.
const SILENT: u8 = 3;

/// What one stub has seen.
#[derive(Debug, Default)]
struct Seen {
    requests: AtomicU64,
    refused: AtomicU64,
    tokens: AtomicU64,
    left: AtomicU64,
    open: AtomicU64,
    mode: AtomicU8,
    writes: Mutex<VecDeque<(u64, VecDeque<u64>)>>,
}

impl Seen {
    fn wrote(&self, id: u64, at: u64) {
        if id == 0 {
            return;
        }
        let mut streams = self.writes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !streams.iter().any(|(known, _)| *known == id) {
            if streams.len() == KEPT_STREAMS {
                streams.pop_front();
            }
            streams.push_back((id, VecDeque::new()));
        }
        if let Some((_, times)) = streams.iter_mut().rev().find(|(known, _)| *known == id) {
            if times.len() == KEPT_WRITES {
                times.pop_front();
            }
            times.push_back(at);
        }
    }

    /// Answers the stub's own paths: `/_stub/state`, `/_stub/writes/ID`, `/_stub/mode/WORD`.
    fn control(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix("/_stub/")?;
        if let Some(id) = rest.strip_prefix("writes/").and_then(|id| id.parse::<u64>().ok()) {
            let streams = self.writes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let times: Vec<u64> =
                streams.iter().filter(|(known, _)| *known == id).flat_map(|(_, times)| times.iter().copied()).collect();
            return Some(format!(r#"{{"writes":{times:?}}}"#));
        }
        if let Some(mode) = rest.strip_prefix("mode/") {
            let mode = match mode {
                "busy" => BUSY,
                "hang" => HANG,
                "silent" => SILENT,
                _ => NORMAL,
            };
            self.mode.store(mode, Relaxed);
        }
        Some(format!(
            r#"{{"requests":{},"refused":{},"tokens":{},"left":{},"open":{}}}"#,
            self.requests.load(Relaxed),
            self.refused.load(Relaxed),
            self.tokens.load(Relaxed),
            self.left.load(Relaxed),
            self.open.load(Relaxed)
        ))
    }
}

/// Counts a request as open for as long as it lives.
struct Open<'a>(&'a Seen);

impl<'a> Open<'a> {
    fn new(seen: &'a Seen) -> Self {
        seen.open.fetch_add(1, Relaxed);
        Self(seen)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Runs the stub on `port` (0: a free one) until standard input ends.
pub(crate) fn run(port: u16, more: u32) -> Result<()> {
    answers::list_more(more);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut nothing = [0; 64];
        while matches!(std::io::stdin().read(&mut nothing), Ok(read) if read > 0) {}
        drop(ended);
    });
    runtime.block_on(async {
        let listener = crate::sockets::listen(port)?;
        let listener = TcpListener::from_std(listener)?;
        println!("{}", listener.local_addr()?.port());
        std::io::stdout().flush()?;
        tokio::select! {
            () = accept(listener) => {}
            _ = end => {}
        }
        Ok(())
    })
}

async fn accept(listener: TcpListener) {
    let seen = Arc::new(Seen::default());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    let seen = seen.clone();
                    connections.spawn(async move {
                        // A connection ends by an error when its client leaves: nothing to tell.
                        let _ = serve(socket, &seen).await;
                    });
                }
                // Out of descriptors: some connection must end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut socket: TcpStream, seen: &Seen) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut pending = Vec::with_capacity(4096);
    loop {
        let head_length = loop {
            if let Some(length) = http::head_length(&pending) {
                break length;
            }
            if pending.len() > LOOKED_AT || socket.read_buf(&mut pending).await? == 0 {
                return Ok(());
            }
        };
        let head = &pending[..head_length];
        let headers = http::headers(head)?;
        let (method, path) = request_line(head).context("a request without a first line")?;
        if headers.expects_continue {
            socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut body = Body::new(headers.framing.unwrap_or(Framing::Length(0)));
        let mut start = Vec::new();
        let mut keep = |bytes: &[u8]| {
            let room = LOOKED_AT - start.len();
            start.extend_from_slice(&bytes[..bytes.len().min(room)]);
        };
        let taken = body.feed(&pending[head_length..], &mut keep)?;
        pending.drain(..head_length + taken);
        if !body.is_done() {
            let mut piece = vec![0; 128 * 1024];
            while !body.is_done() {
                let read = socket.read(&mut piece).await?;
                if read == 0 {
                    return Ok(());
                }
                let taken = body.feed(&piece[..read], &mut keep)?;
                pending.extend_from_slice(&piece[taken..read]);
            }
        }
        if !answer(&mut socket, seen, &method, &path, &start).await? || headers.close {
            return Ok(());
        }
    }
}

fn request_line(head: &[u8]) -> Option<(String, String)> {
    let line = std::str::from_utf8(&head[..memchr::memchr(b'\r', head)?]).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    Some((method.to_owned(), target.split('?').next().unwrap_or(target).to_owned()))
}

/// Answers one request; false when the connection is to end.
async fn answer(socket: &mut TcpStream, seen: &Seen, method: &str, path: &str, body: &[u8]) -> Result<bool> {
    if let Some(text) = seen.control(path) {
        socket.write_all(&answers::whole(200, &text)).await?;
        return Ok(true);
    }
    let mode = seen.mode.load(Relaxed);
    if mode == SILENT {
        gone(socket).await;
        return Ok(false);
    }
    let Some(dialect) = answers::dialect(path).filter(|_| method == "POST") else {
        let (status, text) = answers::management(method, path);
        let mut answer = answers::whole(status, &text);
        if method == "HEAD" {
            answer.truncate(http::head_length(&answer).unwrap_or(answer.len()));
        }
        socket.write_all(&answer).await?;
        return Ok(true);
    };
    seen.requests.fetch_add(1, Relaxed);
    let _open = Open::new(seen);
    let command = match mode {
        BUSY => Command::Busy,
        HANG => Command::Hang,
        _ => Command::find(body),
    };
    match command {
        Command::Busy => {
            seen.refused.fetch_add(1, Relaxed);
            socket
                .write_all(&answers::whole(
                    503,
                    r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#,
                ))
                .await?;
        }
        Command::Hang => {
            gone(socket).await;
            seen.left.fetch_add(1, Relaxed);
            return Ok(false);
        }
        Command::Tiny { delay } => {
            if !delay.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = gone(socket) => {
                        seen.left.fetch_add(1, Relaxed);
                        return Ok(false);
                    }
                }
            }
            socket.write_all(&answers::whole(200, &answers::tiny(dialect))).await?;
        }
        Command::Stream(stream) => {
            let whole = write_stream(socket, seen, dialect, &stream).await;
            if !matches!(whole, Ok(true)) {
                seen.left.fetch_add(1, Relaxed);
            }
            return whole;
        }
    }
    Ok(true)
}

/// Writes a stream; false when it ended early, because the client left or because it was to be cut.
async fn write_stream(socket: &mut TcpStream, seen: &Seen, dialect: Dialect, stream: &Stream) -> Result<bool> {
    let (mut out, mut line) = (Vec::with_capacity(1024), Vec::with_capacity(512));
    socket.write_all(answers::stream_head(dialect)).await?;
    let mut beat = match stream.pace {
        Duration::ZERO => None,
        pace => Some(Beat::new(pace, stream.phase)?),
    };
    let step = if beat.is_none() { stream.batch } else { 1 };
    let mut index = 0;
    while index < stream.chunks {
        if let Some(beat) = &mut beat {
            tokio::select! {
                due = beat.next() => due?,
                () = gone(socket) => return Ok(false),
            }
        }
        out.clear();
        let until = stream.chunks.min(index + step);
        let mut at = 0;
        for index in index..until {
            at = answers::token(&mut out, &mut line, dialect, index);
        }
        seen.tokens.fetch_add(until - index, Relaxed);
        seen.wrote(stream.id, at);
        socket.write_all(&out).await?;
        index = until;
        if stream.cut > 0 && index >= stream.cut {
            return Ok(false);
        }
    }
    out.clear();
    answers::stream_end(&mut out, dialect, stream.chunks);
    socket.write_all(&out).await?;
    Ok(true)
}

/// Ends when the client has closed its connection. May be dropped half-way; what a client sends meanwhile is lost,
/// which is why nobody may pipeline to the stub.
async fn gone(socket: &TcpStream) {
    let mut byte = [0; 512];
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        match socket.try_read(&mut byte) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}
