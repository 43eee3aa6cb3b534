//! The door itself: accepts connections, sends each request to where it is answered.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use dialect::{Cause, Failure};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use proto::{Api, BackendState, Clock, Dialect, ModelName, Outcome, RequestId};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{Answer, Search};
use crate::budget::Budget;
use crate::exchange::{Begun, Exchange};
use crate::fleet::Fleet;
use crate::guard::{self, Names, Zone};
use crate::headers::{self, Ready};
use crate::listing::Listings;
use crate::metrics::Metrics;
use crate::record::Record;
use crate::reply::{self, Reply};
use crate::stored::{self, Responses};
use crate::upstream::Pool;
use crate::{control, counting, manage, unloading};

/// What the door will hold at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one inference request's body; a larger one is refused with 413.
    pub body: u64,
    /// Bytes of all bodies kept for a retry; what does not fit is passed on while it comes in and tried once.
    pub bodies: u64,
    /// Open client connections; the next one is closed at once.
    pub connections: u64,
    /// Responses kept for the next turn of their conversations; the one not used for the longest time goes.
    pub responses: usize,
    /// Bytes of all of them, each with all that was said before it. One of more than an eighth of that is not kept.
    pub response_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { body: 256 << 20, bodies: 256 << 20, connections: 16_384, responses: 1_000, response_bytes: 64 << 20 }
    }
}

/// What the door is told when it is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node's shown name.
    pub node_name: String,
    /// This machine's host name: a Host header may be that.
    pub host_name: String,
    /// What tells this door from another Herd's.
    pub instance: String,
    /// The secret of `control.token`.
    pub token: String,
    /// Tries after the first.
    pub max_retries: u32,
    /// How long headers are held back for the first content of a stream. Longer, and clients that wait 30 s for headers
    /// give up (Cline does); shorter, and fewer failures can be hidden by a retry.
    pub hold: Duration,
    /// What is done with options that describe a machine.
    pub protection: Protection,
    /// Bounds.
    pub limits: Limits,
}

impl Settings {
    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

/// The door of a node: everything that its workers share.
pub struct Door {
    fleet: Arc<dyn Fleet>,
    settings: Settings,
    clock: Clock,
    names: Names,
    ready: Ready,
    budget: Budget,
    responses: Arc<Responses>,
    metrics: Arc<Metrics>,
    listings: ArcSwap<Listings>,
    control: axum::Router,
    unique: AtomicU64,
}

impl Door {
    /// A door to `fleet`. `seed` makes its request ids differ from other doors'.
    pub fn new(fleet: Arc<dyn Fleet>, settings: Settings, clock: Clock, seed: u64) -> Arc<Door> {
        let listings = Listings::build(&[], &settings.node_name);
        Arc::new_cyclic(|door| Door {
            names: Names::new(&settings.host_name),
            ready: Ready::new(&settings.node_name, &settings.instance),
            budget: Budget::new(settings.limits.bodies),
            responses: Responses::new(&settings.limits),
            metrics: Arc::default(),
            listings: ArcSwap::from_pointee(listings),
            control: control::router(door.clone()),
            unique: AtomicU64::new(seed << 24),
            fleet,
            settings,
            clock,
        })
    }

    /// The backends are these now: what lists say is made anew.
    pub fn backends_changed(&self, backends: &[Arc<BackendState>]) {
        self.listings.store(Arc::new(Listings::build(backends, &self.settings.node_name)));
    }

    /// A worker for one thread's runtime.
    pub fn worker(self: &Arc<Door>) -> Arc<Worker> {
        Arc::new(Worker { door: self.clone(), pool: Pool::new(self.clock) })
    }

    pub(crate) fn fleet(&self) -> &Arc<dyn Fleet> {
        &self.fleet
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(crate) fn responses(&self) -> &Arc<Responses> {
        &self.responses
    }

    pub(crate) fn ready(&self) -> &Ready {
        &self.ready
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn control_router(&self) -> axum::Router {
        self.control.clone()
    }

    pub(crate) fn listings(&self) -> Arc<Listings> {
        self.listings.load_full()
    }

    /// Milliseconds since 1970.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.clock.unix_ms()
    }

    fn new_id(&self) -> (RequestId, u64) {
        let unix_ms = self.clock.unix_ms();
        (RequestId::new(unix_ms, self.unique.fetch_add(1, Ordering::Relaxed)), unix_ms)
    }
}

/// What is done with options of a request that describe a machine rather than an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// They are left out, and the answer says so.
    #[default]
    Strip,
    /// They are passed on.
    Pass,
}

/// One thread's share of the door: its connections to clients and to backends.
pub struct Worker {
    door: Arc<Door>,
    pool: Pool,
}

/// Both ends of a client's connection.
#[derive(Clone, Copy)]
struct Ends {
    peer: SocketAddr,
    own: Option<SocketAddr>,
}

impl Worker {
    pub(crate) fn door(&self) -> &Arc<Door> {
        &self.door
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Serves clients until `stop`; then takes no more connections, lets requests end for at most `grace`, and cuts
    /// what is left.
    pub async fn serve(self: Arc<Worker>, listeners: Vec<TcpListener>, stop: CancellationToken, grace: Duration) {
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        let mut sweep = tokio::time::interval(Duration::from_secs(2));
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = sweep.tick() => self.pool.sweep(),
                accepted = accept(&listeners) => match accepted {
                    Ok((stream, peer)) => self.take_in(stream, peer, &connections, &stop, &cut),
                    Err(error) => {
                        // Out of file descriptors, most likely: give connections a moment to end.
                        tracing::warn!(%error, "cannot accept connections");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
        drop(listeners);
        connections.close();
        if tokio::time::timeout(grace, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "cutting requests that did not end in time");
            cut.cancel();
            connections.wait().await;
        }
    }

    fn take_in(
        self: &Arc<Worker>,
        stream: TcpStream,
        peer: SocketAddr,
        connections: &TaskTracker,
        stop: &CancellationToken,
        cut: &CancellationToken,
    ) {
        if self.door.metrics.connected() > self.door.settings.limits.connections {
            self.door.metrics.disconnected();
            return;
        }
        let _ = stream.set_nodelay(true);
        let ends = Ends { peer, own: stream.local_addr().ok() };
        let worker = self.clone();
        let service = service_fn(move |request| {
            let worker = worker.clone();
            // Boxed, so that a connection that streams or idles keeps no room for a request in the making.
            let answer: Pin<Box<dyn Future<Output = _> + Send>> =
                Box::pin(async move { Ok::<_, Infallible>(worker.answer(request, ends).await) });
            answer
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(30))
            .max_buf_size(128 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        let (stop, cut, door) = (stop.clone(), cut.clone(), self.door.clone());
        connections.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                biased;
                _ = connection.as_mut() => {}
                // Nothing is cut before it was told to stop.
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        _ = connection => {}
                        () = cut.cancelled() => {}
                    }
                }
            }
            door.metrics.disconnected();
        });
    }

    async fn answer(self: Arc<Worker>, request: Request<Incoming>, ends: Ends) -> Response<Reply> {
        let (id, unix_ms) = self.door.new_id();
        let path = request.uri().path();
        let api = Api::at(path);
        let zone = if api.is_none() && control::is_control(path) { Zone::Control } else { Zone::Inference };
        let own = ends.own.map(|own| own.ip());
        if let Err(denied) = self.door.names.check(request.method(), request.uri(), request.headers(), own, zone) {
            self.door.metrics.denied();
            let (status, cause) = match denied {
                guard::Denied::ContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Cause::UnsupportedMediaType),
                _ => (StatusCode::FORBIDDEN, Cause::Forbidden),
            };
            return match api {
                Some(api) => reply::failure(&Failure::new(cause, denied.to_string()), api.dialect()),
                None => reply::full(status, "text/plain; charset=utf-8", format!("{denied}\n")),
            };
        }
        // Only what a browser sent asks for an answer that a page may read.
        let from_page = request.headers().contains_key(header::ORIGIN).then(|| request.headers().clone());
        let mut response = match (request.method(), api) {
            (&Method::OPTIONS, _) if from_page.is_some() => reply::empty(StatusCode::NO_CONTENT),
            (&Method::POST, Some(api)) => self.infer(api, request, id, unix_ms, ends.peer).await,
            (_, Some(api)) => not_allowed("POST", api.dialect()),
            (&Method::POST, None) if stored::is_count(path) => {
                let record = self.record(Api::Responses, id, unix_ms, ends.peer);
                stored::count(&self, request, record).await
            }
            (_, None) => self.answer_other(request, zone).await,
        };
        if let Some(asked) = from_page {
            let is_preflight =
                response.status() == StatusCode::NO_CONTENT && asked.contains_key("access-control-request-method");
            match is_preflight {
                true => guard::preflight(&asked, response.headers_mut()),
                false => guard::allow_origin(&asked, response.headers_mut()),
            }
        }
        let answer = response.headers_mut();
        answer.insert(headers::REQUEST_ID, headers::request_id(&id));
        answer.insert(headers::NODE, self.door.ready.node.clone());
        answer.insert(headers::INSTANCE, self.door.ready.instance.clone());
        response
    }

    fn record(&self, api: Api, id: RequestId, unix_ms: u64, peer: SocketAddr) -> Box<Record> {
        let Door { fleet, metrics, clock, .. } = &*self.door;
        let mut record = Record::new(fleet.clone(), metrics.clone(), *clock, id, unix_ms, api);
        record.trace_mut().client_ip = peer.ip().to_canonical().to_string();
        record
    }

    async fn infer(
        self: &Arc<Worker>,
        api: Api,
        request: Request<Incoming>,
        id: RequestId,
        unix_ms: u64,
        peer: SocketAddr,
    ) -> Response<Reply> {
        let door = &self.door;
        let (parts, body) = request.into_parts();
        let record = self.record(api, id, unix_ms, peer);
        let mut exchange = match Exchange::read(self.clone(), api, parts, body, record).await {
            Ok(exchange) => exchange,
            Err(refused) => {
                let (failure, mut record) = *refused;
                let response = reply::failure(&failure, api.dialect());
                record.end(Outcome::Rejected, response.status().as_u16(), Some(failure.message));
                return response;
            }
        };
        let model = exchange.record.trace().original_model.clone();
        if api == Api::OllamaShow
            && let Some(shown) = door.listings().show(&ModelName::new(&model))
        {
            exchange.record.end(Outcome::Completed, 200, None);
            return reply::full(StatusCode::OK, "application/json; charset=utf-8", shown);
        }
        if let Some(unloaded) = unloading::answer(self, api, &mut exchange).await {
            return unloaded;
        }
        if api == Api::CountTokens
            && let Some(counted) = counting::answer(self, &mut exchange)
        {
            return counted;
        }
        let can_wait = exchange.streamed && dialect::heartbeat(api, "", 0).is_some();
        let mut search: Search = Box::pin(exchange.run());
        let found = if can_wait {
            match tokio::time::timeout(door.settings.hold, &mut search).await {
                Ok(found) => found,
                Err(_) => {
                    let answer = Answer::late(search, api, model, door.clock);
                    let mut response = Response::new(Reply::Answer(Box::new(answer)));
                    let stream = HeaderValue::from_static(dialect::stream_content_type(api));
                    response.headers_mut().insert(header::CONTENT_TYPE, stream);
                    return response;
                }
            }
        } else {
            search.await
        };
        match found {
            Ok(Begun { status, headers, first, flow: Some(flow), record }) => {
                respond(status, headers, Reply::Answer(Box::new(Answer::begun(first, flow, record))))
            }
            Ok(Begun { status, headers, first, flow: None, .. }) => respond(status, headers, Reply::Full(Some(first))),
            Err(refused) => respond(refused.status, refused.headers, Reply::Full(Some(refused.body))),
        }
    }

    async fn answer_other(self: &Arc<Worker>, request: Request<Incoming>, zone: Zone) -> Response<Reply> {
        if zone == Zone::Control {
            return control::answer(&self.door, request).await;
        }
        let path = request.uri().path();
        if let Some(work) = manage::Work::at(path) {
            return match work.allows(request.method()) {
                true => manage::answer(self, work, request).await,
                false => not_allowed(work.allowed(), Dialect::Ollama),
            };
        }
        if let Some(response) = self.door.listings().answer(&request) {
            return response;
        }
        if let Some(response) = stored::answer(&self.door, &request) {
            return response;
        }
        let known = |path: &str| {
            Api::at(path).is_some() || manage::Work::at(path).is_some() || crate::listing::is_listing(path)
        };
        let shorter = path.trim_end_matches('/');
        if shorter.len() < path.len() && known(shorter) {
            // As Ollama does: after a 301, clients would repeat a POST as a GET.
            let mut response = reply::empty(match *request.method() {
                Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
                _ => StatusCode::TEMPORARY_REDIRECT,
            });
            let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
            response.headers_mut().insert(header::LOCATION, headers::value(&format!("{shorter}{query}")));
            return response;
        }
        not_found(path)
    }
}

async fn accept(listeners: &[TcpListener]) -> std::io::Result<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|cx| {
        for listener in listeners {
            if let std::task::Poll::Ready(accepted) = listener.poll_accept(cx) {
                return std::task::Poll::Ready(accepted);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

fn respond(status: StatusCode, headers: HeaderMap, body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The answer to a known path with a wrong method; Ollama's words on its own paths.
pub(crate) fn not_allowed(allow: &'static str, dialect: Dialect) -> Response<Reply> {
    let mut response = match dialect {
        Dialect::Ollama => {
            reply::full(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "405 method not allowed")
        }
        _ => reply::failure(&Failure::new(Cause::MethodNotAllowed, "method not allowed"), dialect),
    };
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

fn not_found(path: &str) -> Response<Reply> {
    if path.starts_with("/v1/messages") {
        reply::failure(&Failure::new(Cause::NotFound, format!("nothing is at {path}")), Dialect::Anthropic)
    } else if path.starts_with("/v1/") {
        reply::failure(&Failure::new(Cause::NotFound, format!("nothing is at {path}")), Dialect::OpenAi)
    } else {
        reply::full(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found")
    }
}
