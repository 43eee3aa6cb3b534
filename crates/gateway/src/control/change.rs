//! The control routes that change something: for holders of the control token only.

use std::sync::Weak;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use proto::ModelName;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Shared, error};
use crate::door::Door;
use crate::fleet::{Change, ChangeError};

/// Bytes of the longest order.
const LONGEST: usize = 64 * 1024;

/// The routes.
pub(super) fn routes() -> axum::Router<Weak<Door>> {
    axum::Router::new()
        .route("/fleet/load", post(|door: Shared, headers: HeaderMap, body: Bytes| load(door, headers, body)))
        .route("/fleet/unload", post(|door: Shared, headers: HeaderMap, body: Bytes| unload(door, headers, body)))
        .layer(axum::extract::DefaultBodyLimit::max(LONGEST))
}

/// A model, and how it is to be loaded.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    model: String,
    context: Option<u64>,
}

async fn load(door: Shared, headers: HeaderMap, body: Bytes) -> Response<axum::body::Body> {
    change(door, &headers, &body, |Model { model, context }| Change::Load { model: ModelName::new(&model), context })
        .await
}

async fn unload(door: Shared, headers: HeaderMap, body: Bytes) -> Response<axum::body::Body> {
    change(door, &headers, &body, |Model { model, .. }| Change::Unload { model: ModelName::new(&model) }).await
}

async fn change<T: DeserializeOwned>(
    State(door): Shared,
    headers: &HeaderMap,
    body: &[u8],
    change: impl FnOnce(T) -> Change,
) -> Response<axum::body::Body> {
    let Some(door) = door.upgrade() else { return error(StatusCode::SERVICE_UNAVAILABLE, "shutting down") };
    if !has_token(headers, door.settings().token()) {
        return error(
            StatusCode::UNAUTHORIZED,
            "this changes something, so it needs `Authorization: Bearer` with the content of control.token in Herd's data directory",
        );
    }
    let asked: T = match serde_json::from_slice(body) {
        Ok(asked) => asked,
        Err(why) => return error(StatusCode::BAD_REQUEST, &format!("the body is not what it should be: {why}")),
    };
    match door.fleet().change(change(asked)).await {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(ChangeError::NotFound(text)) => error(StatusCode::NOT_FOUND, &text),
        Err(ChangeError::Refused(text)) => error(StatusCode::FORBIDDEN, &text),
        Err(ChangeError::TimedOut(text)) => error(StatusCode::GATEWAY_TIMEOUT, &text),
        Err(ChangeError::Failed(text)) => error(StatusCode::BAD_GATEWAY, &text),
    }
}

/// Whether the control token was sent. Takes as long for a token that is nearly right as for any other.
fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
    let Some((scheme, sent)) = sent else { return false };
    let differs = sent.iter().zip(token.as_bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
    scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty() && sent.len() == token.len() && differs == 0
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_token_opens() {
        for (sent, opens) in [
            (Some("Bearer secret"), true),
            (Some("bearer secret"), true),
            (Some("Bearer secrets"), false),
            (Some("Bearer secre"), false),
            (Some("Bearer "), false),
            (Some("secret"), false),
            (Some("Basic secret"), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(sent) = sent {
                headers.insert(header::AUTHORIZATION, HeaderValue::from_static(sent));
            }
            assert_eq!(has_token(&headers, "secret"), opens, "{sent:?}");
            assert!(!has_token(&headers, ""), "{sent:?}");
        }
    }
}
