//! The memory that all request bodies together may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of bytes shared by all requests. What does not fit is not kept: the caller streams or refuses it.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<AtomicU64>);

impl Budget {
    pub(crate) fn new(bytes: u64) -> Budget {
        Budget(Arc::new(AtomicU64::new(bytes)))
    }

    /// Takes `bytes` out, if they are there.
    pub(crate) fn take(&self, bytes: u64) -> Option<Permit> {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes))
            .ok()
            .map(|_| Permit { budget: self.clone(), bytes })
    }

    #[cfg(test)]
    fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes taken from a [`Budget`].
#[derive(Debug)]
#[must_use = "the bytes go back as soon as this is dropped"]
pub(crate) struct Permit {
    budget: Budget,
    bytes: u64,
}

impl Permit {
    /// Takes `bytes` more, if they are there.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        match self.budget.take(bytes) {
            Some(mut more) => {
                self.bytes += std::mem::take(&mut more.bytes);
                true
            }
            None => false,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_comes_back() {
        let budget = Budget::new(10);
        let mut first = budget.take(6).unwrap();
        assert!(budget.take(5).is_none());
        assert!(first.grow(4) && !first.grow(1));
        assert_eq!(budget.left(), 0);
        drop(first);
        assert_eq!(budget.left(), 10);
    }
}
