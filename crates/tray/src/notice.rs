//! What is worth a notification: three things, each said once, each with a switch.

use std::collections::BTreeSet;

use crate::words::{Language, Say};
use crate::{Sharing, State, Topic, Why};

/// Seconds between two notifications of failed requests: an app that retries must not fill the screen.
const STARVED_PAUSE_S: u64 = 600;
/// Askers that are remembered; far more than ask while one code is shown.
const ASKERS: usize = 64;

/// A notification to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub topic: Topic,
    /// Its first line.
    pub title: String,
    /// The rest.
    pub text: String,
}

/// What was notified already.
#[derive(Clone, Debug, Default)]
pub struct Told {
    askers: BTreeSet<String>,
    reasons: BTreeSet<Why>,
    starved_s: Option<u64>,
}

impl Told {
    /// Nothing was notified yet, except the reasons in `codes`, as [`Told::codes`] gave them in an earlier run.
    pub fn before(codes: &[String]) -> Told {
        let reasons = RULES.iter().filter(|(_, code)| codes.iter().any(|known| known == code));
        Told { reasons: reasons.map(|(why, _)| *why).collect(), ..Told::default() }
    }

    /// The reasons that were notified, for a next run.
    pub fn codes(&self) -> Vec<String> {
        RULES.iter().filter(|(why, _)| self.reasons.contains(why)).map(|(_, code)| (*code).to_owned()).collect()
    }

    /// What is new in `state`.
    pub fn news(&mut self, state: &State, language: Language) -> Vec<Notice> {
        let Some(running) = state.running() else { return Vec::new() };
        let mut news = Vec::new();
        if let Some(asking) = &running.asking
            && !self.askers.contains(&asking.id)
        {
            if self.askers.len() >= ASKERS {
                self.askers.clear();
            }
            self.askers.insert(asking.id.clone());
            if state.preferences.tell_asking {
                news.push(notice(Topic::Asking, Say::AskingTitle, Say::AskingText(&asking.name), language));
            }
        }
        let why = running.share.why;
        // Told or not, it was the first time: switching the notification on later must not tell of an old pause.
        if running.share.sharing == Sharing::Paused
            && RULES.iter().any(|(rule, _)| *rule == why)
            && self.reasons.insert(why)
            && state.preferences.tell_paused
        {
            let reason = language.say(Say::Reason(why));
            news.push(notice(Topic::Paused, Say::PausedTitle, Say::PausedText(&reason), language));
        }
        news
    }

    /// A request for `model` failed because no machine could take it; `now_s` are seconds of any clock that does not jump.
    pub fn starved(&mut self, model: &str, now_s: u64, state: &State, language: Language) -> Option<Notice> {
        let is_soon = self.starved_s.is_some_and(|last| now_s.saturating_sub(last) < STARVED_PAUSE_S);
        if is_soon || !state.preferences.tell_starved {
            return None;
        }
        self.starved_s = Some(now_s);
        Some(notice(Topic::Starved, Say::StarvedTitle, Say::StarvedText(model), language))
    }
}

/// The rules, with the names that are kept in the file.
const RULES: [(Why, &str); 8] = [
    (Why::Meeting, "meeting"),
    (Why::Battery, "battery"),
    (Why::Lid, "lid"),
    (Why::Display, "display"),
    (Why::FullScreen, "game"),
    (Why::Heat, "heat"),
    (Why::Metered, "metered"),
    (Why::Busy, "busy"),
];

fn notice(topic: Topic, title: Say<'_>, text: Say<'_>, language: Language) -> Notice {
    Notice { topic, title: language.say(title), text: language.say(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::menu::fixtures::*;

    fn topics(told: &mut Told, state: &State) -> Vec<Topic> {
        told.news(state, Language::English).into_iter().map(|notice| notice.topic).collect()
    }

    #[test]
    fn each_thing_is_told_once() {
        let mut told = Told::default();
        for (state, expected) in [
            (idle(), vec![]),
            (asked(), vec![Topic::Asking]),
            (asked(), vec![]),
            (in_a_meeting(), vec![Topic::Paused]),
            (idle(), vec![]),
            (in_a_meeting(), vec![]),
            (paused_by_owner(), vec![]),
            (not_running(), vec![]),
        ] {
            assert_eq!(topics(&mut told, &state), expected, "{state:?}");
        }
        let mut next_run = Told::before(&told.codes());
        assert_eq!(topics(&mut next_run, &in_a_meeting()), []);
    }

    #[test]
    fn what_is_switched_off_is_silent_and_not_told_later() {
        let mut quiet = in_a_meeting();
        quiet.preferences.tell_paused = false;
        let mut told = Told::default();
        assert_eq!(topics(&mut told, &quiet), []);
        assert_eq!(topics(&mut told, &in_a_meeting()), []);
    }

    #[test]
    fn failed_requests_do_not_fill_the_screen() {
        let mut told = Told::default();
        for (now_s, is_told) in [(100, true), (101, false), (699, false), (700, true), (5, false)] {
            let notice = told.starved("llama3", now_s, &idle(), Language::English);
            assert_eq!(notice.is_some(), is_told, "{now_s}");
        }
    }
}
