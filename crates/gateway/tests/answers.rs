//! What a client gets when backends answer slowly, badly, or not at all.

mod scripted;

use std::time::Duration;

use gateway::Limits;
use proto::{BackendKind, Outcome};
use scripted::{Backend, DONE, House, LINE, NDJSON, SSE, chunk, whole};

const LONG: Duration = Duration::from_secs(3600);
const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
const CHAT_SSE: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
const CHAT_WHOLE: &str = r#"{"model":"m","stream":false,"messages":[{"role":"user","content":"hi"}]}"#;
const CHAT_SSE_BOUNDED: &str =
    r#"{"model":"m","stream":true,"max_tokens":99,"messages":[{"role":"user","content":"hi"}]}"#;
const WORDS: [&str; 3] = ["one", "two", "three"];
const PLENTY: u64 = 1 << 20;

#[tokio::test]
async fn headers_that_cannot_wait_are_followed_by_heartbeats() {
    let backend = Backend::new().await;
    let house = House::new(&[&backend], Duration::from_millis(50), PLENTY).await;
    let mut client = house.ask("/api/chat", CHAT).await;
    let mut upstream = backend.accept().await;
    upstream.until("hi\"}]}").await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/x-ndjson"), "{head}");
    let beat = client.until("\n\r\n").await;
    assert!(beat.contains("\"done\":false") && beat.contains("\"model\":\"m\""), "{beat}");
    upstream.send(&format!("{NDJSON}{}{}0\r\n\r\n", chunk(LINE), chunk(DONE))).await;
    let rest = client.rest().await;
    assert!(rest.contains(LINE) && rest.contains(DONE) && rest.ends_with("0\r\n\r\n"), "{rest}");
    assert_eq!(house.end(1).await[0].outcome, Outcome::Completed);
}

#[tokio::test]
async fn after_heartbeats_a_failure_is_a_record_of_the_stream() {
    for (path, sign) in
        [("/api/chat", "{\"error\":"), ("/v1/chat/completions", "data: {\"error\":"), ("/v1/messages", "event: error")]
    {
        let backend = Backend::new().await;
        let house = House::of(BackendKind::Vllm, &[&backend], Duration::from_millis(50), PLENTY).await;
        let mut client = house.ask(path, CHAT_SSE).await;
        let upstream = backend.accept().await;
        client.until("\r\n\r\n").await;
        drop(upstream);
        let rest = client.rest().await;
        assert!(rest.contains(sign) && rest.ends_with("0\r\n\r\n"), "{path}: {rest}");
        assert_eq!(house.end(1).await[0].outcome, Outcome::Failed);
    }
}

#[tokio::test]
async fn a_record_without_content_is_held_back_and_can_be_retried() {
    let (first, second) = (Backend::new().await, Backend::new().await);
    let house = House::of(BackendKind::Vllm, &[&first, &second], LONG, PLENTY).await;
    let mut client = house.ask("/v1/chat/completions", CHAT_SSE).await;
    let mut upstream = first.accept().await;
    upstream.until("hi\"}]}").await;
    let role = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n";
    upstream.send(&format!("{SSE}{}", chunk(role))).await;
    drop(upstream);
    let mut upstream = second.accept().await;
    upstream.until("hi\"}]}").await;
    let content = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    upstream.send(&format!("{SSE}{}{}{}0\r\n\r\n", chunk(role), chunk(content), chunk(end))).await;
    let answer = client.rest().await;
    assert_eq!(answer.matches("\"role\":\"assistant\"").count(), 1, "{answer}");
    assert!(answer.contains("x-fleet-retries: 1") && answer.contains("[DONE]"), "{answer}");
    let trace = &house.end(1).await[0];
    assert_eq!((trace.outcome, trace.attempts.len()), (Outcome::Completed, 2));
}

#[tokio::test]
async fn a_whole_answer_that_breaks_off_is_fetched_elsewhere() {
    let (first, second) = (Backend::new().await, Backend::new().await);
    let house = House::new(&[&first, &second], LONG, PLENTY).await;
    let mut client = house.ask("/api/chat", CHAT_WHOLE).await;
    let mut upstream = first.accept().await;
    upstream.until("hi\"}]}").await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"model\":").await;
    drop(upstream);
    let mut upstream = second.accept().await;
    upstream.until("hi\"}]}").await;
    upstream.send(&whole("{\"model\":\"m\",\"done\":true}")).await;
    let answer = client.rest().await;
    assert!(answer.ends_with("{\"model\":\"m\",\"done\":true}") && answer.contains("x-fleet-backend: b1"), "{answer}");
    house.end(1).await;
}

#[tokio::test]
async fn an_error_line_before_any_content_is_retried_and_at_last_told_with_a_status() {
    let backend = Backend::new().await;
    let house = House::new(&[&backend], LONG, PLENTY).await;
    let mut client = house.ask("/api/chat", CHAT).await;
    let mut upstream = backend.accept().await;
    upstream.until("hi\"}]}").await;
    upstream.send(&format!("{NDJSON}{}0\r\n\r\n", chunk("{\"error\":\"the runner died\"}\n"))).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("the runner died"), "{answer}");
    assert_eq!(house.end(1).await[0].outcome, Outcome::Failed);
}

#[tokio::test]
async fn an_answer_cut_inside_a_record_still_ends_in_a_well_formed_one() {
    let backend = Backend::new().await;
    let house = House::new(&[&backend], LONG, PLENTY).await;
    let mut client = house.ask("/api/chat", CHAT).await;
    let mut upstream = backend.accept().await;
    upstream.until("hi\"}]}").await;
    upstream.send(&format!("{NDJSON}{}{}", chunk(LINE), chunk("{\"model\":\"m\",\"mess"))).await;
    client.until("\"mess").await;
    drop(upstream);
    let rest = client.rest().await;
    // What ends the stream comes in a chunk of its own, which must begin with the end of the cut line.
    assert!(rest.contains("\r\n\n{\"error\":") && rest.contains("closed the connection"), "{rest:?}");
    assert_eq!(house.end(1).await[0].outcome, Outcome::Incomplete);
}

#[tokio::test]
async fn a_stream_that_just_stops_is_not_taken_for_a_whole_one() {
    let backend = Backend::new().await;
    let house = House::of(BackendKind::Vllm, &[&backend], LONG, PLENTY).await;
    let mut client = house.ask("/v1/chat/completions", CHAT_SSE).await;
    let mut upstream = backend.accept().await;
    upstream.until("hi\"}]}").await;
    let content = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    upstream.send(&format!("{SSE}{}0\r\n\r\n", chunk(content))).await;
    let rest = client.rest().await;
    assert!(rest.contains("data: {\"error\":") && !rest.contains("[DONE]"), "{rest}");
    assert_eq!(house.end(1).await[0].outcome, Outcome::Incomplete);
}

#[tokio::test]
async fn an_ollama_that_ends_without_a_last_record_is_believed_only_where_it_repeats_itself() {
    let line = |at: usize, word: &str| {
        chunk(&LINE.replace("\"x\"", &format!("\"{word}\"")).replacen('{', &format!("{{\"created_at\":\"{at}\","), 1))
    };
    for (path, body, broke) in [
        ("/api/chat", CHAT, "{\"error\":"),
        ("/v1/chat/completions", CHAT_SSE, "data: {\"error\":"),
        ("/v1/messages", CHAT_SSE_BOUNDED, "event: error"),
    ] {
        for (words, is_whole) in [(["na"; 31], true), (std::array::from_fn(|at| WORDS[at % 3]), false)] {
            let backend = Backend::new().await;
            let house = House::new(&[&backend], LONG, PLENTY).await;
            let mut client = house.ask(path, body).await;
            let mut upstream = backend.accept().await;
            upstream.until("hi\"}]").await;
            upstream.send(&format!("{NDJSON}{}", line(0, words[0]))).await;
            client.until(words[0]).await;
            let lines: String = words.iter().enumerate().skip(1).map(|(at, word)| line(at, word)).collect();
            upstream.send(&format!("{lines}0\r\n\r\n")).await;
            let rest = client.rest().await;
            assert_eq!(rest.contains(broke), !is_whole, "{path}: {rest}");
            assert!(rest.ends_with("0\r\n\r\n"), "{path}: {rest}");
            let outcome = if is_whole { Outcome::Completed } else { Outcome::Incomplete };
            assert_eq!(house.end(1).await[0].outcome, outcome, "{path}");
        }
    }
}

#[tokio::test]
async fn a_backend_that_falls_silent_in_the_middle_of_an_answer_is_given_up() {
    for (path, body, broke) in [
        ("/api/chat", CHAT, "{\"error\":"),
        ("/v1/chat/completions", CHAT_SSE, "data: {\"error\":"),
        ("/v1/messages", CHAT_SSE_BOUNDED, "event: error"),
    ] {
        let backend = Backend::new().await;
        let limits = Limits { silence: Duration::from_millis(50), ..Limits::default() };
        let house = House::within(BackendKind::Ollama, &[&backend], LONG, limits).await;
        let mut client = house.ask(path, body).await;
        let mut upstream = backend.accept().await;
        upstream.until("hi\"}]").await;
        upstream.send(&format!("{NDJSON}{}", chunk(LINE))).await;
        let rest = client.rest().await;
        assert!(rest.contains(broke) && rest.contains("said nothing for"), "{path}: {rest}");
        assert!(rest.ends_with("0\r\n\r\n"), "{path}: {rest}");
        // Its connection is closed, or this would never end.
        upstream.rest().await;
        let fleet = house.fleet.clone();
        assert_eq!(house.end(1).await[0].outcome, Outcome::Incomplete);
        assert_eq!(*fleet.endings.lock().unwrap(), [gateway::Ending::Broke]);
    }
}

#[tokio::test]
async fn a_model_that_may_be_writing_a_call_is_given_more_time() {
    let backend = Backend::new().await;
    let limits = Limits { silence: Duration::from_millis(50), ..Limits::default() };
    let house = House::within(BackendKind::Ollama, &[&backend], LONG, limits).await;
    let with_tools = CHAT.replacen('{', r#"{"tools":[{"type":"function","function":{"name":"f"}}],"#, 1);
    let (mut client, mut other) = (house.ask("/api/chat", &with_tools).await, house.ask("/api/chat", CHAT).await);
    let (mut one, mut two) = (backend.accept().await, backend.accept().await);
    if one.until("hi\"}]}").await.contains("tools") {
        std::mem::swap(&mut one, &mut two);
    }
    for upstream in [&mut one, &mut two] {
        upstream.send(&format!("{NDJSON}{}", chunk(LINE))).await;
    }
    assert!(other.rest().await.contains("said nothing for"), "the one without tools is given up");
    two.send(&format!("{}0\r\n\r\n", chunk(DONE))).await;
    assert!(client.rest().await.contains(DONE));
    house.end(2).await;
}

#[tokio::test]
async fn a_backend_that_hangs_gives_its_request_up() {
    let (first, second) = (Backend::new().await, Backend::new().await);
    let house = House::new(&[&first, &second], LONG, PLENTY).await;
    let mut client = house.ask("/api/chat", CHAT).await;
    let mut hanging = first.accept().await;
    hanging.until("hi\"}]}").await;
    house.fleet.move_newest();
    let mut upstream = second.accept().await;
    upstream.until("hi\"}]}").await;
    upstream.send(&format!("{NDJSON}{}{}0\r\n\r\n", chunk(LINE), chunk(DONE))).await;
    assert!(client.rest().await.contains("x-fleet-backend: b1"));
    assert_eq!(hanging.rest().await, "", "the hanging backend is told by the end of the connection");
    house.end(1).await;
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_way_to_the_backend() {
    let backend = Backend::new().await;
    let house = House::new(&[&backend], LONG, PLENTY).await;
    let client = house.ask("/api/chat", CHAT).await;
    let mut upstream = backend.accept().await;
    upstream.until("hi\"}]}").await;
    drop(client);
    assert_eq!(upstream.rest().await, "");
    let fleet = house.fleet.clone();
    let trace = &house.end(1).await[0];
    assert_eq!(trace.outcome, Outcome::ClientDisconnected);
    assert_eq!(*fleet.endings.lock().unwrap(), [gateway::Ending::ClientLeft]);
}

#[tokio::test]
async fn a_body_that_cannot_be_kept_flows_and_is_tried_once() {
    let (first, second) = (Backend::new().await, Backend::new().await);
    let house = House::new(&[&first, &second], LONG, 100_000).await;
    let long = "y".repeat(400_000);
    let body = format!(r#"{{"model":"m","stream":false,"messages":[{{"role":"user","content":"{long}"}}]}}"#);
    let sent = house.ask("/api/chat", &body);
    let taken = async {
        let mut upstream = first.accept().await;
        let request = upstream.until("y\"}]}").await;
        upstream.send(&whole("{\"model\":\"m\",\"done\":true}")).await;
        (upstream, request)
    };
    let (mut client, (_upstream, request)) = futures_util::future::join(sent, taken).await;
    assert!(request.ends_with(&body), "all of it, unchanged");
    assert!(client.rest().await.contains("\"done\":true"));
    assert!(house.end(1).await[0].unretriable);
}

#[tokio::test]
async fn a_body_that_cannot_be_kept_must_name_its_model_early() {
    let backend = Backend::new().await;
    let house = House::new(&[&backend], LONG, 100_000).await;
    let long = "y".repeat(400_000);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{long}"}}],"model":"m"}}"#);
    let mut client = house.ask("/v1/chat/completions", &body).await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("retry-after: 1"), "{head}");
    assert!(client.rest().await.contains("model"));
    assert_eq!(house.end(1).await[0].outcome, Outcome::Rejected);
}

#[tokio::test]
async fn our_own_token_goes_no_further() {
    let backend = Backend::new().await;
    let house = House::new(&[&backend], LONG, PLENTY).await;
    let mut client = house.ask("/api/chat", CHAT_WHOLE).await;
    let mut upstream = backend.accept().await;
    let request = upstream.until("hi\"}]}").await.to_ascii_lowercase();
    assert!(request.contains("host: 127.0.0.1:") && !request.contains("secret"), "{request}");
    upstream.send(&whole("{}")).await;
    client.rest().await;
    house.end(1).await;
}
