//! Asks a server one question over plain HTTP/1.1, within a time and a size.
//!
//! Every question has a connection of its own: it tells a server that is gone from one that hangs, and leaves nothing to
//! go stale. On loopback that costs next to nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proto::Address;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Most bytes of a list of models; a longer one counts as no list.
pub(crate) const LONG: usize = 16 << 20;
/// Most bytes of any other answer.
pub(crate) const SHORT: usize = 4 << 20;

/// Whom to ask, and how long to wait. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client(Arc<Inner>);

struct Inner {
    address: Address,
    own_id: String,
    connect: Duration,
    answer: Duration,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether it calls itself `llama.cpp` in the `Server` header.
    pub(crate) is_llama_cpp: bool,
    pub(crate) body: Bytes,
}

/// Why there is no answer to work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It takes connections but does not answer in time.
    Silent,
    /// It takes no connections, or drops them; the reason is for people.
    Gone(String),
    /// Something is there that is never used.
    Foreign(Foreign),
    /// It answers, but not what such a server answers: it may be another one by now.
    Odd,
}

/// What is never used, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// Our own door: a request would come back to us.
    OurDoor,
    /// The door of another Herd, or of its predecessor: a request could go in circles.
    OtherHerd,
    /// A router that lists backends, not models.
    Router,
    /// A server that wants a key.
    WantsKey,
    /// It speaks something else than HTTP.
    NotHttp,
    /// It speaks HTTP and is no inference server.
    NoInference,
}

impl Foreign {
    /// The finding about `place` as one sentence.
    pub(crate) fn sentence(self, place: &str) -> String {
        match self {
            Foreign::OurDoor => format!("{place} is the door of this Herd itself"),
            Foreign::OtherHerd => format!("another Herd listens on {place}; it is not used as a backend"),
            Foreign::Router => format!("a router listens on {place}; name the servers behind it instead"),
            Foreign::WantsKey => format!("{place} wants an API key, and Herd has none to give"),
            Foreign::NotHttp => format!("{place} takes connections but does not speak HTTP"),
            Foreign::NoInference => format!("{place} answers HTTP but is no inference server"),
        }
    }
}

impl Client {
    pub(crate) fn new(address: Address, own_id: String, connect: Duration, answer: Duration) -> Client {
        Client(Arc::new(Inner { address, own_id, connect, answer }))
    }

    /// Asks for `path`, below the base path; an answer longer than `limit` bytes is [`Trouble::Odd`].
    pub(crate) async fn get(&self, path: &str, limit: usize) -> Result<Answer, Trouble> {
        self.ask(Method::GET, path, None, limit).await
    }

    /// Posts `body` as JSON to `path`.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Trouble> {
        self.ask(Method::POST, path, Some(body.to_string()), SHORT).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<String>, limit: usize) -> Result<Answer, Trouble> {
        let Inner { address, connect, answer, .. } = &*self.0;
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", address.base_path))
            .header(http::header::HOST, address.authority())
            .header(http::header::USER_AGENT, concat!("herd/", env!("CARGO_PKG_VERSION")))
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::CONNECTION, "close");
        let request = match &body {
            Some(_) => request.header(http::header::CONTENT_TYPE, "application/json"),
            None => request,
        };
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| Trouble::Gone(format!("its address cannot be used: {error}")))?;
        let stream = match timeout(*connect, TcpStream::connect((address.host.as_str(), address.port))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Trouble::Gone(reason(&error))),
            Err(_) => return Err(Trouble::Gone("does not accept connections".to_owned())),
        };
        timeout(*answer, self.exchange(stream, request, limit)).await.unwrap_or(Err(Trouble::Silent))
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Answer, Trouble> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let exchange = async {
            let (parts, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
            if let Some(foreign) = self.herd(&parts.headers) {
                return Err(Trouble::Foreign(foreign));
            }
            let is_llama_cpp = parts.headers.get(http::header::SERVER).is_some_and(|name| name == "llama.cpp");
            let body =
                Limited::new(body, limit).collect().await.map_err(|error| match error.downcast::<hyper::Error>() {
                    Ok(error) => broken(*error),
                    Err(_) => Trouble::Odd,
                })?;
            Ok(Answer { status: parts.status.as_u16(), is_llama_cpp, body: body.to_bytes() })
        };
        tokio::pin!(exchange, connection);
        let mut open = true;
        loop {
            tokio::select! {
                answer = &mut exchange => return answer,
                // The server may close while the rest of its answer still waits to be read.
                _ = &mut connection, if open => open = false,
            }
        }
    }

    /// Which Herd these headers come from, if any.
    fn herd(&self, headers: &http::HeaderMap) -> Option<Foreign> {
        if headers.get("x-fleet-instance").is_some_and(|id| !self.0.own_id.is_empty() && *id == *self.0.own_id) {
            return Some(Foreign::OurDoor);
        }
        headers.keys().any(|name| name.as_str().starts_with("x-fleet-")).then_some(Foreign::OtherHerd)
    }
}

impl Answer {
    /// The body as JSON, whatever the status is.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether this is llama-server saying that its model is not loaded yet.
    pub(crate) fn is_loading(&self) -> bool {
        let message = || self.json().and_then(|body| Some(body.get("error")?.get("message")?.as_str()?.to_owned()));
        self.status == 503 && message().is_some_and(|message| message.to_ascii_lowercase().contains("loading model"))
    }

    /// Whether it asks for a key.
    pub(crate) fn wants_key(&self) -> bool {
        matches!(self.status, 401 | 403)
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refuses connections".to_owned(),
        _ => format!("cannot be reached: {error}"),
    }
}

fn broken(error: hyper::Error) -> Trouble {
    if error.is_parse() {
        Trouble::Foreign(Foreign::NotHttp)
    } else {
        Trouble::Gone("breaks connections off".to_owned())
    }
}
