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
