//! Writes rows, many in one transaction.

use proto::{Outcome, Trace};
use rusqlite::{CachedStatement, Connection, ErrorCode, params};

use crate::hours::Pending;
use crate::journal::Own;
use crate::row::{self, Json};

const TRACE: &str = "INSERT INTO request_traces (
    request_id, model, original_model, node_id, score, scores_breakdown, status, latency_ms, time_to_first_token_ms,
    prompt_tokens, completion_tokens, retry_count, fallback_used, excluded_nodes, client_ip, original_format,
    error_message, timestamp, tags, finish_reason, estimated_tokens, node_key, backend, path, kind, http_status,
    queued_ms, app, candidates, attempts, unretriable, request_bytes, response_bytes,
    context, context_verdict, loaded_ms, session, key_id, journal, seq
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
    ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39, ?40)";

const OBSERVATION: &str = "INSERT INTO latency_observations (
    node_id, model_name, latency_ms, tokens_generated, timestamp, prompt_tokens, completion_tokens, node_key, backend,
    journal
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// Who writes, and where to.
pub(crate) struct Author {
    /// This node's shown name.
    pub(crate) node_id: String,
    /// This node's journal.
    pub(crate) own: Own,
    /// Hours that are to be summed.
    pub(crate) pending: Pending,
}

/// Writes all of `traces` or, where the database as a whole refuses, none. Answers how many rows were left out because
/// the table does not take them.
pub(crate) fn batch(
    connection: &mut Connection,
    author: &mut Author,
    json: &mut Json,
    traces: &[Trace],
) -> Result<usize, rusqlite::Error> {
    let before = author.own.through;
    let written = write(connection, author, json, traces);
    match written {
        Ok(left_out) => {
            author.own.note();
            traces.iter().for_each(|trace| author.pending.recorded(seconds(trace)));
            Ok(left_out)
        }
        Err(error) => {
            author.own.through = before;
            Err(error)
        }
    }
}

fn write(
    connection: &mut Connection,
    author: &mut Author,
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
                Ok(()) => author.own.through += 1,
                // A table of the earlier system may have rules that this row breaks: the others need not suffer.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => left_out += 1,
                Err(error) => return Err(error),
            }
        }
    }
    author.own.store_through(&change)?;
    change.commit()?;
    Ok(left_out)
}

/// When it came: Unix seconds.
fn seconds(trace: &Trace) -> f64 {
    trace.unix_ms as f64 / 1000.0
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
    let timestamp = seconds(trace);
    let seq = row::count(author.own.through.saturating_add(1));
    let key;
    let (node_id, node_key) = match &trace.server {
        Some(server) => {
            key = server.id.full();
            (row::name(&server.name), key.as_str())
        }
        None => (author.node_id.as_str(), author.own.door_key()),
    };
    let latency_ms = row::measure(trace.latency_ms);
    let (prompt_tokens, completion_tokens) =
        (trace.prompt_tokens.map(row::count), trace.completion_tokens.map(row::count));
    let backend = trace.backend.as_ref().map(|backend| row::name(backend.as_str()));
    trace_row.execute(params![
        trace.request_id.as_str(),
        row::name(&trace.model),
        row::name(&trace.original_model),
        node_id,
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
        node_key,
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
        trace.context.map(row::count),
        trace.context_verdict,
        trace.loaded_ms.map(row::measure),
        trace.session.map(|session| format!("{session:016x}")),
        trace.client_key.as_deref().map(row::name),
        author.own.id,
        seq,
    ])?;
    if trace.outcome == Outcome::Completed && trace.api.needs_slot() {
        observation_row.execute(params![
            node_id,
            row::name(&trace.model),
            latency_ms,
            completion_tokens,
            timestamp,
            prompt_tokens,
            completion_tokens,
            node_key,
            backend,
            author.own.id,
        ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;
    use proto::{Api, Attempt, BackendId, Candidate, RequestId};

    use super::*;
    use crate::{give, merge, read, report, schema};

    fn author(connection: &Connection) -> Author {
        let dir = tempfile::tempdir().unwrap();
        let own = Own::open(connection, dir.path(), "key", "studio").unwrap();
        Author { node_id: "studio".to_owned(), own, pending: Pending::load(connection).unwrap() }
    }

    /// Any text, long ones and control characters included.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[\\x00-\\x7fäö€🦙]{0,40}", (0..3000_usize).prop_map(|length| "ü".repeat(length))]
    }

    fn trace() -> impl Strategy<Value = Trace> {
        let texts = (text(), text(), text(), text(), proptest::collection::vec(text(), 0..80));
        let number = || prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)];
        let numbers = (number(), number(), any::<u64>(), any::<u64>(), any::<u16>(), any::<bool>());
        (texts, numbers, 0..Api::ALL.len(), 0..100_usize).prop_map(|(texts, numbers, api, count)| {
            let (one, two, three, four, tags) = texts;
            let (real, other_real, whole, other_whole, status, flag) = numbers;
            let backend = BackendId::new(one.as_str());
            let candidate = Candidate {
                backend: backend.clone(),
                in_flight: 1,
                slots: u32::MAX,
                loaded: flag,
                thermal: real,
                queue_depth: other_real,
                ..Candidate::default()
            };
            let attempt =
                Attempt { node: None, backend: backend.clone(), error: flag.then(|| two.clone()), took_ms: real };
            Trace {
                request_id: RequestId::new(whole, other_whole),
                unix_ms: whole,
                api: Api::ALL[api],
                model: one,
                original_model: two.clone(),
                server: None,
                prefill_ms: None,
                decode_ms: None,
                backend: flag.then_some(backend),
                candidates: vec![candidate; count],
                outcome: if flag { Outcome::Completed } else { Outcome::Incomplete },
                status,
                latency_ms: real,
                ttft_ms: Some(other_real),
                queued_ms: real,
                prompt_tokens: Some(whole),
                completion_tokens: Some(other_whole),
                estimated_tokens: whole,
                text_bytes: 400,
                images: 0,
                session: Some(7),
                context: Some(4096),
                context_verdict: Some("kept"),
                loaded_ms: None,
                attempts: vec![attempt; count],
                fallback_used: flag,
                client_ip: three.clone(),
                client_key: Some(three.clone()),
                error: Some(four.clone()),
                finish_reason: Some(three.clone()),
                app: Some(four),
                tags,
                request_bytes: whole,
                response_bytes: other_whole,
                unretriable: flag,
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_trace_is_stored_within_bounds_and_read_back(traces in proptest::collection::vec(trace(), 1..4)) {
            let mut connection = Connection::open_in_memory().unwrap();
            schema::migrate(&mut connection).unwrap();
            let mut author = author(&connection);
            let left_out = batch(&mut connection, &mut author, &mut Json::default(), &traces).unwrap();
            prop_assert_eq!(left_out, 0);
            prop_assert_eq!(read::traces(&connection, 10).unwrap().len(), traces.len());
            for trace in &traces {
                let why = read::why(&connection, trace.request_id.as_str()).unwrap().unwrap();
                prop_assert!(why.trace.model.len() <= 256 && trace.model.starts_with(&why.trace.model));
                prop_assert!(why.trace.error_message.is_some_and(|error| error.len() <= 1024));
                prop_assert!(why.trace.tags.len() == trace.tags.len().min(64));
                prop_assert!(why.trace.tags.iter().all(|tag| tag.len() <= 256));
                prop_assert!(why.attempts.len() <= 64 && why.candidates.len() <= 64);
                let latency_ms = if trace.latency_ms.is_finite() { trace.latency_ms } else { 0.0 };
                prop_assert_eq!(why.trace.latency_ms, Some(latency_ms));
            }
            read::overview(&connection, 0.0).unwrap();
            for report in [report::trends, report::models, report::usage, report::apps, report::apps_daily] {
                report(&connection, 30, 1e9).unwrap();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn any_trace_travels_as_it_is_read_here(traces in proptest::collection::vec(trace(), 1..4)) {
            let [mut here, mut there] = [(); 2].map(|()| Connection::open_in_memory().unwrap());
            for connection in [&mut here, &mut there] {
                schema::migrate(connection).unwrap();
            }
            let dir = tempfile::tempdir().unwrap();
            let other = Own::open(&there, dir.path(), "other", "other").unwrap();
            // Nobody believes in a time too far ahead, and JSON that is far too long does not travel.
            let traces: Vec<Trace> = traces
                .into_iter()
                .map(|mut trace| {
                    trace.attempts.truncate(1);
                    trace.candidates.truncate(1);
                    Trace { unix_ms: trace.unix_ms % (1 << 40), tags: Vec::new(), ..trace }
                })
                .collect();
            let mut author = author(&here);
            batch(&mut here, &mut author, &mut Json::default(), &traces).unwrap();
            let most = give::Most { rows: 100, bytes: proto::wire::MAX_BATCH };
            let told = give::since(&mut here, &Default::default(), most, 0.0).unwrap().encode();
            let told = proto::wire::Batch::decode(&told).unwrap();
            let merged = merge::take(&mut there, &other, &told, (1u64 << 40) as f64).unwrap();
            prop_assert_eq!((merged.rows, merged.refused, merged.more), (traces.len() as u64, 0, false));
            for trace in &traces {
                let [one, other] = [&here, &there].map(|one| read::why(one, trace.request_id.as_str()).unwrap().unwrap());
                prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
            }
            for report in [report::trends, report::models, report::usage, report::apps, report::apps_daily] {
                prop_assert_eq!(report(&here, 30, 1e9).unwrap(), report(&there, 30, 1e9).unwrap());
            }
        }
    }

    #[test]
    fn a_row_that_a_table_refuses_does_not_take_the_others_with_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        connection.execute_batch("CREATE UNIQUE INDEX theirs ON request_traces (request_id)").unwrap();
        let mut author = author(&connection);
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let trace = trace().new_tree(&mut runner).unwrap().current();
        let other = Trace { request_id: RequestId::new(1, 1), ..trace.clone() };
        let left_out =
            batch(&mut connection, &mut author, &mut Json::default(), &[trace.clone(), trace, other]).unwrap();
        assert_eq!((left_out, read::traces(&connection, 10).unwrap().len()), (1, 2));
    }
}
