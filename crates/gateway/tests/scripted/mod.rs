//! A door in front of backends that do exactly what a test tells them, byte by byte.
#![allow(clippy::unwrap_used, dead_code, reason = "a test that cannot go on stops, and each file uses a part of it")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use dialect::{Cause, Failure};
use gateway::{
    Ask, Change, ChangeError, ChangeFuture, Count, Door, Ending, Fleet, Gauges, Limits, PairStream, Placing,
    Protection, Settings, Slot, Ticket, Verdict, View, ViewError, ViewFuture,
};
use proto::{
    Address, Api, ApiSet, BackendId, BackendKind, BackendState, Clock, Health, Link, ModelName, Moment, Trace,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

#[allow(clippy::disallowed_methods, reason = "a test's own clock")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A fleet that places requests on its backends in turn, skipping those that are excluded.
pub(crate) struct Fixed {
    backends: Vec<Arc<BackendState>>,
    me: std::sync::Weak<Fixed>,
    /// What was reported, in order.
    pub(crate) traces: Mutex<Vec<Trace>>,
    /// How attempts ended, in order.
    pub(crate) endings: Mutex<Vec<Ending>>,
    movers: Mutex<Vec<tokio::sync::oneshot::Sender<()>>>,
    /// What was to be changed, in order.
    pub(crate) changes: Mutex<Vec<Change>>,
    /// What happens when a code is shown.
    pub(crate) pairing: Mutex<Option<PairStream>>,
    /// What this node tells of itself; nothing else can be seen.
    pub(crate) status: Mutex<Option<serde_json::Value>>,
    /// How often anybody looked at anything.
    pub(crate) looks: AtomicU64,
}

impl Fixed {
    /// Tells the newest attempt to go elsewhere.
    pub(crate) fn move_newest(&self) {
        self.movers.lock().unwrap().pop().unwrap().send(()).unwrap();
    }
}

impl Fleet for Fixed {
    fn place(&self, ask: Ask) -> Placing {
        let free = self.backends.iter().find(|backend| !ask.excluded.contains(&backend.id));
        let Some(backend) = free else {
            return Placing::Now(Err(Failure::new(Cause::Unavailable, "nobody is left").into()));
        };
        let (mover, moved) = tokio::sync::oneshot::channel();
        self.movers.lock().unwrap().push(mover);
        let fleet: Arc<dyn Fleet> = self.me.upgrade().unwrap();
        Placing::Now(Ok(Ticket {
            server: None,
            backend: backend.clone(),
            model: 0,
            candidates: Vec::new(),
            queued: Duration::ZERO,
            context: None,
            verdict: Verdict::Passed,
            loaded_for: None,
            prompt_tokens: 0,
            slot: Slot::new(fleet, 1),
            moved,
            patience: None,
            ahead: 0,
            issuer: None,
        }))
    }

    fn first_content(&self, _: u64) {}

    fn finish(&self, _: u64, ending: Ending) {
        self.endings.lock().unwrap().push(ending);
    }

    fn report(&self, trace: Trace) {
        self.traces.lock().unwrap().push(trace);
    }

    fn suspect(&self, _: &BackendId) {}

    fn refresh(&self, _: &BackendId) {}

    fn count(&self, _: &ModelName, text_bytes: u64, _: u32) -> Count {
        Count::Estimate(text_bytes / 4)
    }

    fn stand_in(&self, _: &str) -> Option<Arc<str>> {
        Some("stand-in".into())
    }

    fn change(&self, change: Change) -> ChangeFuture {
        self.changes.lock().unwrap().push(change);
        Box::pin(std::future::ready(Err(ChangeError::NotFound("nothing to change".to_owned()))))
    }

    fn pair(&self, _: bool) -> PairStream {
        self.pairing.lock().unwrap().take().unwrap_or_else(|| Box::pin(futures_util::stream::empty()))
    }

    fn view(&self, view: View) -> ViewFuture {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let status = self.status.lock().unwrap().clone().filter(|_| view == View::Status);
        let seen = status.map(|status| status.to_string().into());
        Box::pin(std::future::ready(seen.ok_or_else(|| ViewError::NotFound("nothing to see".to_owned()))))
    }

    fn gauges(&self) -> Gauges {
        Gauges::default()
    }
}

/// A backend: a listener whose connections the test serves itself.
pub(crate) struct Backend(TcpListener);

impl Backend {
    pub(crate) async fn new() -> Backend {
        Backend(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> Connection {
        Connection { stream: self.0.accept().await.unwrap().0, read: Vec::new() }
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

/// One connection, on either side.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    /// Reads until `text` has come, and takes everything up to its end.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            let found = self.read.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                let rest = self.read.split_off(at + text.len());
                let taken = std::mem::replace(&mut self.read, rest);
                return String::from_utf8(taken).unwrap();
            }
            let mut piece = vec![0; 65536];
            let read = self.stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "ended before {text:?}; got {:?}", String::from_utf8_lossy(&self.read));
            self.read.extend_from_slice(&piece[..read]);
        }
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(&mut self) -> String {
        let _ = self.stream.read_to_end(&mut self.read).await;
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }
}

/// A door, its fleet, and the task that serves it.
pub(crate) struct House {
    pub(crate) fleet: Arc<Fixed>,
    pub(crate) door: Arc<Door>,
    address: SocketAddr,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

impl House {
    /// A door in front of Ollamas that holds headers back for `hold` and keeps `bodies` bytes of bodies.
    pub(crate) async fn new(backends: &[&Backend], hold: Duration, bodies: u64) -> House {
        House::of(BackendKind::Ollama, backends, hold, bodies).await
    }

    /// As [`House::new`], in front of backends of that `kind`, which speak every call.
    pub(crate) async fn of(kind: BackendKind, backends: &[&Backend], hold: Duration, bodies: u64) -> House {
        House::within(kind, backends, hold, Limits { bodies, ..Limits::default() }).await
    }

    /// As [`House::of`], within these limits.
    pub(crate) async fn within(kind: BackendKind, backends: &[&Backend], hold: Duration, limits: Limits) -> House {
        let states = backends.iter().enumerate().map(|(at, backend)| {
            Arc::new(BackendState {
                id: BackendId::new(format!("b{at}")),
                kind,
                address: Address {
                    host: "127.0.0.1".to_owned(),
                    port: backend.address().port(),
                    base_path: String::new(),
                },
                link: Link::Loopback,
                version: None,
                health: Health::Up,
                speaks: ApiSet::of(&Api::ALL),
                serves: ApiSet::of(&Api::ALL),
                slots: None,
                most_loaded: None,
                ignores_model_name: false,
                models: Vec::new(),
            })
        });
        let fleet = Arc::new_cyclic(|me| Fixed {
            backends: states.collect(),
            me: me.clone(),
            traces: Mutex::default(),
            endings: Mutex::default(),
            movers: Mutex::default(),
            changes: Mutex::default(),
            pairing: Mutex::default(),
            status: Mutex::default(),
            looks: AtomicU64::default(),
        });
        let settings = Settings {
            node_name: "here".to_owned(),
            host_name: String::new(),
            instance: "test".to_owned(),
            token: "secret".to_owned(),
            max_retries: 2,
            hold,
            protection: Protection::Strip,
            limits,
        };
        let clock = Clock::new(|| Moment::at(START.elapsed()), || 1_700_000_000_000);
        let door = Door::new(fleet.clone(), settings, clock, 7);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        #[allow(clippy::disallowed_methods, reason = "awaited in `end`")]
        let served = tokio::spawn(door.worker().serve(vec![listener], stop.clone(), Duration::from_secs(5)));
        House { fleet, door, address, stop, served }
    }

    /// A connection to `address`, where a request was sent.
    pub(crate) async fn call(address: SocketAddr, request: &str) -> Connection {
        let mut client = Connection { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() };
        client.send(request).await;
        client
    }

    /// Sends a request and leaves the answer to be read.
    pub(crate) async fn ask(&self, path: &str, body: &str) -> Connection {
        self.send(&format!("POST {path}"), "", body.as_bytes()).await
    }

    /// Sends a request of any method with more header lines, each with its end.
    pub(crate) async fn send(&self, what: &str, headers: &str, body: &[u8]) -> Connection {
        let mut client = Connection { stream: TcpStream::connect(self.address).await.unwrap(), read: Vec::new() };
        let length = body.len();
        let head = format!(
            "{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        client.stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        client.stream.flush().await.unwrap();
        client
    }

    /// The traces, once there are `count`, and the door is closed.
    pub(crate) async fn end(self, count: usize) -> VecDeque<Trace> {
        self.stop.cancel();
        self.served.await.unwrap();
        let traces: VecDeque<Trace> = std::mem::take(&mut *self.fleet.traces.lock().unwrap()).into();
        assert_eq!(traces.len(), count, "{traces:?}");
        traces
    }
}

/// A chunk of a chunked body.
pub(crate) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The head of a streamed answer.
pub(crate) const NDJSON: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
/// The head of a stream of server-sent events.
pub(crate) const SSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
/// A line with content.
pub(crate) const LINE: &str =
    "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"x\"},\"done\":false}\n";
/// The last line.
pub(crate) const DONE: &str = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"eval_count\":1}\n";

/// The bytes of a plain answer.
pub(crate) fn whole(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
