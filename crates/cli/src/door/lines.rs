//! An answer that comes line by line, for as long as both sides stay. Dropping it hangs up.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::SERVER;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{ANSWER_WITHIN, Answer, LARGEST_ANSWER, Silence, request};
use crate::failure::Failure;

/// Bytes of the longest line; a longer one ends the command.
const LONGEST_LINE: usize = 1024 * 1024;

/// Lines of JSON, as they come.
pub(crate) struct Lines {
    body: Incoming,
    connection: Pin<Box<dyn Future<Output = ()>>>,
    is_connected: bool,
    // Kept, because the connection ends with it.
    _sender: SendRequest<Full<Bytes>>,
    read: Vec<u8>,
}

/// Sends `body` to `path`; the inner error is an answer that is no success, whole.
pub(super) async fn open(
    stream: Result<TcpStream, Silence>,
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    body: Bytes,
) -> Result<Result<Lines, Answer>, Silence> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream?)).await.map_err(|_| Silence::NotHttp)?;
    let request = request(address, path, token, Some(body))?;
    let mut connection: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
        // An error of it reaches whoever reads the answer, too.
        let _ = connection.await;
    });
    let mut is_connected = true;
    let head = async {
        let mut response = std::pin::pin!(sender.send_request(request));
        loop {
            tokio::select! {
                biased;
                response = &mut response => return response.map_err(|_| Silence::NotHttp),
                () = &mut connection, if is_connected => is_connected = false,
            }
        }
    };
    let response = tokio::time::timeout(ANSWER_WITHIN, head).await.unwrap_or(Err(Silence::AnswerTimedOut))?;
    let status = response.status();
    let server = response.headers().get(SERVER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut lines = Lines { body: response.into_body(), connection, is_connected, _sender: sender, read: Vec::new() };
    if status.is_success() {
        return Ok(Ok(lines));
    }
    let whole = async {
        while lines.more().await.map_err(|_| Silence::NotHttp)? {
            if lines.read.len() > LARGEST_ANSWER {
                return Err(Silence::TooLarge);
            }
        }
        Ok(())
    };
    tokio::time::timeout(ANSWER_WITHIN, whole).await.unwrap_or(Err(Silence::AnswerTimedOut))?;
    Ok(Err(Answer { status, server, body: lines.read.into() }))
}

impl Lines {
    /// The next line; `None` when Herd has said all. May be dropped half-way: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let value = serde_json::from_slice(&line);
                return value.map(Some).map_err(|_| Failure::Failed("Herd's answer is not JSON.".to_owned()));
            }
            if self.read.len() > LONGEST_LINE {
                return Err(Failure::Failed("Herd's answer has a line of more than 1 MiB.".to_owned()));
            }
            let more = self.more().await.map_err(|_| {
                Failure::Failed("The connection to Herd broke off. See with `herd status` whether it runs.".to_owned())
            });
            if !more? {
                return Ok(None);
            }
        }
    }

    /// Reads on; whether there may be more.
    async fn more(&mut self) -> Result<bool, hyper::Error> {
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                () = &mut self.connection, if self.is_connected => {
                    self.is_connected = false;
                    continue;
                }
            };
            let Some(frame) = frame else { return Ok(false) };
            if let Ok(data) = frame?.into_data() {
                self.read.extend_from_slice(&data);
                return Ok(true);
            }
        }
    }
}
