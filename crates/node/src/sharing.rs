//! Whether this machine takes requests of others: asks `capacity`, remembers what its owner said, tells who must know.
//!
//! One task, the [`Keeper`], owns the decision: started by the node, ended by its token. What wakes it: orders of the
//! owner, the senses, requests of other machines that begin and end, and the timer of the decision. Everybody else
//! holds a [`Sharing`], which is cheap to clone and answers without a lock.

mod keeper;
mod kept;
mod senses;
mod show;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use capacity::{Reason, RuleId, Share, State};
use gateway::{ChangeError, ShareOrder, ViewError};
use proto::Clock;
use proto::view::ShareView;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use keeper::{Keeper, Place};
pub(crate) use kept::Kept;
pub(crate) use senses::{Sensed, feel_load, watch_presence};

/// Why requests of other machines are not taken: [`Reason::code`] for programs, [`Reason::sentence`] for people.
pub(crate) type Code = Reason;

/// Orders that wait for the keeper, at most; the next one is refused.
const MOST_ORDERS: usize = 64;
/// How long somebody waits for the keeper, which never takes that long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the keeper, and what it decided.
#[derive(Clone)]
pub(crate) struct Sharing(Arc<Inner>);

struct Inner {
    shown: ArcSwap<Shown>,
    orders: mpsc::Sender<Order>,
    /// Told when what is shown has changed.
    changed: watch::Sender<()>,
    /// Requests of other machines that run here.
    guests: watch::Sender<u32>,
    /// Whether the load of the processors is asked for.
    asks_for_load: AtomicBool,
    stopping: CancellationToken,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) state: State,
    pub(crate) reason: Reason,
    /// When that ends by itself, in milliseconds since 1970.
    pub(crate) until_ms: Option<u64>,
    pub(crate) rule: Option<RuleId>,
}

/// What somebody wants from the keeper.
enum Order {
    /// The owner said something.
    Said { order: ShareOrder, done: oneshot::Sender<Result<Heeded, ChangeError>> },
    /// Tell all of it.
    Show(oneshot::Sender<Value>),
}

/// What the owner said counts.
struct Heeded {
    all: Value,
    /// Whether it is kept for the next start.
    kept: oneshot::Receiver<Result<(), String>>,
}

impl Sharing {
    /// Both ends. Nothing happens before [`Keeper::run`], but what the owner said before the last stop counts at once.
    pub(crate) fn new(place: Place, kept: Option<Kept>, stopping: CancellationToken) -> (Sharing, Keeper) {
        let (orders, ordered) = mpsc::channel(MOST_ORDERS);
        let inner = Arc::new(Inner {
            shown: ArcSwap::from_pointee(Shown::of(capacity::Capacity::new(place.rules.clone()).share(), place.clock)),
            orders,
            changed: watch::Sender::new(()),
            guests: watch::Sender::new(0),
            asks_for_load: AtomicBool::new(false),
            stopping,
        });
        let keeper = Keeper::new(place, kept, inner.clone(), ordered);
        (Sharing(inner), keeper)
    }

    /// Whether new requests of other machines are taken. The apps of this machine are served always. Takes no lock.
    pub(crate) fn takes_guests(&self) -> Result<(), Code> {
        if self.0.stopping.is_cancelled() {
            return Err(Reason::Stopping);
        }
        let shown = self.0.shown.load();
        if shown.state == State::On { Ok(()) } else { Err(shown.reason) }
    }

    /// Waits until no request of another machine runs here.
    pub(crate) async fn guests_gone(&self) {
        // Its sender lives as long as this.
        let _ = self.0.guests.subscribe().wait_for(|guests| *guests == 0).await;
    }

    /// Counts a request of another machine for as long as the guest is kept; refuses it as [`Sharing::takes_guests`].
    pub(crate) fn guest(&self) -> Result<Guest, Code> {
        self.takes_guests()?;
        self.0.guests.send_modify(|guests| *guests = guests.saturating_add(1));
        Ok(Guest(self.clone()))
    }

    /// Whether a rule wants to know how busy the processors are.
    pub(crate) fn asks_for_load(&self) -> bool {
        self.0.asks_for_load.load(Ordering::Relaxed)
    }

    /// What is decided now.
    pub(crate) fn shown(&self) -> Shown {
        let shown = **self.0.shown.load();
        match self.0.stopping.is_cancelled() {
            true => Shown { state: State::Draining, reason: Reason::Stopping, until_ms: None, rule: None },
            false => shown,
        }
    }

    /// Tells when something else is decided.
    pub(crate) fn changed(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Has the keeper heed the owner; the answer is all that is known of sharing afterwards. May be dropped half-way:
    /// what was said counts.
    pub(crate) fn order(&self, order: ShareOrder) -> impl Future<Output = Result<Value, ChangeError>> + Send + 'static {
        let (done, result) = oneshot::channel();
        let sent = self.0.orders.try_send(Order::Said { order, done });
        async move {
            let stopping = |_| ChangeError::Failed("Herd is stopping on this machine".to_owned());
            sent.map_err(|_| ChangeError::Failed("too much is said at once; try again".to_owned()))?;
            let Heeded { all, kept } = result.await.map_err(stopping)??;
            match kept.await.map_err(stopping)? {
                Ok(()) => Ok(all),
                Err(fault) => {
                    Err(ChangeError::Failed(format!("it counts until Herd stops, but could not be kept: {fault}")))
                }
            }
        }
    }

    /// All that is known of sharing.
    pub(crate) async fn all(&self) -> Result<Value, ViewError> {
        let silent = || ViewError::Failed("the task that decides about sharing does not answer".to_owned());
        let (to, answer) = oneshot::channel();
        self.0.orders.try_send(Order::Show(to)).map_err(|_| silent())?;
        tokio::time::timeout(PATIENCE, answer).await.map_err(|_| silent())?.map_err(|_| silent())
    }
}

/// A request of another machine that runs here.
#[must_use = "the request counts as over as soon as this is dropped"]
pub(crate) struct Guest(Sharing);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.0.guests.send_modify(|guests| *guests = guests.saturating_sub(1));
    }
}

impl Shown {
    fn of(share: Share, clock: Clock) -> Shown {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let until_ms = share.until.map(|until| clock.unix_ms().saturating_add(ms(until.since(clock.now()))));
        Shown { state: share.state, reason: share.reason, until_ms, rule: share.rule }
    }

    /// In how many seconds that ends by itself at `unix_ms`, roughly: others are not told each second that another one
    /// has gone by.
    pub(crate) fn ends_in_s(&self, unix_ms: u64) -> Option<u64> {
        let left = self.until_ms?.saturating_sub(unix_ms).div_ceil(1000);
        Some(left.next_multiple_of(if left > 60 { 60 } else { 10 }))
    }

    /// As it is told, for this `reason` where that is not the decision's own.
    pub(crate) fn view(&self, reason: Option<String>) -> ShareView {
        ShareView {
            state: self.state.as_str().to_owned(),
            reason: reason.unwrap_or_else(|| self.reason.sentence().to_owned()),
            until: self.until_ms.and_then(show::time),
            code: self.reason.code().to_owned(),
            rule: self.rule.map(|rule| rule.as_str().to_owned()),
        }
    }
}
