//! Sums requests by the hour, so that the past stays known when its rows are deleted.
//!
//! The node that recorded an hour sums it when it is over, and the sums are entries of its journal. Hours that nobody
//! summed, because their node is gone, are summed by whoever deletes their rows. Of two sums of one hour the one of more
//! requests counts: it is the later one.

use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, params_from_iter};

use crate::columns;
use crate::journal::Own;
use crate::retention::Kept;

/// Seconds of an hour.
pub(crate) const HOUR: i64 = 3600;

/// The hour before which this node's requests are summed.
const SUMMED: &str = "hours_summed_before";

/// Hours that are looked at again after a start: requests that took long are recorded long after they came.
const LOOK_BACK: i64 = 24 * HOUR;

/// The beginning of the hour that `seconds` are in.
#[allow(clippy::cast_possible_truncation, reason = "what is out of range becomes the first or last hour")]
pub(crate) fn hour_of(seconds: f64) -> i64 {
    (seconds as i64).div_euclid(HOUR).saturating_mul(HOUR)
}

/// Which requests of this node are to be summed.
#[derive(Debug)]
pub(crate) struct Pending {
    next: i64,
    /// Recorded into an hour that was summed already: the earliest such.
    late: Option<i64>,
}

impl Pending {
    /// After a start.
    pub(crate) fn load(connection: &Connection) -> Result<Pending, rusqlite::Error> {
        let before = number(connection, SUMMED)?;
        // Rows may have come that are too old, from when the clock was wrong: they are deleted next, and still count.
        let kept = Kept::load(connection)?;
        let late = first_hour(connection, i64::MIN)?.filter(|hour| *hour < kept.own);
        Ok(Pending { next: (before - LOOK_BACK).max(0), late })
    }

    /// Whether requests were recorded into an hour that was summed already.
    pub(crate) fn is_late(&self) -> bool {
        self.late.is_some()
    }

    /// A request that came at `seconds` is recorded.
    pub(crate) fn recorded(&mut self, seconds: f64) {
        let hour = hour_of(seconds);
        if hour < self.next {
            self.late = Some(self.late.map_or(hour, |late| late.min(hour)));
        }
    }

    /// Sums the next hour of `own` that is over at `now`; tells whether there may be another. `changed` becomes true where
    /// the journal has grown.
    pub(crate) fn sum_next(
        &mut self,
        connection: &mut Connection,
        own: &mut Own,
        now: f64,
        changed: &mut bool,
    ) -> Result<bool, rusqlite::Error> {
        let over = hour_of(now);
        let from = self.late.map_or(self.next, |late| late.min(self.next));
        let first = first_hour(connection, from)?.filter(|hour| *hour < over);
        let Some(hour) = first else {
            self.late = None;
            // A clock that was set back does not undo anything: those hours were late.
            if over > self.next {
                self.next = over;
                set_number(connection, SUMMED, over)?;
            }
            return Ok(false);
        };
        let change = connection.transaction()?;
        let before = own.through;
        let class = format!("journal = {}", own.id);
        for sums in sums(&change, hour, &class)? {
            if put(&change, &sums, Some(own.through + 1))? {
                own.through += 1;
            }
        }
        if own.through > before {
            own.store_through(&change)?;
        }
        if let Err(error) = change.commit() {
            own.through = before;
            return Err(error);
        }
        if own.through > before {
            *changed = true;
            own.note();
        }
        let after = hour.saturating_add(HOUR);
        self.late = self.late.filter(|_| after < self.next).map(|_| after);
        self.next = self.next.max(after);
        Ok(true)
    }
}

/// The first hour at or after `from` in which a request came.
pub(crate) fn first_hour(connection: &Connection, from: i64) -> Result<Option<i64>, rusqlite::Error> {
    let first: Option<f64> = connection
        .prepare_cached("SELECT min(timestamp) FROM request_traces WHERE timestamp >= ?1")?
        .query_row([from], |row| row.get(0))?;
    Ok(first.map(hour_of))
}

/// Sums what is about to be deleted: the requests of `hour` that `class` tells, as SQL.
pub(crate) fn sum_for_good(change: &Transaction<'_>, hour: i64, class: &str) -> Result<(), rusqlite::Error> {
    for sums in sums(change, hour, class)? {
        put(change, &sums, None)?;
    }
    Ok(())
}

/// One row of sums: the journal, then the columns.
type Sums = Vec<Value>;

fn sums(connection: &Connection, hour: i64, class: &str) -> Result<Vec<Sums>, rusqlite::Error> {
    let observed = columns::observed();
    // `total` is a real number however large: casting it keeps it within what fits.
    let question = format!(
        "SELECT ifnull(journal, 0), CAST(?1 AS INTEGER), ifnull(node_key, node_id), max(node_id), model, ifnull(app, ''),
                count(*), count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed'),
                count(*) FILTER (WHERE status IN ('incomplete', 'no_output')),
                total(latency_ms), total(latency_ms) FILTER (WHERE status = 'completed'),
                total(time_to_first_token_ms), count(time_to_first_token_ms),
                CAST(total(prompt_tokens) AS INTEGER), CAST(total(completion_tokens) AS INTEGER),
                CAST(total(retry_count) AS INTEGER), CAST(total(fallback_used) AS INTEGER),
                count(*) FILTER (WHERE {observed}), total(latency_ms) FILTER (WHERE {observed}),
                CAST(min(latency_ms) FILTER (WHERE {observed}) AS REAL),
                CAST(max(latency_ms) FILTER (WHERE {observed}) AS REAL),
                CAST(total(prompt_tokens) FILTER (WHERE {observed}) AS INTEGER),
                CAST(total(completion_tokens) FILTER (WHERE {observed}) AS INTEGER)
         FROM request_traces
         WHERE timestamp >= ?1 AND timestamp < ?1 + {HOUR} AND status <> 'retried' AND {class}
         GROUP BY 1, 3, 5, 6"
    );
    let mut statement = connection.prepare_cached(&question)?;
    let width = statement.column_count();
    let rows = statement.query_map([hour], |row| (0..width).map(|at| row.get(at)).collect())?;
    rows.collect()
}

/// Keeps sums where there are none of as many requests; tells whether it did. `seq`: their number in their journal.
fn put(change: &Transaction<'_>, sums: &Sums, seq: Option<u64>) -> Result<bool, rusqlite::Error> {
    let seq = seq.map_or(Value::Null, |seq| Value::Integer(i64::try_from(seq).unwrap_or(i64::MAX)));
    let cells = sums.iter().chain(std::iter::once(&seq));
    // What was summed here already is no news; what others summed here without a number becomes an entry.
    let rule =
        "excluded.requests > requests OR (excluded.requests = requests AND seq IS NULL AND excluded.seq IS NOT NULL)";
    upsert(change, rule, params_from_iter(cells))
}

/// As [`put`], for what another node sent: the journal, the columns, the number.
pub(crate) fn put_entry(change: &Transaction<'_>, values: impl rusqlite::Params) -> Result<bool, rusqlite::Error> {
    upsert(change, "excluded.requests >= requests", values)
}

fn upsert(change: &Transaction<'_>, rule: &str, values: impl rusqlite::Params) -> Result<bool, rusqlite::Error> {
    let names = columns::names(&columns::HOUR);
    let marks = (1..=columns::HOUR.len() + 2).map(|at| format!("?{at}")).collect::<Vec<_>>().join(", ");
    let set = columns::HOUR[5..].iter().map(|column| format!("{0} = excluded.{0}", column.1)).collect::<Vec<_>>();
    let statement = format!(
        "INSERT INTO fleet_hours (journal, {names}, seq) VALUES ({marks})
         ON CONFLICT DO UPDATE SET {}, node_id = excluded.node_id, seq = ifnull(excluded.seq, seq) WHERE {rule}",
        set.join(", ")
    );
    Ok(change.prepare_cached(&statement)?.execute(values)? > 0)
}

/// A number of the table `meta`; 0 where it is not there.
pub(crate) fn number(connection: &Connection, key: &str) -> Result<i64, rusqlite::Error> {
    let question = "SELECT ifnull((SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?1), 0)";
    connection.prepare_cached(question)?.query_row([key], |row| row.get(0))
}

/// Keeps a number in the table `meta`.
pub(crate) fn set_number(connection: &Connection, key: &str, number: i64) -> Result<(), rusqlite::Error> {
    let statement = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
    connection.prepare_cached(statement)?.execute((key, number.to_string()))?;
    Ok(())
}
