//! Idle connections of one worker thread.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::{Address, Clock, Moment};

use super::Upstream;

/// Idle connections kept per backend and worker; the next one is closed.
const IDLE_MOST: usize = 256;
/// How long a connection may lie idle. A new one costs some 50 µs on loopback; an idle one holds a file in both programs.
const IDLE_LONGEST: Duration = Duration::from_secs(10);

/// Idle connections of one worker thread.
pub(crate) struct Pool {
    idle: Mutex<BTreeMap<Address, Vec<(Moment, Upstream)>>>,
    clock: Clock,
}

impl Pool {
    pub(crate) fn new(clock: Clock) -> Pool {
        Pool { idle: Mutex::new(BTreeMap::new()), clock }
    }

    /// A connection that was used before and is still good, the most recently used first.
    pub(crate) fn take(&self, address: &Address) -> Option<Upstream> {
        loop {
            let (_, mut upstream) = self.lock().get_mut(address)?.pop()?;
            if upstream.is_alive() {
                return Some(upstream);
            }
        }
    }

    /// Keeps a connection whose answer has been read to the end.
    pub(crate) fn give(&self, address: &Address, upstream: Upstream) {
        let now = self.clock.now();
        let mut idle = self.lock();
        match idle.get_mut(address) {
            Some(list) if list.len() < IDLE_MOST => list.push((now, upstream)),
            Some(_) => {}
            None => {
                idle.insert(address.clone(), vec![(now, upstream)]);
            }
        }
    }

    /// Closes what the other side has closed and what has been idle for long.
    pub(crate) fn sweep(&self) {
        let now = self.clock.now();
        self.lock().retain(|_, list| {
            list.retain_mut(|(since, upstream)| now.since(*since) < IDLE_LONGEST && upstream.is_alive());
            !list.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Address, Vec<(Moment, Upstream)>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
