//! Remembers every request in `latency.db`, and keeps the log file.
//!
//! [`Store::open`] gives a handle, which records and reads, and a [`Writer`], which needs a thread of its own. Recording
//! never waits: rows go through a queue of [`QUEUE_ROWS`] to the writer, which commits them together, at most
//! [`LINGER`] after the first of them came in. A program killed in between loses the rows of that time and no others;
//! a power cut may also lose what the system had not yet put on disk (`synchronous=NORMAL`).
//! Reading opens a connection of its own each time and blocks: call it where blocking is allowed.

mod columns;
mod damage;
mod give;
mod hours;
mod insert;
mod journal;
mod lock;
pub mod log;
mod merge;
mod open;
mod queue;
mod read;
mod report;
mod retention;
mod row;
mod schema;
mod speed;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use proto::view::{OverviewView, TraceView, WhyView};
use proto::wire::{Batch, MAX_BATCH, MAX_ENTRIES, Vector};
use proto::{Clock, Trace};
use serde_json::Value;

use crate::queue::Queue;

pub use crate::merge::{MergeError, Merged};
pub use crate::open::OpenError;
pub use crate::queue::{LINGER, QUEUE_ROWS};
pub use crate::read::{LEAST_BEGINNING, MOST_TRACES, ReadError};
pub use crate::speed::Speed;
pub use crate::writer::Writer;

/// The database's name in the data directory.
pub const DATABASE: &str = "latency.db";

/// How long somebody waits until another node's entries are stored.
const MERGING: Duration = Duration::from_secs(30);

/// How long a reader waits for rows that were recorded before it asked.
const CATCH_UP: Duration = Duration::from_millis(500);

/// Where to remember, as whom, and how much.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data directory; made, readable by its owner alone, where it does not exist.
    pub dir: PathBuf,
    /// The node's shown name, written into `node_id`.
    pub node_id: String,
    /// The node's identity, written into `node_key`; where empty, the database makes one and keeps it.
    pub node_key: String,
    /// Age at which rows are deleted. Contract: 30 days. Too small, and trends and learnt speeds have nothing to go by.
    pub keep: Duration,
    /// Bytes of the database above which the oldest rows are deleted. Contract: 200 MB (`FLEET_HISTORY_MB`). The file may
    /// be a few megabytes larger between two looks at it.
    pub max_bytes: u64,
}

/// A handle on the database: records and reads. Cheap to clone.
///
/// When the last one is dropped, or after [`Store::close`], the writer stores what it has and ends.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    _closer: Arc<Closer>,
}

/// What handles and writer share.
struct Shared {
    queue: Queue,
    path: PathBuf,
    node_key: String,
    clock: Clock,
    name: Mutex<Arc<str>>,
    held: Mutex<Holding>,
    listener: OnceLock<Listener>,
}

/// Told by the writer what has changed.
type Listener = Box<dyn Fn(News) + Send + Sync>;

/// What is held of all journals.
#[derive(Default)]
struct Holding {
    vector: Arc<Vector>,
    digest: u64,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Requests of this node are on record: others lack them.
    Recorded,
    /// Entries of other nodes came, or sums were made.
    Merged,
}

impl Shared {
    fn name(&self) -> Arc<str> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn held(&self) -> MutexGuard<'_, Holding> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes visible what the database holds. A database that cannot be read changes nothing.
    fn hold(&self, connection: &rusqlite::Connection, news: News) {
        let vector = match journal::vector(connection) {
            Ok(vector) => vector,
            Err(error) => return tracing::warn!(%error, "what is on record cannot be listed"),
        };
        let digest = vector.digest();
        let mut held = self.held();
        let is_news = held.digest != digest;
        (held.digest, held.vector) = (digest, Arc::new(vector));
        drop(held);
        if let Some(listener) = self.listener.get().filter(|_| is_news) {
            listener(news);
        }
    }
}

/// Closes the queue when the last handle goes.
struct Closer(Arc<Shared>);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

impl Store {
    /// Opens the database of a data directory, after bringing it up to date; starts nothing.
    ///
    /// A file that is no database, or a damaged one, is moved to `latency.db.broken-<unix time>` and a fresh one begun.
    /// Before tables are changed, the file is copied to `latency.db.before-<schema>`.
    ///
    /// # Errors
    /// Another program has the directory; a newer Herd wrote the database; the directory or file cannot be used.
    pub fn open(settings: Settings, clock: Clock) -> Result<(Store, Writer), OpenError> {
        let opened = open::open(&settings, clock)?;
        let shared = Arc::new(Shared {
            queue: Queue::new(),
            path: settings.dir.join(DATABASE),
            node_key: opened.own.door_key().to_owned(),
            clock,
            name: Mutex::new(settings.node_id.as_str().into()),
            held: Mutex::default(),
            listener: OnceLock::new(),
        });
        shared.hold(&opened.connection, News::Merged);
        let store = Store { shared: shared.clone(), _closer: Arc::new(Closer(shared.clone())) };
        Ok((store, Writer::new(shared, settings, opened)))
    }

    /// Hands a row to the writer. Never waits and never fails: where the queue is full or the writer gone, the row is
    /// dropped and counted.
    pub fn record(&self, trace: Trace) {
        self.shared.queue.push(trace);
    }

    /// Rows that were recorded and never stored, since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.queue.dropped()
    }

    /// The identity written into `node_key`.
    pub fn node_key(&self) -> &str {
        &self.shared.node_key
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Waits until everything recorded before is stored, at most `wait`; tells whether it is.
    pub fn flush(&self, wait: Duration) -> bool {
        self.shared.queue.flush(wait)
    }

    /// Ends the writer as soon as it has stored what it has. Rows recorded later are dropped and counted.
    pub fn close(&self) {
        self.shared.queue.close();
    }

    /// Tells what this node is called from now on.
    pub fn rename(&self, name: &str) {
        *self.shared.name.lock().unwrap_or_else(PoisonError::into_inner) = name.into();
    }

    /// What is held of every node's journal, as of the last commit. At most [`proto::wire::MAX_JOURNALS`] are listed.
    pub fn vector(&self) -> Arc<Vector> {
        self.shared.held().vector.clone()
    }

    /// The [digest](Vector::digest) of [`Store::vector`].
    pub fn digest(&self) -> u64 {
        self.shared.held().digest
    }

    /// Has `listener` called on the writer's thread whenever [`Store::vector`] has changed; the first one counts. It must
    /// not block.
    pub fn listen(&self, listener: impl Fn(News) + Send + Sync + 'static) {
        let _ = self.shared.listener.set(Box::new(listener));
    }

    /// What somebody who holds `theirs` lacks: at most `most_rows` entries in at most `most_bytes`, oldest first, as bytes
    /// for [`Store::merge`]. Requests that are too old for others to keep are left out. Blocks.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn since(&self, theirs: &Vector, most_rows: usize, most_bytes: usize) -> Result<Vec<u8>, ReadError> {
        let mut reader = open::reader(&self.shared.path)?;
        if give::is_fork(&reader, theirs)? {
            self.shared.queue.forked();
        }
        let most = give::Most { rows: most_rows.min(MAX_ENTRIES), bytes: most_bytes.min(MAX_BATCH) };
        let oldest = self.seconds() - writer::KEEP_OTHERS.as_secs_f64();
        Ok(give::since(&mut reader, theirs, most, oldest)?.encode())
    }

    /// Takes the entries that `from` gave, as its [`Store::since`] made them. Entries of this node's own journal are
    /// refused, and so is what cannot be; what is held already is left as it is. Blocks until it is stored.
    ///
    /// # Errors
    /// The bytes are no batch; the writer has enough to do or has ended; the database does not take it.
    pub fn merge(&self, bytes: &[u8], from: &str) -> Result<Merged, MergeError> {
        let batch = Batch::decode(bytes).map_err(|error| MergeError::Unreadable(error.to_string()))?;
        if batch.runs.is_empty() {
            return Ok(Merged { more: batch.more, ..Merged::default() });
        }
        let (done, result) = mpsc::sync_channel(1);
        self.shared.queue.merge(merge::Merge { batch, from: from.to_owned(), done })?;
        result.recv_timeout(MERGING).unwrap_or(Err(MergeError::Busy))
    }

    /// The newest `limit` requests (at most [`MOST_TRACES`]), newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn traces(&self, limit: usize) -> Result<Vec<TraceView>, ReadError> {
        read::traces(&self.reader()?, limit)
    }

    /// The request with this id, or the only one whose id begins so.
    ///
    /// # Errors
    /// The beginning is too short or fits several requests; the database cannot be read.
    pub fn why(&self, id: &str) -> Result<Option<WhyView>, ReadError> {
        read::why(&self.reader()?, id)
    }

    /// Totals of all requests on record.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn overview(&self) -> Result<OverviewView, ReadError> {
        read::overview(&self.reader()?, self.seconds())
    }

    /// `{"hours","data":[…]}`: completed requests per hour (UTC), oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn trends(&self, hours: u32) -> Result<Value, ReadError> {
        report::trends(&self.reader()?, hours, self.seconds())
    }

    /// `{"days","daily":[…],"summary":[…]}`: completed requests per model and day, and per model ever.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn models(&self, days: u32) -> Result<Value, ReadError> {
        report::models(&self.reader()?, days, self.seconds())
    }

    /// `{"days","data":[…]}`: requests per node, model and day.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn usage(&self, days: u32) -> Result<Value, ReadError> {
        report::usage(&self.reader()?, days, self.seconds())
    }

    /// `{"days","data":[…],"summary":[…],"apps":[…]}`: requests per tag in these days, per tag ever, and (ours) per app
    /// as told by its User-Agent in these days.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn apps(&self, days: u32) -> Result<Value, ReadError> {
        report::apps(&self.reader()?, days, self.seconds())
    }

    /// `{"days","data":[…]}`: requests per tag and day.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn apps_daily(&self, days: u32) -> Result<Value, ReadError> {
        report::apps_daily(&self.reader()?, days, self.seconds())
    }

    /// How fast each model of each backend in the fleet was in the last week, in the order of nodes, backends and models.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn speeds(&self) -> Result<Vec<Speed>, ReadError> {
        speed::speeds(&self.reader()?, self.seconds() - writer::KEEP_OTHERS.as_secs_f64())
    }

    fn reader(&self) -> Result<rusqlite::Connection, ReadError> {
        self.flush(CATCH_UP);
        open::reader(&self.shared.path).map_err(ReadError::from)
    }

    fn seconds(&self) -> f64 {
        self.shared.clock.unix_ms() as f64 / 1000.0
    }
}
