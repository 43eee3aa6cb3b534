//! Headers: what goes to a backend, what comes back from it, and what Herd says about a request.

use std::collections::BTreeMap;
use std::sync::Mutex;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use proto::{BackendId, RequestId};

/// `X-Fleet-Request-Id`.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-fleet-request-id");
/// `X-Fleet-Node`.
pub(crate) const NODE: HeaderName = HeaderName::from_static("x-fleet-node");
/// `X-Fleet-Backend`.
pub(crate) const BACKEND: HeaderName = HeaderName::from_static("x-fleet-backend");
/// `X-Fleet-Served-Model`.
pub(crate) const SERVED_MODEL: HeaderName = HeaderName::from_static("x-fleet-served-model");
/// `X-Fleet-Requested-Model`.
pub(crate) const REQUESTED_MODEL: HeaderName = HeaderName::from_static("x-fleet-requested-model");
/// `X-Fleet-Retries`.
pub(crate) const RETRIES: HeaderName = HeaderName::from_static("x-fleet-retries");
/// `X-Fleet-Score`.
pub(crate) const SCORE: HeaderName = HeaderName::from_static("x-fleet-score");
/// `X-Fleet-Fallback`.
pub(crate) const FALLBACK: HeaderName = HeaderName::from_static("x-fleet-fallback");
/// `X-Fleet-Context`.
pub(crate) const CONTEXT: HeaderName = HeaderName::from_static("x-fleet-context");
/// `X-Fleet-Instance`: by this a Herd knows its own door and keeps away from another's.
pub(crate) const INSTANCE: HeaderName = HeaderName::from_static("x-fleet-instance");
/// `X-Herd-Tags`.
pub(crate) const TAGS: HeaderName = HeaderName::from_static("x-herd-tags");

/// Headers that belong to one connection (RFC 9110 section 7.6.1) or that the next one makes anew.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
];

/// What of a client's headers a backend gets to see, with `host` as its Host.
///
/// Cookies, Origin and Referer are the browser's business; Accept-Encoding goes because answers are read on the way;
/// our own headers and our own token never leave.
pub(crate) fn for_backend(mut headers: HeaderMap, host: HeaderValue, own_token: &str) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    for name in [
        header::ORIGIN,
        header::REFERER,
        header::COOKIE,
        header::ACCEPT_ENCODING,
        header::EXPECT,
        header::PROXY_AUTHORIZATION,
        TAGS,
    ] {
        headers.remove(name);
    }
    // Under whatever name and in whatever words it was sent.
    let has_token = |value: &HeaderValue| {
        value.as_bytes().windows(own_token.len().max(1)).any(|window| window == own_token.as_bytes())
    };
    let with_token: Vec<HeaderName> =
        headers.iter().filter(|(_, value)| has_token(value)).map(|(name, _)| name.clone()).collect();
    for name in with_token {
        headers.remove(name);
    }
    headers.insert(header::HOST, host);
    headers
}

/// What of a backend's headers a client gets to see: not who it is, nor what it would allow web pages to do.
pub(crate) fn for_client(mut headers: HeaderMap) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    headers.remove(header::SERVER);
    headers.remove(header::SET_COOKIE);
    let cors: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
    for name in cors {
        headers.remove(name);
    }
    headers
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(named) = headers.get(header::CONNECTION).cloned() {
        for name in named.to_str().unwrap_or("").split(',') {
            let name = name.trim();
            if !name.eq_ignore_ascii_case("close") && !name.eq_ignore_ascii_case("keep-alive") {
                headers.remove(name);
            }
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// `text` as a header value; bytes that may not stand there become `?`.
pub(crate) fn value(text: &str) -> HeaderValue {
    let is_plain = |c: char| (' '..='~').contains(&c);
    // The type would take bytes above 127 too, which clients read in different ways.
    let plain = match text.bytes().all(|byte| is_plain(byte.into())) {
        true => HeaderValue::from_str(text),
        false => HeaderValue::from_str(&text.chars().map(|c| if is_plain(c) { c } else { '?' }).collect::<String>()),
    };
    plain.unwrap_or(HeaderValue::from_static("?"))
}

/// Header values that are the same for many requests, made once.
#[derive(Debug)]
pub(crate) struct Ready {
    /// This node's shown name.
    pub(crate) node: HeaderValue,
    /// This door.
    pub(crate) instance: HeaderValue,
    backends: Mutex<BTreeMap<BackendId, HeaderValue>>,
}

impl Ready {
    pub(crate) fn new(node: &str, instance: &str) -> Ready {
        Ready { node: value(node), instance: value(instance), backends: Mutex::new(BTreeMap::new()) }
    }

    /// The name of a backend. There are as many as the owner has servers.
    pub(crate) fn backend(&self, id: &BackendId) -> HeaderValue {
        let mut known = self.backends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match known.get(id) {
            Some(value) => value.clone(),
            None => {
                let made = value(id.as_str());
                known.insert(id.clone(), made.clone());
                made
            }
        }
    }
}

/// A request id as a header value.
pub(crate) fn request_id(id: &RequestId) -> HeaderValue {
    value(id.as_str())
}

/// A number as a header value.
pub(crate) fn number(number: i64) -> HeaderValue {
    match number {
        0 => HeaderValue::from_static("0"),
        50 => HeaderValue::from_static("50"),
        _ => HeaderValue::from(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_hop_goes_further() {
        let mut headers = HeaderMap::new();
        for (name, text) in [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("cookie", "a=b"),
            ("origin", "http://localhost:1"),
            ("authorization", "bearer  ours"),
            ("x-token", "ours"),
            ("x-herd-tags", "a"),
            ("x-api-key", "theirs"),
            ("host", "localhost:11435"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(text));
        }
        let sent = for_backend(headers, HeaderValue::from_static("127.0.0.1:11434"), "ours");
        let names: Vec<&str> = sent.keys().map(HeaderName::as_str).collect();
        assert_eq!(sent["host"], "127.0.0.1:11434");
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(sent["x-api-key"], "theirs");
    }

    #[test]
    fn a_backend_cannot_let_pages_in() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::SERVER, HeaderValue::from_static("x"));
        let shown = for_client(headers);
        assert_eq!(shown.len(), 1);
    }

    #[test]
    fn odd_names_become_plain_values() {
        for (text, shown) in [("llama3", "llama3"), ("bl\u{e4}h\nx", "bl?h?x"), ("bl\u{e4}h", "bl?h"), ("", "")] {
            assert_eq!(value(text).to_str().unwrap_or("?"), shown);
        }
    }
}
