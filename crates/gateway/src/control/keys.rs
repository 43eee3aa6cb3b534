//! The control routes about the keys of clients on other machines. Even looking at them takes the control token.

use std::sync::{Arc, Weak};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::order::{LONGEST, carry_out, permitted};
use super::{Shared, show};
use crate::door::Door;
use crate::fleet::{Change, View};
use crate::keys::MOST_PER_MINUTE;

/// Bytes of the longest name: it goes with each request of the key from node to node.
const LONGEST_NAME: usize = 64;
/// The most requests at once that a limit may say.
const MOST_AT_ONCE: u32 = 10_000;

/// The routes.
pub(super) fn routes() -> axum::Router<Weak<Door>> {
    axum::Router::new()
        .route("/fleet/keys", get(list).post(add))
        .route("/fleet/keys/revoke", post(revoke))
        .layer(DefaultBodyLimit::max(LONGEST))
}

/// Nothing to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn list(door: Shared, headers: HeaderMap) -> Response<Body> {
    match permitted(door, &headers, b"") {
        Ok((door, Nothing {})) => show(State(Arc::downgrade(&door)), View::Keys).await,
        Err(refused) => *refused,
    }
}

/// A key that is to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    rpm: Option<u32>,
    at_once: Option<u32>,
}

async fn add(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let within = |limit: Option<u32>, most: u32| limit.is_none_or(|limit| (1..=most).contains(&limit));
    let change = |Wanted { name: given, rpm, at_once }| {
        if !within(rpm, MOST_PER_MINUTE) || !within(at_once, MOST_AT_ONCE) {
            return Err(format!("limits are numbers from 1 to {MOST_PER_MINUTE}"));
        }
        Ok(Change::AddKey { name: name(&given)?, rpm, at_once })
    };
    carry_out(door, &headers, &body, change).await
}

/// A key that is there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    name: String,
}

async fn revoke(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let change = |Known { name: given }| Ok(Change::RevokeKey { name: name(&given)? });
    carry_out(door, &headers, &body, change).await
}

fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fits = (1..=LONGEST_NAME).contains(&text.len()) && super::members::is_visible(text);
    fits.then(|| text.to_owned()).ok_or_else(|| format!("a key's name has 1 to {LONGEST_NAME} visible bytes"))
}
