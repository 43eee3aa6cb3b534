//! Machines that die, sleep, lose their cable, and networks that fall apart: there is one leader soon, and no more elections
//! than it takes.

use fleet_tests::hosts::{Home, Programs};

#[test]
fn a_leader_that_dies_or_sleeps_or_is_unplugged_is_replaced_and_comes_back_as_a_follower() {
    let Some(mut home) = Home::paired(5, &Programs::built()) else { return };
    let (killed, _) = home.kill_leader();
    home.list_soon(&home.others(&[killed]), &home.others(&[killed]));
    home.bring_back(killed);
    home.list_soon(&home.all(), &home.all());

    let leader = home.agree_soon(&home.all()).0;
    home.put_to_sleep(leader);
    let next = home.agree_soon(&home.all()).0;
    assert_ne!(next, leader, "who slept follows");

    let follower = home.others(&[next])[0];
    let before = home.reign(next);
    home.put_to_sleep(follower);
    assert_eq!(home.reign(next), before, "nobody minds a follower that sleeps");

    let (unplugged, _) = home.pull_leader();
    home.agree_soon(&home.others(&[unplugged]));
    home.plug(unplugged);
    assert_ne!(home.agree_soon(&home.all()).0, unplugged, "who was unplugged follows");
}

#[test]
fn each_part_of_a_network_has_a_leader_and_the_whole_has_that_of_the_larger() {
    let Some(home) = Home::paired(5, &Programs::built()) else { return };
    // The leader goes with one other.
    let leader = home.agree_soon(&home.all()).0;
    let away = [leader, home.others(&[leader])[0]];
    let (stays, goes, _) = home.split(&away);
    assert_eq!(goes, leader);
    home.list_soon(&home.others(&away), &home.others(&away));
    assert_eq!(home.heal(&away).0, stays);
    home.list_soon(&home.all(), &home.all());
}
