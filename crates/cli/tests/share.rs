//! `herd share` against a stand-in for a door, word by word.
//!
//! `GOLDEN=write` rewrites the files under `tests/golden`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up should fail loudly")]

mod fake;

use fake::{FakeDoor, golden, herd};
use serde_json::{Value, json};

fn rule(id: &str, enabled: bool, phase: &str, known: bool) -> Value {
    json!({ "id": id, "enabled": enabled, "about": format!("Pause because of {id}"), "phase": phase, "known": known })
}

fn sharing(more: Value) -> Value {
    let mut share = json!({
        "state": "on", "code": "sharing", "reason": "Serving 4 models (ollama).", "until": null, "rule": null,
        "wish": { "state": "on", "until": null }, "override_until": null, "guests": 0, "resume_after_s": 60,
        "rules": [rule("meetings", true, "quiet", true), rule("lid", true, "quiet", false), rule("busy", false, "quiet", true)],
        "evidence": { "cameras": [], "microphones": null }, "ignored": []
    });
    share.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    share
}

fn meeting() -> Value {
    let held = |app: &str, standing: &str| json!({ "app": app, "for_s": 754, "standing": standing });
    sharing(json!({
        "state": "paused", "code": "meeting", "reason": "Paused during a meeting.", "rule": "meetings", "guests": 2,
        "rules": [rule("meetings", true, "active", true), rule("battery", true, "leaving", true), rule("heat", true, "rising", true)],
        "evidence": {
            "cameras": [held("zoom\u{1b}[2J", "counts"), held("Google Chrome", "counts"), held("", "settling")],
            "microphones": [held("krisp", "ambient"), held("Recorder", "ignored")],
        }
    }))
}

#[test]
fn the_state_is_told_with_the_rules() {
    let meeting_over = json!({
        "state": "paused", "code": "meeting", "reason": "Paused during a meeting.", "rule": "meetings",
        "until": "2026-03-04T06:00:00Z", "rules": [rule("meetings", true, "leaving", true)],
    });
    for (name, says) in
        [("share", sharing(json!({}))), ("share-meeting", meeting()), ("share-meeting-over", sharing(meeting_over))]
    {
        let door = FakeDoor::herd(&[("/fleet/share", 200, says)]);
        golden(name, &door, "herd share");
    }
}

#[test]
fn it_is_told_how_to_have_it_otherwise() {
    let until = json!("2026-03-04T06:00:00Z");
    for (state, code, until, says) in [
        ("on", "sharing", Value::Null, None),
        ("on", "overridden", until.clone(), Some("This ends at 2026-03-04 06:00:00, or now by `herd share anyway 0`.")),
        ("paused", "paused_until", until, Some("This ends at 2026-03-04 06:00:00, or now by `herd share on`.")),
        ("paused", "paused", Value::Null, Some("This lasts until `herd share on`.")),
        ("draining", "finishing", Value::Null, Some("This lasts until `herd share on`.")),
        ("off", "fleet_only", Value::Null, Some("This lasts until `herd share on`.")),
        ("draining", "stopping", Value::Null, None),
    ] {
        let door = FakeDoor::herd(&[(
            "/fleet/share",
            200,
            sharing(json!({ "state": state, "code": code, "reason": "Why.", "until": until })),
        )]);
        let told = herd(&format!("herd share --port {}", door.port), &[]).out;
        assert_eq!(told.lines().nth(1).filter(|line| !line.is_empty()), says, "{code}: {told}");
    }
}

#[test]
fn a_program_is_ignored_by_the_name_that_a_shell_takes() {
    for (app, says) in [
        ("zoom", Some("`herd share ignore zoom`")),
        ("Google Chrome", Some("`herd share ignore 'Google Chrome'`")),
        ("a`rm -rf`", None),
        ("it's", None),
        ("-x", None),
        ("a\u{1b}b", None),
        ("", None),
    ] {
        let mut share = meeting();
        share["evidence"]["cameras"] = json!([{ "app": app, "for_s": 3, "standing": "counts" }]);
        let door = FakeDoor::herd(&[("/fleet/share", 200, share)]);
        let told = herd(&format!("herd share --port {}", door.port), &[]).out;
        match says {
            Some(says) => assert!(told.contains(says), "{app}: {told}"),
            None => assert!(!told.contains("herd share ignore"), "{app}: {told}"),
        }
    }
}

#[test]
fn what_is_said_is_sent() {
    let paused =
        json!({ "state": "paused", "reason": "Paused by the owner for a while.", "until": "2026-03-04T06:00:00Z" });
    let door = FakeDoor::herd(&[("/fleet/share", 200, sharing(paused))]);
    for (line, sent) in [
        ("on", r#"{"state":"on"}"#),
        ("off", r#"{"state":"off"}"#),
        ("fleet-only", r#"{"state":"fleet-only"}"#),
        ("finish", r#"{"state":"finish"}"#),
        ("pause", r#"{"state":"pause"}"#),
        ("pause 30m", r#"{"state":"pause","for_s":1800}"#),
        ("pause tomorrow", r#"{"state":"pause","until":"tomorrow"}"#),
        ("anyway", r#"{"override_s":3600}"#),
        ("anyway 0", r#"{"override_s":0}"#),
        ("rule meetings off", r#"{"rule":"meetings","enabled":false}"#),
        ("ignore Krisp", r#"{"ignore_app":"Krisp"}"#),
        ("heed Krisp", r#"{"heed_app":"Krisp"}"#),
    ] {
        let ran = herd(&format!("herd share {line} --port {}", door.port), &[]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
        let seen = door.seen();
        assert!(seen.last().unwrap().contains(sent), "{line}: {seen:?}");
        assert!(ran.out.contains("This ends at 2026-03-04 06:00:00"), "{line}: {}", ran.out);
    }
    for line in ["pause never", "pause 0", "anyway soon", "rule meetings", "rule meetings maybe", "ignore"] {
        assert_eq!(herd(&format!("herd share {line} --port {}", door.port), &[]).code, 2, "{line}");
    }
}
