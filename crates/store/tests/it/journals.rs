//! Nodes remember for each other: whoever holds a row gives it to whoever lacks it, and every one ends with the same.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::wire::{Batch, Cell, Cells, JournalEntry, MAX_BATCH, Run, Vector};
use proto::{Clock, Moment, NodeId, Server, Trace};
use store::{DATABASE, MergeError, Merged, Settings};

use crate::fixture::{HOUR_MS, NOW_MS, Open, PATIENCE, chat, failed, open_at, rejected, retried, settings, sql};

/// Half past eleven: the traces of the fixture are of this hour, which is not summed yet.
const HALF_PAST: u64 = NOW_MS - HOUR_MS / 2;

fn open(settings: Settings) -> Open {
    open_at(settings, Clock::new(|| Moment::at(Duration::ZERO), || HALF_PAST))
}

fn named(dir: &Path, name: &str) -> Settings {
    Settings { node_id: name.to_owned(), node_key: format!("key{name}"), ..settings(dir) }
}

/// Has `to` ask `from` until nothing is missing; tells what came.
fn pull(to: &Open, from: &Open, most_rows: usize) -> Merged {
    let mut all = Merged::default();
    for _ in 0..10_000 {
        let bytes = from.store.since(&to.store.vector(), most_rows, MAX_BATCH).unwrap();
        let merged = to.store.merge(&bytes, "from").unwrap();
        (all.rows, all.refused, all.more) = (all.rows + merged.rows, all.refused + merged.refused, merged.more);
        if !merged.more {
            return all;
        }
    }
    panic!("it never ends")
}

/// Has `to` ask `from` until both hold the same: sums of hours that have changed come when the writer has time.
fn pull_all(to: &Open, from: &Open) {
    for _ in 0..100_000 {
        pull(to, from, 1000);
        if to.store.digest() == from.store.digest() {
            return;
        }
    }
    panic!("they never agree")
}

fn ids(open: &Open) -> Vec<String> {
    let mut ids: Vec<_> = open.store.traces(1000).unwrap().into_iter().map(|row| row.request_id).collect();
    ids.sort();
    ids
}

fn sums(open: &Open) -> (u64, u64, u64) {
    let totals = open.store.overview().unwrap();
    (totals.total_requests, totals.completed, totals.total_prompt_tokens)
}

#[test]
fn rows_travel_whole_and_through_others() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [a, b, c] = ["a", "b", "c"].map(|name| open(named(dirs[usize::from(name.as_bytes()[0] - b'a')].path(), name)));
    let served = Server { name: "nas".into(), id: NodeId::new([3; 32]) };
    a.put([Trace { server: Some(served), ..retried(1, 10) }, failed(2, 20), rejected(3, 30)]);
    b.put([chat(4, 40)]);
    assert_eq!(pull(&b, &a, 1), Merged { rows: 3, refused: 0, more: false });
    // What `c` has from `b` is what `a` has.
    assert_eq!(pull(&c, &b, 1000), Merged { rows: 4, refused: 0, more: false });
    let id = retried(1, 10).request_id.to_string();
    let (mut there, here) = (c.store.why(&id).unwrap().unwrap(), a.store.why(&id).unwrap().unwrap());
    assert_eq!(there.trace.node_id, "nas");
    assert_eq!(there.candidates[0].node.as_deref(), Some("a"), "who is not named is who recorded it");
    assert_eq!(there, here);
    there.trace.node_id.clear();
    assert_eq!(pull(&a, &c, 1000).rows, 1);
    assert_eq!((ids(&a), ids(&b)), (ids(&c), ids(&c)));
    assert_eq!((sums(&a), sums(&b)), (sums(&c), sums(&c)));
    assert_eq!(a.store.digest(), c.store.digest());
    assert_eq!(a.store.models(3).unwrap(), c.store.models(3).unwrap());
    // Then there is nothing to say.
    let nothing = a.store.since(&c.store.vector(), 10, MAX_BATCH).unwrap();
    assert_eq!(Batch::decode(&nothing).unwrap(), Batch::default());
    for open in [a, b, c] {
        open.end();
    }
}

#[test]
fn taking_the_same_twice_changes_nothing() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (open(named(one.path(), "a")), open(named(other.path(), "b")));
    a.put((0..20).map(|number| chat(number, number)));
    let first = a.store.since(&Vector::default(), 10, MAX_BATCH).unwrap();
    let all = a.store.since(&Vector::default(), 100, MAX_BATCH).unwrap();
    for (bytes, rows) in [(&first, 10), (&first, 0), (&all, 10), (&first, 0), (&all, 0)] {
        assert_eq!(b.store.merge(bytes, "a").unwrap().rows, rows);
    }
    assert_eq!((ids(&b).len(), ids(&a)), (20, ids(&b)));
    let observed: i64 =
        sql(other.path()).query_row("SELECT count(*) FROM latency_observations", [], |row| row.get(0)).unwrap();
    assert_eq!(observed, 20);
    // A node's own rows come from nobody else.
    let own = Batch { runs: Batch::decode(&all).unwrap().runs, more: false }.encode();
    assert_eq!(a.store.merge(&own, "b").unwrap(), Merged { rows: 0, refused: 20, more: false });
    assert_eq!(a.store.merge(b"nonsense", "b").map_err(|error| matches!(error, MergeError::Unreadable(_))), Err(true));
    a.end();
    b.end();
}

#[test]
fn answers_are_bounded_and_oldest_first() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (open(named(one.path(), "a")), open(named(other.path(), "b")));
    a.put((0..600).map(|number| chat(number, 1_000_000 - number)));
    for most in [2000, 20_000, 200_000] {
        let bytes = a.store.since(&b.store.vector(), 4096, most).unwrap();
        assert!(bytes.len() <= most, "{} of {most}", bytes.len());
        let batch = Batch::decode(&bytes).unwrap();
        assert!(batch.more && !batch.runs[0].entries.is_empty());
        assert!(batch.runs[0].entries.windows(2).all(|two| two[0].seq < two[1].seq));
        assert_eq!(batch.runs[0].entries[0].seq, batch.runs[0].after + 1);
        b.store.merge(&bytes, "a").unwrap();
    }
    pull(&b, &a, 100);
    assert_eq!(ids(&a), ids(&b));
    // Rows that are older than others keep them are not sent at all; nothing is asked for again.
    a.put([chat(9001, 8 * 24 * HOUR_MS), chat(9002, 6 * 24 * HOUR_MS)]);
    pull_all(&b, &a);
    assert_eq!((ids(&a).len(), ids(&b).len()), (602, 601));
    a.end();
    b.end();
}

fn run(entries: Vec<JournalEntry>) -> Vec<u8> {
    let through = entries.last().map_or(0, |entry| entry.seq);
    let run = Run { door: "keyx".to_owned(), name: "x".to_owned(), journal: 7, after: 0, through, entries };
    Batch { runs: vec![run], more: false }.encode()
}

fn entry(seq: u64, cells: Vec<(u16, Cell)>) -> JournalEntry {
    JournalEntry { seq, kind: 0, cells: Cells(cells) }
}

/// A request as another node tells it, as briefly as may be.
fn told(seq: u64, unix_ms: u64) -> JournalEntry {
    let text = |number, text: &str| (number, Cell::Text(text.to_owned()));
    let when = (1, Cell::Integer(i64::try_from(unix_ms).unwrap()));
    let id = text(0, &format!("request{seq}"));
    entry(
        seq,
        vec![id, when, text(2, "tiny"), text(3, "tiny"), text(4, "x"), text(10, "completed"), (12, Cell::Real(5.0))],
    )
}

#[test]
fn rows_that_cannot_be_are_refused_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let b = open(named(dir.path(), "b"));
    let without = |number: u16| {
        let mut entry = told(9, NOW_MS);
        entry.cells.0.retain(|(other, _)| *other != number);
        entry
    };
    let with = |cell: (u16, Cell)| {
        let mut entry = without(cell.0);
        entry.cells.0.push(cell);
        entry
    };
    let bad = [
        without(0),
        without(1),
        without(10),
        with((10, Cell::Text("splendid".to_owned()))),
        with((1, Cell::Integer(-5))),
        with((12, Cell::Real(f64::NAN))),
        with((2, Cell::Integer(3))),
        with((0, Cell::Text(String::new()))),
    ];
    for (at, bad) in bad.into_iter().enumerate() {
        let seq = 3 * at as u64;
        let good = [told(seq + 1, NOW_MS), told(seq + 3, NOW_MS)];
        let [before, after] = good;
        let mut batch = Batch::decode(&run(vec![before, JournalEntry { seq: seq + 2, ..bad }, after])).unwrap();
        batch.runs[0].after = seq;
        assert_eq!(b.store.merge(&batch.encode(), "x").unwrap(), Merged { rows: 2, refused: 1, more: false }, "{at}");
    }
    // A newer version's cells and entries are skipped.
    let mut newer = told(25, NOW_MS);
    newer.cells.0.push((999, Cell::Text("later".to_owned())));
    let mut batch = Batch::decode(&run(vec![newer, JournalEntry { kind: 200, ..told(26, NOW_MS) }])).unwrap();
    batch.runs[0].after = 24;
    assert_eq!(b.store.merge(&batch.encode(), "x").unwrap(), Merged { rows: 1, refused: 0, more: false });
    // After a gap nothing is taken: it would never be asked for.
    batch.runs[0].after = 40;
    batch.runs[0].through = 41;
    assert_eq!(b.store.merge(&batch.encode(), "x").unwrap(), Merged { rows: 0, refused: 0, more: true });
    b.end();
}

#[test]
fn a_clock_in_the_future_is_believed_for_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let b = open(named(dir.path(), "b"));
    let day = 24 * HOUR_MS;
    b.store.merge(&run(vec![told(1, HALF_PAST + day / 2), told(2, HALF_PAST + 400 * day)]), "x").unwrap();
    let rows = b.store.traces(10).unwrap();
    let ahead: Vec<_> = rows.iter().map(|row| row.timestamp - HALF_PAST as f64 / 1000.0).collect();
    assert_eq!(ahead, [86_400.0, 43_200.0]);
    b.end();
}

#[test]
fn a_restored_database_begins_a_new_journal() {
    let (dir, other, backup) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let b = open(named(other.path(), "b"));
    let a = open(named(dir.path(), "a"));
    a.put([chat(1, 10)]);
    a.end();
    fs::copy(dir.path().join(DATABASE), backup.path().join(DATABASE)).unwrap();
    let a = open(named(dir.path(), "a"));
    a.put([chat(2, 9), chat(3, 8)]);
    pull(&b, &a, 100);
    a.end();
    fs::copy(backup.path().join(DATABASE), dir.path().join(DATABASE)).unwrap();
    let a = open(named(dir.path(), "a"));
    a.put([chat(4, 7)]);
    assert_eq!(ids(&a).len(), 2);
    // What the disk has lost comes back, and what was recorded since is told.
    assert_eq!((pull(&a, &b, 100).rows, pull(&b, &a, 100).rows), (2, 1));
    assert_eq!((ids(&a).len(), ids(&a)), (4, ids(&b)));
    assert_eq!(a.store.vector().journals.len(), 2);
    a.end();
    // An untouched one goes on.
    let a = open(named(dir.path(), "a"));
    a.put([chat(5, 6)]);
    assert_eq!(a.store.vector().journals.len(), 2);
    a.end();
    b.end();
}

#[test]
fn a_restored_directory_is_noticed_by_what_others_hold() {
    let (dir, other, backup) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let b = open(named(other.path(), "b"));
    let a = open(named(dir.path(), "a"));
    a.put([chat(1, 10)]);
    a.end();
    for name in [DATABASE, "journal"] {
        fs::copy(dir.path().join(name), backup.path().join(name)).unwrap();
    }
    let a = open(named(dir.path(), "a"));
    a.put([chat(2, 9), chat(3, 8)]);
    pull(&b, &a, 100);
    a.end();
    for name in [DATABASE, "journal"] {
        fs::copy(backup.path().join(name), dir.path().join(name)).unwrap();
    }
    let a = open(named(dir.path(), "a"));
    a.put([chat(4, 7)]);
    // Asking is enough: the answer after it tells of the new journal.
    a.store.since(&b.store.vector(), 100, MAX_BATCH).unwrap();
    a.put([chat(5, 6)]);
    pull(&a, &b, 100);
    pull(&b, &a, 100);
    assert_eq!((ids(&a).len(), ids(&a)), (5, ids(&b)));
    a.end();
    b.end();
}

#[test]
fn hours_are_summed_by_their_node_and_told() {
    static MINUTES: AtomicU64 = AtomicU64::new(0);
    let minutes = || MINUTES.load(Ordering::Relaxed);
    let now = || Moment::at(Duration::from_secs(60 * MINUTES.load(Ordering::Relaxed)));
    let clock = Clock::new(now, || HALF_PAST + 60_000 * MINUTES.load(Ordering::Relaxed));
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [a, b] = [(&one, "a"), (&other, "b")].map(|(dir, name)| open_at(named(dir.path(), name), clock));
    // The writer does a slice of its cleaning after each batch, every hour, and one at the start.
    let clean = |first: u64| {
        MINUTES.store(minutes() + 61, Ordering::Relaxed);
        (first..first + 10).for_each(|number| a.put([chat(number, 0)]));
    };
    let old = 9 * 24 * HOUR_MS;
    a.put([chat(1, old), chat(2, old + 1), failed(3, old + 2), chat(4, 20 * 24 * HOUR_MS)]);
    clean(10);
    let pulled = pull(&b, &a, 100);
    assert_eq!((pulled.rows, pulled.refused), (13, 0), "ten requests and three hours");
    // What others do not keep counts by its sums, and what a node keeps by its rows.
    assert_eq!((sums(&a), sums(&b)), ((14, 13, 143), (14, 13, 143)));
    for report in [store::Store::models, store::Store::usage] {
        let [mut here, mut there] = [&a, &b].map(|open| report(&open.store, 30).unwrap());
        for answer in [&mut here, &mut there] {
            for row in answer["summary"].as_array_mut().into_iter().flatten() {
                // Of sums only the hour is known.
                row["first_seen"] = 0.into();
            }
        }
        assert_eq!(here, there);
    }
    // An hour that changes after it was summed is summed and told again.
    a.put([chat(30, old + 1)]);
    clean(40);
    pull(&b, &a, 100);
    assert_eq!((sums(&a), sums(&b)), ((25, 24, 264), (25, 24, 264)));
    pull_all(&b, &a);
    assert_eq!((sums(&a), sums(&b)), ((25, 24, 264), (25, 24, 264)));
    a.end();
    b.end();
}

#[test]
fn news_is_told_once_it_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let a = open(named(dir.path(), "a"));
    let (told, news) = std::sync::mpsc::channel();
    a.store.listen(move |news| told.send(news).unwrap());
    let before = a.store.digest();
    a.put([chat(1, 0)]);
    assert_eq!(news.recv_timeout(PATIENCE).unwrap(), store::News::Recorded);
    assert_ne!(a.store.digest(), before);
    a.store.merge(&run(vec![told_now(1)]), "x").unwrap();
    assert_eq!(news.recv_timeout(PATIENCE).unwrap(), store::News::Merged);
    assert!(news.try_recv().is_err());
    a.end();
}

fn told_now(seq: u64) -> JournalEntry {
    told(seq, NOW_MS)
}
