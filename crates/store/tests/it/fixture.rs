//! A store in a directory of its own, and traces to put into it.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use proto::{Api, Attempt, BackendId, Candidate, Clock, Moment, Outcome, RequestId, Trace};
use rusqlite::Connection;
use store::{DATABASE, Settings, Store};

/// Wednesday 2027-01-06 at 12:00:00 UTC, at which every clock here stands.
pub(crate) const NOW_MS: u64 = 1_799_236_800_000;
pub(crate) const HOUR_MS: u64 = 3_600_000;

/// Long enough for the busiest machine; nothing waits so long unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Open {
    pub(crate) store: Store,
    thread: JoinHandle<()>,
}

impl Open {
    /// Records, and waits until it is stored.
    pub(crate) fn put(&self, traces: impl IntoIterator<Item = Trace>) {
        traces.into_iter().for_each(|trace| self.store.record(trace));
        assert!(self.store.flush(PATIENCE));
    }

    /// Closes and waits for the writer to end.
    pub(crate) fn end(self) {
        drop(self.store);
        self.thread.join().unwrap();
    }
}

pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        node_id: "studio".to_owned(),
        node_key: String::new(),
        keep: Duration::from_secs(30 * 24 * 3600),
        max_bytes: 200_000_000,
    }
}

pub(crate) fn clock() -> Clock {
    Clock::new(|| Moment::at(Duration::ZERO), || NOW_MS)
}

pub(crate) fn open(settings: Settings) -> Open {
    open_at(settings, clock())
}

pub(crate) fn open_at(settings: Settings, clock: Clock) -> Open {
    let (store, writer) = Store::open(settings, clock).unwrap();
    Open { store, thread: std::thread::spawn(move || writer.run()) }
}

/// The database as another program sees it.
pub(crate) fn sql(dir: &Path) -> Connection {
    Connection::open(dir.join(DATABASE)).unwrap()
}

/// A completed chat `ago_ms` before now.
pub(crate) fn chat(number: u64, ago_ms: u64) -> Trace {
    let backend = BackendId::new("ollama");
    Trace {
        request_id: RequestId::new(NOW_MS - ago_ms, number),
        unix_ms: NOW_MS - ago_ms,
        api: Api::ChatCompletions,
        model: "tiny:1b".to_owned(),
        original_model: "tiny:1b".to_owned(),
        server: None,
        prefill_ms: None,
        decode_ms: None,
        backend: Some(backend.clone()),
        candidates: vec![candidate("ollama", 50.0, -6.0), candidate("vllm", 10.0, 0.0)],
        outcome: Outcome::Completed,
        status: 200,
        latency_ms: 100.25,
        ttft_ms: Some(20.5),
        queued_ms: 3.0,
        prompt_tokens: Some(11),
        completion_tokens: Some(4),
        estimated_tokens: 30,
        text_bytes: 400,
        images: 0,
        session: Some(7),
        context: Some(4096),
        context_verdict: Some("kept"),
        loaded_ms: Some(1500.0),
        attempts: vec![Attempt { node: None, backend, error: None, took_ms: 20.5 }],
        fallback_used: false,
        client_ip: "127.0.0.1".to_owned(),
        client_key: Some("nas".to_owned()),
        error: None,
        finish_reason: Some("stop".to_owned()),
        app: Some("aider".to_owned()),
        tags: Vec::new(),
        request_bytes: 210,
        response_bytes: 340,
        unretriable: false,
    }
}

/// A chat whose first backend failed and whose second answered.
pub(crate) fn retried(number: u64, ago_ms: u64) -> Trace {
    let (vllm, ollama) = (BackendId::new("vllm"), BackendId::new("ollama"));
    Trace {
        attempts: vec![
            Attempt { node: None, backend: vllm, error: Some("status 503".to_owned()), took_ms: 2.0 },
            Attempt { node: None, backend: ollama, error: None, took_ms: 18.0 },
        ],
        ..chat(number, ago_ms)
    }
}

/// A chat that nobody answered.
pub(crate) fn failed(number: u64, ago_ms: u64) -> Trace {
    let ollama = BackendId::new("ollama");
    Trace {
        outcome: Outcome::Failed,
        status: 502,
        ttft_ms: None,
        prompt_tokens: None,
        completion_tokens: None,
        attempts: vec![Attempt {
            node: None,
            backend: ollama,
            error: Some("connection refused".to_owned()),
            took_ms: 1.0,
        }],
        error: Some("connection refused".to_owned()),
        finish_reason: None,
        ..chat(number, ago_ms)
    }
}

/// A request for a model that nobody has.
pub(crate) fn rejected(number: u64, ago_ms: u64) -> Trace {
    Trace {
        outcome: Outcome::Rejected,
        status: 404,
        backend: None,
        candidates: Vec::new(),
        attempts: Vec::new(),
        ..failed(number, ago_ms)
    }
}

fn candidate(backend: &str, thermal: f64, queue_depth: f64) -> Candidate {
    Candidate {
        backend: BackendId::new(backend),
        in_flight: (queue_depth / -6.0) as u32,
        slots: 4,
        loaded: thermal > 10.0,
        thermal,
        queue_depth,
        ..Candidate::default()
    }
}
