//! Brings a database up to date, whichever program began it. Only the writer does this, at start.

use rusqlite::{Connection, Transaction};
use rusqlite_migration::{HookError, HookResult, M, Migrations};

/// `PRAGMA user_version` of a database that this Herd writes.
pub(crate) const NEWEST: usize = 4;

/// The documented columns, for databases of earlier generations that lack some of them.
const DOCUMENTED: [(&str, &[(&str, &str)]); 3] = [
    (
        "latency_observations",
        &[
            ("node_id", "TEXT"),
            ("model_name", "TEXT"),
            ("latency_ms", "REAL"),
            ("tokens_generated", "INTEGER"),
            ("timestamp", "REAL"),
            ("prompt_tokens", "INTEGER"),
            ("completion_tokens", "INTEGER"),
        ],
    ),
    (
        "request_traces",
        &[
            ("request_id", "TEXT"),
            ("model", "TEXT"),
            ("original_model", "TEXT"),
            ("node_id", "TEXT"),
            ("score", "REAL"),
            ("scores_breakdown", "TEXT"),
            ("status", "TEXT"),
            ("latency_ms", "REAL"),
            ("time_to_first_token_ms", "REAL"),
            ("prompt_tokens", "INTEGER"),
            ("completion_tokens", "INTEGER"),
            ("retry_count", "INTEGER DEFAULT 0"),
            ("fallback_used", "INTEGER DEFAULT 0"),
            ("excluded_nodes", "TEXT"),
            ("client_ip", "TEXT"),
            ("original_format", "TEXT"),
            ("error_message", "TEXT"),
            ("timestamp", "REAL"),
            ("tags", "TEXT"),
            ("finish_reason", "TEXT"),
            ("estimated_tokens", "INTEGER"),
        ],
    ),
    (
        "benchmark_runs",
        &[
            ("run_id", "TEXT"),
            ("timestamp", "REAL"),
            ("duration_s", "REAL"),
            ("total_requests", "INTEGER"),
            ("total_failures", "INTEGER"),
            ("total_prompt_tokens", "INTEGER"),
            ("total_completion_tokens", "INTEGER"),
            ("requests_per_sec", "REAL"),
            ("tokens_per_sec", "REAL"),
            ("latency_p50_ms", "REAL"),
            ("latency_p95_ms", "REAL"),
            ("latency_p99_ms", "REAL"),
            ("ttft_p50_ms", "REAL"),
            ("ttft_p95_ms", "REAL"),
            ("ttft_p99_ms", "REAL"),
            ("fleet_snapshot", "TEXT"),
            ("per_model_results", "TEXT"),
            ("per_node_results", "TEXT"),
            ("peak_utilization", "TEXT"),
        ],
    ),
];

/// The indexes that Herd reads by: each costs every row written, so there are no more. Published queries by model or
/// node look through the rows of their time.
const INDEXES: [(&str, &str, &str); 3] = [
    // Serves "the request with this id".
    ("herd_traces_by_request", "request_traces", "request_id"),
    // Serves "the newest requests", "the last days", and deleting the oldest.
    ("herd_traces_by_time", "request_traces", "timestamp"),
    // Serves "the last hours" and deleting the oldest.
    ("herd_observations_by_time", "latency_observations", "timestamp"),
];

/// Runs every migration that the database has not seen, each in a transaction of its own.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    migrations().to_latest(connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => err,
        other => rusqlite::Error::ToSqlConversionFailure(Box::new(other)),
    })
}

fn migrations() -> Migrations<'static> {
    Migrations::new(vec![
        M::up_with_hook(include_str!("../migrations/0001_documented.sql"), add_missing_columns),
        M::up_with_hook(include_str!("../migrations/0002_herd.sql"), add_missing_indexes),
        M::up(include_str!("../migrations/0003_contexts.sql")),
        M::up(include_str!("../migrations/0004_journals.sql")),
    ])
}

fn add_missing_columns(change: &Transaction<'_>) -> HookResult {
    for (table, columns) in DOCUMENTED {
        let present = column_names(change, table).map_err(HookError::RusqliteError)?;
        for (column, kind) in columns {
            if !present.iter().any(|name| name.eq_ignore_ascii_case(column)) {
                change.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {kind}"))?;
            }
        }
    }
    Ok(())
}

// The earlier system's indexes have names of their own and stay, so one that already serves is not made twice.
fn add_missing_indexes(change: &Transaction<'_>) -> HookResult {
    for (name, table, column) in INDEXES {
        let served: bool = change.query_row(
            "SELECT EXISTS (SELECT 1 FROM pragma_index_list(?1) AS list
             WHERE (SELECT group_concat(name) FROM pragma_index_info(list.name)) = ?2 AND list.partial = 0)",
            [table, column],
            |row| row.get(0),
        )?;
        if !served {
            change.execute_batch(&format!("CREATE INDEX {name} ON {table} ({column})"))?;
        }
    }
    Ok(())
}

fn column_names(connection: &Connection, table: &str) -> Result<Vec<String>, rusqlite::Error> {
    connection.prepare("SELECT name FROM pragma_table_info(?1)")?.query_map([table], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_the_last_migration() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, NEWEST as i64);
    }

    #[test]
    fn the_documented_columns_come_first_and_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        for (table, columns) in DOCUMENTED {
            let names = column_names(&connection, table).unwrap();
            assert_eq!(names[0], "id");
            let documented: Vec<_> = columns.iter().map(|(name, _)| name.to_string()).collect();
            assert_eq!(names[1..=documented.len()], documented, "{table}");
        }
    }
}
