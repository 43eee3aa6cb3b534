//! Whole fleets of links over a network of messages with delays, in simulated time.

use proptest::prelude::*;

use super::pace::{MOST_EXPLORED, SLOWEST};
use super::*;

const NODES: u8 = 4;

fn key(number: u8) -> NodeKey {
    [number; 32].into()
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 11441))
}

fn at(ms: u64) -> Moment {
    Moment::at(Duration::from_millis(ms))
}

/// What happens at a node, some time after its cause.
#[derive(Clone, Debug)]
enum Happens {
    /// A dial of ours arrives where it was sent, or nowhere.
    Dialled {
        from: u8,
        connection: usize,
        to: Option<u8>,
        wanted: Option<u8>,
    },
    Accepted {
        at: u8,
        from: u8,
        connection: usize,
        dialler: usize,
        role: Role,
    },
    Role {
        at: u8,
        connection: usize,
        role: Role,
    },
    Up {
        at: u8,
        connection: usize,
    },
    Closed {
        at: u8,
        connection: usize,
    },
}

struct World {
    now: Moment,
    links: Vec<Links>,
    queue: BTreeMap<(Moment, usize), Happens>,
    next: usize,
    delay: u64,
    /// Both ends of each connection: node and number. Gone when closed by either.
    pairs: BTreeMap<usize, (u8, usize)>,
    dials: usize,
}

impl World {
    fn new(seed: u64, delay: u64) -> World {
        let all: BTreeSet<_> = (0..NODES).map(key).collect();
        let links = (0..NODES).map(|number| {
            let mut links = Links::new(key(number), seed ^ u64::from(number) << 32);
            links.allow(&all, at(0));
            links
        });
        World {
            now: at(0),
            links: links.collect(),
            queue: BTreeMap::new(),
            next: 0,
            delay,
            pairs: BTreeMap::new(),
            dials: 0,
        }
    }

    fn later(&mut self, steps: u64, happens: Happens) {
        self.next += 1;
        // Not all the same, or nothing ever overtakes.
        let delay = self.delay * steps + self.next as u64 * 7 % 5;
        self.queue.insert((self.now + Duration::from_millis(delay), self.next), happens);
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn run(&mut self, until: Moment) {
        loop {
            self.carry_out();
            let due = self.links.iter().filter_map(Links::poll_timeout).min();
            let next = self.queue.keys().next().map(|(moment, _)| *moment);
            let Some(moment) = due.into_iter().chain(next).min().filter(|moment| *moment <= until) else { break };
            self.now = self.now.max(moment);
            if next.is_some_and(|next| next <= self.now) {
                let (_, happens) = self.queue.pop_first().unwrap();
                self.happen(happens);
            }
            for links in &mut self.links {
                links.handle_timeout(self.now);
            }
        }
        self.now = until;
    }

    fn carry_out(&mut self) {
        for number in 0..NODES {
            while let Some(order) = self.links[usize::from(number)].poll_output() {
                match order {
                    Order::Dial { node, role, addresses } => {
                        self.dials += 1;
                        let connection = self.number();
                        let id = ConnectionId::new_unchecked(connection);
                        self.links[usize::from(number)].dialled(id, node, role, addresses.first().copied(), self.now);
                        let to = addresses.iter().find_map(|to| (0..NODES).find(|other| address(*other) == *to));
                        let wanted = node.map(|node| node.bytes()[0]);
                        self.later(1, Happens::Dialled { from: number, connection, to, wanted });
                    }
                    Order::Close { connection, .. } => self.cut(number, connection),
                }
            }
        }
    }

    fn cut(&mut self, number: u8, connection: ConnectionId) {
        let connection = connection.to_string().parse().unwrap();
        self.links[usize::from(number)].closed(ConnectionId::new_unchecked(connection), self.now);
        if let Some((other, theirs)) = self.pairs.remove(&connection) {
            self.pairs.remove(&theirs);
            self.later(1, Happens::Closed { at: other, connection: theirs });
        }
    }

    fn happen(&mut self, happens: Happens) {
        let now = self.now;
        let id = ConnectionId::new_unchecked;
        match happens {
            Happens::Dialled { from, connection, to, wanted } => {
                let links = &mut self.links[usize::from(from)];
                match to {
                    None => links.missed(id(connection), Trouble::Silent, None, now),
                    Some(to) if to == from => links.missed(id(connection), Trouble::Oneself, None, now),
                    Some(to) if wanted.is_some_and(|wanted| wanted != to) => {
                        links.missed(id(connection), Trouble::OtherNode, Some((key(to), address(to))), now);
                    }
                    Some(to) => {
                        if let Ok(role) = links.reached(id(connection), key(to), address(to), now) {
                            let theirs = self.number();
                            self.pairs.insert(connection, (to, theirs));
                            self.pairs.insert(theirs, (from, connection));
                            self.later(
                                1,
                                Happens::Accepted { at: to, from, connection: theirs, dialler: connection, role },
                            );
                        }
                    }
                }
            }
            Happens::Accepted { at, from, connection, dialler, role } => {
                if !self.pairs.contains_key(&connection) {
                    return;
                }
                if self.links[usize::from(at)].accepted(id(connection), key(from), now).is_err() {
                    self.pairs.remove(&connection);
                    self.pairs.remove(&dialler);
                    self.later(1, Happens::Closed { at: from, connection: dialler });
                    return;
                }
                self.later(1, Happens::Role { at, connection, role });
            }
            Happens::Role { at, connection, role } => {
                self.links[usize::from(at)].told_role(id(connection), role);
                // Only then are there streams, and each end has both in its own time.
                if let Some((other, theirs)) = self.pairs.get(&connection).copied() {
                    self.later(2, Happens::Up { at, connection });
                    self.later(2, Happens::Up { at: other, connection: theirs });
                }
            }
            Happens::Up { at, connection } => {
                if let Some((other, _)) = self.pairs.get(&connection) {
                    self.links[usize::from(at)].up(id(connection), Some(address(*other)), now);
                }
            }
            Happens::Closed { at, connection } => self.links[usize::from(at)].closed(id(connection), now),
        }
    }

    /// The connections of one node with another in one role that are ready.
    fn ready(&self, number: u8, other: u8, role: Role) -> Vec<usize> {
        let live = self.links[usize::from(number)].live(key(other), role);
        live.filter(|(_, open)| open.up.is_some()).map(|(id, _)| id.to_string().parse().unwrap()).collect()
    }

    /// Whether each pair has one connection per role, and both ends mean the same one.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (one, two) in (0..NODES).flat_map(|one| (one + 1..NODES).map(move |two| (one, two))) {
            for role in Role::ALL {
                let (here, there) = (self.ready(one, two, role), self.ready(two, one, role));
                let same = here.len() == 1 && there.len() == 1 && self.pairs.get(&here[0]) == Some(&(two, there[0]));
                if !same {
                    faults.push(format!("{one} and {two} {role:?}: {here:?} {there:?}"));
                }
            }
        }
        faults
    }
}

/// Something that disturbs the peace.
#[derive(Clone, Debug)]
enum Trick {
    Wait(u64),
    Tell {
        who: u8,
        of: u8,
        named: bool,
        source: Source,
    },
    HangUp {
        who: u8,
        on: u8,
    },
    /// Cuts one connection, whichever.
    Cut(usize),
    Restart(u8),
    Forget {
        who: u8,
        other: u8,
    },
    Remember(u8),
    Changed(u8),
}

fn tricks() -> impl Strategy<Value = Trick> {
    let node = || 0..NODES;
    let source = prop_oneof![Just(Source::Announced), Just(Source::Foreign), Just(Source::Typed), Just(Source::Peer)];
    prop_oneof![
        3 => (0..5000_u64).prop_map(Trick::Wait),
        // Also addresses where nobody is.
        4 => (node(), 0..NODES + 2, any::<bool>(), source)
            .prop_map(|(who, of, named, source)| Trick::Tell { who, of, named, source }),
        1 => (node(), node()).prop_map(|(who, on)| Trick::HangUp { who, on }),
        2 => any::<usize>().prop_map(Trick::Cut),
        1 => node().prop_map(Trick::Restart),
        1 => (node(), node()).prop_map(|(who, other)| Trick::Forget { who, other }),
        1 => node().prop_map(Trick::Remember),
        1 => node().prop_map(Trick::Changed),
    ]
}

fn play(world: &mut World, tricks: &[Trick]) {
    let all: BTreeSet<_> = (0..NODES).map(key).collect();
    for trick in tricks {
        let now = world.now;
        match trick {
            Trick::Wait(ms) => world.run(now + Duration::from_millis(*ms)),
            Trick::Tell { who, of, named, source } => {
                let node = named.then(|| key(*of));
                world.links[usize::from(*who)].hint(address(*of), node, *source, now);
            }
            Trick::HangUp { who, on } => world.links[usize::from(*who)].hang_up(key(*on), now),
            Trick::Cut(which) => {
                let ids: Vec<_> = world.pairs.iter().map(|(id, (other, _))| (*id, *other)).collect();
                if !ids.is_empty() {
                    let (id, other) = ids[which % ids.len()];
                    let (me, _) = world.pairs[&world.pairs[&id].1];
                    let _ = other;
                    world.cut(me, ConnectionId::new_unchecked(id));
                }
            }
            Trick::Restart(who) => {
                let mine: Vec<_> =
                    world.pairs.iter().filter(|(_, (other, _))| other == who).map(|(_, pair)| pair.1).collect();
                for connection in mine {
                    world.cut(*who, ConnectionId::new_unchecked(connection));
                }
                let mut fresh = Links::new(key(*who), u64::from(*who) + 99);
                fresh.allow(&all, now);
                world.links[usize::from(*who)] = fresh;
            }
            Trick::Forget { who, other } => {
                let rest = all.iter().copied().filter(|node| *node != key(*other)).collect();
                world.links[usize::from(*who)].allow(&rest, now);
            }
            Trick::Remember(who) => world.links[usize::from(*who)].allow(&all, now),
            Trick::Changed(who) => world.links[usize::from(*who)].network_changed(now),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 20_000 }))]

    #[test]
    fn whatever_happened_each_pair_ends_with_two_connections_and_stays_calm(
        tricks in proptest::collection::vec(tricks(), 0..40), seed: u64, delay in prop_oneof![0..10_u64, 0..400_u64],
    ) {
        let mut world = World::new(seed, delay);
        play(&mut world, &tricks);
        // In the end all are members again, and everybody knows where one other is.
        let all: BTreeSet<_> = (0..NODES).map(key).collect();
        for number in 0..NODES {
            let now = world.now;
            let links = &mut world.links[usize::from(number)];
            links.allow(&all, now);
            for other in 0..NODES {
                links.hint(address(other), None, Source::Announced, now);
            }
        }
        world.run(world.now + Duration::from_secs(120));
        prop_assert_eq!(world.faults(), Vec::<String>::new());
        // And then nothing happens any more.
        let dials = world.dials;
        world.run(world.now + Duration::from_secs(1));
        let strays: usize = world.links.iter().map(|links| links.strays.len()).sum();
        if strays == 0 {
            world.run(world.now + Duration::from_secs(3600));
            prop_assert_eq!(world.dials, dials);
        }
        prop_assert_eq!(world.faults(), Vec::<String>::new());
    }

    #[test]
    fn no_number_of_addresses_fills_the_memory(told in proptest::collection::vec((any::<[u8; 4]>(), any::<u16>(), any::<bool>()), 0..600)) {
        let mut links = Links::new(key(0), 1);
        links.allow(&[key(1)].into(), at(0));
        for (ip, port, named) in told {
            links.hint((ip, port).into(), named.then(|| key(1)), Source::Announced, at(5));
            links.handle_timeout(at(5));
            while links.poll_output().is_some() {}
        }
        prop_assert!(links.strays.len() <= MOST_ADDRESSES + MOST_EXPLORED);
        prop_assert!(links.addresses(key(1)).len() <= MOST_PER_MEMBER);
    }
}

#[test]
fn the_smaller_key_dials_and_the_larger_waits() {
    for (me, other, wait) in [(1, 2, 0), (2, 1, 3000)] {
        let mut links = Links::new(key(me), 7);
        links.allow(&[key(other)].into(), at(0));
        links.hint(address(other), Some(key(other)), Source::Remembered, at(0));
        assert_eq!(links.poll_timeout(), Some(at(wait)));
        links.handle_timeout(at(wait));
        let dial = |role| Some(Order::Dial { node: Some(key(other)), role, addresses: vec![address(other)] });
        assert_eq!(links.poll_output(), dial(Role::Control));
        assert_eq!(links.poll_output(), None);
        // Messages first; requests as soon as it is known that somebody is there.
        let id = ConnectionId::new_unchecked(1);
        links.dialled(id, Some(key(other)), Role::Control, None, at(wait));
        links.reached(id, key(other), address(other), at(wait)).unwrap();
        links.up(id, None, at(wait));
        links.handle_timeout(at(2 * wait));
        assert_eq!(links.poll_output(), dial(Role::Data));
    }
}

#[test]
fn redials_are_at_most_a_second_apart_while_a_member_was_seen_lately() {
    let mut links = Links::new(key(1), 7);
    links.allow(&[key(2)].into(), at(0));
    links.hint(address(2), Some(key(2)), Source::Remembered, at(0));
    let (mut now, mut pauses, mut next) = (at(0), Vec::new(), 0);
    while now < at(2 * 3600 * 1000) {
        links.handle_timeout(now);
        while let Some(Order::Dial { node, role, addresses }) = links.poll_output() {
            next += 1;
            let id = ConnectionId::new_unchecked(next);
            links.dialled(id, node, role, addresses.first().copied(), now);
            links.missed(id, Trouble::Silent, None, now);
        }
        let due = links.poll_timeout().unwrap();
        pauses.push((now, due.since(now)));
        now = due;
    }
    let (lately, later): (Vec<_>, Vec<_>) = pauses.into_iter().partition(|(moment, _)| *moment < at(595_000));
    assert!(lately.iter().all(|(_, pause)| *pause <= Duration::from_secs(1)), "{lately:?}");
    assert!(later.iter().all(|(_, pause)| *pause <= SLOWEST));
    // At most every fifteen seconds.
    assert!(later.len() < 2 * 3600 / 15, "{}", later.len());
}

#[test]
fn addresses_that_mean_nothing_here_are_not_dialled() {
    for (told, source, dialled) in [
        ("192.0.2.1:11441", Source::Announced, true),
        ("[fd00::1]:11441", Source::Announced, true),
        ("[::ffff:192.0.2.9]:11441", Source::Peer, true),
        ("127.0.0.1:11441", Source::Announced, false),
        ("127.0.0.1:11441", Source::Peer, false),
        ("127.0.0.1:11441", Source::Typed, true),
        ("[::1]:11441", Source::Foreign, false),
        ("192.0.2.1:0", Source::Typed, false),
        ("0.0.0.0:11441", Source::Typed, false),
        ("[fe80::1]:11441", Source::Announced, false),
        ("224.0.0.251:5353", Source::Announced, false),
        ("255.255.255.255:1", Source::Announced, false),
    ] {
        let mut links = Links::new(key(1), 7);
        links.hint(told.parse().unwrap(), None, source, at(0));
        assert_eq!(links.poll_timeout().is_some(), dialled, "{told} {source:?}");
    }
}

#[test]
fn a_connection_that_says_nothing_of_its_role_is_closed() {
    let mut links = Links::new(key(1), 7);
    links.allow(&[key(2)].into(), at(0));
    let id = ConnectionId::new_unchecked(1);
    links.accepted(id, key(2), at(0)).unwrap();
    links.handle_timeout(at(2999));
    assert_eq!(links.poll_output(), None);
    links.handle_timeout(at(3000));
    assert_eq!(links.poll_output(), Some(Order::Close { node: key(2), connection: id }));
    assert_eq!(links.poll_output(), None);
}

#[test]
fn a_member_that_opens_many_connections_gets_six() {
    let mut links = Links::new(key(1), 7);
    links.allow(&[key(2)].into(), at(0));
    let accepted = (0..20).filter(|number| links.accepted(ConnectionId::new_unchecked(*number), key(2), at(0)).is_ok());
    assert_eq!(accepted.count(), MOST_PER_PEER);
    assert_eq!(links.accepted(ConnectionId::new_unchecked(99), key(3), at(0)), Err(Unwanted::NotAMember));
}

#[test]
fn only_the_smaller_key_closes_doubles_and_the_newest_stays() {
    for (me, other, closes) in [(1, 2, true), (2, 1, false)] {
        let mut links = Links::new(key(me), 7);
        links.allow(&[key(other)].into(), at(0));
        for number in [1, 2] {
            let id = ConnectionId::new_unchecked(number);
            links.accepted(id, key(other), at(0)).unwrap();
            links.told_role(id, Role::Control);
            links.up(id, None, at(number as u64));
        }
        let closed = Order::Close { node: key(other), connection: ConnectionId::new_unchecked(1) };
        assert_eq!(links.poll_output(), closes.then_some(closed));
        assert_eq!(links.poll_output(), None);
    }
}

#[test]
fn a_dial_that_hangs_does_not_keep_others_from_being_made() {
    let mut links = Links::new(key(1), 7);
    links.allow(&[key(2)].into(), at(0));
    links.hint(address(2), Some(key(2)), Source::Remembered, at(0));
    let mut dialled = Vec::new();
    for ms in (0..5000).step_by(100) {
        links.handle_timeout(at(ms));
        while let Some(Order::Dial { node, role, .. }) = links.poll_output() {
            let id = ConnectionId::new_unchecked(dialled.len());
            links.dialled(id, node, role, Some(address(2)), at(ms));
            dialled.push(ms);
        }
    }
    assert_eq!(dialled, [0, 1000, 2000, 3000, 4000]);
    // The second of them is answered; the others are too late.
    assert_eq!(links.reached(ConnectionId::new_unchecked(1), key(2), address(2), at(5000)), Ok(Role::Control));
    assert_eq!(links.reached(ConnectionId::new_unchecked(3), key(2), address(2), at(5000)), Err(Unwanted::Already));
}
