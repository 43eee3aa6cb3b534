//! Deletes what is too old or too much, a slice at a time, so that rows waiting to be written never wait long.
//!
//! Rows go by whole hours, after their sums were kept: two thresholds tell from which hour on rows count, and before
//! which the sums do. Rows of this node stay longer than those that it got from others; of one hour, those of others
//! go first.

use rusqlite::{Connection, Transaction};

use crate::hours::{self, HOUR, hour_of};

/// Rows deleted at a time: more than come in between two slices, or a busy database would never get below its limit.
const SLICE_ROWS: i64 = 2000;

/// Pages given back to the system at a time.
const SLICE_PAGES: i64 = 512;

/// Free bytes that a database keeps for the rows to come instead of giving them back.
const SLACK_BYTES: u64 = 4 << 20;

/// Benchmark runs that are kept, newest first. They are few and someone asked for each, so age does not matter.
const BENCHMARK_RUNS: i64 = 1000;

/// The hours from which on the rows of this node, and those of others, are kept.
const OWN_FROM: &str = "own_rows_from";
const OTHERS_FROM: &str = "other_rows_from";

/// SQL that tells whether a row is of this node.
pub(crate) const OWN: &str = "(journal IS NULL OR journal IN (SELECT id FROM journal WHERE own = 1))";

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Unix seconds before which rows of this node are too old.
    pub(crate) own: f64,
    /// Unix seconds before which rows of others are.
    pub(crate) others: f64,
    /// Unix seconds now: what comes in this hour is never summed yet.
    pub(crate) now: f64,
    /// Bytes that the tables may need.
    pub(crate) max_bytes: u64,
}

/// From which hours on rows count instead of sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) own: i64,
    /// Never before `own`.
    pub(crate) others: i64,
}

impl Kept {
    pub(crate) fn load(connection: &Connection) -> Result<Kept, rusqlite::Error> {
        let own = hours::number(connection, OWN_FROM)?;
        Ok(Kept { own, others: hours::number(connection, OTHERS_FROM)?.max(own) })
    }

    /// SQL that tells whether a row counts.
    pub(crate) fn rows(self) -> String {
        // The first comparison settles nearly all. The plus keeps SQLite from looking all of them up in an index, which
        // takes twice as long as reading on (measured November 2026).
        format!("(+timestamp >= {} OR (+timestamp >= {} AND {OWN}))", self.others, self.own)
    }

    /// SQL that tells whether an hour's sums count.
    pub(crate) fn hours(self) -> String {
        let own = "(journal = 0 OR journal IN (SELECT id FROM journal WHERE own = 1))";
        format!("(hour < {} OR (hour < {} AND NOT {own}))", self.own, self.others)
    }
}

/// Where deleting goes on.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// No rows of others are older than this.
    others: i64,
}

impl Sweep {
    /// Does one slice: sums and gives up what is too old, deletes it, then gives up the oldest hours while the tables
    /// need too much, then gives free pages back. Answers whether there was anything to do.
    pub(crate) fn slice(&mut self, connection: &mut Connection, limits: &Limits) -> Result<bool, rusqlite::Error> {
        let kept = Kept::load(connection)?;
        if give_up(connection, kept, OTHERS_FROM, kept.others, hour_of(limits.others))?
            || give_up(connection, kept, OWN_FROM, kept.own, hour_of(limits.own))?
            || self.delete(connection, kept)? > 0
        {
            return Ok(true);
        }
        let size = Size::of(connection)?;
        if size.used() > limits.max_bytes && give_up_oldest(connection, kept, hour_of(limits.now))? {
            return Ok(true);
        }
        // The second question is there for files that were never rewritten and cannot shrink.
        if size.wants_shrinking(limits.max_bytes) {
            shrink(connection)?;
            return Ok(Size::of(connection)?.pages < size.pages);
        }
        Ok(false)
    }

    fn delete(&mut self, connection: &mut Connection, kept: Kept) -> Result<usize, rusqlite::Error> {
        let change = connection.transaction()?;
        let mut deleted = 0;
        for table in ["request_traces", "latency_observations"] {
            deleted += change
                .prepare_cached(&format!(
                    "DELETE FROM {table} WHERE id IN
                     (SELECT id FROM {table} WHERE timestamp < ?1 ORDER BY timestamp LIMIT {SLICE_ROWS})"
                ))?
                .execute([kept.own])?;
        }
        if self.others < kept.others {
            let mut of_others = 0;
            for table in ["request_traces", "latency_observations"] {
                of_others += change
                    .prepare_cached(&format!(
                        "DELETE FROM {table} WHERE id IN
                         (SELECT id FROM {table} WHERE timestamp >= ?1 AND timestamp < ?2 AND NOT {OWN}
                          ORDER BY timestamp LIMIT {SLICE_ROWS})"
                    ))?
                    .execute([self.others, kept.others])?;
            }
            if of_others == 0 {
                self.others = kept.others;
            }
            deleted += of_others;
        }
        deleted += change.execute(
            "DELETE FROM benchmark_runs WHERE id IN
             (SELECT id FROM benchmark_runs ORDER BY timestamp DESC, id DESC LIMIT -1 OFFSET ?1)",
            [BENCHMARK_RUNS],
        )?;
        change.commit()?;
        Ok(deleted)
    }
}

/// Moves a threshold on by one hour with rows in it, or to `target`; tells whether it moved.
fn give_up(
    connection: &mut Connection,
    kept: Kept,
    key: &str,
    from: i64,
    target: i64,
) -> Result<bool, rusqlite::Error> {
    if from >= target {
        return Ok(false);
    }
    let hour = hours::first_hour(connection, from)?.filter(|hour| *hour < target);
    let change = connection.transaction()?;
    match hour {
        Some(hour) => give_up_hour(&change, kept, key, hour)?,
        None => hours::set_number(&change, key, target)?,
    }
    change.commit()?;
    Ok(true)
}

fn give_up_hour(change: &Transaction<'_>, kept: Kept, key: &str, hour: i64) -> Result<(), rusqlite::Error> {
    let class = if key == OWN_FROM { OWN.to_owned() } else { format!("NOT {OWN}") };
    hours::sum_for_good(change, hour, &class)?;
    let after = hour.saturating_add(HOUR);
    hours::set_number(change, key, after)?;
    // Rows of others never stay longer than those of this node.
    if key == OWN_FROM && kept.others < after {
        hours::sum_for_good(change, hour, &format!("NOT {OWN}"))?;
        hours::set_number(change, OTHERS_FROM, after)?;
    }
    Ok(())
}

/// Makes room: the oldest hour goes, of that the rows of others first; where there are only rows of this hour, the
/// oldest of these; where there are no rows left, observations, and then the oldest sums.
fn give_up_oldest(connection: &mut Connection, kept: Kept, this_hour: i64) -> Result<bool, rusqlite::Error> {
    let oldest = hours::first_hour(connection, i64::MIN)?;
    let change = connection.transaction()?;
    let is_done = match oldest {
        Some(hour) if hour < this_hour => {
            let has_others = kept.others <= hour
                && change.query_row(
                    &format!(
                        "SELECT EXISTS (SELECT 1 FROM request_traces
                         WHERE timestamp >= ?1 AND timestamp < ?1 + {HOUR} AND NOT {OWN})"
                    ),
                    [hour],
                    |row| row.get(0),
                )?;
            give_up_hour(&change, kept, if has_others { OTHERS_FROM } else { OWN_FROM }, hour)?;
            true
        }
        Some(_) => {
            let mut deleted = change.execute(
                "DELETE FROM request_traces WHERE id IN (SELECT id FROM request_traces ORDER BY timestamp LIMIT ?1)",
                [SLICE_ROWS],
            )?;
            deleted += observations_before_traces(&change)?;
            deleted > 0
        }
        None => {
            observations_before_traces(&change)? > 0
                || change.execute(
                    "DELETE FROM fleet_hours WHERE (journal, hour, node_key, model, app) IN
                     (SELECT journal, hour, node_key, model, app FROM fleet_hours ORDER BY hour LIMIT ?1)",
                    [SLICE_ROWS],
                )? > 0
        }
    };
    change.commit()?;
    Ok(is_done)
}

/// Observations go as far back as the traces; where there are no traces left, they go by themselves.
fn observations_before_traces(change: &Transaction<'_>) -> Result<usize, rusqlite::Error> {
    change.execute(
        "DELETE FROM latency_observations WHERE id IN
         (SELECT id FROM latency_observations
          WHERE timestamp < ifnull((SELECT min(timestamp) FROM request_traces), 9e999) ORDER BY timestamp LIMIT ?1)",
        [SLICE_ROWS],
    )
}

/// How large the file is and how much of that is in use.
struct Size {
    page: u64,
    pages: u64,
    free: u64,
}

impl Size {
    fn of(connection: &Connection) -> Result<Size, rusqlite::Error> {
        let ask = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0)).map(u64::from);
        Ok(Size { page: ask("page_size")?, pages: ask("page_count")?, free: ask("freelist_count")? })
    }

    fn used(&self) -> u64 {
        self.pages.saturating_sub(self.free) * self.page
    }

    fn wants_shrinking(&self, max_bytes: u64) -> bool {
        self.free > 0 && (self.pages * self.page > max_bytes || self.free * self.page > SLACK_BYTES)
    }
}

fn shrink(connection: &Connection) -> Result<(), rusqlite::Error> {
    // Each step of this statement frees one page, so it must be stepped to its end.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({SLICE_PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    /// A database with one trace and one observation per second, of about a kilobyte together.
    fn filled(seconds: u32) -> (tempfile::TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(dir.path().join("x.db")).unwrap();
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
        schema::migrate(&mut connection).unwrap();
        let change = connection.transaction().unwrap();
        for second in 0..seconds {
            change
                .execute(
                    "INSERT INTO request_traces (request_id, model, original_model, node_id, status, timestamp, tags)
                     VALUES (?1, 'tiny', 'tiny', 'studio', 'completed', ?1, hex(zeroblob(450)))",
                    [second],
                )
                .unwrap();
            change
                .execute(
                    "INSERT INTO latency_observations (node_id, model_name, latency_ms, timestamp)
                     VALUES ('studio', 'tiny', 1, ?1)",
                    [second],
                )
                .unwrap();
        }
        change.commit().unwrap();
        (dir, connection)
    }

    fn limits(oldest: f64, max_bytes: u64) -> Limits {
        Limits { own: oldest, others: oldest, now: 1e9, max_bytes }
    }

    fn clean(connection: &mut Connection, oldest: f64, max_bytes: u64) -> usize {
        let mut sweep = Sweep::default();
        (0..10_000).take_while(|_| sweep.slice(connection, &limits(oldest, max_bytes)).unwrap()).count()
    }

    fn range(connection: &Connection, table: &str) -> (u32, Option<u32>) {
        connection
            .query_row(&format!("SELECT count(*), CAST(min(timestamp) AS INTEGER) FROM {table}"), [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap()
    }

    #[test]
    fn rows_that_are_too_old_go_in_slices() {
        let (_dir, mut connection) = filled(5000);
        let mut sweep = Sweep::default();
        // The rows of others are given up, then those of this node, then the first of them deleted.
        for left in [5000, 5000, 3000] {
            assert!(sweep.slice(&mut connection, &limits(4900.0, u64::MAX)).unwrap());
            assert_eq!(range(&connection, "request_traces").0, left);
        }
        clean(&mut connection, 4900.0, u64::MAX);
        assert_eq!(range(&connection, "request_traces"), (1400, Some(3600)), "by whole hours");
        assert_eq!(range(&connection, "latency_observations"), (1400, Some(3600)));
        assert_eq!(clean(&mut connection, 4900.0, u64::MAX), 0, "then there is nothing to do");
        let sums: (i64, i64) = connection
            .query_row("SELECT sum(requests), count(*) FROM fleet_hours", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(sums, (3600, 1));
    }

    #[test]
    fn the_oldest_go_first_and_the_file_shrinks_below_its_limit() {
        let (dir, mut connection) = filled(10_000);
        let length = || std::fs::metadata(dir.path().join("x.db")).unwrap().len();
        assert!(length() > 9_000_000);
        assert!(clean(&mut connection, 0.0, 5_000_000) < 50, "each slice does its share");
        assert!(length() <= 5_000_000, "{}", length());
        let (traces, oldest) = range(&connection, "request_traces");
        assert_eq!(oldest, Some(10_000 - traces));
        assert!(traces > 1000, "{traces}");
        assert_eq!(range(&connection, "latency_observations").1, oldest);
        assert_eq!(clean(&mut connection, 0.0, 5_000_000), 0, "then there is nothing to do");
    }

    #[test]
    fn a_limit_that_cannot_be_kept_ends_with_an_empty_table() {
        let (_dir, mut connection) = filled(300);
        assert!(clean(&mut connection, 0.0, 0) < 100);
        assert_eq!(range(&connection, "request_traces"), (0, None));
        assert_eq!(range(&connection, "latency_observations"), (0, None));
    }

    #[test]
    fn a_file_that_cannot_shrink_keeps_what_fits() {
        let dir = tempfile::tempdir().unwrap();
        let (_other, mut connection) = filled(10_000);
        connection.execute("VACUUM INTO ?1", [dir.path().join("y.db").to_str().unwrap()]).unwrap();
        connection = Connection::open(dir.path().join("y.db")).unwrap();
        connection.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
        assert!(clean(&mut connection, 0.0, 5_000_000) < 100);
        assert!(range(&connection, "request_traces").0 > 1000);
    }

    /// As [`filled`], with every second hundred rows of another node.
    fn shared(seconds: u32) -> (tempfile::TempDir, Connection) {
        let (dir, connection) = filled(seconds);
        let text = "INSERT INTO journal (id, door_key, number, door, own) VALUES
            (1, 'me', '0000000000000001', 'me', 1), (2, 'other', '0000000000000002', 'other', 0);
            UPDATE request_traces SET journal = 1 + id / 100 % 2, seq = id;
            UPDATE latency_observations SET journal = 1 + id / 100 % 2";
        connection.execute_batch(text).unwrap();
        (dir, connection)
    }

    fn count(connection: &Connection, question: &str) -> u32 {
        connection.query_row(&format!("SELECT count(*) FROM {question}"), [], |row| row.get(0)).unwrap()
    }

    /// Requests that the dashboard counts.
    fn counted(connection: &Connection) -> u64 {
        crate::read::overview(connection, 0.0).unwrap().total_requests
    }

    #[test]
    fn rows_of_others_go_sooner_and_all_still_count() {
        let (_dir, mut connection) = shared(20_000);
        let mut sweep = Sweep::default();
        let limits = Limits { own: 3700.0, others: 7300.0, now: 1e9, max_bytes: u64::MAX };
        while sweep.slice(&mut connection, &limits).unwrap() {
            assert_eq!(counted(&connection), 20_000, "while they go, too");
        }
        for table in ["request_traces", "latency_observations"] {
            assert_eq!(count(&connection, &format!("{table} WHERE timestamp < 3600")), 0);
            assert_eq!(count(&connection, &format!("{table} WHERE timestamp < 7200 AND journal = 2")), 0);
            assert_eq!(count(&connection, &format!("{table} WHERE timestamp < 7200 AND journal = 1")), 1800);
        }
        assert_eq!(counted(&connection), 20_000);
        let trends = crate::report::trends(&connection, 6, 20_000.0).unwrap();
        let hours: Vec<_> = trends["data"].as_array().unwrap().iter().map(|row| row["request_count"].clone()).collect();
        assert_eq!(hours, [3600, 3600, 3600, 3600, 3600, 2000]);
    }

    #[test]
    fn of_one_hour_those_of_others_go_first() {
        let (_dir, mut connection) = shared(10_000);
        let used = || Size::of(&connection).unwrap().used();
        let limit = used() - 1_000_000;
        clean(&mut connection, 0.0, limit);
        assert_eq!(count(&connection, "request_traces WHERE timestamp < 3600 AND journal = 2"), 0);
        assert_eq!(count(&connection, "request_traces WHERE timestamp < 3600 AND journal = 1"), 1800);
        assert_eq!(count(&connection, "request_traces WHERE timestamp >= 3600"), 6400);
        clean(&mut connection, 0.0, limit - 2_000_000);
        assert_eq!(count(&connection, "request_traces WHERE timestamp < 3600"), 0);
        assert!(count(&connection, "request_traces WHERE timestamp >= 3600") > 4000);
        assert_eq!(counted(&connection), 10_000);
    }

    #[test]
    fn sums_go_last() {
        let (_dir, mut connection) = shared(10_000);
        clean(&mut connection, 1e6, u64::MAX);
        assert_eq!((count(&connection, "request_traces"), counted(&connection)), (0, 10_000));
        assert_eq!(count(&connection, "fleet_hours"), 6, "three hours of two nodes");
        clean(&mut connection, 1e6, 0);
        assert_eq!(count(&connection, "fleet_hours"), 0);
    }

    #[test]
    fn what_comes_in_this_hour_goes_row_by_row() {
        let (_dir, mut connection) = filled(10_000);
        let limits = Limits { own: 0.0, others: 0.0, now: 9_999.0, max_bytes: 2_000_000 };
        let mut sweep = Sweep::default();
        while sweep.slice(&mut connection, &limits).unwrap() {}
        let (rows, oldest) = range(&connection, "request_traces");
        assert!((500..2800).contains(&rows), "{rows}");
        assert_eq!(oldest, Some(10_000 - rows));
        assert_eq!(Kept::load(&connection).unwrap().own, 7200, "whole hours only");
    }

    #[test]
    fn benchmarks_are_kept_however_old() {
        let (_dir, mut connection) = filled(0);
        for run in 0..BENCHMARK_RUNS + 10 {
            connection.execute("INSERT INTO benchmark_runs (run_id, timestamp) VALUES (?1, ?1)", [run]).unwrap();
        }
        clean(&mut connection, 1e9, 0);
        assert_eq!(range(&connection, "benchmark_runs"), (1000, Some(10)));
    }
}
