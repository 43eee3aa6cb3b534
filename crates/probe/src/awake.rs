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
    /// `reason` is shown by the system to who asks what keeps it awake.
    ///
    /// # Errors
    /// Nobody is there to be asked, or the system does not let this program.
    pub fn hold(&self, reason: &str) -> Result<Guard, NotHeld> {
        Hold::new(&self.around, reason).map(Guard)
    }
}

/// Why the machine cannot be kept awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    /// Nothing is there that would put the machine to sleep and could be asked not to: no logind. Only on Linux.
    #[error("no service here is in charge of sleep")]
    Nobody,
    /// It said no, or did not answer.
    #[error("the system does not let this program keep it awake")]
    Refused,
}

/// Keeps the machine awake.
#[must_use = "the machine may sleep as soon as this is dropped"]
#[derive(Debug)]
pub struct Guard(#[expect(dead_code, reason = "held, not looked at")] Hold);
