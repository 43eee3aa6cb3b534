//! Lid and screen, a program that fills it, the lock, and what the network costs.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};

use windows::Win32::Foundation::HANDLE;
use windows::Win32::Networking::NetworkListManager::{INetworkCostManager, NetworkListManager};
use windows::Win32::System::Com::{CLSCTX_ALL, CoCreateInstance};
use windows::Win32::System::Power::{
    DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS, HPOWERNOTIFY, POWERBROADCAST_SETTING, PowerSettingRegisterNotification,
    PowerSettingUnregisterNotification,
};
use windows::Win32::System::RemoteDesktop::{WTSFreeMemory, WTSINFOEXW, WTSQuerySessionInformationW, WTSSessionInfoEx};
use windows::Win32::UI::Shell::{
    QUNS_BUSY, QUNS_PRESENTATION_MODE, QUNS_RUNNING_D3D_FULL_SCREEN, SHQueryUserNotificationState,
};
use windows::Win32::UI::WindowsAndMessaging::DEVICE_NOTIFY_CALLBACK;
use windows::core::{GUID, PWSTR};

use super::com::Com;
use crate::presence::{DisplaySense, FullScreenSense, LidSense, LockSense, MeteredSense};

/// `GUID_LIDSWITCH_STATE_CHANGE`: 0 closed, 1 open.
const LID: GUID = GUID::from_u128(0xba3e0f4d_b817_4094_a2d1_d56379e6a0f3);

/// `GUID_CONSOLE_DISPLAY_STATE`: 0 off, 1 on, 2 dimmed.
const DISPLAY: GUID = GUID::from_u128(0x6fe69556_704a_47a0_8f24_c28d936fda47);

/// Nothing was told yet, and on machines without such a part nothing ever is.
const UNTOLD: u32 = u32::MAX;

// Of the machine and not of a watch, so that a late call finds them.
static LID_STATE: AtomicU32 = AtomicU32::new(UNTOLD);
static DISPLAY_STATE: AtomicU32 = AtomicU32::new(UNTOLD);

/// Has the system tell of a setting, at once and at each change, until it is dropped.
struct Setting {
    state: &'static AtomicU32,
    registration: Option<HPOWERNOTIFY>,
}

impl Setting {
    #[allow(unsafe_code, reason = "a call of the system")]
    fn new(setting: &GUID, state: &'static AtomicU32) -> Setting {
        let context = std::ptr::from_ref(state).cast_mut().cast();
        let mut to = DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS { Callback: Some(told), Context: context };
        let mut registration = std::ptr::null_mut();
        let recipient = HANDLE((&raw mut to).cast());
        // SAFETY: the parameters are read during the call, and the context lives for ever.
        let failed =
            unsafe { PowerSettingRegisterNotification(setting, DEVICE_NOTIFY_CALLBACK, recipient, &mut registration) };
        let registration = failed.is_ok().then_some(HPOWERNOTIFY(registration as isize));
        Setting { state, registration }
    }

    fn told(&self) -> Option<u32> {
        Some(self.state.load(Ordering::Relaxed)).filter(|state| self.registration.is_some() && *state != UNTOLD)
    }
}

impl Drop for Setting {
    #[allow(unsafe_code, reason = "a call of the system")]
    fn drop(&mut self) {
        if let Some(registration) = self.registration {
            // SAFETY: it was registered, and is not used again.
            let _ = unsafe { PowerSettingUnregisterNotification(registration) };
        }
    }
}

/// Called by the system, on a thread of its own.
#[allow(unsafe_code, reason = "called by the system")]
unsafe extern "system" fn told(state: *const c_void, _: u32, setting: *const c_void) -> u32 {
    let setting = setting.cast::<POWERBROADCAST_SETTING>();
    // SAFETY: the system gives a setting, whose data follow it, and the context it was given.
    unsafe {
        if !setting.is_null() && (*setting).DataLength >= 4 {
            let value = (&raw const (*setting).Data).cast::<u32>().read_unaligned();
            (*state.cast::<AtomicU32>()).store(value, Ordering::Relaxed);
        }
    }
    0
}

pub(super) struct Lid(Setting);

impl Lid {
    pub(super) fn new() -> Lid {
        Lid(Setting::new(&LID, &LID_STATE))
    }
}

impl LidSense for Lid {
    fn lid_closed(&mut self) -> Option<bool> {
        self.0.told().map(|state| state == 0)
    }
}

pub(super) struct Screen(Setting);

impl Screen {
    pub(super) fn new() -> Screen {
        Screen(Setting::new(&DISPLAY, &DISPLAY_STATE))
    }
}

impl DisplaySense for Screen {
    fn display_off(&mut self) -> Option<bool> {
        self.0.told().map(|state| state == 0)
    }
}

pub(super) struct FullScreen;

impl FullScreenSense for FullScreen {
    #[allow(unsafe_code, reason = "a call of the system")]
    fn full_screen(&mut self) -> Option<bool> {
        // SAFETY: it takes nothing.
        let state = unsafe { SHQueryUserNotificationState() }.ok()?;
        Some([QUNS_RUNNING_D3D_FULL_SCREEN, QUNS_PRESENTATION_MODE, QUNS_BUSY].contains(&state))
    }
}

pub(super) struct Lock;

impl LockSense for Lock {
    #[allow(unsafe_code, reason = "calls of the system")]
    fn locked(&mut self) -> Option<bool> {
        /// `WTS_CURRENT_SESSION`
        const THIS: u32 = u32::MAX;
        let (mut buffer, mut size) = (PWSTR::null(), 0);
        // SAFETY: it writes a pointer and a size.
        unsafe { WTSQuerySessionInformationW(None, THIS, WTSSessionInfoEx, &mut buffer, &mut size) }.ok()?;
        let fits = !buffer.is_null() && size as usize >= size_of::<WTSINFOEXW>();
        // SAFETY: this kind of question is answered with this structure (wtsapi32.h), and its level is always 1.
        let flags = fits.then(|| unsafe { (*buffer.0.cast::<WTSINFOEXW>()).Data.WTSInfoExLevel1.SessionFlags });
        // SAFETY: it came from the call above, and is not used again.
        unsafe { WTSFreeMemory(buffer.0.cast()) };
        match flags? {
            // `WTS_SESSIONSTATE_LOCK`, `WTS_SESSIONSTATE_UNLOCK`
            0 => Some(true),
            1 => Some(false),
            _ => None,
        }
    }
}

pub(super) struct Metered {
    network: Option<INetworkCostManager>,
    _com: Com,
}

impl Metered {
    #[allow(unsafe_code, reason = "a call of the system")]
    pub(super) fn new() -> Metered {
        let com = Com::new();
        // SAFETY: COM was started on this thread.
        let network = unsafe { CoCreateInstance(&NetworkListManager, None, CLSCTX_ALL) }.ok();
        Metered { network, _com: com }
    }
}

impl MeteredSense for Metered {
    #[allow(unsafe_code, reason = "a call of the system")]
    fn metered(&mut self) -> Option<bool> {
        let mut cost = 0;
        // SAFETY: it writes into the number that it is given; no address means the whole machine.
        unsafe { self.network.as_ref()?.GetCost(&mut cost, std::ptr::null()) }.ok()?;
        // `NLM_CONNECTION_COST`: 0 is not known, 1 unrestricted, alone; the rest are kinds of limits.
        (cost != 0).then_some(cost != 1)
    }
}
