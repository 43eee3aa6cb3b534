//! Lid, screens and lock.

use objc2_core_foundation::{CFBoolean, CFDictionary, CFNumber, CFRetained, CFString, CFType};
use objc2_core_graphics::{CGDisplayIsAsleep, CGMainDisplayID, CGSessionCopyCurrentDictionary};
use objc2_io_kit::{IOObjectRelease, IORegistryEntryCopyFromPath, IORegistryEntryCreateCFProperty};

use crate::presence::{DisplaySense, FullScreenSense, LidSense, LockSense, MeteredSense};

pub(super) struct Lid;

impl LidSense for Lid {
    #[allow(unsafe_code, reason = "calls of the system")]
    fn lid_closed(&mut self) -> Option<bool> {
        // Where power is managed, as Apple's own `pmset` finds it. Macs without a lid lack the property.
        let path = CFString::from_static_str("IOPower:/IOPowerConnection/IOPMrootDomain");
        // SAFETY: 0 is the port that is meant by default (`kIOMainPortDefault`).
        let root = unsafe { IORegistryEntryCopyFromPath(0, Some(&path)) };
        if root == 0 {
            return None;
        }
        let key = CFString::from_static_str("AppleClamshellState");
        // SAFETY: `root` is an entry, as it is not zero.
        let told = unsafe { IORegistryEntryCreateCFProperty(root, Some(&key), None, 0) };
        IOObjectRelease(root);
        told?.downcast_ref::<CFBoolean>().map(CFBoolean::as_bool)
    }
}

pub(super) struct Screen;

impl DisplaySense for Screen {
    fn display_off(&mut self) -> Option<bool> {
        let main = CGMainDisplayID();
        // Zero: no screen at all.
        (main != 0).then(|| CGDisplayIsAsleep(main))
    }
}

pub(super) struct Lock;

impl LockSense for Lock {
    #[allow(unsafe_code, reason = "calls of the system")]
    fn locked(&mut self) -> Option<bool> {
        // `None` for a program outside of any session with a screen.
        let session = CGSessionCopyCurrentDictionary()?;
        // SAFETY: its keys are strings (CGSession.h).
        let session: CFRetained<CFDictionary<CFString, CFType>> = unsafe { CFRetained::cast_unchecked(session) };
        // The key is there only while the screen is locked; its value was a boolean and a number over the years.
        let told = session.get(&CFString::from_static_str("CGSSessionScreenIsLocked"));
        let is_set = |told: CFRetained<CFType>| {
            let flag = told.downcast_ref::<CFBoolean>().map(CFBoolean::as_bool);
            flag.or_else(|| Some(told.downcast_ref::<CFNumber>()?.as_i64()? != 0)).unwrap_or(false)
        };
        Some(told.is_some_and(is_set))
    }
}

/// What no other program is told here.
pub(super) struct Untold;

impl FullScreenSense for Untold {
    fn full_screen(&mut self) -> Option<bool> {
        None
    }
}

impl MeteredSense for Untold {
    fn metered(&mut self) -> Option<bool> {
        None
    }
}
