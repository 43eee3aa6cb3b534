//! Keeps the machine from falling asleep by itself while it works for others.

#[cfg(target_os = "linux")]
use crate::linux::awake::Hold;
#[cfg(target_os = "macos")]
use crate::macos::awake::Hold;
use crate::presence::Surroundings;
#[cfg(windows)]
use crate::windows::awake::Hold;

/// Asks the system not to fall asleep.
///
/// It keeps the screen from nothing, and cannot keep a laptop awake whose lid is closed where the system is set
/// otherwise.
#[derive(Clone, Debug)]
pub struct KeepAwake {
    around: Surroundings,
}

impl KeepAwake {
    /// Asks the system in `around`. Nothing is held yet.
    pub fn new(around: &Surroundings) -> KeepAwake {
        KeepAwake { around: around.clone() }
    }

    /// Keeps the machine awake until the guard is dropped; several at once are fine. Blocks, for about a second at most.
    ///
    /// `reason` is shown by the system to who asks what keeps it awake. `None`: the system does not let this program, or
    /// knows no sleep.
    pub fn hold(&self, reason: &str) -> Option<Guard> {
        Hold::new(&self.around, reason).map(Guard)
    }
}

/// Keeps the machine awake.
#[must_use = "the machine may sleep as soon as this is dropped"]
#[derive(Debug)]
pub struct Guard(#[expect(dead_code, reason = "held, not looked at")] Hold);
