//! A node inside another program: started on a thread of its own, stopped by a handle.

use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow};
use tokio::sync::{mpsc, oneshot};

use crate::run::run_until;
use crate::settings::Settings;

/// What tells a node to stop: once, and it lets running requests end; twice, and it stops at once.
pub(crate) enum Orders {
    /// The process's signals.
    Signals,
    /// Who holds [`Running`]; its end is an order too.
    Handle(mpsc::Receiver<()>),
    /// Nobody any more.
    Nobody,
}

/// A node that runs on threads of its own. Dropping it tells the node to stop, and does not wait for that.
#[derive(Debug)]
pub struct Running {
    listening: Vec<String>,
    orders: mpsc::Sender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

/// Starts this machine's node and waits until it listens.
///
/// May be dropped half-way: the node then stops. The caller keeps the process's signals.
///
/// # Errors
/// As [`crate::run`].
pub async fn start(settings: Settings, warnings: Vec<String>) -> anyhow::Result<Running> {
    // Two: one to stop, one to stop at once.
    let (orders, told) = mpsc::channel(2);
    let (listens, listening) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("node".to_owned())
        .spawn(move || {
            let listens = |addresses: &[String]| drop(listens.send(addresses.to_vec()));
            run_until(settings, warnings, Orders::Handle(told), listens)
        })
        .context("starting the node's thread")?;
    match listening.await {
        Ok(listening) => Ok(Running { listening, orders, thread }),
        // It ended before it listened, so this waits for nothing.
        Err(_) => match thread.join() {
            Ok(Ok(())) => Err(anyhow!("the node ended before it listened")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(anyhow!("the node panicked while it started")),
        },
    }
}

impl Running {
    /// Where the door listens, as `host:port`.
    pub fn listening(&self) -> &[String] {
        &self.listening
    }

    /// Tells the node to stop. The first time, no new requests are taken and what runs may finish; the second time, it
    /// stops at once.
    pub fn stop(&self) {
        // A third order would change nothing.
        let _ = self.orders.try_send(());
    }

    /// Whether the node has ended, by itself or because it was told to.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end of the node. Blocks; does not stop it.
    ///
    /// # Errors
    /// What ended the node, if it was not an order.
    pub fn wait(self) -> anyhow::Result<()> {
        let Running { orders, thread, .. } = self;
        let ended = thread.join();
        drop(orders);
        ended.unwrap_or_else(|_| Err(anyhow!("the node panicked")))
    }
}

impl Orders {
    /// Stops by the signals that systems stop programs with.
    pub(crate) fn signals() -> Orders {
        Orders::Signals
    }

    /// Returns when the node is told to stop.
    pub(crate) async fn told_to_stop(&mut self) -> anyhow::Result<()> {
        match self {
            Orders::Signals => signalled().await,
            Orders::Handle(told) => {
                // The holder's end is one order, and no second one will come.
                if told.recv().await.is_none() {
                    *self = Orders::Nobody;
                }
                Ok(())
            }
            Orders::Nobody => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
async fn signalled() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(not(unix))]
async fn signalled() -> anyhow::Result<()> {
    tokio::signal::ctrl_c().await.context("listening for Ctrl-C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_lets_go_of_a_node_stops_it_but_not_at_once() {
        let (orders, told) = mpsc::channel(2);
        let mut told = Orders::Handle(told);
        orders.try_send(()).unwrap();
        told.told_to_stop().await.unwrap();
        drop(orders);
        told.told_to_stop().await.unwrap();
        let third = tokio::time::timeout(std::time::Duration::from_millis(1), told.told_to_stop());
        assert!(third.await.is_err());
    }
}
