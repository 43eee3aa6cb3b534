//! A database of the earlier system is taken over: a copy kept, columns added, no row lost.

use rusqlite::Connection;
use store::DATABASE;

use crate::fixture::*;

/// What both generations of the earlier system have.
const OBSERVATIONS: &str = "
    CREATE TABLE latency_observations (id INTEGER PRIMARY KEY AUTOINCREMENT, node_id TEXT NOT NULL,
        model_name TEXT NOT NULL, latency_ms REAL NOT NULL, tokens_generated INTEGER, timestamp REAL NOT NULL,
        prompt_tokens INTEGER, completion_tokens INTEGER);
    CREATE INDEX idx_latency_node_model ON latency_observations (node_id, model_name);
    CREATE INDEX idx_latency_timestamp ON latency_observations (timestamp);
    CREATE INDEX idx_latency_model_ts ON latency_observations (model_name, timestamp);
    CREATE TABLE benchmark_runs (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT UNIQUE NOT NULL, timestamp REAL NOT NULL,
        duration_s REAL, total_requests INTEGER, total_failures INTEGER, total_prompt_tokens INTEGER,
        total_completion_tokens INTEGER, requests_per_sec REAL, tokens_per_sec REAL, latency_p50_ms REAL,
        latency_p95_ms REAL, latency_p99_ms REAL, ttft_p50_ms REAL, ttft_p95_ms REAL, ttft_p99_ms REAL,
        fleet_snapshot TEXT, per_model_results TEXT, per_node_results TEXT, peak_utilization TEXT);
    CREATE INDEX idx_benchmark_ts ON benchmark_runs (timestamp);
    INSERT INTO benchmark_runs (run_id, timestamp, total_requests) VALUES ('bench-1', 1799000000.5, 234);";

const TRACES: &str = "
    CREATE TABLE request_traces (id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL, model TEXT NOT NULL,
        original_model TEXT NOT NULL, node_id TEXT NOT NULL, score REAL, scores_breakdown TEXT, status TEXT NOT NULL,
        latency_ms REAL, time_to_first_token_ms REAL, prompt_tokens INTEGER, completion_tokens INTEGER,
        retry_count INTEGER DEFAULT 0, fallback_used INTEGER DEFAULT 0, excluded_nodes TEXT, client_ip TEXT,
        original_format TEXT, error_message TEXT, timestamp REAL NOT NULL, tags TEXT /* more */);
    CREATE INDEX idx_traces_request ON request_traces (request_id);
    CREATE INDEX idx_traces_timestamp ON request_traces (timestamp);
    CREATE INDEX idx_traces_model_ts ON request_traces (model, timestamp);
    CREATE INDEX idx_traces_node_model ON request_traces (node_id, model);
    CREATE INDEX idx_traces_tags ON request_traces (tags);";

fn earlier(dir: &std::path::Path, newer_generation: bool) -> Connection {
    let old = sql(dir);
    old.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    old.execute_batch(OBSERVATIONS).unwrap();
    let more = if newer_generation { ", finish_reason TEXT, estimated_tokens INTEGER" } else { "" };
    old.execute_batch(&TRACES.replace("/* more */", more)).unwrap();
    if newer_generation {
        old.execute_batch(
            "CREATE TABLE fleet_briefings (id INTEGER PRIMARY KEY, timestamp REAL, briefing TEXT, model TEXT, fleet_data TEXT);
             INSERT INTO fleet_briefings (briefing) VALUES ('all is well')",
        )
        .unwrap();
    }
    let breakdown = r#"{"thermal":50.0,"memory_fit":20.0,"queue_depth":-0.0,"quality_bonus":17.76,"total":117.76}"#;
    for number in 0..300 {
        old.execute(
            "INSERT INTO request_traces (request_id, model, original_model, node_id, score, scores_breakdown, status,
                latency_ms, retry_count, client_ip, original_format, timestamp, tags)
             VALUES (?1, 'tiny:1b', 'tiny:1b', 'beta', 117.76, ?2, ?3, 53.5, 1, '', 'ollama', ?4, '[\"my-app\"]')",
            (
                format!("{number:08x}-dae9-482e-8699-69f2f4979e63"),
                breakdown,
                if number == 0 { "retried" } else { "completed" },
                NOW_MS as f64 / 1000.0 - 60.0 - f64::from(number),
            ),
        )
        .unwrap();
        old.execute(
            "INSERT INTO latency_observations (node_id, model_name, latency_ms, timestamp) VALUES ('beta', 'tiny:1b', 53.5, ?1)",
            [NOW_MS as f64 / 1000.0 - 60.0 - f64::from(number)],
        )
        .unwrap();
    }
    old
}

fn count(connection: &Connection, what: &str) -> i64 {
    connection.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn both_generations_are_taken_over_with_every_row() {
    for newer_generation in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        // Still open, so that the rows are in the write-ahead log and not in the file.
        let old = earlier(dir.path(), newer_generation);
        let first = open(settings(dir.path()));
        drop(old);
        first.put([chat(1, 0)]);

        let rows = first.store.traces(1000).unwrap();
        assert_eq!(rows.len(), 301);
        assert_eq!((rows[0].node_id.as_str(), rows[1].node_id.as_str()), ("studio", "beta"));
        let theirs = first.store.why("00000007-dae9").unwrap().unwrap();
        assert_eq!(theirs.trace.scores_breakdown.unwrap()["quality_bonus"], 17.76);
        assert_eq!((theirs.trace.backend, theirs.trace.tags), (None, vec!["my-app".to_owned()]));
        assert_eq!(first.store.overview().unwrap().total_requests, 300, "a retried try is no request");
        let usage = first.store.usage(7).unwrap();
        let theirs = usage["data"].as_array().unwrap().iter().find(|row| row["node_id"] == "beta").unwrap();
        assert_eq!((&theirs["request_count"], &theirs["total_retries"]), (&299.into(), &299.into()));
        assert_eq!(first.store.apps(7).unwrap()["data"][0]["request_count"], 299);
        first.end();

        let now = sql(dir.path());
        assert_eq!(count(&now, "latency_observations"), 301);
        assert_eq!(count(&now, "benchmark_runs"), 1);
        if newer_generation {
            assert_eq!(count(&now, "fleet_briefings"), 1);
        }
        let vacuum: i64 = now.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap();
        assert_eq!(vacuum, 2, "the file can shrink");
        assert_eq!(
            count(&now, "sqlite_schema WHERE name GLOB 'herd_*'"),
            1,
            "their indexes serve us too, but for journals"
        );

        let copy = Connection::open(dir.path().join(format!("{DATABASE}.before-4"))).unwrap();
        assert_eq!(count(&copy, "request_traces"), 300);
        assert_eq!(count(&copy, "pragma_table_info('request_traces') WHERE name = 'backend'"), 0);
        let version: i64 = copy.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, 0);
    }
}

#[test]
fn a_copy_is_made_only_before_a_change_and_never_over_another() {
    let dir = tempfile::tempdir().unwrap();
    let copies = || {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut copies: Vec<_> =
            names.filter_map(|name| Some(name.to_str()?.split_once(".before-")?.1.to_owned())).collect();
        copies.sort();
        copies
    };
    open(settings(dir.path())).end();
    open(settings(dir.path())).end();
    assert!(copies().is_empty(), "{:?}", copies());
    for wanted in [vec!["4".to_owned()], vec!["4".to_owned(), format!("4-{}", NOW_MS / 1000)]] {
        std::fs::remove_file(dir.path().join(DATABASE)).unwrap();
        drop(earlier(dir.path(), false));
        open(settings(dir.path())).end();
        open(settings(dir.path())).end();
        assert_eq!(copies(), wanted);
    }
}

#[test]
fn tables_that_lack_columns_or_hold_nonsense_are_read_as_far_as_they_go() {
    let dir = tempfile::tempdir().unwrap();
    sql(dir.path())
        .execute_batch(
            "CREATE TABLE request_traces (id INTEGER PRIMARY KEY, request_id TEXT, model TEXT, original_model TEXT,
                node_id TEXT, status TEXT, timestamp REAL, tags TEXT, latency_ms REAL, excluded_nodes TEXT);
             INSERT INTO request_traces (request_id, model, original_model, node_id, status, timestamp, tags, latency_ms,
                excluded_nodes)
             VALUES ('abcdefgh', x'ff00', 5, NULL, 'completed', 1799236000, '{not json', 'quick', '[1, \"beta\", null]'),
                    ('bcdefghi', 'tiny', 'tiny', 'beta', 'completed', 1799236000, '\"a\"', -1e999, '7');",
        )
        .unwrap();
    let open = open(settings(dir.path()));
    open.put([chat(1, 0)]);
    assert_eq!(open.store.traces(10).unwrap().len(), 3);
    let odd = open.store.why("abcdefgh").unwrap().unwrap().trace;
    assert_eq!((odd.model.as_str(), odd.original_model.as_str(), odd.latency_ms), ("", "5", None));
    assert_eq!(odd.excluded_nodes, ["beta"]);
    assert_eq!(open.store.overview().unwrap().total_requests, 3);
    assert_eq!(open.store.apps(7).unwrap()["data"], serde_json::json!([]));
    assert_eq!(open.store.usage(7).unwrap()["data"].as_array().unwrap().len(), 3);
    open.end();
}
