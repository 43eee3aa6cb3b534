//! Deletes what is too old or too much, a slice at a time, so that rows waiting to be written never wait long.

use rusqlite::Connection;

/// Rows deleted at a time: more than come in between two slices, or a busy database would never get below its limit.
const SLICE_ROWS: i64 = 2000;

/// Pages given back to the system at a time.
const SLICE_PAGES: i64 = 512;

/// Free bytes that a database keeps for the rows to come instead of giving them back.
const SLACK_BYTES: u64 = 4 << 20;

/// Benchmark runs that are kept, newest first. They are few and someone asked for each, so age does not matter.
const BENCHMARK_RUNS: i64 = 1000;

/// Deletes one slice: rows from before `oldest` (Unix seconds), then the oldest while the tables need more than
/// `max_bytes`, then gives free pages back. Answers whether there was anything to do.
pub(crate) fn slice(connection: &mut Connection, oldest: f64, max_bytes: u64) -> Result<bool, rusqlite::Error> {
    if delete_before(connection, oldest)? > 0 {
        return Ok(true);
    }
    let size = Size::of(connection)?;
    if size.used() > max_bytes && delete_oldest(connection)? > 0 {
        return Ok(true);
    }
    // The second question is there for files that were never rewritten and cannot shrink.
    if size.wants_shrinking(max_bytes) {
        shrink(connection)?;
        return Ok(Size::of(connection)?.pages < size.pages);
    }
    Ok(false)
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

fn delete_before(connection: &mut Connection, oldest: f64) -> Result<usize, rusqlite::Error> {
    let change = connection.transaction()?;
    let mut deleted = change.execute(
        "DELETE FROM request_traces WHERE id IN
         (SELECT id FROM request_traces WHERE timestamp < ?1 ORDER BY timestamp LIMIT ?2)",
        (oldest, SLICE_ROWS),
    )?;
    deleted += change.execute(
        "DELETE FROM latency_observations WHERE id IN
         (SELECT id FROM latency_observations WHERE timestamp < ?1 ORDER BY timestamp LIMIT ?2)",
        (oldest, SLICE_ROWS),
    )?;
    deleted += change.execute(
        "DELETE FROM benchmark_runs WHERE id IN
         (SELECT id FROM benchmark_runs ORDER BY timestamp DESC, id DESC LIMIT -1 OFFSET ?1)",
        [BENCHMARK_RUNS],
    )?;
    change.commit()?;
    Ok(deleted)
}

fn delete_oldest(connection: &mut Connection) -> Result<usize, rusqlite::Error> {
    let change = connection.transaction()?;
    let mut deleted = change.execute(
        "DELETE FROM request_traces WHERE id IN (SELECT id FROM request_traces ORDER BY timestamp LIMIT ?1)",
        [SLICE_ROWS],
    )?;
    // Observations go as far back as the traces; where there are no traces left, they go by themselves.
    deleted += change.execute(
        "DELETE FROM latency_observations WHERE id IN
         (SELECT id FROM latency_observations
          WHERE timestamp < ifnull((SELECT min(timestamp) FROM request_traces), 9e999) ORDER BY timestamp LIMIT ?1)",
        [SLICE_ROWS],
    )?;
    change.commit()?;
    Ok(deleted)
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

    fn clean(connection: &mut Connection, oldest: f64, max_bytes: u64) -> usize {
        (0..10_000).take_while(|_| slice(connection, oldest, max_bytes).unwrap()).count()
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
        assert!(slice(&mut connection, 4900.0, u64::MAX).unwrap());
        assert_eq!(range(&connection, "request_traces"), (3000, Some(2000)));
        clean(&mut connection, 4900.0, u64::MAX);
        assert_eq!(range(&connection, "request_traces"), (100, Some(4900)));
        assert_eq!(range(&connection, "latency_observations"), (100, Some(4900)));
        assert_eq!(clean(&mut connection, 4900.0, u64::MAX), 0, "then there is nothing to do");
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
