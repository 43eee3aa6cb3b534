//! Clumsy and greedy clients: whatever they send, it is refused in their own words or served, memory stays bounded, and
//! others are served meanwhile.

use std::time::Duration;

use fleet_tests::{Answer, Exchange, Fake, Herd, Wire, ask, eventually, exchange, get, post, raw};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const MIB: u64 = 1 << 20;
/// One path of each dialect.
const DIALECTS: [&str; 3] = ["/api/chat", "/v1/chat/completions", "/v1/messages"];

fn one() -> (Fake, Herd) {
    let fake = Fake::start(&["--models", "tiny", "--parallel", "4"]);
    let herd = Herd::start(&[&format!("{}?slots=4", fake.url)]);
    (fake, herd)
}

fn chat() -> Value {
    json!({ "model": "tiny", "messages": [{ "role": "user", "content": "hi" }], "stream": false, "max_tokens": 8 })
}

/// That `herd` works as on its first day.
fn still_serves(herd: &Herd) {
    herd.is_idle_soon();
    let answer = post(&herd.at("/api/chat"), &chat());
    assert_eq!((answer.status, answer.complete), (200, true), "{answer:?}");
    assert!(!herd.said().contains("panicked"), "{}", herd.said());
}

/// That `answer` is an error of the dialect spoken at `path`, and says something.
fn is_said_in_dialect(path: &str, answer: &Answer) {
    let body = answer.json();
    let text = match path {
        _ if path.starts_with("/v1/messages") => {
            assert_eq!(body["type"], "error", "{path}: {answer:?}");
            &body["error"]["message"]
        }
        _ if path.starts_with("/v1/") => {
            assert!(body["error"]["type"].is_string(), "{path}: {answer:?}");
            &body["error"]["message"]
        }
        _ => &body["error"],
    };
    assert!(text.as_str().is_some_and(|text| text.len() > 2), "{path}: {answer:?}");
}

#[test]
fn too_much_of_a_head_is_refused() {
    let (_fake, herd) = one();
    let before = herd.memory();
    let many: String = (0..10_000).map(|number| format!("X-{number}: a\r\n")).collect();
    let large = format!("X-Large: {}\r\n", "a".repeat(1 << 20));
    let path = format!("GET /api/tags?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(1 << 20));
    for head in [&many, &large] {
        let request = format!("GET /api/tags HTTP/1.1\r\nHost: localhost\r\n{head}\r\n");
        // A server that refuses before it has read all may be heard as a reset.
        if let Some(answer) = raw(&herd.url, request) {
            assert_eq!(answer.status, 431, "{answer:?}");
        }
    }
    if let Some(answer) = raw(&herd.url, path) {
        assert!(matches!(answer.status, 414 | 431), "{answer:?}");
    }
    // A head without an end.
    let mut wire = Wire::open(&herd.url);
    wire.send("GET /api/tags HTTP/1.1\r\n");
    let mut sent = 0;
    while sent < 64 * MIB as usize
        && wire.send("X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(1024))
    {
        sent += 64 * 1024;
    }
    assert!(sent < 8 * MIB as usize, "{sent} bytes of headers were taken");
    // What well-behaved clients send passes: forty headers, a kilobyte each.
    let usual: String = (0..40).map(|number| format!("X-{number}: {}\r\n", "a".repeat(1024))).collect();
    let answer = raw(&herd.url, format!("GET /api/tags HTTP/1.1\r\nHost: localhost\r\n{usual}\r\n")).unwrap();
    assert_eq!(answer.status, 200);
    assert!(herd.memory() < before + 16 * MIB, "{} -> {}", before, herd.memory());
    still_serves(&herd);
}

#[test]
fn slow_and_idle_connections_keep_nobody_out() {
    let (_fake, herd) = one();
    let before = herd.memory();
    let mut slow: Vec<Wire> = (0..200)
        .map(|_| {
            let mut wire = Wire::open(&herd.url);
            wire.send("POST /api/chat HTTP/1.1\r\nHost: loc");
            wire
        })
        .collect();
    let mut uploading: Vec<Wire> = (0..200)
        .map(|_| {
            let mut wire = Wire::open(&herd.url);
            wire.send("POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{\"model\":");
            wire
        })
        .collect();
    let mut idle: Vec<Wire> = (0..300).map(|_| Wire::open(&herd.url)).collect();
    for wire in &mut idle {
        wire.send("GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(wire.answer().unwrap().status, 200);
    }
    for wire in slow.iter_mut().take(20) {
        wire.send("a");
        assert_eq!(post(&herd.at("/api/chat"), &chat()).status, 200, "others are served meanwhile");
    }
    // Kept connections can still be used.
    for wire in idle.iter_mut().step_by(37) {
        wire.send("GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(wire.answer().unwrap().status, 200);
    }
    // Those who wait with their bodies hold no slot.
    assert_eq!(get(&herd.at("/fleet/self")).json()["in_flight"], 0);
    assert!(herd.memory() < before + 48 * MIB, "{} -> {}", before, herd.memory());
    drop((slow, idle));
    for wire in &mut uploading {
        wire.send("x".repeat(1000 - "{\"model\":".len()));
        let answer = wire.answer().unwrap();
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    still_serves(&herd);
}

/// A connection whose head stays unfinished is ended after half a minute, as `header_read_timeout` says.
#[test]
#[ignore = "takes half a minute"]
fn a_head_that_never_ends_is_ended() {
    let (_fake, herd) = one();
    let mut wire = Wire::open(&herd.url);
    wire.send("GET /api/tags HTTP/1.1\r\nHost: loc");
    let said = wire.rest();
    assert!(said.is_empty() || said.contains(" 408 "), "{said}");
    still_serves(&herd);
}

#[test]
fn a_body_that_is_announced_too_large_is_refused_before_it_is_sent() {
    let (fake, herd) = one();
    for path in DIALECTS.into_iter().chain(["/api/show", "/v1/embeddings", "/v1/audio/transcriptions", "/api/pull"]) {
        for expects in ["", "Expect: 100-continue\r\n"] {
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{expects}Content-Length: {}\r\n\r\n", 1 << 30);
            // Nothing of the body is sent, so an answer means that none was waited for.
            let answer = raw(&herd.url, head).unwrap();
            assert_eq!(answer.status, 413, "{path}: {answer:?}");
            is_said_in_dialect(path, &answer);
            assert!(answer.body.contains("MiB"), "{path}: {answer:?}");
        }
    }
    assert!(fake.requests().is_empty());
    still_serves(&herd);
}

#[test]
fn a_client_that_asks_before_it_sends_is_told_to_go_on() {
    let (_fake, herd) = one();
    let body = chat().to_string();
    let mut wire = Wire::open(&herd.url);
    wire.send(format!(
        "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    assert_eq!(wire.answer().unwrap().status, 100);
    wire.send(&body);
    assert_eq!(wire.answer().unwrap().status, 200);
    still_serves(&herd);
}

#[test]
fn a_body_without_an_end_is_ended_at_the_bound() {
    let (fake, herd) = one();
    let piece = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    let mut wire = Wire::open(&herd.url);
    wire.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut mib = 0;
    while mib < 1024 && wire.send(&piece) {
        mib += 1;
    }
    assert!((250..=300).contains(&mib), "{mib} MiB were taken");
    let answer = wire.answer();
    // The answer may be lost to the reset that comes of sending on.
    if let Some(answer) = answer {
        assert_eq!(answer.status, 413, "{answer:?}");
        is_said_in_dialect("/v1/chat/completions", &answer);
    }
    assert!(fake.requests().is_empty());
    // A buffer that doubles holds both sizes for a moment.
    assert!(herd.memory() < 900 * MIB, "{}", herd.memory());
    still_serves(&herd);
    assert!(herd.memory() < 300 * MIB, "the body's memory was kept: {}", herd.memory());
}

#[test]
fn many_bodies_that_grow_together_stay_within_the_memory_for_bodies() {
    let fake = Fake::start(&["--models", "tiny-loop", "--token-ms", "5"]);
    let herd = Herd::start(&[&format!("{}?slots=1", fake.url)]);
    let before = herd.memory();
    let message = r#""messages":[{"role":"user","content":"hi"}]"#;
    let mut running =
        exchange(&herd.at("/api/chat"), &json!({ "model": "tiny-loop", "messages": [{ "content": "hi" }] }));
    assert!(running.read_until("{"));
    let grow = |mib: usize, is_whole: bool| {
        let mut wire = Wire::open(&herd.url);
        let start = format!(r#"{{"model":"tiny-loop",{message},"x":""#);
        wire.send("POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        wire.send(format!("{:x}\r\n{start}\r\n", start.len()));
        let piece = format!("100000\r\n{}\r\n", "a".repeat(1 << 20));
        let is_taken = (0..mib).all(|_| wire.send_what_is_taken(&piece));
        assert!(is_taken || !is_whole);
        if is_whole {
            wire.send("2\r\n\"}\r\n0\r\n\r\n");
        }
        wire
    };
    let mut waiting = Vec::new();
    // Two that take half of the 256 MiB, and then some that each grow until there is no more: from there on they are
    // passed on as they come, but what was read of them still lies here while they wait.
    for (mib, is_whole) in [(50, true), (50, true), (129, false), (129, false), (129, false), (129, false)] {
        waiting.push(grow(mib, is_whole));
        reaches(&herd, "queued", waiting.len() as u64);
    }
    let now = herd.memory();
    assert!(now < before + 400 * MIB, "{before} -> {now}");
    drop(waiting);
    drop(running);
    herd.is_idle_soon();
    assert!(herd.memory() < before + 200 * MIB, "{before} -> {}", herd.memory());
}

#[test]
fn bodies_that_are_no_requests_are_refused_in_the_clients_words() {
    let (fake, herd) = one();
    let deep = |open: &str, close: &str| {
        format!(r#"{{"model":"tiny","messages":{}{}}}"#, open.repeat(100_000), close.repeat(100_000))
    };
    let wide = format!(r#"{{"messages":[{}0]}}"#, "0,".repeat(1_000_000));
    for (name, body) in [
        ("deep arrays", deep("[", "]").into_bytes()),
        ("deep objects", deep("{\"a\":", "}").replace(":}", ":1}").into_bytes()),
        ("deep and unfinished", "[".repeat(100_000).into_bytes()),
        ("two models", br#"{"model":"tiny","model":"other","messages":[]}"#.to_vec()),
        ("two models, one escaped", br#"{"model":"tiny","mod\u0065l":"other","messages":[]}"#.to_vec()),
        ("two models, one in capitals", br#"{"model":"tiny","MODEL":"other","messages":[]}"#.to_vec()),
        ("a number for a model", br#"{"model":7,"messages":[]}"#.to_vec()),
        ("no model, many elements", wide.into_bytes()),
        ("an array", b"[]".to_vec()),
        ("a word", b"hello".to_vec()),
        ("nothing", Vec::new()),
        ("blanks", b"   ".to_vec()),
        ("half", br#"{"model":"tiny","messages":[{"role":"#.to_vec()),
        ("more than one", br#"{"model":"tiny","messages":[]}{"model":"tiny"}"#.to_vec()),
        ("zeros", vec![0; 1000]),
        ("invalid UTF-8 in the name", b"{\"model\":\"\xff\xfe\",\"messages\":[]}".to_vec()),
        ("half a surrogate", br#"{"model":"\ud83d","messages":[]}"#.to_vec()),
        ("a large name", format!(r#"{{"model":"{}","messages":[]}}"#, "m".repeat(1 << 20)).into_bytes()),
        (
            "a large fallback",
            format!(r#"{{"model":"tiny","fallback_models":["{}"]}}"#, "m".repeat(1 << 20)).into_bytes(),
        ),
        ("an empty name", br#"{"model":"","messages":[]}"#.to_vec()),
        ("blanks for a name", br#"{"model":"   ","messages":[]}"#.to_vec()),
        ("an animal", "{\"model\":\"\u{1f42e}\",\"messages\":[]}".as_bytes().to_vec()),
        ("control characters", br#"{"model":"a\u0000\u001b[31m\n","messages":[]}"#.to_vec()),
    ] {
        for path in DIALECTS {
            let answer = ask(&herd.at(path), "POST", &[JSON], &body);
            let unknown = ["half a surrogate", "blanks for a name", "an animal", "control characters"].contains(&name)
                || name.starts_with("invalid UTF-8");
            let statuses: &[u16] = if unknown { &[400, 404] } else { &[400] };
            assert!(statuses.contains(&answer.status), "{name} at {path}: {answer:?}");
            is_said_in_dialect(path, &answer);
            assert!(answer.body.len() < 4096, "{name} at {path} is answered with {} bytes", answer.body.len());
            let head: usize = answer.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(head < 8192, "{name} at {path}: {head} bytes of headers");
        }
    }
    assert!(fake.requests().is_empty(), "{:?}", fake.requests());
    still_serves(&herd);
}

#[test]
fn large_requests_that_are_meant_are_served() {
    let (fake, herd) = one();
    // Two million elements, and invalid UTF-8 where only the backend reads.
    let mut wide = br#"{"model":"tiny","stream":false,"messages":[{"role":"user","content":"hi"}],"x":["#.to_vec();
    wide.extend(b"0,".repeat(2_000_000));
    wide.extend(b"0]}");
    let answer = ask(&herd.at("/api/chat"), "POST", &[JSON], &wide);
    assert_eq!(answer.status, 200, "{answer:?}");
    let long = format!(
        r#"{{"model":"tiny","stream":false,"messages":[{{"role":"user","content":"hi"}}],"images":["{}"]}}"#,
        "A".repeat(8 << 20)
    );
    let answer = ask(&herd.at("/api/chat"), "POST", &[JSON], long.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(fake.requests().len(), 2);
    // Many tags and fallbacks are cut to what is kept.
    let mut body = chat();
    body["fallback_models"] = json!(vec!["nope"; 100_000]);
    body["metadata"] = json!({ "tags": vec!["a"; 100_000] });
    let answer = post(&herd.at("/api/chat"), &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let trace = herd.trace(answer.header("x-fleet-request-id").unwrap());
    assert!(trace["tags"].as_array().unwrap().len() <= 32, "{trace}");
    still_serves(&herd);
}

#[test]
fn bodies_packed_in_ways_that_nobody_knows_are_refused_by_name() {
    let (fake, herd) = one();
    for coding in ["br", "gzip, zstd", "x"] {
        for path in DIALECTS {
            let answer = ask(&herd.at(path), "POST", &[JSON, ("Content-Encoding", coding)], b"\x1f\x8b\x08\0");
            assert_eq!(answer.status, 415, "{coding} {path}: {answer:?}");
            is_said_in_dialect(path, &answer);
            assert!(answer.body.contains("Content-Encoding"), "{answer:?}");
        }
    }
    // What says that it is packed and is not, or is cut, is a bad request.
    for coding in ["gzip", "deflate", "zstd", "gzip, identity"] {
        for path in DIALECTS {
            let answer = ask(&herd.at(path), "POST", &[JSON, ("Content-Encoding", coding)], b"\x1f\x8b\x08\0");
            assert_eq!(answer.status, 400, "{coding} {path}: {answer:?}");
            is_said_in_dialect(path, &answer);
        }
    }
    let plain =
        ask(&herd.at("/api/chat"), "POST", &[JSON, ("Content-Encoding", "identity")], chat().to_string().as_bytes());
    assert_eq!((plain.status, fake.requests().len()), (200, 1));
    still_serves(&herd);
}

#[test]
fn wrong_methods_and_paths_are_told_in_dialect() {
    let (_fake, herd) = one();
    for (path, allow) in [
        ("/api/chat", "POST"),
        ("/v1/chat/completions", "POST"),
        ("/v1/messages", "POST"),
        ("/api/tags", "GET, HEAD"),
        ("/v1/models", "GET, HEAD"),
        ("/api/delete", "DELETE"),
        ("/api/pull", "POST"),
        ("/api/blobs/sha256:00", "HEAD, POST"),
        ("/fleet/self", "GET,HEAD"),
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW", "OPTIONS"] {
            if allow.split(',').any(|allowed| allowed.trim() == method) {
                continue;
            }
            let answer = ask(&herd.at(path), method, &[], b"");
            assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}: {answer:?}");
            if path.starts_with("/v1/") {
                is_said_in_dialect(path, &answer);
            }
        }
    }
    for path in ["/v1/nothing", "/v1/messages/batches", "/v1/models/nothing", "/v1/"] {
        let answer = get(&herd.at(path));
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        is_said_in_dialect(path, &answer);
    }
    for path in ["/nothing", "/api/nothing", "/api", "/favicon.ico"] {
        let answer = get(&herd.at(path));
        assert_eq!((answer.status, answer.body.as_str()), (404, "404 page not found"), "{path}");
    }
    assert!(get(&herd.at("/fleet/nothing")).json()["error"].is_string());
    still_serves(&herd);
}

#[test]
fn old_and_hasty_clients_are_served() {
    let (_fake, herd) = one();
    let body = chat().to_string();
    let length = body.len();
    let old = raw(&herd.url, format!("POST /api/chat HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}")).unwrap();
    assert_eq!((old.status, old.complete), (200, true), "{old:?}");
    let streamed = chat().to_string().replace("\"stream\":false", "\"stream\":true ");
    let old = raw(&herd.url, format!("POST /api/chat HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{streamed}")).unwrap();
    assert_eq!(old.header("transfer-encoding"), None, "HTTP/1.0 has no chunks");
    assert_eq!(old.lines().pop().unwrap()["done"], true, "{old:?}");
    assert_eq!(raw(&herd.url, "GET /api/version HTTP/1.1\r\n\r\n").unwrap().status, 200, "without Host, as Ollama");
    // Ten requests at once over one connection are answered in order.
    let mut wire = Wire::open(&herd.url);
    let mut requests = String::new();
    for number in 0..10 {
        requests += &format!("POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
        requests += &format!("GET /v1/models/number-{number} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    wire.send(requests);
    for number in 0..10 {
        assert_eq!(wire.answer().unwrap().status, 200);
        let second = wire.answer().unwrap();
        assert!(second.status == 404 && second.body.contains(&format!("number-{number}'")), "{second:?}");
    }
    // Byte by byte.
    let mut wire = Wire::open(&herd.url);
    for byte in format!("POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}").bytes()
    {
        assert!(wire.send([byte]));
    }
    assert_eq!(wire.answer().unwrap().status, 200);
    still_serves(&herd);
}

#[test]
fn a_body_that_stops_half_way_costs_nothing() {
    let (fake, herd) = one();
    for path in DIALECTS {
        for framing in ["Content-Length: 500", "Transfer-Encoding: chunked"] {
            let start = if framing.starts_with('C') { "{\"model\":\"tiny\"," } else { "10\r\n{\"model\":\"tiny\"" };
            let mut wire = Wire::open(&herd.url);
            wire.send(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n{start}"));
            wire.send_no_more();
            if let Some(answer) = wire.answer() {
                assert_eq!(answer.status, 400, "{path} {framing}: {answer:?}");
                is_said_in_dialect(path, &answer);
            }
        }
    }
    assert!(fake.requests().is_empty(), "half a request went on");
    still_serves(&herd);
}

/// Closing half of a connection says that one leaves, to Herd as to Ollama (Go's server): nothing else tells a client
/// that is gone from one that waits.
#[test]
fn a_client_that_closes_its_half_has_left() {
    let fake = Fake::start(&["--models", "tiny-loop", "--token-ms", "5"]);
    let herd = Herd::start(&[&fake.url]);
    let body =
        json!({ "model": "tiny-loop", "messages": [{ "role": "user", "content": "hi" }], "stream": false }).to_string();
    let mut wire = Wire::open(&herd.url);
    let length = body.len();
    wire.send(format!("POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"));
    eventually("it to be at work", || (fake.state()["in_flight"] == 1).then_some(()));
    wire.send_no_more();
    herd.is_idle_soon();
    eventually("the backend to stop", || (fake.state()["in_flight"] == 0).then_some(()));
}

#[test]
fn a_client_that_reads_nothing_holds_the_backend_back() {
    let fake = Fake::start(&["--models", "tiny-loop", "--parallel", "2"]);
    let herd = Herd::start(&[&format!("{}?slots=2", fake.url)]);
    let before = herd.memory();
    let body = json!({
        "model": "tiny-loop", "messages": [{ "role": "user", "content": "hi" }], "stream": true,
        "options": { "num_predict": 100_000_000 },
    });
    let mut stream = exchange(&herd.at("/api/chat"), &body);
    assert!(stream.read_until("\"done\":false"));
    let tokens = || fake.state()["tokens"].as_u64().unwrap();
    let mut last = 0;
    eventually("the backend to be held back", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = tokens();
        let stands = now == last && now > 0;
        last = now;
        stands.then_some(())
    });
    assert!(herd.memory() < before + 16 * MIB, "{} -> {}", before, herd.memory());
    // Others are served meanwhile, and the end frees what it held.
    let mut short = body.clone();
    short["options"] = json!({ "num_predict": 3 });
    assert_eq!(post(&herd.at("/api/chat"), &short).status, 200);
    assert!(stream.read_until("\"done\":false"));
    drop(stream);
    herd.is_idle_soon();
    eventually("the backend to stop", || (fake.state()["in_flight"] == 0).then_some(()));
}

/// `herd`'s `key` reaches `number`.
fn reaches(herd: &Herd, key: &str, number: u64) {
    eventually(&format!("{key} to be {number}"), || (get(&herd.at("/fleet/self")).json()[key] == number).then_some(()));
}

#[test]
fn a_client_that_leaves_at_any_stage_frees_all_it_held() {
    let fake = Fake::start(&["--models", "tiny-loop", "--token-ms", "5"]);
    let herd = Herd::start(&[&format!("{}?slots=1", fake.url)]);
    let body = |stream: bool| json!({ "model": "tiny-loop", "messages": [{ "role": "user", "content": "hi" }], "stream": stream });
    let begin = |path: &str, stream: bool| {
        let text = body(stream).to_string();
        let mut wire = Wire::open(&herd.url);
        wire.send(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        wire
    };
    for path in ["/api/chat", "/v1/chat/completions"] {
        // While it uploads.
        let mut uploading = Wire::open(&herd.url);
        uploading
            .send(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n{{\"model\":"));
        drop(uploading);
        still_idle(&herd);
        // In mid-stream, with others in the queue behind it, of which some leave.
        let mut running: Exchange = exchange(&herd.at(path), &body(true));
        assert!(running.read_until("{"));
        let mut waiting: Vec<Wire> = (0..20).map(|number| begin(path, number % 2 == 0)).collect();
        reaches(&herd, "queued", 20);
        waiting.truncate(10);
        reaches(&herd, "queued", 10);
        drop(waiting);
        reaches(&herd, "queued", 0);
        reaches(&herd, "in_flight", 1);
        drop(running);
        still_idle(&herd);
        // Before the first token, and in the middle of an answer that is not streamed.
        fake.fault(&json!({ "kind": "silent" }));
        let before = fake.requests().len();
        let silent = begin(path, true);
        eventually("the backend to hear of it", || (fake.requests().len() > before).then_some(()));
        reaches(&herd, "in_flight", 1);
        drop(silent);
        still_idle(&herd);
        ask(&format!("{}/_fake/faults", fake.url), "DELETE", &[], b"");
        let whole = begin(path, false);
        eventually("it to be at work", || (fake.state()["in_flight"] == 1).then_some(()));
        drop(whole);
        still_idle(&herd);
        eventually("the backend to stop", || (fake.state()["in_flight"] == 0).then_some(()));
    }
    let mut short = body(false);
    short["options"] = json!({ "num_predict": 3 });
    assert_eq!(post(&herd.at("/api/chat"), &short).status, 200);
}

fn still_idle(herd: &Herd) {
    herd.is_idle_soon();
    assert_eq!(get(&herd.at("/fleet/self")).json()["in_flight"], 0);
}
