//! Tells a damaged database from one that is merely in trouble, and gets it out of the way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use proto::Clock;
use rusqlite::ErrorCode;

use crate::open::{Notice, beside, unused};

/// What a damaged database's name ends with, before the Unix time at which it was moved.
const BROKEN: &str = ".broken-";

/// Damaged databases that are kept, newest first: a failing disk must not be filled with them.
const KEPT: usize = 3;

/// Whether the file itself is bad, so that trying again is of no use.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Moves a damaged database out of the way, with what belongs to it.
pub(crate) fn set_aside(path: &Path, clock: Clock, reason: &rusqlite::Error) -> io::Result<Notice> {
    let aside = unused(&beside(path, &format!("{BROKEN}{}", clock.unix_ms() / 1000)));
    fs::rename(path, &aside)?;
    for ending in ["-wal", "-shm"] {
        match fs::rename(beside(path, ending), beside(&aside, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    delete_surplus(path);
    Ok(Notice::SetAside { to: aside, reason: reason.to_string() })
}

/// Deletes the oldest damaged databases beyond [`KEPT`]. One that cannot be deleted stays.
fn delete_surplus(path: &Path) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else { return };
    let Ok(entries) = fs::read_dir(dir) else { return };
    let prefix = format!("{name}{BROKEN}");
    let mut broken: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let whole = name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm");
            whole.then_some((entry.metadata().and_then(|about| about.modified()).ok()?, entry.path()))
        })
        .collect();
    broken.sort();
    let surplus = broken.len().saturating_sub(KEPT);
    for (_, path) in broken.drain(..surplus) {
        for ending in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(beside(&path, ending));
        }
    }
}
