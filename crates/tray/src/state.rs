//! What the tray knows: whether a Herd answers, what it says of itself, and what the owner chose for this desktop.

/// All that menu, icon and notifications are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The Herd of this machine.
    pub herd: Herd,
    /// What the owner chose for this desktop.
    pub preferences: Preferences,
}

/// Whether there is a Herd on this machine, and how it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Herd {
    /// It is being started, or looked for.
    Starting,
    /// It answers.
    Running(Box<Running>),
    /// It takes no new requests; these many still run.
    Stopping {
        /// Requests that may finish.
        in_flight: u32,
    },
    /// It was there and does not answer any more, or could not be started.
    NotRunning {
        /// What is known of the reason, in one sentence.
        why: Option<String>,
    },
    /// Another program has its port.
    PortTaken {
        /// The port.
        port: u16,
        /// Who has it, in words, for instance `an Ollama`.
        by: String,
    },
}

/// What a Herd that answers says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Running {
    /// The shown name of this machine.
    pub name: String,
    /// Whether it takes work of others, and why.
    pub share: Share,
    /// Requests being worked on.
    pub in_flight: u32,
    /// Requests waiting for a slot.
    pub queued: u32,
    /// The inference servers that answer here, by the names people know (`Ollama`).
    pub servers: Vec<String>,
    /// Models that these servers have.
    pub own_models: u32,
    /// The machines of the fleet.
    pub fleet: Fleet,
    /// A machine that waits to be let in.
    pub asking: Option<Asking>,
    /// What is broken and needs the owner, in one sentence.
    pub problem: Option<String>,
}

/// The fleet as this machine sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    /// Whether this machine leads.
    pub leads: bool,
    /// The shown name of the leader, where there is one.
    pub leader: Option<String>,
    /// Machines in it, this one included; at least 1.
    pub machines: u32,
    /// Machines that are heard now, this one included; `None`: not known.
    pub here: Option<u32>,
    /// Models that can be asked for.
    pub models: u32,
}

/// Whether this machine takes work of others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Share {
    /// The state itself.
    pub sharing: Sharing,
    /// The reason as a code.
    pub why: Why,
    /// The reason as Herd's own sentence; empty where it said none.
    pub sentence: String,
    /// When that ends by itself.
    pub until: Option<Until>,
    /// Whether the owner said "anyway", so that no rule pauses it for a while.
    pub anyway: bool,
    /// The rules that can be switched here.
    pub rules: Rules,
}

/// How a machine shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// It takes work.
    #[default]
    On,
    /// It takes none for a while.
    Paused,
    /// It takes no new work; what runs may finish, then it pauses.
    Draining,
    /// It takes none, and only uses the fleet.
    Off,
}

/// Rules that the tray has a check item for; `None`: this Herd does not know the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Pause in meetings.
    pub meetings: Option<bool>,
}

/// Why a machine does not share now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Nothing keeps it from sharing.
    #[default]
    Nothing,
    /// The owner paused it.
    Owner,
    /// The owner switched it off.
    SwitchedOff,
    /// The owner wants this machine to use the others only.
    FleetOnly,
    /// A camera or a microphone is in use.
    Meeting,
    /// It runs on battery.
    Battery,
    /// The lid is closed.
    Lid,
    /// The display is off while on battery.
    Display,
    /// A game, or something else that takes the whole screen.
    FullScreen,
    /// It is so hot that it slows itself down.
    Heat,
    /// The network costs money.
    Metered,
    /// Other programs need the machine.
    Busy,
    /// It is being stopped.
    Stopping,
    /// A reason that this version has no word for; Herd's sentence says it.
    Other,
}

impl Why {
    /// Whether a rule pauses, rather than the owner.
    pub fn is_a_rule(self) -> bool {
        !matches!(self, Why::Nothing | Why::Owner | Why::SwitchedOff | Why::FleetOnly | Why::Stopping)
    }
}

/// A moment in the owner's own time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// Midnights between now and then: 0 is today.
    pub days: u16,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
}

/// A machine that has the code and waits to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Its identity.
    pub id: String,
    /// What it calls itself.
    pub name: String,
}

/// What the owner chose for this desktop, and not for Herd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preferences {
    /// Whether the app starts with the session; `None`: it cannot be told here.
    pub at_login: Option<bool>,
    /// Whether to notify that a request failed for want of machines.
    pub tell_starved: bool,
    /// Whether to notify that a device asks to join.
    pub tell_asking: bool,
    /// Whether to notify that a rule paused this machine for the first time.
    pub tell_paused: bool,
}

impl Default for Preferences {
    fn default() -> Preferences {
        Preferences { at_login: None, tell_starved: true, tell_asking: true, tell_paused: true }
    }
}

impl State {
    /// The Herd that answers, if one does.
    pub fn running(&self) -> Option<&Running> {
        match &self.herd {
            Herd::Running(running) => Some(running),
            _ => None,
        }
    }
}

impl Running {
    /// Whether an inference server answers on this machine.
    pub fn can_serve(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Whether this machine is the whole fleet.
    pub fn is_alone(&self) -> bool {
        self.fleet.machines <= 1
    }
}
