//! Who records, by Core Audio: since macOS 14.2 it tells of each process whether its input runs.
//!
//! Before that there is only a flag of devices, which a headset that plays music raises too: it counts only for devices
//! that cannot play, like a laptop's own microphone.

use std::ffi::c_void;
use std::ptr::{NonNull, null};
use std::sync::Arc;
use std::time::Duration;

use objc2_core_audio::{
    AudioObjectAddPropertyListener, AudioObjectGetPropertyData, AudioObjectGetPropertyDataSize, AudioObjectID,
    AudioObjectPropertyAddress, AudioObjectRemovePropertyListener, kAudioDevicePropertyDeviceIsRunningSomewhere,
    kAudioDevicePropertyStreams, kAudioHardwarePropertyDevices, kAudioHardwarePropertyProcessObjectList,
    kAudioObjectPropertyElementMain, kAudioObjectPropertyScopeGlobal, kAudioObjectPropertyScopeInput,
    kAudioObjectPropertyScopeOutput, kAudioObjectSystemObject, kAudioProcessPropertyIsRunningInput,
    kAudioProcessPropertyPID,
};

use super::apps::Apps;
use crate::presence::{Bell, Holder, MicrophoneSense, Surroundings, sorted};

/// Processes and devices that are looked at; more are left out.
const MOST: usize = 256;

/// How often to look though nothing was told: listeners were seen to miss recordings that start within another change.
const ANYWAY: Duration = Duration::from_secs(2);

const SYSTEM: AudioObjectID = kAudioObjectSystemObject as AudioObjectID;

pub(super) struct Microphone {
    bell: Arc<Bell>,
    /// Processes that are listened to, the list of processes itself among them.
    heard: Vec<(AudioObjectID, u32)>,
    apps: Apps,
}

impl Microphone {
    pub(super) fn new(around: &Surroundings, bell: &Arc<Bell>) -> Microphone {
        Microphone { bell: Arc::clone(bell), heard: Vec::new(), apps: Apps::new(around.own) }
    }

    #[allow(unsafe_code, reason = "a call of the system")]
    fn listen(&mut self, object: AudioObjectID, property: u32) {
        if self.heard.len() > MOST || self.heard.contains(&(object, property)) {
            return;
        }
        let mut about = address(property, kAudioObjectPropertyScopeGlobal);
        let bell = Arc::as_ptr(&self.bell).cast_mut().cast();
        // SAFETY: the address is read during the call; the bell lives until the listener was removed, see `drop`.
        if unsafe { AudioObjectAddPropertyListener(object, NonNull::from(&mut about), Some(changed), bell) } == 0 {
            self.heard.push((object, property));
        }
    }

    /// Processes whose input runs. `None` before macOS 14.2.
    fn processes(&mut self) -> Option<Vec<Holder>> {
        self.listen(SYSTEM, kAudioHardwarePropertyProcessObjectList);
        let processes = list(SYSTEM, kAudioHardwarePropertyProcessObjectList)?;
        // Those that ended took their listeners along.
        self.heard.retain(|(object, _)| *object == SYSTEM || processes.contains(object));
        for process in &processes {
            self.listen(*process, kAudioProcessPropertyIsRunningInput);
        }
        let running =
            processes.into_iter().filter(|process| number(*process, kAudioProcessPropertyIsRunningInput) == Some(1));
        let ids: Vec<u32> = running.filter_map(|process| number(process, kAudioProcessPropertyPID)).collect();
        Some(ids.into_iter().filter_map(|pid| self.apps.holder(pid, "")).collect())
    }
}

/// Microphones that run for somebody and can do nothing else.
fn devices() -> Option<Vec<Holder>> {
    let devices = list(SYSTEM, kAudioHardwarePropertyDevices)?;
    let records = |device: &AudioObjectID| {
        number(*device, kAudioDevicePropertyDeviceIsRunningSomewhere) == Some(1)
            && size(*device, &mut address(kAudioDevicePropertyStreams, kAudioObjectPropertyScopeInput)) > Some(0)
            && size(*device, &mut address(kAudioDevicePropertyStreams, kAudioObjectPropertyScopeOutput)) == Some(0)
    };
    Some(devices.into_iter().filter(records).map(|_| Holder::new("", None, "")).collect())
}

impl MicrophoneSense for Microphone {
    fn microphones(&mut self) -> Option<Vec<Holder>> {
        self.processes().or_else(devices).map(sorted)
    }

    fn wait(&mut self, bell: &Bell) {
        bell.wait(ANYWAY);
    }
}

impl Drop for Microphone {
    #[allow(unsafe_code, reason = "a call of the system")]
    fn drop(&mut self) {
        let bell = Arc::as_ptr(&self.bell).cast_mut().cast();
        for (object, property) in &self.heard {
            let mut about = address(*property, kAudioObjectPropertyScopeGlobal);
            // SAFETY: the same as when it was added.
            unsafe { AudioObjectRemovePropertyListener(*object, NonNull::from(&mut about), Some(changed), bell) };
        }
        // One may still be in the middle of a call: the bell stays, which is a few bytes for each watch that ever was.
        std::mem::forget(Arc::clone(&self.bell));
    }
}

/// Called by the system, on a thread of its own.
#[allow(unsafe_code, reason = "called by the system")]
unsafe extern "C-unwind" fn changed(
    _: AudioObjectID,
    _: u32,
    _: NonNull<AudioObjectPropertyAddress>,
    bell: *mut c_void,
) -> i32 {
    // SAFETY: it is what `listen` gave, and outlives the listener.
    unsafe { &*bell.cast::<Bell>() }.ring();
    0
}

fn address(property: u32, scope: u32) -> AudioObjectPropertyAddress {
    AudioObjectPropertyAddress { mSelector: property, mScope: scope, mElement: kAudioObjectPropertyElementMain }
}

#[allow(unsafe_code, reason = "a call of the system")]
fn size(object: AudioObjectID, about: &mut AudioObjectPropertyAddress) -> Option<u32> {
    let mut size = 0_u32;
    // SAFETY: it reads the address, and writes a size into the number that it is given.
    let failed =
        unsafe { AudioObjectGetPropertyDataSize(object, NonNull::from(about), 0, null(), NonNull::from(&mut size)) };
    (failed == 0).then_some(size)
}

#[allow(unsafe_code, reason = "a call of the system")]
fn list(object: AudioObjectID, property: u32) -> Option<Vec<AudioObjectID>> {
    let mut about = address(property, kAudioObjectPropertyScopeGlobal);
    let count = size(object, &mut about)? as usize / size_of::<AudioObjectID>();
    let mut objects: Vec<AudioObjectID> = vec![0; count.min(MOST)];
    let mut used = u32::try_from(size_of_val(objects.as_slice())).ok()?;
    let data = NonNull::new(objects.as_mut_ptr().cast())?;
    // SAFETY: it writes no more than `used` bytes into the numbers that it is given.
    let failed = unsafe {
        AudioObjectGetPropertyData(object, NonNull::from(&mut about), 0, null(), NonNull::from(&mut used), data)
    };
    objects.truncate(used as usize / size_of::<AudioObjectID>());
    (failed == 0).then_some(objects)
}

#[allow(unsafe_code, reason = "a call of the system")]
fn number(object: AudioObjectID, property: u32) -> Option<u32> {
    let mut about = address(property, kAudioObjectPropertyScopeGlobal);
    let (mut number, mut size) = (0_u32, 4_u32);
    let data = NonNull::from(&mut number).cast();
    // SAFETY: it writes four bytes into the number that it is given.
    let failed = unsafe {
        AudioObjectGetPropertyData(object, NonNull::from(&mut about), 0, null(), NonNull::from(&mut size), data)
    };
    (failed == 0).then_some(number)
}
