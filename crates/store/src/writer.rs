//! Stores what is recorded. Runs on a thread of its own, started by whoever opened the store; ends when the last handle
//! is dropped or the store is closed, after storing what it has. Bounded by the queue and the batch it took from it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use proto::Moment;
use rusqlite::Connection;

use crate::hours::Pending;
use crate::insert::{self, Author};
use crate::journal::Own;
use crate::lock::DirLock;
use crate::merge::{self, Merge, MergeError, Merged};
use crate::open::{self, Notice, Opened};
use crate::queue::Work;
use crate::retention::{Limits, Sweep};
use crate::row::Json;
use crate::{News, Settings, Shared, damage};

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

/// Age at which rows of other nodes are deleted. Contract: 7 days.
pub(crate) const KEEP_OTHERS: Duration = Duration::from_secs(7 * 24 * 3600);

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
    /// What was taken from the queue and is not done yet.
    work: Work,
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
    sweep: Sweep,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue.drop_rows(self.work.batch.len());
        self.shared.queue.abandon();
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, settings: Settings, opened: Opened) -> Writer {
        let author = Author { node_id: settings.node_id.clone(), own: opened.own, pending: opened.pending };
        let next = shared.clock.now() + CLEANING;
        Writer {
            author,
            connection: Some(opened.connection),
            json: Json::default(),
            work: Work::default(),
            notices: opened.notices,
            cleaning: Cleaning { under_way: true, next, rows: 0, sweep: Sweep::default() },
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
            let closed = if self.work.batch.is_empty() {
                let patience = self.patience();
                self.shared.queue.take(&mut self.work, patience)
            } else {
                self.shared.queue.pause(RETRY)
            };
            self.store_batch();
            self.merge();
            if closed {
                // What came in while the last batch was being tried again.
                if self.work.batch.is_empty() {
                    self.shared.queue.take(&mut self.work, Duration::ZERO);
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
        if self.work.batch.is_empty() && !self.work.forked {
            return;
        }
        match self.try_store() {
            Ok(left_out) => {
                self.tell(News::Recorded);
                self.shared.queue.drop_rows(left_out);
                self.cleaning.rows += self.work.batch.len();
                // Its sums are to be told anew, and before the row may be deleted.
                self.cleaning.under_way |= self.author.pending.is_late();
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
        let named = self.shared.name();
        if *named != self.author.node_id {
            self.author.node_id = named.to_string();
        }
        if std::mem::take(&mut self.work.forked) {
            tracing::warn!("other machines know more of this one's history than it does: a new journal is begun");
            self.author.own.begin_anew(connection, &self.author.node_id)?;
        }
        insert::batch(connection, &mut self.author, &mut self.json, &self.work.batch)
    }

    /// Takes what other nodes gave.
    fn merge(&mut self) {
        for Merge { batch, from, done } in std::mem::take(&mut self.work.merges) {
            let merged = match &mut self.connection {
                Some(connection) => {
                    let now = self.shared.clock.unix_ms() as f64 / 1000.0;
                    merge::take(connection, &self.author.own, &batch, now)
                        .map_err(|error| MergeError::Failed(error.to_string()))
                }
                None => Err(MergeError::Failed("there is no database".to_owned())),
            };
            match &merged {
                Ok(Merged { refused: 0, .. }) => {}
                Ok(Merged { refused, .. }) => tracing::warn!(from, refused, "another machine gave rows that cannot be"),
                Err(error) => tracing::warn!(from, %error, "what another machine remembers was not stored"),
            }
            self.tell(News::Merged);
            if let Ok(merged) = &merged {
                self.cleaning.rows += usize::try_from(merged.rows).unwrap_or(usize::MAX);
            }
            // Whoever asked may have given up.
            let _ = done.try_send(merged);
        }
    }

    /// Says what is held now.
    fn tell(&self, news: News) {
        if let Some(connection) = &self.connection {
            self.shared.hold(connection, news);
        }
    }

    fn reopened(&mut self) -> Result<Connection, rusqlite::Error> {
        let opened = open::database(&self.shared.path, self.shared.clock, &mut self.notices);
        let connection = opened.map_err(|error| match error {
            open::OpenError::Sqlite { source, .. } => source,
            other => rusqlite::Error::ToSqlConversionFailure(Box::new(other)),
        })?;
        // It may be another database than before.
        let own = Own::open(&connection, &self.settings.dir, self.author.own.door_key(), &self.author.node_id)?;
        let pending = Pending::load(&connection)?;
        self.author = Author { node_id: std::mem::take(&mut self.author.node_id), own, pending };
        self.cleaning.sweep = Sweep::default();
        Ok(connection)
    }

    fn store_failed(&mut self, error: &rusqlite::Error) {
        if damage::is_damage(error) {
            self.connection = None;
            match self.move_aside(error) {
                Ok(true) => return,
                Ok(false) => {
                    // Trying the same damaged file again is of no use.
                    self.shared.queue.drop_rows(self.work.batch.len());
                    self.settle();
                }
                Err(moving) => tracing::error!(error = %moving, "the damaged database cannot be moved aside"),
            }
        }
        let now = self.shared.clock.now();
        if self.complained.is_none_or(|last| now.since(last) >= COMPLAINT) {
            self.complained = Some(now);
            let (waiting, dropped) = (self.work.batch.len(), self.shared.queue.dropped());
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
        self.shared.queue.settle(self.work.batch.len());
        self.work.batch.clear();
        self.work.batch.shrink_to(KEPT_ROWS);
    }

    fn clean(&mut self) {
        let now = self.shared.clock.now();
        let due = now.since(self.cleaning.next) > Duration::ZERO || self.cleaning.rows >= CLEANING_ROWS;
        if due {
            (self.cleaning.under_way, self.cleaning.next, self.cleaning.rows) = (true, now + CLEANING, 0);
        }
        let Some(connection) = self.connection.as_mut().filter(|_| self.cleaning.under_way) else {
            self.cleaning.under_way = false;
            return;
        };
        let now = self.shared.clock.unix_ms() as f64 / 1000.0;
        let limits = Limits {
            own: now - self.settings.keep.as_secs_f64(),
            others: now - self.settings.keep.min(KEEP_OTHERS).as_secs_f64(),
            now,
            max_bytes: self.settings.max_bytes,
        };
        let mut has_grown = false;
        let Author { own, pending, .. } = &mut self.author;
        let more = match pending.sum_next(connection, own, now, &mut has_grown) {
            Ok(true) => Ok(true),
            Ok(false) => self.cleaning.sweep.slice(connection, &limits),
            Err(error) => Err(error),
        };
        match more {
            Ok(more) => self.cleaning.under_way = more,
            Err(error) => {
                self.cleaning.under_way = false;
                tracing::warn!(%error, "old requests cannot be deleted");
            }
        }
        if has_grown {
            self.tell(News::Merged);
        }
    }
}

#[cfg(test)]
mod tests;
