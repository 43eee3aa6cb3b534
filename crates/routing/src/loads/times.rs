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

/// Shorter prompts and answers tell more about everything else than about the model's speed.
const LEAST_TOKENS: u64 = 24;
/// Nothing reads or writes faster than so many tokens in a second.
const FASTEST: f64 = 1e6;

/// Tokens in a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    pub(crate) prefill: Option<f64>,
    pub(crate) decode: Option<f64>,
}

impl Rates {
    pub(crate) fn timed(&mut self, prompt: u64, prefill: Option<Duration>, answer: u64, decode: Option<Duration>) {
        if let Some(rate) = rate(prompt, prefill) {
            // Prompts that were mostly in a cache look far too fast: a higher rate is believed slowly.
            let old = self.prefill.unwrap_or(rate);
            self.prefill = Some(old + (rate - old) * if rate > old { 0.05 } else { 0.5 });
        }
        if let Some(rate) = rate(answer, decode) {
            let old = self.decode.unwrap_or(rate);
            self.decode = Some(old + (rate - old) * 0.3);
        }
    }
}

fn rate(tokens: u64, took: Option<Duration>) -> Option<f64> {
    let secs = took.filter(|took| tokens >= LEAST_TOKENS && !took.is_zero())?.as_secs_f64();
    Some((tokens as f64 / secs).min(FASTEST))
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

    /// How long the last loads took; `None`: none was seen.
    pub(crate) fn learnt(&self) -> Option<Duration> {
        self.seen.last().and_then(|seen| seen.1.get())
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
    fn rates_are_what_was_seen_and_caches_hardly_count() {
        let ms = Duration::from_millis;
        let mut rates = Rates::default();
        rates.timed(10, Some(ms(1)), 5, Some(ms(1)));
        rates.timed(1000, Some(Duration::ZERO), 1000, None);
        assert_eq!((rates.prefill, rates.decode), (None, None));
        rates.timed(1000, Some(ms(1000)), 100, Some(ms(2000)));
        assert_eq!((rates.prefill, rates.decode), (Some(1000.0), Some(50.0)));
        rates.timed(1000, Some(ms(20)), 100, Some(ms(1000)));
        assert_eq!((rates.prefill, rates.decode), (Some(3450.0), Some(65.0)));
        rates.timed(1000, Some(ms(1000)), 1, Some(ms(1000)));
        assert_eq!(rates.prefill, Some(2225.0));
        rates.timed(u64::MAX, Some(Duration::from_nanos(1)), u64::MAX, Some(Duration::from_nanos(1)));
        assert!(rates.decode.is_some_and(|rate| rate < FASTEST));
    }

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
