//! Reads the kernel's small files.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Bytes read of one file; the rest is left. The longest that matters, `proc/stat`, has its load in the first lines.
const MOST_BYTES: u64 = 64 * 1024;

/// Entries of a directory that are looked at; the rest is left.
const MOST_ENTRIES: usize = 512;

/// What is in `path`, without white space around it; bytes that are no text are replaced. `None` if it cannot be read.
pub(super) fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// What is in `path`, if that is something: no blank, and none of the words that makers leave in unfilled fields.
pub(super) fn words(path: &Path) -> Option<String> {
    // Device trees end their texts with a zero byte.
    let text = text(path)?.trim_matches(['\0', ' ', '\n']).to_owned();
    let unfilled = ["to be filled", "system product name", "default string", "not specified", "none", "unknown"];
    let told = !text.is_empty() && !unfilled.iter().any(|blank| text.to_lowercase().starts_with(blank));
    told.then(|| text.chars().filter(|letter| !letter.is_control()).take(128).collect())
}

/// The number in `path`.
pub(super) fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// The number in `path`, which may be negative.
pub(super) fn signed(path: &Path) -> Option<i64> {
    text(path)?.parse().ok()
}

/// The number behind `name` in a text of lines like `name 123` or `name: 123 kB`.
pub(super) fn entry(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.strip_prefix(':').or_else(|| rest.strip_prefix(' '))?;
        rest.split_whitespace().next()?.parse().ok()
    })
}

/// What lies in `directory`, sorted by name. `None` if that cannot be read.
pub(super) fn entries(directory: &Path) -> Option<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(directory).ok()?.take(MOST_ENTRIES).filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    Some(found)
}

/// The last part of `path`, where it is text.
pub(super) fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
