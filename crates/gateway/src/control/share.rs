//! The control route about sharing: whether this machine takes requests of others, and what its owner says about that.

use std::sync::Weak;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Response};
use axum::routing::get;
use serde::Deserialize;

use super::order::{LONGEST, carry_out};
use super::{Shared, show};
use crate::door::Door;
use crate::fleet::{Change, View};
use crate::share::{self, PauseFor, ShareOrder, ShareWish};

/// Characters of the longest name of a program or a rule.
const LONGEST_NAME: usize = 128;

/// The routes.
pub(super) fn routes() -> axum::Router<Weak<Door>> {
    axum::Router::new()
        .route("/fleet/share", get(|door: Shared| show(door, View::Share)).post(order))
        .layer(DefaultBodyLimit::max(LONGEST))
}

/// What may be said, in one go or one by one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    state: Option<String>,
    /// Seconds, for `pause`.
    for_s: Option<u64>,
    /// `tomorrow`, for `pause`.
    until: Option<String>,
    /// Seconds to share whatever the rules say; 0 ends that.
    override_s: Option<u64>,
    rule: Option<String>,
    enabled: Option<bool>,
    ignore_app: Option<String>,
    heed_app: Option<String>,
}

async fn order(door: Shared, headers: HeaderMap, body: Bytes) -> Response<Body> {
    carry_out(door, &headers, &body, |said: Said| Ok(Change::Share(said.order()?))).await
}

impl Said {
    fn order(self) -> Result<ShareOrder, String> {
        let wish = match (self.state.as_deref(), self.for_s, self.until.as_deref()) {
            (None, None, None) => None,
            (Some("pause"), None, None) => Some(ShareWish::Pause(PauseFor::Resumed)),
            (Some("pause"), Some(seconds @ 1..), None) => Some(ShareWish::Pause(PauseFor::Span(span(seconds)?))),
            (Some("pause"), None, Some("tomorrow")) => Some(ShareWish::Pause(PauseFor::Tomorrow)),
            (Some("on"), None, None) => Some(ShareWish::On),
            (Some("off"), None, None) => Some(ShareWish::Off),
            (Some("fleet-only"), None, None) => Some(ShareWish::FleetOnly),
            (Some("finish"), None, None) => Some(ShareWish::Finish),
            _ => {
                return Err(
                    "`state` is on, off, pause, finish or fleet-only; a pause may have `for_s` (seconds above 0) \
                            or `until`: \"tomorrow\""
                        .to_owned(),
                );
            }
        };
        let rule = match (self.rule, self.enabled) {
            (None, None) => None,
            (Some(rule), Some(enabled)) => Some((name(&rule)?, enabled)),
            _ => return Err("`rule` and `enabled` go together".to_owned()),
        };
        let order = ShareOrder {
            wish,
            anyway: self.override_s.map(span).transpose()?,
            rule,
            ignore: self.ignore_app.as_deref().map(name).transpose()?,
            heed: self.heed_app.as_deref().map(name).transpose()?,
        };
        if order == ShareOrder::default() {
            return Err("nothing is said: `state`, `override_s`, `rule`, `ignore_app` or `heed_app`".to_owned());
        }
        Ok(order)
    }
}

fn span(seconds: u64) -> Result<Duration, String> {
    let span = Duration::from_secs(seconds);
    if span > share::LONGEST { Err("that is longer than 31 days".to_owned()) } else { Ok(span) }
}

fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fits = (1..=LONGEST_NAME).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned()).ok_or_else(|| format!("a name has 1 to {LONGEST_NAME} visible characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn understood(body: &str) -> Result<ShareOrder, String> {
        serde_json::from_str::<Said>(body).map_err(|error| error.to_string())?.order()
    }

    #[test]
    fn what_is_said_is_understood() {
        let wish = |wish| ShareOrder { wish: Some(wish), ..ShareOrder::default() };
        let span = |seconds| PauseFor::Span(Duration::from_secs(seconds));
        for (body, order) in [
            (r#"{"state":"on"}"#, wish(ShareWish::On)),
            (r#"{"state":"off"}"#, wish(ShareWish::Off)),
            (r#"{"state":"fleet-only"}"#, wish(ShareWish::FleetOnly)),
            (r#"{"state":"finish"}"#, wish(ShareWish::Finish)),
            (r#"{"state":"pause"}"#, wish(ShareWish::Pause(PauseFor::Resumed))),
            (r#"{"state":"pause","for_s":null,"until":null}"#, wish(ShareWish::Pause(PauseFor::Resumed))),
            (r#"{"state":"pause","for_s":1800}"#, wish(ShareWish::Pause(span(1800)))),
            (r#"{"state":"pause","until":"tomorrow"}"#, wish(ShareWish::Pause(PauseFor::Tomorrow))),
            (r#"{"override_s":0}"#, ShareOrder { anyway: Some(Duration::ZERO), ..ShareOrder::default() }),
            (
                r#"{"rule":"meetings","enabled":false}"#,
                ShareOrder { rule: Some(("meetings".to_owned(), false)), ..ShareOrder::default() },
            ),
            (
                r#"{"ignore_app":" Krisp ","heed_app":"zoom"}"#,
                ShareOrder { ignore: Some("Krisp".to_owned()), heed: Some("zoom".to_owned()), ..ShareOrder::default() },
            ),
        ] {
            assert_eq!(understood(body), Ok(order), "{body}");
        }
    }

    #[test]
    fn what_is_no_order_is_told() {
        for body in [
            "{}",
            r#"{"state":"maybe"}"#,
            r#"{"state":"on","for_s":3}"#,
            r#"{"state":"pause","for_s":0}"#,
            r#"{"state":"pause","for_s":-3}"#,
            r#"{"state":"pause","for_s":99999999}"#,
            r#"{"state":"pause","until":"never"}"#,
            r#"{"state":"pause","until":"tomorrow","for_s":3}"#,
            r#"{"for_s":3}"#,
            r#"{"override_s":99999999}"#,
            r#"{"rule":"meetings"}"#,
            r#"{"enabled":true}"#,
            r#"{"ignore_app":" "}"#,
            r#"{"ignore_app":"a\u0000b"}"#,
            r#"{"status":"on"}"#,
        ] {
            assert!(understood(body).is_err(), "{body}");
        }
    }
}
