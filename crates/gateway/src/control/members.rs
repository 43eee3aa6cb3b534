//! The control routes about the machines of the fleet: who they are, and who joins, leaves, or is called otherwise.
//!
//! Looking is free, as everywhere; changing and showing a code are for holders of the control token.

use std::convert::Infallible;
use std::sync::Weak;

use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;

use super::order::{LONGEST, carry_out, permitted, refusal};
use super::{Shared, error, show};
use crate::door::Door;
use crate::fleet::{Change, ChangeError, PairStream, View};

/// Characters of the longest name of a machine or a fleet.
const LONGEST_NAME: usize = 64;
/// Characters of the longest text by which a machine is meant: its name, or its identity in full.
const LONGEST_DEVICE: usize = 128;
/// Bytes of the longest code as typed, with what people put between its characters.
const LONGEST_CODE: usize = 32;
/// Bytes of the longest `host:port`.
const LONGEST_ADDRESS: usize = 256;

/// The routes.
pub(super) fn routes() -> axum::Router<Weak<Door>> {
    axum::Router::new()
        .route("/fleet/nodes", get(|door: Shared| show(door, View::Nodes)))
        .route("/fleet/devices", get(|door: Shared| show(door, View::Devices)))
        .route("/fleet/leader", get(|door: Shared| show(door, View::Leader)))
        .route("/fleet/pair", post(pair))
        .route("/fleet/pair/answer", post(answer))
        .route("/fleet/join", post(join))
        .route("/fleet/leave", post(leave))
        .route("/fleet/remove", post(remove))
        .route("/fleet/rename", post(rename))
        .route("/fleet/new", post(new_fleet))
        .layer(DefaultBodyLimit::max(LONGEST))
}

/// How a machine is let in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    /// Whether whoever has the code needs no further consent.
    #[serde(default)]
    yes: bool,
}

/// Shows a code: a line for each thing that happens, as long as the client stays.
async fn pair(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let (door, Pair { yes }) = match permitted(door, &headers, &body) {
        Ok(permitted) => permitted,
        Err(refused) => return *refused,
    };
    let mut events = door.fleet().pair(yes);
    // Until the code is there, a failure still has a status to be told with.
    match events.next().await {
        Some(Ok(first)) => (
            [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-store")],
            lines(first, events),
        )
            .into_response(),
        Some(Err(refused)) => refusal(&refused),
        None => error(StatusCode::BAD_GATEWAY, "no code was made"),
    }
}

/// `first` and all that follows as lines; the first error is the last line. Dropped with the client's connection.
fn lines(first: Bytes, rest: PairStream) -> Body {
    let first = stream::iter([Ok(first)]);
    let events = first.chain(rest).scan(false, |ended, event| {
        let line = if *ended { None } else { Some(line(&event)) };
        *ended |= event.is_err();
        std::future::ready(line.map(Ok::<_, Infallible>))
    });
    Body::from_stream(events)
}

fn line(event: &Result<Bytes, ChangeError>) -> Bytes {
    let mut line = match event {
        // Between the tokens of JSON a line end is but a space; within a text it cannot be.
        Ok(json) => json.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect(),
        Err(why) => {
            let kind = match why {
                ChangeError::NotFound(_) => "not_found",
                ChangeError::Refused(_) => "refused",
                ChangeError::TimedOut(_) => "timed_out",
                ChangeError::Failed(_) => "failed",
            };
            json!({ "error": why.to_string(), "kind": kind }).to_string().into_bytes()
        }
    };
    line.push(b'\n');
    line.into()
}

/// Whether a machine that asks may join.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    id: String,
    allow: bool,
}

async fn answer(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let change = |Answer { id, allow }| Ok(Change::Answer { joiner: device(&id)?, allow });
    carry_out(door, &headers, &body, change).await
}

/// A code, and where it is shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    code: String,
    address: Option<String>,
}

async fn join(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let change = |Join { code, address }| {
        Ok(Change::Join {
            code: within_bytes(&code, LONGEST_CODE).ok_or("a code has 8 letters and digits, and 32 bytes at most")?,
            address: match address {
                Some(address) => Some(
                    within_bytes(&address, LONGEST_ADDRESS)
                        .ok_or("an address is host:port, in 256 visible bytes at most")?,
                ),
                None => None,
            },
        })
    };
    carry_out(door, &headers, &body, change).await
}

/// Nothing more to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn leave(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    carry_out(door, &headers, &body, |Nothing {}| Ok(Change::Leave)).await
}

/// A machine of the fleet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Device {
    device: String,
}

async fn remove(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let change = |asked: Device| Ok(Change::Remove { device: device(&asked.device)? });
    carry_out(door, &headers, &body, change).await
}

/// A machine of the fleet, and what it shall be called.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Naming {
    device: String,
    name: String,
}

async fn rename(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let change = |asked: Naming| Ok(Change::Rename { device: device(&asked.device)?, name: name(&asked.name)? });
    carry_out(door, &headers, &body, change).await
}

/// A fleet that is to begin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFleet {
    name: Option<String>,
}

async fn new_fleet(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let change = |asked: NewFleet| Ok(Change::NewFleet { name: asked.name.as_deref().map(name).transpose()? });
    carry_out(door, &headers, &body, change).await
}

fn name(text: &str) -> Result<String, String> {
    visible(text, LONGEST_NAME).ok_or_else(|| "a name has 1 to 64 visible characters".to_owned())
}

fn device(text: &str) -> Result<String, String> {
    visible(text, LONGEST_DEVICE).ok_or_else(|| "a device is meant by its name or its id".to_owned())
}

fn within_bytes(text: &str, most: usize) -> Option<String> {
    visible(text, most).filter(|text| text.len() <= most)
}

/// `text` without spaces around it, if it has 1 to `most` characters and none that hides, moves the cursor or turns the
/// reading direction: names are told to other people, who must be able to tell them apart.
fn visible(text: &str, most: usize) -> Option<String> {
    let text = text.trim();
    let fits = (1..=most).contains(&text.chars().count()) && is_visible(text);
    fits.then(|| text.to_owned())
}

/// Whether nothing in `text` hides, moves the cursor or turns the reading direction.
pub(super) fn is_visible(text: &str) -> bool {
    let hides = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                    | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
            )
    };
    !text.chars().any(hides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_something_to_see() {
        for (given, taken) in [
            ("bob-laptop", Some("bob-laptop")),
            (" Bobs Rechner 模型 ", Some("Bobs Rechner 模型")),
            ("", None),
            ("  ", None),
            ("a\u{1b}[2Jb", None),
            ("a\u{202e}b", None),
            ("a\u{200b}", None),
        ] {
            assert_eq!(name(given).ok().as_deref(), taken, "{given:?}");
        }
        assert!(name(&"ä".repeat(64)).is_ok());
        assert!(name(&"ä".repeat(65)).is_err());
        assert_eq!(within_bytes(&"ä".repeat(17), LONGEST_CODE), None);
    }

    #[tokio::test]
    async fn the_first_error_is_the_last_line() {
        let event = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
        let rest = [
            event("{\"a\":\n1}"),
            Err(ChangeError::TimedOut("nobody \"joined\"".to_owned())),
            event("{\"never\":true}"),
        ];
        let body = lines(Bytes::from_static(b"{}"), Box::pin(stream::iter(rest)));
        let text = axum::body::to_bytes(body, 1 << 16).await.unwrap();
        let expected = "{}\n{\"a\": 1}\n{\"error\":\"nobody \\\"joined\\\"\",\"kind\":\"timed_out\"}\n";
        assert_eq!(text, expected);
    }
}
