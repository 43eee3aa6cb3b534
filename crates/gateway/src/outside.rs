//! What clients may do who come in by another way than this machine's own addresses.
//!
//! On a network: nothing without a key, not even learn who answers; with one, inference, lists and looking at the
//! dashboard. From a container: what programs of this machine may do who have no control token.

use std::net::IpAddr;

use dialect::{Cause, Failure};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use proto::{Api, Dialect};

use crate::door::Door;
use crate::entrance::Entrance;
use crate::guard::{Denied, Zone};
use crate::keys::{Limit, Limited, Pass, whole_seconds};
use crate::manage::Work;
use crate::reply::{self, Reply};

/// What is told to those who have no key: nothing else.
const NO_KEY: &str = "a valid key is needed";
/// What is told to those who have one and want more than it opens.
const NOT_HERE: &str = "this can only be asked for on the machine itself";

/// What is for this machine alone: it tells which programs use camera and microphone.
const PRIVATE: &str = "/fleet/share";

/// Lets a request in that came to `own` from `peer` by `entrance`, or answers it. What it brought to be let in is taken out
/// of it. The pass is held until the request is answered.
pub(crate) fn admit<B>(
    door: &Door,
    request: &mut Request<B>,
    api: Option<Api>,
    zone: Zone,
    (entrance, own, peer): (Entrance, Option<IpAddr>, IpAddr),
) -> Result<Option<Pass>, Box<Response<Reply>>> {
    let pass = match entrance {
        Entrance::Local => None,
        Entrance::Container => {
            check(door, request, own, zone, entrance, api)?;
            if zone == Zone::Control {
                // Of the control token nothing is known here.
                request.headers_mut().remove(header::AUTHORIZATION);
            }
            None
        }
        Entrance::Lan => {
            let holder = door.keys.holder(request.headers()).ok_or_else(|| Box::new(stranger(door, request, peer)))?;
            check(door, request, own, zone, entrance, api)?;
            request.headers_mut().remove(header::AUTHORIZATION);
            request.headers_mut().remove("x-api-key");
            let is_work = request.method() == Method::POST && api.is_some_and(Api::needs_slot);
            let pass = holder.enter(door.clock(), is_work);
            Some(pass.map_err(|limited| Box::new(reply::failure(&too_many(limited), dialect(request))))?)
        }
    };
    let path = request.uri().path();
    let is_look = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let is_work_on_models = Work::at(path).is_some() && entrance == Entrance::Lan;
    match zone {
        Zone::Control if !is_look || (entrance != Entrance::Local && path == PRIVATE) => {
            Err(Box::new(crate::control::refused(NOT_HERE)))
        }
        Zone::Inference if is_work_on_models => {
            Err(Box::new(reply::failure(&Failure::new(Cause::Forbidden, NOT_HERE), Dialect::Ollama)))
        }
        _ => Ok(pass),
    }
}

fn check<B>(
    door: &Door,
    request: &Request<B>,
    own: Option<IpAddr>,
    zone: Zone,
    entrance: Entrance,
    api: Option<Api>,
) -> Result<(), Box<Response<Reply>>> {
    let lan_name = door.lan_name();
    let name = lan_name.as_deref().map(String::as_str).filter(|_| entrance == Entrance::Lan);
    let checked =
        door.names.check_outside(request.method(), request.uri(), request.headers(), own, zone, (entrance, name));
    checked.map_err(|denied| Box::new(denial(door, denied, api)))
}

/// The answer to what the rules for Host and Origin forbid.
pub(crate) fn denial(door: &Door, denied: Denied, api: Option<Api>) -> Response<Reply> {
    door.metrics().denied();
    let (status, cause) = match denied {
        Denied::ContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Cause::UnsupportedMediaType),
        _ => (StatusCode::FORBIDDEN, Cause::Forbidden),
    };
    match api {
        Some(api) => reply::failure(&Failure::new(cause, denied.to_string()), api.dialect()),
        None => reply::full(status, "text/plain; charset=utf-8", format!("{denied}\n")),
    }
}

/// The answer to whoever has no key.
fn stranger<B>(door: &Door, request: &Request<B>, peer: IpAddr) -> Response<Reply> {
    door.metrics().denied();
    let failure = match door.keys.failed(peer, door.clock().now()) {
        Ok(()) => Failure::new(Cause::Unauthorized, NO_KEY),
        Err(wait) => {
            let seconds = whole_seconds(wait);
            let text = format!("{NO_KEY}; try again in {seconds} s");
            Failure { retry_after_s: Some(seconds), ..Failure::new(Cause::TooManyRequests, text) }
        }
    };
    let mut response = reply::failure(&failure, dialect(request));
    if failure.cause == Cause::Unauthorized {
        // A browser asks its user for a password then, which is where the key goes.
        let asks = match is_browser(request.headers()) {
            true => "Basic realm=\"key\", charset=\"UTF-8\"",
            false => "Bearer",
        };
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(asks));
    }
    response
}

fn too_many(Limited { limit, retry_after_s }: Limited) -> Failure {
    let most = match limit {
        Limit::PerMinute(most) => format!("{most} requests per minute"),
        Limit::AtOnce(most) => format!("{most} requests at once"),
    };
    let text = format!("this key is good for {most}; try again in {retry_after_s} s");
    Failure { retry_after_s: Some(retry_after_s), ..Failure::new(Cause::TooManyRequests, text) }
}

/// Whether a person with a browser calls.
fn is_browser(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

/// In which words the client is to be told something.
fn dialect<B>(request: &Request<B>) -> Dialect {
    let path = request.uri().path();
    match Api::at(path) {
        Some(api) => api.dialect(),
        None if path.starts_with("/v1/messages") || request.headers().contains_key("anthropic-version") => {
            Dialect::Anthropic
        }
        None if path.starts_with("/v1/") => Dialect::OpenAi,
        None => Dialect::Ollama,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_refused_in_their_own_words() {
        for (path, headers, expected) in [
            ("/api/chat", None, Dialect::Ollama),
            ("/api/version", None, Dialect::Ollama),
            ("/", None, Dialect::Ollama),
            ("/v1/chat/completions", None, Dialect::OpenAi),
            ("/v1/models", None, Dialect::OpenAi),
            ("/v1/models", Some("anthropic-version"), Dialect::Anthropic),
            ("/v1/messages", None, Dialect::Anthropic),
            ("/v1/messages/batches", None, Dialect::Anthropic),
            ("/dashboard", None, Dialect::Ollama),
        ] {
            let mut request = Request::get(path);
            if let Some(name) = headers {
                request = request.header(name, "2023-06-01");
            }
            assert_eq!(dialect(&request.body(()).unwrap()), expected, "{path}");
        }
    }
}
