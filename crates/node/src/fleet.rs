//! Joins this machine to the others: who it is, who belongs to the fleet, pairing, and what is known of other nodes.
//!
//! One task, the [`driver::Driver`], owns all of it: it feeds the core that settles who lives and leads, carries out what
//! that says, keeps the list of members the same everywhere, and takes orders through a [`Handle`]. A machine alone is
//! a fleet of one: it listens to nobody, announces nothing and has no timers until it is paired.

mod admission;
mod catalog;
mod changes;
mod driver;
mod errands;
mod heed;
mod joining;
pub(crate) mod journal;
pub(crate) mod keys;
pub(crate) mod known;
mod memory;
mod names;
mod offer;
mod papers;
mod party;
mod rows;
pub(crate) mod sense;
mod sync;
mod telling;
mod troubles;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use gateway::{ChangeError, PairStream};
use mesh::pairing::{Candidate, Decision, Joined, OfferError};
use proto::view::{CheckView, DeviceView, NodeView};
use proto::wire::Server;
use proto::{BackendState, view::ShareView};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

#[cfg(test)]
pub(crate) use catalog::backend as catalog_backend;
pub(crate) use driver::{Driver, Place};
pub(crate) use keys::FleetKey;
pub(crate) use known::Known;
pub(crate) use papers::Papers;

use crate::sharing::Kept;

/// Orders that wait for the driver, at most; the next one is refused.
const MOST_ORDERS: usize = 64;
/// How long somebody waits for the driver, which never takes that long.
const PATIENCE: Duration = Duration::from_secs(5);

/// What somebody wants from the driver.
pub(crate) enum Order {
    /// Show a code, and let one machine join.
    Pair { yes: bool, items: mpsc::Sender<Item>, gone: CancellationToken },
    /// A code is shown: from the thread that shows it.
    Offered { code: String, plate: char, port: u16 },
    /// A machine knows the code: from the same thread.
    Asks { candidate: Candidate, decide: oneshot::Sender<Decision> },
    /// No code is shown any more; `None`: whoever asked for it has gone.
    OfferEnded(Option<Result<Joined, OfferError>>),
    /// Let the machine in that asks, or do not.
    Answer { joiner: String, allow: bool, done: Done },
    /// Join by a code.
    Join { code: String, address: Option<String>, done: Done },
    /// Leave the fleet.
    Leave { done: Done },
    /// Remove a member.
    Remove { device: String, done: Done },
    /// Call a member something else.
    Rename { device: String, name: String, done: Done },
    /// Make a key for clients on other machines.
    AddKey { name: String, rpm: Option<u32>, at_once: Option<u32>, done: Done },
    /// Take such a key back.
    RevokeKey { name: String, done: Done },
    /// Begin a new fleet.
    NewFleet { name: Option<String>, done: Done },
    /// Tell of all members.
    Nodes(oneshot::Sender<Vec<NodeView>>),
    /// Tell of the roster.
    Devices(oneshot::Sender<Vec<DeviceView>>),
    /// Tell what may be wrong.
    Check(oneshot::Sender<Vec<CheckView>>),
    /// The machine was asleep.
    Slept,
    /// Keep what the owner said about sharing.
    KeepShare { kept: Kept, done: oneshot::Sender<Result<(), String>> },
}

/// Where the result of a change goes.
pub(crate) type Done = oneshot::Sender<Result<Bytes, ChangeError>>;

/// What is said while a code is shown.
pub(crate) type Item = Result<Bytes, ChangeError>;

/// What this node can say of itself, asked whenever it is told to others.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) share: Option<ShareView>,
    /// In how many seconds that ends by itself.
    pub(crate) share_ends_in_s: Option<u64>,
    pub(crate) servers: Vec<Server>,
    pub(crate) backends: Vec<Arc<BackendState>>,
    pub(crate) in_flight: u32,
    pub(crate) queued: u32,
}

/// The way to the driver, and what it last knew. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    orders: mpsc::Sender<Order>,
    known: Arc<ArcSwap<Known>>,
    /// Told when the models of others, or the machines that have them, have changed.
    news: watch::Sender<()>,
    ruling: watch::Receiver<Ruling>,
}

/// What decides whether this machine answers clients on others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruling {
    /// Whether this node leads.
    pub(crate) leads: bool,
    /// What tells this fleet from others: its id, or this node's own while it was never paired.
    pub(crate) fleet: String,
    /// The keys that the fleet has given out.
    pub(crate) keys: Arc<Vec<FleetKey>>,
}

/// The driver's end of a [`Handle`].
pub(crate) struct Desk {
    orders: mpsc::Receiver<Order>,
    /// For what the driver starts itself.
    own: mpsc::Sender<Order>,
    known: Arc<ArcSwap<Known>>,
    news: watch::Sender<()>,
    ruling: watch::Sender<Ruling>,
}

/// Both ends.
pub(crate) fn desk() -> (Handle, Desk) {
    let (sender, orders) = mpsc::channel(MOST_ORDERS);
    let known = Arc::new(ArcSwap::default());
    let news = watch::Sender::new(());
    let (ruling, ruled) = watch::channel(Ruling::default());
    let handle = Handle { orders: sender.clone(), known: known.clone(), news: news.clone(), ruling: ruled };
    (handle, Desk { orders, own: sender, known, news, ruling })
}

impl Handle {
    /// What is known now.
    pub(crate) fn known(&self) -> arc_swap::Guard<Arc<Known>> {
        self.known.load()
    }

    /// Tells when the models of others have changed.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// What decides whether this machine answers clients on others.
    pub(crate) fn ruling(&self) -> watch::Receiver<Ruling> {
        self.ruling.clone()
    }

    /// The machine was asleep for a while.
    pub(crate) fn slept(&self) {
        let _ = self.orders.try_send(Order::Slept);
    }

    /// What has something kept in `node.json`, which the driver alone writes.
    pub(crate) fn keeper_of_share(&self) -> Box<dyn Fn(Kept) -> oneshot::Receiver<Result<(), String>> + Send + Sync> {
        let orders = self.orders.clone();
        Box::new(move |kept| {
            let (done, written) = oneshot::channel();
            if let Err(refused) = orders.try_send(Order::KeepShare { kept, done })
                && let Order::KeepShare { done, .. } = refused.into_inner()
            {
                let _ = done.send(Err(busy().to_string()));
            }
            written
        })
    }

    /// Has something changed, and waits for that as long as it takes. May be dropped: what was begun goes on.
    pub(crate) fn change(&self, order: impl FnOnce(Done) -> Order) -> gateway::ChangeFuture {
        let (done, result) = oneshot::channel();
        let sent = self.orders.try_send(order(done));
        Box::pin(async move {
            sent.map_err(|_| busy())?;
            result.await.unwrap_or_else(|_| Err(stopping()))
        })
    }

    /// Asks the driver for something that it knows at once; `None` if it does not answer.
    pub(crate) async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (to, answer) = oneshot::channel();
        self.orders.try_send(order(to)).ok()?;
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }

    /// Shows a code until one machine has joined or the stream is dropped.
    pub(crate) fn pair(&self, yes: bool) -> PairStream {
        let (items, said) = mpsc::channel(8);
        let gone = CancellationToken::new();
        let guard = gone.clone().drop_guard();
        let sent = self.orders.try_send(Order::Pair { yes, items: items.clone(), gone });
        if sent.is_err() {
            let _ = items.try_send(Err(busy()));
        }
        drop(items);
        let stream = futures_util::stream::unfold((said, guard), |(mut said, guard)| async move {
            let item = said.recv().await?;
            Some((item, (said, guard)))
        });
        let stream: Pin<Box<dyn futures_util::Stream<Item = Item> + Send>> = Box::pin(stream);
        stream
    }
}

fn busy() -> ChangeError {
    ChangeError::Failed("too much is asked for at once; try again".to_owned())
}

fn stopping() -> ChangeError {
    ChangeError::Failed("Herd is stopping on this machine".to_owned())
}
