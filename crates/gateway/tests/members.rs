//! The control routes about the machines of a fleet: what they take, and the stream that shows a code.

mod scripted;

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use gateway::{Change, ChangeError, ShareOrder};
use scripted::{Connection, House};
use tokio::sync::mpsc;

const TOKEN: &str = "Authorization: Bearer secret\r\nContent-Type: application/json\r\n";

async fn house() -> House {
    House::new(&[], Duration::from_secs(3600), 1 << 20).await
}

async fn send(house: &House, path: &str, headers: &str, body: &str) -> Connection {
    house.send(&format!("POST {path}"), headers, body.as_bytes()).await
}

#[tokio::test]
async fn each_route_asks_for_its_change() {
    let house = house().await;
    let text = str::to_owned;
    for (path, body, change) in [
        ("/fleet/join", r#"{"code":" 7kq2 m9xd"}"#, Change::Join { code: text("7kq2 m9xd"), address: None }),
        (
            "/fleet/join",
            r#"{"code":"7KQ2-M9XD","address":"10.0.0.5:41233"}"#,
            Change::Join { code: text("7KQ2-M9XD"), address: Some(text("10.0.0.5:41233")) },
        ),
        ("/fleet/pair/answer", r#"{"id":"x","allow":true}"#, Change::Answer { joiner: text("x"), allow: true }),
        ("/fleet/leave", "{}", Change::Leave),
        ("/fleet/leave", "", Change::Leave),
        ("/fleet/remove", r#"{"device":"bob"}"#, Change::Remove { device: text("bob") }),
        (
            "/fleet/rename",
            r#"{"device":"bob","name":"Bob’s"}"#,
            Change::Rename { device: text("bob"), name: text("Bob’s") },
        ),
        ("/fleet/new", r#"{"name":"Home"}"#, Change::NewFleet { name: Some(text("Home")) }),
        ("/fleet/new", "{}", Change::NewFleet { name: None }),
        (
            "/fleet/share",
            r#"{"rule":"meetings","enabled":false}"#,
            Change::Share(ShareOrder { rule: Some((text("meetings"), false)), ..ShareOrder::default() }),
        ),
    ] {
        let answer = send(&house, path, TOKEN, body).await.rest().await;
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("nothing to change"), "{path}: {answer}");
        assert_eq!(house.fleet.changes.lock().unwrap().pop(), Some(change), "{path}");
    }
}

#[tokio::test]
async fn what_is_no_order_is_refused() {
    let house = house().await;
    let long = |count| "a".repeat(count);
    for (path, body) in [
        ("/fleet/join", "{}".to_owned()),
        ("/fleet/join", format!(r#"{{"code":"{}"}}"#, long(33))),
        ("/fleet/join", format!(r#"{{"code":"a","address":"{}"}}"#, long(257))),
        ("/fleet/join", r#"{"code":"7KQ2\u0000M9XD"}"#.to_owned()),
        ("/fleet/pair/answer", r#"{"id":"x"}"#.to_owned()),
        ("/fleet/remove", r#"{"device":" "}"#.to_owned()),
        ("/fleet/rename", format!(r#"{{"device":"a","name":"{}"}}"#, long(65))),
        ("/fleet/rename", r#"{"device":"a","name":"b\u202e"}"#.to_owned()),
        ("/fleet/new", r#"{"name":""}"#.to_owned()),
        ("/fleet/leave", r#"{"really":true}"#.to_owned()),
        ("/fleet/pair", r#"{"yes":"yes"}"#.to_owned()),
    ] {
        let answer = send(&house, path, TOKEN, &body).await.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"error\":"), "{path} {body}: {answer}");
    }
    assert!(house.fleet.changes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_the_token_nothing_changes_and_no_code_is_shown() {
    let house = house().await;
    let (events, seen) = mpsc::unbounded_channel::<Result<Bytes, ChangeError>>();
    *house.fleet.pairing.lock().unwrap() = Some(stream(seen));
    for path in ["pair", "pair/answer", "join", "leave", "remove", "rename", "new", "share"] {
        for headers in ["", "Authorization: Bearer secre\r\n"] {
            let answer = send(&house, &format!("/fleet/{path}"), headers, "{}").await.rest().await;
            assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
        }
    }
    assert!(house.fleet.changes.lock().unwrap().is_empty());
    assert!(!events.is_closed(), "the stream was asked for");
    for path in ["nodes", "devices", "leader", "share"] {
        let answer = house.send(&format!("GET /fleet/{path}"), "", b"").await.rest().await;
        assert!(answer.contains("nothing to see"), "{path}: {answer}");
    }
}

fn stream(seen: mpsc::UnboundedReceiver<Result<Bytes, ChangeError>>) -> gateway::PairStream {
    futures_util::stream::unfold(seen, |mut seen| async move { Some((seen.recv().await?, seen)) }).boxed()
}

#[tokio::test]
async fn a_code_is_told_at_once_and_withdrawn_with_its_client() {
    let house = house().await;
    let (events, seen) = mpsc::unbounded_channel();
    *house.fleet.pairing.lock().unwrap() = Some(stream(seen));
    let mut client = send(&house, "/fleet/pair", TOKEN, r#"{"yes":true}"#).await;
    events.send(Ok(Bytes::from_static(b"{\"code\":\"7KQ2-M9XD\"}"))).unwrap();
    let head = client.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/x-ndjson"), "{head}");
    assert!(head.contains("no-store"), "{head}");
    client.until("{\"code\":\"7KQ2-M9XD\"}\n").await;
    events.send(Ok(Bytes::from_static(b"{\"asks\":{}}"))).unwrap();
    client.until("{\"asks\":{}}\n").await;
    assert!(!events.is_closed());
    drop(client);
    events.closed().await;
}

#[tokio::test]
async fn a_code_that_cannot_be_shown_is_told_with_a_status() {
    let house = house().await;
    for (event, status) in [
        (Some(Err(ChangeError::Refused("a code is shown already".to_owned()))), "403"),
        (Some(Err(ChangeError::Failed("no port".to_owned()))), "502"),
        (None, "502"),
    ] {
        *house.fleet.pairing.lock().unwrap() = Some(futures_util::stream::iter(event).boxed());
        let answer = send(&house, "/fleet/pair", TOKEN, "{}").await.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains("\"error\""), "{answer}");
    }
}

#[tokio::test]
async fn an_error_after_the_code_is_the_last_line() {
    let house = house().await;
    let events = [Ok(Bytes::from_static(b"{\"code\":\"x\"}")), Err(ChangeError::TimedOut("nobody joined".to_owned()))];
    *house.fleet.pairing.lock().unwrap() = Some(futures_util::stream::iter(events).boxed());
    let answer = send(&house, "/fleet/pair", TOKEN, "{}").await.rest().await;
    assert!(answer.contains("{\"error\":\"nobody joined\",\"kind\":\"timed_out\"}\n"), "{answer}");
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
}
