//! Who may call: the rules for Host and Origin that keep web pages out.
//!
//! A page can make a browser send requests to this machine. Two rules stop it: `Host` must be a name of this machine
//! (a page that points its own domain at 127.0.0.1 fails here), and `Origin`, which browsers send with whatever a page
//! asks for, must be one of those that local tools have. Programs that are not browsers send no Origin and pass.

use std::net::IpAddr;

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::entrance::Entrance;

/// What a request may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Inference and listings: pages of local tools may call.
    Inference,
    /// The dashboard and everything under `/fleet`: our own pages only.
    Control,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// The Host header names another machine.
    #[error("this Host is not a name of this machine")]
    Host,
    /// The Origin is not allowed.
    #[error("this Origin may not call here")]
    Origin,
    /// A page sent a body that browsers send without asking first.
    #[error("a web page must send Content-Type: application/json")]
    ContentType,
}

/// The names that this machine has.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    host_name: String,
}

impl Names {
    pub(crate) fn new(host_name: &str) -> Names {
        Names { host_name: host_name.to_ascii_lowercase() }
    }

    /// Whether the request may go on. `own` is the address that the client reached.
    pub(crate) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        own: Option<IpAddr>,
        zone: Zone,
    ) -> Result<(), Denied> {
        rules(
            method,
            uri,
            headers,
            |authority| self.is_own(authority, own),
            |origin, host| match zone {
                Zone::Inference => is_local_tool(origin),
                Zone::Control => is_own_page(origin, host),
            },
        )
    }

    /// The same for a client that came in by another way than this machine's own addresses; `name` is what the fleet is
    /// called on the network.
    pub(crate) fn check_outside(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        own: Option<IpAddr>,
        zone: Zone,
        (entrance, name): (Entrance, Option<&str>),
    ) -> Result<(), Denied> {
        let is_own = |authority: &str| self.is_own_outside(authority, own, entrance, name);
        rules(method, uri, headers, is_own, |origin, host| match zone {
            Zone::Inference => is_local_tool(origin) || is_own_page(origin, host),
            Zone::Control => is_own_page(origin, host),
        })
    }

    fn is_own_outside(&self, authority: &str, own: Option<IpAddr>, entrance: Entrance, name: Option<&str>) -> bool {
        let Some(host) = host_part(authority) else { return false };
        if let Ok(ip) = host.parse::<IpAddr>() {
            return own.is_some_and(|own| own.to_canonical() == ip.to_canonical());
        }
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        match entrance {
            Entrance::Local => self.is_own(authority, own),
            Entrance::Container => matches!(host, "host.docker.internal" | "host.containers.internal"),
            Entrance::Lan => name.is_some_and(|name| name.eq_ignore_ascii_case(host)) || self.is_called(host),
        }
    }

    /// Whether `host`, in lower case, is what this machine calls itself.
    fn is_called(&self, host: &str) -> bool {
        !self.host_name.is_empty()
            && (host == self.host_name || host.strip_suffix(".local").is_some_and(|name| name == self.host_name))
    }

    fn is_own(&self, authority: &str, own: Option<IpAddr>) -> bool {
        let Some(host) = host_part(authority) else { return false };
        if host.is_empty() {
            return true;
        }
        if let Ok(ip) = host.parse::<IpAddr>() {
            return ip.is_loopback() || own.is_some_and(|own| own.to_canonical() == ip.to_canonical());
        }
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        host.ends_with(".localhost")
            || matches!(host, "localhost" | "host.docker.internal" | "host.containers.internal")
            || self.is_called(host)
    }
}

/// The rules, with who we are and which pages may call.
fn rules(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    is_own: impl Fn(&str) -> bool,
    may_call: impl Fn(&str, &str) -> bool,
) -> Result<(), Denied> {
    let host = match headers.get(HOST) {
        Some(host) => host.to_str().map_err(|_| Denied::Host)?,
        None => "",
    };
    if headers.get_all(HOST).iter().nth(1).is_some() || !is_own(host) {
        return Err(Denied::Host);
    }
    if uri.authority().is_some_and(|authority| !is_own(authority.as_str())) {
        return Err(Denied::Host);
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().map_err(|_| Denied::Origin)?;
    if !may_call(origin, host) {
        return Err(Denied::Origin);
    }
    if *method == Method::POST && is_sent_without_asking(headers) {
        return Err(Denied::ContentType);
    }
    Ok(())
}

/// Whether a page that this door served asks.
fn is_own_page(origin: &str, host: &str) -> bool {
    origin.strip_prefix("http://").is_some_and(|rest| rest.eq_ignore_ascii_case(host))
}

/// The host of `host:port`, without the brackets of an IPv6 address; `None` of what is not of that form.
fn host_part(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.rfind(':').unwrap_or(authority.len())),
    };
    let is_port = port.strip_prefix(':').map_or(port.is_empty(), |port| port.bytes().all(|byte| byte.is_ascii_digit()));
    (is_port && !host.contains('@')).then_some(host)
}

/// Ollama's list of origins without `null` and `file:`, which any downloaded page has, and with browser extensions.
fn is_local_tool(origin: &str) -> bool {
    const SCHEMES: [&str; 7] = [
        "app://",
        "tauri://",
        "vscode-webview://",
        "vscode-file://",
        "chrome-extension://",
        "moz-extension://",
        "safari-web-extension://",
    ];
    if SCHEMES.iter().any(|scheme| origin.len() > scheme.len() && origin.starts_with(scheme)) {
        return true;
    }
    let Some(authority) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    let Some(host) = host_part(authority) else { return false };
    host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// Whether a page could have sent this body without a preflight, in which the browser asks first.
fn is_sent_without_asking(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return false };
    let media = content_type.to_str().unwrap_or("text/plain").split(';').next().unwrap_or("").trim();
    ["text/plain", "application/x-www-form-urlencoded"].iter().any(|simple| media.eq_ignore_ascii_case(simple))
}

/// Tells the browser of an allowed page that it may read the answer.
pub(crate) fn allow_origin(headers: &HeaderMap, answer: &mut HeaderMap) {
    let Some(origin) = headers.get(ORIGIN) else { return };
    answer.insert(http::header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    answer.append(http::header::VARY, HeaderValue::from_static("Origin"));
    answer.insert(
        http::header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "X-Fleet-Request-Id, X-Fleet-Node, X-Fleet-Backend, X-Fleet-Served-Model, X-Fleet-Requested-Model, \
             X-Fleet-Retries, X-Fleet-Score, X-Fleet-Fallback, X-Fleet-Context, X-Fleet-Ignored",
        ),
    );
}

/// The answer to a preflight of an allowed page.
pub(crate) fn preflight(headers: &HeaderMap, answer: &mut HeaderMap) {
    const ASKED: HeaderName = HeaderName::from_static("access-control-request-headers");
    const NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
    allow_origin(headers, answer);
    answer.insert(
        http::header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"),
    );
    if let Some(asked) = headers.get(ASKED) {
        answer.insert(http::header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    if headers.contains_key(NETWORK) {
        answer
            .insert(HeaderName::from_static("access-control-allow-private-network"), HeaderValue::from_static("true"));
    }
    answer.insert(http::header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("43200"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>, content_type: Option<&str>, zone: Zone) -> Result<(), Denied> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        }
        let own = Some("172.17.0.1".parse().unwrap());
        Names::new("Studio").check(&Method::POST, &Uri::from_static("/api/chat"), &headers, own, zone)
    }

    #[test]
    fn only_names_of_this_machine_are_hosts() {
        for host in [
            "localhost",
            "localhost:11435",
            "LOCALHOST:1",
            "127.0.0.1:11435",
            "127.8.9.1",
            "[::1]:11435",
            "app.localhost:11435",
            "host.docker.internal:11435",
            "host.containers.internal",
            "172.17.0.1:11435",
            "studio:11435",
            "studio.local",
            "localhost.",
            "",
        ] {
            assert_eq!(check(host, None, None, Zone::Inference), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:11435",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "8.8.8.8",
            "192.168.7.7:11435",
            "[::2]:11435",
            "[::1",
            "[::1]evil.example",
            "[::1]:80@evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost:evil",
            "xlocalhost",
            "foo.local",
            "169.254.169.254",
        ] {
            assert_eq!(check(host, None, None, Zone::Inference), Err(Denied::Host), "{host}");
        }
    }

    #[test]
    fn each_way_in_has_names_of_its_own() {
        use Entrance::{Container, Lan};
        for (entrance, host, allowed) in [
            (Lan, "10.0.0.5:11435", true),
            (Lan, "10.0.0.6:11435", false),
            (Lan, "herd-abc.local:11435", true),
            (Lan, "HERD-abc.local.", true),
            (Lan, "studio.local", true),
            (Lan, "herd-abc.local.evil.example", false),
            (Lan, "localhost:11435", false),
            (Lan, "127.0.0.1:11435", false),
            (Lan, "host.docker.internal:11435", false),
            (Lan, "evil.example", false),
            (Lan, "", false),
            (Container, "host.docker.internal:11435", true),
            (Container, "host.containers.internal", true),
            (Container, "10.0.0.5:11435", true),
            (Container, "herd-abc.local", false),
            (Container, "localhost", false),
            (Container, "studio", false),
            (Container, "evil.example", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            let own = Some("10.0.0.5".parse().unwrap());
            let check = |headers: &HeaderMap, zone| {
                let (uri, name) = (Uri::from_static("/api/chat"), Some("herd-abc.local"));
                Names::new("studio").check_outside(&Method::POST, &uri, headers, own, zone, (entrance, name))
            };
            assert_eq!(check(&headers, Zone::Inference).is_ok(), allowed, "{entrance:?} {host}");
            if allowed {
                // The dashboard's own page may call; pages from elsewhere may not.
                headers.insert(ORIGIN, HeaderValue::from_str(&format!("http://{host}")).unwrap());
                assert_eq!(check(&headers, Zone::Control), Ok(()), "{host}");
                assert_eq!(check(&headers, Zone::Inference), Ok(()), "{host}");
                headers.insert(ORIGIN, HeaderValue::from_static("http://10.0.0.9"));
                assert_eq!(check(&headers, Zone::Inference), Err(Denied::Origin), "{host}");
            }
        }
    }

    #[test]
    fn only_local_tools_are_origins() {
        for (origin, inference, control) in [
            ("http://localhost:3000", true, false),
            ("https://127.0.0.1", true, false),
            ("http://[::1]:8080", true, false),
            ("http://localhost:11435", true, true),
            ("https://localhost:11435", true, false),
            ("app://obsidian.md", true, false),
            ("tauri://localhost", true, false),
            ("vscode-webview://abc", true, false),
            ("chrome-extension://abcdef", true, false),
            ("moz-extension://abcdef", true, false),
            ("null", false, false),
            ("file://", false, false),
            ("file:///home/a.html", false, false),
            ("https://evil.example", false, false),
            ("http://localhost.evil.example", false, false),
            ("http://localhost@evil.example", false, false),
            ("http://localhost:1@evil.example", false, false),
            ("http://localhost/evil.example", false, false),
            ("http://127.0.0.1.evil.example", false, false),
            ("http://192.168.1.5:8080", false, false),
            ("app://", false, false),
            ("", false, false),
        ] {
            let json = Some("application/json");
            let expected = |allowed: bool| if allowed { Ok(()) } else { Err(Denied::Origin) };
            assert_eq!(check("localhost:11435", Some(origin), json, Zone::Inference), expected(inference), "{origin}");
            assert_eq!(check("localhost:11435", Some(origin), json, Zone::Control), expected(control), "{origin}");
        }
    }

    #[test]
    fn a_page_cannot_send_what_needs_no_preflight() {
        let page = Some("http://localhost:3000");
        for (content_type, allowed) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("multipart/form-data; boundary=x", true),
            ("text/plain", false),
            ("Text/Plain;charset=UTF-8", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            let answer = check("localhost", page, Some(content_type), Zone::Inference);
            assert_eq!(answer.is_ok(), allowed, "{content_type}");
            assert_eq!(check("localhost", None, Some(content_type), Zone::Inference), Ok(()), "curl, {content_type}");
        }
    }
}
