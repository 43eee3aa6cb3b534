//! What has its time: the scheduler's timer, beats to doors that wait, doors that wait in vain, news of this node's work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proto::wire::{self, Envelope};
use proto::{Moment, NodeId};

use super::mail::Mail;
use super::{State, Tickets, With};

/// How often a leader says that it has a door's requests. The door gives it up after two and a half of these at the
/// earliest.
const BEAT: Duration = Duration::from_millis(100);
/// How long a leader may say nothing while it has requests of this door, at least.
const LEAST_SILENCE: Duration = Duration::from_millis(250);
/// How often it is looked whether it is silent.
const LOOK: Duration = Duration::from_millis(50);
/// How much longer than its longest answers of late it may take.
const TIMES: u32 = 4;

/// How long an answer of the leader takes to come: the mean, and what is seldom exceeded.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    mean: Duration,
    long: Duration,
}

impl RoundTrip {
    /// One took this long.
    pub(super) fn took(&mut self, took: Duration) {
        let took = took.min(Duration::from_secs(10));
        self.mean = if self.mean.is_zero() { took } else { (self.mean * 7 + took) / 8 };
        // Up at once, down slowly.
        self.long = if took > self.long { took } else { (self.long * 63 + took) / 64 };
    }

    pub(super) fn typical(&self) -> Duration {
        self.mean
    }

    /// Silence of that length means that no answer will come.
    fn patience(&self) -> Duration {
        (self.long * TIMES).max(LEAST_SILENCE)
    }
}

impl State {
    /// When something is due.
    pub(super) fn wake(&self) -> Option<Moment> {
        let beat = self.beat_at();
        let look = self.waits_for_leader().then_some(self.told.looked + LOOK);
        [self.scheduler.poll_timeout(), beat, look, self.told.speeds_at, self.owed_at].into_iter().flatten().min()
    }

    fn beat_at(&self) -> Option<Moment> {
        (self.is_leading() && self.scheduler.waiting() > 0).then_some(self.told.beat + BEAT)
    }

    fn waits_for_leader(&self) -> bool {
        self.waiting.values().any(|waiter| waiter.with != With::Own)
    }

    pub(super) fn keep_time(&mut self, now: Moment, mail: &mut Mail) {
        if self.scheduler.poll_timeout().is_some_and(|due| due <= now) {
            self.scheduler.handle_timeout(now);
            self.sort(now, mail);
        }
        if self.owed_at.take_if(|due| *due <= now).is_some() {
            self.owed.drain(..).for_each(|(to, message)| mail.send(to, message));
        }
        if self.beat_at().is_some_and(|due| due <= now) {
            self.told.beat = now;
            self.beat_doors(now, mail);
        }
        if self.waits_for_leader() && self.told.looked + LOOK <= now {
            self.told.looked = now;
            self.look_for_silence(now, mail);
        }
    }

    /// Tells each door how its waiting requests stand.
    fn beat_doors(&mut self, now: Moment, mail: &mut Mail) {
        let doors: BTreeSet<NodeId> = self.told.doors.iter().copied().filter(|door| *door != self.me).collect();
        for door in doors {
            let waiting = self.scheduler.waiting_of(door, now, wire::MAX_PLACES_TOLD + 1);
            if waiting.is_empty() {
                continue;
            }
            let total = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
            let told = waiting.iter().take(wire::MAX_PLACES_TOLD).map(|standing| wire::Waiting {
                id: standing.ask.number,
                position: standing.position,
                eta_ms: standing.eta.map(|eta| u64::try_from(eta.as_millis()).unwrap_or(u64::MAX)),
            });
            mail.send(door, Envelope::Beat(wire::Beat { waiting: told.collect(), total }));
        }
    }

    /// A leader that says nothing while it has requests of this door is done without.
    fn look_for_silence(&mut self, now: Moment, mail: &mut Mail) {
        let Some(leader) = self.leader.filter(|leader| *leader != self.me) else { return };
        let asked =
            self.waiting.values().filter(|waiter| waiter.with == With::Leader(leader)).map(|waiter| waiter.asked);
        let Some(first) = asked.min() else { return };
        if now.since(first.max(self.heard)) > self.rtt.patience() {
            tracing::info!(%leader, "the leader does not answer; placing requests without it");
            self.is_silent = true;
            self.decide_alone(leader, now, mail);
        }
    }
}

impl Tickets {
    /// Does what has its time; runs as long as the node. May be dropped at any time.
    pub(crate) async fn keep(self: Arc<Tickets>) {
        loop {
            let wake = {
                let mut state = self.lock();
                state.armed = state.wake();
                state.armed
            };
            let due = async {
                match wake {
                    Some(moment) => tokio::time::sleep(moment.since(self.clock.now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {
                    let now = self.clock.now();
                    let mut state = self.lock();
                    let mut mail = Mail::default();
                    state.keep_time(now, &mut mail);
                    let tells_speeds = state.told.speeds_at.is_some_and(|due| due <= now);
                    self.release(state, mail);
                    if tells_speeds {
                        self.tell_speeds();
                    }
                }
                () = self.timer.notified() => {}
                () = self.bell.rung(), if self.has_company() => self.tell_work(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_the_longest_of_late() {
        let mut rtt = RoundTrip::default();
        assert_eq!(rtt.patience(), LEAST_SILENCE);
        rtt.took(Duration::from_millis(200));
        assert_eq!(rtt.patience(), Duration::from_millis(800));
        for _ in 0..500 {
            rtt.took(Duration::from_millis(1));
        }
        assert_eq!(rtt.patience(), LEAST_SILENCE);
        assert!(rtt.typical() < Duration::from_millis(3));
    }
}
