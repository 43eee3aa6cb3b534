//! Headers: what goes to a backend, what comes back from it, and what Herd says about a request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
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
/// `X-Fleet-Ignored`.
pub(crate) const IGNORED: HeaderName = HeaderName::from_static("x-fleet-ignored");
/// `X-Fleet-Estimated`: what in the answer was not counted but estimated.
pub(crate) const ESTIMATED: HeaderName = HeaderName::from_static("x-fleet-estimated");
/// `X-Fleet-Instance`: by this a Herd knows its own door and keeps away from another's.
pub(crate) const INSTANCE: HeaderName = HeaderName::from_static("x-fleet-instance");
/// `X-Fleet-Queued-Ms`: how long the request waited for its turn, where it did.
pub(crate) const QUEUED: HeaderName = HeaderName::from_static("x-fleet-queued-ms");
/// `X-Fleet-Priority`: `interactive` or `batch`.
pub(crate) const PRIORITY: HeaderName = HeaderName::from_static("x-fleet-priority");
/// `X-Herd-Tags`.
pub(crate) const TAGS: HeaderName = HeaderName::from_static("x-herd-tags");

/// What the names of headers begin with that nodes tell each other beside a request; no backend sees them.
pub(crate) const BETWEEN_NODES: &str = "herd-";
/// `herd-issuer`: who placed the request.
pub(crate) const ISSUER: HeaderName = HeaderName::from_static("herd-issuer");
/// `herd-ahead`: requests that may wait before it.
pub(crate) const AHEAD: HeaderName = HeaderName::from_static("herd-ahead");
/// `herd-age-ms`: how long ago it came in.
pub(crate) const AGE: HeaderName = HeaderName::from_static("herd-age-ms");
/// `herd-model`: which of the models that it names is meant.
pub(crate) const MODEL: HeaderName = HeaderName::from_static("herd-model");
/// `herd-request`: its id at the door, for the logs of both.
pub(crate) const REQUEST: HeaderName = HeaderName::from_static("herd-request");
/// `herd-verdict`: what an error means for the door: `again`, `final` or `bounce`.
pub(crate) const VERDICT: HeaderName = HeaderName::from_static("herd-verdict");
/// `herd-facts`: what the node knows of the answer, as JSON.
pub(crate) const FACTS: HeaderName = HeaderName::from_static("herd-facts");

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

/// What of a client's headers a backend gets to see, besides the Host and the length, which are made anew.
///
/// Cookies, Origin and Referer are the browser's business; Accept-Encoding goes because answers are read on the way;
/// our own headers and our own token never leave.
pub(crate) fn for_backend<'a>(
    client: &'a HeaderMap,
    own_token: &'a str,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    const NEVER: [HeaderName; 8] = [
        header::HOST,
        header::ORIGIN,
        header::REFERER,
        header::COOKIE,
        header::ACCEPT_ENCODING,
        header::EXPECT,
        header::PROXY_AUTHORIZATION,
        TAGS,
    ];
    let named = client.get(header::CONNECTION).and_then(|value| value.to_str().ok());
    let is_named = move |name: &HeaderName| {
        named.is_some_and(|named| named.split(',').any(|word| word.trim().eq_ignore_ascii_case(name.as_str())))
    };
    // Under whatever name and in whatever words it was sent.
    let has_token = move |value: &HeaderValue| {
        !own_token.is_empty() && value.as_bytes().windows(own_token.len()).any(|window| window == own_token.as_bytes())
    };
    client.iter().filter(move |(name, value)| {
        !name.as_str().starts_with(BETWEEN_NODES)
            && !NEVER.contains(name)
            && !HOP_BY_HOP.contains(name)
            && !is_named(name)
            && !has_token(value)
    })
}

/// Whether a client gets to see a backend's header: not who it is, nor what it would allow web pages to do.
pub(crate) fn is_for_client(name: &HeaderName) -> bool {
    !HOP_BY_HOP.contains(name)
        && *name != header::SERVER
        && *name != header::SET_COOKIE
        && !name.as_str().starts_with("access-control-")
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

/// Any text as a header value: bytes other than letters, digits and `-._:/` as `%` and two digits.
pub(crate) fn escaped(text: &str) -> HeaderValue {
    let mut plain = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b':' | b'/' => plain.push(byte.into()),
            _ => plain.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::from_str(&plain).unwrap_or(HeaderValue::from_static(""))
}

/// The text of an [`escaped`] header; `None` where it is none.
pub(crate) fn unescaped(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Header values that are the same for many requests, made once.
#[derive(Debug)]
pub(crate) struct Ready {
    /// This node's shown name, which may change.
    node: ArcSwap<HeaderValue>,
    /// This door.
    pub(crate) instance: HeaderValue,
    backends: Mutex<BTreeMap<BackendId, HeaderValue>>,
}

impl Ready {
    pub(crate) fn new(node: &str, instance: &str) -> Ready {
        Ready {
            node: ArcSwap::from_pointee(value(node)),
            instance: value(instance),
            backends: Mutex::new(BTreeMap::new()),
        }
    }

    /// This node's shown name.
    pub(crate) fn node(&self) -> HeaderValue {
        HeaderValue::clone(&self.node.load())
    }

    /// The node is called `name` from now on.
    pub(crate) fn call(&self, name: &str) {
        self.node.store(Arc::new(value(name)));
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
    #[test]
    fn any_text_travels_in_a_header() {
        for text in ["llama3:8b", "größe 🦙%", ""] {
            assert_eq!(super::unescaped(super::escaped(text).to_str().unwrap()).as_deref(), Some(text));
        }
        assert_eq!(super::unescaped("a%4"), None);
        assert_eq!(super::unescaped("%ff"), None);
    }

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
        let sent: Vec<&str> = for_backend(&headers, "ours").map(|(name, _)| name.as_str()).collect();
        assert_eq!(sent, ["x-api-key"]);
    }

    #[test]
    fn a_backend_cannot_let_pages_in() {
        for (name, shown) in [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, false),
            (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, false),
            (header::SERVER, false),
            (header::SET_COOKIE, false),
            (header::TRANSFER_ENCODING, false),
            (header::CONTENT_TYPE, true),
            (header::RETRY_AFTER, true),
        ] {
            assert_eq!(is_for_client(&name), shown, "{name}");
        }
    }

    #[test]
    fn odd_names_become_plain_values() {
        for (text, shown) in [("llama3", "llama3"), ("bl\u{e4}h\nx", "bl?h?x"), ("bl\u{e4}h", "bl?h"), ("", "")] {
            assert_eq!(value(text).to_str().unwrap_or("?"), shown);
        }
    }
}
