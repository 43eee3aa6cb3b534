//! The senses for somebody's presence, one trait each. Power, heat and idle time have theirs in [`crate::sense`].
//!
//! Each may block for as long as the system takes to answer, and says `None` for what it does not know. A sense is made
//! on the thread that uses it, and none has to be `Send`.

use super::{Bell, Holder};

/// Sees who holds a camera.
pub(crate) trait CameraSense {
    /// The holders now. What happens from here on ends the next wait.
    fn cameras(&mut self) -> Option<Vec<Holder>>;

    /// Sleeps until the answer may be another one, or the bell rings or is stopped.
    fn wait(&mut self, bell: &Bell);
}

/// Sees who records from a microphone.
pub(crate) trait MicrophoneSense {
    /// Who does now. What happens from here on ends the next wait.
    fn microphones(&mut self) -> Option<Vec<Holder>>;

    /// Sleeps until the answer may be another one, or the bell rings or is stopped.
    fn wait(&mut self, bell: &Bell);
}

/// Feels the lid.
pub(crate) trait LidSense {
    /// Whether it is closed.
    fn lid_closed(&mut self) -> Option<bool>;
}

/// Feels the screens.
pub(crate) trait DisplaySense {
    /// Whether all of them are off.
    fn display_off(&mut self) -> Option<bool>;
}

/// Sees whether one program has the screen for itself.
pub(crate) trait FullScreenSense {
    /// Whether one has, or says that it is a game.
    fn full_screen(&mut self) -> Option<bool>;
}

/// Knows what the network costs.
pub(crate) trait MeteredSense {
    /// Whether data costs money.
    fn metered(&mut self) -> Option<bool>;
}

/// Feels the lock of the screen.
pub(crate) trait LockSense {
    /// Whether it is locked.
    fn locked(&mut self) -> Option<bool>;
}
