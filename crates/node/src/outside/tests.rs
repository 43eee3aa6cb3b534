use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn machine() -> Addresses {
    let local = vec![(ip("10.0.0.5"), 24), (ip("fd00::5"), 64)];
    let containers = vec![(ip("172.17.0.1"), 16), (ip("172.18.0.1"), 16)];
    let all = local.iter().chain(&containers).chain(&[(ip("100.64.0.9"), 32)]).copied().collect();
    Addresses { local, containers, all }
}

fn ruling(leads: bool, has_key: bool) -> Ruling {
    let key = |name: &str| {
        let line = format!("{{\"hash\":\"{}\"}}", "ab".repeat(32));
        let author = proto::NodeId::new([1; 32]);
        let (key, epoch) = (format!("key/{name}"), proto::Epoch::new(1));
        (key.clone(), proto::wire::Setting { key, value: Some(line), epoch, counter: 1, author })
    };
    let keys = crate::fleet::keys::keys(&has_key.then(|| key("nas")).into_iter().collect());
    Ruling { leads, fleet: "x".to_owned(), keys: Arc::new(keys) }
}

fn open(wishes: &Wishes, ruling: &Ruling) -> Vec<(String, Entrance, bool)> {
    let ways = wishes.ways(ruling, &machine());
    assert!(wishes.anything(ruling) || ways.is_empty());
    ways.into_iter().map(|way| (way.ip.to_string(), way.entrance, way.is_named)).collect()
}

#[test]
fn the_network_is_for_the_leader_of_a_fleet_with_keys() {
    let wishes = Wishes { lan: true, containers: false, addresses: Vec::new() };
    for (leads, has_key, count) in [(true, true, 2), (false, true, 0), (true, false, 0)] {
        let open = open(&wishes, &ruling(leads, has_key));
        assert_eq!(open.len(), count, "{leads} {has_key}");
        assert!(open.iter().all(|(_, entrance, is_named)| *entrance == Entrance::Lan && *is_named));
    }
    let off = Wishes { lan: false, containers: false, addresses: Vec::new() };
    assert_eq!(open(&off, &ruling(true, true)), []);
}

#[test]
fn strangers_from_far_away_are_not_even_asked_for_a_key() {
    let wishes = Wishes { lan: true, containers: false, addresses: Vec::new() };
    let ways = wishes.ways(&ruling(true, true), &machine());
    let is_for = |peer: &str| ways[0].networks.iter().any(|network| network.has(ip(peer)));
    for (peer, expected) in [
        ("10.0.0.77", true),
        ("192.168.7.7", true),
        ("172.31.0.1", true),
        ("fd12::1", true),
        ("fe80::1", true),
        ("8.8.8.8", false),
        ("172.32.0.1", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(is_for(peer), expected, "{peer}");
    }
}

#[test]
fn named_addresses_are_for_keys_too_and_do_not_follow_the_leader() {
    let wishes = |addresses: &[&str]| Wishes {
        lan: false,
        containers: false,
        addresses: addresses.iter().map(|text| ip(text)).collect(),
    };
    for (said, expected) in [
        (&["10.0.0.5"][..], &["10.0.0.5"][..]),
        (&["127.0.0.2", "10.0.0.5"], &["127.0.0.2", "10.0.0.5"]),
        (&["0.0.0.0"], &["10.0.0.5", "172.17.0.1", "172.18.0.1", "100.64.0.9"]),
        (&["::", "0.0.0.0"], &["10.0.0.5", "fd00::5", "172.17.0.1", "172.18.0.1", "100.64.0.9"]),
    ] {
        let open = open(&wishes(said), &ruling(false, true));
        assert_eq!(open.iter().map(|(ip, _, _)| ip.as_str()).collect::<Vec<_>>(), expected, "{said:?}");
        assert!(open.iter().all(|(_, entrance, is_named)| *entrance == Entrance::Lan && !is_named));
    }
    assert_eq!(open(&wishes(&["0.0.0.0"]), &ruling(true, false)), [], "without a key nobody is answered");
}

#[test]
fn containers_need_no_key_and_keep_their_addresses() {
    let wishes = Wishes { lan: true, containers: true, addresses: vec![ip("0.0.0.0")] };
    let bridge = |ip: &str| (ip.to_owned(), Entrance::Container, false);
    assert_eq!(open(&wishes, &ruling(false, false)), [bridge("172.17.0.1"), bridge("172.18.0.1")]);
    let all = open(&wishes, &ruling(true, true));
    assert_eq!(all[..2], [bridge("172.17.0.1"), bridge("172.18.0.1")]);
    assert_eq!(all[2..].iter().map(|(ip, ..)| ip.as_str()).collect::<Vec<_>>(), ["10.0.0.5", "100.64.0.9", "fd00::5"]);
    let ways = wishes.ways(&ruling(false, false), &machine());
    let is_for = |peer: &str| ways[0].networks.iter().any(|network| network.has(ip(peer)));
    assert!(is_for("172.17.0.2") && is_for("172.18.0.2") && !is_for("10.0.0.77"));
}

#[test]
fn the_name_says_nothing_and_stays() {
    let name = name_on_lan("fleet-of-ada");
    assert_eq!(name, name_on_lan("fleet-of-ada"));
    assert_ne!(name, name_on_lan("fleet-of-bob"));
    assert!(name.len() == "herd-12345678.local".len() && !name.contains("ada"), "{name}");
}
