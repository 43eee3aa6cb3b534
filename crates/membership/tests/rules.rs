//! One rule after the other, told to one core.

#![allow(clippy::unwrap_used, reason = "what is not there fails the test")]

mod bench;

use std::time::Duration;

use bench::{Bench, ME, claim, node, pulse_of, sent};
use membership::{Input, Membership, Output, PATIENCE, Presence, SettingRefused, Standing, Start};
use proto::wire::{Claim, Digest, MAX_MEMBERS, Message, Pulse, Setting, Settings, State};
use proto::{Epoch, Incarnation, Moment, NodeId, Priority, Role};

/// A core that follows node 9, with node 7 beside it.
fn following() -> Bench {
    let mut bench = Bench::new(&[7, 9]);
    bench.pass_with(4, |bench| {
        bench.lead(9, 3, 3);
        let seq = bench.last_seq(9);
        bench.follow(7, 9, 3, 3, seq);
    });
    assert_eq!(bench.leader(), Some(node(9)));
    bench.outputs();
    bench
}

#[test]
fn nothing_is_said_before_the_start_is_stored() {
    let now = Moment::default();
    let start = Start {
        me: node(ME),
        incarnation: Incarnation(8),
        epoch: Epoch::new(3),
        priority: Priority::Normal,
        settings: vec![],
        seed: 1,
    };
    let mut core = Membership::new(start, now);
    core.handle(Input::Roster(vec![(node(ME), Role::Member), (node(7), Role::Member)]), now);
    core.handle(Input::Connected(node(7)), now);
    assert_eq!(core.poll_output(), Some(Output::Persist { incarnation: Incarnation(8), epoch: Epoch::new(3) }));
}

#[test]
fn a_claim_is_stored_before_it_is_said() {
    let mut bench = Bench::new(&[7]);
    bench.outputs();
    bench.pass_ms(3600);
    let outputs = bench.outputs();
    let stored =
        outputs.iter().position(|output| matches!(output, Output::Persist { epoch, .. } if epoch.number() == 1));
    let said = outputs.iter().position(|output| {
        sent(output).and_then(|(_, message)| pulse_of(message)).is_some_and(|pulse| pulse.claim.is_some())
    });
    assert!(stored.unwrap() < said.unwrap(), "{outputs:?}");
}

#[test]
fn a_pulse_goes_to_every_connected_member_each_second() {
    let mut bench = Bench::with(&[7, 9], Priority::Never, Epoch::default());
    bench.handle(Input::Disconnected(node(9)));
    bench.outputs();
    bench.pass_ms(10_000);
    let outputs = bench.outputs();
    let pulses = outputs.iter().filter_map(sent).filter(|(_, message)| matches!(***message, Message::Pulse(_)));
    let to: Vec<NodeId> = pulses.map(|(to, _)| to).collect();
    assert!((9..=11).contains(&to.len()), "{to:?}");
    assert!(to.iter().all(|to| *to == node(7)));
}

#[test]
fn any_byte_keeps_a_member_alive_but_revives_none() {
    let mut bench = Bench::new(&[7]);
    bench.beat(7);
    for _ in 0..20 {
        bench.pass_ms(1000);
        bench.handle(Input::Heard(node(7)));
    }
    assert_eq!(bench.presence(7), Presence::Here);
    bench.pass(PATIENCE);
    assert_eq!(bench.presence(7), Presence::Gone);
    bench.handle(Input::Heard(node(7)));
    assert_eq!(bench.presence(7), Presence::Gone);
}

#[test]
fn a_late_pulse_does_not_revive_a_dead_leader() {
    let mut bench = following();
    bench.handle(Input::Disconnected(node(9)));
    let last = bench.last_seq(9);
    for (seq, lives) in [(last, false), (last + 1, false), (last + 2, true)] {
        let pulse = bench.pulse(9);
        let own = Claim { seq, hops: 0, ..claim(9, 3, 3) };
        bench.say(9, Pulse { seq, epoch: Epoch::new(3), claim: Some(own), ..pulse });
        assert_eq!(bench.presence(9) == Presence::Here, lives, "{seq} after {last}");
    }
}

#[test]
fn who_still_hears_the_leader_keeps_others_from_claiming() {
    let mut bench = following();
    bench.handle(Input::Disconnected(node(9)));
    // Node 7 goes on hearing it.
    bench.pass_with(20, |bench| {
        let seq = bench.pulse(9).seq;
        bench.follow(7, 9, 3, 3, seq);
    });
    assert_eq!((bench.leader(), bench.standing()), (Some(node(9)), Standing::Following));
    assert_eq!(bench.presence(9), Presence::Elsewhere);
    assert!(!bench.outputs().iter().any(|output| matches!(output, Output::LeaderChanged { .. })));
    // Now it does not either: this node comes second, after node 7.
    bench.beat(7);
    bench.pass_ms(100);
    assert_eq!(bench.leader(), None);
    bench.beat(7);
    bench.pass_ms(1000);
    assert_eq!((bench.leader(), bench.epoch()), (Some(node(ME)), 4));
}

#[test]
fn word_of_a_leader_is_not_believed_without_end() {
    let mut bench = following();
    bench.handle(Input::Disconnected(node(9)));
    // Node 7 says that it hears the leader, but brings nothing new.
    bench.pass_with(8, |bench| bench.follow(7, 9, 3, 3, 12));
    assert_ne!(bench.leader(), Some(node(ME)));
    bench.pass_with(8, |bench| bench.follow(7, 9, 3, 3, 12));
    assert_eq!(bench.leader(), Some(node(ME)));
}

#[test]
fn word_of_a_leader_does_not_go_round_in_circles() {
    let mut bench = Bench::new(&[7, 8, 9]);
    bench.handle(Input::Disconnected(node(9)));
    let speak = |bench: &mut Bench, from: u8, hops: u8, seq: u64| {
        let pulse = bench.pulse(from);
        bench.say(from, Pulse { claim: Some(Claim { seq, hops, ..claim(9, 3, 4) }), ..pulse });
    };
    for seq in 20..24 {
        speak(&mut bench, 7, 1, seq);
        // Node 8 knows it from this node only.
        speak(&mut bench, 8, 3, seq);
        bench.pass_ms(1000);
    }
    assert_eq!(bench.leader(), Some(node(9)));
    assert_eq!(bench.sent_pulses().last().unwrap().claim.unwrap().hops, 2);
    bench.beat(7);
    assert_eq!(bench.sent_pulses().last().unwrap().claim, None, "it takes its word back, so that node 8 does too");
    // What node 8 still repeats is what this node told it.
    bench.pass_ms(1000);
    bench.beat(7);
    speak(&mut bench, 8, 3, 24);
    bench.pass_ms(1000);
    assert_eq!(bench.sent_pulses().last().unwrap().claim, None);
    // This it can only have from the leader.
    speak(&mut bench, 8, 3, 25);
    assert_eq!(bench.sent_pulses().last().unwrap().claim.unwrap().hops, 4);
}

#[test]
fn the_first_pulse_on_a_new_connection_is_no_late_one() {
    let mut bench = Bench::new(&[7]);
    bench.pass_ms(3000);
    let last = bench.sent_pulses().last().unwrap().seq;
    bench.handle(Input::Disconnected(node(7)));
    bench.handle(Input::Connected(node(7)));
    assert_eq!(bench.sent_pulses()[0].seq, last + 2);
}

#[test]
fn who_comes_onto_the_roster_observes_first() {
    let mut bench = Bench::new(&[7]);
    bench.handle(Input::Roster(vec![(node(7), Role::Member)]));
    bench.pass_ms(60_000);
    bench.handle(Input::Roster(vec![(node(ME), Role::Member), (node(7), Role::Member)]));
    assert_eq!(bench.standing(), Standing::Observing);
    bench.pass_ms(3600);
    assert_eq!(bench.standing(), Standing::Leading);
}

#[test]
fn the_successor_claims_first() {
    for (successor, leader) in [(Some(ME), Some(node(ME))), (Some(7), None), (None, None)] {
        let mut bench = following();
        bench.leave(9, successor);
        bench.pass_ms(10);
        assert_eq!(bench.leader(), leader, "{successor:?}");
        bench.beat(7);
        bench.pass_ms(1000);
        assert_eq!(bench.leader(), Some(node(ME)), "{successor:?}: node 7 did not take its turn");
    }
}

#[test]
fn a_leader_that_leaves_names_the_best() {
    let mut bench = Bench::new(&[2, 7, 9]);
    bench.pass_with(8, |bench| {
        let never = bench.pulse(9);
        bench.say(9, Pulse { priority: Priority::Never, ..never });
        for follower in [2, 7] {
            let pulse = bench.pulse(follower);
            bench.say(follower, Pulse { observing: true, ..pulse });
        }
    });
    assert_eq!(bench.standing(), Standing::Leading);
    bench.outputs();
    bench.handle(Input::Leave);
    let leaving = bench.outputs().iter().filter_map(sent).find_map(|(_, message)| match &**message {
        Message::Leaving(leaving) => leaving.successor,
        _ => None,
    });
    assert_eq!(leaving, Some(node(7)));
    assert_eq!((bench.standing(), bench.core.poll_timeout()), (Standing::Outside, None));
}

#[test]
fn a_successor_that_only_watches_is_named_last() {
    let mut bench = Bench::new(&[2, 7]);
    bench.pass_with(8, |bench| {
        for (follower, observing) in [(2, false), (7, true)] {
            let pulse = bench.pulse(follower);
            bench.say(follower, Pulse { observing, ..pulse });
        }
    });
    bench.outputs();
    bench.handle(Input::Leave);
    let leaving = bench.outputs().iter().filter_map(sent).find_map(|(_, message)| match &**message {
        Message::Leaving(leaving) => leaving.successor,
        _ => None,
    });
    assert_eq!(leaving, Some(node(2)), "7 could not claim yet");
}

#[test]
fn all_lost_at_once_means_that_this_node_moved() {
    for (others, gap, standing) in
        [(&[7, 9][..], 900, Standing::Observing), (&[7, 9], 1200, Standing::Leading), (&[9], 0, Standing::Leading)]
    {
        let mut bench = Bench::new(others);
        bench.pass_with(4, |bench| {
            for other in others {
                bench.lead(9, 3, 2);
                if *other == 7 {
                    let seq = bench.pulse(9).seq;
                    bench.follow(7, 9, 3, 3, seq);
                }
            }
        });
        bench.handle(Input::Disconnected(node(9)));
        bench.pass_ms(gap);
        if others.len() > 1 {
            bench.handle(Input::Disconnected(node(7)));
        }
        bench.pass_ms(100);
        assert_eq!(bench.standing(), standing, "{others:?} {gap}");
        bench.pass_ms(4000);
        assert_eq!(bench.standing(), Standing::Leading, "alone in the end");
    }
}

#[test]
fn a_late_call_means_that_the_machine_slept() {
    let mut bench = Bench::new(&[7]);
    bench.pass_with(6, |bench| bench.follow(7, ME, 1, 2, 0));
    assert_eq!(bench.standing(), Standing::Leading);
    bench.now = bench.now + Duration::from_secs(30);
    bench.beat(7);
    assert_eq!(bench.standing(), Standing::Observing);
    bench.outputs();
    bench.pass_ms(3400);
    assert_eq!(bench.leader(), None);
    // A second and a half is only a busy machine, and nobody was silent.
    let mut bench = Bench::new(&[7]);
    bench.pass_with(6, |bench| bench.beat(7));
    bench.now = bench.now + Duration::from_millis(2900);
    bench.core.handle_timeout(bench.now);
    assert_eq!((bench.standing(), bench.presence(7)), (Standing::Leading, Presence::Here));
}

#[test]
fn a_leader_gives_way_to_the_one_that_more_nodes_follow() {
    for (size, gives_way) in [(1, false), (2, true), (3, true)] {
        let mut bench = Bench::new(&[7, 9]);
        bench.pass_with(6, |bench| bench.follow(7, ME, 1, 2, 0));
        assert_eq!(bench.standing(), Standing::Leading);
        // At once nothing happens: it may be a pulse that waited on the way.
        bench.lead(9, 2, size);
        assert_eq!(bench.standing(), Standing::Leading, "{size}");
        bench.pass_ms(600);
        assert_eq!(bench.leader() == Some(node(9)), gives_way, "{size} against 2, node 9 being the larger");
    }
}

#[test]
fn the_winner_takes_an_epoch_above_that_of_the_loser() {
    let mut bench = Bench::new(&[7, 9]);
    bench.pass_with(6, |bench| bench.follow(7, ME, 1, 2, 0));
    bench.lead(9, 40, 1);
    bench.pass_ms(600);
    assert_eq!((bench.leader(), bench.epoch()), (Some(node(ME)), 41));
}

#[test]
fn only_the_leader_of_now_is_obeyed() {
    let bench = following();
    for (leader, epoch, is_obeyed) in [(9, 3, true), (9, 4, true), (9, 2, false), (7, 3, false), (ME, 3, false)] {
        assert_eq!(bench.core.obeys(node(leader), Epoch::new(epoch)), is_obeyed, "node {leader}, epoch {epoch}");
    }
    let mut bench = following();
    let pulse = bench.pulse(7);
    bench.say(7, Pulse { epoch: Epoch::new(8), ..pulse });
    assert!(!bench.core.obeys(node(9), Epoch::new(3)), "there was a later epoch somewhere");
}

#[test]
fn a_lower_epoch_is_not_followed() {
    let mut bench = Bench::with(&[7], Priority::Normal, Epoch::new(10));
    bench.pass_with(8, |bench| bench.lead(7, 4, 1));
    assert_eq!((bench.leader(), bench.standing()), (None, Standing::Waiting), "it waits and does not claim either");
    bench.lead(7, 11, 1);
    assert_eq!((bench.leader(), bench.epoch()), (Some(node(7)), 11));
}

#[test]
fn who_must_not_lead_is_not_followed_and_does_not_claim() {
    let mut bench = Bench::with(&[7], Priority::Never, Epoch::default());
    bench.pass_with(10, |bench| bench.beat(7));
    assert_eq!(bench.leader(), None);

    let mut bench = Bench::new(&[7]);
    let pulse = bench.pulse(7);
    bench.say(7, Pulse { priority: Priority::Never, claim: Some(Claim { hops: 0, ..claim(7, 1, 2) }), ..pulse });
    assert_eq!(bench.leader(), None, "a member that never leads says that it does");

    let mut bench = Bench::new(&[7]);
    let roster = vec![(node(ME), Role::Member), (node(7), Role::Guest)];
    bench.handle(Input::Roster(roster));
    bench.lead(7, 1, 2);
    assert_eq!(bench.leader(), None, "a guest says that it leads");
}

#[test]
fn a_leader_that_may_not_lead_any_more_resigns_at_once() {
    let mut bench = Bench::new(&[7]);
    bench.pass_with(6, |bench| bench.follow(7, ME, 1, 2, 0));
    bench.outputs();
    bench.handle(Input::Priority(Priority::Never));
    assert_eq!(bench.leader(), None);
    assert!(bench.sent_pulses().iter().any(|pulse| pulse.claim.is_none() && pulse.priority == Priority::Never));
}

#[test]
fn a_member_that_does_not_hear_this_node_counts_as_lost() {
    let mut bench = following();
    bench.pass_with(2, |bench| {
        let pulse = bench.pulse(9);
        bench.say(9, Pulse { hears: vec![0], ..pulse });
    });
    assert_eq!(bench.presence(9), Presence::Here, "twice may be chance");
    bench.outputs();
    let pulse = bench.pulse(9);
    bench.say(9, Pulse { hears: vec![0], ..pulse });
    assert_ne!(bench.presence(9), Presence::Here);
    assert!(bench.outputs().contains(&Output::Redial(node(9))));
    // With another roster nobody knows whom it means.
    let mut bench = following();
    bench.pass_with(5, |bench| {
        let pulse = bench.pulse(9);
        bench.say(9, Pulse { hears: vec![0], roster: 1, ..pulse });
    });
    assert_eq!(bench.presence(9), Presence::Here);
}

#[test]
fn lost_members_are_dialled_each_second_for_ten_minutes() {
    let mut bench = Bench::with(&[7], Priority::Never, Epoch::default());
    bench.pass_with(100, |bench| bench.beat(7));
    bench.outputs();
    bench.handle(Input::Disconnected(node(7)));
    let dials = |bench: &mut Bench| bench.outputs().iter().filter(|output| **output == Output::Redial(node(7))).count();
    assert_eq!(dials(&mut bench), 1, "at once");
    bench.pass_ms(60_000);
    assert!((58..=61).contains(&dials(&mut bench)));
    bench.pass_ms(600_000);
    bench.outputs();
    bench.pass_ms(300_000);
    assert!((9..=12).contains(&dials(&mut bench)), "each half minute after that");
    bench.handle(Input::Connected(node(7)));
    bench.beat(7);
    bench.pass_ms(3000);
    assert_eq!(dials(&mut bench), 0);
}

#[test]
fn two_machines_under_one_identity_are_noticed() {
    let mut bench = Bench::new(&[7]);
    let mut say = |incarnation, seq| {
        let pulse = Pulse { incarnation: Incarnation(incarnation), seq, ..bench.pulse(7) };
        bench.handle(Input::Connected(node(7)));
        bench.say(7, pulse);
        bench.pass_ms(1000);
        bench.outputs().contains(&Output::DuplicateIdentity(node(7)))
    };
    let told: Vec<bool> = (1..20).map(|round| if round % 2 == 0 { say(4, round) } else { say(9, round) }).collect();
    assert_eq!(told.iter().filter(|told| **told).count(), 1, "once, not each second: {told:?}");
    assert_eq!(told.iter().position(|told| *told), Some(5));
}

#[test]
fn a_cloned_disk_moves_no_leader() {
    let mut bench = following();
    let pulse = bench.pulse(7);
    let mut say = |incarnation, seq, epoch| {
        let claim = Claim {
            leader: node(7),
            epoch: Epoch::new(epoch),
            incarnation: Incarnation(incarnation),
            seq,
            size: 9,
            priority: Priority::High,
            hops: 0,
        };
        bench.say(7, Pulse { incarnation: Incarnation(incarnation), seq, claim: Some(claim), ..pulse.clone() });
        bench.lead(9, 3, 3);
        bench.pass_ms(1000);
        (bench.leader(), bench.core.view(bench.now).epoch)
    };
    for round in 1..12 {
        say(if round % 2 == 0 { 4 } else { 9 }, round, 1);
    }
    let (leader, epoch) = say(9, 100, 1);
    for round in 101..120 {
        assert_eq!(say(if round % 2 == 0 { 4 } else { 9 }, round, 40 + round), (leader, epoch), "round {round}");
    }
}

#[test]
fn the_own_identity_on_another_machine_is_noticed() {
    let mut bench = Bench::with(&[7], Priority::Never, Epoch::default());
    let mut told = false;
    for seq in 0..6 {
        bench.follow(7, ME, 3, 2, 5000 + seq);
        bench.pass_ms(1000);
        told |= bench.outputs().contains(&Output::DuplicateIdentity(node(ME)));
    }
    assert!(told);
}

#[test]
fn a_restored_backup_is_heard_again() {
    let pulse = Bench::new(&[7]).pulse(7);
    for (incarnation, seq) in [(4, 1), (9, 1)] {
        let mut bench = Bench::new(&[7]);
        bench.say(7, Pulse { incarnation: Incarnation(9), seq: 100_000, ..pulse.clone() });
        bench.handle(Input::Disconnected(node(7)));
        bench.handle(Input::Connected(node(7)));
        bench.say(7, Pulse { incarnation: Incarnation(incarnation), seq, ..pulse.clone() });
        assert_eq!(bench.presence(7), Presence::Here, "start {incarnation}");
    }
}

#[test]
fn the_roster_decides_who_counts() {
    let mut bench = following();
    // The leader is removed.
    bench.handle(Input::Roster(vec![(node(ME), Role::Member), (node(7), Role::Member)]));
    assert!(bench.outputs().contains(&Output::MemberDead(node(9))));
    bench.lead(9, 5, 9);
    assert_ne!(bench.leader(), Some(node(9)));
    // This node is removed.
    bench.handle(Input::Roster(vec![(node(7), Role::Member)]));
    bench.outputs();
    bench.pass_ms(20_000);
    assert_eq!((bench.standing(), bench.leader()), (Standing::Outside, None));
    assert!(bench.outputs().iter().all(|output| sent(output).is_none()), "it is silent");
}

#[test]
fn a_roster_beyond_all_bounds_is_cut() {
    let mut bench = Bench::new(&[]);
    let many = |count: u32| {
        (0..count).map(|number| {
            let mut key = [6; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            (NodeId::new(key), Role::Member)
        })
    };
    bench.handle(Input::Roster(many(3000).chain([(node(0), Role::Member)]).collect()));
    assert_eq!(bench.standing(), Standing::Outside, "node 5 comes after the first 1024");
    bench.handle(Input::Roster(many(600).chain([(node(ME), Role::Member)]).chain(many(600)).collect()));
    assert_eq!(bench.core.view(bench.now).members.len(), 600);
    assert!(bench.core.view(bench.now).members.len() < MAX_MEMBERS);
    assert_ne!(bench.standing(), Standing::Outside);
}

#[test]
fn state_is_sent_on_connection_on_change_and_each_half_minute() {
    let mut bench = Bench::with(&[7], Priority::Never, Epoch::default());
    bench.pass_ms(2000);
    let states = |bench: &mut Bench| -> Vec<State> {
        let outputs = bench.outputs();
        let messages = outputs.iter().filter_map(sent).map(|(_, message)| (**message).clone());
        messages.filter_map(|message| if let Message::State(state) = message { Some(state) } else { None }).collect()
    };
    states(&mut bench);
    bench.handle(Input::State(b"busy".to_vec()));
    bench.handle(Input::State(b"idle".to_vec()));
    bench.handle(Input::State(vec![0; 9000]));
    bench.pass_ms(1000);
    let told = states(&mut bench);
    assert_eq!(told.len(), 1, "changes within a second go together");
    assert_eq!(told[0].payload, b"idle");
    bench.pass_ms(60_000);
    assert_eq!(states(&mut bench).len(), 2);
    bench.handle(Input::Connected(node(7)));
    assert_eq!(states(&mut bench).len(), 1);
    bench.handle(Input::UrgentState(b"away".to_vec()));
    assert_eq!(states(&mut bench)[0].payload, b"away", "at once");
    bench.handle(Input::UrgentState(b"away".to_vec()));
    bench.pass_ms(5_000);
    assert_eq!(states(&mut bench).len(), 0, "and once");
}

#[test]
fn a_state_is_handed_up_once() {
    let mut bench = Bench::new(&[7, 9]);
    let pulse = bench.pulse(7);
    bench.say(7, Pulse { hears: vec![0], ..pulse });
    bench.outputs();
    let digest = Digest { node: node(9), incarnation: Incarnation(2), priority: Priority::High, age_s: Some(40) };
    let state = State { incarnation: Incarnation(1), version: 1, payload: b"models".to_vec(), members: vec![digest] };
    for (version, is_news) in [(1, true), (1, false), (2, true)] {
        let state = State { version, ..state.clone() };
        bench.handle(Input::Message(node(7), Message::State(state)));
        let told = bench.outputs().contains(&Output::StateOf(node(7), b"models".to_vec()));
        assert_eq!(told, is_news, "{version}");
    }
    bench.pass_ms(2000);
    let view = bench.core.view(bench.now);
    let known = view.members.iter().find(|member| member.id == node(9)).unwrap();
    assert_eq!(known.silent_for, Some(Duration::from_secs(42)), "word of what others heard");
    assert_eq!((known.priority, known.presence), (Some(Priority::High), Presence::Gone));
}

#[test]
fn settings_spread_once_and_guests_have_no_part_in_it() {
    let mut bench = Bench::new(&[7, 9]);
    let roster = vec![(node(ME), Role::Member), (node(7), Role::Member), (node(9), Role::Guest)];
    bench.handle(Input::Roster(roster));
    bench.outputs();
    let set = |value: &str| Input::SettingSet { key: "pin".to_owned(), value: Some(value.to_owned()) };
    let spread = |bench: &mut Bench| -> Vec<NodeId> {
        let outputs = bench.outputs();
        let sent = outputs.iter().filter_map(sent).filter(|(_, message)| matches!(***message, Message::Settings(_)));
        sent.map(|(to, _)| to).collect()
    };
    bench.handle(set("a"));
    assert_eq!(spread(&mut bench), [node(7)]);
    bench.handle(set("a"));
    assert_eq!(spread(&mut bench), []);
    let news = |author: u8| {
        let setting = Setting {
            key: "pin".to_owned(),
            value: Some("b".to_owned()),
            epoch: Epoch::new(9),
            counter: 1,
            author: node(author),
        };
        Message::Settings(Settings { entries: vec![setting] })
    };
    bench.handle(Input::Message(node(9), news(9)));
    assert!(!bench.outputs().iter().any(|output| matches!(output, Output::SettingChanged(_))), "a guest sets nothing");
    bench.handle(Input::Message(node(7), news(7)));
    let changed = bench.outputs();
    assert!(matches!(&changed[0], Output::SettingChanged(setting) if setting.value.as_deref() == Some("b")));
    assert!(changed.iter().all(|output| sent(output).is_none()), "nobody is left who lacks it");

    bench.handle(Input::Roster(vec![(node(ME), Role::Guest), (node(7), Role::Member)]));
    bench.outputs();
    bench.handle(set("c"));
    let refused = Output::SettingRefused { key: "pin".to_owned(), reason: SettingRefused::Guest };
    assert!(bench.outputs().contains(&refused));
}
