//! What a click means.

use serde_json::{Value, json};

use crate::State;

/// What clicks are called.
pub(crate) mod id {
    pub(crate) const SHARE: &str = "share";
    pub(crate) const RESUME: &str = "pause.resume";
    pub(crate) const PAUSE_30: &str = "pause.30";
    pub(crate) const PAUSE_60: &str = "pause.60";
    pub(crate) const PAUSE_TOMORROW: &str = "pause.tomorrow";
    pub(crate) const PAUSE_OPEN: &str = "pause.open";
    pub(crate) const FINISH: &str = "finish";
    pub(crate) const FLEET_ONLY: &str = "fleet-only";
    pub(crate) const MEETINGS: &str = "meetings";
    pub(crate) const ANYWAY: &str = "why.anyway";
    pub(crate) const ALLOW: &str = "asks.allow";
    pub(crate) const REFUSE: &str = "asks.refuse";
    pub(crate) const ADD_DEVICE: &str = "add-device";
    pub(crate) const DASHBOARD: &str = "dashboard";
    pub(crate) const SET_UP: &str = "set-up";
    pub(crate) const PROBLEM: &str = "problem";
    pub(crate) const START: &str = "start";
    pub(crate) const LOGIN: &str = "login";
    pub(crate) const TELL_STARVED: &str = "tell.starved";
    pub(crate) const TELL_ASKING: &str = "tell.asking";
    pub(crate) const TELL_PAUSED: &str = "tell.paused";
    pub(crate) const QUIT: &str = "quit";
}

/// Seconds of "for an hour".
const HOUR_S: u64 = 3600;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Tell Herd something about sharing: `POST /fleet/share` with [`Order::body`].
    Share(Order),
    /// Answer a machine that asks: `POST /fleet/pair/answer` with its identity.
    Answer {
        /// The identity of the machine.
        id: String,
        /// Whether it may join.
        allow: bool,
    },
    /// Show a page of the dashboard, or what keeps it from being shown.
    Open(Page),
    /// Start a Herd in this process.
    Start,
    /// Start with the session, or not.
    AtLogin(bool),
    /// Notify of this, or not.
    Tell(Topic, bool),
    /// End the app; a second time at once.
    Quit,
}

/// What can be said about sharing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take work.
    On,
    /// Take none, and only use the fleet.
    FleetOnly,
    /// Take none, as the check item says.
    Off,
    /// Take none for so many seconds.
    PauseFor(u64),
    /// Take none until tomorrow.
    PauseUntilTomorrow,
    /// Take none until told otherwise.
    Pause,
    /// Let running work end, then pause.
    Finish,
    /// Switch the rule about meetings.
    Meetings(bool),
    /// Share for so many seconds whatever the rules say.
    Anyway(u64),
}

/// A page of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The first one.
    Home,
    /// The first steps: what was found on this machine.
    SetUp,
    /// The devices, with a code for another one.
    AddDevice,
    /// Where problems are listed.
    Problems,
}

/// What can be notified of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// A request failed for want of machines.
    Starved,
    /// A device asks to join.
    Asking,
    /// A rule paused this machine for the first time.
    Paused,
}

/// What a click on the row called `clicked` means, given what was shown; `None`: nothing, for instance because the row is
/// gone by now.
pub fn command(state: &State, clicked: &str) -> Option<Command> {
    let preferences = &state.preferences;
    Some(match clicked {
        id::DASHBOARD => Command::Open(Page::Home),
        id::LOGIN => Command::AtLogin(!preferences.at_login?),
        id::TELL_STARVED => Command::Tell(Topic::Starved, !preferences.tell_starved),
        id::TELL_ASKING => Command::Tell(Topic::Asking, !preferences.tell_asking),
        id::TELL_PAUSED => Command::Tell(Topic::Paused, !preferences.tell_paused),
        id::START => Command::Start,
        id::QUIT => Command::Quit,
        clicked => return of_running(state, clicked),
    })
}

fn of_running(state: &State, clicked: &str) -> Option<Command> {
    let running = state.running()?;
    let share = &running.share;
    let answer = |allow| Some(Command::Answer { id: running.asking.as_ref()?.id.clone(), allow });
    Some(match clicked {
        id::SHARE => Command::Share(if share.is_wished() { Order::Off } else { Order::On }),
        id::RESUME => Command::Share(Order::On),
        id::PAUSE_30 => Command::Share(Order::PauseFor(HOUR_S / 2)),
        id::PAUSE_60 => Command::Share(Order::PauseFor(HOUR_S)),
        id::PAUSE_TOMORROW => Command::Share(Order::PauseUntilTomorrow),
        id::PAUSE_OPEN => Command::Share(Order::Pause),
        id::FINISH => Command::Share(Order::Finish),
        id::FLEET_ONLY => Command::Share(if share.is_fleet_only() { Order::On } else { Order::FleetOnly }),
        id::MEETINGS => Command::Share(Order::Meetings(!share.rules.meetings?)),
        id::ANYWAY => Command::Share(Order::Anyway(HOUR_S)),
        id::ALLOW => return answer(true),
        id::REFUSE => return answer(false),
        id::ADD_DEVICE => Command::Open(Page::AddDevice),
        id::SET_UP => Command::Open(Page::SetUp),
        id::PROBLEM => Command::Open(Page::Problems),
        _ => return None,
    })
}

impl Order {
    /// What is sent to `/fleet/share`.
    pub fn body(self) -> Value {
        match self {
            Order::On => json!({ "state": "on" }),
            Order::FleetOnly => json!({ "state": "fleet-only" }),
            Order::Off => json!({ "state": "off" }),
            Order::PauseFor(seconds) => json!({ "state": "pause", "for_s": seconds }),
            Order::PauseUntilTomorrow => json!({ "state": "pause", "until": "tomorrow" }),
            Order::Pause => json!({ "state": "pause" }),
            Order::Finish => json!({ "state": "finish" }),
            Order::Meetings(is_on) => json!({ "rule": "meetings", "enabled": is_on }),
            Order::Anyway(seconds) => json!({ "override_s": seconds }),
        }
    }
}

impl Page {
    /// Its address below the door's.
    pub fn path(self) -> &'static str {
        match self {
            Page::Home => "/dashboard",
            Page::SetUp => "/dashboard/welcome",
            Page::AddDevice => "/dashboard/devices?add",
            Page::Problems => "/dashboard",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::menu::fixtures::*;
    use crate::{Kind, Language, menu};

    #[test]
    fn a_click_means_what_the_row_says() {
        let share = |order| Some(Command::Share(order));
        for (state, clicked, expected) in [
            (idle(), "share", share(Order::Off)),
            (paused_by_owner(), "share", share(Order::On)),
            (in_a_meeting(), "share", share(Order::Off)),
            (fleet_only(), "share", share(Order::On)),
            (idle(), "pause.30", share(Order::PauseFor(1800))),
            (idle(), "pause.60", share(Order::PauseFor(3600))),
            (idle(), "pause.tomorrow", share(Order::PauseUntilTomorrow)),
            (idle(), "pause.open", share(Order::Pause)),
            (paused_by_owner(), "pause.resume", share(Order::On)),
            (busy(), "finish", share(Order::Finish)),
            (idle(), "fleet-only", share(Order::FleetOnly)),
            (fleet_only(), "fleet-only", share(Order::On)),
            (off(), "fleet-only", share(Order::FleetOnly)),
            (idle(), "meetings", share(Order::Meetings(false))),
            (in_a_meeting(), "why.anyway", share(Order::Anyway(3600))),
            (asked(), "asks.allow", Some(Command::Answer { id: "ab12".to_owned(), allow: true })),
            (asked(), "asks.refuse", Some(Command::Answer { id: "ab12".to_owned(), allow: false })),
            (idle(), "asks.allow", None),
            (idle(), "add-device", Some(Command::Open(Page::AddDevice))),
            (no_server(), "set-up", Some(Command::Open(Page::SetUp))),
            (not_running(), "start", Some(Command::Start)),
            (not_running(), "share", None),
            (idle(), "login", Some(Command::AtLogin(false))),
            (idle(), "tell.asking", Some(Command::Tell(Topic::Asking, false))),
            (stopping(), "quit", Some(Command::Quit)),
            (idle(), "status.share", None),
            (idle(), "no such row", None),
        ] {
            assert_eq!(command(&state, clicked), expected, "{clicked} in {state:?}");
        }
    }

    #[test]
    fn every_row_that_can_be_clicked_does_something() {
        for (name, state) in all() {
            for row in menu(&state, Language::English).all() {
                let does = command(&state, row.id).is_some();
                let can = row.enabled && matches!(row.kind, Kind::Action | Kind::Check(_));
                assert!(does || !can, "{name}: {}", row.text);
            }
        }
    }
}
