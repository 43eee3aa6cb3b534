//! Queries that people run with `sqlite3` on `latency.db` keep working on what Herd writes.

use proto::{Candidate, Trace};

use crate::fixture::*;

#[test]
fn published_queries_answer() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(settings(dir.path()));
    let cold = |number, ago| {
        let trace = chat(number, ago);
        let candidates = trace.candidates.iter().map(|it| Candidate { thermal: 10.0, ..it.clone() }).collect();
        Trace { candidates, latency_ms: 400.0, ttft_ms: Some(320.0), ..trace }
    };
    open.put([chat(1, 0), chat(2, 10), cold(3, 20), retried(4, HOUR_MS), failed(5, HOUR_MS), rejected(6, 30)]);

    for (what, query, wanted) in [
        (
            "latency by model and node",
            "SELECT model || ' ' || node_id || ' ' || count(*) || ' ' || round(avg(latency_ms), 1) FROM request_traces
             WHERE status = 'completed' GROUP BY model, node_id",
            "tiny:1b studio 4 175.2",
        ),
        (
            "observed latency",
            "SELECT node_id || ' ' || model_name || ' ' || count(*) || ' ' || sum(completion_tokens) || ' ' ||
                    round(avg(tokens_generated * 1000.0 / latency_ms), 1)
             FROM latency_observations GROUP BY node_id, model_name",
            "studio tiny:1b 4 16 32.4",
        ),
        (
            "time to first token",
            "SELECT round(avg(time_to_first_token_ms), 3) || ' ' || max(time_to_first_token_ms) FROM request_traces
             WHERE time_to_first_token_ms IS NOT NULL",
            "95.375 320.0",
        ),
        (
            "hot and cold",
            "SELECT group_concat(heat || ' ' || n, ', ') FROM (
                SELECT CASE WHEN json_extract(scores_breakdown, '$.thermal') >= 50 THEN 'hot' ELSE 'cold' END AS heat,
                       count(*) AS n
                FROM request_traces WHERE scores_breakdown IS NOT NULL GROUP BY heat ORDER BY heat)",
            "cold 1, hot 4",
        ),
        (
            "failures",
            "SELECT group_concat(status || ' ' || error_message || ' ' || n, ', ') FROM (
                SELECT status, error_message, count(*) AS n FROM request_traces WHERE status <> 'completed'
                GROUP BY status, error_message ORDER BY status)",
            "failed connection refused 1, rejected connection refused 1",
        ),
        (
            "retries",
            "SELECT model || ' ' || sum(retry_count) || ' ' || json_extract(excluded_nodes, '$[0]') FROM request_traces
             WHERE retry_count > 0 GROUP BY model",
            "tiny:1b 1 vllm",
        ),
        (
            "per hour",
            "SELECT group_concat(hour || ' ' || n, ', ') FROM (
                SELECT strftime('%Y-%m-%d %H:00', timestamp, 'unixepoch') AS hour, count(*) AS n
                FROM request_traces GROUP BY hour ORDER BY hour)",
            "2027-01-06 11:00 5, 2027-01-06 12:00 1",
        ),
    ] {
        let answer: String = sql(dir.path()).query_row(query, [], |row| row.get(0)).unwrap();
        assert_eq!(answer, wanted, "{what}");
    }
    open.end();
}
