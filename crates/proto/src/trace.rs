//! The record of one request and of the decision about it. Never holds a prompt or an answer.

use serde::{Deserialize, Serialize};

use crate::{Api, BackendId, RequestId};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered to the end.
    Completed,
    /// Ended in an error.
    Failed,
    /// The client went away before the end.
    ClientDisconnected,
    /// The answer began and then broke off.
    Incomplete,
    /// Refused before any backend was tried: bad request, unknown model, no room.
    Rejected,
}

impl Outcome {
    /// The word stored in `request_traces.status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Failed => "failed",
            Outcome::ClientDisconnected => "client_disconnected",
            Outcome::Incomplete => "incomplete",
            Outcome::Rejected => "rejected",
        }
    }
}

/// One try at one backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The backend that was tried.
    pub backend: BackendId,
    /// What went wrong; `None` for the try that was answered.
    pub error: Option<String>,
    /// From sending to the first content or the failure, in milliseconds.
    pub took_ms: f64,
}

/// One backend that could have served a request, with what the decision saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The backend.
    pub backend: BackendId,
    /// Requests it was working on.
    pub in_flight: u32,
    /// Requests it may work on at once for this model, as known then.
    pub slots: u32,
    /// Whether the model was in memory.
    pub loaded: bool,
    /// The documented points for loadedness: 50 loaded, 10 on disk.
    pub thermal: f64,
    /// The documented points for the queue: six less for each request, at most thirty less.
    pub queue_depth: f64,
}

impl Candidate {
    /// The sum of the points.
    pub fn total(&self) -> f64 {
        self.thermal + self.queue_depth
    }
}

/// One request from the moment it came in to the moment it ended.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The id that the client saw as `X-Fleet-Request-Id`.
    pub request_id: RequestId,
    /// When it came in: milliseconds since 1970.
    pub unix_ms: u64,
    /// The call.
    pub api: Api,
    /// The model that served, or that was asked for when none did.
    pub model: String,
    /// The model that was asked for.
    pub original_model: String,
    /// The backend that served it last; `None` when none was tried.
    pub backend: Option<BackendId>,
    /// What the decision saw, the chosen one first.
    pub candidates: Vec<Candidate>,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status that the client got; 0 when it left before any.
    pub status: u16,
    /// From the request's arrival to its end, in milliseconds.
    pub latency_ms: f64,
    /// From the request's arrival to the first content, in milliseconds.
    pub ttft_ms: Option<f64>,
    /// Time spent waiting for a slot, in milliseconds.
    pub queued_ms: f64,
    /// Tokens of the prompt, as the backend counted them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, as the backend counted them.
    pub completion_tokens: Option<u64>,
    /// Tokens of prompt and answer as estimated before placement.
    pub estimated_tokens: u64,
    /// Bytes of the prompt's text.
    pub text_bytes: u64,
    /// Images of the prompt.
    pub images: u32,
    /// What the requests of one conversation have in common, where it can be told.
    pub session: Option<u64>,
    /// The context that the backend was asked for, in tokens.
    pub context: Option<u64>,
    /// What became of the context that the request needs: `kept`, `grown`, `cut` or `passed`; `None` before any try.
    pub context_verdict: Option<&'static str>,
    /// Time spent waiting for the model to be loaded, in milliseconds.
    pub loaded_ms: Option<f64>,
    /// Every try, in order.
    pub attempts: Vec<Attempt>,
    /// Whether another model than the one asked for served.
    pub fallback_used: bool,
    /// The client's IP address, as text.
    pub client_ip: String,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// Why the model stopped, in the backend's word.
    pub finish_reason: Option<String>,
    /// The app, from the User-Agent: its product name without the version.
    pub app: Option<String>,
    /// Tags that the client gave, without doubles.
    pub tags: Vec<String>,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes of the answer body.
    pub response_bytes: u64,
    /// Whether the body was too large to keep for a second try.
    pub unretriable: bool,
}
