//! The mesh without a network: nodes of one process, connected by pipes that can be slow, silent or cut.
//!
//! Everything but the carrying of bytes is the same as in [`Mesh`](crate::Mesh): who dials whom, messages, HTTP/2, limits.
//! Delays, losses and the order of things come from a seed; with tokio's paused clock, equal seeds tell nearly equal stories.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use libp2p::swarm::ConnectionId;
use proto::{Clock, Moment};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::links::{Order, Unwanted};
use crate::peers::lock;
use crate::shared::{Driving, Opened, STOPPED_WITHIN, Shared};
use crate::{
    Body, Events, Hello, Hint, Identity, NodeKey, Peer, Requesting, SendError, Serve, Stray, Transport, Trouble,
    VERSIONS,
};

/// Bytes in flight in one direction of one pipe.
const PIPE: usize = 64 * 1024;
/// How long a dial of a machine that does not answer takes.
const SILENCE: Duration = Duration::from_secs(5);

/// A network of nodes in memory.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    nodes: BTreeMap<SocketAddr, (NodeKey, Weak<Shared>)>,
    pipes: Vec<Pipe>,
    next: usize,
    seed: u64,
    delay: Range<Duration>,
    loss: f64,
    /// Which side of the split each node is on; all are on side 0 unless said otherwise.
    sides: watch::Sender<BTreeMap<NodeKey, u8>>,
}

/// One connection, of two streams.
struct Pipe {
    ends: [NodeKey; 2],
    connections: [ConnectionId; 2],
    cut: CancellationToken,
}

impl State {
    /// A number that was not given yet.
    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// A share of one, from the seed.
    fn random(&mut self) -> f64 {
        // Knuth's MMIX generator; its high bits are good enough to lose messages by.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as f64 / f64::from(1_u32 << 31)
    }

    fn are_together(&self, one: NodeKey, two: NodeKey) -> bool {
        let sides = self.sides.borrow();
        sides.get(&one) == sides.get(&two)
    }
}

impl Network {
    /// A network without nodes, delays and losses.
    pub fn new(seed: u64) -> Network {
        Network(Arc::new(Mutex::new(State {
            nodes: BTreeMap::new(),
            pipes: Vec::new(),
            next: 1,
            seed,
            delay: Duration::ZERO..Duration::ZERO,
            loss: 0.0,
            sides: watch::Sender::new(BTreeMap::new()),
        })))
    }

    /// Makes each piece of data take as long as some moment of `delay`. Order is kept.
    pub fn set_delay(&self, delay: Range<Duration>) {
        lock(&self.0).delay = delay;
    }

    /// Loses this share of all messages (not of requests), between 0 and 1. They count as sent.
    pub fn set_loss(&self, share: f64) {
        lock(&self.0).loss = share.clamp(0.0, 1.0);
    }

    /// Splits the network: nodes in `island` hear only each other from now on. Nobody is told; what is under way arrives after [`Network::heal`].
    pub fn split(&self, island: &[NodeKey]) {
        let sides = island.iter().map(|node| (*node, 1)).collect();
        lock(&self.0).sides.send_replace(sides);
    }

    /// Ends all splits.
    pub fn heal(&self) {
        lock(&self.0).sides.send_replace(BTreeMap::new());
    }

    /// Breaks all connections between two nodes, as a fallen cable between them would be noticed in the end. They may dial again.
    pub fn cut(&self, one: NodeKey, two: NodeKey) {
        for pipe in &lock(&self.0).pipes {
            if pipe.ends == [one, two] || pipe.ends == [two, one] {
                pipe.cut.cancel();
            }
        }
    }

    /// Ends a node without any farewell, as a crash does: the others see its connections break.
    pub fn kill(&self, node: NodeKey) {
        let mut state = lock(&self.0);
        let dead: Vec<_> = state.nodes.iter().filter(|(_, (key, _))| *key == node).map(|(at, _)| *at).collect();
        for (_, shared) in dead.iter().filter_map(|address| state.nodes.remove(address)) {
            if let Some(shared) = shared.upgrade() {
                shared.stop.cancel();
                shared.tasks.close();
                shared.inbox.end();
            }
        }
        state.pipes.iter().filter(|pipe| pipe.ends.contains(&node)).for_each(|pipe| pipe.cut.cancel());
    }

    /// A node of this network, at an address of its own. Needs a tokio runtime with time.
    pub fn start(&self, identity: &Identity, clock: Clock, serve: Arc<dyn Serve>) -> (Memory, Events) {
        let me = identity.key();
        let number = lock(&self.0).number();
        let [.., a, b, c] = number.to_be_bytes();
        let address = SocketAddr::from(([10, a, b, c], 11441));
        let session = number as u64;
        let hello = Hello { min: VERSIONS.0, max: VERSIONS.1, features: 0, session, port: address.port() };
        let shared = Arc::new(Shared::new(me, clock, hello, serve));
        lock(&self.0).nodes.insert(address, (me, Arc::downgrade(&shared)));
        shared.tasks.spawn(drive(self.clone(), shared.clone(), address));
        let events = Events::new(shared.inbox.clone(), clock);
        (Memory { shared, network: self.clone(), address }, events)
    }

    /// Dials one address for `from`, and tells both ends if somebody answers.
    fn dial(
        &self,
        from: &Arc<Shared>,
        here: SocketAddr,
        connection: ConnectionId,
        wanted: Option<NodeKey>,
        to: SocketAddr,
    ) -> Result<(), Missed> {
        let mut state = lock(&self.0);
        let listener = state.nodes.get(&to).and_then(|(node, shared)| Some((*node, shared.upgrade()?)));
        let (node, there) = listener.ok_or(Missed(Trouble::Silent, None))?;
        if !state.are_together(from.me, node) {
            return Err(Missed(Trouble::Silent, None));
        }
        if node == from.me {
            return Err(Missed(Trouble::Oneself, None));
        }
        if wanted.is_some_and(|wanted| wanted != node) {
            return Err(Missed(Trouble::OtherNode, Some((node, to))));
        }
        let Ok(role) = from.links(|links, now| links.reached(connection, node, to, now)) else { return Ok(()) };
        let other = ConnectionId::new_unchecked(state.number());
        let accepted: Result<(), Unwanted> = there.links(|links, now| links.accepted(other, from.me, now));
        if accepted.is_err() {
            drop(state);
            from.closed(connection);
            return Ok(());
        }
        there.links(|links, _| links.told_role(other, role));

        let cut = CancellationToken::new();
        state.pipes.retain(|pipe| !pipe.cut.is_cancelled());
        state.pipes.push(Pipe { ends: [from.me, node], connections: [connection, other], cut: cut.clone() });
        let sides = state.sides.subscribe();
        drop(state);
        for (end, connection) in [(from, connection), (&there, other)] {
            let (shared, cut) = (end.clone(), cut.clone());
            end.tasks.spawn(async move {
                cut.cancelled().await;
                shared.closed(connection);
            });
        }
        let stream = || self.stream([from, &there], &sides, &cut);
        let (outbound, there_in) = stream();
        let (inbound, there_out) = stream();
        from.opened(Opened { node, role, connection, address: to, dialled: true, inbound, outbound });
        let (inbound, outbound) = (there_in, there_out);
        there.opened(Opened {
            node: from.me,
            role,
            connection: other,
            address: here,
            dialled: false,
            inbound,
            outbound,
        });
        Ok(())
    }

    /// The two ends of a stream, and two tasks that carry bytes from one to the other, late or not at all.
    fn stream(
        &self,
        [one, two]: [&Arc<Shared>; 2],
        sides: &watch::Receiver<BTreeMap<NodeKey, u8>>,
        cut: &CancellationToken,
    ) -> (DuplexStream, DuplexStream) {
        let (here, near) = tokio::io::duplex(PIPE);
        let (there, far) = tokio::io::duplex(PIPE);
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        let ways = [(one, near_read, far_write), (two, far_read, near_write)];
        for (owner, read, write) in ways {
            let carry = carry(self.clone(), sides.clone(), [one.me, two.me], read, write);
            let cut = cut.clone();
            owner.tasks.spawn(async move { cut.run_until_cancelled(carry).await });
        }
        (here, there)
    }

    /// Closes a connection that `shared` has.
    fn close(&self, shared: &Shared, connection: ConnectionId) {
        let cut = {
            let state = lock(&self.0);
            let pipe = state.pipes.iter().find(|pipe| pipe.connections.contains(&connection));
            pipe.map(|pipe| pipe.cut.clone())
        };
        match cut {
            Some(cut) => cut.cancel(),
            None => shared.closed(connection),
        }
    }
}

/// Why a dial reached nobody, and who answered instead.
struct Missed(Trouble, Option<(NodeKey, SocketAddr)>);

/// Carries bytes one way, until either end is gone.
async fn carry(
    network: Network,
    mut sides: watch::Receiver<BTreeMap<NodeKey, u8>>,
    [one, two]: [NodeKey; 2],
    mut read: ReadHalf<DuplexStream>,
    mut write: WriteHalf<DuplexStream>,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let Ok(length) = read.read(&mut bytes).await else { return };
        let delay = {
            let mut state = lock(&network.0);
            let share = state.random();
            state.delay.start + state.delay.end.saturating_sub(state.delay.start).mul_f64(share)
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if sides.wait_for(|sides| sides.get(&one) == sides.get(&two)).await.is_err() {
            return;
        }
        if length == 0 {
            let _ = write.shutdown().await;
            return;
        }
        if write.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

/// Carries out the orders of a node's links until the node stops.
async fn drive(network: Network, shared: Arc<Shared>, here: SocketAddr) {
    let _driving = Driving(shared.clone());
    let mut deadline: Option<Moment> = None;
    loop {
        while let Some(order) = next_order(&shared) {
            match order {
                Order::Close { connection, .. } => network.close(&shared, connection),
                Order::Dial { node, role, addresses } => {
                    let connection = ConnectionId::new_unchecked(lock(&network.0).number());
                    let now = shared.clock.now();
                    lock(&shared.links).dialled(connection, node, role, addresses.first().copied(), now);
                    let mut reached = Err(Missed(Trouble::Silent, None));
                    for address in addresses {
                        reached = network.dial(&shared, here, connection, node, address);
                        if reached.is_ok() {
                            break;
                        }
                    }
                    if let Err(Missed(trouble, other)) = reached {
                        let (missed, pause) =
                            (shared.clone(), if trouble == Trouble::Silent { SILENCE } else { Duration::ZERO });
                        shared.tasks.spawn(async move {
                            let _ = missed.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                            missed.links(|links, now| links.missed(connection, trouble, other, now));
                        });
                    }
                }
            }
        }
        let due = lock(&shared.links).poll_timeout();
        let changed = std::future::poll_fn(|cx| {
            shared.orders.register(cx.waker());
            let links = lock(&shared.links);
            let ended = shared.draining.is_cancelled() && links.is_idle();
            if ended || links.has_orders() || links.poll_timeout() != due { Poll::Ready(ended) } else { Poll::Pending }
        });
        let until = async |moment: Option<Moment>| match moment {
            Some(moment) => tokio::time::sleep(moment.since(shared.clock.now())).await,
            None => std::future::pending().await,
        };
        let ended = tokio::select! {
            ended = changed => ended,
            () = until(due) => false,
            () = until(deadline) => true,
            () = shared.stop.cancelled() => true,
            () = shared.draining.cancelled(), if deadline.is_none() => {
                deadline = Some(shared.clock.now() + STOPPED_WITHIN);
                false
            }
        };
        if ended {
            break;
        }
    }
    let mut state = lock(&network.0);
    state.nodes.remove(&here);
    state.pipes.iter().filter(|pipe| pipe.ends.contains(&shared.me)).for_each(|pipe| pipe.cut.cancel());
}

fn next_order(shared: &Shared) -> Option<Order> {
    let now = shared.clock.now();
    let mut links = lock(&shared.links);
    links.handle_timeout(now);
    links.poll_output()
}

/// A node of a [`Network`]. Cheap to clone; ends by [`Transport::stop`] or [`Network::kill`].
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
    network: Network,
    address: SocketAddr,
}

impl Memory {
    /// Where others find this node.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Transport for Memory {
    fn me(&self) -> NodeKey {
        self.shared.me
    }

    fn allow(&self, nodes: BTreeSet<NodeKey>) {
        self.shared.allow(nodes);
    }

    fn dial(&self, hints: Vec<Hint>) {
        self.shared.dial(hints);
    }

    fn hang_up(&self, node: NodeKey) {
        self.shared.hang_up(node);
    }

    fn send(&self, to: NodeKey, message: Bytes) -> Result<(), SendError> {
        let lost = {
            let mut state = lock(&self.network.0);
            state.loss > 0.0 && state.random() < state.loss
        };
        if lost && self.shared.peers.get(to).is_some_and(|peer| peer.is_connected()) {
            return Ok(());
        }
        self.shared.send(to, message)
    }

    fn request(&self, to: NodeKey, request: Request<Body>) -> Requesting {
        self.shared.request(to, request)
    }

    fn peers(&self) -> Vec<Peer> {
        self.shared.peers()
    }

    fn strays(&self) -> Vec<Stray> {
        self.shared.strays()
    }

    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.shared.clone().end()
    }
}
