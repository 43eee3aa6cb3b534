//! Answers the dashboard's questions about the past, in the shapes that scripts know: hours and days are UTC, averages
//! have one decimal, buckets are the Unix seconds they begin at.

use rusqlite::{Connection, Params};
use serde_json::{Map, Value, json};

use crate::read::{Cells, ReadError};
use crate::retention::Kept;

/// Longest time looked back: beyond it there is nothing anyway.
const MOST_DAYS: u32 = 3660;

/// Most rows of one answer; the ones beyond are left out.
const MOST_ROWS: usize = 10_000;

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

/// What a column of an answer is.
#[derive(Clone, Copy)]
enum Cell {
    Text,
    Count,
    /// A number with one decimal, or null.
    Tenths,
    /// A number as it is, or null.
    Exact,
}
use Cell::{Count, Exact, Tenths, Text};

pub(crate) fn trends(connection: &Connection, hours: u32, now: f64) -> Result<Value, ReadError> {
    let hours = hours.clamp(1, MOST_DAYS * 24);
    let kept = Kept::load(connection)?;
    let (live, past) = (kept.rows(), kept.hours());
    let data = rows(
        connection,
        &format!(
            "SELECT hour, sum(n), total(ms) / sum(n), total(prompt), total(completion) FROM (
                SELECT CAST(timestamp / 3600 AS INTEGER) * 3600 AS hour, count(*) AS n, total(latency_ms) AS ms,
                       total(prompt_tokens) AS prompt, total(completion_tokens) AS completion
                FROM latency_observations WHERE timestamp >= ?1 AND {live} GROUP BY 1
                UNION ALL
                SELECT hour, observed, observed_ms, observed_prompt, observed_completion
                FROM fleet_hours WHERE hour >= ?1 AND observed > 0 AND {past})
             GROUP BY hour ORDER BY hour"
        ),
        [now - f64::from(hours) * HOUR],
        &[
            ("hour_bucket", Count),
            ("request_count", Count),
            ("avg_latency_ms", Tenths),
            ("total_prompt_tokens", Count),
            ("total_completion_tokens", Count),
        ],
    )?;
    Ok(json!({"hours": hours, "data": data}))
}

pub(crate) fn models(connection: &Connection, days: u32, now: f64) -> Result<Value, ReadError> {
    let days = days.clamp(1, MOST_DAYS);
    let kept = Kept::load(connection)?;
    let (live, past) = (kept.rows(), kept.hours());
    let daily = rows(
        connection,
        &format!(
            "SELECT model, day, sum(n) AS all_of_it, total(ms) / sum(n), total(prompt), total(completion) FROM (
                SELECT model_name AS model, CAST(timestamp / 86400 AS INTEGER) * 86400 AS day, count(*) AS n,
                       total(latency_ms) AS ms, total(prompt_tokens) AS prompt, total(completion_tokens) AS completion
                FROM latency_observations WHERE timestamp >= ?1 AND {live} GROUP BY 1, 2
                UNION ALL
                SELECT model, hour / 86400 * 86400, observed, observed_ms, observed_prompt, observed_completion
                FROM fleet_hours WHERE hour >= ?1 AND observed > 0 AND {past})
             GROUP BY model, day ORDER BY day, all_of_it DESC, model"
        ),
        [now - f64::from(days) * DAY],
        &[
            ("model_name", Text),
            ("day_bucket", Count),
            ("request_count", Count),
            ("avg_latency_ms", Tenths),
            ("total_prompt_tokens", Count),
            ("total_completion_tokens", Count),
        ],
    )?;
    let summary = rows(
        connection,
        // Of deleted rows only the hour is known.
        &format!(
            "SELECT model, sum(n) AS all_of_it, total(ms) / sum(n), min(least), max(most), total(prompt),
                    total(completion), min(first), max(last) FROM (
                SELECT model_name AS model, count(*) AS n, total(latency_ms) AS ms, min(latency_ms) AS least,
                       max(latency_ms) AS most, total(prompt_tokens) AS prompt, total(completion_tokens) AS completion,
                       min(timestamp) AS first, max(timestamp) AS last
                FROM latency_observations WHERE {live} GROUP BY model_name
                UNION ALL
                SELECT model, observed, observed_ms, least_ms, most_ms, observed_prompt, observed_completion, hour, hour
                FROM fleet_hours WHERE observed > 0 AND {past})
             GROUP BY model ORDER BY all_of_it DESC, model"
        ),
        [],
        &[
            ("model_name", Text),
            ("total_requests", Count),
            ("avg_latency_ms", Tenths),
            ("min_latency_ms", Tenths),
            ("max_latency_ms", Tenths),
            ("total_prompt_tokens", Count),
            ("total_completion_tokens", Count),
            ("first_seen", Exact),
            ("last_seen", Exact),
        ],
    )?;
    Ok(json!({"days": days, "daily": daily, "summary": summary}))
}

pub(crate) fn usage(connection: &Connection, days: u32, now: f64) -> Result<Value, ReadError> {
    let days = days.clamp(1, MOST_DAYS);
    let kept = Kept::load(connection)?;
    let (live, past) = (kept.rows(), kept.hours());
    let data = rows(
        connection,
        &format!(
            "SELECT node_id, model, day, sum(n) AS all_of_it, sum(completed), sum(failed), total(ms) / sum(timed),
                    total(ttft_ms) / sum(ttfts), total(prompt), total(completion), total(retries), total(fallbacks)
             FROM (
                SELECT node_id, model, CAST(timestamp / 86400 AS INTEGER) * 86400 AS day, count(*) AS n,
                       count(*) FILTER (WHERE status = 'completed') AS completed,
                       count(*) FILTER (WHERE status = 'failed') AS failed,
                       total(latency_ms) AS ms, count(latency_ms) AS timed,
                       total(time_to_first_token_ms) AS ttft_ms, count(time_to_first_token_ms) AS ttfts,
                       total(prompt_tokens) AS prompt, total(completion_tokens) AS completion,
                       total(retry_count) AS retries, total(fallback_used) AS fallbacks
                FROM request_traces WHERE timestamp >= ?1 AND status <> 'retried' AND {live} GROUP BY 1, 2, 3
                UNION ALL
                SELECT node_id, model, hour / 86400 * 86400, requests, completed, failed, latency_ms, requests,
                       ttft_ms, ttfts, prompt_tokens, completion_tokens, retries, fallbacks
                FROM fleet_hours WHERE hour >= ?1 AND {past})
             GROUP BY node_id, model, day ORDER BY day DESC, all_of_it DESC, node_id, model"
        ),
        [now - f64::from(days) * DAY],
        &[
            ("node_id", Text),
            ("model", Text),
            ("day_bucket", Count),
            ("request_count", Count),
            ("completed_count", Count),
            ("failed_count", Count),
            ("avg_latency_ms", Tenths),
            ("avg_ttft_ms", Tenths),
            ("total_prompt_tokens", Count),
            ("total_completion_tokens", Count),
            ("total_retries", Count),
            ("total_fallbacks", Count),
        ],
    )?;
    Ok(json!({"days": days, "data": data}))
}

/// Each request once per tag, as far as rows go back: sums know no tags. A column that is no JSON list has no tags.
const TAGGED: &str = "(SELECT tag.value AS tag, request.* FROM request_traces AS request,
    json_each(CASE WHEN json_valid(request.tags) AND json_type(request.tags) = 'array' THEN request.tags ELSE '[]' END)
    AS tag WHERE request.tags IS NOT NULL AND request.status <> 'retried' AND request.timestamp >= ?1)";

pub(crate) fn apps(connection: &Connection, days: u32, now: f64) -> Result<Value, ReadError> {
    let days = days.clamp(1, MOST_DAYS);
    let since = now - f64::from(days) * DAY;
    let sums = "count(*), count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'),
        avg(latency_ms), avg(time_to_first_token_ms), total(prompt_tokens), total(completion_tokens)";
    let shape = |first| {
        [
            (first, Text),
            ("request_count", Count),
            ("completed_count", Count),
            ("failed_count", Count),
            ("avg_latency_ms", Tenths),
            ("avg_ttft_ms", Tenths),
            ("total_prompt_tokens", Count),
            ("total_completion_tokens", Count),
        ]
    };
    let data = rows(
        connection,
        &format!("SELECT tag, {sums} FROM {TAGGED} GROUP BY tag ORDER BY count(*) DESC, tag"),
        [since],
        &shape("tag"),
    )?;
    let summary = rows(
        connection,
        &format!(
            "SELECT tag, count(*), count(*) FILTER (WHERE status = 'completed'),
                    count(*) FILTER (WHERE status = 'failed'), avg(latency_ms), total(prompt_tokens),
                    total(completion_tokens), min(timestamp), max(timestamp)
             FROM {TAGGED} GROUP BY tag ORDER BY count(*) DESC, tag"
        ),
        [f64::MIN],
        &[
            ("tag", Text),
            ("total_requests", Count),
            ("completed_count", Count),
            ("failed_count", Count),
            ("avg_latency_ms", Tenths),
            ("total_prompt_tokens", Count),
            ("total_completion_tokens", Count),
            ("first_seen", Exact),
            ("last_seen", Exact),
        ],
    )?;
    let kept = Kept::load(connection)?;
    let (live, past) = (kept.rows(), kept.hours());
    let by_app = rows(
        connection,
        &format!(
            "SELECT app, sum(n) AS all_of_it, sum(completed), sum(failed), total(ms) / sum(timed),
                    total(ttft_ms) / sum(ttfts), total(prompt), total(completion) FROM (
                SELECT app, count(*) AS n, count(*) FILTER (WHERE status = 'completed') AS completed,
                       count(*) FILTER (WHERE status = 'failed') AS failed,
                       total(latency_ms) AS ms, count(latency_ms) AS timed,
                       total(time_to_first_token_ms) AS ttft_ms, count(time_to_first_token_ms) AS ttfts,
                       total(prompt_tokens) AS prompt, total(completion_tokens) AS completion
                FROM request_traces
                WHERE timestamp >= ?1 AND app IS NOT NULL AND status <> 'retried' AND {live} GROUP BY app
                UNION ALL
                SELECT app, requests, completed, failed, latency_ms, requests, ttft_ms, ttfts, prompt_tokens,
                       completion_tokens
                FROM fleet_hours WHERE hour >= ?1 AND app <> '' AND {past})
             GROUP BY app ORDER BY all_of_it DESC, app"
        ),
        [since],
        &shape("app"),
    )?;
    Ok(json!({"days": days, "data": data, "summary": summary, "apps": by_app}))
}

pub(crate) fn apps_daily(connection: &Connection, days: u32, now: f64) -> Result<Value, ReadError> {
    let days = days.clamp(1, MOST_DAYS);
    let data = rows(
        connection,
        &format!(
            "SELECT tag, CAST(timestamp / 86400 AS INTEGER) * 86400 AS day, count(*), avg(latency_ms),
                    total(prompt_tokens) + total(completion_tokens)
             FROM {TAGGED} GROUP BY tag, day ORDER BY day, tag"
        ),
        [now - f64::from(days) * DAY],
        &[
            ("tag", Text),
            ("day_bucket", Count),
            ("request_count", Count),
            ("avg_latency_ms", Tenths),
            ("total_tokens", Count),
        ],
    )?;
    Ok(json!({"days": days, "data": data}))
}

fn rows(
    connection: &Connection,
    question: &str,
    params: impl Params,
    shape: &[(&str, Cell)],
) -> Result<Vec<Value>, ReadError> {
    let mut statement = connection.prepare(question)?;
    let object = |row: &rusqlite::Row<'_>| {
        let cells = Cells(row);
        let fields = shape.iter().enumerate().map(|(at, (key, cell))| ((*key).to_owned(), value(&cells, at, *cell)));
        Ok(Value::Object(fields.collect::<Map<_, _>>()))
    };
    let answer = statement.query_map(params, object)?.take(MOST_ROWS).collect::<Result<_, _>>()?;
    Ok(answer)
}

fn value(cells: &Cells<'_>, at: usize, cell: Cell) -> Value {
    match cell {
        Cell::Text => cells.text(at).into(),
        Cell::Count => cells.count(at).unwrap_or(0).into(),
        Cell::Tenths => cells.real(at).map(|number| (number * 10.0).round() / 10.0).into(),
        Cell::Exact => cells.real(at).into(),
    }
}
