//! This node's own journal: which one it is, and whether the database is still the one that it was.
//!
//! Its number and the last entry are also kept beside the database, in the file [`FILE`]. A database that was restored
//! from a backup, or copied, knows less than the file says, or another number: then a new journal is begun, since the
//! numbers of the old one were given to entries that other nodes have and this database has not.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use proto::wire::{Held, MAX_JOURNALS, Vector};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::lock::owner_only;

/// The file's name in the data directory.
pub(crate) const FILE: &str = "journal";

/// The journal that this node writes.
#[derive(Debug)]
pub(crate) struct Own {
    /// Its row in the table of journals.
    pub(crate) id: i64,
    /// Its number as others know it.
    pub(crate) number: u64,
    /// The last entry that is stored.
    pub(crate) through: u64,
    /// The last entry when the database was opened.
    opened: u64,
    door_key: String,
    file: Option<File>,
}

impl Own {
    /// Goes on with the journal of this database, or begins one.
    pub(crate) fn open(
        connection: &Connection,
        dir: &Path,
        door_key: &str,
        door: &str,
    ) -> Result<Own, rusqlite::Error> {
        let file = match open_file(dir) {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::warn!(%error, "the file `{FILE}` cannot be used: a restored database may go unnoticed");
                None
            }
        };
        let mut own = Own { id: 0, number: 0, through: 0, opened: 0, door_key: door_key.to_owned(), file };
        let kept: Option<(i64, String, i64)> = connection
            .query_row(
                "SELECT id, number, through FROM journal WHERE own = 1 AND door_key = ?1
                 AND id = (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'journal')",
                [door_key],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()?;
        let beside = own.file.as_mut().and_then(|file| read(file).ok().flatten());
        let same = kept.and_then(|(id, number, through)| {
            let (number, through) = (u64::from_str_radix(&number, 16).ok()?, u64::try_from(through).ok()?);
            // A crash between the two leaves the file behind the database, never before it.
            let is_same = beside.is_some_and(|(other, last)| other == number && last <= through);
            is_same.then_some((id, number, through))
        });
        match same {
            Some((id, number, through)) => {
                (own.id, own.number, own.through, own.opened) = (id, number, through, through);
                connection.execute("UPDATE journal SET door = ?2 WHERE id = ?1", params![id, door])?;
            }
            None => own.begin(connection, door)?,
        }
        own.note();
        Ok(own)
    }

    fn begin(&mut self, connection: &Connection, door: &str) -> Result<(), rusqlite::Error> {
        let number: String = connection.query_row(
            "INSERT INTO journal (door_key, number, door, own) VALUES (?1, lower(hex(randomblob(8))), ?2, 1)
             RETURNING number",
            [&self.door_key, door],
            |row| row.get(0),
        )?;
        self.id = connection.last_insert_rowid();
        connection.execute(
            "INSERT INTO meta (key, value) VALUES ('journal', ?1) ON CONFLICT DO UPDATE SET value = excluded.value",
            [self.id.to_string()],
        )?;
        self.number = u64::from_str_radix(&number, 16).unwrap_or(0);
        (self.through, self.opened) = (0, 0);
        Ok(())
    }

    /// Somebody has entries of this journal that this node never wrote as far as it knows: a new one is begun, and what
    /// was recorded since the start is moved to it.
    pub(crate) fn begin_anew(&mut self, connection: &mut Connection, door: &str) -> Result<(), rusqlite::Error> {
        let (before, opened) = (self.id, self.opened);
        let change = connection.transaction()?;
        self.begin(&change, door)?;
        let opened_at = count(opened);
        for table in ["request_traces", "fleet_hours"] {
            change.execute(
                &format!("UPDATE {table} SET journal = ?1, seq = seq - ?3 WHERE journal = ?2 AND seq > ?3"),
                params![self.id, before, opened_at],
            )?;
        }
        let last: i64 = change.query_row(
            "SELECT max(ifnull((SELECT max(seq) FROM request_traces WHERE journal = ?1), 0),
                        ifnull((SELECT max(seq) FROM fleet_hours WHERE journal = ?1), 0))",
            [self.id],
            |row| row.get(0),
        )?;
        self.through = u64::try_from(last).unwrap_or(0);
        self.store_through(&change)?;
        change.execute("UPDATE journal SET through = ?2 WHERE id = ?1", params![before, opened_at])?;
        change.commit()?;
        self.note();
        Ok(())
    }

    /// Whether that is this journal.
    pub(crate) fn is(&self, door_key: &str, number: u64) -> bool {
        self.number == number && self.door_key == door_key
    }

    /// The identity of this node.
    pub(crate) fn door_key(&self) -> &str {
        &self.door_key
    }

    /// Writes the last entry's number into the database, as part of the change that wrote the entry.
    pub(crate) fn store_through(&self, change: &Transaction<'_>) -> Result<(), rusqlite::Error> {
        change
            .prepare_cached("UPDATE journal SET through = ?2 WHERE id = ?1")?
            .execute(params![self.id, count(self.through)])?;
        Ok(())
    }

    /// Writes the last entry's number beside the database, after the change.
    pub(crate) fn note(&mut self) {
        let Some(file) = &mut self.file else { return };
        // Always of one length, so that a crash leaves no mixture of two.
        let text = format!("{:016x} {:020}\n", self.number, self.through);
        if let Err(error) = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(text.as_bytes())) {
            tracing::warn!(%error, "the file `{FILE}` cannot be written: a restored database may go unnoticed");
            self.file = None;
        }
    }
}

/// What this database holds of every journal.
pub(crate) fn vector(connection: &Connection) -> Result<Vector, rusqlite::Error> {
    let mut statement = connection
        .prepare_cached("SELECT door_key, number, through FROM journal ORDER BY own DESC, id DESC LIMIT ?1")?;
    let held = statement.query_map([count(MAX_JOURNALS as u64)], |row| {
        let (door, number, through): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let journal = u64::from_str_radix(&number, 16).unwrap_or(0);
        Ok(Held { door, journal, through: u64::try_from(through).unwrap_or(0) })
    })?;
    let mut journals = held.collect::<Result<Vec<_>, _>>()?;
    journals.retain(|held| held.through > 0);
    journals.sort();
    Ok(Vector { journals })
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn open_file(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    owner_only(&mut options);
    options.open(dir.join(FILE))
}

/// The journal's number and its last entry as the file says, if it says so.
fn read(file: &mut File) -> io::Result<Option<(u64, u64)>> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(64).read_to_string(&mut text)?;
    let parsed = text
        .trim()
        .split_once(' ')
        .and_then(|(number, last)| Some((u64::from_str_radix(number, 16).ok()?, last.parse().ok()?)));
    Ok(parsed)
}
