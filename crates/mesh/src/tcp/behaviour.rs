//! Carries what [`Links`](crate::links::Links) decides to libp2p, and what libp2p tells back to it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, TransportError};
use proto::Moment;
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use super::handler::{Came, Handler, Streams};
use super::{multiaddr, secure, socket_address};
use crate::links::Order;
use crate::peers::lock;
use crate::shared::{Opened, Shared};
use crate::{NodeKey, Trouble};

/// Connections from one address that are not authenticated yet. The next is closed at once.
const MOST_PENDING_PER_ADDRESS: usize = 16;
/// Such connections from all addresses where no member was ever found.
const MOST_PENDING_STRANGERS: usize = 64;

type Handlers = Result<Handler, ConnectionDenied>;

pub(super) struct Behaviour {
    shared: Arc<Shared>,
    /// Connections that are not authenticated yet, and where they come from.
    pending: BTreeMap<ConnectionId, (IpAddr, bool)>,
    /// Connections that are, where they lead, and whether we dialled.
    ends: BTreeMap<ConnectionId, (SocketAddr, bool)>,
    /// Wakes us for what is due, and when that is.
    alarm: Option<(Moment, Pin<Box<tokio::time::Sleep>>)>,
}

/// Too many strangers knock at once.
#[derive(Debug, thiserror::Error)]
#[error("too many connections that are not authenticated")]
struct TooManyPending;

impl Behaviour {
    pub(super) fn new(shared: Arc<Shared>) -> Behaviour {
        Behaviour { shared, pending: BTreeMap::new(), ends: BTreeMap::new(), alarm: None }
    }

    fn carry_out(&mut self, order: Order) -> Option<ToSwarm<(), std::convert::Infallible>> {
        match order {
            Order::Dial { node, role, addresses } => {
                let first = addresses.first().copied();
                let opts = match node {
                    Some(node) => DialOpts::peer_id(node.peer()?)
                        // Members have two connections, and we count them ourselves.
                        .condition(PeerCondition::Always)
                        .addresses(addresses.into_iter().map(multiaddr).collect())
                        // From the port that we listen on, two connections to one node would have the same four numbers.
                        .allocate_new_port()
                        .build(),
                    None => DialOpts::unknown_peer_id().address(multiaddr(first?)).allocate_new_port().build(),
                };
                let now = self.shared.clock.now();
                lock(&self.shared.links).dialled(opts.connection_id(), node, role, first, now);
                Some(ToSwarm::Dial { opts })
            }
            Order::Close { node, connection } => {
                Some(ToSwarm::CloseConnection { peer_id: node.peer()?, connection: CloseConnection::One(connection) })
            }
        }
    }

    fn missed(&self, connection: ConnectionId, error: &DialError) {
        let (trouble, other) = match error {
            DialError::LocalPeerId { .. } => (Trouble::Oneself, None),
            DialError::WrongPeerId { obtained, address } => {
                (Trouble::OtherNode, NodeKey::of(*obtained).zip(socket_address(address)))
            }
            DialError::Transport(errors) => {
                let troubles = errors.iter().map(|(_, error)| match error {
                    TransportError::Other(error) => secure::trouble(error),
                    TransportError::MultiaddrNotSupported(_) => Trouble::Silent,
                });
                // An address that does not answer says less than one that does.
                let telling = |trouble: &Trouble| match trouble {
                    Trouble::Silent => 0,
                    Trouble::Refused => 1,
                    _ => 2,
                };
                (troubles.max_by_key(telling).unwrap_or(Trouble::Silent), None)
            }
            _ => (Trouble::Silent, None),
        };
        tracing::debug!(%error, "a dial reached nobody");
        self.shared.links(|links, now| links.missed(connection, trouble, other, now));
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = ();

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(address) = socket_address(from) else { return Err(ConnectionDenied::new(TooManyPending)) };
        // Members keep their room, however many strangers there are.
        let stranger = !lock(&self.shared.links).knows(address.ip());
        let ip = network(address.ip());
        let here = self.pending.values().filter(|(other, _)| *other == ip).count();
        let strangers = self.pending.values().filter(|(_, stranger)| *stranger).count();
        if here >= MOST_PENDING_PER_ADDRESS || stranger && strangers >= MOST_PENDING_STRANGERS {
            return Err(ConnectionDenied::new(TooManyPending));
        }
        self.pending.insert(connection, (ip, stranger));
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Handlers {
        self.pending.remove(&connection);
        let (Some(node), Some(address)) = (NodeKey::of(peer), socket_address(from)) else {
            return Err(ConnectionDenied::new(crate::links::Unwanted::NotAMember));
        };
        self.shared.links(|links, now| links.accepted(connection, node, now)).map_err(ConnectionDenied::new)?;
        self.ends.insert(connection, (address, false));
        Ok(Handler::new(None))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        to: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Handlers {
        let (Some(node), Some(address)) = (NodeKey::of(peer), socket_address(to)) else {
            return Err(ConnectionDenied::new(crate::links::Unwanted::NotAMember));
        };
        let reached = self.shared.links(|links, now| links.reached(connection, node, address, now));
        let role = reached.map_err(ConnectionDenied::new)?;
        self.ends.insert(connection, (address, true));
        Ok(Handler::new(Some(role)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => {
                self.ends.remove(&closed.connection_id);
                self.shared.closed(closed.connection_id);
            }
            FromSwarm::DialFailure(failed) => self.missed(failed.connection_id, failed.error),
            FromSwarm::ListenFailure(failed) => {
                self.pending.remove(&failed.connection_id);
            }
            FromSwarm::NewListenAddr(_) => self.shared.links(|links, now| links.network_changed(now)),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        let Some(node) = NodeKey::of(peer) else { return };
        match event {
            Came::Role(role) => self.shared.links(|links, _| links.told_role(connection, role)),
            Came::Broken => self.shared.links(|links, _| links.close(connection)),
            Came::Streams(streams) => {
                let Streams { role, inbound, outbound } = *streams;
                let Some((address, dialled)) = self.ends.get(&connection).copied() else { return };
                let (inbound, outbound) = (inbound.compat(), outbound.compat());
                self.shared.opened(Opened { node, role, connection, address, dialled, inbound, outbound });
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<(), std::convert::Infallible>> {
        self.shared.orders.register(cx.waker());
        loop {
            let now = self.shared.clock.now();
            let (order, due) = {
                let mut links = lock(&self.shared.links);
                links.handle_timeout(now);
                (links.poll_output(), links.poll_timeout())
            };
            if let Some(order) = order {
                match self.carry_out(order) {
                    Some(command) => return Poll::Ready(command),
                    None => continue,
                }
            }
            let Some(due) = due else {
                self.alarm = None;
                return Poll::Pending;
            };
            match &mut self.alarm {
                Some((set, alarm)) if *set == due => {
                    if alarm.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    // Timers may be a little early: then there is one more.
                    self.alarm = None;
                }
                _ => self.alarm = Some((due, Box::pin(tokio::time::sleep(due.since(now))))),
            }
        }
    }
}

/// What counts as one address: IPv6 gives every machine a whole network of them.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
    }
}
