//! Whatever is told to a core, and whoever tells it: no panic, no leader that must not lead, no epoch that goes back.

#![allow(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use membership::{Input, Membership, Output, Start};
use proptest::prelude::*;
use proto::wire::{Claim, Digest, Leaving, Message, Pulse, Setting, Settings, State};
use proto::{Epoch, Incarnation, Moment, NodeId, Priority, Role};

/// Node 3 is the core's own; the roster holds some of 0 to 5, nodes 6 and 7 are strangers.
const ME: u8 = 3;

fn node() -> impl Strategy<Value = NodeId> {
    (0u8..8).prop_map(|number| NodeId::new([number; 32]))
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..20, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn priority() -> impl Strategy<Value = Priority> {
    prop::sample::select(vec![Priority::Never, Priority::Low, Priority::Normal, Priority::High, Priority::Chosen])
}

fn claim() -> impl Strategy<Value = Claim> {
    (node(), number(), number(), number(), any::<u32>(), priority(), any::<u8>()).prop_map(
        |(leader, epoch, incarnation, seq, size, priority, hops)| Claim {
            leader,
            epoch: Epoch::new(epoch),
            incarnation: Incarnation(incarnation),
            seq,
            size,
            priority,
            hops: hops % 4,
        },
    )
}

fn pulse() -> impl Strategy<Value = Pulse> {
    let first = (number(), number(), priority(), any::<bool>(), number());
    let second = (prop::option::of(claim()), 0u64..2, prop::collection::vec(any::<u8>(), 0..3), 0u64..2);
    (first, second).prop_map(|((incarnation, seq, priority, observing, epoch), (claim, roster, hears, settings))| {
        Pulse {
            incarnation: Incarnation(incarnation),
            seq,
            priority,
            observing,
            epoch: Epoch::new(epoch),
            claim,
            roster,
            hears,
            settings,
        }
    })
}

fn setting() -> impl Strategy<Value = Setting> {
    ("[a-d]{0,2}", prop::option::of("[xy]"), number(), number(), node()).prop_map(
        |(key, value, epoch, counter, author)| Setting { key, value, epoch: Epoch::new(epoch), counter, author },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let digest = (node(), number(), priority(), prop::option::of(any::<u32>())).prop_map(
        |(node, incarnation, priority, age_s)| Digest { node, incarnation: Incarnation(incarnation), priority, age_s },
    );
    let state =
        (number(), number(), prop::collection::vec(digest, 0..4)).prop_map(|(incarnation, version, members)| {
            Message::State(State { incarnation: Incarnation(incarnation), version, payload: vec![1], members })
        });
    let leaving = (number(), prop::option::of(node())).prop_map(|(incarnation, successor)| {
        Message::Leaving(Leaving { incarnation: Incarnation(incarnation), successor })
    });
    let settings = prop::collection::vec(setting(), 0..4).prop_map(|entries| Message::Settings(Settings { entries }));
    prop_oneof![12 => pulse().prop_map(Message::Pulse), 1 => state, 1 => leaving, 1 => settings]
}

fn roster() -> impl Strategy<Value = Vec<(NodeId, Role)>> {
    let role = prop::sample::select(vec![Role::Admin, Role::Member, Role::Member, Role::Guest]);
    prop::collection::btree_map(0u8..6, role, 2..6).prop_map(|members| {
        let mut members: BTreeMap<u8, Role> = members;
        members.entry(ME).or_insert(Role::Member);
        members.into_iter().map(|(number, role)| (NodeId::new([number; 32]), role)).collect()
    })
}

#[derive(Clone, Debug)]
enum Step {
    Tell(Input),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (node(), message()).prop_map(|(from, message)| Step::Tell(Input::Message(from, message))),
        10 => (0u64..1500).prop_map(Step::Pass),
        1 => (0u64..100_000).prop_map(Step::Pass),
        4 => node().prop_map(|node| Step::Tell(Input::Connected(node))),
        2 => node().prop_map(|node| Step::Tell(Input::Disconnected(node))),
        2 => node().prop_map(|node| Step::Tell(Input::Heard(node))),
        1 => roster().prop_map(|roster| Step::Tell(Input::Roster(roster))),
        1 => priority().prop_map(|priority| Step::Tell(Input::Priority(priority))),
        1 => Just(Step::Tell(Input::Slept)),
        1 => ("[a-d]", prop::option::of("[xy]")).prop_map(|(key, value)| Step::Tell(Input::SettingSet { key, value })),
    ]
}

/// A core and a plain account of what it may say.
struct Watched {
    core: Membership,
    now: Moment,
    roster: Vec<(NodeId, Role)>,
    connected: BTreeSet<NodeId>,
    alive: BTreeSet<NodeId>,
    epoch: Epoch,
    stored: Epoch,
    outputs: Vec<Output>,
}

impl Watched {
    fn new(roster: Vec<(NodeId, Role)>) -> Watched {
        let now = Moment::at(Duration::from_secs(50));
        let start = Start {
            me: NodeId::new([ME; 32]),
            incarnation: Incarnation(2),
            epoch: Epoch::new(1),
            priority: Priority::Normal,
            settings: vec![],
            seed: 3,
        };
        let core = Membership::new(start, now);
        let (connected, alive) = (BTreeSet::new(), BTreeSet::new());
        let epoch = Epoch::new(1);
        let mut watched =
            Watched { core, now, roster: vec![], connected, alive, epoch, stored: epoch, outputs: vec![] };
        watched.step(Step::Tell(Input::Roster(roster)));
        watched
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Tell(input) => {
                // A beat that is due goes to those who are members until now.
                self.core.handle_timeout(self.now);
                self.check();
                match &input {
                    Input::Roster(roster) => {
                        self.roster = roster.clone();
                        self.connected.retain(|node| self.roster.iter().any(|(member, _)| member == node));
                    }
                    Input::Connected(node) if self.roster.iter().any(|(member, _)| member == node) => {
                        self.connected.insert(*node);
                    }
                    Input::Disconnected(node) => drop(self.connected.remove(node)),
                    _ => {}
                }
                self.core.handle(input, self.now);
                self.check();
            }
            Step::Pass(ms) => {
                let end = self.now + Duration::from_millis(ms);
                let mut wakes = 0;
                while let Some(wake) = self.core.poll_timeout().filter(|wake| *wake <= end) {
                    assert!(wake >= self.now, "a wake-up in the past");
                    self.now = wake;
                    self.core.handle_timeout(wake);
                    self.check();
                    wakes += 1;
                    assert!(wakes < 3 + ms, "wakes itself up for ever");
                }
                self.now = end;
                self.core.handle_timeout(end);
                self.check();
            }
        }
    }

    fn check(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match &output {
                Output::LeaderChanged { leader, epoch } => {
                    assert!(*epoch >= self.epoch && *epoch <= self.stored, "{epoch} after {}", self.epoch);
                    self.epoch = *epoch;
                    if let Some(leader) = leader {
                        let role = self.roster.iter().find(|(member, _)| member == leader).map(|(_, role)| *role);
                        assert!(role.is_some_and(|role| role != Role::Guest), "{leader} is {role:?}");
                    }
                }
                Output::Persist { incarnation, epoch } => {
                    assert!(*incarnation == Incarnation(2) && *epoch >= self.stored);
                    self.stored = *epoch;
                }
                Output::Send(to, message) => {
                    assert!(self.connected.contains(to), "to {to}, which is not there");
                    assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&**message));
                }
                Output::MemberAlive(node) => assert!(self.alive.insert(*node), "twice alive"),
                Output::MemberDead(node) => assert!(self.alive.remove(node), "twice dead"),
                Output::Redial(node) => assert!(self.roster.iter().any(|(member, _)| member == node)),
                _ => {}
            }
            self.outputs.push(output);
        }
        let view = self.core.view(self.now);
        assert_eq!(view.members.len(), self.roster.len() - usize::from(view.role.is_some()));
    }
}

fn is_of_stranger(step: &Step) -> bool {
    let stranger = |node: &NodeId| node.as_bytes()[0] >= 6;
    match step {
        Step::Tell(
            Input::Message(node, _) | Input::Connected(node) | Input::Disconnected(node) | Input::Heard(node),
        ) => stranger(node),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn lies_are_survived(roster in roster(), steps in prop::collection::vec(step(), 0..80)) {
        let mut watched = Watched::new(roster);
        for step in steps {
            watched.step(step);
        }
        // Once everybody is silent, it leads itself if it may.
        let me = NodeId::new([ME; 32]);
        watched.step(Step::Tell(Input::Roster(vec![(me, Role::Member)])));
        watched.step(Step::Tell(Input::Priority(Priority::Low)));
        watched.step(Step::Pass(10_000));
        prop_assert_eq!(watched.core.view(watched.now).leader, Some(me));
    }

    #[test]
    fn strangers_change_nothing(roster in roster(), steps in prop::collection::vec(step(), 0..80)) {
        let (mut with, mut without) = (Watched::new(roster.clone()), Watched::new(roster));
        for step in steps {
            // Time passes for both.
            without.step(if is_of_stranger(&step) { Step::Pass(0) } else { step.clone() });
            with.step(step);
        }
        prop_assert_eq!(with.outputs, without.outputs);
    }
}
