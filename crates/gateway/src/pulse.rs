//! Notices when a backend falls silent in the middle of an answer: an engine that hangs says so to nobody.
//!
//! One timer for each stream, set anew only when it fires, so that a token costs one look at the clock.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use proto::{Clock, Moment};
use tokio::time::Sleep;

/// A pause of so many times the longest that came before in the same answer is still no reason to doubt.
const STRETCH: u32 = 8;
/// A server that works on several requests says nothing while it reads another one's long prompt.
const SHARED: u32 = 3;
/// Ollama says nothing while a model writes the arguments of a tool call: a whole file, on a slow machine, in the worst case.
const CALLS: u32 = 30;
/// Of a longer pause nothing is learnt: the machine may have slept.
const LONGEST: Duration = Duration::from_secs(60);
/// A timer that is so late has slept with its machine.
const LATE: Duration = Duration::from_secs(5);

/// The time since something came from one backend.
pub(crate) struct Pulse {
    clock: Clock,
    least: Duration,
    longest: Duration,
    last: Moment,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What may be behind a silence.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nature {
    /// The model may be writing a tool call.
    pub(crate) calls: bool,
    /// Its server may be busy with somebody else.
    pub(crate) is_shared: bool,
}

impl Pulse {
    /// A pulse that begins now. No silence shorter than `least` is one.
    pub(crate) fn new(clock: Clock, least: Duration, nature: Nature) -> Pulse {
        let factor = match nature {
            Nature { calls: true, .. } => CALLS,
            Nature { is_shared: true, .. } => SHARED,
            Nature { .. } => 1,
        };
        let least = least.saturating_mul(factor);
        Pulse { clock, least, longest: Duration::ZERO, last: clock.now(), timer: None }
    }

    /// Something came.
    pub(crate) fn heard(&mut self) {
        let now = self.clock.now();
        let gap = now.since(self.last);
        if gap <= LONGEST {
            self.longest = self.longest.max(gap);
        }
        self.last = now;
    }

    /// Ready once nothing has come for too long: for how long.
    pub(crate) fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let bound = self.longest.saturating_mul(STRETCH).max(self.least);
        loop {
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(bound)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = self.clock.now();
            let silence = now.since(self.last);
            if silence >= bound + LATE {
                self.last = now;
            } else if silence >= bound {
                return Poll::Ready(silence);
            }
            let rest = bound - now.since(self.last);
            self.timer = Some(Box::pin(tokio::time::sleep(rest)));
        }
    }
}
