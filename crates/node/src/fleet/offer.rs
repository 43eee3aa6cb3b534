//! Shows a code and waits for a machine that knows it.
//!
//! The conversation with the joiner lives on a thread of its own for as long as the code is shown, three minutes at most:
//! it is a single task that never changes threads. It speaks with the driver by orders only.

use std::thread::JoinHandle;

use mesh::discovery::Announcement;
use mesh::pairing::{Candidate, Decision, Offer, OfferSettings};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Item, Order};

/// A code that is shown.
pub(crate) struct Pairing {
    /// Whether nobody need be asked.
    pub(super) yes: bool,
    /// Where what happens is told.
    pub(super) items: mpsc::Sender<Item>,
    /// Ends it.
    pub(super) gone: CancellationToken,
    /// The machine that knows the code and waits for consent.
    pub(super) asked: Option<(Candidate, oneshot::Sender<Decision>)>,
    /// Taken back when this is dropped.
    pub(super) announcement: Option<Announcement>,
    pub(super) thread: Option<JoinHandle<()>>,
}

impl Pairing {
    /// Shows the code no longer; the thread ends soon.
    pub(super) fn withdraw(self) -> Option<JoinHandle<()>> {
        self.gone.cancel();
        self.thread
    }
}

/// Starts the thread.
pub(super) fn open(
    settings: OfferSettings,
    orders: mpsc::Sender<Order>,
    gone: CancellationToken,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("pairing".to_owned()).spawn(move || runtime.block_on(show(settings, orders, gone)))
}

async fn show(settings: OfferSettings, orders: mpsc::Sender<Order>, gone: CancellationToken) {
    let ended = match Offer::open(settings).await {
        Err(error) => Some(Err(error)),
        Ok(offer) => {
            let offered =
                Order::Offered { code: offer.code().to_string(), plate: offer.code().plate(), port: offer.port() };
            // Orders get nowhere only when the node is being taken apart.
            let _ = orders.send(offered).await;
            let allow = |candidate| {
                let orders = orders.clone();
                async move {
                    let (decide, decided) = oneshot::channel();
                    let _ = orders.send(Order::Asks { candidate, decide }).await;
                    decided.await.unwrap_or(Decision::Refuse)
                }
            };
            tokio::select! {
                () = gone.cancelled() => None,
                ended = offer.run(allow) => Some(ended),
            }
        }
    };
    let _ = orders.send(Order::OfferEnded(ended)).await;
}
