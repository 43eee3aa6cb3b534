//! A small client of the local API: the same whether the node is in this process or in another.
//!
//! Each question is a connection of its own: one second to connect, ten for the answer, at most 4 MiB of it. Any of the
//! futures may be dropped half-way.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const LARGEST: usize = 4 * 1024 * 1024;
/// Bytes of a control token are far fewer.
const LARGEST_TOKEN: u64 = 4096;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Nobody listens there.
    #[error("nobody answers")]
    Refused,
    /// Somebody listens and says nothing in time.
    #[error("no answer in time")]
    TimedOut,
    /// What came is no HTTP, too long, or no JSON.
    #[error("the answer is not understood")]
    NotUnderstood,
    /// Herd said no, in a sentence.
    #[error("{said}")]
    Said { status: u16, said: String },
}

/// The door of a Herd on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    token: PathBuf,
}

impl Client {
    /// The door at `address`, whose token is in the data directory `data`.
    pub(crate) fn new(address: SocketAddr, data: &std::path::Path) -> Client {
        Client { address, token: data.join("control.token") }
    }

    /// The answer to a GET of `path`.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Fault> {
        self.ask(Method::GET, path, None).await
    }

    /// The answer to `body`, sent to `path` with the control token.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Fault> {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Fault> {
        let token = body.and_then(|_| self.token());
        let answered = exchange(self.address, method, path, body, token.as_deref());
        tokio::time::timeout(ANSWER_WITHIN, answered).await.unwrap_or(Err(Fault::TimedOut))
    }

    /// Read anew each time: it may have been made only just now.
    fn token(&self) -> Option<String> {
        use std::io::Read as _;
        let mut text = String::new();
        std::fs::File::open(&self.token).ok()?.take(LARGEST_TOKEN).read_to_string(&mut text).ok()?;
        let token = text.trim();
        (!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())).then(|| token.to_owned())
    }
}

/// One question at `address`; `body` makes it one that carries JSON.
pub(crate) async fn exchange(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&Value>,
    token: Option<&str>,
) -> Result<Value, Fault> {
    let stream = match tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
        Err(_) => return Err(Fault::TimedOut),
        Ok(Err(_)) => return Err(Fault::Refused),
        Ok(Ok(stream)) => stream,
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|_| Fault::NotUnderstood)?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string())
        .header(ACCEPT, "application/json");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    let request = request.body(Full::new(body)).map_err(|_| Fault::NotUnderstood)?;
    let answered = async move {
        let response = sender.send_request(request).await.map_err(|_| Fault::NotUnderstood)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|_| Fault::NotUnderstood)?;
        let value: Option<Value> = serde_json::from_slice(&body.to_bytes()).ok();
        if status.is_success() {
            return value.ok_or(Fault::NotUnderstood);
        }
        let said = value.as_ref().and_then(|value| value["error"].as_str()).map(str::to_owned);
        Err(Fault::Said { status: status.as_u16(), said: said.unwrap_or_else(|| status.to_string()) })
    };
    // The connection ends by itself once its sender is gone.
    let (answer, _) = tokio::join!(answered, connection);
    answer
}
