//! Reads single requests and totals. Takes every value as it finds it: databases of other programs hold surprises.

use std::sync::Arc;

use proto::view::{OverviewView, TraceView, WhyView};
use proto::{Attempt, Candidate};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use serde::de::DeserializeOwned;

use crate::retention::Kept;
use crate::row;

/// Most requests that are read at once.
pub const MOST_TRACES: usize = 1000;

/// Fewest characters of an id that may stand for the whole.
pub const LEAST_BEGINNING: usize = 6;

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The beginning of an id is shorter than [`LEAST_BEGINNING`].
    #[error("`{id}` is too short: give at least {LEAST_BEGINNING} characters of the request's id")]
    TooShort {
        /// What was given.
        id: String,
    },
    /// Several requests' ids begin so.
    #[error("several requests begin with `{id}`: give more of the id")]
    Ambiguous {
        /// What was given.
        id: String,
    },
    /// The database cannot be read.
    #[error("the database cannot be read: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

const COLUMNS: &str = "request_id, model, original_model, node_id, score, scores_breakdown, status, latency_ms,
    time_to_first_token_ms, prompt_tokens, completion_tokens, retry_count, fallback_used, excluded_nodes, client_ip,
    original_format, error_message, timestamp, tags, finish_reason, estimated_tokens, backend, path, http_status,
    queued_ms, app, candidates, attempts, unretriable, request_bytes, response_bytes,
    context, context_verdict, loaded_ms, session, key_id,
    (SELECT door FROM journal WHERE journal.id = request_traces.journal)";

pub(crate) fn traces(connection: &Connection, limit: usize) -> Result<Vec<TraceView>, ReadError> {
    let mut statement = connection
        .prepare(&format!("SELECT {COLUMNS} FROM request_traces ORDER BY timestamp DESC, id DESC LIMIT ?1"))?;
    let rows = statement.query_map([limit.min(MOST_TRACES) as i64], |row| Ok(trace(&Cells(row))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn why(connection: &Connection, id: &str) -> Result<Option<WhyView>, ReadError> {
    // Ours and the earlier system's ids are in lower case; people copy them by hand.
    let id = row::name(id.trim()).to_ascii_lowercase();
    let mut exact = connection
        .prepare(&format!("SELECT {COLUMNS} FROM request_traces WHERE request_id = ?1 ORDER BY id DESC LIMIT 1"))?;
    let found = exact.query_map([&id], |row| Ok(full(&Cells(row))))?.next().transpose()?;
    if found.is_some() {
        return Ok(found);
    }
    if id.chars().count() < LEAST_BEGINNING {
        return Err(ReadError::TooShort { id });
    }
    let whole: Vec<String> = connection
        .prepare("SELECT DISTINCT request_id FROM request_traces WHERE request_id >= ?1 AND request_id < ?2 LIMIT 2")?
        .query_map([&id, &format!("{id}\u{10ffff}")], |row| Ok(Cells(row).text(0).unwrap_or_default()))?
        .collect::<Result<_, _>>()?;
    match whole.as_slice() {
        [] => Ok(None),
        [only] => Ok(exact.query_map([only], |row| Ok(full(&Cells(row))))?.next().transpose()?),
        _ => Err(ReadError::Ambiguous { id }),
    }
}

pub(crate) fn overview(connection: &Connection, now: f64) -> Result<OverviewView, ReadError> {
    let kept = Kept::load(connection)?;
    let (rows, hours) = (kept.rows(), kept.hours());
    // The earlier system wrote a `retried` row for each try that was not the last; those are no requests.
    let totals = connection.query_row(
        &format!(
            "SELECT total(requests), total(completed), total(failed), total(completed_ms) / sum(completed),
                    total(ttft_ms) / sum(ttfts), total(prompt), total(completion),
                    count(DISTINCT iif(completed > 0, model, NULL)),
                    total(lately)
             FROM (
                SELECT model, count(*) AS requests, count(*) FILTER (WHERE status = 'completed') AS completed,
                       count(*) FILTER (WHERE status IN ('failed', 'incomplete', 'no_output')) AS failed,
                       total(latency_ms) FILTER (WHERE status = 'completed') AS completed_ms,
                       total(time_to_first_token_ms) FILTER (WHERE status = 'completed') AS ttft_ms,
                       count(time_to_first_token_ms) FILTER (WHERE status = 'completed') AS ttfts,
                       total(prompt_tokens) AS prompt, total(completion_tokens) AS completion,
                       count(*) FILTER (WHERE timestamp >= ?1) AS lately
                FROM request_traces WHERE status <> 'retried' AND {rows} GROUP BY model
                UNION ALL
                SELECT model, requests, completed, failed + broken, completed_ms, ttft_ms, ttfts, prompt_tokens,
                       completion_tokens, iif(hour >= ?1, requests, 0)
                FROM fleet_hours WHERE {hours})"
        ),
        [now - 24.0 * 3600.0],
        |row| {
            let cells = Cells(row);
            Ok(OverviewView {
                total_requests: cells.count(0).unwrap_or(0),
                completed: cells.count(1).unwrap_or(0),
                failed: cells.count(2).unwrap_or(0),
                avg_latency_ms: cells.real(3),
                avg_ttft_ms: cells.real(4),
                total_prompt_tokens: cells.count(5).unwrap_or(0),
                total_completion_tokens: cells.count(6).unwrap_or(0),
                models: cells.count(7).unwrap_or(0),
                requests_24h: cells.count(8).unwrap_or(0),
            })
        },
    )?;
    Ok(totals)
}

fn trace(cells: &Cells<'_>) -> TraceView {
    TraceView {
        request_id: cells.text(0).unwrap_or_default(),
        model: cells.text(1).unwrap_or_default(),
        original_model: cells.text(2).unwrap_or_default(),
        node_id: cells.text(3).unwrap_or_default(),
        score: cells.real(4),
        scores_breakdown: Some(row::parsed(cells.text(5).as_deref())).filter(|value| !value.is_null()),
        status: cells.text(6).unwrap_or_default(),
        latency_ms: cells.real(7),
        time_to_first_token_ms: cells.real(8),
        prompt_tokens: cells.count(9),
        completion_tokens: cells.count(10),
        retry_count: cells.count(11).and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        fallback_used: cells.count(12).unwrap_or(0) != 0,
        excluded_nodes: cells.list(13),
        client_ip: cells.text(14).unwrap_or_default(),
        client_key: cells.text(35),
        original_format: cells.text(15).unwrap_or_default(),
        error_message: cells.text(16),
        timestamp: cells.real(17).unwrap_or(0.0),
        tags: cells.list(18),
        finish_reason: cells.text(19),
        estimated_tokens: cells.count(20),
        backend: cells.text(21),
        path: cells.text(22),
        http_status: cells.count(23).and_then(|status| u16::try_from(status).ok()),
        queued_ms: cells.real(24),
        app: cells.text(25),
        context: cells.count(31),
        context_verdict: cells.text(32),
        loaded_ms: cells.real(33),
        session: cells.text(34),
    }
}

fn full(cells: &Cells<'_>) -> WhyView {
    let mut candidates: Vec<Candidate> = cells.list(26);
    let mut attempts: Vec<Attempt> = cells.list(27);
    // Who recorded it did not name itself, which only means something there.
    if let Some(door) = cells.text(36).map(Arc::<str>::from) {
        for node in candidates.iter_mut().map(|it| &mut it.node).chain(attempts.iter_mut().map(|it| &mut it.node)) {
            node.get_or_insert_with(|| door.clone());
        }
    }
    WhyView {
        trace: trace(cells),
        candidates,
        attempts,
        unretriable: cells.count(28).unwrap_or(0) != 0,
        request_bytes: cells.count(29),
        response_bytes: cells.count(30),
    }
}

/// The cells of a row, whatever they hold: what has the wrong type is not there.
pub(crate) struct Cells<'a>(pub(crate) &'a Row<'a>);

impl Cells<'_> {
    pub(crate) fn text(&self, at: usize) -> Option<String> {
        match self.value(at)? {
            ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Integer(number) => Some(number.to_string()),
            ValueRef::Real(number) => Some(number.to_string()),
            ValueRef::Null | ValueRef::Blob(_) => None,
        }
    }

    pub(crate) fn real(&self, at: usize) -> Option<f64> {
        match self.value(at)? {
            ValueRef::Integer(number) => Some(number as f64),
            ValueRef::Real(number) if number.is_finite() => Some(number),
            _ => None,
        }
    }

    pub(crate) fn count(&self, at: usize) -> Option<u64> {
        match self.value(at)? {
            ValueRef::Integer(number) => u64::try_from(number).ok(),
            // `as` saturates, so that a huge or negative number is the nearest count.
            ValueRef::Real(number) if number.is_finite() => Some(number as u64),
            _ => None,
        }
    }

    /// The items of a JSON list that are what they should be.
    fn list<T: DeserializeOwned>(&self, at: usize) -> Vec<T> {
        match row::parsed(self.text(at).as_deref()) {
            serde_json::Value::Array(items) => {
                items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn value(&self, at: usize) -> Option<ValueRef<'_>> {
        self.0.get_ref(at).ok()
    }
}
