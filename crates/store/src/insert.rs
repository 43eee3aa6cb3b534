//! Writes rows, many in one transaction.

use proto::{Outcome, Trace};
use rusqlite::{CachedStatement, Connection, ErrorCode, params};

use crate::row::{self, Json};

const TRACE: &str = "INSERT INTO request_traces (
    request_id, model, original_model, node_id, score, scores_breakdown, status, latency_ms, time_to_first_token_ms,
    prompt_tokens, completion_tokens, retry_count, fallback_used, excluded_nodes, client_ip, original_format,
    error_message, timestamp, tags, finish_reason, estimated_tokens, node_key, backend, path, kind, http_status,
    queued_ms, app, candidates, attempts, unretriable, request_bytes, response_bytes
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
    ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)";

const OBSERVATION: &str = "INSERT INTO latency_observations (
    node_id, model_name, latency_ms, tokens_generated, timestamp, prompt_tokens, completion_tokens, node_key, backend
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// Who writes.
pub(crate) struct Author {
    pub(crate) node_id: String,
    pub(crate) node_key: String,
}

/// Writes all of `traces` or, where the database as a whole refuses, none. Answers how many rows were left out because
/// the table does not take them.
pub(crate) fn batch(
    connection: &mut Connection,
    author: &Author,
    json: &mut Json,
    traces: &[Trace],
) -> Result<usize, rusqlite::Error> {
    let change = connection.transaction()?;
    let mut left_out = 0;
    {
        let mut trace_row = change.prepare_cached(TRACE)?;
        let mut observation_row = change.prepare_cached(OBSERVATION)?;
        for trace in traces {
            match one(&mut trace_row, &mut observation_row, author, json, trace) {
                // A table of the earlier system may have rules that this row breaks: the others need not suffer.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => left_out += 1,
                other => other?,
            }
        }
    }
    change.commit()?;
    Ok(left_out)
}

fn one(
    trace_row: &mut CachedStatement<'_>,
    observation_row: &mut CachedStatement<'_>,
    author: &Author,
    json: &mut Json,
    trace: &Trace,
) -> Result<(), rusqlite::Error> {
    json.fill(trace);
    let json: &Json = json;
    let timestamp = trace.unix_ms as f64 / 1000.0;
    let latency_ms = row::measure(trace.latency_ms);
    let (prompt_tokens, completion_tokens) =
        (trace.prompt_tokens.map(row::count), trace.completion_tokens.map(row::count));
    let backend = trace.backend.as_ref().map(|backend| row::name(backend.as_str()));
    trace_row.execute(params![
        trace.request_id.as_str(),
        row::name(&trace.model),
        row::name(&trace.original_model),
        author.node_id,
        row::chosen(trace).map(|candidate| row::measure(candidate.total())),
        json.scores_breakdown(),
        trace.outcome.as_str(),
        latency_ms,
        trace.ttft_ms.map(row::measure),
        prompt_tokens,
        completion_tokens,
        row::count(trace.attempts.len().saturating_sub(1) as u64),
        trace.fallback_used,
        json.excluded_nodes(),
        row::name(&trace.client_ip),
        trace.api.dialect().as_str(),
        trace.error.as_deref().map(row::sentence),
        timestamp,
        json.tags(),
        trace.finish_reason.as_deref().map(row::name),
        row::count(trace.estimated_tokens),
        author.node_key,
        backend,
        trace.api.path(),
        row::kind(trace.api),
        trace.status,
        row::measure(trace.queued_ms),
        trace.app.as_deref().map(row::name),
        json.candidates(),
        json.attempts(),
        trace.unretriable,
        row::count(trace.request_bytes),
        row::count(trace.response_bytes),
    ])?;
    if trace.outcome == Outcome::Completed && trace.api.needs_slot() {
        observation_row.execute(params![
            author.node_id,
            row::name(&trace.model),
            latency_ms,
            completion_tokens,
            timestamp,
            prompt_tokens,
            completion_tokens,
            author.node_key,
            backend,
        ])?;
    }
    Ok(())
}
