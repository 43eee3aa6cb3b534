//! The door's answers: their bodies, and the common shapes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use dialect::{Cause, Failure};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use proto::Dialect;

use crate::answer::Answer;
use crate::manage::Relay;

/// Why a body ended too early. Nothing is said to the client: the connection is cut.
#[derive(Debug, thiserror::Error)]
#[error("the backend broke off in the middle of an answer")]
pub(crate) struct CutOff;

impl From<Infallible> for CutOff {
    fn from(never: Infallible) -> CutOff {
        match never {}
    }
}

/// The body of an answer to a client.
pub(crate) enum Reply {
    /// All of it at once.
    Full(Option<Bytes>),
    /// What a backend generates.
    Answer(Box<Answer>),
    /// What a backend says about its work on models.
    Relay(Box<Relay>),
    /// What the control routes say.
    Control(axum::body::Body),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match self.get_mut() {
            Reply::Full(bytes) => {
                Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))))
            }
            Reply::Answer(answer) => answer.poll_bytes(cx).map(|next| next.map(|bytes| bytes.map(Frame::data))),
            Reply::Relay(relay) => relay.poll_bytes(cx).map(|next| next.map(|bytes| bytes.map(Frame::data))),
            Reply::Control(body) => {
                Pin::new(body).poll_frame(cx).map(|next| next.map(|frame| frame.map_err(|_| CutOff)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Reply::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Reply::Answer(_) | Reply::Relay(_) => false,
            Reply::Control(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Reply::Answer(_) | Reply::Relay(_) => SizeHint::new(),
            Reply::Control(body) => body.size_hint(),
        }
    }
}

/// An answer of these bytes.
pub(crate) fn full(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Reply> {
    let mut response = Response::new(Reply::Full(Some(bytes.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply::Full(None));
    *response.status_mut() = status;
    response
}

/// A failure in the client's own format.
pub(crate) fn failure(failure: &Failure, dialect: Dialect) -> Response<Reply> {
    let status = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = full(status, Failure::content_type(dialect), failure.body(dialect));
    retry_after(failure, response.headers_mut());
    response
}

/// Says when to come back, where that is known.
pub(crate) fn retry_after(failure: &Failure, headers: &mut http::HeaderMap) {
    if let Some(seconds) = failure.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// The answer to a known path with a wrong method; Ollama's words on its own paths.
pub(crate) fn not_allowed(allow: &'static str, dialect: Dialect) -> Response<Reply> {
    let mut response = match dialect {
        Dialect::Ollama => full(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "405 method not allowed"),
        _ => failure(&Failure::new(Cause::MethodNotAllowed, "method not allowed"), dialect),
    };
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// The answer to a path that leads nowhere, in the words of whoever asks there.
pub(crate) fn not_found(path: &str) -> Response<Reply> {
    if path.starts_with("/v1/messages") {
        failure(&Failure::new(Cause::NotFound, format!("nothing is at {path}")), Dialect::Anthropic)
    } else if path.starts_with("/v1/") {
        failure(&Failure::new(Cause::NotFound, format!("nothing is at {path}")), Dialect::OpenAi)
    } else {
        full(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found")
    }
}
