//! Wakes a thread of the watch: because something may have changed, or for the last time.

#[cfg(target_os = "linux")]
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// One for each thread. Rings are not counted: several before a wait are one.
pub(crate) struct Bell {
    state: Mutex<State>,
    heard: Condvar,
    /// Readable from the stop on, for a thread that sleeps on other descriptors too.
    #[cfg(target_os = "linux")]
    end: OwnedFd,
}

#[derive(Default)]
struct State {
    rung: bool,
    stopped: bool,
}

impl Bell {
    /// A silent bell. Fails when the process has no descriptors left.
    pub(crate) fn new() -> std::io::Result<Bell> {
        Ok(Bell {
            state: Mutex::default(),
            heard: Condvar::new(),
            #[cfg(target_os = "linux")]
            end: rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?,
        })
    }

    /// Says that something may have changed. May be called from any thread.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn ring(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).rung = true;
        self.heard.notify_all();
    }

    /// Says that it is over. Every wait returns at once from now on.
    pub(crate) fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.heard.notify_all();
        #[cfg(target_os = "linux")]
        // It fails only when it was rung 2^64 times before.
        let _ = rustix::io::write(&self.end, &1_u64.to_ne_bytes());
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped
    }

    /// Sleeps until it rings, it is over, or `most` passed.
    pub(crate) fn wait(&self, most: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .heard
            .wait_timeout_while(state, most, |state| !state.rung && !state.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn end(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}
