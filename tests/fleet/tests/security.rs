//! Strangers at the door: what web pages, odd requests and lying servers try, and that none of it works.

use std::path::{Path, PathBuf};

use fleet_tests::{Answer, Backdrop, Fake, Herd, Wire, ask, eventually, exchange, free_port, get, post, raw};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");
/// Something that no program writes by itself.
const MARKER: &str = "xyzzyPlugh7193";

fn chat(text: &str) -> Value {
    json!({ "model": "tiny", "messages": [{ "role": "user", "content": text }], "stream": false, "max_tokens": 8 })
}

fn one() -> (Fake, Herd) {
    let fake = Fake::start(&["--models", "tiny"]);
    let herd = Herd::start(&[&fake.url]);
    (fake, herd)
}

/// The names of headers that only a door of this fleet sends, or that tell of models and machines.
fn tells_nothing(answer: &Answer) -> bool {
    !answer.headers.iter().any(|(name, _)| name.starts_with("x-fleet-") || name.starts_with("access-control-"))
        && !answer.body.contains("tiny")
        && !answer.body.contains("box")
}

#[test]
fn a_page_that_points_its_own_name_at_this_machine_is_refused() {
    let (fake, herd) = one();
    let port = herd.url.rsplit(':').next().unwrap().to_owned();
    let refused = [
        "evil.example",
        "evil.example:11435",
        "EVIL.example.",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "8.8.8.8",
        "192.168.1.5:11435",
        "0.0.0.0",
        "169.254.169.254",
        "[::2]",
        "[fe80::1]:80",
        "[::1",
        "[::1]evil.example",
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost:evil",
        "localhost/evil",
        "xlocalhost",
        "\u{e9}vil",
    ];
    for path in ["/api/tags", "/v1/models", "/", "/fleet/self", "/dashboard", "/metrics", "/nothing"] {
        for host in refused {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = raw(&herd.url, request).unwrap();
            assert!(matches!(answer.status, 400 | 403), "{path} {host}: {answer:?}");
            assert!(tells_nothing(&answer), "{path} {host}: {answer:?}");
        }
    }
    for host in ["localhost", "LocalHost:1", "localhost.", "127.0.0.1", "127.9.9.9:1", "[::1]:11435", "a.localhost", ""]
    {
        let request = format!("GET /api/tags HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(raw(&herd.url, request).unwrap().status, 200, "{host}");
    }
    for request in [
        "GET http://evil.example/api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET http://localhost/api/tags HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
        "GET http://localhost@evil.example/api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /api/tags HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n".to_owned(),
        "GET /api/tags HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /api/tags HTTP/1.1\r\nHost: localhost, evil.example\r\n\r\n".to_owned(),
        "CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
    ] {
        let answer = raw(&herd.url, &request).unwrap();
        assert!(matches!(answer.status, 400 | 403), "{request}: {answer:?}");
        assert!(tells_nothing(&answer), "{request}: {answer:?}");
    }
    let absolute = format!("GET http://localhost:{port}/api/tags HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    assert_eq!(raw(&herd.url, absolute).unwrap().status, 200);
    // A prompt from such a page reaches no server.
    let body = chat(MARKER).to_string();
    let answer = ask(&herd.at("/api/chat"), "POST", &[JSON, ("Host", "evil.example")], body.as_bytes());
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(fake.requests().is_empty());
}

#[test]
fn only_pages_of_local_tools_may_ask_for_inference() {
    let (fake, herd) = one();
    let own = herd.url.clone();
    let body = chat("hi").to_string();
    for (origin, allowed) in [
        ("http://localhost:3000", true),
        ("https://127.0.0.1", true),
        ("http://[::1]:8080", true),
        ("app://obsidian.md", true),
        ("tauri://localhost", true),
        ("vscode-webview://abc", true),
        ("chrome-extension://abcdef", true),
        ("moz-extension://abcdef", true),
        (own.as_str(), true),
        ("null", false),
        ("file://", false),
        ("file:///home/a.html", false),
        ("https://evil.example", false),
        ("http://localhost.evil.example", false),
        ("http://localhost@evil.example", false),
        ("http://192.168.1.5:8080", false),
        ("http://evil.example http://localhost", false),
        ("", false),
    ] {
        for (method, path) in [
            ("POST", "/api/chat"),
            ("POST", "/v1/chat/completions"),
            ("GET", "/api/tags"),
            ("GET", "/v1/models"),
            ("HEAD", "/"),
            ("GET", "/nothing"),
            ("DELETE", "/api/delete"),
            ("PUT", "/api/chat"),
        ] {
            let before = fake.requests().len();
            let body: &[u8] = if method == "POST" { body.as_bytes() } else { b"" };
            let answer = ask(&herd.at(path), method, &[JSON, ("Origin", origin)], body);
            let readable = answer.header("access-control-allow-origin");
            if allowed {
                assert_ne!(answer.status, 403, "{origin} {method} {path}: {answer:?}");
                assert_eq!(readable, Some(origin), "{method} {path}");
                assert_eq!(answer.header("vary"), Some("Origin"), "{method} {path}");
                assert!(answer.header("access-control-expose-headers").unwrap().contains("X-Fleet-Request-Id"));
                assert_eq!(answer.header("access-control-allow-credentials"), None);
            } else {
                assert_eq!(answer.status, 403, "{origin} {method} {path}: {answer:?}");
                assert!(tells_nothing(&answer), "{origin} {method} {path}: {answer:?}");
                assert_eq!(fake.requests().len(), before, "{origin} {method} {path} reached a server");
            }
        }
        let asks = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type,x-api-key,anthropic-version,x-stainless-os,x-herd-tags"),
            ("Access-Control-Request-Private-Network", "true"),
        ];
        for path in ["/api/chat", "/v1/messages", "/api/tags", "/nothing"] {
            let answer = ask(&herd.at(path), "OPTIONS", &asks, b"");
            if !allowed {
                assert_eq!(answer.status, 403, "{origin} {path}");
                assert!(tells_nothing(&answer), "{origin} {path}: {answer:?}");
                continue;
            }
            assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{origin} {path}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
            assert_eq!(answer.header("access-control-max-age"), Some("43200"));
            assert_eq!(answer.header("access-control-allow-private-network"), Some("true"));
            assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
            let may_send = answer.header("access-control-allow-headers").unwrap();
            assert!(["x-api-key", "anthropic-version"].iter().all(|name| may_send.contains(name)), "{may_send}");
        }
    }
    // Without an Origin it is not a preflight.
    let answer = ask(&herd.at("/api/chat"), "OPTIONS", &[], b"");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
}

#[test]
fn only_our_own_pages_may_read_the_control_paths() {
    let (_fake, herd) = one();
    post(&herd.at("/api/chat"), &chat("hi"));
    let port = herd.url.rsplit(':').next().unwrap();
    let (same, other_scheme) = (herd.url.clone(), herd.url.replace("http:", "https:"));
    // `localhost` is another origin than 127.0.0.1, and what runs on another port is another program.
    let other_name = format!("http://localhost:{port}");
    let paths = [
        "/fleet",
        "/fleet/self",
        "/fleet/status",
        "/fleet/queue",
        "/fleet/config",
        "/fleet/nothing",
        "/dashboard",
        "/dashboard/api/traces",
        "/dashboard/api/apps",
        "/metrics",
        "/openapi.json",
    ];
    for path in paths {
        let plain = get(&herd.at(path));
        assert_ne!(plain.status, 403, "{path}");
        assert_eq!(plain.header("access-control-allow-origin"), None, "{path}");
        let own = ask(&herd.at(path), "GET", &[("Origin", &same)], b"");
        assert_eq!((own.status, own.header("access-control-allow-origin")), (plain.status, Some(&*same)), "{path}");
        for origin in [
            "http://localhost:3000",
            "http://127.0.0.1",
            &other_scheme,
            &other_name,
            "null",
            "file://",
            "app://obsidian.md",
            "chrome-extension://abcdef",
            "https://evil.example",
        ] {
            for method in ["GET", "POST", "OPTIONS", "DELETE", "HEAD"] {
                let asks = [("Origin", origin), ("Access-Control-Request-Method", "GET")];
                let answer = ask(&herd.at(path), method, &asks, b"");
                assert_eq!(answer.status, 403, "{method} {path} for {origin}: {answer:?}");
                assert!(tells_nothing(&answer), "{method} {path} for {origin}: {answer:?}");
            }
        }
        // A page that found its way in by another name of this machine is of that name's origin only.
        let rebound = [("Host", "a.localhost"), ("Origin", "http://b.localhost")];
        assert_eq!(ask(&herd.at(path), "GET", &rebound, b"").status, 403, "{path}");
    }
    let page = get(&herd.at("/dashboard"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"), "{policy}");
    // Only scripts of our own, each in a file: what the policy allows and more could not run.
    let scripts: Vec<&str> = page.body.split("<script").skip(1).filter_map(|rest| rest.split('>').next()).collect();
    assert!(!policy.contains("unsafe") && !scripts.is_empty(), "{policy} {scripts:?}");
    assert!(scripts.iter().all(|script| script.contains("src=\"/dashboard/")), "{scripts:?}");
}

#[test]
fn a_page_cannot_send_what_browsers_send_without_asking() {
    let (fake, herd) = one();
    let body = chat("hi").to_string();
    for content_type in [
        "text/plain",
        "Text/Plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        for path in ["/api/chat", "/api/generate", "/v1/chat/completions", "/v1/messages"] {
            let before = fake.requests().len();
            let headers = [("Content-Type", content_type), ("Origin", "http://localhost:3000")];
            let answer = ask(&herd.at(path), "POST", &headers, body.as_bytes());
            assert_eq!(answer.status, 415, "{content_type} {path}: {answer:?}");
            assert!(answer.json()["error"].is_string() || answer.json()["error"]["message"].is_string(), "{answer:?}");
            assert_eq!(fake.requests().len(), before, "{content_type} {path}");
        }
    }
    // Ollama takes JSON under any name from programs, and so do we: `curl -d` says it is a form.
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"] {
        for path in ["/api/chat", "/v1/chat/completions"] {
            let answer = ask(&herd.at(path), "POST", &[("Content-Type", content_type)], body.as_bytes());
            assert_eq!(answer.status, 200, "{content_type} {path}: {answer:?}");
        }
    }
    assert_eq!(ask(&herd.at("/api/chat"), "POST", &[], body.as_bytes()).status, 200, "without any");
}

/// All files under `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The names of all files under the data directory, and of the log, that have `text` in them.
fn kept_in(herd: &Herd, text: &str) -> Vec<String> {
    let has = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let mut found: Vec<String> = files(herd.dir.path())
        .into_iter()
        .filter(|path| std::fs::read(path).is_ok_and(|bytes| has(&bytes)))
        .map(|path| path.display().to_string())
        .collect();
    if has(herd.said().as_bytes()) {
        found.push("standard error".to_owned());
    }
    found
}

#[test]
fn the_control_token_goes_nowhere() {
    let fake = Fake::start(&["--models", "tiny"]);
    let herd = Herd::start_with(&[&fake.url], &[("FLEET_LOG_LEVEL", "trace")]);
    let token = std::fs::read_to_string(herd.dir.path().join("control.token")).unwrap().trim().to_owned();
    assert!(token.len() >= 32);
    let body = chat("hi").to_string();
    let spellings = [
        ("Authorization", format!("Bearer {token}")),
        ("authorization", format!("bearer {token}")),
        ("Authorization", format!("Bearer  {token}")),
        ("Authorization", token.clone()),
        ("X-Api-Key", token.clone()),
        ("X-Fleet-Token", format!("token={token}; x")),
    ];
    let mut last = String::new();
    for (name, value) in &spellings {
        for path in ["/api/chat", "/v1/chat/completions", "/api/show", "/api/pull"] {
            let answer = ask(&herd.at(path), "POST", &[JSON, (name, value)], body.as_bytes());
            assert!(!format!("{answer:?}").contains(&token), "{name} {path}: {answer:?}");
            last = answer.header("x-fleet-request-id").unwrap_or_default().to_owned();
        }
    }
    let twice = [JSON, ("Authorization", "Bearer theirs"), ("Authorization", &*format!("Bearer {token}"))];
    last.clone_from(
        &ask(&herd.at("/api/chat"), "POST", &twice, body.as_bytes()).header("x-fleet-request-id").unwrap().into(),
    );
    herd.trace(&last);
    let all = get(&format!("{}/_fake/requests", fake.url)).body;
    assert!(all.contains("/api/chat") && !all.contains(&token), "the token reached a backend");
    for path in ["/fleet/self", "/fleet/config", "/fleet/doctor", "/dashboard", "/dashboard/api/traces", "/metrics"] {
        assert!(!get(&herd.at(path)).body.contains(&token), "{path}");
    }
    let kept = kept_in(&herd, &token);
    assert!(kept.len() == 1 && kept[0].ends_with("control.token"), "{kept:?}");
}

#[test]
fn a_key_for_the_backend_passes_and_what_is_the_browsers_does_not() {
    let (fake, herd) = one();
    let headers = [
        JSON,
        ("Authorization", "Bearer sk-theirs"),
        ("X-Api-Key", "sk-theirs-too"),
        ("Cookie", "session=secret"),
        ("Origin", "http://localhost:3000"),
        ("Referer", "http://localhost:3000/secret"),
        ("Connection", "keep-alive, X-Private"),
        ("X-Private", "hop"),
        ("Proxy-Authorization", "Basic secret"),
        ("X-Herd-Tags", "a,b"),
        ("TE", "trailers"),
    ];
    for path in ["/api/chat", "/v1/chat/completions", "/v1/messages"] {
        let answer = ask(&herd.at(path), "POST", &headers, chat("hi").to_string().as_bytes());
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let sent = fake.requests().pop().unwrap();
        let header = |name: &str| {
            let all = sent["headers"].as_array().unwrap().iter();
            all.clone().find(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap().to_owned())
        };
        assert_eq!(header("authorization").as_deref(), Some("Bearer sk-theirs"), "{sent}");
        assert_eq!(header("x-api-key").as_deref(), Some("sk-theirs-too"), "{sent}");
        assert_eq!(header("host").unwrap(), fake.url.trim_start_matches("http://"), "{sent}");
        for gone in
            ["cookie", "origin", "referer", "x-private", "proxy-authorization", "x-herd-tags", "te", "connection"]
        {
            assert_eq!(header(gone), None, "{path}: {gone}");
        }
    }
}

#[test]
fn a_backend_cannot_let_pages_in() {
    let fake = Fake::start(&["--models", "tiny"]);
    // llama-server answers every origin so.
    let headers = "Access-Control-Allow-Origin: https://evil.example\r\nAccess-Control-Allow-Credentials: true\r\n\
                   Access-Control-Expose-Headers: *\r\nSet-Cookie: a=b\r\nServer: leaky/1.0\r\n";
    let open = Backdrop::start(&fake.url, headers, |_, _| None);
    let herd = Herd::start(&[&open.url]);
    for (path, body) in [
        ("/api/chat", chat("hi")),
        ("/v1/chat/completions", chat("hi")),
        ("/api/chat", json!({ "model": "tiny", "messages": 7 })),
        ("/api/pull", json!({ "model": "tiny" })),
    ] {
        for origin in [None, Some("http://localhost:3000")] {
            let mut sent = vec![JSON];
            sent.extend(origin.map(|origin| ("Origin", origin)));
            let answer = ask(&herd.at(path), "POST", &sent, body.to_string().as_bytes());
            assert_eq!(answer.header("access-control-allow-origin"), origin, "{path}: {answer:?}");
            for gone in ["access-control-allow-credentials", "set-cookie", "server"] {
                assert_eq!(answer.header(gone), None, "{path}: {answer:?}");
            }
        }
    }
}

#[test]
fn odd_paths_lead_nowhere() {
    let (fake, herd) = one();
    let token_free = |answer: &Answer| !answer.body.contains("pid") && !answer.body.contains("\"backends\"");
    for path in [
        "//api/tags",
        "/api/../fleet/self",
        "/api/./tags",
        "/v1/models/../../fleet/self",
        "/v1/models/..%2f..%2ffleet%2fself",
        "/fleet%2fself",
        "/FLEET/self",
        "//fleet/self",
        "/fleet/traces/..%2f..%2fconfig",
        "/api/me",
        "/api/signout",
        "/api/user/keys",
        "/_fake/requests",
        "/slots",
        "/props",
        "/api/tags%00",
        "/api/tags;a=b",
        "/dashboard/../api/tags",
        "/dashboard/%2e%2e/fleet/self",
        "/dashboard/nodes/..%2f..%2ffleet/self",
        "/%2e%2e/%2e%2e/etc/passwd",
    ] {
        for method in ["GET", "POST"] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            let answer = raw(&herd.url, request).unwrap();
            assert!((400..500).contains(&answer.status), "{method} {path}: {answer:?}");
            assert!(token_free(&answer), "{method} {path}: {answer:?}");
        }
    }
    assert!(fake.requests().is_empty(), "{:?}", fake.requests());
    let to_server = get(&format!("{}/_fake/requests", fake.url)).body;
    // A blob's digest is no way around.
    for path in [
        "/api/blobs/../me",
        "/api/blobs/..%2fme",
        "/api/blobs/%2e%2e/signout",
        "/api/blobs/sha256:a/../../me",
        "/api/blobs/",
    ] {
        for method in ["POST", "HEAD"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let answer = Wire::open(&herd.url).tap(request);
            assert!(answer.contains(" 404 ") || answer.contains(" 400 "), "{method} {path}: {answer}");
        }
    }
    let after = get(&format!("{}/_fake/requests", fake.url)).body;
    assert_eq!(to_server.matches("blobs").count(), after.matches("blobs").count(), "a path passed through");
    // A slash too many is forgiven as Ollama does it, and leads to this machine only.
    for (method, status) in [("GET", 301), ("HEAD", 301)] {
        let answer = ask(&herd.at("/api/tags/"), method, &[], b"");
        assert_eq!((answer.status, answer.header("location")), (status, Some("/api/tags")), "{answer:?}");
    }
    let answer = ask(&herd.at("/api/chat/"), "POST", &[JSON], chat("hi").to_string().as_bytes());
    assert_eq!((answer.status, answer.header("location")), (307, Some("/api/chat")), "a 301 would turn it into a GET");
}

#[test]
fn an_id_that_is_none_is_the_clients_mistake() {
    let (_fake, herd) = one();
    for id in ["%", "%00", "%25%25%25%25%25%25", "______", "x", "'%20OR%201=1--", &"a".repeat(5000)] {
        let answer = get(&herd.at(&format!("/fleet/traces/{id}")));
        assert!(matches!(answer.status, 400 | 404), "{id}: {answer:?}");
        assert!(answer.json()["error"].is_string(), "{id}: {answer:?}");
    }
}

trait Tap {
    fn tap(self, request: String) -> String;
}

impl Tap for Wire {
    /// Sends a request and reads all that comes.
    fn tap(mut self, request: String) -> String {
        self.send(request);
        self.rest()
    }
}

#[test]
fn nobody_smuggles_a_request_in_another() {
    let (fake, herd) = one();
    let chat = chat("hi").to_string();
    let inner = "GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let chunked = format!("{:x}\r\n{chat}\r\n0\r\n\r\n", chat.len());
    let head = "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let length = chat.len();
    // What can be read in two ways is refused, or read in the one way of RFC 9112 section 6.3 and the connection closed.
    for (request, statuses) in [
        (format!("{head}Content-Length: {length}\r\nContent-Length: {}\r\n\r\n{chat}", length + 5), &[400][..]),
        (format!("{head}Content-Length: 5, {length}\r\n\r\n{chat}"), &[400]),
        (format!("{head}Content-Length: +{length}\r\n\r\n{chat}"), &[400]),
        (format!("{head}Content-Length: -1\r\n\r\n{chat}"), &[400]),
        (format!("{head}Content-Length: 99999999999999999999999\r\n\r\n{chat}"), &[400, 413]),
        (format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{chunked}"), &[200, 400]),
        (format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"), &[200, 400]),
        (format!("{head}Transfer-Encoding: xchunked\r\n\r\n{chunked}"), &[400, 501]),
        (format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n{chunked}"), &[400, 501]),
        (format!("{head}Transfer-Encoding : chunked\r\n\r\n{chunked}"), &[400]),
        (format!("{head}X: a\r\n Transfer-Encoding: chunked\r\n\r\n{chunked}"), &[400]),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x};ext=\"a\"\r\n{chat}\r\n0\r\n\r\n", length), &[200, 400]),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\n-5\r\n{chat}\r\n0\r\n\r\n"), &[400]),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{chat}\r\n0\r\n\r\n"), &[400]),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\n{chat}\n0\n\n", length), &[200, 400]),
        ("POST /api/chat HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), &[400]),
        ("GET /api/tags HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n".to_owned(), &[400]),
        ("GET /api/tags HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n".to_owned(), &[400]),
        ("GET /api/ta gs HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), &[400]),
        ("GET /api/tags HTTP/3.7\r\nHost: localhost\r\n\r\n".to_owned(), &[400, 505]),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".to_owned(), &[400]),
    ] {
        let before = fake.requests().len();
        let mut wire = Wire::open(&herd.url);
        wire.send(&request);
        let answer = wire.answer().unwrap_or_else(|| panic!("no answer to {request:?}"));
        assert!(statuses.contains(&answer.status), "{request:?}: {answer:?}");
        assert_eq!(wire.rest(), "", "{request:?} was two requests");
        let reached = fake.requests().split_off(before);
        assert_eq!(reached.len(), usize::from(answer.status == 200), "{request:?}");
        for sent in reached {
            // Herd names the context that the model is loaded with, and changes nothing else.
            let body = sent["body"].as_str().unwrap().replacen("\"options\":{\"num_ctx\":4096},", "", 1);
            assert_eq!(body, chat.as_str(), "the backend got something else of {request:?}");
            let framings = sent["headers"].as_array().unwrap().iter();
            let framings = framings.filter(|pair| pair[0] == "content-length" || pair[0] == "transfer-encoding");
            assert_eq!(framings.count(), 1, "{sent}");
        }
    }
    // What follows a body of a told length is a request of its own, for us and not for the backend.
    let mut wire = Wire::open(&herd.url);
    wire.send(format!("POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{chat}{inner}"));
    assert_eq!(wire.answer().unwrap().header("x-fleet-backend").map(str::is_empty), Some(false));
    assert!(wire.answer().unwrap().body.contains("herd"), "answered by the door itself");
    let body =
        fake.requests().last().unwrap()["body"].as_str().unwrap().replacen("\"options\":{\"num_ctx\":4096},", "", 1);
    assert_eq!(body, chat.as_str());
}

#[test]
fn a_models_name_adds_no_header() {
    let fake = Fake::start(&["--models", "tiny"]);
    let herd = Herd::start(&[&fake.url]);
    for name in [
        "a\r\nX-Evil: 1",
        "a\nX-Evil: 1",
        "tiny\r\n\r\nHTTP/1.1 200 OK",
        "bl\u{e4}h\u{1f42e}",
        "\0",
        "a\u{7f}",
        "\u{85}",
    ] {
        for stream in [true, false] {
            let mut body = chat("hi");
            body["model"] = json!(name);
            body["stream"] = json!(stream);
            let answer = post(&herd.at("/api/chat"), &body);
            assert!(matches!(answer.status, 400 | 404), "{name:?}: {answer:?}");
            assert_eq!(answer.header("x-evil"), None, "{name:?}");
            // The same as what is served instead.
            body["fallback_models"] = json!(["tiny"]);
            let answer = post(&herd.at("/api/chat"), &body);
            assert_eq!(answer.header("x-evil"), None, "{name:?}: {answer:?}");
            let shown = answer.header("x-fleet-requested-model").unwrap_or("");
            assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name:?} is shown as {shown:?}");
        }
    }
}

#[test]
fn herds_do_not_call_each_other_in_circles() {
    let fake = Fake::start(&["--models", "tiny"]);
    let first = Herd::start(&[&fake.url]);
    // One that was given its own door, and that of another Herd.
    let port = free_port();
    let own = format!("http://127.0.0.1:{port}");
    let second = Herd::start_when(port, &[&own, &first.url], &[], |status| status["backends"].is_array());
    eventually("both doors to be looked at", || {
        let status = get(&second.at("/fleet/self")).json();
        let looked_at = status["backends"].as_array()?.iter().all(|backend| backend["health"] != "loading");
        looked_at.then_some(())
    });
    let status = get(&second.at("/fleet/self")).json();
    assert!(status["backends"].as_array().unwrap().iter().all(|backend| backend["health"] != "up"), "{status}");
    assert_eq!(get(&second.at("/api/tags")).json()["models"], json!([]));
    let answer = post(&second.at("/api/chat"), &chat("hi"));
    assert!(matches!(answer.status, 404 | 503), "{answer:?}");
    assert!(fake.requests().is_empty());
}

#[cfg(unix)]
#[test]
fn the_data_directory_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let fake = Fake::start(&["--models", "tiny"]);
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("fleet");
    let herd = Herd::start_with(&[&fake.url], &[("FLEET_DATA_DIR", dir.to_str().unwrap())]);
    let id = post(&herd.at("/api/chat"), &chat("hi")).header("x-fleet-request-id").unwrap().to_owned();
    herd.trace(&id);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700, "{:o}", mode(&dir));
    let found = files(&dir);
    assert!(found.iter().any(|path| path.ends_with("control.token")) && found.len() > 2, "{found:?}");
    let open: Vec<String> = found
        .iter()
        .filter(|path| mode(path) & 0o077 != 0)
        .map(|path| format!("{} {:o}", path.display(), mode(path)))
        .collect();
    assert!(open.is_empty(), "others can read {open:?}");
}

#[test]
fn no_prompt_and_no_answer_is_kept() {
    let fake = Fake::start(&["--models", "tiny"]);
    // Servers that quote the prompt in their errors, as llama-server and vLLM do.
    let quoting = Backdrop::start(&fake.url, "", |path, body| {
        let answered = |status: u16, body: String| {
            let length = body.len();
            Some(format!(
                "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            ))
        };
        let quoted = String::from_utf8_lossy(body).into_owned();
        match path {
            "/v1/chat/completions" => {
                let text = format!("Failed to parse messages: bad role; messages = {quoted}");
                answered(
                    400,
                    json!({ "error": { "code": 400, "message": text, "type": "invalid_request_error" } }).to_string(),
                )
            }
            "/v1/completions" => {
                answered(422, json!({ "detail": [{ "loc": ["body"], "msg": "wrong", "input": quoted }] }).to_string())
            }
            "/v1/embeddings" => answered(
                500,
                json!({ "error": { "message": format!("Failed to parse input at pos 3: {quoted}") } }).to_string(),
            ),
            "/api/generate" => {
                answered(500, json!({ "error": format!("error parsing tool call: raw='{quoted}', err=x") }).to_string())
            }
            _ => None,
        }
    });
    let herd = Herd::start_with(&[&quoting.url], &[("FLEET_LOG_LEVEL", "trace")]);
    let mut ids = Vec::new();
    for path in [
        "/api/chat",
        "/api/generate",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/api/embed",
    ] {
        for stream in [true, false] {
            let body = json!({
                "model": "tiny", "stream": stream, "prompt": MARKER, "input": MARKER, "max_tokens": 8, "system": MARKER,
                "messages": [{ "role": "user", "content": MARKER }],
            });
            ids.extend(post(&herd.at(path), &body).header("x-fleet-request-id").map(str::to_owned));
        }
    }
    // Bodies that cannot be read, or that no server may have. Questions about models leave no trace.
    for body in [
        format!(r#"{{"model":"tiny","messages":[{{"role":"user","content":"{MARKER}"#),
        format!(r#"{{"model":"tiny","prompt":"{MARKER}","a":}}"#),
        format!("{MARKER} {MARKER}"),
        format!(r#"{{"model":7,"prompt":"{MARKER}"}}"#),
        format!(r#"{{"model":"nope","prompt":"{MARKER}"}}"#),
        format!(r#"{{"model":"tiny","messages":"{MARKER}","stream":"{MARKER}"}}"#),
        format!(r#"{{"model":"tiny","options":{{"num_ctx":"{MARKER}"}},"messages":[]}}"#),
    ] {
        for path in ["/api/chat", "/api/show", "/api/pull", "/v1/responses"] {
            let answer = ask(&herd.at(path), "POST", &[JSON], body.as_bytes());
            ids.extend(
                answer
                    .header("x-fleet-request-id")
                    .filter(|_| !["/api/pull", "/api/show"].contains(&path))
                    .map(str::to_owned),
            );
        }
    }
    // One that is cut off, and one that leaves.
    fake.fault(&json!({ "kind": "cut_after", "after": 2, "times": 1 }));
    let mut body = chat(MARKER);
    body["stream"] = json!(true);
    ids.extend(post(&herd.at("/api/chat"), &body).header("x-fleet-request-id").map(str::to_owned));
    drop(exchange(&herd.at("/api/chat"), &body));
    for id in &ids {
        herd.trace(id);
    }
    for path in ["/dashboard/api/traces?limit=1000", "/fleet/self", "/fleet/queue", "/metrics", "/dashboard"] {
        assert!(!get(&herd.at(path)).body.contains(MARKER), "{path}");
    }
    let kept = kept_in(&herd, MARKER);
    assert!(kept.is_empty(), "the prompt is in {kept:?}");
    let kept = kept_in(&herd, "This reply");
    assert!(kept.is_empty(), "the answer is in {kept:?}");
}
