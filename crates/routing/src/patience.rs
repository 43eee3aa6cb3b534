//! Tells whose first content is overdue: a server may hang at its work while it still says that all is well.
//!
//! Only streamed requests whose model was in memory when they were granted are watched: a load may take minutes, and one
//! that is aborted is lost work; an answer that is not streamed has its first content at its end. Each has a moment at which it is looked at; once overdue, it is looked at every few seconds
//! and, being among the oldest, whenever a slot frees. One is moved at a time, so that two never leave for one slot.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use proto::Moment;

use crate::Key;

/// No first content of a loaded model is overdue sooner, whatever was seen.
const LEAST: Duration = Duration::from_secs(20);
/// Prompts differ: this many times the longest that was seen is still no reason to doubt.
const STRETCH: u32 = 4;
/// Answers of a lane that are remembered.
const REMEMBERED: usize = 16;
/// Who is overdue and has nowhere to go is looked at again after this.
const AGAIN: Duration = Duration::from_secs(5);
/// A request told to move is back by then, or will not come back.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Overdue requests looked at when a slot frees; the others have their turn by [`AGAIN`].
const AT_ONCE: usize = 4;

/// How long first content took of late, at one model of one backend.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    last: VecDeque<Duration>,
    longest: Duration,
}

impl Seen {
    pub(crate) fn content(&mut self, after: Duration) {
        let gone = if self.last.len() >= REMEMBERED { self.last.pop_front() } else { None };
        self.last.push_back(after);
        self.longest = if gone.is_some_and(|gone| gone >= self.longest) {
            self.last.iter().max().copied().unwrap_or_default()
        } else {
            self.longest.max(after)
        };
    }

    /// The longest that is remembered.
    pub(crate) fn longest(&self) -> Option<Duration> {
        (!self.last.is_empty()).then_some(self.longest)
    }

    /// First content that takes longer is overdue.
    pub(crate) fn bound(&self) -> Duration {
        self.longest.saturating_mul(STRETCH).max(LEAST)
    }
}

/// What a request with so many tokens of prompt may take longer than others: a slow machine reads fifty a second, and [`LEAST`] is
/// enough for a thousand.
pub(crate) fn allowance(prompt: u64) -> Duration {
    Duration::from_millis(prompt.saturating_sub(1000).saturating_mul(20))
}

/// When each watched request is looked at. Holds running requests only, each once.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    looks: BTreeSet<(Moment, Key)>,
    /// Those of them that are overdue.
    late: BTreeSet<Key>,
    /// Set while one that was told to move has not come back: it is to find the slot that it left for.
    paused: Option<Moment>,
}

impl Patience {
    /// Request `key`, not watched so far, is to be looked at.
    pub(crate) fn watch(&mut self, key: Key, at: Moment) {
        self.looks.insert((at, key));
    }

    /// Request `key`, which was to be looked at `at` that moment, has content, has ended or is told to move.
    pub(crate) fn forget(&mut self, key: Key, at: Moment) {
        self.looks.remove(&(at, key));
        self.late.remove(&key);
    }

    /// Request `key` is overdue and stays where it is. Answers when it is looked at next.
    pub(crate) fn stays(&mut self, key: Key, looked: Moment, now: Moment) -> Moment {
        let next = now + AGAIN;
        self.looks.remove(&(looked, key));
        self.looks.insert((next, key));
        self.late.insert(key);
        next
    }

    /// One was told to move: nobody follows until it is back.
    pub(crate) fn pause(&mut self, now: Moment) {
        self.paused = Some(now + ON_ITS_WAY);
    }

    /// One that had moved is back. Tells whether others were kept from following.
    pub(crate) fn resume(&mut self) -> bool {
        self.paused.take().is_some()
    }

    /// Takes out the next request to look at by now.
    pub(crate) fn due(&mut self, now: Moment) -> Option<Key> {
        let (at, key) = *self.looks.first()?;
        let is_due = at <= now && !self.is_paused(now);
        is_due.then(|| self.looks.pop_first())?;
        Some(key)
    }

    /// The overdue requests to look at because a slot has freed, oldest first.
    pub(crate) fn late(&self, now: Moment) -> Vec<Key> {
        if self.is_paused(now) { Vec::new() } else { self.late.iter().take(AT_ONCE).copied().collect() }
    }

    /// When somebody is to be looked at.
    pub(crate) fn wake(&self) -> Option<Moment> {
        let (at, _) = *self.looks.first()?;
        Some(self.paused.map_or(at, |until| at.max(until)))
    }

    fn is_paused(&self, now: Moment) -> bool {
        self.paused.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_four_times_the_longest_of_sixteen() {
        let mut seen = Seen::default();
        assert_eq!(seen.bound(), Duration::from_secs(20));
        for (after, bound) in [(1, 20), (5, 20), (6, 24), (30, 120)] {
            seen.content(Duration::from_secs(after));
            assert_eq!(seen.bound(), Duration::from_secs(bound), "{after}");
        }
        for more in 1..=16 {
            seen.content(Duration::from_secs(1));
            assert_eq!(seen.bound(), Duration::from_secs(if more < 16 { 120 } else { 20 }), "{more}");
        }
        seen.content(Duration::MAX);
        assert_eq!(seen.bound(), Duration::MAX);
    }
}
