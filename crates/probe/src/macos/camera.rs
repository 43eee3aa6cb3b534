//! Which cameras run, by CoreMediaIO, which tells of each device whether it runs for somebody, but not for whom.

use std::ffi::c_void;
use std::ptr::{NonNull, null};
use std::sync::Arc;
use std::time::Duration;

use objc2_core_foundation::{CFRetained, CFString};
use objc2_core_media_io::{
    CMIOObjectAddPropertyListener, CMIOObjectGetPropertyData, CMIOObjectGetPropertyDataSize, CMIOObjectID,
    CMIOObjectPropertyAddress, CMIOObjectRemovePropertyListener, kCMIODevicePropertyDeviceIsRunningSomewhere,
    kCMIOHardwarePropertyDevices, kCMIOObjectPropertyElementMain, kCMIOObjectPropertyName,
    kCMIOObjectPropertyScopeGlobal, kCMIOObjectSystemObject,
};

use crate::presence::{Bell, CameraSense, Holder, sorted};

/// Devices that are looked at; more are left out.
const MOST: usize = 64;

/// How often to look though nothing was told: listeners were seen to miss what happens during another change.
const ANYWAY: Duration = Duration::from_secs(5);

pub(super) struct Camera {
    bell: Arc<Bell>,
    /// Devices that are listened to, the list of devices itself among them.
    heard: Vec<(CMIOObjectID, CMIOObjectPropertyAddress)>,
}

impl Camera {
    pub(super) fn new(bell: &Arc<Bell>) -> Camera {
        Camera { bell: Arc::clone(bell), heard: Vec::new() }
    }

    #[allow(unsafe_code, reason = "calls of the system")]
    fn listen(&mut self, device: CMIOObjectID, property: u32) {
        if self.heard.len() > MOST
            || self.heard.iter().any(|(known, about)| (*known, about.mSelector) == (device, property))
        {
            return;
        }
        let about = address(property);
        let bell = Arc::as_ptr(&self.bell).cast_mut().cast();
        // SAFETY: the address is read during the call; the bell lives until the listener was removed, see `drop`.
        if unsafe { CMIOObjectAddPropertyListener(device, &about, Some(changed), bell) } == 0 {
            self.heard.push((device, about));
        }
    }
}

impl CameraSense for Camera {
    fn cameras(&mut self) -> Option<Vec<Holder>> {
        self.listen(kCMIOObjectSystemObject, kCMIOHardwarePropertyDevices);
        let devices = devices()?;
        // Those that were unplugged took their listeners along.
        self.heard.retain(|(device, _)| *device == kCMIOObjectSystemObject || devices.contains(device));
        for device in &devices {
            self.listen(*device, kCMIODevicePropertyDeviceIsRunningSomewhere);
        }
        let running = devices.into_iter().filter(|device| runs(*device));
        Some(sorted(running.map(|device| Holder::new("", None, &name(device).unwrap_or_default())).collect()))
    }

    fn wait(&mut self, bell: &Bell) {
        bell.wait(ANYWAY);
    }
}

impl Drop for Camera {
    #[allow(unsafe_code, reason = "calls of the system")]
    fn drop(&mut self) {
        let bell = Arc::as_ptr(&self.bell).cast_mut().cast();
        for (device, about) in &self.heard {
            // SAFETY: the same as when it was added.
            unsafe { CMIOObjectRemovePropertyListener(*device, about, Some(changed), bell) };
        }
        // One may still be in the middle of a call: the bell stays, which is a few bytes for each watch that ever was.
        std::mem::forget(Arc::clone(&self.bell));
    }
}

/// Called by the system, on a thread of its own.
#[allow(unsafe_code, reason = "called by the system")]
unsafe extern "C-unwind" fn changed(
    _: CMIOObjectID,
    _: u32,
    _: *mut CMIOObjectPropertyAddress,
    bell: *mut c_void,
) -> i32 {
    // SAFETY: it is what `listen` gave, and outlives the listener.
    unsafe { &*bell.cast::<Bell>() }.ring();
    0
}

fn address(property: u32) -> CMIOObjectPropertyAddress {
    CMIOObjectPropertyAddress {
        mSelector: property,
        mScope: kCMIOObjectPropertyScopeGlobal,
        mElement: kCMIOObjectPropertyElementMain,
    }
}

#[allow(unsafe_code, reason = "calls of the system")]
fn devices() -> Option<Vec<CMIOObjectID>> {
    let (about, mut size, mut used) = (address(kCMIOHardwarePropertyDevices), 0, 0);
    // SAFETY: it writes a size into the number that it is given.
    if unsafe { CMIOObjectGetPropertyDataSize(kCMIOObjectSystemObject, &about, 0, null(), &mut size) } != 0 {
        return None;
    }
    let mut devices = vec![0; (size as usize / size_of::<CMIOObjectID>()).min(MOST)];
    let size = u32::try_from(size_of_val(devices.as_slice())).ok()?;
    let data = devices.as_mut_ptr().cast();
    // SAFETY: it writes no more than `size` bytes into the numbers that it is given.
    let failed =
        unsafe { CMIOObjectGetPropertyData(kCMIOObjectSystemObject, &about, 0, null(), size, &mut used, data) };
    devices.truncate(used as usize / size_of::<CMIOObjectID>());
    (failed == 0).then_some(devices)
}

#[allow(unsafe_code, reason = "calls of the system")]
fn runs(device: CMIOObjectID) -> bool {
    let about = address(kCMIODevicePropertyDeviceIsRunningSomewhere);
    let (mut runs, mut used) = (0_u32, 0);
    // SAFETY: it writes four bytes into the number that it is given.
    let failed = unsafe { CMIOObjectGetPropertyData(device, &about, 0, null(), 4, &mut used, (&raw mut runs).cast()) };
    failed == 0 && runs != 0
}

#[allow(unsafe_code, reason = "calls of the system")]
fn name(device: CMIOObjectID) -> Option<String> {
    let about = address(kCMIOObjectPropertyName);
    let (mut name, mut used) = (std::ptr::null_mut::<CFString>(), 0);
    let size = u32::try_from(size_of_val(&name)).ok()?;
    // SAFETY: it writes a pointer, and who asks owns what it points to (CMIOHardwareObject.h).
    let failed =
        unsafe { CMIOObjectGetPropertyData(device, &about, 0, null(), size, &mut used, (&raw mut name).cast()) };
    let name = NonNull::new(name).filter(|_| failed == 0)?;
    // SAFETY: as above.
    Some(unsafe { CFRetained::from_raw(name) }.to_string())
}
