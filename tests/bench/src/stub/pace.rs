//! A steady beat, exact to some microseconds: a timer of the system for each stream.
//!
//! The runtime's own timers fire on whole milliseconds and would bunch the tokens of many streams together.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Result;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::clock;

/// Beats of one stream.
#[derive(Debug)]
pub(super) struct Beat {
    timer: AsyncFd<OwnedFd>,
    /// Beats that have come and were not yet taken.
    due: u64,
}

impl Beat {
    /// Beats each `pace`: from now on, or with a `phase` at whole multiples of `pace` plus that much, so that streams of
    /// different phases never beat together.
    pub(super) fn new(pace: Duration, phase: Option<Duration>) -> Result<Self> {
        let now = clock::now_ns();
        let (pace, phase) =
            (u64::try_from(pace.as_nanos())?.max(1), phase.map(|phase| u64::try_from(phase.as_nanos())));
        let first = match phase {
            Some(phase) => (now / pace + 1) * pace + phase?,
            None => now,
        };
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let setting = Itimerspec { it_interval: timespec(pace)?, it_value: timespec(first)? };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &setting)?;
        // Its successor is an unsafe function, by which a caller promises to keep the descriptor as it is. An `OwnedFd`
        // that nobody can reach does.
        #[allow(deprecated, reason = "sound for an owned descriptor, and this workspace has no unsafe code")]
        let timer = AsyncFd::new(timer)?;
        Ok(Self { timer, due: 0 })
    }

    /// Ends at the next beat. A beat that was missed is made up at once. May be dropped half-way.
    pub(super) async fn next(&mut self) -> Result<()> {
        while self.due == 0 {
            let mut ready = self.timer.readable().await?;
            let mut beats = [0; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut beats)?)) {
                Ok(read) => {
                    read?;
                    self.due += u64::from_ne_bytes(beats);
                }
                Err(_not_yet) => {}
            }
        }
        self.due -= 1;
        Ok(())
    }
}

fn timespec(ns: u64) -> Result<Timespec> {
    Ok(Timespec { tv_sec: i64::try_from(ns / 1_000_000_000)?, tv_nsec: i64::try_from(ns % 1_000_000_000)? })
}
