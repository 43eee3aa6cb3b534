//! Decides whom to dial, when, for which role, and which of several connections stays. Knows no socket and no clock.
//!
//! Each pair of nodes has two connections, one per [`Role`]. The node with the smaller key dials; the larger one only when a
//! role has been missing for `LARGER_WAITS`. The smaller one alone closes duplicates, and the newest stays: a newer
//! connection proves that the peer lives, an older one may be half dead. One that dials an address of unknown owner and
//! finds a member that is connected already closes that connection itself, before it has a role.
//!
//! Time and randomness are handed in; what is to be done comes out of [`Links::poll_output`].

mod book;
mod pace;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use libp2p::swarm::ConnectionId;
use proto::Moment;

use self::book::{Known, MOST_PER_MEMBER, Wanderer, plain};
use self::pace::Missing;
use crate::{NodeKey, Source, Trouble};

pub use self::book::MOST_ADDRESSES;

/// Connections per peer, dying and doubled ones included. More are refused: a member that opens many is broken or hostile.
const MOST_PER_PEER: usize = 6;
/// How long a connection may take to get a role, and both streams of it, after it is authenticated.
const UP_WITHIN: Duration = Duration::from_secs(3);
/// A connection that lasted this long was a good one: it is redialled at once, without counting failures.
const GOOD_AFTER: Duration = Duration::from_secs(2);
/// How long after its last sign a member is redialled at least once a second.
const RECENT: Duration = Duration::from_secs(600);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Messages.
    Control,
    /// HTTP/2.
    Data,
}

impl Role {
    pub(crate) const ALL: [Role; 2] = [Role::Control, Role::Data];
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Dial all of `addresses` at once, keep the first that answers, and report [`Links::dialled`].
    Dial { node: Option<NodeKey>, role: Role, addresses: Vec<SocketAddr> },
    /// Close one connection.
    Close { node: NodeKey, connection: ConnectionId },
}

/// Why a new connection is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwanted {
    #[error("no member of this fleet")]
    NotAMember,
    #[error("connected already")]
    Already,
    #[error("too many connections")]
    TooMany,
}

#[derive(Debug)]
pub(crate) struct Links {
    me: NodeKey,
    seed: u64,
    members: BTreeMap<NodeKey, Member>,
    connections: BTreeMap<ConnectionId, Connection>,
    dials: BTreeMap<ConnectionId, Dial>,
    strays: BTreeMap<SocketAddr, Wanderer>,
    orders: VecDeque<Order>,
    ending: bool,
}

#[derive(Debug, Default)]
struct Member {
    addresses: Vec<Known>,
    roles: [Missing; 2],
    /// When it was last connected.
    seen: Option<Moment>,
    allowed: Moment,
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Connection {
    node: NodeKey,
    role: Option<Role>,
    dialled: bool,
    began: Moment,
    up: Option<Moment>,
    closing: bool,
}

#[derive(Debug)]
struct Dial {
    node: Option<NodeKey>,
    role: Role,
    address: Option<SocketAddr>,
    began: Moment,
}

impl Member {
    /// Whether it was seen, or became a member, not long ago.
    fn is_recent(&self, now: Moment) -> bool {
        now.since(self.seen.unwrap_or(self.allowed)) < RECENT
    }
}

impl Links {
    /// No connections yet. `seed` spreads the dials of many nodes that start at once.
    pub(crate) fn new(me: NodeKey, seed: u64) -> Links {
        Links {
            me,
            seed,
            members: BTreeMap::new(),
            connections: BTreeMap::new(),
            dials: BTreeMap::new(),
            strays: BTreeMap::new(),
            orders: VecDeque::new(),
            ending: false,
        }
    }

    /// Replaces the list of members; connections with others are closed.
    pub(crate) fn allow(&mut self, nodes: &BTreeSet<NodeKey>, now: Moment) {
        self.members.retain(|node, _| nodes.contains(node));
        for node in nodes.iter().filter(|node| **node != self.me) {
            if self.members.contains_key(node) {
                continue;
            }
            let mut member = Member { allowed: now, ..Member::default() };
            for missing in &mut member.roles {
                missing.next = now + self.patience(*node);
            }
            // Found before it was a member: its address is known already.
            let found = self.strays.iter().filter(|(_, stray)| stray.node == Some(*node));
            member.addresses = found
                .map(|(address, stray)| Known { address: *address, source: stray.source, worked: None, looked: now })
                .take(MOST_PER_MEMBER)
                .collect();
            self.members.insert(*node, member);
        }
        self.strays.retain(|_, stray| stray.node.is_none_or(|node| !self.members.contains_key(&node)));
        let strangers = self.connections.iter_mut().filter(|(_, open)| !self.members.contains_key(&open.node));
        for (id, open) in strangers.filter(|(_, open)| !open.closing) {
            open.closing = true;
            self.orders.push_back(Order::Close { node: open.node, connection: *id });
        }
    }

    /// An order to dial is being carried out as `connection`.
    pub(crate) fn dialled(
        &mut self,
        connection: ConnectionId,
        node: Option<NodeKey>,
        role: Role,
        first: Option<SocketAddr>,
        now: Moment,
    ) {
        self.dials.insert(connection, Dial { node, role, address: first, began: now });
    }

    /// A dial reached `node` at `address`: the role it is to have, or why it is to be closed.
    pub(crate) fn reached(
        &mut self,
        connection: ConnectionId,
        node: NodeKey,
        address: SocketAddr,
        now: Moment,
    ) -> Result<Role, Unwanted> {
        let dial = self.dials.remove(&connection);
        let role = dial.as_ref().map_or(Role::Control, |dial| dial.role);
        let explored = dial.filter(|dial| dial.node.is_none()).and_then(|dial| dial.address);
        if !self.members.contains_key(&node) {
            if let Some(stray) = explored.and_then(|address| self.strays.get_mut(&address)) {
                stray.node = Some(node);
            }
            if let Some(address) = explored {
                self.explored(address, Trouble::NotAMember, now);
            }
            return Err(Unwanted::NotAMember);
        }
        if let Some(address) = explored {
            let source = self.strays.remove(&address).map_or(Source::Remembered, |stray| stray.source);
            self.learn(node, address, source, Some(now), now);
        } else {
            self.learn(node, address, Source::Remembered, Some(now), now);
        }
        if self.ending || self.live(node, role).next().is_some() {
            return Err(Unwanted::Already);
        }
        self.connections.insert(
            connection,
            Connection { node, role: Some(role), dialled: true, began: now, up: None, closing: false },
        );
        Ok(role)
    }

    /// A dial reached nobody. `other` is who answered, and where, if it was somebody else than was wanted.
    pub(crate) fn missed(
        &mut self,
        connection: ConnectionId,
        trouble: Trouble,
        other: Option<(NodeKey, SocketAddr)>,
        now: Moment,
    ) {
        let Some(dial) = self.dials.remove(&connection) else { return };
        match (dial.node, dial.address) {
            (Some(node), _) => {
                if let Some((other, address)) = other {
                    self.learn(other, address, Source::Remembered, Some(now), now);
                    if let Some(member) = self.members.get_mut(&node) {
                        member.addresses.retain(|known| known.address != address);
                    }
                }
                self.failed(node, dial.role, trouble, now);
            }
            (None, Some(address)) => self.explored(address, trouble, now),
            (None, None) => {}
        }
    }

    /// Somebody who dialled us proved to be `node`.
    pub(crate) fn accepted(&mut self, connection: ConnectionId, node: NodeKey, now: Moment) -> Result<(), Unwanted> {
        if !self.members.contains_key(&node) || self.ending {
            return Err(Unwanted::NotAMember);
        }
        if self.connections.values().filter(|open| open.node == node).count() >= MOST_PER_PEER {
            return Err(Unwanted::TooMany);
        }
        let open = Connection { node, role: None, dialled: false, began: now, up: None, closing: false };
        self.connections.insert(connection, open);
        Ok(())
    }

    /// The other end said what an accepted connection is for.
    pub(crate) fn told_role(&mut self, connection: ConnectionId, role: Role) {
        if let Some(open) = self.connections.get_mut(&connection).filter(|open| open.role.is_none()) {
            open.role = Some(role);
        }
    }

    /// A connection is ready for use. `listens_at` is where its peer says that it can be dialled.
    pub(crate) fn up(&mut self, connection: ConnectionId, listens_at: Option<SocketAddr>, now: Moment) {
        let Some(open) = self.connections.get_mut(&connection) else { return };
        open.up.get_or_insert(now);
        let (node, Some(role)) = (open.node, open.role) else { return };
        let patience = self.patience(node);
        if let Some(member) = self.members.get_mut(&node) {
            member.seen = Some(now);
            if role == Role::Control {
                member.trouble = None;
                let data = &mut member.roles[Role::Data as usize];
                data.next = data.next.min(now + patience);
            }
        }
        if let Some(address) = listens_at {
            // Seen, not told: a loopback address is right for a node on this very machine.
            self.learn(node, plain(address), Source::Remembered, None, now);
        }
        if self.me < node {
            let older: Vec<_> = self.live(node, role).filter(|(id, _)| **id != connection).map(|(id, _)| *id).collect();
            for older in older {
                // One that is not up yet may be the newer one: it will be judged when it is.
                if self.connections.get(&older).is_some_and(|open| open.up.is_some()) {
                    self.close(older);
                }
            }
        }
    }

    /// Closes a connection that is of no use any more.
    pub(crate) fn close(&mut self, connection: ConnectionId) {
        if let Some(open) = self.connections.get_mut(&connection).filter(|open| !open.closing) {
            open.closing = true;
            self.orders.push_back(Order::Close { node: open.node, connection });
        }
    }

    /// A connection is gone.
    pub(crate) fn closed(&mut self, connection: ConnectionId, now: Moment) {
        let Some(gone) = self.connections.remove(&connection) else { return };
        let Some(role) = gone.role else { return };
        if self.live(gone.node, role).next().is_some() {
            return;
        }
        if gone.up.is_some()
            && let Some(member) = self.members.get_mut(&gone.node)
        {
            member.seen = Some(now);
        }
        if gone.up.is_some_and(|up| now.since(up) >= GOOD_AFTER) {
            let pause = self.patience(gone.node);
            if let Some(missing) = self.missing(gone.node, role) {
                *missing = Missing { next: now + pause, failures: 0 };
            }
        } else if gone.dialled {
            self.failed(gone.node, role, Trouble::HungUp, now);
        } else {
            let pause = self.patience(gone.node).max(Duration::from_millis(200));
            if let Some(missing) = self.missing(gone.node, role) {
                missing.next = missing.next.max(now + pause);
            }
        }
    }

    /// Says why `node` cannot be talked to although it can be reached.
    pub(crate) fn note(&mut self, node: NodeKey, trouble: Trouble) {
        if let Some(member) = self.members.get_mut(&node) {
            member.trouble = Some(trouble);
        }
    }

    /// Closes all connections with a node that is thought dead, and dials it again.
    pub(crate) fn hang_up(&mut self, node: NodeKey, now: Moment) {
        let all: Vec<_> = self.connections.iter().filter(|(_, open)| open.node == node).map(|(id, _)| *id).collect();
        for connection in all {
            self.close(connection);
        }
        self.hurry(node, now);
    }

    /// This machine has got an address: whoever could not be reached may be now.
    pub(crate) fn network_changed(&mut self, now: Moment) {
        for member in self.members.values_mut() {
            for missing in &mut member.roles {
                missing.failures = 0;
            }
        }
        for node in self.members.keys().copied().collect::<Vec<_>>() {
            self.hurry(node, now);
        }
        for stray in self.strays.values_mut().filter(|stray| stray.source != Source::Foreign) {
            stray.failures = 0;
            stray.next = stray.next.min(now);
        }
    }

    /// Dials and accepts nobody any more.
    pub(crate) fn end(&mut self) {
        self.ending = true;
        self.orders.retain(|order| !matches!(order, Order::Dial { .. }));
    }

    /// Whether no connection is left.
    pub(crate) fn is_idle(&self) -> bool {
        self.connections.is_empty()
    }

    /// The next thing to do.
    pub(crate) fn poll_output(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// Whether [`Links::poll_output`] would give something.
    pub(crate) fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Why a member is not connected.
    pub(crate) fn trouble(&self, node: NodeKey) -> Option<Trouble> {
        self.members.get(&node).and_then(|member| member.trouble)
    }

    fn live(&self, node: NodeKey, role: Role) -> impl Iterator<Item = (&ConnectionId, &Connection)> {
        let wanted = move |open: &Connection| open.node == node && open.role == Some(role) && !open.closing;
        self.connections.iter().filter(move |(_, open)| wanted(open))
    }

    fn is_up(&self, node: NodeKey, role: Role) -> bool {
        self.live(node, role).any(|(_, open)| open.up.is_some())
    }
}

#[cfg(test)]
mod tests;
