//! Answers the dashboard's questions about the past, in the shapes that scripts know: hours and days are UTC, averages
//! have one decimal, buckets are the Unix seconds they begin at.

use rusqlite::{Connection, Params};
use serde_json::{Map, Value, json};

use crate::read::{Cells, ReadError};

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
    let data = rows(
        connection,
        "SELECT CAST(timestamp / 3600 AS INTEGER) * 3600 AS hour, count(*), avg(latency_ms), total(prompt_tokens),
                total(completion_tokens)
         FROM latency_observations WHERE timestamp >= ?1 GROUP BY hour ORDER BY hour",
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
    let daily = rows(
        connection,
        "SELECT model_name, CAST(timestamp / 86400 AS INTEGER) * 86400 AS day, count(*), avg(latency_ms),
                total(prompt_tokens), total(completion_tokens)
         FROM latency_observations WHERE timestamp >= ?1
         GROUP BY model_name, day ORDER BY day, count(*) DESC, model_name",
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
        "SELECT model_name, count(*), avg(latency_ms), min(latency_ms), max(latency_ms), total(prompt_tokens),
                total(completion_tokens), min(timestamp), max(timestamp)
         FROM latency_observations GROUP BY model_name ORDER BY count(*) DESC, model_name",
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
    let data = rows(
        connection,
        "SELECT node_id, model, CAST(timestamp / 86400 AS INTEGER) * 86400 AS day, count(*),
                count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'),
                avg(latency_ms), avg(time_to_first_token_ms), total(prompt_tokens), total(completion_tokens),
                total(retry_count), total(fallback_used)
         FROM request_traces WHERE timestamp >= ?1 AND status <> 'retried'
         GROUP BY node_id, model, day ORDER BY day DESC, count(*) DESC, node_id, model",
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

/// Each request once per tag. A column that is no JSON list has no tags.
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
    let by_app = rows(
        connection,
        &format!(
            "SELECT app, {sums} FROM request_traces WHERE timestamp >= ?1 AND app IS NOT NULL AND status <> 'retried'
             GROUP BY app ORDER BY count(*) DESC, app"
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
