//! Who holds a camera: Media Foundation tells of each process whether it gets pictures; else the registry does.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use windows::Win32::Media::MediaFoundation::{IMFSensorActivitiesReportCallback, IMFSensorActivityMonitor};
use windows::Win32::System::LibraryLoader::{GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW};
use windows::core::{HRESULT, Interface as _, s, w};

use super::apps::Apps;
use super::com::Com;
use super::consent;
use super::ear::{Ear, Users};
use crate::presence::{Bell, CameraSense, Holder, Surroundings, sorted};

/// How often to look into the registry.
const AGAIN: Duration = Duration::from_secs(2);

/// How often to look though nothing was told: a process that ends may tell nothing.
const ANYWAY: Duration = Duration::from_secs(10);

pub(super) struct Camera {
    consent: String,
    users: Arc<Mutex<Users>>,
    apps: Apps,
    /// Before the rest of COM, which it needs to end.
    monitor: Option<IMFSensorActivityMonitor>,
    _com: Com,
}

impl Camera {
    pub(super) fn new(around: &Surroundings, bell: &Arc<Bell>) -> Camera {
        let com = Com::new();
        let users = Arc::<Mutex<Users>>::default();
        let ear = Ear { users: Arc::clone(&users), bell: Arc::clone(bell) };
        Camera {
            consent: around.consent.clone(),
            users,
            apps: Apps::new(around.own),
            monitor: monitor(&ear.into()),
            _com: com,
        }
    }
}

impl CameraSense for Camera {
    fn cameras(&mut self) -> Option<Vec<Holder>> {
        if self.monitor.is_none() {
            return consent::holders(&self.consent, "webcam").map(sorted);
        }
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let all = users.iter().flat_map(|(device, pids)| pids.iter().map(move |pid| (device, *pid)));
        Some(sorted(all.filter_map(|(device, pid)| self.apps.holder(pid, device)).collect()))
    }

    fn wait(&mut self, bell: &Bell) {
        bell.wait(if self.monitor.is_some() { ANYWAY } else { AGAIN });
    }
}

impl Drop for Camera {
    #[allow(unsafe_code, reason = "a call of the system")]
    fn drop(&mut self) {
        if let Some(monitor) = &self.monitor {
            // SAFETY: it takes nothing. What it says is of no use any more.
            let _ = unsafe { monitor.Stop() };
        }
    }
}

/// A monitor that tells `ear`, started. `None` where Windows came without media.
#[allow(unsafe_code, reason = "calls of the system")]
fn monitor(ear: &IMFSensorActivitiesReportCallback) -> Option<IMFSensorActivityMonitor> {
    type Create = unsafe extern "system" fn(*mut c_void, *mut *mut c_void) -> HRESULT;
    // Not bound when the program starts: editions without media lack the library, and it could not start at all.
    // SAFETY: only the system's own directory is looked in, and the library stays.
    let library = unsafe { LoadLibraryExW(w!("mfsensorgroup.dll"), None, LOAD_LIBRARY_SEARCH_SYSTEM32) }.ok()?;
    // SAFETY: the library is there.
    let create = unsafe { GetProcAddress(library, s!("MFCreateSensorActivityMonitor")) }?;
    // SAFETY: mfidl.h: it takes the callback and a place for what it makes.
    let create = unsafe { std::mem::transmute::<unsafe extern "system" fn() -> isize, Create>(create) };
    let mut made = std::ptr::null_mut();
    // SAFETY: as above; it counts its own reference to the callback.
    unsafe { create(ear.as_raw(), &mut made) }.ok().ok()?;
    if made.is_null() {
        return None;
    }
    // SAFETY: it is what was asked for, with one reference for us.
    let monitor = unsafe { IMFSensorActivityMonitor::from_raw(made) };
    // SAFETY: it takes nothing.
    unsafe { monitor.Start() }.ok()?;
    Some(monitor)
}
