//! One thread's share of the door: accepts connections, checks each request, and hands it to whoever answers it.
//!
//! Runs until told to stop, then lets requests end for a while. Holds no more connections than [`crate::Limits`] allows.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use proto::{Api, Dialect, Outcome, RequestId};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{Answer, Search};
use crate::door::Door;
use crate::entrance::{Arrival, Entrance, Gates};
use crate::exchange::{Begun, Exchange};
use crate::guard::{self, Zone};
use crate::headers::{self};
use crate::keys::Pass;
use crate::record::Record;
use crate::reply::{self, Reply};
use crate::stored::{self};
use crate::upstream::Pool;
use crate::{control, counting, manage, outside, unloading};

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
    entrance: Entrance,
}

impl Worker {
    pub(crate) fn new(door: Arc<Door>, pool: Pool) -> Arc<Worker> {
        Arc::new(Worker { door, pool })
    }

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
        let mut ways = self.door.entries.watch();
        let mut gates = Gates::new(listeners, &stop);
        gates.follow(&ways.borrow_and_update());
        let mut sweep = tokio::time::interval(Duration::from_secs(2));
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = sweep.tick() => self.pool.sweep(),
                // The door, which says so, lives as long as this worker.
                _ = ways.changed() => gates.follow(&ways.borrow_and_update()),
                accepted = gates.accept(&self.door.entries) => match accepted {
                    Ok(arrival) => self.take_in(arrival, &connections, &cut),
                    Err(error) => {
                        // Out of file descriptors, most likely: give connections a moment to end.
                        tracing::warn!(%error, "cannot accept connections");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
        drop(gates);
        // A page that watches would hold up the end until its time is over.
        self.door.feed().close();
        connections.close();
        if tokio::time::timeout(grace, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "cutting requests that did not end in time");
            cut.cancel();
            connections.wait().await;
        }
    }

    fn take_in(
        self: &Arc<Worker>,
        Arrival { stream, peer, entrance, stop, counted }: Arrival,
        connections: &TaskTracker,
        cut: &CancellationToken,
    ) {
        if self.door.metrics.connected() > self.door.settings.limits.connections {
            self.door.metrics.disconnected();
            return;
        }
        let _ = stream.set_nodelay(true);
        let ends = Ends { peer, own: stream.local_addr().ok(), entrance };
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
        let (cut, door) = (cut.clone(), self.door.clone());
        connections.spawn(async move {
            let _counted = counted;
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

    async fn answer(self: Arc<Worker>, mut request: Request<Incoming>, ends: Ends) -> Response<Reply> {
        let (id, unix_ms) = self.door.new_id();
        let path = request.uri().path();
        let api = Api::at(path);
        let own = ends.own.map(|own| own.ip());
        let zone = if api.is_none() && control::is_control(path) { Zone::Control } else { Zone::Inference };
        let pass = match ends.entrance {
            Entrance::Local => {
                let checked = self.door.names.check(request.method(), request.uri(), request.headers(), own, zone);
                if let Err(denied) = checked {
                    return outside::denial(&self.door, denied, api);
                }
                None
            }
            way => match outside::admit(&self.door, &mut request, api, zone, (way, own, ends.peer.ip())) {
                Ok(pass) => pass,
                Err(response) => return *response,
            },
        };
        let path = request.uri().path();
        // Only what a browser sent asks for an answer that a page may read.
        let from_page = request.headers().contains_key(header::ORIGIN).then(|| request.headers().clone());
        let mut response = match (request.method(), api) {
            (&Method::OPTIONS, _) if from_page.is_some() => reply::empty(StatusCode::NO_CONTENT),
            (&Method::POST, Some(api)) => self.infer(api, request, id, unix_ms, (ends.peer, pass)).await,
            (_, Some(api)) => reply::not_allowed("POST", api.dialect()),
            (&Method::POST, None) if stored::is_count(path) => {
                let record = self.record(Api::Responses, id, unix_ms, (ends.peer, pass));
                stored::count(&self, request, record).await
            }
            (_, None) => self.answer_other(request, zone, pass).await,
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
        answer.entry(headers::NODE).or_insert_with(|| self.door.ready.node());
        answer.insert(headers::INSTANCE, self.door.ready.instance.clone());
        response
    }

    fn record(&self, api: Api, id: RequestId, unix_ms: u64, (peer, pass): (SocketAddr, Option<Pass>)) -> Box<Record> {
        let Door { fleet, metrics, clock, .. } = &*self.door;
        let mut record = Record::new(fleet.clone(), metrics.clone(), *clock, id, unix_ms, api);
        record.trace_mut().client_ip = peer.ip().to_canonical().to_string();
        if let Some(pass) = pass {
            record.admitted(pass);
        }
        record
    }

    async fn infer(
        self: &Arc<Worker>,
        api: Api,
        request: Request<Incoming>,
        id: RequestId,
        unix_ms: u64,
        from: (SocketAddr, Option<Pass>),
    ) -> Response<Reply> {
        let door = &self.door;
        let (parts, body) = request.into_parts();
        let record = self.record(api, id, unix_ms, from);
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
        if let Some(shown) = exchange.shown() {
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

    async fn answer_other(
        self: &Arc<Worker>,
        request: Request<Incoming>,
        zone: Zone,
        pass: Option<Pass>,
    ) -> Response<Reply> {
        if zone == Zone::Control {
            return control::answer(&self.door, request).await;
        }
        let path = request.uri().path();
        if let Some(work) = manage::Work::at(path) {
            return match work.allows(request.method()) {
                true => manage::answer(self, work, request).await,
                false => reply::not_allowed(work.allowed(), Dialect::Ollama),
            };
        }
        if let Some(response) = self.door.listings().answer(&request) {
            return response;
        }
        if let Some(response) = stored::answer(&self.door, &request, pass.as_ref().map(|pass| &**pass.name())) {
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
        reply::not_found(path)
    }
}

fn respond(status: StatusCode, headers: HeaderMap, body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
