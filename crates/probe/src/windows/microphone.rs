//! Who records: Core Audio tells which processes have a session at a microphone that is active; else the registry does.

use std::time::Duration;

use windows::Win32::Media::Audio::{
    AudioSessionStateActive, DEVICE_STATE_ACTIVE, IAudioSessionControl2, IAudioSessionManager2, IMMDeviceEnumerator,
    MMDeviceEnumerator, eCapture,
};
use windows::Win32::System::Com::{CLSCTX_ALL, CoCreateInstance};
use windows::core::{Interface as _, Result};

use super::apps::Apps;
use super::com::Com;
use super::consent;
use crate::presence::{Bell, Holder, MicrophoneSense, Surroundings, sorted};

/// How often to look. A session tells who asked it, but new ones have to be found.
const AGAIN: Duration = Duration::from_secs(2);

/// Microphones, or sessions at one of them, that are looked at; more are left out.
const MOST: u32 = 256;

pub(super) struct Microphone {
    consent: String,
    apps: Apps,
    _com: Com,
}

impl Microphone {
    pub(super) fn new(around: &Surroundings) -> Microphone {
        Microphone { consent: around.consent.clone(), apps: Apps::new(around.own), _com: Com::new() }
    }
}

impl MicrophoneSense for Microphone {
    fn microphones(&mut self) -> Option<Vec<Holder>> {
        match processes() {
            Ok(processes) => Some(sorted(processes.into_iter().filter_map(|pid| self.apps.holder(pid, "")).collect())),
            Err(_) => consent::holders(&self.consent, "microphone").map(sorted),
        }
    }

    fn wait(&mut self, bell: &Bell) {
        bell.wait(AGAIN);
    }
}

#[allow(unsafe_code, reason = "calls of the system")]
fn processes() -> Result<Vec<u32>> {
    let mut processes = Vec::new();
    // SAFETY: COM was started on this thread; each call writes what it returns. No device is opened for sound.
    unsafe {
        let all: IMMDeviceEnumerator = CoCreateInstance(&MMDeviceEnumerator, None, CLSCTX_ALL)?;
        let microphones = all.EnumAudioEndpoints(eCapture, DEVICE_STATE_ACTIVE)?;
        for microphone in 0..microphones.GetCount()?.min(MOST) {
            // One that was unplugged meanwhile is used by nobody.
            let Ok(manager) = microphones.Item(microphone)?.Activate::<IAudioSessionManager2>(CLSCTX_ALL, None) else {
                continue;
            };
            let sessions = manager.GetSessionEnumerator()?;
            for session in 0..sessions.GetCount()?.min(MOST.cast_signed()) {
                let session: IAudioSessionControl2 = sessions.GetSession(session)?.cast()?;
                if session.GetState()? == AudioSessionStateActive {
                    processes.push(session.GetProcessId()?);
                }
            }
        }
    }
    Ok(processes)
}
