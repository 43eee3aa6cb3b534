//! The clients of a soak: many kinds, each doing one thing after another until told to stop.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use crate::client::{self, Connection, Failure};
use crate::http::Answer;
use crate::tokens::Tokens;

/// Longest wait for an answer: beyond it a request counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reasons kept of lost requests, the first ones.
const KEPT_REASONS: usize = 20;

/// What one kind of client does.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    clients: u32,
    command: &'static str,
    openai: bool,
    /// Tokens of the stream that is asked for; `None` for a whole answer.
    chunks: Option<u64>,
    /// Bytes of prompt.
    padding: usize,
    /// Leaves after so many tokens; 0 stays.
    leaves: u64,
    pause_ms: u64,
}

const PLAIN: Kind = Kind {
    name: "tiny",
    clients: 8,
    command: "tiny",
    openai: false,
    chunks: None,
    padding: 0,
    leaves: 0,
    pause_ms: 20,
};

/// All kinds; together about a hundred clients.
const KINDS: [Kind; 9] = [
    PLAIN,
    Kind { name: "tiny, OpenAI", openai: true, ..PLAIN },
    Kind { name: "slow", command: "tiny delay_ms=300", clients: 16, ..PLAIN },
    Kind { name: "stream", command: "stream chunks=60 pace_ms=20", chunks: Some(60), clients: 24, ..PLAIN },
    Kind {
        name: "stream, OpenAI",
        command: "stream chunks=60 pace_ms=20",
        chunks: Some(60),
        clients: 24,
        openai: true,
        ..PLAIN
    },
    Kind {
        name: "burst",
        command: "stream chunks=2000 batch=8",
        chunks: Some(2000),
        clients: 2,
        pause_ms: 500,
        ..PLAIN
    },
    Kind {
        name: "leaver",
        command: "stream chunks=1000 pace_ms=20",
        chunks: Some(1000),
        clients: 12,
        leaves: 9,
        pause_ms: 50,
        ..PLAIN
    },
    Kind { name: "large", padding: 1_000_000, clients: 3, pause_ms: 200, ..PLAIN },
    Kind { name: "very large", padding: 20_000_000, clients: 1, pause_ms: 4000, ..PLAIN },
];

/// What became of all requests.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) answered: AtomicU64,
    pub(super) lost: AtomicU64,
    /// Streams that ended early and said so.
    cut: AtomicU64,
    left: AtomicU64,
    reasons: Mutex<VecDeque<String>>,
    fault: Mutex<String>,
}

impl Counts {
    fn lost(&self, kind: &str, why: String) {
        self.lost.fetch_add(1, Relaxed);
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() < KEPT_REASONS {
            reasons.push_back(format!("{kind}: {why}"));
        }
    }

    /// Says which fault requests that begin now may meet.
    pub(super) fn latest_fault(&self, fault: String) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn fault(&self) -> String {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn line(&self) -> String {
        format!(
            "{} answered, {} left by their client, {} cut and told so, {} lost",
            self.answered.load(Relaxed),
            self.left.load(Relaxed),
            self.cut.load(Relaxed),
            self.lost.load(Relaxed)
        )
    }

    /// Why the first of the lost ones were lost.
    pub(super) fn reasons(&self) -> Vec<String> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The running clients, on a thread of their own.
#[derive(Debug)]
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Traffic {
    /// Starts all clients against the Herd at `address`.
    pub(super) fn start(address: SocketAddr, counts: Arc<Counts>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("traffic".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(all(address, &counts, &stopped))
        })?;
        Ok(Self { stop, thread })
    }

    /// Lets each client end what it is doing.
    pub(super) fn stop(self) -> Result<()> {
        self.stop.store(true, Relaxed);
        self.thread.join().ok().context("a client panicked")?
    }
}

async fn all(address: SocketAddr, counts: &Arc<Counts>, stop: &Arc<AtomicBool>) -> Result<()> {
    let mut tasks = JoinSet::new();
    for kind in KINDS {
        let request: Arc<[u8]> = match kind.openai {
            true => client::chat_openai(address, kind.command, kind.chunks.is_some(), 0).into(),
            false => client::chat(address, kind.command, kind.chunks.is_some(), kind.padding).into(),
        };
        for index in 0..kind.clients {
            let (request, counts, stop) = (request.clone(), counts.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(u64::from(index) * 37)).await;
                let mut connection = None;
                while !stop.load(Relaxed) {
                    once(&kind, address, &request, &mut connection, &counts).await;
                    tokio::time::sleep(Duration::from_millis(kind.pause_ms)).await;
                }
            });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a client panicked")?;
    }
    Ok(())
}

/// One request, from its connection to its count. The connection is kept if it may be used again.
async fn once(kind: &Kind, address: SocketAddr, request: &[u8], kept: &mut Option<Connection>, counts: &Counts) {
    let fault = counts.fault();
    let mut tokens = Tokens::new();
    let mut said = Vec::new();
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => match Connection::connect(address).await {
            Ok(connection) => connection,
            Err(why) => return counts.lost(kind.name, why.to_string()),
        },
    };
    let piece = |bytes: &[u8], now| {
        tokens.feed(bytes, now, |_| {});
        if said.len() < 300 {
            said.extend_from_slice(&bytes[..bytes.len().min(300)]);
        }
        kind.leaves == 0 || tokens.count() < kind.leaves
    };
    let answered = tokio::time::timeout(PATIENCE, connection.exchange(request, piece)).await;
    match fate(kind, &answered, &tokens) {
        Fate::Answered => {
            counts.answered.fetch_add(1, Relaxed);
            *kept = Some(connection).filter(|_| matches!(&answered, Ok(Ok(answer)) if !answer.closes()));
        }
        Fate::Left => {
            counts.left.fetch_add(1, Relaxed);
        }
        Fate::Cut => {
            counts.cut.fetch_add(1, Relaxed);
        }
        Fate::Lost(why) => counts
            .lost(kind.name, format!("{why} (latest fault at its start: {fault}): {}", String::from_utf8_lossy(&said))),
    }
}

/// What became of one request.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    Left,
    Cut,
    Lost(String),
}

fn fate(kind: &Kind, answered: &Result<Result<Answer, Failure>, tokio::time::error::Elapsed>, tokens: &Tokens) -> Fate {
    match (answered, kind.chunks) {
        (Err(_), _) => Fate::Lost(format!("no end after {} tokens within a minute", tokens.count())),
        // A stream that has begun cannot be served by another backend, but must say that it failed.
        (Ok(_), Some(_)) if tokens.count() > 0 && tokens.said_error() => Fate::Cut,
        (Ok(Err(why)), _) => Fate::Lost(format!("{why}, after {} tokens", tokens.count())),
        (Ok(Ok(answer)), _) if answer.status() != 200 => {
            let request = answer.header("x-fleet-request-id").unwrap_or("unnamed");
            Fate::Lost(format!("request {request} was answered {}", answer.status()))
        }
        (Ok(Ok(_)), Some(_)) if kind.leaves > 0 && tokens.count() >= kind.leaves => Fate::Left,
        (Ok(Ok(_)), Some(chunks)) if !tokens.is_whole(chunks) => {
            Fate::Lost(format!("the stream ended early, after {} tokens, as if whole", tokens.count()))
        }
        (Ok(Ok(_)), _) => Fate::Answered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_may_be_cut_aloud_but_not_in_silence() {
        let stream = KINDS[3];
        let token = r#"{"message":{"content":"0:1 "},"done":false}"#.to_owned() + "\n";
        let answer = || {
            let mut answer = Answer::default();
            answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", |_| {}).unwrap();
            answer
        };
        let read = |text: &str| {
            let mut tokens = Tokens::new();
            tokens.feed(text.as_bytes(), 2, |_| {});
            tokens
        };
        let said = read(&(token.clone() + "{\"error\":\"gone\"}\n"));
        assert_eq!(fate(&stream, &Ok(Ok(answer())), &said), Fate::Cut);
        assert!(matches!(fate(&stream, &Ok(Ok(answer())), &read(&token)), Fate::Lost(_)));
        assert!(matches!(fate(&stream, &Ok(Err(Failure::Cut(true))), &read(&token)), Fate::Lost(_)));
        let unserved = read("{\"error\":\"gone\"}\n");
        assert!(matches!(fate(&stream, &Ok(Ok(answer())), &unserved), Fate::Lost(_)));
        assert_eq!(fate(&PLAIN, &Ok(Ok(answer())), &read("")), Fate::Answered);
    }
}
