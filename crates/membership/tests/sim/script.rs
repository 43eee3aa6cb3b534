//! What happens to a fleet, what must come of it, and how long it took.

use std::collections::BTreeMap;

use membership::Input;
use proto::{Priority, Role};

use super::network::Network;
use super::{MS, Rng, SECOND, Time, World, percentile};

/// How long each kind of thing took, in microseconds.
#[derive(Debug, Default)]
pub struct Times(pub BTreeMap<(&'static str, &'static str), Vec<Time>>);

impl Times {
    fn add(&mut self, what: &'static str, world: &World, took: Time) {
        self.0.entry((what, world.network.name)).or_default().push(took);
    }

    pub fn merge(&mut self, other: Times) {
        for (what, times) in other.0 {
            self.0.entry(what).or_default().extend(times);
        }
    }

    pub fn percentile(&self, what: &'static str, network: &'static str, percent: usize) -> Time {
        let mut times = self.0.get(&(what, network)).cloned().unwrap_or_default();
        times.sort_unstable();
        percentile(&times, percent)
    }

    pub fn table(&self) -> String {
        let mut table = format!(
            "{:<44} {:<9} {:>7} {:>7} {:>7} {:>7} {:>7}\n",
            "seconds", "network", "worlds", "p50", "p90", "p99", "max"
        );
        for ((what, network), times) in &self.0 {
            let mut times = times.clone();
            times.sort_unstable();
            let [p50, p90, p99, most] =
                [50, 90, 99, 100].map(|percent| format!("{:.3}", percentile(&times, percent) as f64 / 1e6));
            table += &format!("{what:<44} {network:<9} {:>7} {p50:>7} {p90:>7} {p99:>7} {most:>7}\n", times.len());
        }
        table
    }
}

impl World {
    /// Machines that run and can lead.
    fn candidates(&self) -> Vec<usize> {
        let may_lead = |node: &usize| {
            let machine = &self.machines[*node];
            machine.role != Role::Guest && machine.priority != Priority::Never
        };
        self.up().into_iter().filter(may_lead).collect()
    }

    /// The running machines in groups that can reach each other, on ways over others too.
    pub fn components(&self) -> Vec<Vec<usize>> {
        let mut left = self.up();
        let mut components = vec![];
        while let Some(first) = left.pop() {
            let mut component = vec![first];
            let mut next = 0;
            while next < component.len() {
                let node = component[next];
                let passes = &self.network.passes;
                let (near, far) = left.iter().partition(|other| passes[node][**other] && passes[**other][node]);
                left = far;
                component.extend::<Vec<usize>>(near);
                next += 1;
            }
            components.push(component);
        }
        components
    }

    /// Whether every group has one leader that all in it follow, or nobody who could lead.
    pub fn agrees(&self) -> bool {
        let candidates = self.candidates();
        self.components().iter().all(|component| {
            let leader = self.machines[component[0]].leader;
            let is_same = component.iter().all(|node| self.machines[*node].leader == leader);
            match leader {
                Some(leader) => is_same && component.contains(&leader),
                None => is_same && !component.iter().any(|node| candidates.contains(node)),
            }
        })
    }

    pub fn leader(&self) -> Option<usize> {
        self.up().first().and_then(|node| self.machines[*node].leader)
    }

    /// Runs until all agree; how long it took. It must not take longer than `most`.
    pub fn settle(&mut self, most: Time) -> Time {
        let begin = self.now;
        if !self.agrees() && !self.run_until(begin + most, World::agrees) {
            let leaders: Vec<_> = self.machines.iter().map(|machine| (machine.leader, machine.told)).collect();
            let views: Vec<_> = self
                .up()
                .iter()
                .map(|node| {
                    let now = self.local(*node);
                    self.machines[*node].core.as_ref().unwrap().view(now)
                })
                .collect();
            panic!("no agreement after {} s: {}: {leaders:?}\n{views:#?}", most / SECOND, self.story());
        }
        self.now.max(begin) - begin
    }

    /// Nobody changes its mind for `span`.
    pub fn stay_calm(&mut self, span: Time) {
        let changes = self.changes.len();
        self.run(span);
        assert_eq!(self.changes.len(), changes, "{:?}: {}", &self.changes[changes..], self.story());
        assert!(self.agrees(), "{}", self.story());
    }

    fn followers(&self, leader: usize) -> usize {
        self.up().into_iter().filter(|node| self.machines[*node].leader == Some(leader)).count()
    }
}

/// A fleet of two to six machines on some network.
pub fn random_world(seed: u64) -> World {
    let mut rng = Rng(seed ^ 0xf1ee7);
    let count = rng.between(2, 6);
    let machines: Vec<(Role, Priority)> = (0..count)
        .map(|_| {
            let role = [Role::Admin, Role::Member, Role::Member, Role::Guest][rng.below(4) as usize];
            let priorities = [Priority::Never, Priority::Low, Priority::Normal, Priority::Normal, Priority::High];
            (role, priorities[rng.below(5) as usize])
        })
        .collect();
    let network = match rng.below(5) {
        0 | 1 => Network::wired(),
        2 | 3 => Network::wireless(),
        _ => Network::poor(),
    };
    World::new(seed, network, &machines)
}

/// The same with machines that all may lead.
pub fn world_of_equals(seed: u64) -> World {
    let mut world = random_world(seed);
    for machine in &mut world.machines {
        machine.role = Role::Member;
        machine.priority = machine.priority.max(Priority::Low);
    }
    world
}

/// Plays one world and says how long things took; what must not happen panics and names the seed.
pub type Story = fn(u64) -> Times;

/// What may happen to a fleet.
pub const STORIES: [(&str, Story); 13] = [
    ("boot", boot),
    ("leader dies", leader_dies),
    ("leader goes silent", leader_goes_silent),
    ("leader leaves", leader_leaves),
    ("partition", partition),
    ("sleep", sleep),
    ("newcomer", newcomer),
    ("partial mesh", partial_mesh),
    ("one-way", one_way),
    ("blip", blip),
    ("settings", settings),
    ("liar", liar),
    ("churn", churn),
];

fn start_all(world: &mut World, spread: Time) {
    for node in 0..world.machines.len() {
        let pause = world.rng.below(spread + 1);
        world.run(pause);
        world.start(node);
    }
}

fn boot_calm(world: &mut World) -> Time {
    let spread = world.rng.pick(&[0, 0, 10 * MS, SECOND, 5 * SECOND]).unwrap();
    start_all(world, spread);
    let took = world.settle(15 * SECOND);
    // Until all have watched long enough to lead, and two who claimed at once have settled it.
    world.run(4 * SECOND);
    took
}

/// A power cut: all start at once, or one after the other. A calm fleet elects once.
fn boot(seed: u64) -> Times {
    let mut world = random_world(seed);
    let mut times = Times::default();
    if world.network.name == "wired" {
        // Nothing is late there, so nobody changes its mind: one election, of which each learns once.
        let mut calm = random_world(seed);
        start_all(&mut calm, 10 * MS);
        calm.run(60 * SECOND);
        assert!(calm.agrees(), "{}", calm.story());
        let once = if calm.leader().is_some() { calm.machines.len() } else { 0 };
        assert_eq!(calm.changes.len(), once, "{}", calm.story());
    }
    let took = boot_calm(&mut world);
    times.add("boot, all agree", &world, took);
    world.stay_calm(20 * SECOND);
    for node in world.up() {
        world.cut_power(node);
    }
    world.run(SECOND);
    let took = boot_calm(&mut world);
    times.add("boot again, all agree", &world, took);
    world.stay_calm(5 * SECOND);
    times
}

/// Those that are left agree on another leader.
fn succession(world: &mut World, old: usize, most: Time) -> Time {
    let begin = world.now;
    let survivors = world.up();
    let done =
        |world: &World| survivors.iter().all(|node| world.machines[*node].leader.is_some_and(|leader| leader != old));
    assert!(done(world) || world.run_until(begin + most, done), "no successor: {}", world.story());
    let took = world.now - begin;
    world.settle(5 * SECOND);
    took
}

fn leader_dies(seed: u64) -> Times {
    let mut world = world_of_equals(seed);
    boot_calm(&mut world);
    let pause = world.rng.below(2 * SECOND);
    world.run(pause);
    let old = world.leader().unwrap();
    world.kill(old);
    let mut times = Times::default();
    let took = succession(&mut world, old, 8 * SECOND);
    times.add("leader's process dies, all follow another", &world, took);
    let new = world.leader();
    world.run(3 * SECOND);
    assert_eq!(world.leader(), new, "{}", world.story());
    // It returns as a follower, however good it is.
    world.start(old);
    world.settle(3 * SECOND);
    assert_eq!(world.leader(), new, "{}", world.story());
    world.stay_calm(6 * SECOND);
    times
}

fn leader_goes_silent(seed: u64) -> Times {
    let mut world = world_of_equals(seed);
    boot_calm(&mut world);
    let pause = world.rng.below(2 * SECOND);
    world.run(pause);
    let old = world.leader().unwrap();
    world.cut_power(old);
    let mut times = Times::default();
    let took = succession(&mut world, old, 10 * SECOND);
    times.add("leader goes silent, all follow another", &world, took);
    world.run(2 * SECOND);
    world.stay_calm(4 * SECOND);
    times
}

fn leader_leaves(seed: u64) -> Times {
    let mut world = world_of_equals(seed);
    boot_calm(&mut world);
    let old = world.leader().unwrap();
    world.leave(old);
    let mut times = Times::default();
    let took = succession(&mut world, old, 5 * SECOND);
    times.add("leader leaves, all follow another", &world, took);
    world.run(2 * SECOND);
    world.stay_calm(4 * SECOND);
    times
}

/// Two halves, each with its leader; healed, the larger half keeps its own.
fn partition(seed: u64) -> Times {
    let mut world = random_world(seed);
    boot_calm(&mut world);
    let sides: Vec<bool> = world.machines.iter().map(|_| world.rng.one_in(2)).collect();
    world.rewire(|from, to| sides[from] == sides[to]);
    let mut times = Times::default();
    world.settle(20 * SECOND);
    let pause = world.rng.between(2 * SECOND, 6 * SECOND);
    world.run(pause);
    let mut leaders: Vec<usize> = world.machines.iter().filter_map(|machine| machine.leader).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let mut by_followers: Vec<_> = leaders.iter().map(|leader| (world.followers(*leader), *leader)).collect();
    by_followers.sort_unstable_by(|one, other| other.cmp(one));
    world.rewire(|_, _| true);
    let took = world.settle(10 * SECOND);
    if by_followers.len() == 2 {
        times.add("healed, all agree", &world, took);
        if by_followers[0].0 > by_followers[1].0 {
            assert_eq!(world.leader(), Some(by_followers[0].1), "the smaller half won: {}", world.story());
        }
    }
    world.run(2 * SECOND);
    world.stay_calm(4 * SECOND);
    times
}

fn sleep(seed: u64) -> Times {
    let mut world = world_of_equals(seed);
    boot_calm(&mut world);
    let leader = world.leader().unwrap();
    let sleeper = world.rng.below(world.machines.len() as u64) as usize;
    let sleeper = if world.rng.one_in(2) { leader } else { sleeper };
    world.sleep(sleeper);
    let span = world.rng.pick(&[SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND, 5 * SECOND, 30 * SECOND]).unwrap();
    world.run(span);
    let while_asleep = world.leader();
    let is_told = world.rng.one_in(2);
    world.wake(sleeper, is_told);
    let mut times = Times::default();
    let took = world.settle(10 * SECOND);
    times.add("woken, all agree", &world, took);
    if span >= 30 * SECOND && world.machines.len() > 2 {
        assert_eq!(world.leader(), while_asleep, "whoever woke took over: {}", world.story());
    }
    world.run(4 * SECOND);
    world.stay_calm(4 * SECOND);
    times
}

/// Who joins follows, however good it is.
fn newcomer(seed: u64) -> Times {
    let mut world = world_of_equals(seed);
    let last = world.machines.len() - 1;
    world.machines[last].priority = Priority::Chosen;
    for node in 0..last {
        world.start(node);
    }
    world.settle(15 * SECOND);
    world.run(2 * SECOND);
    let leader = world.leader();
    let changes = world.changes.len();
    // It once was in later epochs than the fleet, or never anywhere.
    world.machines[last].epoch = proto::Epoch::new(world.rng.pick(&[0, 50]).unwrap());
    world.machines[last].told = world.machines[last].epoch;
    world.start(last);
    let mut times = Times::default();
    let took = world.settle(5 * SECOND);
    times.add("newcomer follows", &world, took);
    assert_eq!(world.leader(), leader, "{}", world.story());
    let strays = world.changes[changes..].iter().filter(|change| change.leader != leader).count();
    assert_eq!(strays, 0, "{}", world.story());
    world.run(4 * SECOND);
    world.stay_calm(5 * SECOND);
    times
}

/// Some pairs cannot reach each other: still one leader, and whoever only lost its own way to it does not claim.
fn partial_mesh(seed: u64) -> Times {
    let mut world = random_world(seed);
    boot_calm(&mut world);
    let count = world.machines.len();
    let leader = world.leader();
    // A chain of all machines, in some order, and some of the other pairs.
    let mut order: Vec<usize> = (0..count).collect();
    for at in 1..count {
        order.swap(at, world.rng.below(at as u64 + 1) as usize);
    }
    let mut passes = vec![vec![false; count]; count];
    for at in 1..count {
        passes[order[at - 1]][order[at]] = true;
    }
    for passes in passes.iter_mut().flatten() {
        *passes |= world.rng.one_in(3);
    }
    let changes = world.changes.len();
    world.rewire(|from, to| passes[from][to] || passes[to][from]);
    let mut times = Times::default();
    world.run(12 * SECOND);
    world.settle(20 * SECOND);
    // Whoever has two or more ways to others has not moved, so its leader stays its leader.
    let is_well_connected =
        (0..count).all(|one| (0..count).filter(|other| one != *other && world.network.passes[one][*other]).count() > 1);
    if is_well_connected && leader.is_some() {
        let strays =
            world.changes[changes..].iter().filter(|change| change.leader.is_some() && change.leader != leader);
        assert_eq!(strays.count(), 0, "a live leader was replaced: {:?} {}", &world.changes[changes..], world.story());
    }
    world.run(3 * SECOND);
    world.stay_calm(5 * SECOND);
    // The leader of a partial mesh dies: word must get round that it is gone, and who is next.
    if let Some(old) = world.leader().filter(|_| world.components().len() == 1) {
        world.cut_power(old);
        let begin = world.now;
        world.settle(30 * SECOND);
        let took = world.now - begin;
        times.add("partial mesh, leader silent, all agree", &world, took);
        world.run(3 * SECOND);
        world.stay_calm(4 * SECOND);
    }
    world.rewire(|_, _| true);
    world.settle(15 * SECOND);
    world.run(3 * SECOND);
    world.stay_calm(4 * SECOND);
    times
}

/// Nothing gets from some machine to another, while the other way is open.
fn one_way(seed: u64) -> Times {
    let mut world = world_of_equals(seed);
    boot_calm(&mut world);
    let count = world.machines.len() as u64;
    let (mute, deaf) = (world.rng.below(count) as usize, world.rng.below(count) as usize);
    world.rewire(|from, to| (from, to) != (mute, deaf));
    let mut times = Times::default();
    world.run(15 * SECOND);
    world.settle(20 * SECOND);
    world.stay_calm(5 * SECOND);
    world.rewire(|_, _| true);
    let took = world.settle(10 * SECOND);
    times.add("one way mended, all agree", &world, took);
    world.run(3 * SECOND);
    world.stay_calm(4 * SECOND);
    times
}

/// Connections break and come back at once: with a third machine that sees it, nobody but the leader leads.
fn blip(seed: u64) -> Times {
    let mut world = world_of_equals(seed);
    boot_calm(&mut world);
    let leader = world.leader();
    let changes = world.changes.len();
    let count = world.machines.len();
    for _ in 0..4 {
        let one = world.rng.below(count as u64) as usize;
        let other = (one + 1 + world.rng.below(count as u64 - 1) as usize) % count;
        world.break_connection(one, other);
        let pause = world.rng.between(1500 * MS, 4 * SECOND);
        world.run(pause);
    }
    // On a poor one, a third machine may be out of reach just then.
    if count > 2 && world.network.name != "poor" {
        let strays = world.changes[changes..].iter().filter(|change| change.leader != leader);
        assert_eq!(strays.count(), 0, "{:?} {}", &world.changes[changes..], world.story());
    }
    let mut times = Times::default();
    let took = world.settle(5 * SECOND);
    times.add("connections blinked, all agree", &world, took);
    world.run(2 * SECOND);
    world.stay_calm(4 * SECOND);
    times
}

/// What is set on either side of a partition is the same everywhere afterwards; guests get nothing.
fn settings(seed: u64) -> Times {
    let mut world = random_world(seed);
    boot_calm(&mut world);
    let sides: Vec<bool> = world.machines.iter().map(|_| world.rng.one_in(2)).collect();
    world.rewire(|from, to| sides[from] == sides[to]);
    for _ in 0..world.rng.below(12) {
        let node = world.rng.below(world.machines.len() as u64) as usize;
        let key = world.rng.pick(&["pin", "allow", "name"]).unwrap().to_owned();
        let value = world.rng.pick(&[None, Some("one"), Some("two")]).unwrap().map(str::to_owned);
        world.tell(node, Input::SettingSet { key, value });
        let pause = world.rng.below(3 * SECOND);
        world.run(pause);
    }
    world.rewire(|_, _| true);
    let healed = world.now;
    let is_same = |world: &World| {
        let members = world.machines.iter().filter(|machine| machine.role != Role::Guest);
        let mut maps = members.map(|machine| &machine.settings);
        maps.next().is_none_or(|first| maps.all(|other| other == first))
    };
    while !is_same(&world) {
        assert!(world.now < healed + 30 * SECOND, "settings differ for ever: {}", world.story());
        world.run(100 * MS);
    }
    let mut times = Times::default();
    let took = world.now - healed;
    times.add("healed, all have the same settings", &world, took);
    world.settle(10 * SECOND);
    // They stay quiet about it: pulses, and a state now and then.
    let before = world.sent;
    world.run(20 * SECOND);
    let pairs = world.machines.len() * (world.machines.len() - 1);
    assert!(world.sent - before < (pairs * 30) as u64, "{} messages: {}", world.sent - before, world.story());
    assert!(is_same(&world), "{}", world.story());
    let guests = world.machines.iter().filter(|machine| machine.role == Role::Guest);
    assert!(guests.into_iter().all(|guest| guest.settings.is_empty()), "{}", world.story());
    times
}

/// One member says what it likes. The others agree as soon as it is removed, and never follow what they must not.
fn liar(seed: u64) -> Times {
    let mut world = random_world(seed);
    let liar = world.rng.below(world.machines.len() as u64) as usize;
    world.machines[liar].is_liar = true;
    start_all(&mut world, SECOND);
    world.run(20 * SECOND);
    world.machines[liar].is_on_roster = false;
    let roster = world.roster();
    for node in world.up() {
        world.tell(node, Input::Roster(roster.clone()));
    }
    // Nobody accepts its connections any more.
    world.rewire(|from, to| from != liar && to != liar);
    world.machines[liar].core = None;
    let took = world.settle(15 * SECOND);
    let mut times = Times::default();
    times.add("liar removed, all agree", &world, took);
    world.run(4 * SECOND);
    world.stay_calm(4 * SECOND);
    times
}

fn churn(seed: u64) -> Times {
    let mut world = random_world(seed);
    let count = world.machines.len() as u64;
    for _ in 0..25 {
        let node = world.rng.below(count) as usize;
        let is_running = world.machines[node].core.is_some();
        match world.rng.below(9) {
            0 if is_running => world.kill(node),
            1 if is_running => world.cut_power(node),
            2 if is_running && !world.machines[node].is_asleep => world.leave(node),
            3 if is_running => world.sleep(node),
            4 => {
                let sides: Vec<bool> = world.machines.iter().map(|_| world.rng.one_in(2)).collect();
                world.rewire(|from, to| sides[from] == sides[to]);
            }
            5 => {
                let blocked: Vec<u64> = (0..count * count).map(|_| world.rng.below(4)).collect();
                world.rewire(|from, to| blocked[from * count as usize + to] != 0);
            }
            6 => world.rewire(|_, _| true),
            _ if !is_running => world.start(node),
            _ if world.machines[node].is_asleep => world.wake(node, false),
            _ => world.tell(node, Input::ClockJumped),
        }
        let pause = world.rng.below(3 * SECOND);
        world.run(pause);
    }
    world.rewire(|_, _| true);
    for node in 0..world.machines.len() {
        if world.machines[node].core.is_none() {
            world.start(node);
        } else if world.machines[node].is_asleep {
            world.wake(node, true);
        }
    }
    let mut times = Times::default();
    let took = world.settle(20 * SECOND);
    times.add("after churn, all agree", &world, took);
    world.run(4 * SECOND);
    world.stay_calm(5 * SECOND);
    times
}
