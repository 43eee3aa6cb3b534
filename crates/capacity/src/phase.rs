//! How far one rule is: what it looks at must last to count, and be gone for a while to count no more.

use std::time::Duration;

use proto::Moment;

/// How far a rule is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// There is nothing.
    #[default]
    Quiet,
    /// There is something since then; it does not count yet.
    Rising(Moment),
    /// It pauses.
    Active,
    /// It still pauses, but there is nothing any more: this is when it will end.
    Leaving(Moment),
}

impl Phase {
    /// Whether it pauses.
    pub fn pauses(self) -> bool {
        matches!(self, Phase::Active | Phase::Leaving(_))
    }

    /// What follows when there is something at `now`, or not.
    pub(crate) fn step(self, is_there: bool, hold: Duration, leave: Duration, now: Moment) -> Phase {
        match self {
            Phase::Quiet if is_there => Phase::Rising(now).step(true, hold, leave, now),
            Phase::Rising(since) if is_there && now >= since + hold => Phase::Active,
            Phase::Rising(_) if !is_there => Phase::Quiet,
            Phase::Active if !is_there => Phase::Leaving(now + leave),
            Phase::Leaving(_) if is_there => Phase::Active,
            Phase::Leaving(until) if now >= until => Phase::Quiet,
            unchanged => unchanged,
        }
    }

    /// When it changes if nothing happens.
    pub(crate) fn wake(self, hold: Duration) -> Option<Moment> {
        match self {
            Phase::Rising(since) => Some(since + hold),
            Phase::Leaving(until) => Some(until),
            Phase::Quiet | Phase::Active => None,
        }
    }
}
