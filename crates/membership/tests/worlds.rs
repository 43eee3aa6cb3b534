//! What holds in every world: one leader in the end, soon, and no change without need.
//!
//! Each story plays several hundred fleets of two to six machines on wired, wireless and poor networks, with clocks that
//! are apart and drift, and checks them all the while. A world that fails names its seed, and plays the same again:
//! `cargo run -p membership --example worlds -- one "leader dies" 17`.

#![allow(clippy::unwrap_used, reason = "a story that is not there fails the test")]

mod sim;

use proto::{Priority, Role};
use sim::network::Network;
use sim::script::{STORIES, Times};
use sim::{MS, SECOND, Time, World};

/// Worlds of each story; `cargo run -p membership --example worlds -- 100000` plays more.
const WORLDS: u64 = 400;

fn play(story: &str) -> Times {
    let (_, play) = STORIES.iter().find(|(name, _)| *name == story).unwrap();
    let mut times = Times::default();
    for seed in 0..WORLDS {
        times.merge(play(seed));
    }
    times
}

#[track_caller]
fn assert_p99(times: &Times, what: &'static str, most: [(&'static str, Time); 3]) {
    for (network, most) in most {
        let p99 = times.percentile(what, network, 99);
        assert!(p99 > 0 && p99 <= most, "{what}, {network}: {p99} µs\n{}", times.table());
    }
}

#[test]
fn a_calm_fleet_elects_once_also_after_a_power_cut() {
    play("boot");
}

#[test]
fn a_leader_that_dies_is_followed_by_another_within_half_a_second() {
    let times = play("leader dies");
    // On the poor network the message that tells it is late or thrown away now and then, and the next beat brings it.
    let most = [("wired", 100 * MS), ("wireless", 500 * MS), ("poor", 1500 * MS)];
    assert_p99(&times, "leader's process dies, all follow another", most);
}

#[test]
fn a_silent_leader_is_followed_by_another_within_five_seconds() {
    let times = play("leader goes silent");
    let most = [("wired", 3600 * MS), ("wireless", 4 * SECOND), ("poor", 5 * SECOND)];
    assert_p99(&times, "leader goes silent, all follow another", most);
}

#[test]
fn a_leader_that_leaves_is_followed_by_its_successor() {
    let times = play("leader leaves");
    let most = [("wired", 20 * MS), ("wireless", 500 * MS), ("poor", 1500 * MS)];
    assert_p99(&times, "leader leaves, all follow another", most);
}

#[test]
fn a_healed_fleet_keeps_the_leader_of_the_larger_half() {
    let times = play("partition");
    assert_p99(&times, "healed, all agree", [("wired", 3 * SECOND), ("wireless", 3 * SECOND), ("poor", 3 * SECOND)]);
}

#[test]
fn who_slept_returns_as_a_follower() {
    play("sleep");
}

#[test]
fn a_newcomer_follows_however_good_it_is() {
    play("newcomer");
}

#[test]
fn a_partial_mesh_has_one_leader() {
    play("partial mesh");
}

#[test]
fn a_way_that_is_open_in_one_direction_confuses_nobody_for_long() {
    play("one-way");
}

#[test]
fn connections_that_blink_change_nothing() {
    play("blip");
}

#[test]
fn settings_are_the_same_everywhere_in_the_end() {
    play("settings");
}

#[test]
fn forty_members_elect_once_and_replace_their_leader_at_once() {
    let mut world = World::new(1, Network::wireless(), &[(Role::Member, Priority::Normal); 40]);
    for node in 0..40 {
        world.start(node);
    }
    world.settle(10 * SECOND);
    world.run(2 * SECOND);
    let changes = world.changes.len();
    let old = world.leader().unwrap();
    world.kill(old);
    let took = world.settle(2 * SECOND);
    assert!(took <= SECOND, "{took} µs");
    assert_eq!(world.changes[changes..].iter().filter(|change| change.leader.is_some()).count(), 39);
    // A pulse each second to each, and a state each half minute: nothing that grows faster than the pairs.
    world.run(3 * SECOND);
    let before = world.sent;
    world.run(5 * SECOND);
    assert!(world.sent - before <= 39 * 38 * 6, "{} messages", world.sent - before);
}

#[test]
fn a_liar_is_survived() {
    play("liar");
}

#[test]
fn whatever_happens_they_agree_in_the_end() {
    play("churn");
}
