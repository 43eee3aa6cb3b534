//! `herd logs`: reads the log file in the data directory itself, so that it works with no Herd running.

mod record;
mod tail;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use crate::World;
use crate::failure::Failure;

/// How often a followed log is looked at.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) fn logs(path: &Path, n: u32, follow: bool, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let lines = tail::last_lines(path, n as usize).map_err(|error| unreadable(path, &error))?;
    let Some(lines) = lines else {
        if !follow {
            return Err(Failure::NotFound(format!(
                "There is no log at {} yet. Start Herd with `herd`.",
                path.display()
            )));
        }
        writeln!(world.err, "There is no log at {} yet; waiting for one.", path.display())?;
        return follow_from(path, tail::Follower::from_start(path), json, world);
    };
    for line in &lines.lines {
        show(line, json, world)?;
    }
    if follow { follow_from(path, tail::Follower::after(path, lines), json, world) } else { Ok(()) }
}

fn follow_from(path: &Path, follower: tail::Follower, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let wait = || {
        std::thread::sleep(PATIENCE);
        ControlFlow::Continue(())
    };
    let mut failed = Ok(());
    let result = follower.follow(wait, |line| match show(line, json, world).and_then(|()| Ok(world.out.flush()?)) {
        Ok(()) => ControlFlow::Continue(()),
        Err(failure) => {
            failed = Err(failure);
            ControlFlow::Break(())
        }
    });
    result.map_err(|error| unreadable(path, &error))?;
    failed
}

fn show(line: &[u8], json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    if json {
        // What is no JSON would break a script that was promised JSON.
        if serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok() {
            world.out.write_all(line)?;
            world.out.write_all(b"\n")?;
        }
        return Ok(());
    }
    let text = record::for_people(line, &world.zone, world.paint());
    Ok(writeln!(world.out, "{text}")?)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let said = format!("The log {} cannot be read: {error}", path.display());
    if error.kind() == std::io::ErrorKind::PermissionDenied { Failure::Refused(said) } else { Failure::Failed(said) }
}
