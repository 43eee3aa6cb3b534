//! The control routes: what people, scripts and the dashboard read, and what they change.

mod change;
mod keys;
mod members;
mod order;
mod share;

use std::sync::{Arc, Weak};

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::body::Incoming;
use serde::Deserialize;
use tower_service::Service as _;

use crate::dashboard;
use crate::door::Door;
use crate::fleet::{View, ViewError};
use crate::reply::Reply;

/// The description of every route, for tools that read OpenAPI.
const OPENAPI: &str = include_str!("openapi.json");

pub(crate) type Shared = State<Weak<Door>>;

pub(crate) use order::{bearer, may_change, owner};

/// Whether `path` belongs to the control routes, and so to our own pages only.
pub(crate) fn is_control(path: &str) -> bool {
    let under = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    under("/fleet") || under("/dashboard") || matches!(path, "/metrics" | "/openapi.json")
}

pub(crate) fn router(door: Weak<Door>) -> axum::Router {
    axum::Router::new()
        .route("/fleet/self", get(|door: Shared| show(door, View::Status)))
        .route("/fleet/status", get(|door: Shared| show(door, View::FleetStatus)))
        .route("/fleet/queue", get(|door: Shared| show(door, View::FleetQueue)))
        .route("/fleet/models", get(|door: Shared| show(door, View::Models)))
        .route("/fleet/ps", get(|door: Shared| show(door, View::Loaded)))
        .route("/fleet/config", get(|door: Shared| show(door, View::Config)))
        .route("/fleet/doctor", get(|door: Shared| show(door, View::Doctor)))
        .route("/fleet/traces/{id}", get(|door: Shared, Path(id): Path<String>| show(door, View::Trace(id))))
        .route(
            "/dashboard/api/traces",
            get(|door: Shared, Query(range): Query<Range>| {
                show(door, View::Traces(range.limit.unwrap_or(50).min(1000)))
            }),
        )
        .route("/dashboard/api/overview", get(|door: Shared| show(door, View::Overview)))
        .route(
            "/dashboard/api/trends",
            get(|door: Shared, Query(range): Query<Range>| {
                show(door, View::Trends(range.hours.unwrap_or(72).min(24 * 366)))
            }),
        )
        .route(
            "/dashboard/api/models",
            get(|door: Shared, Query(range): Query<Range>| {
                show(door, View::ModelUsage(range.days.unwrap_or(7).min(366)))
            }),
        )
        .route(
            "/dashboard/api/usage",
            get(|door: Shared, Query(range): Query<Range>| show(door, View::Usage(range.days.unwrap_or(7).min(366)))),
        )
        .route(
            "/dashboard/api/apps",
            get(|door: Shared, Query(range): Query<Range>| show(door, View::Apps(range.days.unwrap_or(7).min(366)))),
        )
        .merge(change::routes())
        .merge(members::routes())
        .merge(keys::routes())
        .merge(share::routes())
        .merge(dashboard::routes())
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) }))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "there is nothing at this path") })
        .with_state(door)
}

/// How much is to be shown.
#[derive(Deserialize)]
struct Range {
    limit: Option<usize>,
    hours: Option<u32>,
    days: Option<u32>,
}

/// Answers a request for one of the control routes.
pub(crate) async fn answer(door: &Arc<Door>, request: Request<Incoming>) -> Response<Reply> {
    let (parts, body) = request.into_parts();
    let mut router = door.control_router();
    match router.call(Request::from_parts(parts, Body::new(body))).await {
        Ok(response) => response.map(Reply::Control),
        Err(never) => match never {},
    }
}

async fn show(State(door): Shared, view: View) -> Response<Body> {
    let Some(door) = door.upgrade() else { return error(StatusCode::SERVICE_UNAVAILABLE, "shutting down") };
    match door.fleet().view(view).await {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(ViewError::NotFound(text)) => error(StatusCode::NOT_FOUND, &text),
        Err(ViewError::Failed(text)) => error(StatusCode::INTERNAL_SERVER_ERROR, &text),
    }
}

async fn metrics(State(door): Shared) -> Response<Body> {
    let Some(door) = door.upgrade() else { return error(StatusCode::SERVICE_UNAVAILABLE, "shutting down") };
    let text = door.metrics().text(&door.fleet().gauges());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The answer to whoever may not ask for that here.
pub(crate) fn refused(text: &str) -> Response<Reply> {
    error(StatusCode::FORBIDDEN, text).map(Reply::Control)
}

pub(crate) fn error(status: StatusCode, text: &str) -> Response<Body> {
    (status, axum::Json(serde_json::json!({ "error": text }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_are_control() {
        for (path, control) in [
            ("/fleet/status", true),
            ("/fleet", true),
            ("/fleetx", false),
            ("/dashboard/api/traces", true),
            ("/metrics", true),
            ("/api/tags", false),
            ("/", false),
        ] {
            assert_eq!(is_control(path), control, "{path}");
        }
    }

    #[test]
    fn every_route_is_described() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let source = [
            include_str!("control.rs"),
            include_str!("control/change.rs"),
            include_str!("control/keys.rs"),
            include_str!("control/members.rs"),
            include_str!("control/share.rs"),
            include_str!("dashboard.rs"),
        ]
        .concat();
        for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
            let path = line.split('"').next().unwrap().replace("{*", "{");
            assert!(path == "/openapi.json" || paths.contains_key(&path), "{path} is not in openapi.json");
        }
        for api in proto::Api::ALL {
            assert!(paths.contains_key(api.path()), "{} is not in openapi.json", api.path());
        }
    }
}
