//! The control routes that have models loaded and unloaded.

use std::sync::Weak;

use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Response};
use axum::routing::post;
use proto::ModelName;
use serde::Deserialize;

use super::Shared;
use super::order::{LONGEST, carry_out};
use crate::door::Door;
use crate::fleet::Change;

/// The routes.
pub(super) fn routes() -> axum::Router<Weak<Door>> {
    axum::Router::new()
        .route("/fleet/load", post(load))
        .route("/fleet/unload", post(unload))
        .layer(DefaultBodyLimit::max(LONGEST))
}

/// A model, and how it is to be loaded.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    model: String,
    context: Option<u64>,
}

async fn load(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let change = |Model { model, context }| Ok(Change::Load { model: ModelName::new(&model), context });
    carry_out(door, &headers, &body, change).await
}

async fn unload(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let change = |Model { model, .. }| Ok(Change::Unload { model: ModelName::new(&model) });
    carry_out(door, &headers, &body, change).await
}
