//! Gives other nodes the entries that they lack, oldest first.

use proto::wire::{
    Batch, Cell, Cells, Held, JournalEntry, MAX_BATCH, MAX_CELLS, MAX_ENTRIES, MAX_JOURNALS, Run, Vector,
};
use rusqlite::{Connection, params};

use crate::columns::{self, Column, HOUR, TRACE, WHEN};
use crate::read::ReadError;

/// Kinds of entries.
pub(crate) const REQUEST: u8 = 0;
pub(crate) const SUMS: u8 = 1;

/// Entries that are read at a time.
const CHUNK: usize = 256;

/// Bytes of a batch besides its entries: of a run, and of the whole.
const RUN_BYTES: usize = 512;
const BATCH_BYTES: usize = 64;

/// How many entries, and how much of them, one batch may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// What `theirs` lacks of what is held here, as far as it fits `most`; requests that came before `oldest` (Unix seconds)
/// are left out: nobody keeps those of others so long. A single entry that does not fit is left out too.
pub(crate) fn since(connection: &mut Connection, theirs: &Vector, most: Most, oldest: f64) -> Result<Batch, ReadError> {
    // One look at everything: what is written meanwhile is for the next batch.
    let look = connection.transaction()?;
    let mut lacking = lacking(&look, theirs)?;
    // The journal whose first missing entry is the oldest comes first.
    lacking.sort_by(|one, other| one.first.total_cmp(&other.first));
    let mut left =
        Most { rows: most.rows.min(MAX_ENTRIES), bytes: most.bytes.min(MAX_BATCH).saturating_sub(BATCH_BYTES) };
    let mut batch = Batch::default();
    for journal in lacking {
        if left.rows == 0 || left.bytes < RUN_BYTES || batch.runs.len() >= MAX_JOURNALS {
            batch.more = true;
            break;
        }
        left.bytes -= RUN_BYTES;
        let (run, is_whole) = run(&look, journal, &mut left, oldest)?;
        batch.runs.push(run);
        if !is_whole {
            batch.more = true;
            break;
        }
    }
    Ok(batch)
}

/// Whether somebody has more of this node's journal than this node: then this is an earlier state of the data directory,
/// and others would take what is recorded next for what they have.
pub(crate) fn is_fork(connection: &Connection, theirs: &Vector) -> Result<bool, ReadError> {
    let question = "SELECT door_key, number, through FROM journal
        WHERE id = (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'journal')";
    let mut statement = connection.prepare(question)?;
    let mut own = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?)))?;
    let Some((door, number, through)) = own.next().transpose()? else { return Ok(false) };
    let is_own = |held: &&Held| held.door == door && format!("{:016x}", held.journal) == number;
    Ok(theirs.journals.iter().filter(is_own).any(|held| count(held.through) > through))
}

/// A journal of which somebody lacks entries.
struct Lacking {
    id: i64,
    held: Held,
    name: String,
    after: u64,
    /// When the first of them came.
    first: f64,
}

fn lacking(look: &Connection, theirs: &Vector) -> Result<Vec<Lacking>, ReadError> {
    let mut statement =
        look.prepare_cached("SELECT id, door_key, number, door, through FROM journal WHERE through > 0")?;
    let rows = statement.query_map([], |row| {
        let (number, through): (String, i64) = (row.get(2)?, row.get(4)?);
        let journal = u64::from_str_radix(&number, 16).unwrap_or(0);
        let held = Held { door: row.get(1)?, journal, through: u64::try_from(through).unwrap_or(0) };
        Ok(Lacking { id: row.get(0)?, held, name: row.get(3)?, after: 0, first: 0.0 })
    })?;
    let mut lacking = Vec::new();
    for journal in rows {
        let mut journal = journal?;
        let same = |held: &&Held| held.door == journal.held.door && held.journal == journal.held.journal;
        journal.after = theirs.journals.iter().find(same).map_or(0, |held| held.through);
        if journal.after >= journal.held.through {
            continue;
        }
        let question = "SELECT timestamp FROM request_traces WHERE journal = ?1 AND seq > ?2 ORDER BY seq LIMIT 1";
        let mut first = look.prepare_cached(question)?;
        let first = first.query_map(params![journal.id, count(journal.after)], |row| row.get(0))?.next();
        journal.first = first.transpose()?.unwrap_or(f64::MAX);
        lacking.push(journal);
    }
    Ok(lacking)
}

/// The entries of one journal, and whether these are all.
fn run(look: &Connection, journal: Lacking, left: &mut Most, oldest: f64) -> Result<(Run, bool), ReadError> {
    let Lacking { id, held, name, after, .. } = journal;
    let mut run = Run { door: held.door, name, journal: held.journal, after, through: after, entries: Vec::new() };
    while run.through < held.through {
        let chunk = chunk(look, id, run.through, held.through, oldest)?;
        for entry in chunk.entries {
            let bytes = entry.length();
            if left.rows == 0 || (bytes > left.bytes && !run.entries.is_empty()) {
                return Ok((run, false));
            }
            run.through = entry.seq;
            // One that is larger than a whole batch would be in the way for ever.
            if bytes <= left.bytes {
                left.rows -= 1;
                left.bytes -= bytes;
                run.entries.push(entry);
            }
        }
        run.through = chunk.through;
    }
    Ok((run, true))
}

struct Chunk {
    entries: Vec<JournalEntry>,
    /// All up to this one were looked at.
    through: u64,
}

fn chunk(look: &Connection, id: i64, after: u64, through: u64, oldest: f64) -> Result<Chunk, ReadError> {
    let requests = format!(
        "SELECT seq, timestamp, {} FROM request_traces WHERE journal = ?1 AND seq > ?2 AND seq <= ?3
         AND timestamp >= ?4 ORDER BY seq LIMIT {CHUNK}",
        columns::names(&TRACE)
    );
    let sums = format!(
        "SELECT seq, 0, {} FROM fleet_hours WHERE journal = ?1 AND seq > ?2 AND seq <= ?3
         AND ?4 IS NOT NULL ORDER BY seq LIMIT {CHUNK}",
        columns::names(&HOUR)
    );
    let mut all = Vec::new();
    let mut looked_at = through;
    for (question, kind, columns) in [(requests, REQUEST, &TRACE[..]), (sums, SUMS, &HOUR[..])] {
        let mut statement = look.prepare_cached(&question)?;
        let mut rows = statement.query(params![id, count(after), count(through), oldest])?;
        let (mut length, mut last) = (0, 0);
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            last = u64::try_from(seq).unwrap_or(0);
            length += 1;
            let when: f64 = row.get(1)?;
            all.push(JournalEntry { seq: last, kind, cells: cells(row, columns, kind, when)? });
        }
        if length == CHUNK {
            looked_at = looked_at.min(last);
        }
    }
    all.retain(|entry| entry.seq <= looked_at);
    all.sort_by_key(|entry| entry.seq);
    Ok(Chunk { entries: all, through: looked_at })
}

fn cells(row: &rusqlite::Row<'_>, columns: &[Column], kind: u8, when: f64) -> Result<Cells, rusqlite::Error> {
    let mut cells = Vec::with_capacity(columns.len().min(MAX_CELLS));
    if kind == REQUEST {
        #[allow(clippy::cast_possible_truncation, reason = "what is out of range becomes the first or last moment")]
        cells.push((WHEN, Cell::Integer((when * 1000.0).round() as i64)));
    }
    for (at, column) in columns.iter().enumerate() {
        cells.extend(columns::cell(column, row.get_ref(at + 2)?));
    }
    Ok(Cells(cells))
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
