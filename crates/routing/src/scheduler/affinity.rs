//! Remembers where conversations are, because what was read of them there need not be read again.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::Moment;

/// Engines keep what they read for about so long, unless others push it out.
const KEPT: Duration = Duration::from_secs(15 * 60);
/// Conversations that are remembered; of more, the one used longest ago is forgotten.
const MOST: usize = 4096;

/// Where each conversation was last.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    homes: BTreeMap<u64, Home>,
    by_use: BTreeMap<u64, u64>,
    uses: u64,
}

/// Where a conversation was last, and how much of it is known there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    /// [`super::lane::Lane::serial`].
    pub(super) lane: u64,
    pub(super) tokens: u64,
    at: Moment,
    used: u64,
}

impl Sessions {
    pub(super) fn home(&self, session: u64, now: Moment) -> Option<Home> {
        self.homes.get(&session).copied().filter(|home| now.since(home.at) < KEPT)
    }

    /// The conversation is at `lane` now, with so many tokens.
    pub(super) fn put(&mut self, session: u64, lane: u64, tokens: u64, now: Moment) {
        self.forget(session, None);
        if self.homes.len() >= MOST
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.homes.remove(&oldest);
        }
        self.uses += 1;
        self.by_use.insert(self.uses, session);
        self.homes.insert(session, Home { lane, tokens, at: now, used: self.uses });
    }

    /// It is not known any more at `lane`; `None`: nowhere.
    pub(super) fn forget(&mut self, session: u64, lane: Option<u64>) {
        let is_meant = |home: &Home| lane.is_none_or(|lane| lane == home.lane);
        if self.homes.get(&session).is_some_and(is_meant)
            && let Some(home) = self.homes.remove(&session)
        {
            self.by_use.remove(&home.used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversations_are_remembered_for_a_while_and_bounded() {
        let at = |secs| Moment::at(Duration::from_secs(secs));
        let mut sessions = Sessions::default();
        sessions.put(1, 7, 100, at(0));
        assert!(sessions.home(1, at(899)).is_some_and(|home| (home.lane, home.tokens) == (7, 100)));
        assert!(sessions.home(1, at(900)).is_none());
        sessions.forget(1, Some(8));
        assert!(sessions.home(1, at(0)).is_some(), "it is elsewhere");
        for session in 2..2 + MOST as u64 {
            sessions.put(session, 7, 1, at(1));
            sessions.put(session, 8, 1, at(1));
        }
        assert_eq!((sessions.homes.len(), sessions.by_use.len()), (MOST, MOST));
        assert!(sessions.home(1, at(1)).is_none() && sessions.home(2, at(1)).is_some());
    }
}
