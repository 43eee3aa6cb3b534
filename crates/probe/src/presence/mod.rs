//! What speaks for somebody using the machine: cameras and microphones in use, mains or battery, lid and screens, a
//! game, heat, a metered network, the last input.
//!
//! [`Watch::start`] starts up to three threads, which end with the [`Watch`]. Cameras and microphones are never opened,
//! and are asked about only when the system says that something happened to them; what has no events is looked at every
//! five seconds. Facts only: for how long a camera must be held before it means a meeting, which programs do not count,
//! what follows from any of it, is decided elsewhere.

mod bell;
mod sense;
mod surroundings;
mod watch;

use std::time::Duration;

pub(crate) use bell::Bell;
pub(crate) use sense::{
    CameraSense, DisplaySense, FullScreenSense, LidSense, LockSense, MeteredSense, MicrophoneSense,
};
pub use surroundings::{Pulse, Surroundings};
pub(crate) use watch::Slow;
pub use watch::Watch;

/// What speaks for somebody using the machine, as it is now. `None`: not known, because the system does not tell or did
/// not answer, which is not the same as "no".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Programs that hold a camera, sorted. Empty: nobody does, or there is none.
    ///
    /// Without rights over other users' processes, Linux tells of programs of this user only.
    pub cameras: Option<Vec<Holder>>,
    /// Programs that record from a microphone now, sorted: no monitors of what is played, no level meters, nobody who
    /// paused.
    pub microphones: Option<Vec<Holder>>,
    /// Whether power comes from a battery, or from a UPS that lost its mains.
    pub on_battery: Option<bool>,
    /// Charge of all batteries together, 0 to 100; `None` without one.
    pub battery_percent: Option<u8>,
    /// Whether a laptop's lid is closed. A machine without a lid says "no" or nothing.
    pub lid_closed: Option<bool>,
    /// Whether every screen is off. `None` where there is none.
    pub display_off: Option<bool>,
    /// Whether a program fills the screen, or says that it is a game.
    pub full_screen: Option<bool>,
    /// Whether the processors ran slower because of heat within the last few seconds.
    pub throttled: Option<bool>,
    /// Whether data over the network costs money, as far as the system knows or guesses.
    pub metered: Option<bool>,
    /// Time without any input, as it was when it was last looked at, up to five seconds ago.
    pub input_idle: Option<Duration>,
    /// Whether the screen is locked.
    pub locked: Option<bool>,
}

/// A program that uses a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// The name of the program's file, or what it calls itself; at most 128 letters. Empty where the system tells only
    /// that the device is in use.
    pub app: String,
    /// Its process, where that is known.
    pub pid: Option<u32>,
    /// The device, in the system's words; empty where those are not known.
    pub device: String,
}

impl Holder {
    /// A holder with texts short enough to be shown.
    pub(crate) fn new(app: &str, pid: Option<u32>, device: &str) -> Holder {
        let shown = |text: &str| text.chars().filter(|letter| !letter.is_control()).take(128).collect();
        Holder { app: shown(app), pid, device: shown(device) }
    }
}

/// Holders in an order that does not depend on chance, each once.
pub(crate) fn sorted(mut holders: Vec<Holder>) -> Vec<Holder> {
    holders.sort();
    holders.dedup();
    holders
}
