//! Takes entries of other nodes' journals into this database. Done by the writer; never touches what this node records.

use std::sync::mpsc::SyncSender;

use proto::wire::{Batch, JournalEntry, MAX_JOURNALS, Run};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params, params_from_iter};

use crate::columns::{self, HOUR, TRACE, WHEN};
use crate::give::{REQUEST, SUMS};
use crate::journal::Own;
use crate::retention::Kept;
use crate::{hours, row};

/// How far in the future a request may have come, in seconds: clocks of other machines may be wrong.
const FUTURE: f64 = 24.0 * 3600.0;

/// The words that end a request.
const ENDINGS: [&str; 5] = ["completed", "failed", "client_disconnected", "incomplete", "rejected"];

/// What became of a batch of another node's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Entries that are held now and were not.
    pub rows: u64,
    /// Entries that were no such thing as they said, or not that node's to tell.
    pub refused: u64,
    /// Whether there is more: ask again.
    pub more: bool,
}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// The bytes are no batch.
    #[error("{0}")]
    Unreadable(String),
    /// Others are being taken, or the writer has ended.
    #[error("the store takes no more just now")]
    Busy,
    /// The database did not take it.
    #[error("it cannot be stored: {0}")]
    Failed(String),
}

/// A batch on its way to the writer.
pub(crate) struct Merge {
    pub(crate) batch: Batch,
    /// Who gave it, for the log.
    pub(crate) from: String,
    pub(crate) done: SyncSender<Result<Merged, MergeError>>,
}

/// Takes a batch, all of it or, where the database as a whole refuses, nothing. `now`: Unix seconds.
pub(crate) fn take(connection: &mut Connection, own: &Own, batch: &Batch, now: f64) -> Result<Merged, rusqlite::Error> {
    let kept = Kept::load(connection)?;
    let change = connection.transaction()?;
    let mut merged = Merged { more: batch.more, ..Merged::default() };
    let latest = now + FUTURE;
    for run in &batch.runs {
        let Some(journal) = journal_of(&change, own, run)? else {
            merged.refused += run.entries.len() as u64;
            continue;
        };
        // Made for a vector that is not this one's any more.
        if run.after > journal.through || run.through <= journal.through {
            merged.more |= run.after > journal.through;
            continue;
        }
        // Entries come in order; one that does not is left out.
        let mut last = journal.through;
        for entry in &run.entries {
            if entry.seq <= last || entry.seq > run.through {
                merged.refused += u64::from(entry.seq > journal.through);
                continue;
            }
            last = entry.seq;
            match keep(&change, &journal, entry, kept, latest)? {
                Verdict::Kept => merged.rows += 1,
                Verdict::Refused => merged.refused += 1,
                Verdict::OfNoUse => {}
            }
        }
        let name = row::name(&run.name);
        change
            .prepare_cached("UPDATE journal SET through = ?2, door = iif(?3 = '', door, ?3) WHERE id = ?1")?
            .execute(params![journal.id, integer(run.through), name])?;
    }
    change.commit()?;
    Ok(merged)
}

struct Journal {
    id: i64,
    through: u64,
    is_own: bool,
}

/// The journal of a run; `None`: it is the one that this node writes, no journal at all, or one too many.
fn journal_of(change: &Transaction<'_>, own: &Own, run: &Run) -> Result<Option<Journal>, rusqlite::Error> {
    let is_name = !run.door.is_empty() && run.door.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if own.is(&run.door, run.journal) || run.journal == 0 || !is_name || run.through > i64::MAX as u64 {
        return Ok(None);
    }
    let number = format!("{:016x}", run.journal);
    let known = change
        .prepare_cached("SELECT id, through, own FROM journal WHERE door_key = ?1 AND number = ?2")?
        .query_row([&run.door, &number], |row| {
            let through: i64 = row.get(1)?;
            Ok(Journal { id: row.get(0)?, through: u64::try_from(through).unwrap_or(0), is_own: row.get(2)? })
        })
        .optional()?;
    if known.is_some() {
        return Ok(known);
    }
    let count: i64 = change.query_row("SELECT count(*) FROM journal", [], |row| row.get(0))?;
    if count >= MAX_JOURNALS as i64 {
        return Ok(None);
    }
    // An earlier journal of this node: what its disk has lost comes back.
    let is_own = run.door == own.door_key();
    change.execute(
        "INSERT INTO journal (door_key, number, door, own) VALUES (?1, ?2, ?3, ?4)",
        params![run.door, number, row::name(&run.name), is_own],
    )?;
    Ok(Some(Journal { id: change.last_insert_rowid(), through: 0, is_own }))
}

enum Verdict {
    Kept,
    Refused,
    /// Too old, or of a kind that this version does not know.
    OfNoUse,
}

fn keep(
    change: &Transaction<'_>,
    journal: &Journal,
    entry: &JournalEntry,
    kept: Kept,
    latest: f64,
) -> Result<Verdict, rusqlite::Error> {
    match entry.kind {
        REQUEST => keep_request(change, journal, entry, kept, latest),
        SUMS => keep_sums(change, journal, entry, latest),
        _ => Ok(Verdict::OfNoUse),
    }
}

fn keep_request(
    change: &Transaction<'_>,
    journal: &Journal,
    entry: &JournalEntry,
    kept: Kept,
    latest: f64,
) -> Result<Verdict, rusqlite::Error> {
    let is_sound = columns::text(&entry.cells, 0).is_some_and(|id| !id.is_empty())
        && columns::text(&entry.cells, 10).is_some_and(|status| ENDINGS.contains(&status));
    let when = columns::integer(&entry.cells, WHEN).filter(|when| *when >= 0);
    let (Some(when), Some(values), true) = (when, columns::values(&TRACE, &entry.cells), is_sound) else {
        return Ok(Verdict::Refused);
    };
    let timestamp = (when as f64 / 1000.0).min(latest);
    let from = if journal.is_own { kept.own } else { kept.others };
    if timestamp < from as f64 {
        return Ok(Verdict::OfNoUse);
    }
    let marks = (1..=TRACE.len() + 3).map(|at| format!("?{at}")).collect::<Vec<_>>().join(", ");
    let statement = format!(
        "INSERT OR IGNORE INTO request_traces ({}, timestamp, journal, seq) VALUES ({marks})",
        columns::names(&TRACE)
    );
    let more = [Value::Real(timestamp), Value::Integer(journal.id), Value::Integer(integer(entry.seq))];
    let more = more.map(columns::Stored::from);
    let inserted = change.prepare_cached(&statement)?.execute(params_from_iter(values.iter().chain(&more)))?;
    if inserted == 0 {
        return Ok(Verdict::Refused);
    }
    let observation = format!(
        "INSERT OR IGNORE INTO latency_observations (node_id, model_name, latency_ms, tokens_generated, timestamp,
            prompt_tokens, completion_tokens, node_key, backend, journal)
         SELECT node_id, model, latency_ms, completion_tokens, timestamp, prompt_tokens, completion_tokens, node_key,
            backend, journal
         FROM request_traces WHERE id = ?1 AND latency_ms IS NOT NULL AND {}",
        columns::observed()
    );
    change.prepare_cached(&observation)?.execute([change.last_insert_rowid()])?;
    Ok(Verdict::Kept)
}

fn keep_sums(
    change: &Transaction<'_>,
    journal: &Journal,
    entry: &JournalEntry,
    latest: f64,
) -> Result<Verdict, rusqlite::Error> {
    let hour = columns::integer(&entry.cells, 0).unwrap_or(-1);
    let is_hour = hour >= 0 && hour % hours::HOUR == 0 && (hour as f64) <= latest;
    let (Some(values), true) = (columns::values(&HOUR, &entry.cells), is_hour) else { return Ok(Verdict::Refused) };
    let first = columns::Stored::from(Value::Integer(journal.id));
    let last = columns::Stored::from(Value::Integer(integer(entry.seq)));
    let values = std::iter::once(&first).chain(&values).chain(std::iter::once(&last));
    let is_kept = hours::put_entry(change, params_from_iter(values))?;
    Ok(if is_kept { Verdict::Kept } else { Verdict::OfNoUse })
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
