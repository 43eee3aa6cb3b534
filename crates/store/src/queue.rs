//! Carries rows from any thread to the writer without ever making a recorder wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::Trace;

use crate::merge::{Merge, MergeError};

/// Rows that may wait for the writer; the next one is dropped and counted.
pub const QUEUE_ROWS: usize = 8192;

/// Longest time between a row's coming in and its being committed, while the disk keeps up.
pub const LINGER: Duration = Duration::from_millis(200);

/// Rows at which the writer does not wait for more.
const BATCH_ROWS: usize = 1024;

/// Batches of other nodes that may wait for the writer; the next one is refused.
const MOST_MERGES: usize = 4;

/// The rows on their way, with the two things threads wait for: something to write, and everything written.
pub(crate) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    stored: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    rows: Vec<Trace>,
    merges: Vec<Merge>,
    /// Rows ever put in.
    pushed: u64,
    /// Rows that are stored or given up.
    settled: u64,
    flush_wanted: bool,
    /// Somebody has entries of this node's journal that this node has not.
    forked: bool,
    closed: bool,
}

impl State {
    fn is_urgent(&self) -> bool {
        self.closed || self.flush_wanted || self.forked || !self.merges.is_empty() || self.rows.len() >= BATCH_ROWS
    }
}

/// What the writer is to do.
#[derive(Default)]
pub(crate) struct Work {
    /// Rows that are not stored yet.
    pub(crate) batch: Vec<Trace>,
    /// Batches of other nodes; whoever waits for one that is dropped learns of that.
    pub(crate) merges: Vec<Merge>,
    /// A new journal is to be begun.
    pub(crate) forked: bool,
}

impl Queue {
    pub(crate) fn new() -> Queue {
        Queue { state: Mutex::default(), work: Condvar::new(), stored: Condvar::new(), dropped: AtomicU64::new(0) }
    }

    pub(crate) fn push(&self, trace: Trace) {
        let mut state = self.lock();
        if state.closed || state.rows.len() >= QUEUE_ROWS {
            drop(state);
            self.drop_rows(1);
            return;
        }
        state.rows.push(trace);
        state.pushed += 1;
        // Only these two change what the writer waits for; waking it for each row would cost more than the row.
        let wake = matches!(state.rows.len(), 1 | BATCH_ROWS);
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    /// Hands a batch of another node to the writer, or gives it back.
    pub(crate) fn merge(&self, merge: Merge) -> Result<(), MergeError> {
        let mut state = self.lock();
        if state.closed || state.merges.len() >= MOST_MERGES {
            return Err(MergeError::Busy);
        }
        state.merges.push(merge);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Has the writer begin a new journal.
    pub(crate) fn forked(&self) {
        self.lock().forked = true;
        self.work.notify_one();
    }

    /// Moves all rows into `work`, whose batch must be empty, waiting at most `idle` for the first and [`LINGER`] for more.
    /// True when the queue is closed: no row comes after these.
    pub(crate) fn take(&self, work: &mut Work, idle: Duration) -> bool {
        let state = self.lock();
        let quiet = |state: &mut State| state.rows.is_empty() && !state.is_urgent();
        let (mut state, _) = self.work.wait_timeout_while(state, idle, quiet).unwrap_or_else(PoisonError::into_inner);
        if !state.rows.is_empty() {
            (state, _) = self
                .work
                .wait_timeout_while(state, LINGER, |state| !state.is_urgent())
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.flush_wanted = false;
        std::mem::swap(&mut state.rows, &mut work.batch);
        work.merges.append(&mut state.merges);
        work.forked |= std::mem::take(&mut state.forked);
        state.closed
    }

    /// Waits `pause` or until the queue is closed; tells whether it is.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        let (state, _) = self
            .work
            .wait_timeout_while(self.lock(), pause, |state| !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.closed
    }

    /// Notes that `rows` of those taken are stored or given up.
    pub(crate) fn settle(&self, rows: usize) {
        self.lock().settled += rows as u64;
        self.stored.notify_all();
    }

    /// Waits until every row pushed before is settled, at most `wait`; tells whether it is.
    pub(crate) fn flush(&self, wait: Duration) -> bool {
        let mut state = self.lock();
        let goal = state.pushed;
        if state.settled >= goal {
            return true;
        }
        state.flush_wanted = true;
        self.work.notify_one();
        let (state, _) = self
            .stored
            .wait_timeout_while(state, wait, |state| state.settled < goal)
            .unwrap_or_else(PoisonError::into_inner);
        state.settled >= goal
    }

    /// Refuses all further rows and lets the writer end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }

    /// Closes, and gives up what nobody will write any more.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        let lost = state.rows.len();
        state.rows = Vec::new();
        state.merges = Vec::new();
        state.settled = state.pushed;
        drop(state);
        self.drop_rows(lost);
        self.stored.notify_all();
    }

    pub(crate) fn drop_rows(&self, rows: usize) {
        self.dropped.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
