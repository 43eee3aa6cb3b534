//! The dashboard's feed and its sessions, as a page sees them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod scripted;

use std::sync::atomic::Ordering;
use std::time::Duration;

use scripted::{Connection, House};
use serde_json::{Value, json};

const OWNER: &str = "Authorization: Bearer secret\r\nContent-Type: application/json\r\n";

async fn house() -> House {
    let house = House::new(&[], Duration::from_secs(3600), 1 << 20).await;
    say(&house, 0);
    house
}

fn say(house: &House, in_flight: u32) {
    *house.fleet.status.lock().unwrap() = Some(json!({ "name": "here", "in_flight": in_flight, "leader": null }));
}

async fn listen(house: &House) -> Connection {
    let mut listener = house.send("GET /dashboard/api/events", "", b"").await;
    listener.until("\r\n\r\n").await;
    listener
}

/// The answer to a POST: its status, and its JSON.
async fn post(house: &House, path: &str, headers: &str, body: &str) -> (u16, Value) {
    told(house.send(&format!("POST {path}"), headers, body.as_bytes()).await).await
}

async fn told(mut answer: Connection) -> (u16, Value) {
    let text = answer.rest().await;
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap())
}

#[tokio::test]
async fn a_listener_is_told_everything_once_and_then_what_changes() {
    let house = house().await;
    let mut listener = listen(&house).await;
    let first = listener.until("\n\n").await;
    assert!(first.contains("id: 1\nevent: snapshot\ndata: {"), "{first}");
    assert!(first.contains(r#""self":{"name":"here","in_flight":0}"#) && !first.contains("null"), "{first}");
    say(&house, 2);
    let change = listener.until("\n\n").await;
    assert!(change.contains("id: 2\nevent: delta\ndata: {\"self\":{\"in_flight\":2}}"), "{change}");
    // Whoever comes later begins with everything, too.
    let mut late = listen(&house).await;
    let all = late.until("\n\n").await;
    assert!(all.contains("id: 2\nevent: snapshot\n") && all.contains(r#""in_flight":2"#), "{all}");
}

#[tokio::test]
async fn while_nobody_listens_nobody_looks() {
    let house = house().await;
    assert_eq!(house.fleet.looks.load(Ordering::Relaxed), 0);
    let mut listener = listen(&house).await;
    listener.until("\n\n").await;
    drop(listener);
    // That the page has gone is noticed at some time; from then on nothing is looked at for longer than any part lasts.
    let mut before = 0;
    for _ in 0..100 {
        let looks = house.fleet.looks.load(Ordering::Relaxed);
        if looks == before {
            return;
        }
        before = looks;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    panic!("somebody still looks");
}

#[tokio::test]
async fn there_are_places_for_so_many_and_they_are_given_back() {
    let house = house().await;
    let mut listeners = Vec::new();
    for _ in 0..32 {
        let mut listener = listen(&house).await;
        assert!(listener.until("\n\n").await.contains("snapshot"));
        listeners.push(listener);
    }
    let (status, why) = told(house.send("GET /dashboard/api/events", "", b"").await).await;
    assert!(status == 503 && why["error"].as_str().unwrap().contains("32"), "{why}");
    assert_eq!(told(house.send("GET /dashboard/events", "", b"").await).await.0, 503);
    drop(listeners);
    for _ in 0..100 {
        let mut next = house.send("GET /dashboard/api/events", "", b"").await;
        if next.until("\r\n").await.contains(" 200 ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no place became free");
}

#[tokio::test]
async fn a_page_that_watches_does_not_hold_up_the_end() {
    let house = house().await;
    let mut listener = listen(&house).await;
    listener.until("\n\n").await;
    house.end(0).await;
    // Ended, not cut off.
    assert!(listener.rest().await.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn a_ticket_signs_a_page_in_once() {
    let house = house().await;
    let (status, made) = post(&house, "/dashboard/api/ticket", OWNER, "{}").await;
    let ticket = made["ticket"].as_str().unwrap();
    assert_eq!((status, made["path"].as_str().unwrap()), (200, format!("/dashboard#t={ticket}").as_str()));
    let exchange = json!({ "ticket": ticket }).to_string();
    let page = "Content-Type: application/json\r\nOrigin: http://localhost\r\n";
    let (status, session) = post(&house, "/dashboard/api/session", page, &exchange).await;
    assert_eq!(status, 200, "{session}");
    assert_eq!(post(&house, "/dashboard/api/session", page, &exchange).await.0, 403);

    let signed_in = format!("{page}Authorization: Bearer {}\r\n", session["token"].as_str().unwrap());
    let is_in = async || told(house.send("GET /dashboard/api/session", &signed_in, b"").await).await.1;
    assert_eq!(is_in().await, json!({ "signed_in": true }));
    // The stand-in has nothing to change, which is another answer than that of one who may not.
    assert_eq!(post(&house, "/fleet/leave", &signed_in, "{}").await.0, 404);
    assert_eq!(post(&house, "/fleet/leave", page, "{}").await.0, 401);
    // A page makes no further tickets.
    assert_eq!(post(&house, "/dashboard/api/ticket", &signed_in, "{}").await.0, 401);

    let (status, _) = told(house.send("DELETE /dashboard/api/session", &signed_in, b"").await).await;
    assert_eq!(status, 200);
    assert_eq!(is_in().await, json!({ "signed_in": false }));
    assert_eq!(post(&house, "/fleet/leave", &signed_in, "{}").await.0, 401);
}

#[tokio::test]
async fn other_pages_get_no_session_and_no_feed() {
    let house = house().await;
    let other = "Content-Type: application/json\r\nOrigin: http://localhost:3000\r\n";
    for what in ["POST /dashboard/api/session", "POST /dashboard/api/ticket", "GET /dashboard/api/events"] {
        let answer = house.send(what, other, b"{}").await.rest().await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{what}: {answer}");
    }
    for body in ["", "{}", "[]", r#"{"ticket":7}"#, r#"{"ticket":"a","more":1}"#] {
        let json = "Content-Type: application/json\r\n";
        assert_eq!(post(&house, "/dashboard/api/session", json, body).await.0, 400, "{body}");
    }
}
