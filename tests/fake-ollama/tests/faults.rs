//! Each fault as a client sees it, and the end of a stand-in.

mod client;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use client::{begin, call, head, json, prompt, send, until};
use fake_ollama::{Fault, FaultKind, Options, Server};

fn with(fault: Fault) -> Server {
    Server::start(Options { faults: vec![fault], ..Options::default() }).expect("a free port")
}

fn texts(body: &str) -> usize {
    body.lines().filter(|line| line.contains("\"done\":false")).count()
}

#[test]
fn a_cut_stream_is_reset_after_its_tokens() {
    let server = with(Fault::new(FaultKind::CutAfter).after(3).times(1));
    let mut answer = head(send(&server, "POST", "/api/generate", &prompt("tiny", ""))).unwrap();
    assert!((0..3).all(|_| answer.line().is_some()));
    assert_eq!(answer.end(), Some(std::io::ErrorKind::ConnectionReset));
    let requests = json(&server, "GET", "/_fake/requests", "");
    assert_eq!(
        (&requests[0]["tokens"], &requests[0]["answered"], &requests[0]["left_early"]),
        (&3.into(), &false.into(), &false.into())
    );
    assert_eq!(texts(&call(&server, "POST", "/api/generate", &prompt("tiny", "")).1), 10, "its one time is over");
}

#[test]
fn a_cut_before_the_first_token_leaves_no_answer() {
    for stream in ["true", "false"] {
        let server = with(Fault::new(FaultKind::CutAfter).after(0));
        let body = prompt("tiny", &format!(",\"stream\":{stream}"));
        assert!(head(send(&server, "POST", "/api/generate", &body)).is_none());
    }
}

#[test]
fn a_hung_stream_stays_open_until_its_client_leaves() {
    let server = with(Fault::new(FaultKind::HangAfter).after(2));
    let mut answer = begin(&server, "tiny", "");
    answer.line().unwrap();
    let state = until(&server, |state| state["tokens"] == 2);
    assert_eq!(state["in_flight"], 1);
    drop(answer);
    until(&server, |state| state["in_flight"] == 0);
    assert_eq!(json(&server, "GET", "/_fake/requests", "")[0]["left_early"], true);
}

#[test]
fn a_silent_server_takes_the_request_and_says_nothing() {
    let server = with(Fault::new(FaultKind::Silent));
    let stream = send(&server, "POST", "/api/generate", &prompt("tiny", ""));
    stream.set_nonblocking(true).unwrap();
    while json(&server, "GET", "/_fake/requests", "").as_array().unwrap().is_empty() {}
    assert_eq!((&stream).read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(call(&server, "GET", "/api/version", "").0, 200, "what is no POST still works");
    call(&server, "DELETE", "/_fake/faults", "");
    assert_eq!(call(&server, "POST", "/api/generate", &prompt("tiny", "")).0, 200);
}

#[test]
fn statuses_on_demand() {
    for (fault, statuses) in [
        (Fault::new(FaultKind::Busy503), [503, 503, 503]),
        (Fault::new(FaultKind::Flaky).after(2), [200, 500, 200]),
        (Fault::new(FaultKind::RunnerDiesBefore).times(1), [500, 200, 200]),
        (Fault { model: Some("other".to_owned()), ..Fault::new(FaultKind::Busy503) }, [200, 200, 200]),
        (Fault { path: Some("/v1".to_owned()), ..Fault::new(FaultKind::Busy503) }, [200, 200, 200]),
    ] {
        let server = with(fault.clone());
        for status in statuses {
            assert_eq!(call(&server, "POST", "/api/generate", &prompt("tiny", "")).0, status, "{fault:?}");
        }
    }
}

#[test]
fn a_repeated_token_ends_the_answer_without_a_last_record() {
    let server = with(Fault::new(FaultKind::Repeat31));
    let (_, body) = call(&server, "POST", "/api/generate", &prompt("tiny", ""));
    assert_eq!((texts(&body), body.contains("\"done\":true")), (31, false));
}

#[test]
fn half_of_a_header_is_all_that_comes() {
    let server = with(Fault::new(FaultKind::HalfHeader).times(1));
    let mut text = String::new();
    send(&server, "POST", "/api/generate", &prompt("tiny", "")).read_to_string(&mut text).unwrap();
    assert_eq!(text, "HTTP/1.1 200 O");
}

#[test]
fn a_kept_connection_is_closed_after_its_answer() {
    for (fault, closes) in [(Some(Fault::new(FaultKind::CloseIdle).times(1)), true), (None, false)] {
        let server = Server::start(Options { faults: fault.into_iter().collect(), ..Options::default() }).unwrap();
        let mut stream = send(&server, "POST", "/api/generate", &prompt("tiny", ",\"stream\":false"));
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut seen = String::new();
        while !seen.ends_with("\"eval_duration\"") {
            let mut byte = [0];
            reader.read_exact(&mut byte).unwrap();
            seen.push(char::from(byte[0]));
        }
        assert!(!seen.contains("Connection: close"));
        let mut rest = String::new();
        if closes {
            reader.read_to_string(&mut rest).unwrap();
        } else {
            reader.read_until(b'}', &mut Vec::new()).unwrap();
            write!(stream, "GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            reader.read_line(&mut rest).unwrap();
            assert_eq!(rest, "HTTP/1.1 200 OK\r\n");
        }
    }
}

#[test]
fn wrong_controls_are_refused() {
    let server = Server::start(Options::default()).unwrap();
    for (body, status) in [
        ("{\"kind\":\"slow\",\"after\":1}", 200),
        ("{\"kind\":\"nonsense\"}", 400),
        ("", 400),
        ("{\"kind\":\"slow\",\"x\":1}", 400),
    ] {
        assert_eq!(call(&server, "POST", "/_fake/faults", body).0, status, "{body}");
    }
    assert_eq!(json(&server, "GET", "/_fake/faults", "")[0]["kind"], "slow");
    assert_eq!(call(&server, "GET", "/_fake/nonsense", "").0, 404);
}

#[test]
fn an_end_cuts_all_streams_without_a_word() {
    let server = Server::start(Options { pace: Duration::from_millis(1), ..Options::default() }).unwrap();
    let answer = begin(&server, "tiny-loop", "");
    drop(server);
    let (text, proper) = answer.rest();
    assert!(!proper && !text.contains("error"), "{text}");
}

#[test]
fn the_program_says_where_it_listens_and_ends_with_its_parent() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fake-ollama"))
        .args(["--with-parent", "--models", "llama3.2:3b,all-minilm", "--fault", "slow:0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let addr = line.trim_end().strip_prefix("listening on http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(&addr).unwrap();
    write!(stream, "GET /api/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("{\"version\":\"0.33.0-rc2\"}"), "{answer}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let mut more = String::new();
    out.read_to_string(&mut more).unwrap();
    assert_eq!(more, "", "one line is all it prints");
}

/// Every API whose prompt Ollama fills in, and no other; not streamed it is an answer that says it is not done.
#[test]
fn after_31_equal_tokens_an_answer_ends_without_a_word() {
    for (path, model, ends) in [
        ("/api/generate", "tiny-rep", true),
        ("/v1/completions", "tiny-rep", true),
        ("/api/chat", "tiny-rep3", true),
        ("/v1/chat/completions", "tiny-rep3", true),
        ("/v1/messages", "tiny-rep3", true),
        ("/api/chat", "tiny-rep", false),
        ("/v1/chat/completions", "tiny-rep", false),
    ] {
        let models = vec!["tiny-rep".to_owned(), "tiny-rep3".to_owned()];
        let server = Server::start(Options { models, ..Options::default() }).unwrap();
        let body = |stream: bool| {
            let more = "\"options\":{\"num_predict\":60},\"max_tokens\":60";
            format!(
                "{{\"model\":\"{model}\",\"prompt\":\"hi\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],\"stream\":{stream},{more}}}"
            )
        };
        let (status, text) = call(&server, "POST", path, &body(true));
        let last = ["\"done\":true", "[DONE]", "message_stop"].iter().any(|last| text.contains(last));
        assert_eq!((status, last), (200, !ends), "{path} {model}");
        assert_eq!(
            json(&server, "GET", "/_fake/requests", "")[0]["tokens"].as_u64().unwrap() < 40,
            ends,
            "{path} {model}"
        );
        if path.starts_with("/api") {
            let whole = json(&server, "POST", path, &body(false));
            assert_eq!(whole["done"], !ends, "{path} {model}");
        }
    }
}

/// Nobody notices while an answer is on its way; the next request waits for two pings, and loads again.
#[test]
fn a_hung_engine_is_noticed_by_the_next_request_only() {
    let fault = Fault::new(FaultKind::EngineHangsAfter).after(2).times(1);
    let pace = Duration::from_millis(1);
    let ping = Duration::from_millis(40);
    let server = Server::start(Options { faults: vec![fault], pace, ping, parallel: 2, ..Options::default() }).unwrap();
    let mut hung = begin(&server, "tiny-loop", "");
    hung.line().unwrap();
    until(&server, |state| state["tokens"] == 2);
    // It takes no part in what the server says of itself.
    assert_eq!(json(&server, "GET", "/api/ps", "")["models"].as_array().unwrap().len(), 1);
    let next = send(&server, "POST", "/api/generate", &prompt("tiny-loop", ",\"options\":{\"num_predict\":2}"));
    until(&server, |state| state["queued"] == 1);
    assert_eq!(json(&server, "GET", "/_fake/state", "")["tokens"], 2, "not one more of it");
    // The old runner goes when its last client does.
    drop(hung);
    let text = head(next).unwrap().body();
    assert!(text.contains("\"done\":true"), "{text}");
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(last["load_duration"].as_u64().unwrap() >= 2 * 40_000_000, "two pings: {last}");
    assert_eq!(json(&server, "GET", "/_fake/state", "")["models"]["tiny-loop:latest"]["starts"], 2);
}

#[test]
fn an_engine_that_lacks_memory_says_so() {
    let server = with(Fault::new(FaultKind::LoadLacksMemory).times(1));
    let (status, body) = call(&server, "POST", "/api/generate", &prompt("tiny", ""));
    assert!(status == 500 && body.contains("failed to allocate"), "{body}");
    assert_eq!(call(&server, "POST", "/api/generate", &prompt("tiny", "")).0, 200);
}
