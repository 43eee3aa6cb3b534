//! What clients are told when something goes wrong, in each dialect's own shape.

use bytes::Bytes;
use proto::{Api, Dialect};

use crate::BadBody;

/// What went wrong, as far as a client can tell the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The request makes no sense: 400.
    BadRequest,
    /// No model was named: 400.
    ModelRequired,
    /// Nobody has the model: 404.
    ModelNotFound,
    /// The prompt is longer than any context that can be had: 400.
    ContextLength,
    /// The caller may not do that: 403.
    Forbidden,
    /// The caller did not say who they are: 401.
    Unauthorized,
    /// There is nothing at this path: 404.
    NotFound,
    /// The path does not know this method: 405.
    MethodNotAllowed,
    /// The client took too long to send its request: 408.
    Timeout408,
    /// The body is too large: 413.
    TooLarge,
    /// The body is of a type nobody reads: 415.
    UnsupportedMediaType,
    /// The caller asks too often: 429.
    TooManyRequests,
    /// The request's headers are too large: 431.
    HeadersTooLarge,
    /// Nobody offers what was asked for: 501.
    Unsupported,
    /// All are busy: 503.
    Busy,
    /// Nobody is there: 503.
    Unavailable,
    /// The backend broke off or answered nonsense: 502.
    BadGateway,
    /// The backend did not answer in time: 504.
    GatewayTimeout,
    /// A fault of ours: 500.
    Internal,
}

/// A refusal or a breakdown, to be said in any dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub cause: Cause,
    /// One sentence for people, which known clients may compare.
    pub message: String,
    /// Seconds after which trying again makes sense.
    pub retry_after_s: Option<u32>,
}

impl Failure {
    /// A failure without advice on when to try again.
    pub fn new(cause: Cause, message: impl Into<String>) -> Failure {
        Failure { cause, message: message.into(), retry_after_s: None }
    }

    /// What a call without a model is answered: some of Ollama's calls look for the model with the empty name.
    pub fn model_required(api: Api) -> Failure {
        let _ = api;
        Failure::new(Cause::ModelRequired, "model is required")
    }

    /// What a call is answered whose model nobody has.
    pub fn model_not_found(api: Api, model: &str) -> Failure {
        let _ = api;
        Failure::new(Cause::ModelNotFound, format!("model '{model}' not found"))
    }

    /// What a body that cannot be read is answered.
    pub fn from_bad_body(bad: &BadBody, api: Api) -> Failure {
        Failure::new(Cause::BadRequest, bad.message(api))
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        500
    }

    /// The answer's body.
    pub fn body(&self, dialect: Dialect) -> Bytes {
        let _ = dialect;
        Bytes::new()
    }

    /// The content type of [`body`](Failure::body).
    pub fn content_type(dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Ollama => "application/json; charset=utf-8",
            Dialect::OpenAi | Dialect::Anthropic => "application/json",
        }
    }

    /// What ends a stream that has begun.
    pub fn stream_end(&self, api: Api, mid_record: bool) -> Bytes {
        let _ = (api, mid_record);
        Bytes::new()
    }
}

/// The text for people in an upstream error body.
pub fn error_text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(500).collect()
}

/// An upstream error body in the dialect's own shape; `None` when it has that already.
pub fn reshape_error(status: u16, body: &[u8], dialect: Dialect) -> Option<Bytes> {
    let _ = (status, body, dialect);
    None
}
