//! All that is known of sharing, for people and programs of this machine: `GET /fleet/share`.

use capacity::{Capacity, Holder, Kind, LEAST_PAUSE, Phase, RuleId, Rules, Wish};
use proto::{Clock, Moment};
use serde_json::{Value, json};

use super::Shown;
use super::kept::word;
use crate::settings::sharing;

/// A wall-clock time as RFC 3339 text.
pub(super) fn time(unix_ms: u64) -> Option<String> {
    let second = i64::try_from(unix_ms / 1000).ok()?;
    Some(jiff::Timestamp::from_second(second).ok()?.to_string())
}

/// All of it.
pub(super) fn all(capacity: &Capacity, set: &Rules, guests: u32, clock: Clock) -> Value {
    let now = clock.now();
    let at = |moment: Moment| {
        let left = u64::try_from(moment.since(now).as_millis()).unwrap_or(u64::MAX);
        time(clock.unix_ms().saturating_add(left))
    };
    let shown = Shown::of(capacity.share(), clock).view(None);
    let wish = capacity.wish();
    let wish_until = if let Wish::Paused(until) = wish { until.and_then(at) } else { None };
    let seen = capacity.evidence();
    let held = |kind: Kind, known: bool| {
        let holders = capacity.holders().filter(|holder| holder.kind == kind);
        known.then(|| holders.map(|holder| holder_json(&holder, now)).collect::<Vec<_>>())
    };
    json!({
        "state": shown.state, "code": shown.code, "reason": shown.reason, "until": shown.until, "rule": shown.rule,
        "wish": { "state": word(wish), "until": wish_until },
        "override_until": capacity.anyway().and_then(at),
        "guests": guests,
        "resume_after_s": capacity.rules().resume_after.max(LEAST_PAUSE).as_secs(),
        "rules": RuleId::ALL.map(|rule| rule_json(capacity, set, rule)),
        "evidence": {
            "cameras": held(Kind::Camera, seen.cameras.is_some()),
            "microphones": held(Kind::Microphone, seen.microphones.is_some()),
            "on_battery": seen.on_battery, "battery_percent": seen.battery_percent, "lid_closed": seen.lid_closed,
            "display_off": seen.display_off, "full_screen": seen.full_screen, "throttled": seen.throttled,
            "metered": seen.metered, "input_idle_s": seen.input_idle.map(|idle| idle.as_secs()), "locked": seen.locked,
            "others_cpu_percent": seen.others_cpu_percent,
        },
        "ignored": capacity.ignored().collect::<Vec<_>>(),
    })
}

fn holder_json(holder: &Holder, now: Moment) -> Value {
    json!({ "app": holder.app, "for_s": now.since(holder.since).as_secs(), "standing": holder.standing.as_str() })
}

fn rule_json(capacity: &Capacity, set: &Rules, rule: RuleId) -> Value {
    let on = capacity.rules().is_on(rule);
    let phase = match capacity.phase(rule) {
        Phase::Quiet => "quiet",
        Phase::Rising(_) => "rising",
        Phase::Active => "active",
        Phase::Leaving(_) => "leaving",
    };
    let settings: Vec<Value> = sharing::thresholds(capacity.rules())
        .into_iter()
        .filter(|(of, _, _)| *of == rule)
        .map(|(_, name, value)| json!({ "name": name, "value": value }))
        .collect();
    json!({
        "id": rule.as_str(), "enabled": on, "about": format!("Pause {}", rule.about()),
        "setting": sharing::switch(rule), "value": if on { "on" } else { "off" },
        "source": if set.is_on(rule) == on { "settings" } else { "owner" },
        "phase": phase, "known": !capacity.is_blind(rule), "settings": settings,
    })
}
