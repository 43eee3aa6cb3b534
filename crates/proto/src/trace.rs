//! The record of one request and of the decision about it. Never holds a prompt or an answer.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Api, BackendId, NodeId, RequestId};

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
    /// The shown name of the node that was tried; `None`: the door's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// The backend that was tried.
    pub backend: BackendId,
    /// What went wrong; `None` for the try that was answered.
    pub error: Option<String>,
    /// From sending to the first content or the failure, in milliseconds.
    pub took_ms: f64,
}

/// One backend that could have served a request, with what the decision saw.
///
/// The points are those of ollama-herd's seven signals: kept with each decision, and shown; they decide only where the
/// owner wants that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The shown name of its node; `None`: the door's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// The backend.
    pub backend: BackendId,
    /// Requests it was working on.
    pub in_flight: u32,
    /// Requests it may work on at once for this model, as known then.
    pub slots: u32,
    /// Whether the model was in memory.
    pub loaded: bool,
    /// Points for loadedness: 50 loaded, 30 recently unloaded, 10 on disk.
    pub thermal: f64,
    /// Points for the memory that it has: 0 to 20.
    #[serde(default)]
    pub memory_fit: f64,
    /// Points for the queue: six less for each request, at most thirty less.
    pub queue_depth: f64,
    /// Points for the wait: one less for each ten seconds, at most 25 less.
    #[serde(default)]
    pub wait_time: f64,
    /// Points for how the machine's size suits the model's: 0 to 15.
    #[serde(default)]
    pub role_affinity: f64,
    /// Points for how likely the machine stays available: 0 to 10.
    #[serde(default)]
    pub availability_trend: f64,
    /// Points for how the prompt fits the context that is loaded: -15 to 15.
    #[serde(default)]
    pub context_fit: f64,
    /// When the answer was predicted to be complete there, part by part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<Predicted>,
}

impl Candidate {
    /// The sum of the points.
    pub fn total(&self) -> f64 {
        self.thermal
            + self.memory_fit
            + self.queue_depth
            + self.wait_time
            + self.role_affinity
            + self.availability_trend
            + self.context_fit
    }
}

/// The parts of a predicted completion, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// Until the model is in memory.
    pub load_ms: f64,
    /// Until a slot is free.
    pub queue_ms: f64,
    /// Reading the prompt, less what is still known of the conversation.
    pub prefill_ms: f64,
    /// Writing the answer.
    pub decode_ms: f64,
    /// The way there and back.
    pub link_ms: f64,
}

impl Predicted {
    /// The sum of the parts.
    pub fn total_ms(&self) -> f64 {
        self.load_ms + self.queue_ms + self.prefill_ms + self.decode_ms + self.link_ms
    }
}

/// Another node that served a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its shown name.
    pub name: Arc<str>,
    /// Its identity.
    pub id: NodeId,
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
    /// The node that served it last; `None`: the door's own.
    pub server: Option<Server>,
    /// How long the backend read the prompt, in milliseconds, where it says so.
    pub prefill_ms: Option<f64>,
    /// How long it wrote the answer, in milliseconds, where it says so.
    pub decode_ms: Option<f64>,
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
    /// The name of the key that the client showed, where it needed one. Never the key itself.
    pub client_key: Option<String>,
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
