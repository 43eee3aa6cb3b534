//! What speaks for somebody using the machine.

use std::time::Duration;

/// What was sensed, as it is now. `None`: not known, because the sense failed or the system does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The names of programs that hold a camera.
    pub cameras: Option<Vec<String>>,
    /// The names of programs that record from a microphone.
    pub microphones: Option<Vec<String>>,
    /// Whether the machine runs on a battery.
    pub on_battery: Option<bool>,
    /// The battery's charge.
    pub battery_percent: Option<u8>,
    /// Whether the lid is closed.
    pub lid_closed: Option<bool>,
    /// Whether the screens are off.
    pub display_off: Option<bool>,
    /// Whether a program fills the screen, or says that it is a game.
    pub full_screen: Option<bool>,
    /// Whether the processors run slower because of heat.
    pub throttled: Option<bool>,
    /// Whether the network is paid for by what goes over it.
    pub metered: Option<bool>,
    /// How long nobody has touched keyboard or mouse.
    pub input_idle: Option<Duration>,
    /// Whether the session is locked.
    pub locked: Option<bool>,
    /// How busy the processors are with what is not Herd's, in percent of all of them.
    pub others_cpu_percent: Option<u8>,
}
