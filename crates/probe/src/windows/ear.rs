//! Hears from Media Foundation which processes get pictures from which camera.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use windows::Win32::Media::MediaFoundation::{
    IMFSensorActivitiesReport, IMFSensorActivitiesReportCallback, IMFSensorActivitiesReportCallback_Impl,
};
use windows::core::{Ref, Result, implement};

use crate::presence::Bell;

/// Cameras, or processes at one of them, that are looked at; more are left out.
const MOST: u32 = 64;

/// Processes that get pictures, for each camera's name.
pub(super) type Users = BTreeMap<String, Vec<u32>>;

/// What the system calls, on threads of its own.
#[implement(IMFSensorActivitiesReportCallback)]
pub(super) struct Ear {
    pub(super) users: Arc<Mutex<Users>>,
    pub(super) bell: Arc<Bell>,
}

impl IMFSensorActivitiesReportCallback_Impl for Ear_Impl {
    fn OnActivitiesReport(&self, report: Ref<'_, IMFSensorActivitiesReport>) -> Result<()> {
        let report = report.ok()?;
        let mut told = Users::new();
        // SAFETY: the report and its parts are there for the length of the call; each call writes what it returns.
        unsafe {
            for camera in 0..report.GetCount()?.min(MOST) {
                let camera = report.GetActivityReport(camera)?;
                let (mut name, mut length) = ([0; 128], 0);
                // Without a name it is still one that is in use.
                let _ = camera.GetFriendlyName(&mut name, &mut length);
                let end = name.iter().position(|letter| *letter == 0).unwrap_or(name.len());
                let users = told.entry(String::from_utf16_lossy(&name[..end])).or_default();
                for process in 0..camera.GetProcessCount()?.min(MOST) {
                    let process = camera.GetProcessActivity(process)?;
                    if process.GetStreamingState()?.as_bool() {
                        users.push(process.GetProcessId()?);
                    }
                }
            }
        }
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        // A report may be of some cameras only.
        users.extend(told);
        users.retain(|_, pids| !pids.is_empty());
        drop(users);
        self.bell.ring();
        Ok(())
    }
}
