//! The rules that pause, and what the owner may set of them.

use std::time::Duration;

use crate::words::Reason;

/// How long a pause by a rule lasts at least: [`Rules::resume_after`] counts no less than this.
pub const LEAST_PAUSE: Duration = Duration::from_secs(30);

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleId {
    /// A camera or a microphone is in use.
    Meetings,
    /// A game, or a program that fills the screen.
    Games,
    /// The lid is closed on battery, or just closing.
    Lid,
    /// The screens are off on battery.
    Display,
    /// The machine runs on battery.
    Battery,
    /// The processors run slower because of heat.
    Heat,
    /// The network is metered.
    Metered,
    /// Other programs need the processors while somebody is there.
    Busy,
}

impl RuleId {
    /// All rules, the one that names the reason first where several pause.
    pub const ALL: [RuleId; 8] = [
        RuleId::Meetings,
        RuleId::Games,
        RuleId::Lid,
        RuleId::Display,
        RuleId::Battery,
        RuleId::Heat,
        RuleId::Metered,
        RuleId::Busy,
    ];

    /// Its name, for programs and settings.
    pub fn as_str(self) -> &'static str {
        match self {
            RuleId::Meetings => "meetings",
            RuleId::Games => "games",
            RuleId::Lid => "lid",
            RuleId::Display => "display",
            RuleId::Battery => "battery",
            RuleId::Heat => "heat",
            RuleId::Metered => "metered",
            RuleId::Busy => "busy",
        }
    }

    /// The rule of that name.
    pub fn named(name: &str) -> Option<RuleId> {
        RuleId::ALL.into_iter().find(|rule| rule.as_str() == name)
    }

    /// What it looks at, for people: completes "Pause …".
    pub fn about(self) -> &'static str {
        match self {
            RuleId::Meetings => "while a camera or a microphone is in use",
            RuleId::Games => "while a game or a full-screen program runs",
            RuleId::Lid => "when the lid closes, and while it is closed on battery",
            RuleId::Display => "while the display is off on battery",
            RuleId::Battery => "on battery",
            RuleId::Heat => "while the machine is too hot",
            RuleId::Metered => "on a metered network",
            RuleId::Busy => "while other programs need the processors",
        }
    }

    /// Why this machine does not share because of it.
    pub fn reason(self) -> Reason {
        match self {
            RuleId::Meetings => Reason::Meeting,
            RuleId::Games => Reason::Game,
            RuleId::Lid => Reason::Lid,
            RuleId::Display => Reason::Display,
            RuleId::Battery => Reason::Battery,
            RuleId::Heat => Reason::Heat,
            RuleId::Metered => Reason::Metered,
            RuleId::Busy => Reason::Busy,
        }
    }

    /// How long what it looks at must last before it counts. Meetings count by themselves, by program.
    pub(crate) fn hold(self) -> Duration {
        Duration::from_millis(match self {
            RuleId::Meetings | RuleId::Lid => 0,
            // A charger that is put in again, or a window on its way to full screen.
            RuleId::Battery => 1_000,
            RuleId::Games => 1_500,
            RuleId::Display | RuleId::Metered => 5_000,
            RuleId::Heat | RuleId::Busy => 10_000,
        })
    }
}

/// What the owner may set. Any value is fine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Which rules may pause.
    pub switches: Switches,
    /// How long a program must hold a camera before that is a meeting.
    ///
    /// Shorter, and programs that only list cameras pause the machine; longer, and the pause comes late in the call.
    pub camera_hold: Duration,
    /// How long a program must record before that is a meeting.
    ///
    /// As above. A call is to be noticed within two seconds, and some of that passes until it is sensed.
    pub microphone_hold: Duration,
    /// After which a recording without a camera is no meeting any more: noise filters and assistants listen all day.
    pub ambient_after: Duration,
    /// How long there must be nothing left that pauses before the machine shares again; at least [`LEAST_PAUSE`].
    ///
    /// Shorter, and a call that changes its microphone lets work in; longer, and the machine stands idle after each call.
    pub resume_after: Duration,
    /// The charge, in percent, below which a machine on battery pauses. 100 and more: whenever it is on battery.
    pub battery_below: u8,
    /// How busy other programs may keep the processors, in percent of all of them. From BOINC, which says 25.
    pub busy_above: u8,
    /// How long nobody has touched keyboard or mouse when nobody is there. From BOINC, which says 3 minutes.
    pub away_after: Duration,
}

/// Which rules may pause: see [`Rules::is_on`] and [`Rules::switch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switches([bool; RuleId::ALL.len()]);

impl Default for Switches {
    /// Only `busy` is off: short bursts of work are what computers are for.
    fn default() -> Switches {
        Switches(RuleId::ALL.map(|rule| rule != RuleId::Busy))
    }
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            switches: Switches::default(),
            camera_hold: Duration::from_secs(1),
            microphone_hold: Duration::from_millis(1500),
            ambient_after: Duration::from_secs(3 * 3600),
            resume_after: Duration::from_secs(60),
            battery_below: 100,
            busy_above: 25,
            away_after: Duration::from_secs(180),
        }
    }
}

impl Rules {
    /// Whether `rule` may pause.
    pub fn is_on(&self, rule: RuleId) -> bool {
        self.switches.0[rule as usize]
    }

    /// Whether `rule` may pause from now on.
    pub fn switch(&mut self, rule: RuleId, on: bool) {
        self.switches.0[rule as usize] = on;
    }

    pub(crate) fn leave(&self) -> Duration {
        self.resume_after.max(LEAST_PAUSE)
    }
}
