//! Decides whom to dial, when, for which role, and which of several connections stays. Knows no socket and no clock.
//!
//! Each pair of nodes has two connections, one per [`Role`]. The node with the smaller key dials; the larger one only when a
//! role has been missing for [`LARGER_WAITS`]. The smaller one alone closes duplicates, and the newest stays: a newer
//! connection proves that the peer lives, an older one may be half dead. One that dials an address of unknown owner and
//! finds a member that is connected already closes that connection itself, before it has a role.
//!
//! Time and randomness are handed in; what is to be done comes out of [`Links::poll_output`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use libp2p::swarm::ConnectionId;
use proto::Moment;

use crate::{NodeKey, Source, Stray, Trouble};

/// Addresses of unknown owner that are kept.
pub const MOST_ADDRESSES: usize = 256;
/// Addresses kept per member; the one that worked longest ago gives way.
const MOST_PER_MEMBER: usize = 16;
/// Addresses of unknown owner that are dialled at the same time.
const MOST_EXPLORED: usize = 8;
/// Connections per peer, dying and doubled ones included. More are refused: a member that opens many is broken or hostile.
const MOST_PER_PEER: usize = 6;
/// How long the larger key waits for the smaller one's dial.
const LARGER_WAITS: Duration = Duration::from_secs(3);
/// How long a connection may take to get a role, and both streams of it, after it is authenticated.
const UP_WITHIN: Duration = Duration::from_secs(3);
/// A connection that lasted this long was a good one: it is redialled at once, without counting failures.
const GOOD_AFTER: Duration = Duration::from_secs(2);
/// How long a dial of a member that was seen lately may take before another is begun beside it. Dials end after five
/// seconds by themselves, so there are at most six.
const IMPATIENT: Duration = Duration::from_secs(1);
/// How long after its last sign a member is redialled at least once a second.
const RECENT: Duration = Duration::from_secs(600);
/// The longest pause between dials of an address where a member may be.
const SLOWEST: Duration = Duration::from_secs(30);
/// The longest pause between dials of what seems to be another fleet's.
const SLOWEST_FOREIGN: Duration = Duration::from_secs(300);
/// How soon an address that belongs to a connected member may be looked at again: another machine may have got it.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

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

/// An address of a member.
#[derive(Clone, Copy, Debug)]
struct Known {
    address: SocketAddr,
    source: Source,
    /// When it last led to this member.
    worked: Option<Moment>,
    looked: Moment,
}

/// One role of one member while it is not up.
#[derive(Debug, Default)]
struct Missing {
    next: Moment,
    failures: u32,
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

/// An address of unknown owner.
#[derive(Debug)]
struct Wanderer {
    source: Source,
    told: Moment,
    next: Moment,
    failures: u32,
    dialling: bool,
    node: Option<NodeKey>,
    trouble: Option<Trouble>,
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

    /// Takes note of where `node`, if named, or else somebody may be found.
    pub(crate) fn hint(&mut self, address: SocketAddr, node: Option<NodeKey>, source: Source, now: Moment) {
        let address = plain(address);
        if !may_be_dialled(address, source) {
            return;
        }
        if let Some(node) = node {
            if node != self.me && self.members.contains_key(&node) {
                self.learn(node, address, source, None, now);
                self.hurry(node, now);
            }
            return;
        }
        let owner = self.members.iter().find_map(|(node, member)| {
            let known = member.addresses.iter().position(|known| known.address == address)?;
            Some((*node, known))
        });
        if let Some((node, at)) = owner {
            let connected = self.is_up(node, Role::Control);
            let known = &mut self.members.get_mut(&node).expect("just found").addresses[at];
            let recent = now.since(known.looked) < LOOK_AGAIN;
            if connected && !recent {
                known.looked = now;
            } else {
                if !connected {
                    self.hurry(node, now);
                }
                return;
            }
        }
        let later = if source == Source::Foreign { Duration::from_secs(5) } else { Duration::ZERO };
        match self.strays.get_mut(&address) {
            Some(stray) => {
                stray.told = now;
                stray.source = stray.source.min(source);
                if source == Source::Typed {
                    stray.source = source;
                }
            }
            None => {
                self.make_room();
                let fresh = Wanderer {
                    source,
                    told: now,
                    next: now + later,
                    failures: 0,
                    dialling: false,
                    node: None,
                    trouble: None,
                };
                self.strays.insert(address, fresh);
            }
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

    /// When [`Links::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Moment> {
        if self.ending {
            return None;
        }
        let late = self.connections.values().filter(|open| open.up.is_none() && !open.closing);
        let late = late.map(|open| open.began + UP_WITHIN);
        let dials = self
            .members
            .iter()
            .flat_map(|(node, member)| Role::ALL.into_iter().filter_map(|role| self.due(*node, member, role)));
        let room = self.exploring() < MOST_EXPLORED;
        let strays = self.strays.values().filter(move |stray| room && !stray.dialling).map(|stray| stray.next);
        late.chain(dials).chain(strays).min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Moment) {
        if self.ending {
            return;
        }
        let due = |open: &Connection| open.up.is_none() && now >= open.began + UP_WITHIN;
        let late: Vec<_> = self.connections.iter().filter(|(_, open)| due(open)).map(|(id, _)| *id).collect();
        for connection in late {
            self.close(connection);
        }
        for node in self.members.keys().copied().collect::<Vec<_>>() {
            for role in Role::ALL {
                self.dial_if_due(node, role, now);
            }
        }
        let mut room = MOST_EXPLORED.saturating_sub(self.exploring());
        let mut due: Vec<_> =
            self.strays.iter_mut().filter(|(_, stray)| !stray.dialling && now >= stray.next).collect();
        // The fleet's own tag, or a person's word, first.
        due.sort_by_key(|(_, stray)| (stray.source == Source::Foreign, stray.failures, stray.next));
        for (address, stray) in due {
            if room == 0 {
                break;
            }
            room -= 1;
            stray.dialling = true;
            self.orders.push_back(Order::Dial { node: None, role: Role::Control, addresses: vec![*address] });
        }
    }

    /// The next thing to do.
    pub(crate) fn poll_output(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// Whether [`Links::poll_output`] would give something.
    pub(crate) fn has_orders(&self) -> bool {
        !self.orders.is_empty()
    }

    /// The addresses of a member, those that worked last first.
    pub(crate) fn addresses(&self, node: NodeKey) -> Vec<SocketAddr> {
        let Some(member) = self.members.get(&node) else { return Vec::new() };
        let mut known = member.addresses.clone();
        known.sort_by_key(|known| std::cmp::Reverse(known.worked));
        known.into_iter().map(|known| known.address).collect()
    }

    /// Why a member is not connected.
    pub(crate) fn trouble(&self, node: NodeKey) -> Option<Trouble> {
        self.members.get(&node).and_then(|member| member.trouble)
    }

    /// The addresses that belong to no member.
    pub(crate) fn strays(&self) -> Vec<Stray> {
        let stray = |(address, stray): (&SocketAddr, &Wanderer)| Stray {
            address: *address,
            source: stray.source,
            trouble: stray.trouble,
        };
        self.strays.iter().map(stray).collect()
    }

    /// Whether some member was ever found at `ip`.
    pub(crate) fn knows(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.members.values().flat_map(|member| &member.addresses).any(|known| known.address.ip() == ip)
    }

    /// How long to leave the first dial to the other side.
    fn patience(&self, node: NodeKey) -> Duration {
        if self.me < node { Duration::ZERO } else { LARGER_WAITS }
    }

    fn missing(&mut self, node: NodeKey, role: Role) -> Option<&mut Missing> {
        self.members.get_mut(&node).map(|member| &mut member.roles[role as usize])
    }

    fn live(&self, node: NodeKey, role: Role) -> impl Iterator<Item = (&ConnectionId, &Connection)> {
        let wanted = move |open: &Connection| open.node == node && open.role == Some(role) && !open.closing;
        self.connections.iter().filter(move |(_, open)| wanted(open))
    }

    fn is_up(&self, node: NodeKey, role: Role) -> bool {
        self.live(node, role).any(|(_, open)| open.up.is_some())
    }

    fn exploring(&self) -> usize {
        self.strays.values().filter(|stray| stray.dialling).count()
    }

    /// When to dial `node` next for `role`; `None` if there is no need or no way to.
    fn due(&self, node: NodeKey, member: &Member, role: Role) -> Option<Moment> {
        if member.addresses.is_empty() || self.live(node, role).next().is_some() {
            return None;
        }
        // Who does not answer is looked for on one connection, not two.
        if role == Role::Data && !self.is_up(node, Role::Control) {
            return None;
        }
        let ordered =
            |order: &Order| matches!(order, Order::Dial { node: Some(to), role: of, .. } if *to == node && *of == role);
        if self.orders.iter().any(ordered) {
            return None;
        }
        let next = member.roles[role as usize].next;
        let under_way = self.dials.values().filter(|dial| dial.node == Some(node) && dial.role == role);
        match under_way.map(|dial| dial.began).max() {
            None => Some(next),
            // The system repeats its own attempts ever more slowly, and the network may be back in a moment.
            Some(began) if member.is_recent(began) => Some(next.max(began + IMPATIENT)),
            Some(_) => None,
        }
    }

    fn dial_if_due(&mut self, node: NodeKey, role: Role, now: Moment) {
        let Some(member) = self.members.get(&node) else { return };
        if self.due(node, member, role).is_none_or(|due| now < due) {
            return;
        }
        // A connection without a role may turn out to be this one, and there is no hurry: it has a deadline.
        let undecided = |open: &Connection| open.node == node && open.role.is_none() && !open.closing;
        if self.connections.values().any(undecided) {
            let pause = self.jittered(Duration::from_millis(200));
            if let Some(missing) = self.missing(node, role) {
                missing.next = now + pause;
            }
            return;
        }
        self.orders.push_back(Order::Dial { node: Some(node), role, addresses: self.addresses(node) });
    }

    /// Makes the next dials of `node` happen as soon as its rank allows.
    fn hurry(&mut self, node: NodeKey, now: Moment) {
        let soonest = now + self.patience(node);
        if let Some(member) = self.members.get_mut(&node) {
            for missing in &mut member.roles {
                missing.next = missing.next.min(soonest);
            }
        }
    }

    fn failed(&mut self, node: NodeKey, role: Role, trouble: Trouble, now: Moment) {
        let Some(member) = self.members.get_mut(&node) else { return };
        member.trouble = Some(trouble);
        let recent = member.is_recent(now);
        let missing = &mut member.roles[role as usize];
        missing.failures = missing.failures.saturating_add(1);
        let pause = if recent {
            Duration::from_millis(200 << missing.failures.min(3)).min(Duration::from_secs(1))
        } else {
            backoff(missing.failures, SLOWEST)
        };
        let next = now + self.jittered(pause);
        if let Some(missing) = self.missing(node, role) {
            missing.next = next;
        }
    }

    fn explored(&mut self, address: SocketAddr, trouble: Trouble, now: Moment) {
        let Some(stray) = self.strays.get_mut(&address) else { return };
        if stray.source != Source::Typed && now.since(stray.told) > RECENT {
            self.strays.remove(&address);
            return;
        }
        stray.dialling = false;
        stray.failures = stray.failures.saturating_add(1);
        stray.trouble = Some(trouble);
        let slowest = match (stray.source, trouble) {
            (_, Trouble::Oneself) | (Source::Foreign, _) => SLOWEST_FOREIGN,
            _ => SLOWEST,
        };
        let pause = if trouble == Trouble::Oneself { slowest } else { backoff(stray.failures, slowest) };
        let next = now + self.jittered(pause);
        if let Some(stray) = self.strays.get_mut(&address) {
            stray.next = next;
        }
    }

    fn learn(&mut self, node: NodeKey, address: SocketAddr, source: Source, worked: Option<Moment>, now: Moment) {
        if worked.is_none() && !may_be_dialled(address, source) {
            return;
        }
        if worked.is_some() {
            // It belongs to one node.
            for (_, other) in self.members.iter_mut().filter(|(other, _)| **other != node) {
                other.addresses.retain(|known| known.address != address);
            }
        }
        let Some(member) = self.members.get_mut(&node) else { return };
        if let Some(known) = member.addresses.iter_mut().find(|known| known.address == address) {
            known.worked = worked.or(known.worked);
            known.looked = worked.unwrap_or(known.looked);
            known.source = if source == Source::Typed { source } else { known.source };
            return;
        }
        if member.addresses.len() >= MOST_PER_MEMBER {
            let kept = |known: &Known| (known.source == Source::Typed, known.worked, known.looked);
            let oldest = member.addresses.iter().enumerate().min_by_key(|(_, known)| kept(known)).map(|(at, _)| at);
            oldest.map(|at| member.addresses.swap_remove(at));
        }
        member.addresses.push(Known { address, source, worked, looked: now });
    }

    fn make_room(&mut self) {
        if self.strays.len() < MOST_ADDRESSES {
            return;
        }
        let idle = self.strays.iter().filter(|(_, stray)| !stray.dialling);
        let oldest = idle.min_by_key(|(_, stray)| (stray.source == Source::Typed, stray.told)).map(|(at, _)| *at);
        oldest.map(|address| self.strays.remove(&address));
    }

    /// `pause`, shortened by up to half, so that nodes do not dial in step.
    fn jittered(&mut self, pause: Duration) -> Duration {
        // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = u32::try_from((z ^ z >> 31) >> 48).unwrap_or(0);
        pause - pause * share / (2 * 65536)
    }
}

/// 1, 2, 4 … seconds, up to `slowest`.
fn backoff(failures: u32, slowest: Duration) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(16)).min(slowest)
}

/// The same address in one spelling.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether it makes sense to dial `address`.
fn may_be_dialled(address: SocketAddr, source: Source) -> bool {
    let ip = address.ip();
    let bad = match ip {
        IpAddr::V4(ip) => ip.is_broadcast(),
        // Link-local addresses need to know their interface, which an address of libp2p cannot say.
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    // Loopback addresses that others tell mean themselves, not us.
    let foreign = ip.is_loopback() && !matches!(source, Source::Typed | Source::Remembered);
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !bad && !foreign
}

#[cfg(test)]
mod tests;
