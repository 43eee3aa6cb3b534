//! A fleet in virtual time: machines with their own clocks, connections that delay, stall, break and lie still, and
//! nothing that is not told by a seed.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of it")]

pub mod network;
pub mod script;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use membership::{Input, Membership, Output, Start};
use network::Network;
use proto::wire::{Claim, Message};
use proto::{Epoch, Incarnation, Moment, NodeId, Priority, Role};

/// Microseconds since the world began.
pub type Time = u64;

pub const MS: Time = 1000;
pub const SECOND: Time = 1000 * MS;

/// Numbers that look random and are not (SplitMix64).
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub fn pick<T: Copy>(&mut self, things: &[T]) -> Option<T> {
        things.get(usize::try_from(self.below(things.len() as u64)).unwrap()).copied()
    }
}

/// What will happen.
#[derive(Clone, Debug)]
pub enum Event {
    Deliver { from: usize, to: usize, connection: u64, message: Arc<Message> },
    Closed { node: usize, peer: usize, connection: u64 },
    Dialled { from: usize, to: usize },
    Timer { node: usize, start: u64 },
}

struct Queued(Time, u64, Event);

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// One machine.
pub struct Machine {
    pub id: NodeId,
    pub role: Role,
    pub priority: Priority,
    /// `None`: the program does not run.
    pub core: Option<Membership>,
    pub is_asleep: bool,
    pub is_on_roster: bool,
    pub is_liar: bool,
    /// What it stored.
    pub incarnation: u64,
    pub epoch: Epoch,
    /// Its clock: where it began and how many millionths it is too fast.
    clock: (u64, i64),
    /// When its timer rings, in the world's time.
    timer: Option<Time>,
    /// What came while it slept.
    mail: Vec<Event>,
    /// Whom it follows, as it last said.
    pub leader: Option<usize>,
    pub told: Epoch,
    pub alive: Vec<usize>,
    pub states: usize,
    pub settings: BTreeMap<String, String>,
    pub twins: Vec<NodeId>,
}

/// A change of mind.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    pub at: Time,
    pub node: usize,
    pub leader: Option<usize>,
    pub epoch: Epoch,
}

pub struct World {
    pub seed: u64,
    pub rng: Rng,
    pub now: Time,
    pub machines: Vec<Machine>,
    pub network: Network,
    pub changes: Vec<Change>,
    pub sent: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    serial: u64,
}

impl World {
    pub fn new(seed: u64, network: Network, machines: &[(Role, Priority)]) -> World {
        let mut rng = Rng(seed);
        let machines = machines.iter().enumerate().map(|(at, &(role, priority))| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&rng.next().to_be_bytes());
            key[31] = u8::try_from(at).unwrap();
            let clock = (rng.below(1 << 40), i64::try_from(rng.below(401)).unwrap() - 200);
            Machine {
                id: NodeId::new(key),
                role,
                priority,
                core: None,
                is_asleep: false,
                is_on_roster: true,
                is_liar: false,
                incarnation: 0,
                epoch: Epoch::default(),
                clock,
                timer: None,
                mail: vec![],
                leader: None,
                told: Epoch::default(),
                alive: vec![],
                states: 0,
                settings: BTreeMap::new(),
                twins: vec![],
            }
        });
        let machines: Vec<Machine> = machines.collect();
        let network = network.among(machines.len());
        World {
            seed,
            rng,
            now: SECOND,
            machines,
            network,
            changes: vec![],
            sent: 0,
            queue: BinaryHeap::new(),
            serial: 0,
        }
    }

    pub fn roster(&self) -> Vec<(NodeId, Role)> {
        let members = self.machines.iter().filter(|machine| machine.is_on_roster);
        members.map(|machine| (machine.id, machine.role)).collect()
    }

    pub fn index(&self, id: NodeId) -> usize {
        self.machines
            .iter()
            .position(|machine| machine.id == id)
            .unwrap_or_else(|| panic!("an outsider: {}", self.story()))
    }

    pub fn story(&self) -> String {
        format!("seed {} at {:.3} s", self.seed, self.now as f64 / 1e6)
    }

    // What happens to machines.

    pub fn start(&mut self, node: usize) {
        let roster = self.roster();
        let seed = self.rng.next();
        let now = self.local(node);
        let machine = &mut self.machines[node];
        assert!(machine.core.is_none());
        let start = Start {
            me: machine.id,
            incarnation: Incarnation(machine.incarnation + 1),
            epoch: machine.epoch,
            priority: machine.priority,
            settings: vec![],
            seed,
        };
        machine.core = Some(Membership::new(start, now));
        machine.is_asleep = false;
        machine.timer = None;
        machine.leader = None;
        machine.alive.clear();
        machine.mail.clear();
        self.tell(node, Input::Roster(roster));
    }

    /// The process dies: the system closes its connections.
    pub fn kill(&mut self, node: usize) {
        self.machines[node].core = None;
        self.machines[node].leader = None;
        for peer in 0..self.machines.len() {
            self.close(node, peer);
        }
    }

    /// Nothing is closed: the others only notice the silence.
    pub fn cut_power(&mut self, node: usize) {
        self.machines[node].core = None;
        self.machines[node].leader = None;
        for peer in 0..self.machines.len() {
            self.network.forget(node, peer, self.now);
            self.network.held[node][peer].clear();
        }
    }

    pub fn leave(&mut self, node: usize) {
        self.tell(node, Input::Leave);
        // Its last words are on their way; then the process ends.
        self.kill(node);
    }

    pub fn sleep(&mut self, node: usize) {
        self.machines[node].is_asleep = true;
    }

    pub fn wake(&mut self, node: usize, is_told: bool) {
        self.machines[node].is_asleep = false;
        if is_told {
            self.tell(node, Input::Slept);
        }
        // Its timer rings before it reads what came meanwhile.
        self.ring(node);
        for event in std::mem::take(&mut self.machines[node].mail) {
            self.at(self.now + 50, event);
        }
    }

    pub fn is_up(&self, node: usize) -> bool {
        self.machines[node].core.is_some() && !self.machines[node].is_asleep
    }

    pub fn up(&self) -> Vec<usize> {
        (0..self.machines.len()).filter(|node| self.is_up(*node)).collect()
    }

    /// Sets what passes between each two machines, and sends on what waited.
    pub fn rewire(&mut self, passes: impl Fn(usize, usize) -> bool) {
        for from in 0..self.machines.len() {
            for to in 0..self.machines.len() {
                let passes = from == to || passes(from, to);
                self.network.passes[from][to] = passes;
                if passes {
                    for event in std::mem::take(&mut self.network.held[from][to]) {
                        // The sender's next try.
                        let next_try = self.now + self.rng.between(50 * MS, 1500 * MS);
                        let arrival = self.network.in_order(from, to, next_try);
                        self.at(arrival, event);
                    }
                }
            }
        }
    }

    // Running.

    pub fn run(&mut self, span: Time) {
        self.run_until(self.now + span, |_| false);
    }

    /// Runs until `done`, at most until `end`; whether it was done.
    pub fn run_until(&mut self, end: Time, done: impl Fn(&World) -> bool) -> bool {
        while self.queue.peek().is_some_and(|Reverse(next)| next.0 <= end) {
            let Some(Reverse(Queued(at, _, event))) = self.queue.pop() else { break };
            self.now = at;
            let changes = self.changes.len();
            self.happen(event);
            if self.changes.len() != changes && done(self) {
                return true;
            }
        }
        self.now = end;
        done(self)
    }

    fn at(&mut self, at: Time, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse(Queued(at, self.serial, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Timer { node, start } => {
                let machine = &mut self.machines[node];
                if machine.timer == Some(self.now) && machine.incarnation_now() == start {
                    machine.timer = None;
                    if !machine.is_asleep {
                        self.ring(node);
                    }
                }
            }
            Event::Deliver { from, to, connection, .. } => {
                let (open, late) = (self.network.connection[to][from], self.network.late[to][from]);
                let is_late = late.is_some_and(|(late, until)| late == connection && self.now <= until);
                if open != Some(connection) && !is_late {
                    return;
                }
                if !self.network.passes[from][to] {
                    return self.network.hold(from, to, event);
                }
                if self.machines[to].is_asleep {
                    return self.machines[to].mail.push(event);
                }
                let Event::Deliver { message, .. } = event else { return };
                let from_id = self.machines[from].id;
                if self.rng.one_in(8) {
                    self.tell(to, Input::Heard(from_id));
                }
                let message =
                    if self.rng.one_in(64) { Message::decode(&message.encode()).unwrap() } else { (*message).clone() };
                self.tell(to, Input::Message(from_id, message));
            }
            Event::Closed { node, peer, connection } => {
                if self.network.connection[node][peer] != Some(connection) {
                    return;
                }
                if !self.network.passes[peer][node] {
                    return self.network.hold(peer, node, event);
                }
                if self.machines[node].is_asleep {
                    return self.machines[node].mail.push(event);
                }
                self.hang_up(node, peer);
            }
            Event::Dialled { from, to } => self.dialled(from, to),
        }
    }

    fn ring(&mut self, node: usize) {
        let now = self.local(node);
        if let Some(core) = &mut self.machines[node].core {
            core.handle_timeout(now);
            self.carry_out(node);
        }
    }

    pub fn tell(&mut self, node: usize, input: Input) {
        let now = self.local(node);
        if let Some(core) = &mut self.machines[node].core {
            core.handle(input, now);
            self.carry_out(node);
        }
    }

    fn carry_out(&mut self, node: usize) {
        while let Some(output) = self.machines[node].core.as_mut().and_then(Membership::poll_output) {
            match output {
                Output::Send(to, message) => self.send(node, self.index(to), message),
                Output::Persist { incarnation, epoch } => {
                    let machine = &mut self.machines[node];
                    assert!(incarnation.0 >= machine.incarnation && epoch >= machine.epoch, "seed {}", self.seed);
                    (machine.incarnation, machine.epoch) = (incarnation.0, epoch);
                }
                Output::LeaderChanged { leader, epoch } => self.follow(node, leader, epoch),
                Output::MemberAlive(peer) => {
                    let peer = self.index(peer);
                    assert!(!self.machines[node].alive.contains(&peer), "twice alive: {}", self.story());
                    self.machines[node].alive.push(peer);
                }
                Output::MemberDead(peer) => {
                    let peer = self.index(peer);
                    assert!(self.machines[node].alive.contains(&peer), "twice dead: {}", self.story());
                    self.machines[node].alive.retain(|alive| *alive != peer);
                }
                Output::Redial(peer) => self.redial(node, self.index(peer)),
                Output::StateOf(..) => self.machines[node].states += 1,
                Output::SettingChanged(setting) => {
                    let settings = &mut self.machines[node].settings;
                    match setting.value {
                        Some(value) => drop(settings.insert(setting.key, value)),
                        None => drop(settings.remove(&setting.key)),
                    }
                }
                Output::SettingRefused { .. } => {}
                Output::DuplicateIdentity(whose) => self.machines[node].twins.push(whose),
            }
        }
        self.set_timer(node);
    }

    fn follow(&mut self, node: usize, leader: Option<NodeId>, epoch: Epoch) {
        let leader = leader.map(|leader| self.index(leader));
        if let Some(leader) = leader {
            let chosen = &self.machines[leader];
            assert!(chosen.role != Role::Guest, "a guest leads: {}", self.story());
            // A liar can say so of one that nobody hears.
            let has_liar = self.machines.iter().any(|machine| machine.is_liar);
            assert!(chosen.priority != Priority::Never || has_liar, "one that never leads leads: {}", self.story());
            assert!(chosen.is_on_roster, "an outsider leads: {}", self.story());
        }
        let story = self.story();
        let machine = &mut self.machines[node];
        assert!(epoch >= machine.told, "node {node} goes back from {} to {epoch}: {story}", machine.told);
        assert!(epoch <= machine.epoch, "epoch {epoch} was not stored: {story}");
        (machine.leader, machine.told) = (leader, epoch);
        self.changes.push(Change { at: self.now, node, leader, epoch });
    }

    fn set_timer(&mut self, node: usize) {
        let Some(wake) = self.machines[node].core.as_ref().and_then(Membership::poll_timeout) else { return };
        let at = self.world_time(node, wake).max(self.now + 1);
        let machine = &mut self.machines[node];
        // One that rings too early does no harm and saves the queue a lot.
        if machine.timer.is_none_or(|timer| at < timer || timer <= self.now) {
            machine.timer = Some(at);
            let start = machine.incarnation_now();
            self.at(at, Event::Timer { node, start });
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Arc<Message>) {
        self.sent += 1;
        let Some(connection) = self.network.connection[from][to] else { return };
        let message = if self.machines[from].is_liar { Arc::new(self.lie((*message).clone())) } else { message };
        if let Some(arrival) = self.network.arrival(from, to, self.now, &mut self.rng) {
            self.at(arrival, Event::Deliver { from, to, connection, message });
        }
    }

    /// A message that is not true in some ways.
    fn lie(&mut self, message: Message) -> Message {
        let Message::Pulse(mut pulse) = message else { return message };
        let numbers = [0, 1, 2, 77, 1 << 32, u64::MAX];
        for _ in 0..self.rng.below(4) {
            let number = self.rng.pick(&numbers).unwrap();
            let leader = self.rng.below(self.machines.len() as u64 + 1) as usize;
            let leader = self.machines.get(leader).map_or(NodeId::new([99; 32]), |machine| machine.id);
            match self.rng.below(9) {
                0 => pulse.incarnation = Incarnation(number),
                1 => pulse.seq = number,
                2 => pulse.epoch = Epoch::new(number),
                3 => pulse.claim = None,
                4 => pulse.hears = vec![self.rng.next() as u8; 3],
                5 => pulse.roster = number,
                6 => pulse.settings = number,
                7 => pulse.priority = Priority::Chosen,
                _ => {
                    pulse.claim = Some(Claim {
                        leader,
                        epoch: Epoch::new(number),
                        incarnation: Incarnation(self.rng.below(3)),
                        seq: self.rng.pick(&numbers).unwrap(),
                        size: self.rng.below(9) as u32,
                        priority: Priority::High,
                        hops: self.rng.below(4) as u8,
                    });
                }
            }
        }
        Message::Pulse(pulse)
    }

    // Connections.

    fn redial(&mut self, from: usize, to: usize) {
        if self.network.connection[from][to].is_some() {
            self.close(from, to);
            let peer = self.machines[to].id;
            self.tell(from, Input::Disconnected(peer));
        }
        // The larger one dials only when the smaller one did not.
        let is_smaller = self.machines[from].id < self.machines[to].id;
        let is_missing = self.now >= self.network.ended[from][to] + 3 * SECOND;
        if (is_smaller || is_missing) && !std::mem::replace(&mut self.network.dialling[from][to], true) {
            let round_trips = 4 * self.network.latency(&mut self.rng);
            self.at(self.now + round_trips, Event::Dialled { from, to });
        }
    }

    fn dialled(&mut self, from: usize, to: usize) {
        self.network.dialling[from][to] = false;
        let passes = self.network.passes[from][to] && self.network.passes[to][from];
        if !passes || !self.is_up(from) || !self.is_up(to) || self.network.is_connected(from, to) {
            return;
        }
        let connection = self.network.connect(from, to);
        for (node, peer) in [(from, to), (to, from)] {
            if self.network.connection[node][peer].is_some() {
                self.hang_up(node, peer);
            }
            self.network.connection[node][peer] = Some(connection);
            let peer = self.machines[peer].id;
            self.tell(node, Input::Connected(peer));
        }
    }

    /// `node` ends its connection to `peer`, which learns of it if word gets there.
    fn close(&mut self, node: usize, peer: usize) {
        let Some(connection) = self.network.forget(node, peer, self.now) else { return };
        let mut arrival = self.network.now_or_later(node, peer, self.now, &mut self.rng);
        if self.rng.one_in(4) {
            // Nobody promises that the end is told after the last message.
            arrival = self.now + self.network.least;
            self.network.late[peer][node] = Some((connection, self.now + SECOND));
        }
        self.at(arrival, Event::Closed { node: peer, peer: node, connection });
    }

    /// A connection breaks for no reason that either end knows of.
    pub fn break_connection(&mut self, one: usize, other: usize) {
        if self.network.is_connected(one, other) {
            self.hang_up(one, other);
            self.hang_up(other, one);
        }
    }

    fn hang_up(&mut self, node: usize, peer: usize) {
        self.network.forget(node, peer, self.now);
        let peer = self.machines[peer].id;
        if self.is_up(node) {
            self.tell(node, Input::Disconnected(peer));
        }
    }

    // Clocks.

    pub fn local(&self, node: usize) -> Moment {
        let (offset, ppm) = self.machines[node].clock;
        let skew = i128::from(self.now) * i128::from(ppm) / 1_000_000;
        let local = i128::from(self.now) + skew + i128::from(offset);
        Moment::at(Duration::from_micros(u64::try_from(local).unwrap()))
    }

    fn world_time(&self, node: usize, moment: Moment) -> Time {
        let (offset, ppm) = self.machines[node].clock;
        let local = moment.since(Moment::at(Duration::from_micros(offset))).as_micros();
        let time = i128::try_from(local).unwrap() * 1_000_000 / (1_000_000 + i128::from(ppm));
        u64::try_from(time).unwrap() + 1
    }
}

impl Machine {
    /// Which start the running program is, to tell its timers from those of the one before.
    fn incarnation_now(&self) -> u64 {
        self.incarnation
    }
}

pub fn percentile(sorted: &[Time], percent: usize) -> Time {
    let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(at).copied().unwrap_or_default()
}

/// A world that fails tells how it came to that.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let machines = self.machines.iter().map(|machine| (machine.role, machine.priority));
            eprintln!("{} on a {} network: {:?}", self.story(), self.network.name, machines.collect::<Vec<_>>());
            for Change { at, node, leader, epoch } in &self.changes {
                let leader = leader.map_or("nobody".to_owned(), |leader| leader.to_string());
                eprintln!("{:>9.3} s: {node} follows {leader} in epoch {epoch}", *at as f64 / 1e6);
            }
        }
    }
}
