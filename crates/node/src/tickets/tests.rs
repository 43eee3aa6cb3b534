//! Doors and leaders that talk with each other, at a clock that is set by hand.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Weak;

use bytes::Bytes;
use mesh::{Body, Hint, NodeKey, Peer, Requesting, SendError, Stray};
use proto::wire::Envelope;
use proto::{BackendKind, BackendState, Capability, Health, Link};

use super::*;
use crate::fleet::Known;
use crate::fleet::known::{Other, key};

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::from_secs(100)) };
}

fn clock() -> Clock {
    Clock::new(|| Moment::at(NOW.get()), || 0)
}

fn pass(span: Duration) {
    NOW.set(NOW.get() + span);
}

fn node(number: u8) -> NodeId {
    NodeId::new([number; 32])
}

/// A wire from one node to all others.
struct Wire {
    me: NodeId,
    others: Mutex<Vec<(NodeId, Weak<Tickets>)>>,
    /// What was sent, whether it arrived or not.
    sent: Mutex<Vec<(NodeId, Envelope)>>,
    is_cut: AtomicBool,
    is_full: AtomicBool,
}

impl Transport for Wire {
    fn me(&self) -> NodeKey {
        key(self.me)
    }

    fn allow(&self, _: BTreeSet<NodeKey>) {}

    fn dial(&self, _: Vec<Hint>) {}

    fn hang_up(&self, _: NodeKey) {}

    fn send(&self, to: NodeKey, message: Bytes) -> Result<(), SendError> {
        let to = crate::fleet::known::id(to);
        let message = Envelope::decode(&message).unwrap();
        if self.is_full.load(Ordering::Relaxed) {
            return Err(SendError::Full);
        }
        self.sent.lock().unwrap().push((to, message.clone()));
        let other = self.others.lock().unwrap().iter().find(|(id, _)| *id == to).and_then(|(_, other)| other.upgrade());
        if let Some(other) = other.filter(|_| !self.is_cut.load(Ordering::Relaxed)) {
            other.heard(self.me, Some(message));
        }
        Ok(())
    }

    fn request(&self, _: NodeKey, _: http::Request<Body>) -> Requesting {
        Box::pin(std::future::pending())
    }

    fn peers(&self) -> Vec<Peer> {
        Vec::new()
    }

    fn strays(&self) -> Vec<Stray> {
        Vec::new()
    }

    fn stop(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

/// One machine with one backend that has one model and one slot.
struct Machine {
    id: NodeId,
    tickets: Arc<Tickets>,
    wire: Arc<Wire>,
}

fn backend() -> Arc<BackendState> {
    let entry = proto::wire::Entry { id: "m".to_owned(), ..Default::default() };
    let shelf = proto::wire::Shelf {
        id: "ollama".to_owned(),
        kind: "ollama".to_owned(),
        models: vec![entry],
        serves: vec!["/api/chat".to_owned()],
        slots: Some(1),
        ..Default::default()
    };
    let mut state = crate::fleet::catalog_backend(shelf);
    state.models[0].capabilities = vec![Capability::Completion];
    state.models[0].loaded = Some(proto::Loaded { context: Some(4096), size: None, size_vram: None, expires_at: None });
    assert_eq!((state.kind, state.link), (BackendKind::Ollama, Link::Loopback));
    assert_eq!(state.health, Health::Up);
    Arc::new(state)
}

fn fleet(count: u8) -> Vec<Machine> {
    let machines: Vec<Machine> = (1..=count)
        .map(|number| {
            let (orders, _) = tokio::sync::mpsc::unbounded_channel();
            let bell = Arc::new(Bell::default());
            let placer = Placer::new(routing::Settings::default(), 1, clock(), orders, bell.clone());
            let settings = FleetSettings {
                queue_size: 100,
                queue_wait: Duration::from_secs(30),
                scoring: routing::scheduler::Scoring::Predicted,
            };
            let wire = Wire {
                me: node(number),
                others: Mutex::default(),
                sent: Mutex::default(),
                is_cut: AtomicBool::new(false),
                is_full: AtomicBool::new(false),
            };
            let tickets = Tickets::new(settings, node(number), 1, clock(), placer, bell);
            Machine { id: node(number), tickets, wire: Arc::new(wire) }
        })
        .collect();
    for machine in &machines {
        let others = machines.iter().filter(|other| other.id != machine.id);
        *machine.wire.others.lock().unwrap() = others.map(|other| (other.id, Arc::downgrade(&other.tickets))).collect();
    }
    machines
}

/// Tells `machine` that these are within reach, and that `leader` leads.
fn know(machine: &Machine, others: &[&Machine], leader: Option<NodeId>) {
    let other = |other: &&Machine| Other {
        id: other.id,
        name: other.id.to_string().into(),
        presence: membership::Presence::Here,
        summary: None,
        backends: vec![backend()],
    };
    let known = Known { me: Some(machine.id), leader, others: others.iter().map(other).collect(), ..Known::default() };
    let own = Own {
        name: machine.id.to_string().into(),
        backends: vec![backend()],
        machine: None,
        shares: true,
        mesh: Some(machine.wire.clone()),
    };
    machine.tickets.know(&known, own);
}

fn all_follow(machines: &[Machine], leader: NodeId) {
    for machine in machines {
        let others: Vec<&Machine> = machines.iter().filter(|other| other.id != machine.id).collect();
        know(machine, &others, Some(leader));
    }
}

fn ask() -> FleetAsk {
    FleetAsk {
        api: proto::Api::OllamaChat,
        models: vec![ModelName::new("m")],
        app: None,
        text_bytes: 100,
        images: 0,
        tools: false,
        max_tokens: None,
        context_wanted: None,
        cuts: true,
        streams: true,
        session: None,
        zone: Default::default(),
        priority: Default::default(),
        excluded: Vec::new(),
        only: None,
        now_only: false,
        rtt: Duration::ZERO,
        waited_since: clock().now(),
    }
}

impl Machine {
    fn ask(&self) -> Result<Given, Waiting> {
        match self.tickets.ask(ask()) {
            Asked::Now(answer) => Ok((*answer).map_err(|failure| failure.message).unwrap()),
            Asked::Later(waiting) => Err(waiting),
        }
    }

    /// Lets time pass for this machine.
    fn keep_time(&self) {
        let mut state = self.tickets.lock();
        let mut mail = Mail::default();
        state.keep_time(clock().now(), &mut mail);
        self.tickets.release(state, mail);
    }

    fn sent(&self, wanted: impl Fn(&Envelope) -> bool) -> usize {
        self.wire.sent.lock().unwrap().iter().filter(|(_, message)| wanted(message)).count()
    }
}

fn given(waiting: &mut Waiting) -> Option<Given> {
    waiting.waits.try_recv().ok().map(|answer| {
        waiting.is_answered = true;
        answer.map_err(|failure| failure.message).unwrap()
    })
}

#[test]
fn the_leader_places_the_requests_of_all_doors_and_no_slot_twice() {
    let machines = fleet(3);
    all_follow(&machines, node(1));
    let mut waiting: Vec<Waiting> = (0..9).filter_map(|at| machines[at % 3].ask().err()).collect();
    let mut running: Vec<(usize, Given)> = Vec::new();
    let mut served = 9 - waiting.len();
    // Answers of the leader come while the question is being sent, on this wire: all others wait for a slot.
    let mut round = 0;
    while !waiting.is_empty() {
        round += 1;
        assert!(round < 50, "{} still wait", waiting.len());
        waiting.retain_mut(|waiter| match given(waiter) {
            Some(given) => {
                let door = machines.iter().position(|machine| Arc::ptr_eq(&machine.tickets, &waiter.tickets)).unwrap();
                assert_eq!(given.issuer, node(1));
                running.push((door, given));
                served += 1;
                false
            }
            None => true,
        });
        let nodes: BTreeSet<NodeId> = running.iter().map(|(_, given)| given.ticket.node).collect();
        assert_eq!(nodes.len(), running.len(), "one slot each");
        // Longer than what is worth sending ahead for.
        pass(Duration::from_millis(500));
        for (door, given) in running.drain(..) {
            machines[door].tickets.ended(given.number, TicketEnding::Attempt(gateway::Ending::Answered));
        }
        machines.iter().for_each(Machine::keep_time);
    }
    assert_eq!(served, 9);
}

#[test]
fn a_ticket_says_how_long_its_request_has_waited_however_often_the_leader_told_of_it() {
    let machines = fleet(2);
    let leader = machines[0].id;
    all_follow(&machines, leader);
    let (follower, leader) = (&machines[1], &machines[0]);
    // Both slots are taken.
    let first = leader.ask().ok().unwrap();
    let _second = leader.ask().ok().unwrap();
    let mut waiting = follower.ask().err().unwrap();
    for _ in 0..12 {
        pass(Duration::from_millis(150));
        leader.keep_time();
        follower.keep_time();
        assert!(given(&mut waiting).is_none());
    }
    leader.tickets.ended(first.number, TicketEnding::Attempt(gateway::Ending::Answered));
    assert_eq!(given(&mut waiting).unwrap().ticket.queued, Duration::from_millis(1800));
}

#[test]
fn a_leader_that_falls_silent_is_done_without() {
    let machines = fleet(2);
    all_follow(&machines, node(1));
    machines[0].wire.is_cut.store(true, Ordering::Relaxed);
    let mut waiting = machines[1].ask().err().unwrap();
    pass(Duration::from_millis(100));
    machines[1].keep_time();
    assert!(given(&mut waiting).is_none(), "it may still come");
    pass(Duration::from_millis(200));
    machines[1].keep_time();
    let own = given(&mut waiting).unwrap();
    assert_eq!(own.issuer, node(2));
    assert_eq!(machines[1].sent(|message| matches!(message, Envelope::Withdrawn(_))), 1);
    // The next one does not wait for it at all, and the one after the leader is heard again asks it.
    assert_eq!(machines[1].ask().ok().unwrap().issuer, node(2));
    machines[0].wire.is_cut.store(false, Ordering::Relaxed);
    machines[1].tickets.heard(node(1), None);
    let mut third = machines[1].ask().err().unwrap();
    assert_eq!(given(&mut third).unwrap().issuer, node(1));
}

#[test]
fn nothing_that_waits_is_lost_with_its_leader() {
    let machines = fleet(3);
    all_follow(&machines, node(1));
    let mut waiting: Vec<Waiting> = (0..30).filter_map(|_| machines[1].ask().err()).collect();
    let first: Vec<Given> = waiting.iter_mut().filter_map(given).collect();
    assert!(!first.is_empty() && first.len() < 30);
    // It is gone; another one leads.
    know(&machines[2], &[&machines[1]], Some(node(3)));
    know(&machines[1], &[&machines[2]], Some(node(3)));
    let mut answered = first.len();
    let mut running: Vec<Given> = first;
    for _ in 0..100 {
        // Long enough a time to be silent, but it beats.
        for _ in 0..4 {
            pass(Duration::from_millis(100));
            machines[2].keep_time();
            machines[1].keep_time();
        }
        for given in running.drain(..) {
            machines[1].tickets.ended(given.number, TicketEnding::Attempt(gateway::Ending::Answered));
        }
        running.extend(waiting.iter_mut().filter(|waiter| !waiter.is_answered).filter_map(given));
        assert!(running.iter().all(|given| given.issuer == node(3)));
        answered += running.len();
    }
    assert_eq!(answered, 30);
}

#[test]
fn whoever_does_not_lead_says_so_and_the_door_decides() {
    let machines = fleet(2);
    know(&machines[1], &[&machines[0]], Some(node(1)));
    know(&machines[0], &[&machines[1]], None);
    let own = machines[1].ask();
    let own = own.unwrap_or_else(|mut waiting| given(&mut waiting).unwrap());
    assert_eq!(own.issuer, node(2));
}

#[test]
fn a_ticket_that_comes_too_late_goes_back() {
    let machines = fleet(2);
    all_follow(&machines, node(1));
    machines[1].wire.is_cut.store(true, Ordering::Relaxed);
    let waiting = machines[1].ask().err().unwrap();
    let number = waiting.number;
    drop(waiting);
    machines[1].wire.is_cut.store(false, Ordering::Relaxed);
    let late = proto::wire::Ticket {
        id: number,
        node: node(1),
        backend: "ollama".to_owned(),
        model: 0,
        ahead: 0,
        patience_ms: None,
        scored: Vec::new(),
    };
    machines[1].tickets.heard(node(1), Some(Envelope::Ticket(late)));
    assert_eq!(machines[1].sent(|message| matches!(message, Envelope::Ended(ended) if ended.id == number)), 1);
}

#[test]
fn a_leader_hears_of_each_end_however_full_the_way_is() {
    let machines = fleet(2);
    all_follow(&machines, node(1));
    let mut waiting = machines[1].ask().err().unwrap();
    let first = given(&mut waiting).unwrap();
    machines[1].wire.is_full.store(true, Ordering::Relaxed);
    machines[1].tickets.ended(first.number, TicketEnding::Attempt(gateway::Ending::Answered));
    pass(OWED_AGAIN);
    machines[1].keep_time();
    let ends = |message: &Envelope| matches!(message, Envelope::Ended(ended) if ended.id == first.number);
    assert_eq!(machines[1].sent(ends), 0);
    machines[1].wire.is_full.store(false, Ordering::Relaxed);
    pass(OWED_AGAIN);
    machines[1].keep_time();
    assert_eq!(machines[1].sent(ends), 1);
    pass(OWED_AGAIN);
    machines[1].keep_time();
    assert_eq!(machines[1].sent(ends), 1, "once is enough");
}

#[test]
fn a_ticket_that_is_lost_is_given_again() {
    let machines = fleet(2);
    all_follow(&machines, node(1));
    machines[0].wire.is_cut.store(true, Ordering::Relaxed);
    let mut lost = machines[1].ask().err().unwrap();
    machines[0].wire.is_cut.store(false, Ordering::Relaxed);
    // The leader goes on beating, for others that wait, and does not name this one.
    for _ in 0..12 {
        pass(Duration::from_millis(100));
        machines[1].tickets.heard(node(1), Some(Envelope::Beat(proto::wire::Beat::default())));
        machines[1].keep_time();
    }
    assert_eq!(given(&mut lost).unwrap().issuer, node(1));
}

#[test]
fn a_machine_without_company_asks_nobody() {
    let machines = fleet(1);
    know(&machines[0], &[], Some(node(1)));
    assert!(!machines[0].tickets.has_company());
    let given = machines[0].ask().ok().unwrap();
    assert_eq!((given.issuer, given.ticket.node), (node(1), node(1)));
    assert_eq!(machines[0].sent(|_| true), 0);
}
