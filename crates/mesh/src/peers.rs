//! The allowed nodes, each with its queue of messages to send, its connections in use, and its counters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::http2::SendRequest;
use libp2p::swarm::ConnectionId;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::inbox::Inbox;
use crate::{Body, Counts, Event, Hello, LONGEST_MESSAGE, NodeKey, SendError};

/// Messages queued for one node, at most; the next one is refused and counted.
const MOST_QUEUED: usize = 1024;
/// Their bytes, at most.
const MOST_QUEUED_BYTES: usize = 1024 * 1024;

/// One allowed node, as long as it is allowed.
pub(crate) struct Peer {
    pub(crate) node: NodeKey,
    /// Ends all its connections' work at once: it is not allowed any more.
    pub(crate) removed: CancellationToken,
    /// The control connections, the one to write to last.
    sessions: Mutex<Vec<Session>>,
    /// Which control connection writes what is queued.
    pub(crate) writer: watch::Sender<Option<ConnectionId>>,
    queue: Mutex<Queue>,
    /// Something was queued.
    queued: Notify,
    data: Mutex<Vec<(ConnectionId, SendRequest<Body>)>>,
    pub(crate) newest_data: watch::Sender<Option<SendRequest<Body>>>,
    pub(crate) counters: Counters,
    heard: Arc<AtomicBool>,
    rtt: Mutex<Option<Duration>>,
}

struct Session {
    connection: ConnectionId,
    address: SocketAddr,
    hello: Hello,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

/// See [`Counts`].
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) connections: AtomicU64,
}

impl Counters {
    fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            sent: read(&self.sent),
            received: read(&self.received),
            refused: read(&self.refused),
            bytes_sent: read(&self.bytes_sent),
            bytes_received: read(&self.bytes_received),
            connections: read(&self.connections),
        }
    }
}

impl Peer {
    fn new(node: NodeKey) -> Peer {
        Peer {
            node,
            removed: CancellationToken::new(),
            sessions: Mutex::default(),
            writer: watch::Sender::new(None),
            queue: Mutex::default(),
            queued: Notify::new(),
            data: Mutex::default(),
            newest_data: watch::Sender::new(None),
            counters: Counters::default(),
            heard: Arc::default(),
            rtt: Mutex::default(),
        }
    }

    /// Queues a message for the control connection.
    pub(crate) fn send(&self, message: Bytes) -> Result<(), SendError> {
        if message.len() > LONGEST_MESSAGE {
            return Err(SendError::TooLong(message.len()));
        }
        // Held while queueing, so that nothing is queued for a connection that ends at this moment.
        let sessions = lock(&self.sessions);
        if sessions.is_empty() {
            return Err(SendError::NotConnected);
        }
        let mut queue = lock(&self.queue);
        if queue.messages.len() >= MOST_QUEUED || queue.bytes + message.len() > MOST_QUEUED_BYTES {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(SendError::Full);
        }
        queue.bytes += message.len();
        queue.messages.push_back(message);
        drop((queue, sessions));
        self.queued.notify_one();
        Ok(())
    }

    /// The next message to write. Waits for one; may be dropped half-way.
    pub(crate) async fn next_to_write(&self) -> Bytes {
        loop {
            let queued = self.queued.notified();
            if let Some(message) = self.try_next_to_write() {
                return message;
            }
            queued.await;
        }
    }

    /// The next message to write, if there is one.
    pub(crate) fn try_next_to_write(&self) -> Option<Bytes> {
        let mut queue = lock(&self.queue);
        let message = queue.messages.pop_front()?;
        queue.bytes -= message.len();
        Some(message)
    }

    /// A control connection is up: it is the one to write to from now on.
    pub(crate) fn began(&self, inbox: &Inbox, connection: ConnectionId, address: SocketAddr, hello: Hello) {
        let mut sessions = lock(&self.sessions);
        if self.removed.is_cancelled() {
            return;
        }
        let connected = Event::Connected { node: self.node, address };
        match sessions.last() {
            None => inbox.turn(self.node, connected),
            // Started again before its old connection was missed: what was under way there is lost.
            Some(last) if last.hello.session != hello.session => {
                *lock(&self.queue) = Queue::default();
                inbox.turn(self.node, Event::Closed { node: self.node });
                inbox.turn(self.node, connected);
            }
            Some(_) => {}
        }
        sessions.push(Session { connection, address, hello });
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        self.writer.send_replace(Some(connection));
    }

    /// A control connection is gone.
    pub(crate) fn ended(&self, inbox: &Inbox, connection: ConnectionId) {
        let mut sessions = lock(&self.sessions);
        let before = sessions.len();
        sessions.retain(|session| session.connection != connection);
        if sessions.len() == before {
            return;
        }
        self.writer.send_replace(sessions.last().map(|session| session.connection));
        if sessions.is_empty() {
            *lock(&self.queue) = Queue::default();
            *lock(&self.rtt) = None;
            if !self.removed.is_cancelled() {
                inbox.turn(self.node, Event::Closed { node: self.node });
            }
        }
    }

    /// A data connection is up: requests go there from now on.
    pub(crate) fn data_began(&self, connection: ConnectionId, sender: SendRequest<Body>) {
        let mut data = lock(&self.data);
        data.push((connection, sender.clone()));
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        self.newest_data.send_replace(Some(sender));
    }

    /// A data connection is gone.
    pub(crate) fn data_ended(&self, connection: ConnectionId) {
        let mut data = lock(&self.data);
        data.retain(|(open, _)| *open != connection);
        self.newest_data.send_replace(data.last().map(|(_, sender)| sender.clone()));
    }

    /// Notes that a byte arrived.
    pub(crate) fn heard(&self, inbox: &Inbox) {
        if !self.heard.swap(true, Ordering::Relaxed) {
            inbox.heard(self.node, &self.heard);
        }
    }

    /// Takes a measured round trip into the smoothed one, at an eighth, as TCP does (RFC 6298).
    pub(crate) fn measured(&self, rtt: Duration) {
        let mut smoothed = lock(&self.rtt);
        *smoothed = Some(smoothed.map_or(rtt, |before| before - before / 8 + rtt / 8));
    }

    pub(crate) fn is_connected(&self) -> bool {
        !lock(&self.sessions).is_empty()
    }

    /// What is known of this node, but for its addresses and troubles.
    pub(crate) fn view(&self) -> crate::Peer {
        let sessions = lock(&self.sessions);
        let last = sessions.last();
        crate::Peer {
            node: self.node,
            connected: last.is_some(),
            data: self.newest_data.borrow().is_some(),
            address: last.map(|session| session.address),
            addresses: Vec::new(),
            rtt: *lock(&self.rtt),
            hello: last.map(|session| session.hello),
            counts: self.counters.read(),
            trouble: None,
        }
    }
}

/// All allowed nodes.
#[derive(Default)]
pub(crate) struct Peers(RwLock<BTreeMap<NodeKey, Arc<Peer>>>);

impl Peers {
    pub(crate) fn get(&self, node: NodeKey) -> Option<Arc<Peer>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Replaces the list. Nodes that were on it before keep what they have; others lose all.
    pub(crate) fn allow(&self, inbox: &Inbox, nodes: &BTreeSet<NodeKey>) {
        let mut peers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let removed: Vec<_> = peers.keys().filter(|node| !nodes.contains(node)).copied().collect();
        for node in removed {
            let Some(peer) = peers.remove(&node) else { continue };
            // With its sessions held: none can begin or end in between.
            let sessions = lock(&peer.sessions);
            peer.removed.cancel();
            inbox.forget(node, !sessions.is_empty());
        }
        for node in nodes {
            peers.entry(*node).or_insert_with(|| Arc::new(Peer::new(*node)));
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is whole after each statement, so a panic elsewhere does no harm to it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
