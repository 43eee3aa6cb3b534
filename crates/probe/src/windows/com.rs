//! COM, which each thread starts and ends for itself.

use windows::Win32::System::Com::{COINIT_MULTITHREADED, CoInitializeEx, CoUninitialize};

/// COM on this thread, until it is dropped. Whatever came from it must be dropped before.
pub(super) struct Com {
    is_on: bool,
    /// It belongs to the thread.
    _here: std::marker::PhantomData<*const ()>,
}

impl Com {
    #[allow(unsafe_code, reason = "a call of the system")]
    pub(super) fn new() -> Com {
        // SAFETY: it is undone on the same thread, as this is not `Send`.
        let is_on = unsafe { CoInitializeEx(None, COINIT_MULTITHREADED) }.is_ok();
        Com { is_on, _here: std::marker::PhantomData }
    }
}

impl Drop for Com {
    #[allow(unsafe_code, reason = "a call of the system")]
    fn drop(&mut self) {
        if self.is_on {
            // SAFETY: it was started on this thread.
            unsafe { CoUninitialize() };
        }
    }
}
