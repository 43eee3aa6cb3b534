//! Machines that die, sleep, lose their cable, and networks that fall apart: there is one leader soon, and no more elections
//! than it takes.

use std::time::Duration;

use fleet_tests::hosts::{Home, Programs, within};

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
fn each_part_of_a_network_goes_on_alone_and_the_whole_knows_what_each_has_done() {
    let Some(mut home) = Home::new(6, &Programs::built()) else { return };
    home.start();
    for joiner in 2..=5 {
        assert_eq!(home.pair(1, joiner).1.code, Some(0));
    }
    // The leader goes with one other, and with one that has no fleet yet.
    let leader = home.agree_soon(&[1, 2, 3, 4, 5]).0;
    let away = [leader, if leader == 5 { 4 } else { 5 }];
    let stay: Vec<u8> = (1..=5).filter(|number| !away.contains(number)).collect();
    home.lan.send_away(&[away[0], away[1], 6]);
    home.agree_soon(&stay);
    assert_eq!(home.agree_soon(&away).0, leader, "it stays with the part that has it");
    home.list_soon(&stay, &stay);

    // One part lets a machine in, the other removes one.
    let (shown, joined) = home.pair(away[1], 6);
    assert_eq!((shown.code, joined.code), (Some(0), Some(0)), "{shown:?} {joined:?}");
    let last = stay[2];
    let removed = home.host(stay[0]).run(&["remove", &home.host(last).name, "--yes", "--json"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    home.agree_soon(&[leader, away[1], 6]);

    home.lan.bring_home(&[away[0], away[1], 6]);
    let rest: Vec<u8> = home.others(&[last]);
    home.agree_soon(&rest);
    home.list_soon(&rest, &rest);
    home.list_soon(&[last], &[last]);
    assert!(rest.iter().all(|host| home.host(*host).run(&["devices", "--json"]).lines.len() == 5));
}

#[test]
fn two_that_cannot_reach_each_other_have_one_leader_and_one_that_quits_is_replaced() {
    let Some(mut home) = Home::paired(4, &Programs::built()) else { return };
    let leader = home.agree_soon(&home.all()).0;
    let cut_off = home.others(&[leader])[0];
    let before = home.reign(leader);
    home.lan.part(&[leader, cut_off]);
    let elsewhere = || (home.row(cut_off, leader)["presence"] == "elsewhere").then_some(());
    assert!(within(Duration::from_secs(30), elsewhere).is_some(), "{}", home.row(cut_off, leader));
    home.list_soon(&[cut_off], &home.others(&[leader]));
    // Longer than anybody waits before it claims to lead.
    std::thread::sleep(Duration::from_secs(5));
    for host in home.all() {
        assert_eq!(home.reign(host), before, "as host {host} sees it");
    }
    home.lan.join(&[leader, cut_off]);
    home.agree_soon(&home.all());
    assert_eq!(home.reign(cut_off), before);

    assert_eq!(home.host_mut(leader).quit(), Some(0));
    let others = home.others(&[leader]);
    let (next, _) = home.follow_soon(&others, leader);
    assert_ne!(next, leader);
    assert_eq!(home.row(others[0], leader)["presence"], "left");
}
