//! Requests that doors of other nodes have sent here: served by this node's own backends, and never sent on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use dialect::{Cause, Failure};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use proto::{Api, NodeId};

use super::Facts;
use crate::answer::Answer;
use crate::exchange::{Begun, Exchange};
use crate::fleet::{AwayBody, Guest, GuestPass};
use crate::headers;
use crate::record::{Epilogue, Record};
use crate::reply::{self, Reply};
use crate::unloading;
use crate::worker::Worker;

/// Requests that a guest may find waiting before it, whatever it says.
const MOST_AHEAD: u32 = 64;

impl Worker {
    /// Serves a request of another node's door with this node's own backends. Dropping it, or the answer's body, cancels it.
    pub async fn serve_node(self: Arc<Worker>, from: NodeId, request: Request<Incoming>) -> Response<AwayBody> {
        let Some(api) = Api::at(request.uri().path()) else {
            return boxed(reply::empty(StatusCode::NOT_FOUND), None);
        };
        if request.method() != Method::POST {
            return boxed(reply::empty(StatusCode::METHOD_NOT_ALLOWED), None);
        }
        let door = self.door().clone();
        let pass = match door.fleet().admit_guest() {
            Ok(pass) => pass,
            Err(reason) => return bounced(&reason, api),
        };
        let (parts, body) = request.into_parts();
        let (guest, told) = Told::read(from, &parts.headers);
        let (id, unix_ms) = door.new_id();
        let epilogue = Epilogue::default();
        let mut record = Record::new(door.fleet().clone(), door.metrics.clone(), door.clock(), id, unix_ms, api);
        record.is_for_guest(epilogue.clone());
        let exchange = match Exchange::read(self.clone(), api, parts, body, record).await {
            Ok(exchange) => exchange,
            Err(refused) => {
                let (failure, mut record) = *refused;
                let mut response = reply::failure(&failure, api.dialect());
                record.end(proto::Outcome::Rejected, response.status().as_u16(), Some(failure.message));
                response.headers_mut().insert(headers::VERDICT, HeaderValue::from_static("final"));
                return boxed(response, None);
            }
        };
        if told.request.is_some() {
            tracing::debug!(%from, request = told.request, id = id.as_str(), "serving a request of another machine");
        }
        let mut exchange = exchange.for_guest(guest, told.model, told.age);
        if let Some(shown) = exchange.shown() {
            exchange.record.end(proto::Outcome::Completed, 200, None);
            return boxed(reply::full(StatusCode::OK, "application/json; charset=utf-8", shown), None);
        }
        if let Some(unloaded) = unloading::answer(&self, api, &mut exchange).await {
            return boxed(unloaded, None);
        }
        let found = exchange.run().await;
        match found {
            Ok(Begun { status, headers, first, flow, record }) => {
                let facts = Facts::of(record.trace());
                let body = match flow {
                    Some(flow) => Reply::Answer(Box::new(Answer::begun(first, flow, record))),
                    None => {
                        drop(record);
                        Reply::Full(Some(first))
                    }
                };
                let mut response = Response::new(body);
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                response.headers_mut().insert(headers::FACTS, facts.value());
                boxed(response, Some((epilogue, pass)))
            }
            Err(refused) => {
                let mut response = Response::new(Reply::Full(Some(refused.body)));
                *response.status_mut() = refused.status;
                *response.headers_mut() = refused.headers;
                let verdict = match (refused.is_bounce, refused.is_final) {
                    (true, _) => "bounce",
                    (false, true) => "final",
                    (false, false) => "again",
                };
                response.headers_mut().insert(headers::VERDICT, HeaderValue::from_static(verdict));
                boxed(response, None)
            }
        }
    }

    /// Closes connections to backends that have been idle for long. For workers that serve no clients; call it every few
    /// seconds.
    pub fn sweep(&self) {
        self.pool().sweep();
    }
}

/// What the door says beside the request.
struct Told {
    model: Option<String>,
    age: Duration,
    request: Option<String>,
}

impl Told {
    fn read(from: NodeId, headers: &HeaderMap) -> (Guest, Told) {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let number = |name| text(name).and_then(|text| text.parse::<u64>().ok());
        let ahead = number(headers::AHEAD).and_then(|ahead| u32::try_from(ahead).ok()).unwrap_or(0).min(MOST_AHEAD);
        let issuer = text(headers::ISSUER).and_then(|id| id.parse().ok()).unwrap_or(from);
        // Older than a day is a mistake, and would let it go before everybody else.
        let age = Duration::from_millis(number(headers::AGE).unwrap_or(0).min(24 * 3600 * 1000));
        let model = text(headers::MODEL).and_then(headers::unescaped).filter(|model| !model.is_empty());
        (Guest { from, issuer, ahead }, Told { model, age, request: text(headers::REQUEST).map(str::to_owned) })
    }
}

fn bounced(reason: &str, api: Api) -> Response<AwayBody> {
    let failure = Failure::new(Cause::Unavailable, format!("this machine takes no requests of others: {reason}"));
    let mut response = reply::failure(&failure, api.dialect());
    response.headers_mut().insert(headers::VERDICT, HeaderValue::from_static("bounce"));
    boxed(response, None)
}

fn boxed(response: Response<Reply>, guest: Option<(Epilogue, GuestPass)>) -> Response<AwayBody> {
    let (parts, reply) = response.into_parts();
    let body = match guest {
        Some((epilogue, pass)) => AwayBody::new(WithFacts { reply, epilogue: Some(epilogue), _pass: pass }),
        None => AwayBody::new(reply.map_err(Into::into)),
    };
    Response::from_parts(parts, body)
}

/// An answer with what is known of it in a trailer.
struct WithFacts {
    reply: Reply,
    epilogue: Option<Epilogue>,
    /// The request runs as long as its answer does.
    _pass: GuestPass,
}

impl Body for WithFacts {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.reply).poll_frame(cx) {
            Poll::Ready(None) => {
                let trailers = this.epilogue.take().and_then(|epilogue| epilogue.take()).map(|trace| {
                    let mut trailers = HeaderMap::new();
                    trailers.insert(headers::FACTS, Facts::of(&trace).value());
                    Ok(Frame::trailers(trailers))
                });
                Poll::Ready(trailers)
            }
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(cut))) => Poll::Ready(Some(Err(cut.into()))),
            Poll::Pending => Poll::Pending,
        }
    }
}
