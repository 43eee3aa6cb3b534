//! Stores what is recorded. Runs on a thread of its own, started by whoever opened the store; ends when the last handle
//! is dropped or the store is closed, after storing what it has. Bounded by the queue and the batch it took from it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use proto::{Moment, Trace};
use rusqlite::Connection;

use crate::insert::{self, Author};
use crate::lock::DirLock;
use crate::open::{self, Notice, Opened};
use crate::row::Json;
use crate::{Settings, Shared, damage, retention};

/// Time between two looks for rows that are too old or too many.
const CLEANING: Duration = Duration::from_secs(60 * 60);

/// Rows after which the database is looked at although [`CLEANING`] has not passed: about 8 MB of them.
const CLEANING_ROWS: usize = 10_000;

/// Time until a batch that could not be stored is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Time between two complaints about the same database.
const COMPLAINT: Duration = Duration::from_secs(60);

/// Time in which a database is moved aside for damage at most once: a disk that damages everything would be filled.
const SET_ASIDE: Duration = Duration::from_secs(60 * 60);

/// Room for rows that is kept between batches; a burst's is given back.
const KEPT_ROWS: usize = 1024;

/// The one that writes. Give its [`run`](Writer::run) a thread.
#[must_use = "nothing is stored until this runs"]
pub struct Writer {
    shared: Arc<Shared>,
    settings: Settings,
    author: Author,
    /// `None` while no database can be opened.
    connection: Option<Connection>,
    json: Json,
    /// Rows taken from the queue and not stored yet.
    batch: Vec<Trace>,
    notices: Vec<Notice>,
    cleaning: Cleaning,
    complained: Option<Moment>,
    set_aside: Option<Moment>,
    _lock: DirLock,
}

/// When the database is cleaned.
struct Cleaning {
    under_way: bool,
    next: Moment,
    rows: usize,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue.drop_rows(self.batch.len());
        self.shared.queue.abandon();
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, settings: Settings, opened: Opened) -> Writer {
        let author = Author { node_id: settings.node_id.clone(), node_key: opened.node_key };
        Writer {
            author,
            connection: Some(opened.connection),
            json: Json::default(),
            batch: Vec::new(),
            notices: opened.notices,
            cleaning: Cleaning { under_way: true, next: shared.clock.now() + CLEANING, rows: 0 },
            complained: None,
            set_aside: None,
            _lock: opened.lock,
            shared,
            settings,
        }
    }

    /// Stores rows until the store is closed or no handle is left. Blocks: needs a thread of its own.
    pub fn run(mut self) {
        self.tell_notices();
        loop {
            let closed = if self.batch.is_empty() {
                let patience = self.patience();
                self.shared.queue.take(&mut self.batch, patience)
            } else {
                self.shared.queue.pause(RETRY)
            };
            self.store_batch();
            if closed {
                // What came in while the last batch was being tried again.
                if self.batch.is_empty() {
                    self.shared.queue.take(&mut self.batch, Duration::ZERO);
                    self.store_batch();
                }
                return;
            }
            self.clean();
        }
    }

    fn tell_notices(&mut self) {
        self.notices.drain(..).for_each(|notice| notice.tell());
    }

    fn patience(&self) -> Duration {
        if self.cleaning.under_way { Duration::ZERO } else { self.cleaning.next.since(self.shared.clock.now()) }
    }

    fn store_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        match self.try_store() {
            Ok(left_out) => {
                self.shared.queue.drop_rows(left_out);
                self.cleaning.rows += self.batch.len();
                self.settle();
            }
            Err(error) => self.store_failed(&error),
        }
    }

    fn try_store(&mut self) -> Result<usize, rusqlite::Error> {
        if !self.shared.path.exists() {
            // Somebody deleted the file: what is written into the open one would be gone with it.
            self.connection = None;
        }
        if self.connection.is_none() {
            let reopened = self.reopened();
            self.tell_notices();
            self.connection = Some(reopened?);
        }
        let connection = self.connection.as_mut().expect("opened above");
        insert::batch(connection, &self.author, &mut self.json, &self.batch)
    }

    fn reopened(&mut self) -> Result<Connection, rusqlite::Error> {
        open::database(&self.shared.path, self.shared.clock, &mut self.notices).map_err(|error| match error {
            open::OpenError::Sqlite { source, .. } => source,
            other => rusqlite::Error::ToSqlConversionFailure(Box::new(other)),
        })
    }

    fn store_failed(&mut self, error: &rusqlite::Error) {
        if damage::is_damage(error) {
            self.connection = None;
            match self.move_aside(error) {
                Ok(true) => return,
                Ok(false) => {
                    // Trying the same damaged file again is of no use.
                    self.shared.queue.drop_rows(self.batch.len());
                    self.settle();
                }
                Err(moving) => tracing::error!(error = %moving, "the damaged database cannot be moved aside"),
            }
        }
        let now = self.shared.clock.now();
        if self.complained.is_none_or(|last| now.since(last) >= COMPLAINT) {
            self.complained = Some(now);
            let (waiting, dropped) = (self.batch.len(), self.shared.queue.dropped());
            tracing::warn!(%error, waiting, dropped, "requests cannot be recorded");
        }
    }

    fn move_aside(&mut self, reason: &rusqlite::Error) -> io::Result<bool> {
        let now = self.shared.clock.now();
        if self.set_aside.is_some_and(|last| now.since(last) < SET_ASIDE) {
            return Ok(false);
        }
        damage::set_aside(&self.shared.path, self.shared.clock, reason)?.tell();
        self.set_aside = Some(now);
        Ok(true)
    }

    fn settle(&mut self) {
        self.shared.queue.settle(self.batch.len());
        self.batch.clear();
        self.batch.shrink_to(KEPT_ROWS);
    }

    fn clean(&mut self) {
        let now = self.shared.clock.now();
        let due = now.since(self.cleaning.next) > Duration::ZERO || self.cleaning.rows >= CLEANING_ROWS;
        if due {
            self.cleaning = Cleaning { under_way: true, next: now + CLEANING, rows: 0 };
        }
        let Some(connection) = self.connection.as_mut().filter(|_| self.cleaning.under_way) else {
            self.cleaning.under_way = false;
            return;
        };
        let oldest = self.shared.clock.unix_ms() as f64 / 1000.0 - self.settings.keep.as_secs_f64();
        match retention::slice(connection, oldest, self.settings.max_bytes) {
            Ok(more) => self.cleaning.under_way = more,
            Err(error) => {
                self.cleaning.under_way = false;
                tracing::warn!(%error, "old requests cannot be deleted");
            }
        }
    }
}

#[cfg(test)]
mod tests;
