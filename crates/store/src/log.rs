//! The log file: one file per UTC day, thirty of them, each of a bounded size.
//!
//! Writing blocks, so it belongs on a thread of its own behind a bounded channel; nothing here starts one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::lock::owner_only;
use crate::open::private_dir;

/// The file that is written now, in the directory of logs.
pub const LOG: &str = "herd.jsonl";

/// Files of past days that are kept; older ones are deleted at midnight and at start.
pub const KEPT_DAYS: usize = 30;

/// Bytes that one day may fill; lines beyond are dropped until midnight, after a line that says so.
pub const DAY_BYTES: u64 = 64 << 20;

/// Appends to `herd.jsonl` and turns it over to `herd.jsonl.YYYY-MM-DD` when the day (UTC) is over.
///
/// Each `write` must be whole lines: a file is changed between two of them only.
#[derive(Debug)]
pub struct LogFile {
    dir: PathBuf,
    unix_ms: fn() -> u64,
    file: File,
    day: Date,
    bytes: u64,
    most_bytes: u64,
    full: bool,
}

impl LogFile {
    /// Opens the log in `dir`, which is made where it does not exist. `unix_ms` tells the wall-clock time.
    ///
    /// # Errors
    /// The directory or the file cannot be made or written.
    pub fn open(dir: &Path, unix_ms: fn() -> u64) -> io::Result<LogFile> {
        LogFile::open_bounded(dir, unix_ms, DAY_BYTES)
    }

    fn open_bounded(dir: &Path, unix_ms: fn() -> u64, most_bytes: u64) -> io::Result<LogFile> {
        private_dir(dir)?;
        let today = day(unix_ms());
        // The last line written tells which day the file is of.
        let written = fs::metadata(dir.join(LOG)).and_then(|about| about.modified()).ok();
        if let Some(written) = written.and_then(|time| Timestamp::try_from(time).ok()) {
            let written = written.to_zoned(TimeZone::UTC).date();
            if written < today {
                turn_over(dir, written)?;
            }
        }
        let (file, bytes) = append(dir)?;
        delete_old(dir);
        Ok(LogFile { dir: dir.to_owned(), unix_ms, file, day: today, bytes, most_bytes, full: false })
    }

    /// Begins a new file if the day is another. A clock that was set back changes nothing until it has caught up.
    fn follow_day(&mut self) -> io::Result<()> {
        let today = day((self.unix_ms)());
        if today <= self.day {
            return Ok(());
        }
        turn_over(&self.dir, self.day)?;
        (self.file, self.bytes) = append(&self.dir)?;
        self.day = today;
        self.full = false;
        delete_old(&self.dir);
        Ok(())
    }

    fn say_full(&mut self) -> io::Result<()> {
        self.full = true;
        let now = time((self.unix_ms)()).strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string();
        let message = "the log of this day is full: nothing more is written until midnight (UTC)";
        let line = serde_json::json!({"ts": now, "level": "WARNING", "logger": "store::log", "msg": message});
        writeln!(self.file, "{line}")
    }
}

impl Write for LogFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.follow_day()?;
        if self.full {
            return Ok(lines.len());
        }
        if self.bytes.saturating_add(lines.len() as u64) > self.most_bytes {
            self.say_full()?;
            return Ok(lines.len());
        }
        self.file.write_all(lines)?;
        self.bytes += lines.len() as u64;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(dir: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    owner_only(&mut options);
    let mut file = options.open(dir.join(LOG))?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let bytes = file.seek(SeekFrom::End(0))?;
    Ok((file, bytes))
}

/// Gives the present file the name of its day. Where that name is taken (the clock was set back once), its lines are
/// added to the other's.
fn turn_over(dir: &Path, day: Date) -> io::Result<()> {
    let (present, past) = (dir.join(LOG), dir.join(format!("{LOG}.{day}")));
    if past.exists() {
        let mut target = OpenOptions::new().append(true).open(&past)?;
        io::copy(&mut File::open(&present)?, &mut target)?;
        return fs::remove_file(&present);
    }
    match fs::rename(&present, &past) {
        // Somebody tidied up: then there is nothing to turn over.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Deletes all but the newest files of past days. One that cannot be deleted stays: the log matters more.
fn delete_old(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut days: Vec<(Date, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let day = entry.file_name().to_str()?.strip_prefix(LOG)?.strip_prefix('.')?.parse().ok()?;
            Some((day, entry.path()))
        })
        .collect();
    days.sort();
    let surplus = days.len().saturating_sub(KEPT_DAYS);
    for (_, path) in days.drain(..surplus) {
        let _ = fs::remove_file(path);
    }
}

fn day(unix_ms: u64) -> Date {
    time(unix_ms).to_zoned(TimeZone::UTC).date()
}

fn time(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// 2027-01-06 at 12:00 UTC.
    const NOON: u64 = 1_799_236_800_000;
    const DAY: u64 = 24 * 3_600_000;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn content(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap()
    }

    #[test]
    fn each_day_has_its_file() {
        static NOW: AtomicU64 = AtomicU64::new(NOON);
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("logs");
        let mut log = LogFile::open(&dir, || NOW.load(Ordering::Relaxed)).unwrap();
        log.write_all(b"one\n").unwrap();
        NOW.store(NOON + DAY / 2 - 1, Ordering::Relaxed);
        log.write_all(b"two\n").unwrap();
        assert_eq!(names(&dir), ["herd.jsonl"]);
        NOW.store(NOON + DAY / 2, Ordering::Relaxed);
        log.write_all(b"three\n").unwrap();
        NOW.store(NOON + 9 * DAY, Ordering::Relaxed);
        log.write_all(b"four\n").unwrap();
        assert_eq!(names(&dir), ["herd.jsonl", "herd.jsonl.2027-01-06", "herd.jsonl.2027-01-07"]);
        assert_eq!(content(&dir, "herd.jsonl.2027-01-06"), "one\ntwo\n");
        assert_eq!(content(&dir, "herd.jsonl.2027-01-07"), "three\n");
        assert_eq!(content(&dir, "herd.jsonl"), "four\n");
    }

    #[test]
    fn a_file_of_another_day_is_turned_over_at_start_and_todays_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOG), "old\n").unwrap();
        let written = std::time::UNIX_EPOCH + std::time::Duration::from_millis(NOON - 3 * DAY);
        File::options().write(true).open(dir.path().join(LOG)).unwrap().set_modified(written).unwrap();
        for line in ["new\n", "newer\n"] {
            LogFile::open(dir.path(), || NOON).unwrap().write_all(line.as_bytes()).unwrap();
            let today = std::time::UNIX_EPOCH + std::time::Duration::from_millis(NOON);
            File::options().write(true).open(dir.path().join(LOG)).unwrap().set_modified(today).unwrap();
        }
        assert_eq!(content(dir.path(), "herd.jsonl.2027-01-03"), "old\n");
        assert_eq!(content(dir.path(), LOG), "new\nnewer\n");
    }

    #[test]
    fn a_clock_that_is_set_back_loses_no_line() {
        static NOW: AtomicU64 = AtomicU64::new(NOON);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("herd.jsonl.2027-01-06"), "before\n").unwrap();
        let mut log = LogFile::open(dir.path(), || NOW.load(Ordering::Relaxed)).unwrap();
        log.write_all(b"one\n").unwrap();
        NOW.store(NOON - 5 * DAY, Ordering::Relaxed);
        log.write_all(b"two\n").unwrap();
        NOW.store(NOON + DAY, Ordering::Relaxed);
        log.write_all(b"three\n").unwrap();
        assert_eq!(content(dir.path(), "herd.jsonl.2027-01-06"), "before\none\ntwo\n");
        assert_eq!(content(dir.path(), LOG), "three\n");
    }

    #[test]
    fn thirty_days_are_kept_and_other_files_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for back in 1..=35 {
            fs::write(dir.path().join(format!("{LOG}.{}", day(NOON - back * DAY))), "x").unwrap();
        }
        for other in ["herd-node.jsonl.2020-01-01", "herd.jsonl.bak", "herd.jsonl.2020-01-01.gz"] {
            fs::write(dir.path().join(other), "x").unwrap();
        }
        drop(LogFile::open(dir.path(), || NOON).unwrap());
        let names = names(dir.path());
        assert_eq!(names.len(), 3 + 1 + KEPT_DAYS);
        assert!(names.contains(&"herd.jsonl.2026-12-07".to_owned()), "{names:?}");
        assert!(!names.contains(&"herd.jsonl.2026-12-06".to_owned()));
    }

    #[test]
    fn a_day_has_a_limit_and_says_when_it_is_reached() {
        static NOW: AtomicU64 = AtomicU64::new(NOON);
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogFile::open_bounded(dir.path(), || NOW.load(Ordering::Relaxed), 10).unwrap();
        for line in ["12345678\n", "123\n", "4\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let written = content(dir.path(), LOG);
        let lines: Vec<_> = written.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "12345678"));
        let said: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(said["ts"], "2027-01-06T12:00:00.000000+00:00");
        assert_eq!(said["level"], "WARNING");
        NOW.store(NOON + DAY, Ordering::Relaxed);
        log.write_all(b"next\n").unwrap();
        assert_eq!(content(dir.path(), LOG), "next\n");
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(LOG), "").unwrap();
        fs::set_permissions(dir.path().join(LOG), fs::Permissions::from_mode(0o644)).unwrap();
        drop(LogFile::open(dir.path(), || NOON).unwrap());
        assert_eq!(fs::metadata(dir.path().join(LOG)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
