//! What is recorded is there afterwards, and can be asked for.

use std::fs;

use proto::view::TraceView;
use serde_json::json;
use store::{DATABASE, QUEUE_ROWS, ReadError, Store};

use crate::fixture::*;

#[test]
fn a_row_says_what_the_trace_said() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(settings(dir.path()));
    let trace = retried(7, 1500);
    open.put([trace.clone()]);
    let why = open.store.why(trace.request_id.as_str()).unwrap().unwrap();
    assert_eq!(
        why.trace,
        TraceView {
            request_id: trace.request_id.to_string(),
            model: "tiny:1b".to_owned(),
            original_model: "tiny:1b".to_owned(),
            node_id: "studio".to_owned(),
            score: Some(44.0),
            scores_breakdown: Some(json!({
                "thermal": 50.0, "memory_fit": 0.0, "queue_depth": -6.0, "wait_time": 0.0, "role_affinity": 0.0,
                "availability_trend": 0.0, "context_fit": 0.0, "total": 44.0,
            })),
            status: "completed".to_owned(),
            latency_ms: Some(100.25),
            time_to_first_token_ms: Some(20.5),
            prompt_tokens: Some(11),
            completion_tokens: Some(4),
            retry_count: 1,
            fallback_used: false,
            excluded_nodes: vec!["vllm".to_owned()],
            client_ip: "127.0.0.1".to_owned(),
            client_key: Some("nas".to_owned()),
            original_format: "openai".to_owned(),
            error_message: None,
            timestamp: (NOW_MS - 1500) as f64 / 1000.0,
            tags: Vec::new(),
            finish_reason: Some("stop".to_owned()),
            estimated_tokens: Some(30),
            backend: Some("ollama".to_owned()),
            path: Some("/v1/chat/completions".to_owned()),
            http_status: Some(200),
            queued_ms: Some(3.0),
            app: Some("aider".to_owned()),
            context: Some(4096),
            context_verdict: Some("kept".to_owned()),
            loaded_ms: Some(1500.0),
            session: Some("0000000000000007".to_owned()),
        }
    );
    // What the trace does not name is this node.
    let studio = Some(std::sync::Arc::<str>::from("studio"));
    let candidates = trace.candidates.iter().map(|it| proto::Candidate { node: studio.clone(), ..it.clone() });
    let attempts = trace.attempts.iter().map(|it| proto::Attempt { node: studio.clone(), ..it.clone() });
    assert_eq!(why.candidates, candidates.collect::<Vec<_>>());
    assert_eq!(why.attempts, attempts.collect::<Vec<_>>());
    assert_eq!((why.request_bytes, why.response_bytes, why.unretriable), (Some(210), Some(340), false));
    open.end();
}

#[test]
fn a_refused_request_has_no_score_and_no_retries() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(settings(dir.path()));
    open.put([rejected(1, 0)]);
    let row = open.store.traces(1).unwrap().remove(0);
    assert_eq!((row.status.as_str(), row.node_id.as_str(), row.http_status), ("rejected", "studio", Some(404)));
    assert_eq!((row.score, row.scores_breakdown, row.backend, row.retry_count), (None, None, None, 0));
    let observed: i64 =
        sql(dir.path()).query_row("SELECT count(*) FROM latency_observations", [], |row| row.get(0)).unwrap();
    assert_eq!(observed, 0);
    open.end();
}

#[test]
fn only_finished_work_of_a_model_is_an_observation() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(settings(dir.path()));
    let counted = proto::Trace { api: proto::Api::CountTokens, ..chat(2, 0) };
    open.put([chat(1, 0), counted, failed(3, 0)]);
    let row: (String, String, f64, i64, i64, i64) = sql(dir.path())
        .query_row(
            "SELECT node_id, model_name, latency_ms, tokens_generated, prompt_tokens, completion_tokens
             FROM latency_observations",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)),
        )
        .unwrap();
    assert_eq!(row, ("studio".to_owned(), "tiny:1b".to_owned(), 100.25, 4, 11, 4));
    let observed: i64 =
        sql(dir.path()).query_row("SELECT count(*) FROM latency_observations", [], |row| row.get(0)).unwrap();
    assert_eq!(observed, 1);
    open.end();
}

#[test]
fn the_newest_come_first_and_no_more_than_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(settings(dir.path()));
    open.put((0..1200).map(|number| chat(number, 1200 - number)));
    let rows = open.store.traces(3).unwrap();
    let ago: Vec<_> = rows.iter().map(|row| NOW_MS - (row.timestamp * 1000.0).round() as u64).collect();
    assert_eq!(ago, [1, 2, 3]);
    assert_eq!(open.store.traces(usize::MAX).unwrap().len(), store::MOST_TRACES);
    assert!(open.store.traces(0).unwrap().is_empty());
    open.end();
}

#[test]
fn a_beginning_of_an_id_is_enough_if_only_one_begins_so() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(settings(dir.path()));
    let (one, other) = (chat(1, 0).request_id, chat(2, 0).request_id);
    open.put([chat(1, 0), chat(2, 0), chat(3, 100 * HOUR_MS)]);
    let old = chat(3, 100 * HOUR_MS).request_id.to_string();
    let found = |id: &str| open.store.why(id).unwrap().map(|why| why.trace.request_id);
    assert_eq!(found(one.as_str()), Some(one.to_string()));
    assert_eq!(found(&format!(" {} ", other.as_str().to_uppercase())), Some(other.to_string()));
    assert_eq!(found(&old[..6]), Some(old.clone()));
    assert_eq!(found("zzzzzz"), None);
    assert_eq!(found("%%%%%%%"), None);
    assert!(matches!(open.store.why(&old[..5]), Err(ReadError::TooShort { .. })));
    assert!(matches!(open.store.why(""), Err(ReadError::TooShort { .. })));
    assert!(matches!(open.store.why(&one.as_str()[..9]), Err(ReadError::Ambiguous { .. })));
    open.end();
}

#[test]
fn what_does_not_fit_the_queue_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writer) = Store::open(settings(dir.path()), clock()).unwrap();
    for number in 0..QUEUE_ROWS as u64 + 5 {
        store.record(chat(number, 0));
    }
    assert_eq!(store.dropped(), 5);
    let reading = store.clone();
    drop(store);
    let thread = std::thread::spawn(move || writer.run());
    assert!(reading.flush(PATIENCE));
    assert_eq!(reading.overview().unwrap().total_requests, QUEUE_ROWS as u64);
    reading.close();
    thread.join().unwrap();
    reading.record(chat(1, 0));
    assert_eq!(reading.dropped(), 6);
    assert_eq!(reading.overview().unwrap().total_requests, QUEUE_ROWS as u64);
}

#[test]
fn rows_without_a_writer_are_counted_as_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writer) = Store::open(settings(dir.path()), clock()).unwrap();
    store.record(chat(1, 0));
    drop(writer);
    store.record(chat(2, 0));
    assert_eq!(store.dropped(), 2);
    assert!(store.flush(PATIENCE));
}

#[test]
fn the_last_handle_ends_the_writer_after_the_last_row() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(settings(dir.path()));
    let second = open.store.clone();
    (0..100).for_each(|number| second.record(chat(number, 0)));
    drop(second);
    open.end();
    let stored: i64 = sql(dir.path()).query_row("SELECT count(*) FROM request_traces", [], |row| row.get(0)).unwrap();
    assert_eq!(stored, 100);
}

#[test]
fn what_was_stored_survives_being_killed() {
    let (dir, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = open(settings(dir.path()));
    first.put((0..50).map(|number| chat(number, 0)));
    // The files as they lie there while the writer runs are the files that a killed one leaves.
    for name in [DATABASE, "latency.db-wal"] {
        fs::copy(dir.path().join(name), after.path().join(name)).unwrap();
    }
    let second = open(settings(after.path()));
    assert_eq!(second.store.overview().unwrap().total_requests, 50);
    second.end();
    first.end();
}

#[test]
fn the_identity_is_made_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(settings(dir.path()));
    let key = first.store.node_key().to_owned();
    assert!(key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    first.put([chat(1, 0)]);
    first.end();
    let second = open(settings(dir.path()));
    assert_eq!(second.store.node_key(), key);
    second.end();
    let given = open(store::Settings { node_key: "given".to_owned(), ..settings(dir.path()) });
    assert_eq!(given.store.node_key(), "given");
    given.end();
    let written: String =
        sql(dir.path()).query_row("SELECT node_key FROM request_traces", [], |row| row.get(0)).unwrap();
    assert_eq!(written, key);
}

#[test]
fn too_old_rows_go_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(settings(dir.path()));
    first.put([chat(1, 31 * 24 * HOUR_MS), chat(2, 29 * 24 * HOUR_MS)]);
    first.end();
    let second = open(settings(dir.path()));
    // The writer does a slice of its cleaning after each batch.
    (3..13).for_each(|number| second.put([chat(number, 0)]));
    let left = second.store.traces(100).unwrap();
    assert_eq!(left.len(), 11, "{left:?}");
    // What was deleted still counts.
    assert_eq!(second.store.models(3000).unwrap()["summary"][0]["total_requests"], 12);
    assert_eq!(second.store.overview().unwrap().total_requests, 12);
    second.end();
}
