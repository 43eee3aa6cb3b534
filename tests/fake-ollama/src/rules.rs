//! Who may ask: the Host check against DNS rebinding and the rules for browsers of other origins.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};

/// Request headers a browser of an allowed origin may send.
pub(crate) const ALLOWED_HEADERS: &str = "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,\
X-Stainless-Arch,X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,\
X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,\
X-Stainless-Runtime-Version,X-Stainless-Timeout";

/// Methods a browser of an allowed origin may use.
pub(crate) const ALLOWED_METHODS: &str = "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS";

/// What the request's Origin means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin<'a> {
    /// Not from a browser, or from the server's own page.
    None,
    Allowed(&'a str),
    Refused,
}

/// Judges the Origin header.
pub(crate) fn origin(headers: &HeaderMap) -> Origin<'_> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (origin, host) = (text(ORIGIN), text(HOST));
    if origin.is_empty() || origin == format!("http://{host}") || origin == format!("https://{host}") {
        return Origin::None;
    }
    let schemes = ["app://", "file://", "tauri://", "vscode-webview://", "vscode-file://"];
    let local = ["http://", "https://"].iter().filter_map(|scheme| origin.strip_prefix(scheme)).any(|rest| {
        let name = rest.rsplit_once(':').map_or(rest, |(name, _)| name);
        matches!(name, "localhost" | "127.0.0.1" | "0.0.0.0")
    });
    if local || schemes.iter().any(|scheme| origin.starts_with(scheme)) {
        Origin::Allowed(origin)
    } else {
        Origin::Refused
    }
}

/// Whether a server on loopback answers to this Host; `own` is the machine's name in small letters.
pub(crate) fn host_is_welcome(headers: &HeaderMap, own: &str) -> bool {
    let host = headers.get(HOST).map_or(Some(""), |value| value.to_str().ok());
    let Some(host) = host else { return false };
    let host = host.trim().to_ascii_lowercase();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name),
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        return match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_unspecified(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unspecified(),
        };
    }
    let ending = |end: &str| name.ends_with(end);
    name.is_empty()
        || name == "localhost"
        || name == own
        || ending(".localhost")
        || ending(".local")
        || ending(".internal")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(name: hyper::header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn hosts_that_are_answered() {
        for (host, welcome) in [
            ("127.0.0.1:11434", true),
            ("LOCALHOST", true),
            ("foo.local", true),
            ("foo.internal:80", true),
            ("192.168.7.7", true),
            ("[::1]:80", true),
            ("mine", true),
            ("", true),
            ("evil.example:21434", false),
            ("8.8.8.8", false),
        ] {
            assert_eq!(host_is_welcome(&headers(HOST, host), "mine"), welcome, "{host}");
        }
        assert!(host_is_welcome(&HeaderMap::new(), "mine"));
    }

    #[test]
    fn origins_that_are_allowed() {
        for (text, allowed) in [
            ("http://localhost:3000", true),
            ("https://127.0.0.1", true),
            ("app://obsidian.md", true),
            ("http://192.168.1.5:8080", false),
            ("https://evil.example", false),
            ("chrome-extension://abc", false),
            ("null", false),
        ] {
            let wanted = if allowed { Origin::Allowed(text) } else { Origin::Refused };
            assert_eq!(origin(&headers(ORIGIN, text)), wanted, "{text}");
        }
        assert_eq!(origin(&HeaderMap::new()), Origin::None);
    }
}
