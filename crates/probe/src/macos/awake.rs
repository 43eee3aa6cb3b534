//! Keeps the machine awake, by an assertion of IOKit.

use objc2_core_foundation::CFString;
use objc2_io_kit::{IOPMAssertionCreateWithName, IOPMAssertionID, IOPMAssertionRelease, kIOPMAssertionLevelOn};

use crate::NotHeld;
use crate::presence::Surroundings;

#[derive(Debug)]
pub(crate) struct Hold(IOPMAssertionID);

impl Hold {
    #[allow(unsafe_code, reason = "a call of the system")]
    pub(crate) fn new(_: &Surroundings, reason: &str) -> Result<Hold, NotHeld> {
        // `kIOPMAssertionTypePreventUserIdleSystemSleep`
        let kind = CFString::from_static_str("PreventUserIdleSystemSleep");
        let reason: String = reason.chars().take(128).collect();
        let reason = CFString::from_str(&format!("Herd: {reason}"));
        let mut id = 0;
        // SAFETY: it writes into the number that it is given.
        let failed = unsafe { IOPMAssertionCreateWithName(Some(&kind), kIOPMAssertionLevelOn, Some(&reason), &mut id) };
        if failed == 0 { Ok(Hold(id)) } else { Err(NotHeld::Refused) }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        IOPMAssertionRelease(self.0);
    }
}
