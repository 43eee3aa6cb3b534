//! How long things take, learnt from how long they took.

use std::time::Duration;

/// A mean in which the last few count most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    mean: Option<Duration>,
}

impl Mean {
    pub(crate) fn add(&mut self, took: Duration) {
        self.mean = Some(self.mean.map_or(took, |mean| (mean.saturating_mul(2) + took) / 3));
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        self.mean
    }
}

/// Contexts of one model of which it is remembered how long loads took.
const REMEMBERED: usize = 4;
/// A guess for a model of unknown size.
const USUAL: Duration = Duration::from_secs(3);
/// Guessed bytes that are read in a second, from a disk of the kind that laptops have.
const BYTES_PER_SECOND: u64 = 1 << 30;

/// How long loads of one model took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    /// By context; the one learnt last is the last.
    seen: Vec<(Option<u64>, Mean)>,
}

impl Times {
    pub(crate) fn add(&mut self, context: Option<u64>, took: Duration) {
        let mut entry = match self.seen.iter().position(|seen| seen.0 == context) {
            Some(at) => self.seen.remove(at),
            None => (context, Mean::default()),
        };
        entry.1.add(took);
        if self.seen.len() >= REMEMBERED {
            self.seen.remove(0);
        }
        self.seen.push(entry);
    }

    /// How long a load with `context` will probably take, of a model with so many bytes in memory.
    pub(crate) fn likely(&self, context: Option<u64>, bytes: Option<u64>) -> Duration {
        let same = self.seen.iter().find(|seen| seen.0 == context);
        let any = same.or(self.seen.last()).and_then(|seen| seen.1.get());
        any.unwrap_or_else(|| {
            bytes.map_or(USUAL, |bytes| {
                Duration::from_millis(500 + bytes.saturating_mul(1000) / BYTES_PER_SECOND).min(Duration::from_secs(120))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_take_as_long_as_they_took() {
        let secs = Duration::from_secs;
        let mut times = Times::default();
        assert_eq!(times.likely(None, None), secs(3));
        assert_eq!(times.likely(Some(4096), Some(4 << 30)), Duration::from_millis(4500));
        times.add(Some(4096), secs(6));
        assert_eq!((times.likely(Some(4096), None), times.likely(Some(8192), None)), (secs(6), secs(6)));
        times.add(Some(8192), secs(12));
        times.add(Some(4096), secs(9));
        assert_eq!((times.likely(Some(4096), None), times.likely(Some(8192), None)), (secs(7), secs(12)));
        for context in 0..100 {
            times.add(Some(context), secs(context));
            assert!(times.seen.len() <= REMEMBERED);
        }
    }
}
