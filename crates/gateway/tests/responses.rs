//! Stored Responses and packed bodies, in front of backends that do what a test tells them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod scripted;

use std::io::{Read as _, Write as _};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use proto::{BackendKind, Outcome};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use scripted::{Backend, Connection, House, SSE, chunk, whole};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(3600);
const PLENTY: u64 = 256 << 20;

/// The status and body of a plain answer.
async fn answer(mut client: Connection) -> (u16, Value) {
    let text = client.rest().await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{text}")))
}

/// What a backend is asked: the head, and the body, which ends in `end`.
async fn asked(upstream: &mut Connection, end: &str) -> (String, Value) {
    let text = upstream.until(end).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = format!("content-length: {}", body.len());
    assert!(head.to_ascii_lowercase().contains(&length), "{text}");
    (head.to_ascii_lowercase(), serde_json::from_str(body).unwrap_or_else(|_| panic!("{text}")))
}

/// A whole answer of a server that knows the call itself.
fn said(id: &str, text: &str) -> Value {
    json!({
        "id": id, "object": "response", "status": "completed", "store": true,
        "output": [{ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                     "content": [{ "type": "output_text", "text": text, "annotations": [] }] }],
    })
}

fn user(text: &str) -> Value {
    json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": text }] })
}

/// A server that knows the call itself, so that what goes by is passed on as it comes.
async fn vllm() -> (Backend, House) {
    let backend = Backend::new().await;
    let house = House::of(BackendKind::Vllm, &[&backend], LONG, PLENTY).await;
    (backend, house)
}

/// One turn with a backend that knows the call; what it was asked, and what the client got.
async fn turn(backend: &Backend, house: &House, request: &Value, answered: &Value) -> (Value, (u16, Value)) {
    let mut request = request.clone();
    // Last, so that the end of a request can be told.
    request["end"] = json!("here");
    let client = house.ask("/v1/responses", &request.to_string()).await;
    let mut upstream = backend.accept().await;
    let (_, body) = asked(&mut upstream, "\"end\":\"here\"}").await;
    upstream.send(&whole(&answered.to_string())).await;
    (body, answer(client).await)
}

#[tokio::test]
async fn a_conversation_goes_on_at_a_server_that_stores_nothing() {
    let (backend, house) = vllm().await;
    let first = json!({ "model": "m", "store": true, "instructions": "be kind", "input": "one" });
    let (asked, (status, object)) = turn(&backend, &house, &first, &said("resp_a", "two")).await;
    assert_eq!(
        asked,
        json!({ "store": false, "model": "m", "instructions": "be kind", "input": "one", "end": "here" })
    );
    assert_eq!((status, &object["store"], &object["previous_response_id"]), (200, &json!(true), &Value::Null));

    let second = json!({ "model": "m", "previous_response_id": "resp_a", "input": [user("three")] });
    let (asked, (_, object)) = turn(&backend, &house, &second, &said("resp_b", "four")).await;
    let two = said("resp_a", "two")["output"][0].clone();
    let items = json!([user("one"), two, user("three")]);
    assert_eq!(asked, json!({ "store": false, "model": "m", "input": items, "end": "here" }));
    assert_eq!((&object["store"], &object["previous_response_id"]), (&json!(true), &json!("resp_a")));

    // Both turns can be gone on from, in any order and as often as one likes.
    for (previous, count) in [("resp_b", 5), ("resp_a", 3), ("resp_b", 5)] {
        let next = json!({ "model": "m", "store": false, "previous_response_id": previous, "input": "next" });
        let (asked, (_, object)) = turn(&backend, &house, &next, &said("resp_c", "no")).await;
        assert_eq!(asked["input"].as_array().unwrap().len(), count);
        assert_eq!((&object["store"], &object["previous_response_id"]), (&json!(false), &json!(previous)));
    }
    let (status, error) = answer(house.send("GET /v1/responses/resp_c", "", b"").await).await;
    assert_eq!(status, 404, "{error}");
    house.end(5).await;
}

#[tokio::test]
async fn a_stream_says_what_it_continues_and_is_kept_when_its_last_record_comes() {
    let (backend, house) = vllm().await;
    turn(&backend, &house, &json!({ "model": "m", "input": "one" }), &said("resp_a", "two")).await;
    let request = r#"{"model":"m","stream":true,"previous_response_id":"resp_a","input":"three"}"#;
    let mut client = house.ask("/v1/responses", request).await;
    let mut upstream = backend.accept().await;
    upstream.until("three\"}]}]}").await;
    let record = |kind: &str, record: Value| format!("event: {kind}\ndata: {record}\n\n");
    let begun =
        json!({ "type": "response.created", "response": { "id": "resp_b", "status": "in_progress", "output": [] } });
    let delta = json!({ "type": "response.output_text.delta", "delta": "four" });
    let done = json!({ "type": "response.completed", "response": said("resp_b", "four") });
    let stream = [
        record("response.created", begun),
        record("response.output_text.delta", delta),
        record("response.completed", done),
    ]
    .concat();
    // The last record comes in two pieces, and the stream does not end yet.
    let (one, other) = stream.split_at(stream.len() - 100);
    upstream.send(&format!("{SSE}{}{}", chunk(one), chunk(other))).await;
    let seen = client.until("\"previous_response_id\":\"resp_a\",\"store\":true}}\n\n").await;
    assert!(seen.contains("response.created"), "{seen}");
    let seen = client.until("\"previous_response_id\":\"resp_a\",\"store\":true}}\n\n").await;
    assert!(seen.contains("response.output_text.delta") && seen.contains("response.completed"), "{seen}");
    let (status, object) = answer(house.send("GET /v1/responses/resp_b", "", b"").await).await;
    let mut expected = said("resp_b", "four");
    expected["previous_response_id"] = json!("resp_a");
    assert_eq!((status, object), (200, expected));
    upstream.send("0\r\n\r\n").await;
    assert!(client.rest().await.ends_with("0\r\n\r\n"));
    assert_eq!(house.end(2).await[1].outcome, Outcome::Completed);
}

#[tokio::test]
async fn a_stream_that_is_cut_is_ended_and_not_kept() {
    let (backend, house) = vllm().await;
    let mut client = house.ask("/v1/responses", r#"{"model":"m","stream":true,"input":"one"}"#).await;
    let mut upstream = backend.accept().await;
    upstream.until("one\"}").await;
    let delta = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n";
    let cut = "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_a\"";
    upstream.send(&format!("{SSE}{}{}", chunk(delta), chunk(cut))).await;
    client.until("\"x\"}\n\n").await;
    drop(upstream);
    let rest = client.rest().await;
    assert!(rest.contains(&format!("{cut}\n\nevent: response.failed\n")), "{rest}");
    let (status, _) = answer(house.send("GET /v1/responses/resp_a", "", b"").await).await;
    assert_eq!(status, 404);
    assert_eq!(house.end(1).await[0].outcome, Outcome::Incomplete);
}

#[tokio::test]
async fn ollamas_answers_are_kept_too_under_ids_that_nobody_guesses() {
    let backend = Backend::new().await;
    let house = House::new(&[&backend], LONG, PLENTY).await;
    let mut ids = Vec::new();
    for stream in [false, true] {
        let mut request = json!({ "model": "m", "stream": stream, "input": "one" });
        if let Some(previous) = ids.last() {
            request["previous_response_id"] = json!(previous);
        }
        let mut client = house.ask("/v1/responses", &request.to_string()).await;
        let mut upstream = backend.accept().await;
        let line = r#"{"model":"m","message":{"role":"assistant","content":"two"},"done":true,"done_reason":"length","eval_count":1}"#;
        let question = upstream.until("}]}").await;
        let body: Value = serde_json::from_str(question.split_once("\r\n\r\n").unwrap().1).unwrap();
        let roles: Vec<&Value> = body["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
        match stream {
            false => {
                assert_eq!(roles, ["user"]);
                upstream.send(&whole(line)).await;
            }
            true => {
                assert_eq!(roles, ["user", "assistant", "user"]);
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
                upstream.send(&format!("{head}{}0\r\n\r\n", chunk(&format!("{line}\n")))).await;
            }
        }
        let text = client.rest().await;
        let id = text.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        // Cut short, and worth going on from all the same.
        let (status, object) = answer(house.send(&format!("GET /v1/responses/{id}"), "", b"").await).await;
        assert_eq!((status, &object["id"], &object["status"]), (200, &json!(id), &json!("incomplete")));
        assert_eq!(object["previous_response_id"], json!(ids.last()));
        assert_eq!(object["store"], true);
        ids.push(id);
    }
    // Only the time and a count are the same in both; what comes after them is not.
    assert!(ids.iter().all(|id| id.len() == "resp_".len() + 20 + 32), "{ids:?}");
    assert_ne!(ids[0][25..], ids[1][25..]);
    house.end(2).await;
}

#[tokio::test]
async fn what_is_not_kept_is_said_in_openais_words() {
    let (backend, house) = vllm().await;
    let request = r#"{"model":"m","previous_response_id":"resp_x","input":"one"}"#;
    let (status, error) = answer(house.ask("/v1/responses", request).await).await;
    assert_eq!(status, 400);
    let error = &error["error"];
    assert_eq!(error["code"], "previous_response_not_found");
    assert_eq!((&error["param"], &error["type"]), (&json!("previous_response_id"), &json!("invalid_request_error")));
    assert!(error["message"].as_str().unwrap().contains("'resp_x' not found"), "{error}");
    for (field, value) in [("conversation", json!("conv_1")), ("background", json!(true)), ("store", json!("yes"))] {
        let request = json!({ "model": "m", "input": "one", field: value });
        let (status, error) = answer(house.ask("/v1/responses", &request.to_string()).await).await;
        assert!(status == 400 && error["error"]["message"].as_str().unwrap().contains(field), "{error}");
    }
    turn(&backend, &house, &json!({ "model": "m", "input": "one" }), &json!({ "error": { "message": "odd" } })).await;
    let mut failed = said("resp_f", "half");
    failed["status"] = json!("failed");
    turn(&backend, &house, &json!({ "model": "m", "input": "one" }), &failed).await;
    for path in ["resp_f", "resp_x", "resp_x/input_items", "%2e%2e"] {
        let (status, error) = answer(house.send(&format!("GET /v1/responses/{path}"), "", b"").await).await;
        assert_eq!((status, &error["error"]["type"]), (404, &json!("not_found_error")), "{path}");
    }
    house.end(6).await;
}

#[tokio::test]
async fn what_is_kept_can_be_shown_listed_and_deleted() {
    let (backend, house) = vllm().await;
    turn(&backend, &house, &json!({ "model": "m", "input": "one" }), &said("resp_a", "two")).await;
    let next = json!({ "model": "m", "previous_response_id": "resp_a", "input": "three" });
    turn(&backend, &house, &next, &said("resp_b", "four")).await;
    let get = async |path: &str| answer(house.send(&format!("GET /v1/responses/{path}"), "", b"").await).await;

    let (status, list) = get("resp_b/input_items?order=asc&limit=2").await;
    let ids: Vec<&Value> = list["data"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!((status, &list["object"], &list["has_more"]), (200, &json!("list"), &json!(true)));
    assert_eq!(ids, ["msg_in_b_0", "msg_1"]);
    let (_, rest) = get("resp_b/input_items?order=asc&after=msg_1").await;
    assert_eq!(rest["data"][0]["content"], json!([{ "type": "input_text", "text": "three" }]));
    let (status, error) = get("resp_b/input_items?limit=0").await;
    assert!(status == 400 && error["error"]["message"].as_str().unwrap().contains("limit"), "{error}");

    let (status, error) = get("resp_b?stream=true").await;
    assert!(status == 400 && error["error"]["message"].as_str().unwrap().contains("`stream`"), "{error}");
    let shown = house.send("GET /v1/responses/resp_b?include%5B%5D=x&stream=false", "", b"").await.rest().await;
    assert!(shown.starts_with("HTTP/1.1 200") && shown.contains("x-fleet-ignored: include[]\r\n"), "{shown}");

    let (status, error) = answer(house.ask("/v1/responses/resp_b/cancel", "").await).await;
    assert!(status == 400 && error["error"]["message"].as_str().unwrap().contains("`cancel`"), "{error}");
    let (status, _) = answer(house.ask("/v1/responses/resp_b", "{}").await).await;
    assert_eq!(status, 405);

    let gone = answer(house.send("DELETE /v1/responses/resp_a", "", b"").await).await;
    assert_eq!(gone, (200, json!({ "id": "resp_a", "object": "response.deleted", "deleted": true })));
    let again = answer(house.send("DELETE /v1/responses/resp_a", "", b"").await).await;
    assert_eq!((again.0, get("resp_a").await.0, get("resp_b").await.0), (404, 404, 200));
    // The turn after it has all that it needs.
    let next = json!({ "model": "m", "previous_response_id": "resp_b", "input": "five" });
    let (asked, _) = turn(&backend, &house, &next, &said("resp_c", "six")).await;
    assert_eq!(asked["input"].as_array().unwrap().len(), 5);
    house.end(3).await;
}

#[tokio::test]
async fn tokens_are_counted_with_those_of_earlier_turns() {
    let (backend, house) = vllm().await;
    turn(&backend, &house, &json!({ "model": "m", "input": "x".repeat(400) }), &said("resp_a", &"y".repeat(80))).await;
    let path = "/v1/responses/input_tokens";
    let mut tokens = Vec::new();
    for mut request in [json!({}), json!({ "previous_response_id": "resp_a" })] {
        request["model"] = json!("m");
        request["input"] = json!("z".repeat(40));
        let (status, counted) = answer(house.ask(path, &request.to_string()).await).await;
        assert_eq!((status, &counted["object"]), (200, &json!("response.input_tokens")));
        tokens.push(counted["input_tokens"].as_u64().unwrap());
    }
    // Names of types are counted too.
    assert!(tokens[0] == 10 && (130..160).contains(&tokens[1]), "{tokens:?}");
    let unknown = json!({ "model": "m", "input": "z", "previous_response_id": "resp_x" });
    let (status, error) = answer(house.ask(path, &unknown.to_string()).await).await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("previous_response_not_found")));
    let get = house.send(&format!("GET {path}"), "", b"").await.rest().await;
    assert!(get.starts_with("HTTP/1.1 404"), "{get}");
    house.end(4).await;
}

/// As large as what Codex sends at "hi".
fn like_codex() -> String {
    let tool = |at: usize| {
        json!({ "type": "function", "name": format!("tool_{at}"), "strict": false,
            "description": format!("{at} Runs a command and tells what it said. ").repeat(60),
            "parameters": { "type": "object", "properties": { "command": { "type": "array" } } } })
    };
    let mut body = json!({ "model": "m", "store": false, "tools": (0..13).map(tool).collect::<Vec<_>>() });
    body["input"] = json!([user("hi")]);
    body.to_string()
}

#[tokio::test]
async fn packed_bodies_reach_the_backend_plain() {
    let plain = like_codex();
    assert!((30_000..60_000).contains(&plain.len()), "{}", plain.len());
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(plain.as_bytes()).unwrap();
    let mut zlib = Vec::new();
    flate2::read::ZlibEncoder::new(plain.as_bytes(), Compression::default()).read_to_end(&mut zlib).unwrap();
    let zstd = compress_to_vec(plain.as_bytes(), CompressionLevel::Fastest);
    for (coding, packed) in [("gzip", gzip.finish().unwrap()), ("deflate", zlib), ("zstd", zstd)] {
        let (backend, house) = vllm().await;
        let client = house.send("POST /v1/responses", &format!("Content-Encoding: {coding}\r\n"), &packed).await;
        let mut upstream = backend.accept().await;
        let (head, body) = asked(&mut upstream, "\"hi\"}]}]}").await;
        assert!(!head.contains("content-encoding"), "{head}");
        assert_eq!(body, serde_json::from_str::<Value>(&plain).unwrap());
        upstream.send(&whole(&said("resp_a", "x").to_string())).await;
        let (status, object) = answer(client).await;
        assert_eq!((status, &object["store"]), (200, &json!(false)));
        assert_eq!(house.end(1).await[0].request_bytes, plain.len() as u64);
    }
}

#[tokio::test]
async fn bombs_and_bodies_without_room_are_refused_in_the_clients_words() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&vec![b' '; 16 << 20]).unwrap();
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 32 << 10);
    for (path, sign) in [("/api/chat", "/error"), ("/v1/responses", "/error/type"), ("/v1/messages", "/error/message")]
    {
        let backend = Backend::new().await;
        let house = House::new(&[&backend], LONG, PLENTY).await;
        let (status, error) =
            answer(house.send(&format!("POST {path}"), "Content-Encoding: gzip\r\n", &bomb).await).await;
        assert!(status == 413 && error.pointer(sign).is_some_and(Value::is_string), "{path} {error}");
        assert_eq!(house.end(1).await[0].outcome, Outcome::Rejected);
    }
    let plain = like_codex();
    let zstd = compress_to_vec(plain.as_bytes(), CompressionLevel::Fastest);
    let backend = Backend::new().await;
    let house = House::new(&[&backend], LONG, 20_000).await;
    let mut client = house.send("POST /v1/responses", "Content-Encoding: zstd\r\n", &zstd).await;
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 503") && head.contains("retry-after: 1"), "{head}");
    house.end(1).await;
}
