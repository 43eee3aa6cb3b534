//! The task that decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use capacity::{Capacity, Evidence, Input, RuleId, Rules, Wish, until_tomorrow};
use gateway::{ChangeError, PauseFor, ShareOrder, ShareWish};
use jiff::tz::TimeZone;
use proto::Clock;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::kept::Kept;
use super::{Heeded, Inner, Order, Shown, show};

/// Timers do not run while the machine sleeps, so none is longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What the node gives the keeper.
pub(crate) struct Place {
    pub(crate) clock: Clock,
    /// The rules as they are set.
    pub(crate) rules: Rules,
    /// Programs that are no meeting, as they are set.
    pub(crate) ignored: Vec<String>,
    /// What is sensed.
    pub(crate) evidence: watch::Receiver<Evidence>,
    /// Has something kept in `node.json`; what comes back says whether it was.
    pub(crate) keep: Box<dyn Fn(Kept) -> oneshot::Receiver<Result<(), String>> + Send + Sync>,
}

/// The task's state.
pub(crate) struct Keeper {
    place: Place,
    inner: Arc<Inner>,
    orders: mpsc::Receiver<Order>,
    capacity: Capacity,
    /// Rules that the owner switched.
    switched: BTreeMap<RuleId, bool>,
    /// Programs that the owner named.
    named: Vec<String>,
}

impl Keeper {
    pub(super) fn new(place: Place, kept: Option<Kept>, inner: Arc<Inner>, orders: mpsc::Receiver<Order>) -> Keeper {
        let kept = kept.unwrap_or_default();
        let (clock, switched, named) = (place.clock, kept.switched(), kept.ignored());
        let capacity = Capacity::new(rules(&place.rules, &switched));
        let mut keeper = Keeper { place, inner, orders, capacity, switched, named };
        for app in keeper.place.ignored.clone().into_iter().chain(keeper.named.clone()) {
            keeper.handle(Input::Ignore(app));
        }
        for input in kept.inputs(clock) {
            keeper.handle(input);
        }
        keeper.publish();
        keeper
    }

    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut guests = self.inner.guests.subscribe();
        let (mut sensed, mut senses_live) = (self.place.evidence.clone(), true);
        sensed.mark_changed();
        loop {
            let now = self.place.clock.now();
            let rest = self.capacity.poll_timeout().map(|wake| wake.since(now).min(LONGEST_WAIT));
            tokio::select! {
                () = stop.cancelled() => return,
                Some(order) = self.orders.recv() => self.obey(order),
                changed = sensed.changed(), if senses_live => {
                    senses_live = changed.is_ok();
                    let evidence = sensed.borrow_and_update().clone();
                    self.handle(Input::Evidence(evidence));
                }
                Ok(()) = guests.changed() => {
                    let guests = *guests.borrow_and_update();
                    self.handle(Input::Guests(guests));
                }
                () = tokio::time::sleep(rest.unwrap_or_default()), if rest.is_some() => {}
            }
            self.capacity.handle_timeout(self.place.clock.now());
            self.publish();
        }
    }

    fn handle(&mut self, input: Input) {
        self.capacity.handle(input, self.place.clock.now());
    }

    /// Makes what was decided visible, if it has changed.
    fn publish(&mut self) {
        self.inner.asks_for_load.store(self.capacity.rules().is_on(RuleId::Busy), Ordering::Relaxed);
        let Some(share) = self.capacity.poll_output() else { return };
        let shown = Shown::of(share, self.place.clock);
        tracing::info!(state = shown.state.as_str(), reason = shown.reason.code(), "sharing has changed");
        self.inner.shown.store(Arc::new(shown));
        self.inner.changed.send_replace(());
    }

    fn obey(&mut self, order: Order) {
        // Whoever asks after a request has begun must not be told that none runs.
        let guests = *self.inner.guests.borrow();
        self.handle(Input::Guests(guests));
        match order {
            Order::Show(to) => drop(to.send(self.all())),
            Order::Said { order, done } => {
                if let Err(refused) = self.heed(order) {
                    return drop(done.send(Err(refused)));
                }
                self.publish();
                let kept = Kept::of(&self.capacity, &self.switched, &self.named, self.place.clock);
                // Whoever asks waits until it is kept; what is sensed meanwhile does not.
                let _ = done.send(Ok(Heeded { all: self.all(), kept: (self.place.keep)(kept) }));
            }
        }
    }

    fn all(&self) -> serde_json::Value {
        let guests = *self.inner.guests.borrow();
        show::all(&self.capacity, &self.place.rules, guests, self.place.clock)
    }

    /// Does what the owner says; nothing of it where a part is not understood.
    fn heed(&mut self, order: ShareOrder) -> Result<(), ChangeError> {
        let rule = order.rule.map(|(name, on)| match RuleId::named(&name) {
            Some(rule) => Ok((rule, on)),
            None => {
                let all: Vec<&str> = RuleId::ALL.iter().map(|rule| rule.as_str()).collect();
                let text = format!("no rule is called `{}`; there are {}", name.escape_debug(), all.join(", "));
                Err(ChangeError::NotFound(text))
            }
        });
        let now = self.place.clock.now();
        if let Some((rule, on)) = rule.transpose()? {
            self.switched.insert(rule, on);
            self.handle(Input::Rules(rules(&self.place.rules, &self.switched)));
        }
        if let Some(app) = order.ignore {
            if self.named.len() >= super::kept::MOST_IGNORED {
                return Err(ChangeError::Refused("too many programs are named as no meeting".to_owned()));
            }
            self.named.retain(|named| !named.eq_ignore_ascii_case(&app));
            self.named.push(app.clone());
            self.handle(Input::Ignore(app));
        }
        if let Some(app) = order.heed {
            self.named.retain(|named| !named.eq_ignore_ascii_case(&app));
            self.handle(Input::Heed(app));
        }
        if let Some(wish) = order.wish {
            self.handle(Input::Wish(match wish {
                ShareWish::On => Wish::On,
                ShareWish::Off => Wish::Off,
                ShareWish::FleetOnly => Wish::FleetOnly,
                ShareWish::Finish => Wish::Finish,
                ShareWish::Pause(PauseFor::Resumed) => Wish::Paused(None),
                ShareWish::Pause(PauseFor::Span(span)) => Wish::Paused(Some(now + span)),
                ShareWish::Pause(PauseFor::Tomorrow) => {
                    Wish::Paused(Some(now + until_tomorrow(minute_of_day(self.place.clock.unix_ms()))))
                }
            }));
        }
        if let Some(span) = order.anyway {
            self.handle(Input::Anyway((!span.is_zero()).then(|| now + span)));
        }
        Ok(())
    }
}

/// The rules as they are set, but for what the owner switched.
fn rules(set: &Rules, switched: &BTreeMap<RuleId, bool>) -> Rules {
    let mut rules = set.clone();
    for (rule, on) in switched {
        rules.switch(*rule, *on);
    }
    rules
}

/// Minutes since midnight, here.
fn minute_of_day(unix_ms: u64) -> u16 {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let time = time.unwrap_or_default().to_zoned(TimeZone::system());
    u16::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).unwrap_or(0)
}
