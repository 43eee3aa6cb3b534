//! The end of a log that is written by another program and moved aside at midnight.
//!
//! Bounded: at most 64 MiB of lines are kept to begin with, and a line of more than 1 MiB is passed on in parts.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const MOST_BYTES: u64 = 64 * 1024 * 1024;
const LONGEST_LINE: usize = 1024 * 1024;
const BLOCK: usize = 64 * 1024;

/// The last lines of a log, and where reading goes on.
pub(super) struct Tail {
    pub(super) lines: Vec<Vec<u8>>,
    // `None` where the newest lines are in a file that was already moved aside.
    open: Option<(File, u64)>,
}

/// The last `n` lines of `path` and, where these are fewer, of the files it was before; `None` where there is no file.
///
/// A last line that is still being written is left to [`Follower`].
pub(super) fn last_lines(path: &Path, n: usize) -> io::Result<Option<Tail>> {
    let older = older_files(path)?;
    let open = match File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if open.is_none() && older.is_empty() {
        return Ok(None);
    }
    let mut tail = Tail { lines: Vec::new(), open: None };
    let mut budget = MOST_BYTES;
    if let Some(mut file) = open {
        let (lines, whole) = last_lines_of(&mut file, n, &mut budget)?;
        tail = Tail { lines, open: Some((file, whole)) };
    }
    for path in older {
        if tail.lines.len() >= n || budget == 0 {
            break;
        }
        // It may just have been deleted for its age; then there is less to show.
        let Ok(mut file) = File::open(path) else { continue };
        let (mut lines, _) = last_lines_of(&mut file, n - tail.lines.len(), &mut budget)?;
        lines.append(&mut tail.lines);
        tail.lines = lines;
    }
    Ok(Some(tail))
}

/// What `path` was called on earlier days (`herd.jsonl.2026-12-24`), the latest first.
fn older_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let listing = match std::fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let is_older = |file: &str| {
        let date = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        date.is_some_and(|date| date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'))
    };
    let names = listing.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut older: Vec<String> = names.filter(|file| is_older(file)).collect();
    older.sort_by(|a, b| b.cmp(a));
    Ok(older.into_iter().map(|file| dir.join(file)).collect())
}

/// The last `n` whole lines of `file`, and the offset behind them.
fn last_lines_of(file: &mut File, n: usize, budget: &mut u64) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut start = length;
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut line_ends = 0;
    while start > 0 && line_ends <= n && *budget > 0 {
        let size = (BLOCK as u64).min(start).min(*budget);
        start -= size;
        *budget -= size;
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        file.by_ref().take(size).read_to_end(&mut block)?;
        line_ends += block.iter().filter(|&&byte| byte == b'\n').count();
        blocks.push(block);
    }
    let bytes: Vec<u8> = blocks.into_iter().rev().flatten().collect();
    let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') else { return Ok((Vec::new(), start)) };
    let mut lines: Vec<&[u8]> = bytes[..end].split(|&byte| byte == b'\n').collect();
    // Unless the file begins here, the first line lacks its beginning.
    if start > 0 {
        lines.remove(0);
    }
    let skipped = lines.len().saturating_sub(n);
    Ok((lines[skipped..].iter().map(|line| line.to_vec()).collect(), start + end as u64 + 1))
}

/// Reads what is added to a log, over its being moved aside.
pub(super) struct Follower {
    path: PathBuf,
    open: Option<(File, u64)>,
    part: Vec<u8>,
}

impl Follower {
    /// Follows a log that does not exist yet.
    pub(super) fn from_start(path: &Path) -> Follower {
        Follower { path: path.to_owned(), open: None, part: Vec::new() }
    }

    /// Follows a log behind the lines that `tail` has.
    pub(super) fn after(path: &Path, tail: Tail) -> Follower {
        Follower { path: path.to_owned(), open: tail.open, part: Vec::new() }
    }

    /// Gives each new line to `line` and calls `wait` when there is none; ends as soon as one of them breaks.
    pub(super) fn follow(
        mut self,
        mut wait: impl FnMut() -> ControlFlow<()>,
        mut line: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        loop {
            // Asked before reading: what is written before the file is moved aside is then read before it is left.
            let moved = self.was_moved()?;
            if self.read_new(&mut line)?.is_break() {
                return Ok(());
            }
            if moved {
                self.open = None;
                if !self.part.is_empty() && line(&std::mem::take(&mut self.part)).is_break() {
                    return Ok(());
                }
            } else if wait().is_break() {
                return Ok(());
            }
            if self.open.is_none() {
                self.open = match File::open(&self.path) {
                    Ok(file) => Some((file, 0)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(error),
                };
            }
        }
    }

    /// Whether another file than the open one has the name now, or the open one was cut short.
    fn was_moved(&self) -> io::Result<bool> {
        let Some((file, at)) = &self.open else { return Ok(false) };
        let now = match std::fs::metadata(&self.path) {
            Ok(now) => now,
            // Moved aside, and the new one is not there yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(now.len() < *at || !is_same(&file.metadata()?, &now))
    }

    fn read_new(&mut self, line: &mut impl FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
        let Some((file, at)) = &mut self.open else { return Ok(ControlFlow::Continue(())) };
        file.seek(SeekFrom::Start(*at))?;
        let mut block = vec![0; BLOCK];
        loop {
            let read = file.read(&mut block)?;
            if read == 0 {
                return Ok(ControlFlow::Continue(()));
            }
            *at += read as u64;
            for piece in block[..read].split_inclusive(|&byte| byte == b'\n') {
                self.part.extend_from_slice(piece);
                let is_whole = self.part.last() == Some(&b'\n');
                if is_whole {
                    self.part.pop();
                }
                if (is_whole || self.part.len() >= LONGEST_LINE) && line(&std::mem::take(&mut self.part)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
}

#[cfg(unix)]
fn is_same(open: &std::fs::Metadata, named: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

// Without numbers of files, the time of their making must do; a new log is made a day later.
#[cfg(not(unix))]
fn is_same(open: &std::fs::Metadata, named: &std::fs::Metadata) -> bool {
    open.created().ok() == named.created().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn append(path: &Path, text: &str) {
        File::options().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn texts(lines: &[Vec<u8>]) -> Vec<String> {
        lines.iter().map(|line| String::from_utf8(line.clone()).unwrap()).collect()
    }

    #[test]
    fn the_last_lines_reach_into_earlier_days() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("herd.jsonl");
        assert!(last_lines(&path, 5).unwrap().is_none());
        append(&dir.path().join("herd.jsonl.2026-01-01"), "a\nb\n");
        append(&dir.path().join("herd.jsonl.2026-01-02"), "c\nd\n");
        append(&dir.path().join("herd.jsonl.backup"), "never\n");
        append(&path, "e\nf\nhalf");
        for (n, expected) in [(0, ""), (1, "f"), (2, "e f"), (3, "d e f"), (5, "b c d e f"), (99, "a b c d e f")] {
            let tail = last_lines(&path, n).unwrap().unwrap();
            assert_eq!(texts(&tail.lines).join(" "), expected, "{n}");
        }
    }

    #[test]
    fn lines_longer_than_a_block_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("herd.jsonl");
        let long = "x".repeat(3 * BLOCK + 7);
        append(&path, &format!("first\n{long}\nlast\n"));
        assert_eq!(texts(&last_lines(&path, 2).unwrap().unwrap().lines), [long, "last".to_owned()]);
    }

    #[test]
    fn following_misses_nothing_when_the_log_is_moved_aside_at_midnight() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("herd.jsonl");
        let moved = dir.path().join("herd.jsonl.2026-01-01");
        append(&path, "old\n");
        let tail = last_lines(&path, 0).unwrap().unwrap();
        // What another program does each time the follower has nothing left to read.
        let mut step = 0;
        let happens = || {
            step += 1;
            match step {
                1 => append(&path, "one\ntw"),
                2 => append(&path, "o\n"),
                3 => {
                    append(&path, "before midnight\n");
                    std::fs::rename(&path, &moved).unwrap();
                    append(&moved, "at midnight\n");
                    append(&path, "after\n");
                }
                4 => {
                    std::fs::rename(&path, dir.path().join("herd.jsonl.2026-01-02")).unwrap();
                }
                5 => append(&path, "new day\n"),
                _ => return ControlFlow::Break(()),
            }
            ControlFlow::Continue(())
        };
        let mut seen = Vec::new();
        let line = |line: &[u8]| {
            seen.push(line.to_vec());
            ControlFlow::Continue(())
        };
        Follower::after(&path, tail).follow(happens, line).unwrap();
        assert_eq!(texts(&seen), ["one", "two", "before midnight", "at midnight", "after", "new day"]);
    }

    #[test]
    fn following_begins_before_there_is_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("herd.jsonl");
        let mut step = 0;
        let happens = || {
            step += 1;
            append(&path, "born\n");
            if step == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut seen = Vec::new();
        let line = |line: &[u8]| {
            seen.push(line.to_vec());
            ControlFlow::Continue(())
        };
        Follower::from_start(&path).follow(happens, line).unwrap();
        assert_eq!(texts(&seen), ["born", "born"]);
    }
}
