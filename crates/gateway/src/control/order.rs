//! What all routes that change something have in common: the token, the JSON they take, and how refusals are told.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use super::{Shared, error};
use crate::dashboard::is_same;
use crate::door::Door;
use crate::fleet::{Change, ChangeError};

/// Bytes of the longest order.
pub(super) const LONGEST: usize = 64 * 1024;

/// Carries out what `change` makes of the body, for a holder of the token. The error of `change` is told as a 400.
pub(super) async fn carry_out<T: DeserializeOwned>(
    door: Shared,
    headers: &HeaderMap,
    body: &[u8],
    change: impl FnOnce(T) -> Result<Change, String>,
) -> Response<Body> {
    let (door, asked) = match permitted(door, headers, body) {
        Ok(permitted) => permitted,
        Err(refused) => return *refused,
    };
    let change = match change(asked) {
        Ok(change) => change,
        Err(why) => return error(StatusCode::BAD_REQUEST, &why),
    };
    match door.fleet().change(change).await {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(refused) => refusal(&refused),
    }
}

/// The door and what was asked of it, where the token was sent and the body is understood. No body is an empty object.
pub(super) fn permitted<T: DeserializeOwned>(
    State(door): Shared,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Arc<Door>, T), Box<Response<Body>>> {
    let refused = |status, text: &str| Err(Box::new(error(status, text)));
    let Some(door) = door.upgrade() else { return refused(StatusCode::SERVICE_UNAVAILABLE, "shutting down") };
    if !may_change(&door, headers) {
        return refused(
            StatusCode::UNAUTHORIZED,
            "this changes something, so it needs `Authorization: Bearer` with the content of control.token in Herd's data directory; a browser is signed in by `herd dashboard`",
        );
    }
    match serde_json::from_slice(if body.is_empty() { b"{}" } else { body }) {
        Ok(asked) => Ok((door, asked)),
        Err(why) => refused(StatusCode::BAD_REQUEST, &format!("the body is not what it should be: {why}")),
    }
}

/// The answer that says why nothing was changed.
pub(super) fn refusal(why: &ChangeError) -> Response<Body> {
    let status = match why {
        ChangeError::NotFound(_) => StatusCode::NOT_FOUND,
        ChangeError::Refused(_) => StatusCode::FORBIDDEN,
        ChangeError::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
        ChangeError::Failed(_) => StatusCode::BAD_GATEWAY,
    };
    error(status, &why.to_string())
}

/// The door, for whoever has the control token itself. The body must be an empty object, or nothing.
pub(crate) fn owner(State(door): Shared, headers: &HeaderMap, body: &[u8]) -> Result<Arc<Door>, Box<Response<Body>>> {
    let refused = |status, text: &str| Err(Box::new(error(status, text)));
    let Some(door) = door.upgrade() else { return refused(StatusCode::SERVICE_UNAVAILABLE, "shutting down") };
    if !bearer(headers).is_some_and(|token| is_same(door.settings().token(), token)) {
        return refused(
            StatusCode::UNAUTHORIZED,
            "this needs `Authorization: Bearer` with the content of control.token in Herd's data directory",
        );
    }
    match body {
        b"" | b"{}" => Ok(door),
        _ => refused(StatusCode::BAD_REQUEST, "the body is not {}"),
    }
}

/// Whether the control token was sent, or that of a session of the dashboard.
pub(crate) fn may_change(door: &Door, headers: &HeaderMap) -> bool {
    bearer(headers).is_some_and(|token| {
        is_same(door.settings().token(), token) || door.sessions().admits(token, door.clock().now())
    })
}

/// The token that was sent.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
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
            let opened = |token| bearer(&headers).is_some_and(|sent| is_same(token, sent));
            assert_eq!(opened("secret"), opens, "{sent:?}");
            assert!(!opened(""), "{sent:?}");
        }
    }
}
