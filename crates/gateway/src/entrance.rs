//! The ways in besides those that a door is made with: addresses of this machine on networks, which come and go while the
//! door is open.
//!
//! The node says which there are ([`crate::Door::enter_by`]); each worker takes them up and gives them back by itself.
//! What is being answered when a way is closed is answered to its end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Open connections by ways that others than this machine's programs may take; the next one is closed at once, so that
/// strangers leave room for the apps of this machine.
const MOST_FROM_OUTSIDE: u64 = 1024;

/// The way by which a client came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// An address that only programs of this machine can reach.
    Local,
    /// An address on a network: whoever calls needs a key, and changes nothing.
    Lan,
    /// An address of a container engine's bridge on this machine: containers call as programs of this machine do, except
    /// that they have no say in what takes the control token.
    Container,
}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Those that have the first `bits` bits of `address`.
    pub fn new(address: IpAddr, bits: u8) -> Network {
        Network { address: address.to_canonical(), bits }
    }

    /// Whether `address` is one of them.
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let shift = 32_u32.saturating_sub(self.bits.into());
                (ours.to_bits() ^ theirs.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let shift = 128_u32.saturating_sub(self.bits.into());
                (ours.to_bits() ^ theirs.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// A way in that is open.
#[derive(Debug)]
pub struct Entry {
    entrance: Entrance,
    listener: std::net::TcpListener,
    /// Whom it is for; empty: for whoever gets there.
    networks: ArcSwap<Vec<Network>>,
}

impl Entry {
    /// Clients that call at `listener`, which does not block, come in by `entrance`; those whose address is in none of
    /// `networks` are hung up on (none: all may).
    pub fn new(entrance: Entrance, listener: std::net::TcpListener, networks: Vec<Network>) -> Arc<Entry> {
        Arc::new(Entry { entrance, listener, networks: ArcSwap::from_pointee(networks) })
    }

    /// From now on it is for clients of these networks (none: for all). Who is in stays.
    pub fn is_now_for(&self, networks: Vec<Network>) {
        self.networks.store(Arc::new(networks));
    }

    fn is_for(&self, peer: IpAddr) -> bool {
        let networks = self.networks.load();
        networks.is_empty() || networks.iter().any(|network| network.has(peer))
    }
}

/// All ways in that the node has opened, and how many clients came by them.
#[derive(Debug)]
pub(crate) struct Entries {
    open: watch::Sender<Vec<Arc<Entry>>>,
    connected: Arc<AtomicU64>,
}

impl Default for Entries {
    fn default() -> Entries {
        Entries { open: watch::Sender::new(Vec::new()), connected: Arc::default() }
    }
}

impl Entries {
    pub(crate) fn set(&self, entries: Vec<Arc<Entry>>) {
        self.open.send_replace(entries);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Vec<Arc<Entry>>> {
        self.open.subscribe()
    }

    fn take_in(&self) -> Option<FromOutside> {
        let before = self.connected.fetch_add(1, Ordering::Relaxed);
        let connected = FromOutside(self.connected.clone());
        (before < MOST_FROM_OUTSIDE).then_some(connected)
    }
}

/// A connection that is counted until this is dropped.
pub(crate) struct FromOutside(Arc<AtomicU64>);

impl Drop for FromOutside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one worker listens at.
pub(crate) struct Gates {
    gates: Vec<Gate>,
    stop: CancellationToken,
}

struct Gate {
    listener: TcpListener,
    /// `None`: one that the door was made with.
    entry: Option<Arc<Entry>>,
    /// Ends what came by it: cancelled when the worker is to stop, or this way is closed.
    stop: CancellationToken,
}

/// A client that has come in.
pub(crate) struct Arrival {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) entrance: Entrance,
    /// Tells when its connection is to end.
    pub(crate) stop: CancellationToken,
    pub(crate) counted: Option<FromOutside>,
}

impl Gates {
    pub(crate) fn new(listeners: Vec<TcpListener>, stop: &CancellationToken) -> Gates {
        let gate = |listener| Gate { listener, entry: None, stop: stop.clone() };
        Gates { gates: listeners.into_iter().map(gate).collect(), stop: stop.clone() }
    }

    /// Listens at those of `entries` that are new, and no more at those that are missing.
    pub(crate) fn follow(&mut self, entries: &[Arc<Entry>]) {
        let is_open = |entry: &Arc<Entry>| entries.iter().any(|open| Arc::ptr_eq(open, entry));
        self.gates.retain(|gate| {
            let stays = gate.entry.as_ref().is_none_or(is_open);
            if !stays {
                gate.stop.cancel();
            }
            stays
        });
        for entry in entries {
            if self.gates.iter().any(|gate| gate.entry.as_ref().is_some_and(|known| Arc::ptr_eq(known, entry))) {
                continue;
            }
            match entry.listener.try_clone().and_then(TcpListener::from_std) {
                Ok(listener) => {
                    self.gates.push(Gate { listener, entry: Some(entry.clone()), stop: self.stop.child_token() });
                }
                Err(error) => tracing::warn!(%error, "a worker cannot listen there"),
            }
        }
    }

    /// The next client that may come in. May be dropped half-way.
    pub(crate) async fn accept(&self, entries: &Entries) -> std::io::Result<Arrival> {
        std::future::poll_fn(|cx| {
            for gate in &self.gates {
                while let std::task::Poll::Ready(accepted) = gate.listener.poll_accept(cx) {
                    match accepted {
                        Err(error) => return std::task::Poll::Ready(Err(error)),
                        Ok((stream, peer)) => {
                            if let Some(arrival) = gate.arrival(stream, peer, entries) {
                                return std::task::Poll::Ready(Ok(arrival));
                            }
                        }
                    }
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

impl Gate {
    fn arrival(&self, stream: TcpStream, peer: SocketAddr, entries: &Entries) -> Option<Arrival> {
        let stop = self.stop.clone();
        let Some(entry) = &self.entry else {
            return Some(Arrival { stream, peer, entrance: Entrance::Local, stop, counted: None });
        };
        if !entry.is_for(peer.ip()) {
            return None;
        }
        let counted = entries.take_in()?;
        Some(Arrival { stream, peer, entrance: entry.entrance, stop, counted: Some(counted) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_what_begins_like_it() {
        for (network, bits, address, has) in [
            ("172.17.0.1", 16, "172.17.3.4", true),
            ("172.17.0.1", 16, "172.18.0.2", false),
            ("172.17.0.1", 16, "::ffff:172.17.3.4", true),
            ("10.0.0.1", 32, "10.0.0.1", true),
            ("10.0.0.1", 32, "10.0.0.2", false),
            ("10.0.0.1", 0, "8.8.8.8", true),
            ("10.0.0.1", 0, "::1", false),
            ("fd00::1", 64, "fd00::7:8", true),
            ("fd00::1", 64, "fd01::7:8", false),
            ("fd00::1", 128, "fd00::1", true),
            ("fd00::1", 255, "fd00::2", false),
        ] {
            let (network, address) = (Network::new(network.parse().unwrap(), bits), address.parse().unwrap());
            assert_eq!(network.has(address), has, "{network:?} {address}");
        }
    }

    #[test]
    fn those_from_outside_are_counted_until_they_leave() {
        let entries = Entries::default();
        let mut all: Vec<_> = (0..MOST_FROM_OUTSIDE).map(|_| entries.take_in().unwrap()).collect();
        assert!(entries.take_in().is_none());
        all.pop();
        assert!(entries.take_in().is_some());
        drop(all);
        assert_eq!(entries.connected.load(Ordering::Relaxed), 0);
    }
}
