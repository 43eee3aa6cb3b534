//! `herd doctor`: what was looked at, what was found, and what to do about it.

use proto::view::CheckView;

use super::{lines, not_understood, typed};
use crate::World;
use crate::door::Door;
use crate::failure::Failure;
use crate::show::{Tone, clean, count, sentence};

/// Fails where a problem was found, so that a script can tell.
pub(super) fn doctor(door: &Door, warnings: &[String], json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let (answer, silence) = match door.get("/fleet/doctor") {
        Ok(answer) => (answer, None),
        Err(Failure::NotRunning(why)) => {
            let checks = serde_json::to_value(checks_from_outside(&why, warnings)).map_err(not_understood)?;
            (checks, Some(Failure::NotRunning("No Herd is running here, so no more could be looked at.".to_owned())))
        }
        Err(other) => return Err(other),
    };
    let checks: Vec<CheckView> = typed(answer.clone())?;
    if json {
        lines(world, &answer)?;
    } else {
        for check in &checks {
            tell(check, world)?;
        }
    }
    let problems = checks.iter().filter(|check| check.state == "problem").count();
    match silence {
        Some(silence) => Err(silence),
        None if problems > 0 => {
            Err(Failure::Failed(sentence(&format!("{} found", count(problems as u64, "problem", "problems")))))
        }
        None => Ok(()),
    }
}

fn checks_from_outside(why: &str, warnings: &[String]) -> Vec<CheckView> {
    let check = |check: &str, state: &str, found: &str| CheckView {
        check: check.to_owned(),
        state: state.to_owned(),
        found: found.to_owned(),
        advice: None,
    };
    let mut checks = vec![check("running", "problem", why)];
    checks.extend(warnings.iter().map(|warning| check("settings", "warning", warning)));
    checks
}

fn tell(check: &CheckView, world: &mut World<'_>) -> Result<(), Failure> {
    let (tone, word) = match check.state.as_str() {
        "ok" => (Tone::Good, "ok"),
        "warning" => (Tone::Warning, "warning"),
        "problem" => (Tone::Bad, "problem"),
        other => (Tone::Plain, other),
    };
    let state = world.paint().paint(tone, &format!("{:<7}", clean(word)));
    writeln!(world.out, "{state}  {}: {}", clean(&check.check), clean(&check.found))?;
    if let Some(advice) = &check.advice {
        writeln!(world.out, "         {}", sentence(advice))?;
    }
    Ok(())
}
