//! Keeps this machine from falling asleep by itself while it serves.
//!
//! One task, started by the node and ended by its token. It holds at most one thing of the system, which it gives back
//! half a minute after the last request, as soon as the machine runs on battery, and when it ends.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use capacity::Evidence;
use probe::NotHeld;
use proto::view::CheckView;
use proto::{Clock, Moment};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often to look whether anything is served. A request that begins and ends between two looks is not seen: nothing
/// falls asleep over it.
const LOOK: Duration = Duration::from_secs(2);
/// For how long after the last request the machine is kept awake: the next one of a conversation comes soon.
const LINGER: Duration = Duration::from_secs(30);
/// Time between two tries where the system refuses.
const RETRY: Duration = Duration::from_secs(60);

/// What the system shows as the reason.
pub(crate) const REASON: &str = "requests to models are running";

/// What is known of it, for whoever asks. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Awake(Arc<ArcSwap<Standing>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// The machine may sleep.
    #[default]
    Free,
    /// It is kept awake.
    Held,
    /// It was to be kept awake the last time, in vain.
    Missed(NotHeld),
}

/// When to hold, and when to let go.
#[derive(Default)]
struct Decision {
    /// When something was last being served.
    served: Option<Moment>,
    /// No earlier than this is the system asked again.
    retry: Moment,
}

impl Decision {
    /// Whether the machine is to be kept awake at `now`.
    fn is_wanted(&mut self, is_serving: bool, evidence: &Evidence, now: Moment) -> bool {
        if is_serving {
            self.served = Some(now);
        }
        self.served.is_some_and(|served| now < served + LINGER) && on_mains(evidence)
    }
}

/// Whether no battery is emptied by it. Where the source of power is not known, a machine with a battery or a closed lid
/// is taken for a laptop on its way.
fn on_mains(evidence: &Evidence) -> bool {
    let is_laptop = || evidence.battery_percent.is_some() || evidence.lid_closed == Some(true);
    evidence.on_battery.map_or_else(|| !is_laptop(), |on_battery| !on_battery)
}

impl Awake {
    /// Keeps the machine awake by `hold`, which blocks, while `is_serving`, until `stop`.
    pub(crate) async fn keep<G: Send + 'static>(
        self,
        hold: impl Fn() -> Result<G, NotHeld> + Clone + Send + 'static,
        is_serving: impl Fn() -> bool,
        mut evidence: watch::Receiver<Evidence>,
        clock: Clock,
        stop: CancellationToken,
    ) {
        let (mut decision, mut held, mut senses_live) = (Decision::default(), None, true);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                changed = evidence.changed(), if senses_live => senses_live = changed.is_ok(),
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = clock.now();
            let is_wanted = decision.is_wanted(is_serving(), &evidence.borrow_and_update(), now);
            match (is_wanted, held.is_some()) {
                (true, false) if now >= decision.retry => {
                    let hold = hold.clone();
                    let Ok(result) = tokio::task::spawn_blocking(hold).await else { break };
                    let standing = match result {
                        Ok(guard) => {
                            tracing::debug!("this machine is kept awake");
                            held = Some(guard);
                            Standing::Held
                        }
                        Err(why) => {
                            decision.retry = now + RETRY;
                            Standing::Missed(why)
                        }
                    };
                    self.0.store(Arc::new(standing));
                }
                (false, true) => {
                    tracing::debug!("this machine may sleep again");
                    self.0.store(Arc::new(Standing::Free));
                    held = None;
                }
                _ => {}
            }
        }
        self.0.store(Arc::new(Standing::Free));
    }

    /// What a look at this machine finds: nothing as long as nothing was to be kept awake.
    pub(crate) fn check(&self) -> Option<CheckView> {
        let (state, found, advice) = match **self.0.load() {
            Standing::Free => return None,
            Standing::Held => ("ok", "this machine is kept awake while it serves requests", None),
            Standing::Missed(NotHeld::Nobody) => {
                ("ok", "nothing here puts this machine to sleep that could be asked to wait for requests", None)
            }
            Standing::Missed(NotHeld::Refused) => (
                "warning",
                "this machine may fall asleep while it serves requests: the system does not let Herd keep it awake",
                Some("run Herd in a desktop session, or switch automatic sleep off; FLEET_KEEP_AWAKE=off ends this"),
            ),
        };
        let (check, state, found) = ("sleep".to_owned(), state.to_owned(), found.to_owned());
        Some(CheckView { check, state, found, advice: advice.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    #[test]
    fn it_is_held_while_requests_run_on_mains_and_a_little_longer() {
        let mut decision = Decision::default();
        let mains = Evidence { on_battery: Some(false), battery_percent: Some(80), ..Evidence::default() };
        let battery = Evidence { on_battery: Some(true), ..Evidence::default() };
        for (now, is_serving, evidence, expected) in [
            (0, false, &mains, false),
            (2, true, &mains, true),
            (4, false, &mains, true),
            (31, false, &mains, true),
            (32, false, &mains, false),
            (40, true, &battery, false),
            (42, false, &battery, false),
            // The plug is back before it would have been let go anyway.
            (50, false, &mains, true),
            (69, false, &mains, true),
            (70, false, &mains, false),
        ] {
            assert_eq!(decision.is_wanted(is_serving, evidence, at(now)), expected, "{now} s");
        }
    }

    #[test]
    fn without_a_known_source_of_power_only_a_desktop_counts_as_on_mains() {
        let known = |on_battery, battery_percent, lid_closed| {
            on_mains(&Evidence { on_battery, battery_percent, lid_closed, ..Evidence::default() })
        };
        for (on_battery, percent, lid, expected) in [
            (None, None, None, true),
            (None, None, Some(false), true),
            (None, None, Some(true), false),
            (None, Some(50), None, false),
            (Some(false), Some(50), Some(true), true),
            (Some(true), Some(100), None, false),
            (Some(true), None, None, false),
        ] {
            assert_eq!(known(on_battery, percent, lid), expected, "{on_battery:?} {percent:?} {lid:?}");
        }
    }

    static NOW_MS: AtomicU64 = AtomicU64::new(0);
    static SERVING: AtomicBool = AtomicBool::new(false);
    static HELD: AtomicUsize = AtomicUsize::new(0);
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static REFUSES: AtomicBool = AtomicBool::new(true);

    /// Counts as held for as long as it is there.
    struct Counted;

    impl Drop for Counted {
        fn drop(&mut self) {
            HELD.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn hold() -> Result<Counted, NotHeld> {
        ASKED.fetch_add(1, Ordering::SeqCst);
        if REFUSES.load(Ordering::SeqCst) {
            return Err(NotHeld::Refused);
        }
        HELD.fetch_add(1, Ordering::SeqCst);
        Ok(Counted)
    }

    /// Lets time pass. While `hold` runs on its thread, it stands still.
    async fn pass(seconds: u64) {
        for _ in 0..seconds {
            NOW_MS.fetch_add(1000, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_system_is_asked_once_told_of_and_let_go() {
        let clock = Clock::new(|| Moment::at(Duration::from_millis(NOW_MS.load(Ordering::SeqCst))), || 0);
        let (sensed, evidence) = watch::channel(Evidence::default());
        let (awake, stop) = (Awake::default(), CancellationToken::new());
        let serves = || SERVING.load(Ordering::SeqCst);
        let state = |awake: &Awake| awake.check().map(|check| check.state);
        #[allow(clippy::disallowed_methods, reason = "the test waits for its end")]
        let task = tokio::spawn(awake.clone().keep(hold, serves, evidence, clock, stop.clone()));
        pass(10).await;
        assert_eq!((ASKED.load(Ordering::SeqCst), state(&awake)), (0, None), "nothing is served");
        SERVING.store(true, Ordering::SeqCst);
        pass(10).await;
        // Once, not at each look.
        assert_eq!((ASKED.load(Ordering::SeqCst), state(&awake).as_deref()), (1, Some("warning")));
        REFUSES.store(false, Ordering::SeqCst);
        pass(65).await;
        assert_eq!((HELD.load(Ordering::SeqCst), state(&awake).as_deref()), (1, Some("ok")));
        SERVING.store(false, Ordering::SeqCst);
        pass(20).await;
        assert_eq!(HELD.load(Ordering::SeqCst), 1, "the next request may come soon");
        pass(20).await;
        assert_eq!((HELD.load(Ordering::SeqCst), state(&awake)), (0, None));
        SERVING.store(true, Ordering::SeqCst);
        pass(5).await;
        assert_eq!(HELD.load(Ordering::SeqCst), 1);
        sensed.send_replace(Evidence { on_battery: Some(true), ..Evidence::default() });
        pass(1).await;
        assert_eq!((HELD.load(Ordering::SeqCst), state(&awake)), (0, None), "on battery");
        sensed.send_replace(Evidence { on_battery: Some(false), ..Evidence::default() });
        pass(1).await;
        assert_eq!(HELD.load(Ordering::SeqCst), 1);
        stop.cancel();
        task.await.unwrap();
        assert_eq!((HELD.load(Ordering::SeqCst), state(&awake)), (0, None), "nothing is held at the end");
    }
}
