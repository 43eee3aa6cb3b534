//! `herd share`: whether this machine takes requests of others, and what its owner says about that.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::line;
use crate::World;
use crate::args::{Pause, ShareCommand, Switch};
use crate::door::Door;
use crate::failure::Failure;
use crate::show::{Align, Table, Tone, clean, date_time, sentence, span_s};

/// It counts at once; what takes a moment is to write it down.
const WITHIN: Duration = Duration::from_secs(30);

pub(super) fn share(
    door: &Door,
    command: Option<&ShareCommand>,
    json: bool,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let answer = match command {
        None => door.get("/fleet/share")?,
        Some(command) => door.post("/fleet/share", &order(command), WITHIN)?,
    };
    if json {
        return line(world, &answer);
    }
    let text = told(&answer, command.is_none(), world);
    Ok(world.out.write_all(text.as_bytes())?)
}

fn order(command: &ShareCommand) -> Value {
    match command {
        ShareCommand::On => json!({ "state": "on" }),
        ShareCommand::Off => json!({ "state": "off" }),
        ShareCommand::FleetOnly => json!({ "state": "fleet-only" }),
        ShareCommand::Finish => json!({ "state": "finish" }),
        ShareCommand::Pause { duration: None } => json!({ "state": "pause" }),
        ShareCommand::Pause { duration: Some(Pause::Tomorrow) } => json!({ "state": "pause", "until": "tomorrow" }),
        ShareCommand::Pause { duration: Some(Pause::For(span)) } => {
            json!({ "state": "pause", "for_s": span.as_secs() })
        }
        ShareCommand::Anyway { duration } => json!({ "override_s": duration.as_secs() }),
        ShareCommand::Rule { name, switch } => json!({ "rule": name, "enabled": *switch == Switch::On }),
        ShareCommand::Ignore { app } => json!({ "ignore_app": app }),
        ShareCommand::Heed { app } => json!({ "heed_app": app }),
    }
}

/// When it will be otherwise, and what its owner says to have that at once.
fn what_ends_it(share: &Value, until: Option<String>) -> Option<String> {
    let by_rule = share["rule"].is_string();
    Some(match (share["state"].as_str()?, share["code"].as_str(), until) {
        (_, Some("stopping"), _) => return None,
        (_, Some("overridden"), Some(until)) => format!("This ends at {until}, or now by `herd share anyway 0`."),
        ("on", _, _) => return None,
        (_, _, Some(until)) if by_rule => {
            format!("That seems to be over: it shares again at {until}, or now by `herd share anyway`.")
        }
        (_, _, None) if by_rule => {
            let after = span_s(share["resume_after_s"].as_u64().unwrap_or(60));
            format!("It shares again {after} after that has ended, or now by `herd share anyway`.")
        }
        (_, _, Some(until)) => format!("This ends at {until}, or now by `herd share on`."),
        (_, _, None) => "This lasts until `herd share on`.".to_owned(),
    })
}

/// A program's name as it is typed in a shell; `None` where it had to be typed in a way of its own.
fn typed_name(app: &str) -> Option<String> {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
    if app.is_empty()
        || app.starts_with('-')
        || app.contains(|letter: char| "'`\\".contains(letter) || letter.is_control())
    {
        None
    } else if app.chars().all(is_plain) {
        Some(app.to_owned())
    } else {
        Some(format!("'{app}'"))
    }
}

/// What `share` says: one paragraph; with `all`, also the rules, and who holds camera and microphone.
fn told(share: &Value, all: bool, world: &World<'_>) -> String {
    let paint = world.paint();
    let text = |value: &Value| value.as_str().map(clean).unwrap_or_default();
    let time = |value: &Value| {
        let at: Timestamp = value.as_str()?.parse().ok()?;
        date_time(at.as_second() as f64, &world.zone)
    };
    let (tone, does) = match share["state"].as_str() {
        Some("on") => (Tone::Good, "takes requests of other machines"),
        Some("paused") => (Tone::Warning, "takes no requests of other machines for now"),
        Some("draining") => (Tone::Warning, "finishes what it does for other machines"),
        _ => (Tone::Warning, "takes no requests of other machines"),
    };
    let mut said =
        format!("{} {}\n", paint.paint(tone, &format!("This machine {does}.")), sentence(&text(&share["reason"])));
    if let Some(next) = what_ends_it(share, time(&share["until"])) {
        said += &format!("{next}\n");
    }
    match share["guests"].as_u64() {
        Some(0) | None => {}
        Some(1) => said += "One request of another machine runs here.\n",
        Some(guests) => said += &format!("{guests} requests of other machines run here.\n"),
    }
    let evidence = &share["evidence"];
    let mut may_hint = share["code"] == "meeting";
    for (kind, what) in [("cameras", "a camera"), ("microphones", "a microphone")] {
        for holder in evidence[kind].as_array().into_iter().flatten() {
            let app =
                Some(text(&holder["app"])).filter(|app| !app.is_empty()).unwrap_or_else(|| "Some program".to_owned());
            let since = span_s(holder["for_s"].as_u64().unwrap_or(0));
            let means = match holder["standing"].as_str() {
                Some("counts") => "that looks like a meeting",
                Some("settling") => "that may become a meeting",
                Some("ignored") => "ignored, as its owner said",
                _ => "no meeting, it listens all the time",
            };
            said += &format!("{app} has used {what} for {since}: {means}.\n");
            if holder["standing"] == "counts"
                && may_hint
                && let Some(app) = holder["app"].as_str().and_then(typed_name)
            {
                said += &format!("If it is none: `herd share ignore {app}`.\n");
                may_hint = false;
            }
        }
    }
    if all {
        let mut table =
            Table::new(&[("RULE", Align::Left), ("SWITCH", Align::Left), ("NOW", Align::Left), ("", Align::Left)]);
        for rule in share["rules"].as_array().into_iter().flatten() {
            let on = rule["enabled"] == true;
            let (tone, now) = match (rule["phase"].as_str(), rule["known"].as_bool()) {
                (Some("active"), _) => (Tone::Warning, "pauses"),
                (Some("leaving"), _) => (Tone::Warning, "pauses, is ending"),
                (Some("rising"), _) => (Tone::Plain, "begins"),
                (_, Some(false)) => (Tone::Faint, "cannot be sensed"),
                _ => (Tone::Plain, ""),
            };
            table.toned([
                (Tone::Plain, text(&rule["id"])),
                (if on { Tone::Plain } else { Tone::Faint }, if on { "on" } else { "off" }.to_owned()),
                (tone, now.to_owned()),
                (Tone::Plain, text(&rule["about"])),
            ]);
        }
        said += &format!("\n{}", table.text("", paint));
    }
    said
}
