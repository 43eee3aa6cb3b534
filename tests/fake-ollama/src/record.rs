//! What the stand-in was asked, for tests to look at afterwards.
//!
//! Bounded: the newest [`MOST_REQUESTS`] requests and [`MOST_BYTES`] of bodies; older ones are forgotten first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// Requests that are remembered.
const MOST_REQUESTS: usize = 20_000;
/// Bytes of bodies that are remembered, over all requests.
const MOST_BYTES: usize = 64 << 20;
/// Bytes of one body that are remembered.
pub(crate) const MOST_BODY: usize = 1 << 20;

/// One request that was received.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) method: String,
    /// Path and query, as they came.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body was longer than what is kept.
    pub(crate) cut: bool,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) status: AtomicU16,
    pub(crate) tokens: AtomicU64,
    /// Tokens of context that its runner has; 0 before it has one.
    pub(crate) context: AtomicU64,
    /// Tokens of its prompt as the engine got it.
    pub(crate) prompt_tokens: AtomicU64,
    /// A model was loaded for it.
    pub(crate) began_load: AtomicBool,
    /// The last byte of the answer was handed over.
    pub(crate) answered: AtomicBool,
    /// The connection was gone before the answer was complete.
    pub(crate) left: AtomicBool,
}

impl Entry {
    fn json(&self) -> Value {
        let headers: Vec<Value> = self.headers.iter().map(|(name, value)| json!([name, value])).collect();
        json!({
            "method": self.method,
            "path": self.target,
            "headers": headers,
            "body": String::from_utf8_lossy(&self.body),
            "body_cut": self.cut,
            "at_ms": self.at_ms,
            "status": self.status.load(Ordering::Relaxed),
            "tokens": self.tokens.load(Ordering::Relaxed),
            "context": self.context.load(Ordering::Relaxed),
            "prompt_tokens": self.prompt_tokens.load(Ordering::Relaxed),
            "began_load": self.began_load.load(Ordering::Relaxed),
            "answered": self.answered.load(Ordering::Relaxed),
            "left_early": self.left.load(Ordering::Relaxed),
        })
    }
}

/// The requests received so far.
#[derive(Debug, Default)]
pub(crate) struct Log {
    kept: Mutex<(VecDeque<Arc<Entry>>, usize)>,
}

impl Log {
    pub(crate) fn add(&self, entry: Arc<Entry>) {
        let mut guard = self.kept();
        let (kept, bytes) = &mut *guard;
        *bytes += entry.body.len();
        kept.push_back(entry);
        while kept.len() > MOST_REQUESTS || *bytes > MOST_BYTES {
            let Some(oldest) = kept.pop_front() else { break };
            *bytes = bytes.saturating_sub(oldest.body.len());
        }
    }

    pub(crate) fn clear(&self) {
        *self.kept() = (VecDeque::new(), 0);
    }

    pub(crate) fn json(&self) -> Value {
        Value::Array(self.kept().0.iter().map(|entry| entry.json()).collect())
    }

    fn kept(&self) -> MutexGuard<'_, (VecDeque<Arc<Entry>>, usize)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_requests_are_forgotten_first() {
        let log = Log::default();
        for at_ms in 0..=u64::try_from(MOST_REQUESTS).unwrap() {
            log.add(Arc::new(Entry { at_ms, ..Entry::default() }));
        }
        let all = log.json();
        assert_eq!(all.as_array().unwrap().len(), MOST_REQUESTS);
        assert_eq!(all[0]["at_ms"], 1);
    }
}
