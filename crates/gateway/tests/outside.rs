//! Clients that come in by other ways than this machine's own addresses: over a network, and from containers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod scripted;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::{Entrance, Entry, Key, Network};
use scripted::{Backend, Connection, DONE, House, LINE, NDJSON, chunk, whole};
use sha2::{Digest as _, Sha256};

const KEY: &str = "herd-abcdefghijklmnopqrstuvwxyz234567";

/// A door with a key, and a way in beside its own.
struct Open {
    house: House,
    entry: Arc<Entry>,
    address: SocketAddr,
}

impl Open {
    async fn new(backends: &[&Backend], entrance: Entrance, at_once: Option<u32>, networks: Vec<Network>) -> Open {
        let house = House::new(backends, Duration::from_secs(3600), 1 << 20).await;
        let hash = Sha256::digest(KEY.as_bytes()).into();
        house.door.keys_changed(&[Key { name: "nas".to_owned(), hash, rpm: None, at_once }]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let entry = Entry::new(entrance, listener, networks);
        house.door.enter_by(vec![entry.clone()]);
        Open { house, entry, address }
    }

    async fn lan(backends: &[&Backend]) -> Open {
        Open::new(backends, Entrance::Lan, None, Vec::new()).await
    }

    async fn call(&self, what: &str, headers: &str, body: &str) -> Connection {
        let (address, length) = (self.address, body.len());
        let head = format!("{what} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        House::call(address, &head).await
    }

    /// The whole answer to a request without more to come on its connection.
    async fn ask(&self, what: &str, headers: &str, body: &str) -> String {
        self.call(what, &format!("Connection: close\r\n{headers}"), body).await.rest().await
    }
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

#[tokio::test]
async fn without_a_key_nothing_is_told() {
    for (what, body) in [
        ("GET /", "{\"error\":"),
        ("HEAD /", ""),
        ("GET /api/version", "{\"error\":"),
        ("GET /api/tags", "{\"error\":"),
        ("GET /v1/models", "\"code\":\"invalid_api_key\""),
        ("GET /dashboard", "{\"error\":"),
        ("GET /fleet/self", "{\"error\":"),
        ("GET /fleet/keys", "{\"error\":"),
        ("GET /metrics", "{\"error\":"),
        ("GET /nothing", "{\"error\":"),
        ("OPTIONS /api/chat", "{\"error\":"),
        ("POST /api/chat", "{\"error\":"),
        ("POST /v1/chat/completions", "\"code\":\"invalid_api_key\""),
        ("POST /v1/messages", "\"type\":\"authentication_error\""),
        ("POST /fleet/leave", "{\"error\":"),
        ("DELETE /api/delete", "{\"error\":"),
    ] {
        let open = Open::lan(&[]).await;
        // The control token is no key.
        for headers in ["", "Authorization: Bearer secret\r\n", "x-api-key: herd-\r\n"] {
            let answer = open.ask(what, headers, "{}").await;
            let (head, text) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 401") && text.contains(body), "{what}: {answer}");
            let known = answer.to_ascii_lowercase();
            for word in ["herd", "ollama", "fleet", "here", "version"] {
                assert!(!known.contains(word), "{what} tells {word}: {answer}");
            }
        }
        open.house.end(0).await;
    }
}

#[tokio::test]
async fn a_browser_asks_its_user_for_the_key() {
    let open = Open::lan(&[]).await;
    let answer = open.ask("GET /dashboard", "Accept: text/html,*/*\r\n", "").await;
    assert!(answer.contains("www-authenticate: Basic realm=\"key\""), "{answer}");
    // `any:` and the key.
    let basic = "Authorization: Basic YW55OmhlcmQtYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoyMzQ1Njc=\r\n";
    let answer = open.ask("GET /dashboard", basic, "").await;
    assert!(!answer.starts_with("HTTP/1.1 401"), "{answer}");
    let answer = open.ask("GET /api/version", basic, "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"version\""), "{answer}");
    open.house.end(0).await;
}

#[tokio::test]
async fn who_guesses_has_to_wait_and_who_has_a_key_has_not() {
    let open = Open::lan(&[]).await;
    for _ in 0..10 {
        assert!(open.ask("GET /api/tags", &bearer("herd-wrong"), "").await.starts_with("HTTP/1.1 401"));
    }
    let answer = open.ask("POST /v1/messages", "", "").await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("rate_limit_error"), "{answer}");
    let seconds = answer.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((1..=60).contains(&seconds.parse::<u32>().unwrap()), "{answer}");
    assert!(open.ask("GET /api/tags", &bearer(KEY), "").await.starts_with("HTTP/1.1 200"));
    open.house.end(0).await;
}

#[tokio::test]
async fn with_a_key_one_may_ask_and_look_and_change_nothing() {
    let open = Open::lan(&[]).await;
    for what in ["GET /api/tags", "GET /v1/models", "GET /api/version", "GET /", "GET /openapi.json", "GET /metrics"] {
        let answer = open.ask(what, &bearer(KEY), "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
    }
    // The view of the fleet itself is the test's own, and empty.
    assert!(open.ask("GET /fleet/nodes", &bearer(KEY), "").await.contains("nothing to see"));
    let both = format!("Authorization: Bearer secret\r\nx-api-key: {KEY}\r\n");
    for what in [
        "POST /fleet/leave",
        "POST /fleet/load",
        "POST /fleet/keys",
        "POST /fleet/keys/revoke",
        "POST /fleet/pair",
        "POST /fleet/share",
        "GET /fleet/share",
        "HEAD /fleet/share",
        "POST /dashboard/api/ticket",
        "POST /dashboard/api/session",
        "DELETE /dashboard/api/session",
        "POST /api/pull",
        "POST /api/create",
        "POST /api/copy",
        "DELETE /api/delete",
        "POST /api/blobs/sha256:00",
        "HEAD /api/blobs/sha256:00",
    ] {
        let answer = open.ask(what, &both, "{}").await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{what}: {answer}");
    }
    let answer = open.ask("GET /fleet/keys", &both, "").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "the control token opens nothing here: {answer}");
    assert!(open.house.fleet.changes.lock().unwrap().is_empty());
    for host in ["localhost", "evil.example", "192.168.7.7"] {
        let request = format!("GET /api/tags HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{}\r\n", bearer(KEY));
        let answer = House::call(open.address, &request).await.rest().await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{host}: {answer}");
    }
    open.house.door.called_on_lan(Some("herd-1a2b3c4d.local".to_owned()));
    let request = format!(
        "GET /api/tags HTTP/1.1\r\nHost: herd-1a2b3c4d.local:11435\r\nConnection: close\r\n{}\r\n",
        bearer(KEY)
    );
    assert!(House::call(open.address, &request).await.rest().await.starts_with("HTTP/1.1 200"));
    open.house.end(0).await;
}

#[tokio::test]
async fn the_key_is_in_the_trace_and_goes_no_further() {
    let backend = Backend::new().await;
    let open = Open::lan(&[&backend]).await;
    let headers = format!("Connection: close\r\nx-api-key: {KEY}\r\n{}", bearer("sk-other"));
    let body = r#"{"model":"m","messages":[],"stream":false}"#;
    let mut client = open.call("POST /api/chat", &headers, body).await;
    let mut served = backend.accept().await;
    let head = served.until("\r\n\r\n").await.to_ascii_lowercase();
    assert!(!head.contains("herd-abc") && !head.contains("authorization") && !head.contains("x-api-key"), "{head}");
    served.send(&whole(DONE)).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 200"));
    assert_eq!(open.house.end(1).await[0].client_key.as_deref(), Some("nas"));
}

#[tokio::test]
async fn a_key_for_one_request_at_once_is_told_when_to_come_back() {
    let backend = Backend::new().await;
    let open = Open::new(&[&backend], Entrance::Lan, Some(1), Vec::new()).await;
    let body = r#"{"model":"m","messages":[]}"#;
    let mut first = open.call("POST /api/chat", &bearer(KEY), body).await;
    let mut served = backend.accept().await;
    served.until("\r\n\r\n").await;
    served.send(&(NDJSON.to_owned() + &chunk(LINE))).await;
    first.until("\"x\"").await;
    let answer = open.ask("POST /v1/chat/completions", &bearer(KEY), body).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("rate_limit_exceeded"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(open.ask("GET /api/tags", &bearer(KEY), "").await.starts_with("HTTP/1.1 200"), "lists are not counted");
    served.send(&(chunk(DONE) + "0\r\n\r\n")).await;
    first.until("0\r\n\r\n").await;
    // The end of the answer is the end of the request.
    let mut second = open.call("POST /api/chat", &format!("Connection: close\r\n{}", bearer(KEY)), body).await;
    served.until("\r\n\r\n").await;
    served.send(&whole(DONE)).await;
    assert!(second.rest().await.starts_with("HTTP/1.1 200"));
    drop(first);
    open.house.end(2).await;
}

#[tokio::test]
async fn a_way_that_is_closed_lets_nobody_in_and_cuts_nobody_off() {
    let backend = Backend::new().await;
    let open = Open::lan(&[&backend]).await;
    let mut idle = open.call("GET /api/tags", &bearer(KEY), "").await;
    idle.until("}").await;
    let mut streamed = open.call("POST /api/chat", &bearer(KEY), r#"{"model":"m","messages":[]}"#).await;
    let mut served = backend.accept().await;
    served.until("\r\n\r\n").await;
    served.send(&(NDJSON.to_owned() + &chunk(LINE))).await;
    streamed.until("\"x\"").await;
    let Open { house, entry, address } = open;
    house.door.enter_by(Vec::new());
    drop(entry);
    // Idle connections are ended; then the address is free.
    idle.rest().await;
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    served.send(&(chunk(DONE) + "0\r\n\r\n")).await;
    let rest = streamed.rest().await;
    assert!(rest.contains("\"done\":true") && rest.ends_with("0\r\n\r\n"), "{rest}");
    let answer = house.send("GET /api/tags", "", b"").await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "the door itself stays: {answer}");
    house.end(1).await;
}

#[tokio::test]
async fn containers_need_no_key_and_have_no_say() {
    let open = Open::new(&[], Entrance::Container, None, vec![Network::new([127, 0, 0, 0].into(), 8)]).await;
    for (host, status) in [
        ("host.docker.internal:11435", "200"),
        ("host.containers.internal", "200"),
        ("127.0.0.1", "200"),
        ("localhost", "403"),
        ("evil.example", "403"),
    ] {
        for path in ["/api/tags", "/openapi.json"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = House::call(open.address, &request).await.rest().await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
        }
    }
    let token = "Authorization: Bearer secret\r\n";
    assert!(open.ask("POST /fleet/leave", token, "").await.starts_with("HTTP/1.1 403"));
    assert!(open.ask("GET /fleet/keys", token, "").await.starts_with("HTTP/1.1 401"));
    open.house.end(0).await;
    // Whoever comes from another network is hung up on.
    let open = Open::new(&[], Entrance::Container, None, vec![Network::new([172, 17, 0, 1].into(), 16)]).await;
    assert_eq!(open.ask("GET /api/tags", "", "").await, "");
    open.house.end(0).await;
}
