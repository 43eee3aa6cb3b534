//! The writer in trouble, one turn at a time.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::{Api, BackendId, Clock, Outcome, RequestId, Trace};

use super::*;
use crate::{DATABASE, Store, read};

struct Turn {
    dir: tempfile::TempDir,
    store: Store,
    writer: Writer,
}

impl Turn {
    fn begin(clock: Clock) -> Turn {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            dir: dir.path().to_owned(),
            node_id: "studio".to_owned(),
            node_key: String::new(),
            keep: Duration::from_secs(3600),
            max_bytes: u64::MAX,
        };
        let (store, writer) = Store::open(settings, clock).unwrap();
        Turn { dir, store, writer }
    }

    /// What the writer does when it is woken.
    fn take_turn(&mut self) {
        if self.writer.work.batch.is_empty() {
            self.store.shared.queue.take(&mut self.writer.work, Duration::ZERO);
        }
        self.writer.store_batch();
        self.writer.merge();
        self.writer.clean();
    }

    fn record(&mut self, traces: u64, unix_ms: u64) {
        (0..traces).for_each(|number| self.store.record(trace(number, unix_ms)));
        self.take_turn();
    }

    fn stored(&self) -> usize {
        read::traces(&open::reader(self.store.path()).unwrap(), 1000).unwrap().len()
    }

    fn waiting(&self) -> usize {
        self.writer.work.batch.len()
    }

    fn limit_pages(&self, pages: i64) {
        let connection = self.writer.connection.as_ref().unwrap();
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    }

    /// Writes nonsense over the database, as a failing disk would, and makes SQLite look at it.
    fn damage(&self) {
        let connection = self.writer.connection.as_ref().unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        let length = fs::metadata(self.store.path()).unwrap().len();
        fs::write(self.store.path(), vec![0x5a; length as usize]).unwrap();
        connection.execute_batch("PRAGMA shrink_memory").unwrap();
    }

    fn broken(&self) -> usize {
        let names = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with(&format!("{DATABASE}.broken-"))).count()
    }
}

fn trace(number: u64, unix_ms: u64) -> Trace {
    Trace {
        request_id: RequestId::new(unix_ms, number),
        unix_ms,
        api: Api::OllamaChat,
        model: "tiny".to_owned(),
        original_model: "tiny".to_owned(),
        server: None,
        prefill_ms: None,
        decode_ms: None,
        backend: Some(BackendId::new("ollama")),
        candidates: Vec::new(),
        outcome: Outcome::Completed,
        status: 200,
        latency_ms: 1.0,
        ttft_ms: None,
        queued_ms: 0.0,
        prompt_tokens: None,
        completion_tokens: None,
        estimated_tokens: 0,
        text_bytes: 400,
        images: 0,
        session: Some(7),
        context: Some(4096),
        context_verdict: Some("kept"),
        loaded_ms: None,
        attempts: Vec::new(),
        fallback_used: false,
        client_ip: "::1".to_owned(),
        client_key: None,
        error: Some("x".repeat(1000)),
        finish_reason: None,
        app: None,
        tags: Vec::new(),
        request_bytes: 0,
        response_bytes: 0,
        unretriable: false,
    }
}

#[test]
fn a_full_disk_makes_rows_wait_until_there_is_room() {
    let mut turn = Turn::begin(Clock::new(|| Moment::at(Duration::ZERO), || 0));
    turn.record(1, 0);
    turn.limit_pages(1);
    turn.record(300, 0);
    assert_eq!((turn.stored(), turn.waiting(), turn.store.dropped()), (1, 300, 0));
    turn.take_turn();
    assert_eq!((turn.stored(), turn.waiting()), (1, 300));
    turn.limit_pages(1 << 20);
    turn.take_turn();
    assert_eq!((turn.stored(), turn.waiting(), turn.store.dropped()), (301, 0, 0));
}

#[test]
fn what_is_still_waiting_at_the_end_is_counted() {
    let mut turn = Turn::begin(Clock::new(|| Moment::at(Duration::ZERO), || 0));
    turn.limit_pages(1);
    turn.record(300, 0);
    turn.store.record(trace(1, 0));
    let Turn { store, writer, dir: _dir } = turn;
    drop(writer);
    assert_eq!(store.dropped(), 301);
}

#[test]
fn a_database_damaged_meanwhile_is_moved_aside_once_an_hour() {
    static MINUTES: AtomicU64 = AtomicU64::new(0);
    let minutes = || Moment::at(Duration::from_secs(60 * MINUTES.load(Ordering::Relaxed)));
    let mut turn = Turn::begin(Clock::new(minutes, || 0));
    turn.record(100, 0);
    turn.damage();
    turn.record(1, 0);
    assert_eq!((turn.broken(), turn.waiting()), (1, 1), "the row waits for the fresh database");
    turn.take_turn();
    assert_eq!((turn.stored(), turn.waiting(), turn.store.dropped()), (1, 0, 0));

    turn.record(100, 0);
    turn.damage();
    turn.record(7, 0);
    assert_eq!((turn.broken(), turn.waiting(), turn.store.dropped()), (1, 0, 7), "not again so soon");
    MINUTES.store(61, Ordering::Relaxed);
    turn.record(2, 0);
    turn.take_turn();
    assert_eq!((turn.broken(), turn.stored(), turn.store.dropped()), (2, 2, 7));
}

#[test]
fn complaints_are_a_minute_apart() {
    static SECONDS: AtomicU64 = AtomicU64::new(100);
    let seconds = || Moment::at(Duration::from_secs(SECONDS.load(Ordering::Relaxed)));
    let mut turn = Turn::begin(Clock::new(seconds, || 0));
    turn.limit_pages(1);
    for (now, complained) in [(100, 100), (101, 100), (159, 100), (160, 160), (161, 160)] {
        SECONDS.store(now, Ordering::Relaxed);
        turn.record(100, 0);
        assert_eq!(turn.writer.complained, Some(Moment::at(Duration::from_secs(complained))), "{now}");
    }
}

#[test]
fn old_rows_are_looked_for_every_hour() {
    static MINUTES: AtomicU64 = AtomicU64::new(0);
    let now = || Moment::at(Duration::from_secs(60 * MINUTES.load(Ordering::Relaxed)));
    let unix = || 60_000 * (1_000_000 + MINUTES.load(Ordering::Relaxed));
    let mut turn = Turn::begin(Clock::new(now, unix));
    turn.take_turn();
    let start = unix();
    // Rows are kept for an hour here and go by whole hours; these are half an hour old and came 10 minutes past one.
    turn.record(3, start - 30 * 60_000);
    for (minutes, left) in [(1, 3), (59, 3), (61, 3), (119, 3), (122, 0)] {
        MINUTES.store(minutes, Ordering::Relaxed);
        (0..9).for_each(|_| turn.take_turn());
        assert_eq!(turn.stored(), left, "after {minutes} minutes");
    }
    assert!(!turn.writer.cleaning.under_way || turn.writer.patience() == Duration::ZERO);
}

#[test]
fn many_rows_bring_the_next_cleaning_forward() {
    let mut turn = Turn::begin(Clock::new(|| Moment::at(Duration::ZERO), || 60_000 * 1_000_000));
    turn.take_turn();
    turn.take_turn();
    turn.record(5, 0);
    assert_eq!(turn.stored(), 5, "far too old, but nobody looks yet");
    turn.writer.cleaning.rows = CLEANING_ROWS;
    (0..9).for_each(|_| turn.take_turn());
    assert_eq!(turn.stored(), 0);
}

#[test]
fn of_many_damaged_databases_the_newest_are_kept() {
    static HOURS: AtomicU64 = AtomicU64::new(0);
    let hours = || Moment::at(Duration::from_secs(3600 * HOURS.load(Ordering::Relaxed)));
    let mut turn = Turn::begin(Clock::new(hours, || 1000 * HOURS.load(Ordering::Relaxed)));
    fs::write(turn.dir.path().join("latency.db.before-1"), "x").unwrap();
    for hour in (0..14).step_by(2) {
        HOURS.store(hour, Ordering::Relaxed);
        turn.record(1, 0);
        turn.damage();
        turn.record(1, 0);
        turn.take_turn();
        assert!(turn.broken() <= 3);
    }
    assert!(turn.dir.path().join("latency.db.broken-12").exists());
    assert!(!turn.dir.path().join("latency.db.broken-0").exists());
    assert!(turn.dir.path().join("latency.db.before-1").exists());
}
