//! Machines that join: found by multicast, by address where there is none, and not at all with a wrong code.

use std::net::TcpListener;

use fleet_tests::hosts::{Capture, Home, Programs, Talk};

/// Whether `word` is somewhere in `packets`.
fn is_in(packets: &[Vec<u8>], word: &str) -> bool {
    packets.iter().any(|packet| packet.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes())))
}

#[test]
fn five_machines_find_each_other_and_no_name_crosses_the_network_in_clear() {
    let Some(mut home) = Home::new(5, &Programs::built()) else { return };
    let capture = Capture::start(home.lan.switch());
    home.start();
    home.join_all(2);
    home.list_soon(&home.all(), &home.all());
    home.agree_soon(&home.all());
    let leaders: Vec<_> =
        home.hosts.iter().map(|host| host.run(&["leader", "--json"]).first()["name"].clone()).collect();
    assert!(leaders.iter().all(|leader| *leader == leaders[0] && leader.is_string()), "{leaders:?}");
    assert!(home.hosts.iter().all(|host| host.run(&["nodes", "--json"]).lines.len() == 5));

    home.cut_power();
    home.list_soon(&home.all(), &home.all());

    let packets = capture.end();
    assert!(is_in(&packets, "_herd-fleet"), "what is in clear is in the recording");
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for host in &home.hosts {
        let words = [&host.name, &host.user(), &Home::model(host.number), own.trim()];
        // Shorter ones come about by chance.
        for word in words.into_iter().filter(|word| word.len() > 4) {
            assert!(!is_in(&packets, word), "{word} crossed the network in clear");
        }
    }
}

#[test]
fn where_no_multicast_passes_an_address_is_enough_and_a_machine_that_moved_is_found_again() {
    let Some(mut home) = Home::new(3, &Programs::built()) else { return };
    home.lan.block_multicast();
    home.host_mut(3).set("FLEET_MDNS", "off");
    home.start();
    let pairing = home.host(1).talk(&["pair", "--yes", "--json"]);
    let shown = pairing.next().unwrap();
    let (code, address) = (shown["code"].as_str().unwrap(), shown["address"].as_str().unwrap());
    let lost = home.host(2).run(&["join", code, "--json"]);
    assert_eq!(lost.code, Some(5), "{lost:?}");
    let joined = home.host(2).run(&["join", code, "--addr", address, "--json"]);
    assert_eq!(joined.code, Some(0), "{joined:?}");
    assert_eq!(pairing.end().code, Some(0));
    let (_, joined) = home.pair_by_address(2, 3);
    assert_eq!(joined.code, Some(0), "{joined:?}");
    let leader = home.agree_soon(&[1, 2, 3]).0;
    home.list_soon(&[1, 2, 3], &[1, 2, 3]);

    // To another network, with an address there; then back, with yet another one.
    let traveller = if leader == 3 { 2 } else { 3 };
    let stay = home.others(&[traveller]);
    home.lan.send_away(&[traveller]);
    home.lan.readdress(traveller, "10.78.0.7");
    assert_eq!(home.agree_soon(&stay).0, leader);
    home.agree_soon(&[traveller]);
    home.lan.bring_home(&[traveller]);
    home.lan.readdress(traveller, "10.77.0.77");
    assert_eq!(home.agree_soon(&[1, 2, 3]).0, leader);
    home.list_soon(&[1, 2, 3], &[1, 2, 3]);
}

#[test]
fn a_code_is_good_for_one_machine_and_three_tries() {
    let Some(mut home) = Home::new(3, &Programs::built()) else { return };
    let taken = home.lan.space(2).inside(|| TcpListener::bind("0.0.0.0:11441")).unwrap();
    home.start();
    let nobody = home.host(2).run(&["join", "ABCD-EFGH", "--json"]);
    assert_eq!(nobody.code, Some(5), "{nobody:?}");

    let pairing = home.host(1).talk(&["pair", "--yes", "--json"]);
    let shown = pairing.next().unwrap();
    let (code, address) = (shown["code"].as_str().unwrap(), shown["address"].as_str().unwrap());
    assert!(shown["expires_in_s"].as_u64().is_some_and(|left| (170..=180).contains(&left)), "{shown}");
    let wrong: String = code.chars().rev().collect();
    for _ in 0..3 {
        let refused = home.host(2).run(&["join", &wrong, "--addr", address, "--json"]);
        assert_eq!(refused.code, Some(4), "{refused:?}");
    }
    let refused = home.host(2).run(&["join", code, "--addr", address, "--json"]);
    assert!(matches!(refused.code, Some(4 | 5)), "the right one comes too late: {refused:?}");
    assert_eq!(pairing.end().code, Some(4));

    // Withdrawn.
    let pairing = home.host(1).talk(&["pair", "--yes", "--json"]);
    let shown = pairing.next().unwrap();
    pairing.program().signal("INT");
    assert_eq!(pairing.end().code, Some(1));
    let late = home.host(2).run(&[
        "join",
        shown["code"].as_str().unwrap(),
        "--addr",
        shown["address"].as_str().unwrap(),
        "--json",
    ]);
    assert_eq!(late.code, Some(5), "{late:?}");

    // As people type it, by two at once: it is good for one.
    let pairing = home.host(1).talk(&["pair", "--yes", "--json"]);
    let shown = pairing.next().unwrap();
    let typed = shown["code"].as_str().unwrap().to_lowercase().replace('-', " ");
    let two = [2, 3].map(|host| home.host(host).talk(&["join", &typed, "--json"])).map(Talk::end);
    let Some((late, joined)) = (match (two[0].code, two[1].code) {
        (Some(0), Some(1..)) => Some((3, &two[0])),
        (Some(1..), Some(0)) => Some((2, &two[1])),
        _ => None,
    }) else {
        panic!("one gets in, and one does not: {two:?}");
    };
    assert_eq!(joined.first()["members"].as_array().map(Vec::len), Some(2), "{joined:?}");
    let first = if late == 3 { 2 } else { 3 };
    let ended = pairing.end();
    assert_eq!((ended.code, &ended.lines[0]["joined"]["name"]), (Some(0), &home.host(first).name.as_str().into()));
    home.agree_soon(&[1, first]);

    // Who has a fleet joins no other; any member lets others in, also when the first one is off.
    let refused = home.host(first).run(&["join", "ABCD-EFGH", "--json"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    home.host_mut(1).kill();
    let (shown, joined) = home.pair(first, late);
    assert_eq!((shown.code, joined.code), (Some(0), Some(0)), "{shown:?} {joined:?}");
    home.agree_soon(&[2, 3]);
    home.host_mut(1).start();
    home.agree_soon(&[1, 2, 3]);
    assert_eq!(home.row(1, 2)["address"], "10.77.0.2:11442", "the next port where one is taken");
    drop(taken);
}
