//! A request on its way from this door to another node.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::{Cause, Failure, StreamWatch};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use proto::{Api, NodeId, RequestId, Server};

use super::{AwayInflow, Facts};
use crate::exchange::{Wait, Wrong, cause, first_content, is_stream, retry_after};
use crate::fleet::{AwayBody, Fleet};
use crate::headers;
use crate::source::Source;

/// Bytes of an error answer that are read, and how long they may take.
const ERROR_MOST: usize = 64 * 1024;
const ERROR_LONGEST: Duration = Duration::from_secs(5);

/// What of a request travels, made once for all its attempts.
#[derive(Clone)]
pub(crate) struct Kit {
    pub(crate) fleet: Arc<dyn Fleet>,
    pub(crate) api: Api,
    pub(crate) path_and_query: Arc<str>,
    /// The client's headers, as far as a backend may see them.
    pub(crate) headers: HeaderMap,
    /// `None`: it flows through, and is given with the one attempt there can be.
    pub(crate) body: Option<Bytes>,
    pub(crate) streamed: bool,
    pub(crate) request_id: RequestId,
}

/// Where a request goes, and by whose word.
pub(crate) struct Leg {
    pub(crate) server: Server,
    pub(crate) issuer: Option<NodeId>,
    pub(crate) ahead: u32,
    /// The model that is meant, as the client wrote it.
    pub(crate) model: String,
    /// Since it came in.
    pub(crate) age: Duration,
}

/// How an attempt at another node ended.
pub(crate) enum Went {
    /// With an answer whose first content is there.
    Begun(Box<Arrived>),
    /// The node had no room: no attempt.
    Bounced,
    /// With an error that another node may not make.
    Again(Wrong),
    /// With an error that all would make.
    Final(Wrong),
}

/// An answer that has begun.
pub(crate) struct Arrived {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) first: Bytes,
    /// Whether `first` is all of it.
    pub(crate) is_all: bool,
    pub(crate) streamed: bool,
    pub(crate) source: Source,
    pub(crate) watch: StreamWatch,
    pub(crate) facts: Facts,
}

impl Kit {
    /// Sends the request to another node and waits for the first content. May be dropped: then it is cancelled there.
    /// `flowing` is its body where the kit has none.
    pub(crate) async fn go(self, leg: Leg, flowing: Option<AwayBody>) -> Went {
        let name = leg.server.name.clone();
        let fails = |how: &str| Wrong::ours(Failure::new(Cause::BadGateway, format!("the machine `{name}` {how}")));
        let body = match (flowing, self.body.clone()) {
            (Some(flowing), _) => flowing,
            (None, body) => AwayBody::new(Full::new(body.unwrap_or_default()).map_err(|never| match never {})),
        };
        let Some(request) = self.request(&leg, body) else {
            return Went::Final(Wrong::ours(Failure::new(
                Cause::BadRequest,
                "the path of this request cannot be sent on",
            )));
        };
        let response = match self.fleet.send(leg.server.id, request).await {
            Ok(response) => response,
            Err(how) => return Went::Again(fails(&format!("cannot be asked: {how}"))),
        };
        let (parts, body) = response.into_parts();
        if !parts.status.is_success() {
            return self.refused(parts, AwayInflow::new(body), &leg).await;
        }
        let facts = Facts::read(&parts.headers).unwrap_or_default();
        let streamed = self.streamed && is_stream(&parts.headers);
        let mut watch = StreamWatch::new(self.api, streamed);
        let mut source = Source::Node(AwayInflow::new(body));
        match first_content(&mut source, &mut watch, None, streamed).await {
            Ok((first, is_all)) => Went::Begun(Box::new(Arrived {
                status: parts.status,
                headers: for_client(parts.headers),
                first,
                is_all,
                streamed,
                source,
                watch,
                facts,
            })),
            Err(Wait::Broken(broken)) => Went::Again(fails(&broken.to_string())),
            Err(Wait::Nothing) => Went::Again(fails("ended its answer without saying anything")),
            Err(Wait::Said(text)) => Went::Again(Wrong::ours(Failure::new(Cause::BadGateway, text))),
        }
    }

    fn request(&self, leg: &Leg, body: AwayBody) -> Option<Request<AwayBody>> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path_and_query.parse().ok()?;
        let travels = request.headers_mut();
        travels.clone_from(&self.headers);
        travels.insert(headers::REQUEST, headers::request_id(&self.request_id));
        travels.insert(headers::AHEAD, HeaderValue::from(leg.ahead));
        travels.insert(headers::AGE, HeaderValue::from(u64::try_from(leg.age.as_millis()).unwrap_or(u64::MAX)));
        travels.insert(headers::MODEL, headers::escaped(&leg.model));
        if let Some(issuer) = leg.issuer {
            travels.insert(headers::ISSUER, headers::value(&issuer.full()));
        }
        Some(request)
    }

    /// Reads an error answer, which is in the client's own words already.
    async fn refused(&self, parts: http::response::Parts, mut inflow: AwayInflow, leg: &Leg) -> Went {
        let mut body = BytesMut::new();
        let _ = tokio::time::timeout(ERROR_LONGEST, async {
            while let Some(Ok(bytes)) = inflow.bytes().await {
                body.extend_from_slice(&bytes[..bytes.len().min(ERROR_MOST - body.len())]);
                if body.len() >= ERROR_MOST {
                    break;
                }
            }
        })
        .await;
        let body = body.freeze();
        let verdict = parts.headers.get(headers::VERDICT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if verdict == "bounce" {
            return Went::Bounced;
        }
        let is_final = verdict == "final";
        let status = parts.status;
        let said = dialect::error_text(&body);
        let said = match said.is_empty() {
            true => format!("the machine `{}` answered {}", leg.server.name, status.as_u16()),
            false => said,
        };
        let mut failure = Failure::new(cause(status.as_u16()), said);
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            failure.retry_after_s = Some(retry_after(&parts.headers));
        }
        // A node that does not say so speaks of something else than this request.
        let wrong = match verdict.is_empty() || body.is_empty() || status.as_u16() < 400 {
            true => Wrong::ours(failure),
            false => Wrong { status, headers: for_client(parts.headers), body: Some(body), failure },
        };
        if is_final { Went::Final(wrong) } else { Went::Again(wrong) }
    }
}

/// What of another node's headers the client gets to see: what its backend said. What Herd says is said by this door.
fn for_client(mut given: HeaderMap) -> HeaderMap {
    let ours = |name: &str| name.starts_with(headers::BETWEEN_NODES) || name.starts_with("x-fleet-");
    let own: Vec<_> = given
        .keys()
        .filter(|name| {
            (ours(name.as_str()) && **name != headers::IGNORED && **name != headers::ESTIMATED)
                || !headers::is_for_client(name)
        })
        .cloned()
        .collect();
    for name in own {
        given.remove(name);
    }
    given.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    given
}
