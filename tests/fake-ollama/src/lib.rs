//! A stand-in for Ollama 0.33: the same answers, the same scheduler, and faults on request.
//!
//! [`Server::start`] runs one on a thread of its own; it ends when the [`Server`] is dropped. What it answers is held
//! against recorded exchanges with the real program by `tests/captures.rs`.

mod answer;
mod ask;
mod audio;
mod clock;
mod control;
mod create;
mod embed;
mod fake;
mod faults;
mod generation;
mod input;
mod io;
mod lists;
mod manage;
mod messages;
mod models;
mod names;
mod native;
mod openai;
mod peer;
mod prompt;
mod pull;
mod record;
mod responses;
mod routes;
mod rules;
mod runner;
mod scheduler;
mod script;
mod server;
mod text;
mod wishes;

use std::time::Duration;

pub use faults::{Fault, FaultKind};
pub use server::{Server, serve};

/// How a stand-in behaves. [`Options::default`] is an Ollama on a CPU with small models that answer at once.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port on loopback; 0 for any free one.
    pub port: u16,
    /// Models on disk: `NAME` or `NAME=KIND`, KIND being a built-in model ("tiny", "tiny-loop", "smollm2",
    /// "all-minilm", …). A name that is no built-in behaves like "tiny".
    pub models: Vec<String>,
    /// Requests a model answers at a time (OLLAMA_NUM_PARALLEL).
    pub parallel: usize,
    /// Models loaded at a time (OLLAMA_MAX_LOADED_MODELS).
    pub max_loaded: usize,
    /// Requests that may wait for a load (OLLAMA_MAX_QUEUE); the next one gets 503.
    pub max_queue: usize,
    /// Context when the request does not say, tokens (OLLAMA_CONTEXT_LENGTH).
    pub context: u64,
    /// How long an idle model stays loaded when no request says (OLLAMA_KEEP_ALIVE).
    pub keep_alive: Duration,
    /// How long a load takes.
    pub load: Duration,
    /// How long a request waits for an engine that hangs to say that it lives; Ollama waits twice, 10 s each.
    pub ping: Duration,
    /// Bytes of memory on the GPU: a model that does not fit beside the others evicts them, and alone it is held there
    /// in part. `None` for a machine without a GPU, where only `max_loaded` counts.
    pub memory: Option<u64>,
    /// Pause before each token.
    pub pace: Duration,
    /// Tokens of an answer, for models that would stop by themselves; `None` for what each model says.
    pub tokens: Option<u64>,
    /// Tool calls in an answer of the models that call tools.
    pub calls: u64,
    /// Faults in force from the start, at most 64.
    pub faults: Vec<Fault>,
    /// Models that the default registry offers, as `models` has them; empty when there is no way to it.
    pub registry: Vec<String>,
    /// How long a pull from the default registry takes.
    pub pull: Duration,
    /// Whether /api/ps shows models in GPU memory.
    pub gpu: bool,
    /// Whether stubs of remote models may be used (OLLAMA_REMOTES).
    pub remotes: bool,
    /// Whether cloud models are switched off (OLLAMA_NO_CLOUD).
    pub cloud_disabled: bool,
    /// The version told.
    pub version: String,
    /// The models directory that /api/show lets slip.
    pub models_dir: String,
    /// Threads that serve requests; more than one only for load tests.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Options {
        let models = ["tiny", "tiny-call", "tiny-loop", "tiny-rep", "tiny-think", "thinker", "smollm2", "all-minilm"];
        Options {
            port: 0,
            models: models.map(str::to_owned).to_vec(),
            parallel: 1,
            max_loaded: 3,
            max_queue: 512,
            context: 4096,
            keep_alive: Duration::from_secs(300),
            load: Duration::ZERO,
            ping: Duration::from_secs(10),
            memory: None,
            pace: Duration::ZERO,
            tokens: None,
            calls: 1,
            faults: Vec::new(),
            registry: Vec::new(),
            pull: Duration::ZERO,
            gpu: false,
            remotes: false,
            cloud_disabled: false,
            version: "0.33.0-rc2".to_owned(),
            models_dir: "<models-dir>".to_owned(),
            threads: 1,
        }
    }
}
