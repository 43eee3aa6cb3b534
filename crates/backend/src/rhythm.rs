//! Decides when to look again, and what health the looks so far amount to. Told the time, never reads it.

use std::time::Duration;

use proto::{Health, Moment};

use crate::Pace;
use crate::http::Foreign;

/// How one look at a place went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It answers.
    Up,
    /// It says that it is still loading its model.
    Loading,
    /// It takes connections but did not answer in time.
    Silent,
    /// It takes no connections.
    Gone(String),
    /// Something else is there.
    Foreign(Foreign),
}

/// What the looks at one place amount to.
#[derive(Clone, Debug)]
pub(crate) struct Rhythm {
    pace: Pace,
    given: bool,
    /// Whether an inference server was ever seen there.
    known: bool,
    /// The last look, and how many in a row went like it.
    last: Option<(Look, u32)>,
    gone_since: Option<Moment>,
}

impl Rhythm {
    pub(crate) fn new(pace: Pace, given: bool) -> Rhythm {
        Rhythm { pace, given, known: false, last: None, gone_since: None }
    }

    /// Takes in how a look at `now` went; says how long to wait before the next one.
    pub(crate) fn looked(&mut self, look: Look, now: Moment) -> Duration {
        let before = self.last.take().filter(|(last, _)| std::mem::discriminant(last) == std::mem::discriminant(&look));
        let times = before.map_or(1, |(_, times)| times.saturating_add(1));
        self.known |= matches!(look, Look::Up | Look::Loading);
        self.gone_since = match look {
            Look::Gone(_) | Look::Foreign(_) => self.gone_since.or(Some(now)),
            _ => None,
        };
        let pace = &self.pace;
        let pause = match look {
            Look::Up => pace.alive,
            Look::Loading => pace.restart.min(pace.alive),
            // One slow answer is no news; whether it hangs must be known soon.
            Look::Silent if times == 1 => Duration::ZERO,
            Look::Silent => doubled(pace.alive, times - 2, pace.models),
            Look::Gone(_) if self.known => doubled(pace.restart, times - 1, pace.alive),
            Look::Gone(_) => pace.alive,
            Look::Foreign(_) if self.given => pace.models,
            Look::Foreign(_) => doubled(pace.foreign, times - 1, pace.foreign_most),
        };
        self.last = Some((look, times));
        pause
    }

    /// The health to show; `None` while the first slow answer leaves it as it was.
    pub(crate) fn health(&self, place: &str) -> Option<Health> {
        Some(match self.last.as_ref()? {
            (Look::Up, _) => Health::Up,
            (Look::Loading, _) => Health::Loading,
            (Look::Silent, 1) if self.known => return None,
            (Look::Silent, _) => Health::Hung,
            (Look::Gone(reason), _) => Health::Down { reason: reason.clone() },
            (Look::Foreign(foreign), _) => Health::Down { reason: foreign.sentence(place) },
        })
    }

    /// Whether nothing is to be shown of this place: it was guessed, and nothing useful is or recently was there.
    pub(crate) fn is_forgotten(&mut self, now: Moment) -> bool {
        if self.given {
            return false;
        }
        let long_gone = self.gone_since.is_some_and(|since| now.since(since) >= self.pace.forget);
        let replaced = matches!(self.last, Some((Look::Foreign(_), _)));
        if long_gone || replaced {
            self.known = false;
        }
        !self.known
    }

    /// What is there instead of an inference server, as a sentence.
    pub(crate) fn note(&self, place: &str) -> Option<String> {
        match self.last.as_ref()? {
            (Look::Foreign(foreign), _) => Some(foreign.sentence(place)),
            (Look::Silent, 2..) => Some(format!("{place} takes connections but does not answer")),
            _ => None,
        }
    }
}

/// `first` doubled `times` times, at most `most`.
fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1u32.checked_shl(times).unwrap_or(u32::MAX)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn gone() -> Look {
        Look::Gone("refuses connections".to_owned())
    }

    fn pauses(rhythm: &mut Rhythm, looks: &[Look]) -> Vec<f32> {
        looks.iter().map(|look| rhythm.looked(look.clone(), at(0)).as_secs_f32()).collect()
    }

    #[test]
    fn pauses_grow_while_nothing_changes() {
        let foreign = || Look::Foreign(Foreign::NoInference);
        for (given, looks, expected) in [
            (false, vec![Look::Up, Look::Up], vec![2.0, 2.0]),
            (false, vec![gone(), gone(), gone()], vec![2.0, 2.0, 2.0]),
            (false, vec![Look::Up, gone(), gone(), gone(), gone()], vec![2.0, 0.5, 1.0, 2.0, 2.0]),
            (false, vec![Look::Loading, Look::Loading], vec![0.5, 0.5]),
            (
                false,
                [Look::Up, Look::Silent].into_iter().chain(vec![Look::Silent; 5]).collect(),
                vec![2.0, 0.0, 2.0, 4.0, 8.0, 10.0, 10.0],
            ),
            (false, vec![foreign(); 6], vec![60.0, 120.0, 240.0, 480.0, 600.0, 600.0]),
            (false, vec![foreign(), gone(), foreign()], vec![60.0, 2.0, 60.0]),
            (true, vec![foreign(), foreign()], vec![10.0, 10.0]),
        ] {
            assert_eq!(pauses(&mut Rhythm::new(Pace::default(), given), &looks), expected, "{looks:?}");
        }
        assert_eq!(doubled(SECOND, 40, 9 * SECOND), 9 * SECOND);
    }

    #[test]
    fn one_slow_answer_is_no_news_and_two_are_a_hang() {
        let mut rhythm = Rhythm::new(Pace::default(), false);
        rhythm.looked(Look::Up, at(0));
        rhythm.looked(Look::Silent, at(2));
        assert_eq!(rhythm.health("x"), None);
        rhythm.looked(Look::Up, at(3));
        rhythm.looked(Look::Silent, at(5));
        assert_eq!(rhythm.health("x"), None);
        rhythm.looked(Look::Silent, at(7));
        assert_eq!(rhythm.health("x"), Some(Health::Hung));
        rhythm.looked(Look::Up, at(9));
        assert_eq!(rhythm.health("x"), Some(Health::Up));
    }

    #[test]
    fn a_guess_is_forgotten_ten_minutes_after_it_went() {
        let mut rhythm = Rhythm::new(Pace::default(), false);
        rhythm.looked(gone(), at(0));
        assert!(rhythm.is_forgotten(at(0)), "nothing was ever there");
        rhythm.looked(Look::Up, at(1));
        rhythm.looked(gone(), at(10));
        rhythm.looked(gone(), at(609));
        assert!(!rhythm.is_forgotten(at(609)));
        rhythm.looked(gone(), at(610));
        assert!(rhythm.is_forgotten(at(610)));
        rhythm.looked(Look::Up, at(611));
        assert!(!rhythm.is_forgotten(at(611)));
        rhythm.looked(Look::Foreign(Foreign::OtherHerd), at(612));
        assert!(rhythm.is_forgotten(at(612)), "something else took its place");
    }

    #[test]
    fn what_the_owner_named_is_never_forgotten() {
        let mut rhythm = Rhythm::new(Pace::default(), true);
        rhythm.looked(gone(), at(0));
        rhythm.looked(gone(), at(10_000));
        assert!(!rhythm.is_forgotten(at(10_000)));
        assert_eq!(rhythm.health("x"), Some(Health::Down { reason: "refuses connections".to_owned() }));
    }
}
