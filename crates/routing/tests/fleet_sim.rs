//! Doors, leader and nodes together in virtual time, with a real router on each node: what a whole fleet does.

#![allow(clippy::unwrap_used, reason = "an account that does not add up fails the test")]

mod fixture;
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fixture::*;
use nodes::*;
use proto::{Api, Moment, NodeId};
use routing::scheduler::*;
use routing::{Ask, Ending, Input, Key, Output, Refusal, Router, Settings};

/// How a node's engine behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Engine {
    Works,
    Hangs,
    Says503,
}

struct Machine {
    router: Router,
    scheduler: Scheduler,
    engine: Engine,
    slots: u32,
    is_alive: bool,
    /// When the engine began to be busy, and for how long it was in all.
    working: BTreeSet<Key>,
    busy: Duration,
    since: Moment,
    told: u64,
    tells: bool,
    /// Which attempt a key of the router is.
    keys: BTreeMap<Key, Attempt>,
    tries: u32,
}

/// A request at a door, and its attempt's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attempt {
    door: usize,
    number: u64,
}

#[derive(Clone, Debug)]
enum Event {
    /// A new request at a door.
    Begins {
        door: usize,
    },
    Ask {
        at: usize,
        attempt: Attempt,
    },
    Ticket {
        attempt: Attempt,
        ticket: Box<FleetTicket>,
        issuer: usize,
    },
    Refused {
        attempt: Attempt,
        refusal: Refusal,
    },
    Request {
        attempt: Attempt,
        node: usize,
        ahead: u32,
        issuer: usize,
    },
    Content {
        node: usize,
        key: Key,
    },
    Ends {
        node: usize,
        key: Key,
        ending: Ending,
    },
    /// What the door sees of it.
    Seen {
        attempt: Attempt,
    },
    Over {
        attempt: Attempt,
        ending: FleetEnding,
    },
    Patience {
        attempt: Attempt,
    },
    Drop {
        attempt: Attempt,
        node: usize,
    },
    Ended {
        at: usize,
        attempt: Attempt,
        ended: Ended,
    },
    Work {
        from: usize,
    },
    Hear {
        at: usize,
        from: usize,
        work: NodeWork,
        speeds: Vec<LaneSpeed>,
    },
    Timer,
    Dies {
        node: usize,
    },
    /// Doors see that the leader says nothing any more.
    Alone {
        leader: Option<usize>,
    },
    Engine {
        node: usize,
        engine: Engine,
    },
}

/// What a door knows of one attempt.
#[derive(Clone, Debug)]
struct Try {
    request: u64,
    excluded: Vec<(NodeId, Option<proto::BackendId>)>,
    beside: bool,
    sent: Option<(usize, Moment, usize)>,
    asked: usize,
    has_content: bool,
    is_over: bool,
}

struct Request {
    door: usize,
    began: Moment,
    done: Option<Moment>,
    failures: u32,
    is_lost: Option<String>,
}

struct World {
    now: Moment,
    events: BTreeMap<(Moment, u64), Event>,
    serial: u64,
    machines: Vec<Machine>,
    leader: Option<usize>,
    link: Duration,
    first: Duration,
    service: Duration,
    streams: bool,
    api: Api,
    tries: BTreeMap<Attempt, Try>,
    requests: BTreeMap<u64, Request>,
    /// Whether a door begins another request when one is done.
    is_closed_loop: bool,
    ends: Moment,
    bounces: u32,
    armed: Option<Moment>,
}

const MODEL: &str = "m";

impl World {
    /// Nodes with so many slots each, 0: no engine. The first one leads.
    fn new(slots: &[u32], link_ms: u64, service_ms: u64) -> World {
        let machine = |(at, &slots): (usize, &u32)| {
            let n = at as u8 + 1;
            Machine {
                router: Router::new(Settings::default(), 0),
                scheduler: Scheduler::new(settings(), node_id(n), u64::from(n)),
                engine: Engine::Works,
                slots,
                is_alive: true,
                working: BTreeSet::new(),
                busy: Duration::ZERO,
                since: secs(1),
                told: 0,
                tells: false,
                keys: BTreeMap::new(),
                tries: 0,
            }
        };
        let mut world = World {
            now: secs(1),
            events: BTreeMap::new(),
            serial: 0,
            machines: slots.iter().enumerate().map(machine).collect(),
            leader: Some(0),
            link: Duration::from_millis(link_ms),
            first: Duration::from_millis(service_ms / 3),
            service: Duration::from_millis(service_ms),
            streams: true,
            api: Api::OllamaChat,
            tries: BTreeMap::new(),
            requests: BTreeMap::new(),
            is_closed_loop: false,
            ends: secs(1),
            bounces: 0,
            armed: None,
        };
        for at in 0..slots.len() {
            let states = world.backends(at);
            world.machines[at].router.handle(Input::Backends(states), secs(1));
        }
        world.machines[0].scheduler.set_leading(true, secs(1));
        world.tell_nodes();
        world
    }

    fn backends(&self, at: usize) -> Vec<Arc<proto::BackendState>> {
        let slots = self.machines[at].slots;
        if slots == 0 { vec![] } else { vec![Arc::new(told("engine", slots, &["m*"]))] }
    }

    /// All schedulers learn who is within reach.
    fn tell_nodes(&mut self) {
        let alive = self.machines.iter().enumerate().filter(|(_, machine)| machine.is_alive);
        let reports: Vec<Arc<NodeReport>> = alive
            .map(|(at, _)| {
                let report = node(at as u8 + 1, vec![]);
                Arc::new(NodeReport { backends: self.backends(at), ..report })
            })
            .collect();
        for machine in &mut self.machines {
            machine.scheduler.handle(FleetInput::Nodes(reports.clone()), self.now);
        }
    }

    fn after(&mut self, span: Duration, event: Event) {
        self.serial += 1;
        self.events.insert((self.now + span, self.serial), event);
    }

    fn send(&mut self, from: usize, to: usize, event: Event) {
        let span = if from == to { Duration::ZERO } else { self.link };
        self.after(span, event);
    }

    /// Runs until so many milliseconds have passed.
    fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        let mut steps = 0u64;
        loop {
            let timers = self.machines.iter().filter(|machine| machine.is_alive);
            let timer = timers
                .flat_map(|machine| [machine.router.poll_timeout(), machine.scheduler.poll_timeout()])
                .flatten()
                .min();
            if let Some(timer) = timer.filter(|timer| self.armed.is_none_or(|armed| armed > *timer)) {
                self.armed = Some(timer);
                self.serial += 1;
                self.events.insert((timer.max(self.now), self.serial), Event::Timer);
            }
            let Some((&(at, _), _)) = self.events.first_key_value() else { break };
            if at > end {
                break;
            }
            let (_, event) = self.events.pop_first().unwrap();
            self.now = at;
            self.step(event);
            self.carry_out();
            steps += 1;
            assert!(steps < 3_000_000, "spins");
        }
        self.now = end;
    }

    fn begin(&mut self, door: usize) {
        let id = self.requests.len() as u64;
        self.requests.insert(id, Request { door, began: self.now, done: None, failures: 0, is_lost: None });
        self.ask(id, vec![], false);
    }

    fn ask(&mut self, request: u64, excluded: Vec<(NodeId, Option<proto::BackendId>)>, beside: bool) {
        let door = self.requests[&request].door;
        self.serial += 1;
        let attempt = Attempt { door, number: self.serial };
        let asked = self.leader.unwrap_or(door);
        let known = Try { request, excluded, beside, sent: None, asked, has_content: false, is_over: false };
        self.tries.insert(attempt, known);
        self.send(door, asked, Event::Ask { at: asked, attempt });
    }

    fn step(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Begins { door } => self.begin(door),
            Event::Ask { at, attempt } => {
                let known = &self.tries[&attempt];
                let ask = FleetAsk {
                    api: self.api,
                    excluded: known.excluded.clone(),
                    now_only: known.beside,
                    rtt: if at == attempt.door { Duration::ZERO } else { self.link * 2 },
                    streams: self.streams,
                    ..fleet_ask(&[MODEL], self.requests[&known.request].began)
                };
                if self.machines[at].is_alive {
                    let id = AskId { door: node_id(attempt.door as u8 + 1), number: attempt.number };
                    self.machines[at].scheduler.handle(FleetInput::Arrive(id, ask), now);
                }
            }
            Event::Ticket { attempt, ticket, issuer } => {
                let node = usize::from(ticket.node.as_bytes()[0]) - 1;
                let known = self.tries.get_mut(&attempt).unwrap();
                if known.is_over || known.asked != issuer {
                    let ended = ended(FleetEnding::Backend(Ending::ClientLeft), 0);
                    return self.send(attempt.door, issuer, Event::Ended { at: issuer, attempt, ended });
                }
                known.sent = Some((node, now, issuer));
                if let Some(patience) = ticket.patience {
                    self.after(patience, Event::Patience { attempt });
                }
                self.send(attempt.door, node, Event::Request { attempt, node, ahead: ticket.ahead, issuer });
            }
            Event::Refused { attempt, refusal } => {
                let known = self.tries.get_mut(&attempt).unwrap();
                known.is_over = true;
                let request = known.request;
                if known.beside {
                    // It is tried again as long as the first one has nothing.
                    let first = self.tries.iter().find(|(_, other)| other.request == request && other.is_running());
                    if let Some((&first, _)) = first {
                        self.after(Duration::from_millis(100), Event::Patience { attempt: first });
                    }
                } else {
                    self.requests.get_mut(&request).unwrap().is_lost = Some(refusal.to_string());
                }
            }
            Event::Request { attempt, node, ahead, issuer } => {
                if !self.machines[node].is_alive {
                    let ending = FleetEnding::Backend(Ending::Failed);
                    return self.send(node, attempt.door, Event::Over { attempt, ending });
                }
                self.serial += 1;
                let key = self.serial;
                let ask = Ask {
                    api: self.api,
                    most_ahead: Some(ahead),
                    issuer: Some(node_id(issuer as u8 + 1)),
                    streams: self.streams,
                    ..ask(&[MODEL], now)
                };
                self.machines[node].keys.insert(key, attempt);
                self.machines[node].router.handle(Input::Arrive(key, ask), now);
            }
            Event::Content { node, key } => {
                if self.machines[node].working.contains(&key) && self.machines[node].engine == Engine::Works {
                    self.machines[node].router.handle(Input::FirstContent(key), now);
                    let attempt = self.machines[node].keys[&key];
                    self.send(node, attempt.door, Event::Seen { attempt });
                }
            }
            Event::Ends { node, key, ending } => self.engine_ends(node, key, ending),
            Event::Seen { attempt } => self.seen(attempt),
            Event::Over { attempt, ending } => self.over(attempt, ending),
            Event::Patience { attempt } => {
                let known = &self.tries[&attempt];
                if known.is_running() {
                    let request = known.request;
                    let node = node_id(known.sent.unwrap().0 as u8 + 1);
                    self.ask(request, vec![(node, None)], true);
                }
            }
            Event::Drop { attempt, node } => {
                let machine = &mut self.machines[node];
                let key = machine.keys.iter().find(|(_, known)| **known == attempt).map(|(key, _)| *key);
                if let Some(key) = key {
                    machine.stop(key, now);
                    machine.router.handle(Input::Leave(key), now);
                }
            }
            Event::Ended { at, attempt, ended } => {
                let id = AskId { door: node_id(attempt.door as u8 + 1), number: attempt.number };
                if self.machines[at].is_alive {
                    self.machines[at].scheduler.handle(FleetInput::Ended(id, ended), now);
                }
            }
            Event::Work { from } => {
                let machine = &mut self.machines[from];
                machine.tells = false;
                let rtt = if self.leader == Some(from) { Duration::ZERO } else { self.link * 2 };
                let work = NodeWork { lanes: machine.router.work(), rtt };
                let speeds = machine.router.speeds();
                let is_alive = machine.is_alive;
                for at in (0..self.machines.len()).filter(|_| is_alive) {
                    let (work, speeds) = (work.clone(), speeds.clone());
                    self.send(from, at, Event::Hear { at, from, work, speeds });
                }
            }
            Event::Hear { at, from, work, speeds } => {
                let from = node_id(from as u8 + 1);
                self.machines[at].scheduler.handle(FleetInput::Work(from, work), now);
                self.machines[at].scheduler.handle(FleetInput::Speeds(from, speeds), now);
            }
            Event::Timer => {
                self.armed = None;
                for machine in self.machines.iter_mut().filter(|machine| machine.is_alive) {
                    if machine.router.poll_timeout().is_some_and(|at| at <= now) {
                        machine.router.handle_timeout(now);
                    }
                    if machine.scheduler.poll_timeout().is_some_and(|at| at <= now) {
                        machine.scheduler.handle_timeout(now);
                    }
                }
            }
            Event::Dies { node } => {
                self.machines[node].is_alive = false;
                // Connections break at once.
                let placed: Vec<Attempt> =
                    self.tries.iter().filter(|(_, known)| known.is_at(node)).map(|(attempt, _)| *attempt).collect();
                for attempt in placed {
                    let ending = FleetEnding::Backend(Ending::Failed);
                    self.after(Duration::from_millis(3), Event::Over { attempt, ending });
                }
            }
            Event::Alone { leader } => {
                self.leader = leader;
                self.tell_nodes();
                for (at, machine) in self.machines.iter_mut().enumerate() {
                    machine.scheduler.set_leading(leader == Some(at), now);
                }
                let waiting: Vec<(Attempt, u64)> = self
                    .tries
                    .iter()
                    .filter(|(_, known)| known.sent.is_none() && !known.is_over)
                    .map(|(attempt, known)| (*attempt, known.request))
                    .collect();
                for (attempt, request) in waiting {
                    self.tries.get_mut(&attempt).unwrap().is_over = true;
                    if self.machines[attempt.door].is_alive {
                        self.ask(request, vec![], false);
                    }
                }
            }
            Event::Engine { node, engine } => self.machines[node].engine = engine,
        }
    }

    fn seen(&mut self, attempt: Attempt) {
        let known = self.tries.get_mut(&attempt).unwrap();
        if known.is_over {
            return;
        }
        known.has_content = true;
        let request = known.request;
        // The other try was slower: it is dropped.
        let slower: Vec<Attempt> = self
            .tries
            .iter()
            .filter(|(other, known)| **other != attempt && known.request == request && known.is_running())
            .map(|(other, _)| *other)
            .collect();
        for other in slower {
            let known = self.tries.get_mut(&other).unwrap();
            known.is_over = true;
            let (node, sent, issuer) = known.sent.unwrap();
            // The first one was too slow; a second one that lost says nothing.
            let ending = if known.beside { FleetEnding::Backend(Ending::ClientLeft) } else { FleetEnding::TooSlow };
            let ended = Ended { ending, first: None, took: self.now.since(sent) };
            self.send(other.door, node, Event::Drop { attempt: other, node });
            self.send(other.door, issuer, Event::Ended { at: issuer, attempt: other, ended });
        }
    }

    fn over(&mut self, attempt: Attempt, ending: FleetEnding) {
        if ending == FleetEnding::Backend(Ending::Answered) {
            self.seen(attempt);
        }
        let known = self.tries.get_mut(&attempt).unwrap();
        if known.is_over {
            return;
        }
        known.is_over = true;
        let (node, sent, issuer) = known.sent.unwrap();
        let (request, mut excluded, beside) = (known.request, known.excluded.clone(), known.beside);
        let took = self.now.since(sent);
        let first = Some(took * 1 / 3).filter(|_| self.streams);
        let ended = Ended { ending, first, took };
        self.send(attempt.door, issuer, Event::Ended { at: issuer, attempt, ended });
        match ending {
            FleetEnding::Backend(Ending::Answered) => {
                let request = self.requests.get_mut(&request).unwrap();
                assert!(request.done.is_none(), "answered once");
                request.done = Some(self.now);
                let door = request.door;
                if self.is_closed_loop && self.now < self.ends {
                    self.begin(door);
                }
            }
            _ if beside => {}
            FleetEnding::Bounced => {
                self.bounces += 1;
                self.ask(request, excluded, false);
            }
            _ => {
                excluded.push((node_id(node as u8 + 1), None));
                let failures = &mut self.requests.get_mut(&request).unwrap().failures;
                *failures += 1;
                if *failures > 2 {
                    self.requests.get_mut(&request).unwrap().is_lost = Some("tried three times".to_owned());
                } else {
                    self.ask(request, excluded, false);
                }
            }
        }
    }

    fn engine_ends(&mut self, node: usize, key: Key, ending: Ending) {
        let now = self.now;
        let machine = &mut self.machines[node];
        let attempt = machine.keys.get(&key);
        let has_content = attempt.and_then(|attempt| self.tries.get(attempt)).is_some_and(|known| known.has_content);
        let hangs = ending == Ending::Answered && machine.engine == Engine::Hangs && !has_content;
        if !machine.is_alive || !machine.working.contains(&key) || hangs {
            return;
        }
        machine.stop(key, now);
        machine.router.handle(Input::Finish(key, ending), now);
        let attempt = machine.keys.remove(&key).unwrap();
        self.send(node, attempt.door, Event::Over { attempt, ending: FleetEnding::Backend(ending) });
    }

    /// Carries out what routers and schedulers want.
    fn carry_out(&mut self) {
        let now = self.now;
        for at in 0..self.machines.len() {
            if !self.machines[at].is_alive {
                continue;
            }
            while let Some(output) = self.machines[at].scheduler.poll_output() {
                let (id, event) = match output {
                    FleetOutput::Ticket(id, ticket) => (id, Ok(ticket)),
                    FleetOutput::Refuse(id, refusal) => (id, Err(refusal)),
                };
                let attempt = Attempt { door: usize::from(id.door.as_bytes()[0]) - 1, number: id.number };
                let event = match event {
                    Ok(ticket) => Event::Ticket { attempt, ticket: Box::new(ticket), issuer: at },
                    Err(refusal) => Event::Refused { attempt, refusal },
                };
                self.send(at, attempt.door, event);
            }
            while let Some(output) = self.machines[at].router.poll_output() {
                match output {
                    Output::Grant(key, _) => {
                        let machine = &mut self.machines[at];
                        machine.tries += 1;
                        if machine.working.is_empty() {
                            machine.since = now;
                        }
                        machine.working.insert(key);
                        let (says_503, first, service) = (machine.engine == Engine::Says503, self.first, self.service);
                        if says_503 {
                            let (node, ending) = (at, Ending::Busy503);
                            self.after(Duration::from_millis(1), Event::Ends { node, key, ending });
                        } else {
                            self.after(first, Event::Content { node: at, key });
                            self.after(service, Event::Ends { node: at, key, ending: Ending::Answered });
                        }
                    }
                    Output::Refuse(key, refusal) => {
                        let attempt = self.machines[at].keys.remove(&key).unwrap();
                        let ending = match refusal {
                            Refusal::Occupied => FleetEnding::Bounced,
                            _ => FleetEnding::Backend(Ending::Busy503),
                        };
                        self.send(at, attempt.door, Event::Over { attempt, ending });
                    }
                    Output::Move(_) | Output::Load(_) | Output::Unload(_) => {}
                }
            }
            let machine = &mut self.machines[at];
            if machine.router.work_changed() != machine.told && !machine.tells {
                machine.told = machine.router.work_changed();
                machine.tells = true;
                self.after(Duration::from_millis(5), Event::Work { from: at });
            }
        }
    }

    fn lost(&self) -> Vec<String> {
        self.requests.values().filter_map(|request| request.is_lost.clone()).collect()
    }

    /// Of those that are done, in order.
    fn latencies(&self) -> Vec<Duration> {
        let mut all: Vec<Duration> =
            self.requests.values().filter_map(|request| Some(request.done?.since(request.began))).collect();
        all.sort_unstable();
        all
    }

    fn unanswered(&self) -> usize {
        self.requests.values().filter(|request| request.done.is_none()).count()
    }
}

impl Try {
    /// Sent, and nothing has come of it yet.
    fn is_running(&self) -> bool {
        self.sent.is_some() && !self.is_over && !self.has_content
    }

    fn is_at(&self, node: usize) -> bool {
        !self.is_over && self.sent.is_some_and(|(at, ..)| at == node)
    }
}

impl Machine {
    fn stop(&mut self, key: Key, now: Moment) {
        if self.working.remove(&key) && self.working.is_empty() {
            self.busy += now.since(self.since);
        }
    }
}

#[test]
fn thirty_wait_and_the_leader_dies_and_none_is_lost() {
    for (death_ms, seed) in [(100, 0), (500, 3), (1900, 5), (2100, 7)] {
        let mut world = World::new(&[2, 4, 2], 2, 2000);
        for request in 0..38 {
            world.after(Duration::from_millis(request + seed), Event::Begins { door: 1 + request as usize % 2 });
        }
        world.run(death_ms);
        let waiting = world.machines[0].scheduler.waiting();
        assert!(waiting >= if death_ms < 2000 { 30 } else { 20 }, "{waiting}");
        world.step(Event::Dies { node: 0 });
        // Half a second later the doors are on their own, and after four more there is another leader.
        world.after(Duration::from_millis(250), Event::Alone { leader: None });
        world.after(Duration::from_millis(4250), Event::Alone { leader: Some(1) });
        world.run(40_000);
        assert_eq!(world.lost(), Vec::<String>::new(), "{death_ms}");
        assert_eq!(world.unanswered(), 0, "{death_ms}");
        assert!(world.bounces < 30, "{} bounces", world.bounces);
        // 38 requests of two seconds on six slots, and half a second of nobody.
        let last = world.latencies().pop().unwrap();
        assert!(last < Duration::from_secs(17), "{last:?}");
    }
}

#[test]
fn short_work_over_a_slow_link_keeps_a_node_busy() {
    let mut world = World::new(&[0, 0, 1], 10, 8);
    (world.api, world.streams) = (Api::OllamaEmbed, false);
    world.first = world.service;
    world.is_closed_loop = true;
    world.ends = world.now + Duration::from_secs(12);
    for _ in 0..40 {
        world.after(Duration::ZERO, Event::Begins { door: 1 });
    }
    world.run(2000);
    let before = world.machines[2].busy;
    world.run(10_000);
    let share = (world.machines[2].busy - before).as_secs_f64() / 10.0;
    assert!(share >= 0.8, "busy {share}");
    assert_eq!(world.lost(), Vec::<String>::new());
}

#[test]
fn a_node_that_hangs_is_hardly_noticed() {
    let mut world = World::new(&[4, 4, 4], 1, 120);
    for request in 0..900u64 {
        world.after(Duration::from_millis(request * 33), Event::Begins { door: request as usize % 3 });
    }
    world.after(Duration::from_secs(5), Event::Engine { node: 2, engine: Engine::Hangs });
    world.run(60_000);
    assert_eq!(world.lost(), Vec::<String>::new());
    assert_eq!(world.unanswered(), 0);
    let all = world.latencies();
    let p99 = all[all.len() * 99 / 100];
    assert!(p99 <= Duration::from_secs(2), "{p99:?}, at most {:?}", all.last());
}

#[test]
fn one_that_says_503_at_once_draws_almost_nothing() {
    let mut world = World::new(&[8, 8, 8], 1, 200);
    world.machines[1].engine = Engine::Says503;
    for request in 0..120 {
        world.after(Duration::from_micros(request * 10), Event::Begins { door: request as usize % 3 });
    }
    world.run(60_000);
    assert_eq!(world.lost(), Vec::<String>::new());
    assert_eq!(world.unanswered(), 0);
    assert!(world.machines[1].tries <= 5, "{}", world.machines[1].tries);
}

#[test]
fn equal_days_are_told_alike() {
    let told = [(), ()].map(|()| {
        let mut world = World::new(&[2, 3, 1], 3, 150);
        for request in 0..200u64 {
            world.after(Duration::from_millis(request * 7), Event::Begins { door: request as usize % 3 });
        }
        world.after(Duration::from_millis(700), Event::Engine { node: 1, engine: Engine::Hangs });
        world.run(60_000);
        (world.latencies(), world.bounces)
    });
    assert_eq!(told[0], told[1]);
}
