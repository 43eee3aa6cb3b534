//! The dashboard: its page, the feed that keeps the page true, and the sessions of those who may change things in it.
//!
//! Starts nothing: what is fed is looked at by those who listen, and while nobody listens nothing is looked at.

mod assets;
mod feed;
mod look;
mod merge;
mod session;

use std::sync::Weak;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use crate::control::{self, Shared};
use crate::door::Door;

pub(crate) use feed::Feed;
pub(crate) use session::{Sessions, is_same};

/// Bytes of the longest order.
const LONGEST: usize = 4096;

/// The routes.
pub(crate) fn routes() -> axum::Router<Weak<Door>> {
    axum::Router::new()
        .route("/dashboard", get(|headers: HeaderMap| async move { assets::page(&headers) }))
        .route("/dashboard/", get(|headers: HeaderMap| async move { assets::page(&headers) }))
        .route("/dashboard/{*path}", get(asset))
        .route("/dashboard/events", get(whole_feed))
        .route("/dashboard/api/events", get(events))
        .route("/dashboard/api/ticket", post(ticket))
        .route("/dashboard/api/session", post(begin).get(is_signed_in).delete(end))
        .layer(DefaultBodyLimit::max(LONGEST))
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response<Body> {
    assets::asset(&path, &headers)
}

async fn events(State(door): Shared) -> Response<Body> {
    let Some(door) = door.upgrade() else { return shutting_down() };
    feed::deltas(&door).map_or_else(too_many, stream)
}

/// The documented feed of the earlier system: everything anew every two seconds.
async fn whole_feed(State(door): Shared) -> Response<Body> {
    let Some(door) = door.upgrade() else { return shutting_down() };
    feed::wholes(&door).map_or_else(too_many, stream)
}

fn stream(body: Body) -> Response<Body> {
    ([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

fn too_many() -> Response<Body> {
    let text = format!("{} listeners are the most that are fed at once", feed::MOST_LISTENERS);
    control::error(StatusCode::SERVICE_UNAVAILABLE, &text)
}

fn shutting_down() -> Response<Body> {
    control::error(StatusCode::SERVICE_UNAVAILABLE, "shutting down")
}

/// Makes a ticket for whoever has the control token: the browser that is opened with it is signed in.
async fn ticket(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let door = match control::owner(door, &headers, &body) {
        Ok(door) => door,
        Err(refused) => return *refused,
    };
    match door.sessions().ticket(door.clock().now()) {
        Some(ticket) => private(&json!({
            "ticket": ticket, "path": format!("/dashboard#t={ticket}"), "expires_in_s": session::TICKET_LASTS.as_secs(),
        })),
        None => control::error(StatusCode::INTERNAL_SERVER_ERROR, "this system gives no random numbers"),
    }
}

/// What a page sends to be signed in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    ticket: String,
}

async fn begin(State(door): Shared, body: Bytes) -> Response<Body> {
    let Some(door) = door.upgrade() else { return shutting_down() };
    let Ok(Begin { ticket }) = serde_json::from_slice(&body) else {
        return control::error(StatusCode::BAD_REQUEST, "the body is not {\"ticket\": \"…\"}");
    };
    match door.sessions().begin(&ticket, door.clock().now()) {
        Some(token) => private(&json!({ "token": token })),
        None => control::error(
            StatusCode::FORBIDDEN,
            "this ticket was used already or is too old; `herd dashboard` opens the page with a new one",
        ),
    }
}

async fn is_signed_in(State(door): Shared, headers: HeaderMap) -> Response<Body> {
    let Some(door) = door.upgrade() else { return shutting_down() };
    private(&json!({ "signed_in": control::may_change(&door, &headers) }))
}

async fn end(State(door): Shared, headers: HeaderMap) -> Response<Body> {
    let Some(door) = door.upgrade() else { return shutting_down() };
    if let Some(token) = control::bearer(&headers) {
        door.sessions().end(token);
    }
    private(&json!({}))
}

/// An answer that is nobody else's.
fn private(value: &serde_json::Value) -> Response<Body> {
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(value)).into_response()
}
