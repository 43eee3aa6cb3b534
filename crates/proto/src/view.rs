//! What people and scripts are shown: the JSON of `/fleet/*` and of `herd … --json`.

use serde::{Deserialize, Serialize};

use crate::{Attempt, BackendState, Candidate, Health, Link, Loaded, Model};

/// `GET /fleet/self` and `herd status --json`: this node in a nutshell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// The node's shown name.
    pub name: String,
    /// Herd's version.
    pub version: String,
    /// Whether it takes work.
    pub share: ShareView,
    /// The leader of the fleet.
    pub leader: Option<LeaderView>,
    /// Nodes in the fleet, this one included.
    pub nodes: u32,
    /// Models that can be asked for.
    pub models: u32,
    /// The backends of this node.
    pub backends: Vec<BackendView>,
    /// Requests being worked on.
    pub in_flight: u32,
    /// Requests waiting for a slot.
    pub queued: u32,
    /// Seconds since this Herd started.
    pub uptime_s: u64,
    /// Where the door listens, as `host:port`.
    pub listening: Vec<String>,
    /// Where the database and the logs are.
    pub data_dir: String,
}

/// Whether and why a node takes work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareView {
    /// `on`, `paused`, `draining` or `off`.
    pub state: String,
    /// One sentence.
    pub reason: String,
    /// When that ends by itself, as RFC 3339 text.
    pub until: Option<String>,
    /// The reason, for programs. Empty where an older version tells it.
    #[serde(default)]
    pub code: String,
    /// The rule that pauses.
    #[serde(default)]
    pub rule: Option<String>,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderView {
    /// The leader's shown name.
    pub name: String,
    /// Whether that is this node.
    #[serde(rename = "self")]
    pub is_self: bool,
}

/// One backend, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendView {
    /// Its name on this node.
    pub id: String,
    /// What kind of program it is.
    pub kind: String,
    /// Where it listens.
    pub url: String,
    /// Whether what is sent there can be read on the way.
    pub link: Link,
    /// The program's version.
    pub version: Option<String>,
    /// How it is doing.
    #[serde(flatten)]
    pub health: Health,
    /// Requests per model that it works on at once, as known now.
    pub slots: Option<u32>,
    /// Requests that Herd has there now.
    pub in_flight: u32,
    /// How many models it has.
    pub models: u32,
    /// How many of them are in memory.
    pub loaded: u32,
}

impl BackendView {
    /// What is shown of `state`, with `in_flight` requests there now.
    pub fn new(state: &BackendState, slots: Option<u32>, in_flight: u32) -> BackendView {
        BackendView {
            id: state.id.to_string(),
            kind: state.kind.as_str().to_owned(),
            url: state.address.to_string(),
            link: state.link,
            version: state.version.clone(),
            health: state.health.clone(),
            slots,
            in_flight,
            models: count(state.models.len()),
            loaded: count(state.models.iter().filter(|model| model.loaded.is_some()).count()),
        }
    }
}

/// A row of `GET /fleet/nodes` and `herd nodes --json`: a member of the fleet as this node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its shown name.
    pub name: String,
    /// Its identity in full.
    pub id: String,
    /// Whether that is this node.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// Whether it leads.
    pub leads: bool,
    /// `here`, `elsewhere` (only others hear it), `left` or `gone`.
    pub presence: String,
    /// Seconds since anybody heard it; `None`: not since this node started, or it is this node.
    pub silent_for_s: Option<f64>,
    /// Herd's version there.
    pub version: Option<String>,
    /// Whether it takes work, as it last said.
    pub share: Option<ShareView>,
    /// Where its connection leads to, as `host:port`.
    pub address: Option<String>,
    /// The time of a message there and back, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Models that can be asked for there.
    pub models: Option<u32>,
    /// How many of them are in memory.
    pub loaded: Option<u32>,
    /// What its machine is and does, as `probe` senses it.
    pub machine: Option<serde_json::Value>,
    /// Why it cannot be connected, in words.
    pub trouble: Option<String>,
}

/// A row of `GET /fleet/devices` and `herd devices --json`: a machine on the roster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its shown name.
    pub name: String,
    /// Its identity in full.
    pub id: String,
    /// Whether that is this machine.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// `admin`, `member` or `guest`.
    pub role: String,
    /// Its place in the order of joining; the first is 1. Nobody revokes a senior alone.
    pub seniority: u32,
    /// `here`, `elsewhere`, `left` or `gone`.
    pub presence: String,
}

/// `GET /fleet/models` and a row of `herd models --json`: a model on a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelView {
    /// The name to ask for.
    pub name: String,
    /// The node that has it.
    pub node: String,
    /// The backend that has it.
    pub backend: String,
    /// What tells it from another of the same name.
    pub digest: Option<String>,
    /// Bytes on disk.
    pub size: Option<u64>,
    /// For instance `Q4_K_M`.
    pub quantization: Option<String>,
    /// For instance `8.0B`.
    pub parameter_size: Option<String>,
    /// What it can do, in Ollama's words.
    pub capabilities: Vec<String>,
    /// Tokens of context that it was trained for.
    pub context_trained: Option<u64>,
    /// Set while it is in memory.
    pub loaded: Option<Loaded>,
}

impl ModelView {
    /// What is shown of `model` on `backend` of `node`.
    pub fn new(node: &str, backend: &str, model: &Model) -> ModelView {
        ModelView {
            name: model.id.clone(),
            node: node.to_owned(),
            backend: backend.to_owned(),
            digest: model.digest.clone(),
            size: model.size,
            quantization: model.quantization.clone(),
            parameter_size: model.parameter_size.clone(),
            capabilities: model.capabilities.iter().map(|capability| capability.as_str().to_owned()).collect(),
            context_trained: model.context_trained,
            loaded: model.loaded.clone(),
        }
    }
}

/// A row of `GET /fleet/ps` and `herd ps --json`: a model that is in memory, on its way there, or waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaneView {
    /// The model and where it is.
    #[serde(flatten)]
    pub model: ModelView,
    /// `loaded`, `loading`, `draining` or `waiting`.
    pub state: String,
    /// Requests that it works on.
    pub in_flight: u32,
    /// Requests that wait for it.
    pub waiting: u32,
    /// Requests that it works on at once, where known.
    pub slots: Option<u32>,
    /// Why requests wait, in a few words.
    pub reason: Option<String>,
    /// When the first of them is likely to begin, in seconds.
    pub eta_s: Option<f64>,
}

/// A row of `GET /dashboard/api/traces` (the documented keys, then ours) and of `herd traces --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceView {
    /// The id that the client saw.
    pub request_id: String,
    /// The model that served.
    pub model: String,
    /// The model that was asked for.
    pub original_model: String,
    /// The shown name of the node that served.
    pub node_id: String,
    /// The points of the one that was chosen.
    pub score: Option<f64>,
    /// These points one by one, with `total`.
    pub scores_breakdown: Option<serde_json::Value>,
    /// `completed`, `failed`, `client_disconnected`, `incomplete` or `rejected`.
    pub status: String,
    /// From arrival to the end.
    pub latency_ms: Option<f64>,
    /// From arrival to the first content.
    pub time_to_first_token_ms: Option<f64>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<u64>,
    /// Tries after the first.
    pub retry_count: u32,
    /// Whether another model served.
    pub fallback_used: bool,
    /// Backends that failed before.
    pub excluded_nodes: Vec<String>,
    /// The client's address.
    pub client_ip: String,
    /// The name of the key that the client showed, where it needed one.
    pub client_key: Option<String>,
    /// The client's dialect.
    pub original_format: String,
    /// What went wrong.
    pub error_message: Option<String>,
    /// When it came in: seconds since 1970.
    pub timestamp: f64,
    /// The client's tags.
    pub tags: Vec<String>,
    /// Why the model stopped.
    pub finish_reason: Option<String>,
    /// Estimate made before placement.
    pub estimated_tokens: Option<u64>,
    /// The backend that served.
    pub backend: Option<String>,
    /// The call's path.
    pub path: Option<String>,
    /// The HTTP status.
    pub http_status: Option<u16>,
    /// Time spent waiting for a slot.
    pub queued_ms: Option<f64>,
    /// The app.
    pub app: Option<String>,
    /// Tokens of context that the model was asked to have.
    pub context: Option<u64>,
    /// What became of the context that it needs: `kept`, `grown`, `cut` or `passed`.
    pub context_verdict: Option<String>,
    /// Time of `queued_ms` spent on loading the model.
    pub loaded_ms: Option<f64>,
    /// The same for all requests of one conversation: 16 hexadecimal digits.
    pub session: Option<String>,
}

/// `GET /fleet/traces/ID` and `herd why ID --json`: one request with everything that was known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyView {
    /// The row.
    #[serde(flatten)]
    pub trace: TraceView,
    /// What the decision saw, the chosen one first.
    pub candidates: Vec<Candidate>,
    /// Every try, in order.
    pub attempts: Vec<Attempt>,
    /// Whether the body was too large to keep for a second try.
    pub unretriable: bool,
    /// Bytes of the request body.
    pub request_bytes: Option<u64>,
    /// Bytes of the answer body.
    pub response_bytes: Option<u64>,
}

/// A row of `GET /fleet/keys` and `herd keys --json`: a key of clients on other machines, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// What it is called.
    pub name: String,
    /// The day on which it was made, `2026-11-21`.
    pub created: String,
    /// Requests that it is good for in any minute; `None`: any number.
    pub rpm: Option<u32>,
    /// Requests that it is good for at once; `None`: any number.
    pub at_once: Option<u32>,
}

/// A row of `GET /fleet/config` and `herd config --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingView {
    /// The variable's name.
    pub name: String,
    /// The value in force.
    pub value: String,
    /// `flag`, `environment`, `settings.json` or `default`.
    pub source: String,
    /// What it means, in one sentence.
    pub about: String,
    /// The value that it has where nobody says anything; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// A row of `GET /fleet/doctor` and `herd doctor --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// What was looked at.
    pub check: String,
    /// `ok`, `warning` or `problem`.
    pub state: String,
    /// What was found, in one sentence.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// `GET /dashboard/api/overview`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OverviewView {
    /// Requests on record.
    pub total_requests: u64,
    /// Requests answered to the end.
    pub completed: u64,
    /// Requests that ended in an error.
    pub failed: u64,
    /// Mean of their latencies.
    pub avg_latency_ms: Option<f64>,
    /// Mean of their times to the first content.
    pub avg_ttft_ms: Option<f64>,
    /// Tokens of all prompts.
    pub total_prompt_tokens: u64,
    /// Tokens of all answers.
    pub total_completion_tokens: u64,
    /// Different models that served.
    pub models: u64,
    /// Requests of the last 24 hours.
    pub requests_24h: u64,
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
