//! What holds whatever happens: random days of a leader's scheduler, whose nodes and doors come and go.

#![allow(clippy::unwrap_used, reason = "an account that does not add up fails the test")]

mod fixture;
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fixture::*;
use nodes::*;
use proptest::prelude::*;
use proptest::sample::Index;
use proto::{ModelName, Moment};
use routing::scheduler::*;
use routing::{Ending, Refusal};

const QUEUE_SIZE: usize = 12;
const MODELS: [&str; 4] = ["m", "n", "o:cloud", "unknown"];
const APPS: [Option<&str>; 3] = [None, Some("chat"), Some("agent")];
const ZONES: [Zone; 3] = [Zone::Node, Zone::Fleet, Zone::Cloud];
/// Each node's backend, its slots and models.
const NODES: [(&str, u32, &[&str]); 3] =
    [("a", 2, &["m*", "n"]), ("b", 1, &["m*", "o:cloud*"]), ("c", 3, &["n*", "m"])];

#[derive(Clone, Debug)]
struct Wish {
    door: u8,
    models: Vec<usize>,
    app: usize,
    zone: usize,
    batch: bool,
    bytes: u64,
    session: Option<u64>,
    only: Option<u8>,
    excluded: Option<u8>,
    now_only: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Arrive(Wish),
    Leave(Index),
    End(Index, FleetEnding),
    Shares(u8, bool),
    There(u8, bool),
    Up(u8, bool),
    Work { n: u8, others: u32, rests: bool },
    DoorGone(u8),
    Retire,
    Pass(u64),
}

fn wish() -> impl Strategy<Value = Wish> {
    let who = (1u8..4, prop::collection::vec(0..MODELS.len(), 1..3), 0..APPS.len(), 0usize..9, any::<bool>());
    let what = (0u64..40_000, prop::option::of(0u64..3), prop::option::weighted(0.1, 1u8..4));
    let how = (prop::option::weighted(0.2, 1u8..4), prop::bool::weighted(0.1));
    (who, what, how).prop_map(|((door, models, app, zone, batch), (bytes, session, only), (excluded, now_only))| Wish {
        door,
        models,
        app,
        zone: zone.min(2),
        batch,
        bytes,
        session,
        only,
        excluded,
        now_only,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let ending = prop_oneof![
        5 => Just(FleetEnding::Backend(Ending::Answered)),
        1 => Just(FleetEnding::Backend(Ending::Failed)),
        1 => Just(FleetEnding::Backend(Ending::Busy503)),
        1 => Just(FleetEnding::Backend(Ending::Broke)),
        1 => Just(FleetEnding::Backend(Ending::Refused4xx)),
        1 => Just(FleetEnding::Backend(Ending::ClientLeft)),
        1 => Just(FleetEnding::Bounced),
        1 => Just(FleetEnding::TooSlow),
    ];
    prop_oneof![
        14 => wish().prop_map(Step::Arrive),
        2 => any::<Index>().prop_map(Step::Leave),
        8 => (any::<Index>(), ending).prop_map(|(which, ending)| Step::End(which, ending)),
        2 => (1u8..4, any::<bool>()).prop_map(|(n, shares)| Step::Shares(n, shares)),
        2 => (1u8..4, any::<bool>()).prop_map(|(n, there)| Step::There(n, there)),
        1 => (1u8..4, any::<bool>()).prop_map(|(n, up)| Step::Up(n, up)),
        4 => (1u8..4, 0u32..3, prop::bool::weighted(0.2)).prop_map(|(n, others, rests)| Step::Work { n, others, rests }),
        1 => (1u8..4).prop_map(Step::DoorGone),
        1 => Just(Step::Retire),
        4 => (0u64..20_000).prop_map(Step::Pass),
    ]
}

#[derive(Clone, Copy)]
struct State {
    shares: bool,
    is_there: bool,
    is_up: bool,
    others: u32,
}

/// A scheduler beside a plain account of what it said and was told.
struct Day {
    desk: Desk,
    states: BTreeMap<u8, State>,
    asked: BTreeMap<AskId, FleetAsk>,
    waiting: BTreeSet<AskId>,
    /// The node and the model of each.
    placed: BTreeMap<AskId, (u8, String)>,
    story: Vec<String>,
}

impl Day {
    fn new(seed: u64) -> Day {
        let mut desk = Desk::with(FleetSettings { queue_size: QUEUE_SIZE, ..settings() }, vec![]);
        desk.scheduler = Scheduler::new(FleetSettings { queue_size: QUEUE_SIZE, ..settings() }, node_id(1), seed);
        desk.scheduler.set_leading(true, desk.now);
        let state = State { shares: true, is_there: true, is_up: true, others: 0 };
        let mut day = Day {
            desk,
            states: (1..4).map(|n| (n, state)).collect(),
            asked: BTreeMap::new(),
            waiting: BTreeSet::new(),
            placed: BTreeMap::new(),
            story: Vec::new(),
        };
        day.tell_nodes();
        day
    }

    fn tell_nodes(&mut self) {
        let there = self.states.iter().filter(|(_, state)| state.is_there);
        let nodes = there.map(|(&n, state)| {
            let (backend, slots, models) = NODES[usize::from(n) - 1];
            let backend = told(backend, slots, models);
            let backend = if state.is_up { backend } else { down(backend) };
            Arc::new(NodeReport { shares: state.shares, ..node(n, vec![backend]) })
        });
        let nodes = nodes.collect();
        self.handle(FleetInput::Nodes(nodes));
    }

    fn handle(&mut self, input: FleetInput) {
        self.desk.handle(input);
        self.look();
    }

    /// Takes the outputs and holds them against the account.
    fn look(&mut self) {
        for output in self.desk.outputs() {
            self.story.push(format!("{:?} {output:?}", self.desk.now));
            match output {
                FleetOutput::Ticket(id, ticket) => {
                    assert!(self.waiting.remove(&id), "{id:?} had its answer or has left");
                    let ask = &self.asked[&id];
                    let n = ticket.node.as_bytes()[0];
                    let state = self.states[&n];
                    let is_near = ticket.node == id.door;
                    let model = ask.models[ticket.model].to_string();
                    assert!(state.is_there && state.is_up && (state.shares || is_near), "{ticket:?}");
                    assert!(ask.only.is_none_or(|only| only == ticket.node));
                    assert!(!ask.excluded.contains(&(ticket.node, None)));
                    assert!(ask.zone != Zone::Node || is_near);
                    assert!(ask.zone == Zone::Cloud || !model.ends_with(":cloud"));
                    let (backend, slots, models) = NODES[usize::from(n) - 1];
                    assert!(models.iter().any(|known| known.trim_end_matches('*') == model));
                    assert_eq!(
                        (&*ticket.backend.to_string(), &ticket.candidates[0].backend),
                        (backend, &ticket.backend)
                    );
                    assert!(ticket.candidates.iter().all(|candidate| candidate.predicted.is_some()));
                    self.placed.insert(id, (n, model.clone()));
                    let own = self.placed.values().filter(|place| **place == (n, model.clone())).count() as u32;
                    let others = if model == models[0].trim_end_matches('*') { state.others } else { 0 };
                    assert!(own + others <= slots, "{own} and {others} at {n} for {model}");
                }
                FleetOutput::Refuse(id, refusal) => {
                    assert!(self.waiting.remove(&id), "{id:?} had its answer or has left");
                    match refusal {
                        Refusal::QueueFull { waiting, retry_after } => {
                            assert!(waiting >= QUEUE_SIZE && retry_after >= Duration::from_secs(1));
                        }
                        Refusal::Occupied => assert!(self.asked[&id].now_only),
                        _ => {}
                    }
                }
            }
        }
        assert_eq!(self.desk.scheduler.waiting(), self.waiting.len());
        assert!(self.waiting.len() <= 2 * QUEUE_SIZE);
        for door in 1..4 {
            for standing in self.desk.scheduler.waiting_of(node_id(door), self.desk.now, 99) {
                assert!(self.waiting.contains(&standing.ask) && (standing.position as usize) < self.waiting.len());
            }
        }
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Arrive(wish) => self.arrive(wish),
            Step::Leave(which) => {
                let all: Vec<AskId> = self.waiting.iter().chain(self.placed.keys()).copied().collect();
                if !all.is_empty() {
                    let id = all[which.index(all.len())];
                    self.waiting.remove(&id);
                    self.placed.remove(&id);
                    self.handle(FleetInput::Leave(id));
                }
            }
            Step::End(which, ending) => {
                let all: Vec<AskId> = self.placed.keys().copied().collect();
                if !all.is_empty() {
                    self.end(all[which.index(all.len())], *ending);
                }
            }
            Step::Shares(n, shares) => {
                self.states.get_mut(n).unwrap().shares = *shares;
                self.handle(FleetInput::Shares(node_id(*n), *shares));
            }
            Step::There(n, is_there) => {
                let state = self.states.get_mut(n).unwrap();
                if *is_there && !state.is_there {
                    state.others = 0;
                }
                state.is_there = *is_there;
                self.tell_nodes();
            }
            Step::Up(n, is_up) => {
                self.states.get_mut(n).unwrap().is_up = *is_up;
                self.tell_nodes();
            }
            Step::Work { n, others, rests } => {
                if self.states[n].is_there {
                    self.states.get_mut(n).unwrap().others = *others;
                    self.work(*n, *rests);
                }
            }
            Step::DoorGone(n) => {
                self.waiting.retain(|id| id.door != node_id(*n));
                self.placed.retain(|id, _| id.door != node_id(*n));
                self.handle(FleetInput::DoorGone(node_id(*n)));
            }
            Step::Retire => {
                self.waiting.clear();
                self.placed.clear();
                self.handle(FleetInput::Retire);
            }
            Step::Pass(ms) => self.pass(Duration::from_millis(*ms)),
        }
    }

    /// A node says, truly, what it works on: others' requests are for its first model.
    fn work(&mut self, n: u8, rests: bool) {
        let (backend, slots, models) = NODES[usize::from(n) - 1];
        let others = self.states[&n].others;
        let mut lanes = Vec::new();
        for (at, model) in models.iter().enumerate() {
            let model = model.trim_end_matches('*');
            let mine = self.placed.values().filter(|place| **place == (n, model.to_owned())).count() as u32;
            let others = if at == 0 { others } else { 0 };
            let lane = lane_work(backend, model, slots, &[(1, mine), (9, others)]);
            let rests = (rests && at == 0).then_some(Duration::from_secs(2));
            lanes.push(LaneWork { rests, ..lane });
        }
        self.handle(FleetInput::Work(node_id(n), work(lanes)));
    }

    fn arrive(&mut self, wish: &Wish) {
        let now = self.desk.now;
        let ask = FleetAsk {
            models: wish.models.iter().map(|&at| ModelName::new(MODELS[at])).collect(),
            app: APPS[wish.app].map(Into::into),
            zone: ZONES[wish.zone],
            priority: if wish.batch { Priority::Batch } else { Priority::Interactive },
            text_bytes: wish.bytes,
            session: wish.session,
            only: wish.only.map(node_id),
            excluded: wish.excluded.map(|n| (node_id(n), None)).into_iter().collect(),
            now_only: wish.now_only,
            ..fleet_ask(&[], now)
        };
        let id = AskId { door: node_id(wish.door), number: self.asked.len() as u64 };
        self.asked.insert(id, ask.clone());
        self.waiting.insert(id);
        self.handle(FleetInput::Arrive(id, ask));
        assert!(!wish.now_only || !self.waiting.contains(&id), "it is told at once");
    }

    fn end(&mut self, id: AskId, ending: FleetEnding) {
        self.placed.remove(&id);
        self.handle(FleetInput::Ended(id, ended(ending, 1000)));
    }

    fn pass(&mut self, span: Duration) {
        let end = self.desk.now + span;
        for wakes in 0.. {
            let Some(wake) = self.desk.scheduler.poll_timeout().filter(|wake| *wake <= end) else { break };
            assert!(wake >= self.desk.now && wakes < 10_000, "spins");
            self.desk.now = wake;
            self.desk.scheduler.handle_timeout(wake);
            self.look();
        }
        self.desk.now = end;
    }

    /// Everything is well again and every request is answered, a second each.
    fn heal(&mut self) {
        let state = State { shares: true, is_there: true, is_up: true, others: 0 };
        self.states.values_mut().for_each(|known| *known = state);
        self.tell_nodes();
        for _ in 0..60 {
            (1..4).for_each(|n| self.work(n, false));
            self.pass(Duration::from_secs(1));
            let placed: Vec<AskId> = self.placed.keys().copied().collect();
            placed.into_iter().for_each(|id| self.end(id, FleetEnding::Backend(Ending::Answered)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn filters_slots_and_the_queue_hold_and_everybody_is_answered(
        steps in prop::collection::vec(step(), 0..100),
        seed: u64,
    ) {
        let mut day = Day::new(seed);
        steps.iter().for_each(|step| day.play(step));
        day.heal();
        prop_assert!(day.waiting.is_empty() && day.placed.is_empty(), "{:?}", day.waiting);
        prop_assert_eq!(day.desk.scheduler.poll_timeout(), None, "calm stays calm");
        prop_assert!(day.desk.scheduler.views(day.desk.now).lanes.is_empty());
    }

    #[test]
    fn equal_days_are_told_alike(steps in prop::collection::vec(step(), 0..60), seed: u64) {
        let told = [(), ()].map(|()| {
            let mut day = Day::new(seed);
            steps.iter().for_each(|step| day.play(step));
            day.story
        });
        prop_assert_eq!(&told[0], &told[1]);
    }

    #[test]
    fn two_apps_that_always_want_more_get_the_same(costs in prop::collection::vec((0u64..3000, 0u64..3000), 40)) {
        let mut desk = Desk::new(vec![node(1, vec![told("a", 1, &["m*"])])]);
        let mut last = desk.arrive(2, desk.ask(&["m"]));
        let mut cost = BTreeMap::new();
        for (one, two) in costs {
            for (app, tokens) in [("one", one), ("two", two)] {
                let ask = FleetAsk {
                    app: Some(app.into()),
                    text_bytes: tokens * 4,
                    max_tokens: Some(0),
                    ..desk.ask(&["m"])
                };
                cost.insert(desk.arrive(2, ask), (app, tokens));
            }
        }
        desk.tickets();
        let mut served: BTreeMap<&str, u64> = BTreeMap::new();
        for _ in 0..60 {
            desk.end(last, answered(1000));
            last = desk.tickets()[0].0;
            let (app, tokens) = cost[&last];
            *served.entry(app).or_default() += 256 + tokens;
            let (one, two) = (served.get("one").copied().unwrap_or(0), served.get("two").copied().unwrap_or(0));
            prop_assert!(one.abs_diff(two) <= 256 + 3000, "{one} and {two}");
        }
    }

    #[test]
    fn every_way_to_a_wake_up_is_finite(steps in prop::collection::vec(step(), 0..40), leads: bool) {
        let mut day = Day::new(3);
        day.desk.scheduler.set_leading(leads, day.desk.now);
        for step in steps.iter().filter(|_| leads) {
            day.play(step);
        }
        let before: Moment = day.desk.now;
        day.pass(Duration::from_secs(3600));
        prop_assert!(day.desk.now.since(before) == Duration::from_secs(3600));
    }
}
