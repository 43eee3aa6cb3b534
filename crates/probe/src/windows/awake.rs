//! Keeps the machine awake, by a request that `powercfg /requests` shows.

use std::os::windows::io::{FromRawHandle as _, OwnedHandle};

use windows::Win32::Foundation::HANDLE;
use windows::Win32::System::Power::{PowerCreateRequest, PowerRequestSystemRequired, PowerSetRequest};
use windows::Win32::System::Threading::{POWER_REQUEST_CONTEXT_SIMPLE_STRING, REASON_CONTEXT, REASON_CONTEXT_0};
use windows::core::PWSTR;

use crate::NotHeld;
use crate::presence::Surroundings;

/// The request, which ends when its handle is closed.
#[derive(Debug)]
pub(crate) struct Hold(#[expect(dead_code, reason = "held, not looked at")] OwnedHandle);

impl Hold {
    #[allow(unsafe_code, reason = "calls of the system")]
    pub(crate) fn new(_: &Surroundings, reason: &str) -> Result<Hold, NotHeld> {
        let reason = reason.chars().filter(|letter| *letter != '\0').take(128).collect::<String>();
        let mut words: Vec<u16> = format!("Herd: {reason}\0").encode_utf16().collect();
        let context = REASON_CONTEXT {
            // `POWER_REQUEST_CONTEXT_VERSION`
            Version: 0,
            Flags: POWER_REQUEST_CONTEXT_SIMPLE_STRING,
            Reason: REASON_CONTEXT_0 { SimpleReasonString: PWSTR(words.as_mut_ptr()) },
        };
        // SAFETY: the words end with a zero and are copied during the call.
        let request: HANDLE = unsafe { PowerCreateRequest(&context) }.map_err(|_| NotHeld::Refused)?;
        // SAFETY: nobody else has it.
        let owned = unsafe { OwnedHandle::from_raw_handle(request.0) };
        // SAFETY: the request is open.
        unsafe { PowerSetRequest(request, PowerRequestSystemRequired) }.map_err(|_| NotHeld::Refused)?;
        Ok(Hold(owned))
    }
}
