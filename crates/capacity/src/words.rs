//! The words for whether and why this machine shares: one table for all reasons.

use proto::Moment;

use crate::rules::RuleId;

/// What the owner wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Share, as far as the rules agree.
    #[default]
    On,
    /// Do not share.
    Off,
    /// Do not share: this machine is there to use the others.
    FleetOnly,
    /// Pause; `None`: until the owner resumes.
    Paused(Option<Moment>),
    /// Finish what runs for others, then pause until the owner resumes.
    Finish,
}

/// Whether this machine takes requests of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It does.
    On,
    /// Not now.
    Paused,
    /// Not any more; what runs finishes.
    Draining,
    /// Not until its owner says so.
    Off,
}

impl State {
    /// The word for it, as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            State::On => "on",
            State::Paused => "paused",
            State::Draining => "draining",
            State::Off => "off",
        }
    }
}

/// Why. All that other machines are told: never the name of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing speaks against it.
    Sharing,
    /// The owner said so, whatever the rules say.
    Overridden,
    /// There is nothing to share: no inference server answers. Decided by whoever knows the servers.
    NoServer,
    /// Herd stops. Decided by whoever stops it.
    Stopping,
    /// Paused by the owner for a time.
    PausedUntil,
    /// Paused by the owner until further notice.
    Paused,
    /// The owner wants a pause once what runs is done.
    Finishing,
    /// That is done.
    Finished,
    /// Switched off.
    Off,
    /// The machine is there to use the others.
    FleetOnly,
    /// A camera or a microphone is in use.
    Meeting,
    /// A game, or a program that fills the screen.
    Game,
    /// The lid is closed.
    Lid,
    /// The screens are off, on battery.
    Display,
    /// On battery.
    Battery,
    /// Too hot.
    Heat,
    /// The network costs by what goes over it.
    Metered,
    /// Other programs need the processors.
    Busy,
}

/// Each reason with its code, which never changes, and its sentence. Read on this machine and on others, so nobody is "you".
const WORDS: &[(Reason, &str, &str)] = &[
    (Reason::Sharing, "sharing", "Sharing."),
    (Reason::Overridden, "overridden", "Sharing because the owner said so, whatever else is going on."),
    (Reason::NoServer, "no_server", "No inference server answers on this machine."),
    (Reason::Stopping, "stopping", "Stopping; what is running may finish."),
    (Reason::PausedUntil, "paused_until", "Paused by the owner for a while."),
    (Reason::Paused, "paused", "Paused by the owner."),
    (Reason::Finishing, "finishing", "Finishing what runs for other machines, then pausing."),
    (Reason::Finished, "finished", "Paused by the owner after what was running."),
    (Reason::Off, "off", "Sharing is switched off."),
    (Reason::FleetOnly, "fleet_only", "This machine uses the fleet and shares nothing itself."),
    (Reason::Meeting, "meeting", "Paused during a meeting."),
    (Reason::Game, "game", "Paused while a game or a full-screen program runs."),
    (Reason::Lid, "lid", "Paused because the lid is closed."),
    (Reason::Display, "display", "Paused because the display is off on battery."),
    (Reason::Battery, "battery", "Paused while on battery."),
    (Reason::Heat, "heat", "Paused because the machine is too hot."),
    (Reason::Metered, "metered", "Paused on a metered network."),
    (Reason::Busy, "busy", "Paused while other programs need the processors."),
];

impl Reason {
    /// All reasons.
    pub fn all() -> impl Iterator<Item = Reason> {
        WORDS.iter().map(|(reason, _, _)| *reason)
    }

    fn row(self) -> (&'static str, &'static str) {
        let row = WORDS.iter().find(|(reason, _, _)| *reason == self);
        row.map_or(("unknown", "For a reason without a name."), |(_, code, sentence)| (code, sentence))
    }

    /// Its code: for programs, the same in every version.
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// Its sentence, for people.
    pub fn sentence(self) -> &'static str {
        self.row().1
    }
}

/// Whether this machine shares now. What is running always finishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whether it takes requests of others.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// When that ends by itself. `None`: it does not, or nobody knows when.
    pub until: Option<Moment>,
    /// The rule that pauses.
    pub rule: Option<RuleId>,
}

impl Share {
    /// Whether new requests of other machines are taken.
    pub fn takes_guests(&self) -> bool {
        self.state == State::On
    }
}
