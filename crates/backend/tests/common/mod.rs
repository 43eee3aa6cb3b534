//! A stand-in server that answers as it is told, and a watcher whose news can be awaited.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use backend::{Handle, Pace, Place, Settings, Watcher};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto::{BackendState, Clock, Moment};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Status, headers and body of an answer.
pub(crate) struct Reply(pub(crate) u16, pub(crate) Vec<(&'static str, String)>, pub(crate) String);

/// An answer with status 200.
pub(crate) fn ok(body: impl Into<String>) -> Reply {
    Reply(200, Vec::new(), body.into())
}

/// An answer with another status.
pub(crate) fn refused(status: u16) -> Reply {
    Reply(status, Vec::new(), format!("{{\"error\":\"{status}\"}}"))
}

type Script = Arc<dyn Fn(&str, &str) -> Reply + Send + Sync>;

/// A server on loopback; gone when dropped.
pub(crate) struct Stub {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

struct Shared {
    script: Mutex<Script>,
    seen: watch::Sender<Vec<(String, String)>>,
    /// Path and body of what was posted.
    posted: Mutex<Vec<(String, String)>>,
    /// Requests whose path starts like this are not answered until that changes.
    held: watch::Sender<Option<&'static str>>,
    /// How many are held now, and how many were at most.
    waiting: watch::Sender<(usize, usize)>,
}

impl Stub {
    /// Starts a server that answers method and path (query included) by `script`.
    pub(crate) async fn start(script: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Stub {
        Stub::start_at(0, script).await
    }

    /// The same on a port of one's choice.
    pub(crate) async fn start_at(port: u16, script: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> Stub {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], port).into()).unwrap();
        let listener = socket.listen(64).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            seen: watch::Sender::default(),
            posted: Mutex::default(),
            held: watch::Sender::new(None),
            waiting: watch::Sender::default(),
        });
        let mut task = JoinSet::new();
        task.spawn(serve(listener, Arc::clone(&shared)));
        Stub { port, shared, _task: task }
    }

    pub(crate) fn place(&self, query: &str) -> Place {
        Place::parse(&format!("127.0.0.1:{}{query}", self.port)).unwrap()
    }

    /// Answers differently from now on.
    pub(crate) fn now(&self, script: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    pub(crate) fn hold(&self, path: Option<&'static str>) {
        self.shared.held.send_replace(path);
    }

    /// Waits until `count` requests are held at once.
    pub(crate) async fn held(&self, count: usize) {
        self.shared.waiting.subscribe().wait_for(|(now, _)| *now >= count).await.unwrap();
    }

    /// The most requests that were ever held at once.
    pub(crate) fn most_held(&self) -> usize {
        self.shared.waiting.borrow().1
    }

    /// What was asked so far, as method and path.
    pub(crate) fn seen(&self) -> Vec<(String, String)> {
        self.shared.seen.borrow().clone()
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        self.seen().iter().filter(|(_, seen)| seen == path).count()
    }

    /// Bodies of what was asked of `path`.
    pub(crate) fn bodies(&self, path: &str) -> Vec<String> {
        let posted = self.shared.posted.lock().unwrap();
        posted.iter().filter(|(seen, _)| seen == path).map(|(_, body)| body.clone()).collect()
    }

    /// Waits until `path` was asked for `times` more times.
    pub(crate) async fn asked(&self, path: &str, times: usize) {
        let wanted = self.count(path) + times;
        let mut seen = self.shared.seen.subscribe();
        let enough = seen.wait_for(|seen| seen.iter().filter(|(_, seen)| seen == path).count() >= wanted);
        timeout(PATIENCE, enough).await.expect("nobody asked").unwrap();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| answer(Arc::clone(&shared), request));
        connections.spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.method().to_string();
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    if let Ok(body) = request.into_body().collect().await {
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        shared.posted.lock().unwrap().push((path.clone(), body));
    }
    shared.seen.send_modify(|seen| seen.push((method.clone(), path.clone())));
    let holds = |held: &Option<&str>| held.is_some_and(|held| path.starts_with(held));
    if holds(&shared.held.borrow()) {
        let held = Held::new(&shared);
        let _ = shared.held.subscribe().wait_for(|held| !holds(held)).await;
        drop(held);
    }
    let script = Arc::clone(&shared.script.lock().unwrap());
    let Reply(status, headers, body) = script(&method, &path);
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(Bytes::from(body))).unwrap())
}

struct Held<'a>(&'a Shared);

impl Held<'_> {
    fn new(shared: &Shared) -> Held<'_> {
        shared.waiting.send_modify(|(now, most)| {
            *now += 1;
            *most = (*most).max(*now);
        });
        Held(shared)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|(now, _)| *now -= 1);
    }
}

/// A port where nothing listens.
pub(crate) async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// As a guess of Herd's own.
pub(crate) fn guessed(mut place: Place) -> Place {
    place.given = false;
    place
}

/// Quick enough for a test, slow enough for a busy machine.
pub(crate) fn quick() -> Pace {
    Pace {
        alive: Duration::from_millis(20),
        models: Duration::from_millis(60),
        answer: Duration::from_millis(400),
        restart: Duration::from_millis(5),
        foreign: Duration::from_secs(3600),
        foreign_most: Duration::from_secs(3600),
        first_look: PATIENCE,
        ..Pace::default()
    }
}

/// Looks once, and then only when asked.
pub(crate) fn lazy() -> Pace {
    let hour = Duration::from_secs(3600);
    Pace { alive: hour, models: hour, restart: hour, ..quick() }
}

/// A running watcher.
pub(crate) struct Watch {
    pub(crate) handle: Handle,
    pub(crate) stop: CancellationToken,
    pub(crate) news: mpsc::UnboundedReceiver<Vec<Arc<BackendState>>>,
    pub(crate) latest: Vec<Arc<BackendState>>,
    pub(crate) task: JoinSet<()>,
}

impl Watch {
    pub(crate) fn over(places: Vec<Place>, pace: Pace) -> Watch {
        Watch::with(Settings { places, cloud_models: false, own_id: "ourselves".to_owned() }, pace)
    }

    pub(crate) fn with(settings: Settings, pace: Pace) -> Watch {
        let (tell, news) = mpsc::unbounded_channel();
        let on_change = Box::new(move |states| drop(tell.send(states)));
        let (watcher, handle) = Watcher::new(settings, Clock::new(now, || 0), on_change);
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(watcher.with_pace(pace).run(stop.clone()));
        Watch { handle, stop, news, latest: Vec::new(), task }
    }

    /// Waits for news of which `is` holds; fails with `what` if they do not come.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        is: impl Fn(&[Arc<BackendState>]) -> bool,
    ) -> Vec<Arc<BackendState>> {
        while !is(&self.latest) {
            match timeout(PATIENCE, self.news.recv()).await {
                Ok(Some(states)) => self.latest = states,
                _ => panic!("never seen: {what}; the latest: {:#?}", self.latest),
            }
        }
        self.latest.clone()
    }
}

#[allow(clippy::disallowed_methods, reason = "the real clock of these tests")]
pub(crate) fn now() -> Moment {
    static START: OnceLock<Instant> = OnceLock::new();
    Moment::at(START.get_or_init(Instant::now).elapsed())
}
