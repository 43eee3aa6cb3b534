//! Clients on other machines: answered by whoever leads, with a key, and by nobody without one.
//!
//! The first test needs no rights: a second address of loopback stands for the network. The others have hosts in network
//! namespaces; they are skipped, and said so, where these cannot be made.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use fleet_tests::hosts::{Home, Lan, Programs, Space, within};
use fleet_tests::{Answer, Fake, Herd, ask, eventually, get, send};
use serde_json::{Value, json};

/// How long anything may take that is expected to happen. Generous: these machines are busy.
const PATIENCE: Duration = Duration::from_secs(45);

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

#[test]
fn another_address_needs_a_key_and_answers_only_who_has_one() {
    let fake = Fake::start(&["--models", "tiny"]);
    let herd = Herd::start_with(&[&fake.url], &[("FLEET_HOST", "127.0.0.2"), ("FLEET_MDNS", "off")]);
    let port = herd.url.rsplit_once(':').unwrap().1.to_owned();
    let outside = |path: &str| format!("http://127.0.0.2:{port}{path}");
    let token = std::fs::read_to_string(herd.dir.path().join("control.token")).unwrap();
    let order = |path: &str, body: &Value| {
        let headers = [("Authorization", bearer(token.trim())), ("Content-Type", "application/json".to_owned())];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        ask(&herd.at(path), "POST", &headers, body.to_string().as_bytes())
    };
    assert!(send(&outside("/api/tags"), "GET", &[], &[]).is_err(), "without a key nobody listens");
    let doctor = get(&herd.at("/fleet/doctor")).body;
    assert!(doctor.contains("there is no key yet"), "{doctor}");
    assert_eq!(get(&herd.at("/fleet/keys")).status, 401);

    let made = order("/fleet/keys", &json!({ "name": "nas", "rpm": 3 }));
    assert_eq!(made.status, 200, "{made:?}");
    let key = made.json()["key"].as_str().unwrap().to_owned();
    assert_eq!(order("/fleet/keys", &json!({ "name": "NAS" })).status, 403, "each name once");
    let call = |method: &str, path: &str, key: &str, body: &[u8]| {
        let bearer = bearer(key);
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        send(&outside(path), method, &headers, body).ok().map(fleet_tests::Exchange::finish)
    };
    let tags = eventually("the address to be open", || call("GET", "/api/tags", &key, &[]));
    assert_eq!((tags.status, tags.body.contains("tiny")), (200, true), "{tags:?}");
    let stranger = call("GET", "/api/tags", "herd-wrong", &[]).unwrap();
    assert_eq!(stranger.status, 401, "{stranger:?}");
    assert!(!stranger.body.contains("tiny") && stranger.header("x-fleet-node").is_none(), "{stranger:?}");

    let chat = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "hi" }], "stream": false });
    let chat = chat.to_string();
    for _ in 0..3 {
        let answer = call("POST", "/api/chat", &key, chat.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let limited = call("POST", "/v1/chat/completions", &key, chat.as_bytes()).unwrap();
    assert_eq!((limited.status, limited.body.contains("rate_limit_exceeded")), (429, true), "{limited:?}");
    assert!(limited.header("retry-after").unwrap().parse::<u32>().unwrap() <= 60);
    let traces = eventually("the requests to be on record", || {
        let traces = get(&herd.at("/dashboard/api/traces")).json()["traces"].as_array().cloned()?;
        (traces.len() >= 3).then_some(traces)
    });
    assert!(traces.iter().all(|trace| trace["client_key"] == "nas"), "{traces:?}");

    // Nothing on the disk is the key, and nobody who only has it has a say.
    for entry in std::fs::read_dir(herd.dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!bytes.windows(key.len()).any(|part| part == key.as_bytes()));
    }
    assert!(!herd.said().contains(&key));
    assert_eq!(call("POST", "/fleet/leave", &key, b"{}").unwrap().status, 403);
    assert_eq!(call("POST", "/api/pull", &key, b"{}").unwrap().status, 403);

    assert_eq!(order("/fleet/keys/revoke", &json!({ "name": "nas" })).status, 200);
    eventually("the address to be closed", || call("GET", "/api/tags", &key, &[]).is_none().then_some(()));
    assert_eq!(get(&herd.at("/api/tags")).status, 200, "this machine's own programs notice nothing");
}

/// Which of `hosts` take connections from `client` on the door's port.
fn open_at(client: &Space, hosts: &[u8]) -> Vec<u8> {
    let is_open = |host: &&u8| {
        let address = format!("{}:11435", Lan::address(**host)).parse().unwrap();
        client.inside(|| TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok())
    };
    hosts.iter().filter(is_open).copied().collect()
}

/// What `client` gets from `host` over the network.
fn call(client: &Space, host: u8, method: &str, path: &str, key: &str, body: &[u8]) -> Option<Answer> {
    let url = format!("http://{}:11435{path}", Lan::address(host));
    let bearer = bearer(key);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    client.inside(|| send(&url, method, &headers, body).ok().map(fleet_tests::Exchange::finish))
}

/// The IPv4 addresses that `name` has, as `client` hears by multicast.
fn resolved(client: &Space, name: &str) -> Vec<IpAddr> {
    client.inside(|| {
        let daemon = mdns_sd::ServiceDaemon::new().unwrap();
        let events = daemon.resolve_hostname(&format!("{name}."), Some(1500)).unwrap();
        let mut found = Vec::new();
        while let Ok(event) = events.recv_timeout(Duration::from_secs(2)) {
            match event {
                mdns_sd::HostnameResolutionEvent::AddressesFound(_, addresses) => {
                    found = addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr).filter(IpAddr::is_ipv4).collect();
                    break;
                }
                mdns_sd::HostnameResolutionEvent::SearchTimeout(_) => break,
                _ => {}
            }
        }
        let _ = daemon.shutdown();
        found
    })
}

fn v4(host: u8) -> IpAddr {
    IpAddr::V4(Lan::address(host).parse::<Ipv4Addr>().unwrap())
}

#[test]
fn whoever_leads_answers_the_network_and_nobody_else() {
    // The fourth machine has no Herd: it is the client.
    let Some(mut home) = Home::new(4, &Programs::built()) else { return };
    let herds = [1, 2, 3];
    for number in herds {
        home.host_mut(number).set("FLEET_LAN", "on");
        home.host_mut(number).start();
    }
    herds.iter().for_each(|number| home.host_mut(*number).is_up_soon());
    for joiner in [2, 3] {
        let (shown, joined) = home.pair(1, joiner);
        assert_eq!((joined.code, shown.code), (Some(0), Some(0)), "{joined:?} {shown:?}");
    }
    let leader = home.agree_soon(&herds).0;
    home.list_soon(&herds, &herds);
    let client = home.lan.space(4).clone();
    assert!(open_at(&client, &herds).is_empty(), "without a key nobody listens");

    // Made on a machine that does not lead.
    let maker = if leader == 1 { 2 } else { 1 };
    let made = home.host(maker).run(&["keys", "add", "nas", "--json"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let key = made.first()["key"].as_str().unwrap().to_owned();
    let only = |leader: u8| {
        let found = within(PATIENCE, || (open_at(&client, &herds) == [leader]).then_some(()));
        found.unwrap_or_else(|| panic!("open at {:?} and not at {leader} alone", open_at(&client, &herds))).1
    };
    only(leader);
    let tags = call(&client, leader, "GET", "/api/tags", &key, &[]).unwrap();
    assert!(herds.iter().all(|host| tags.body.contains(&Home::model(*host))), "{tags:?}");
    assert_eq!(call(&client, leader, "GET", "/api/tags", "herd-wrong", &[]).unwrap().status, 401);
    let chat =
        json!({ "model": Home::model(leader), "messages": [{ "role": "user", "content": "hi" }], "stream": false });
    let answer = call(&client, leader, "POST", "/api/chat", &key, chat.to_string().as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");

    // The leader says where it answers, and the network knows it by a name.
    let doctor = home.host(leader).get("/fleet/doctor").unwrap().json();
    let row = doctor.as_array().unwrap().iter().find(|row| row["check"] == "network").unwrap().clone();
    let found = row["found"].as_str().unwrap();
    assert!(found.contains(&format!("http://{}:11435", Lan::address(leader))), "{row}");
    let name =
        found.split("http://").find_map(|part| part.split_once(".local").map(|(name, _)| format!("{name}.local")));
    let name = name.unwrap_or_else(|| panic!("no name in {found}"));
    let resolves_to = |host: u8| within(PATIENCE, || (resolved(&client, &name) == [v4(host)]).then_some(()));
    assert!(resolves_to(leader).is_some(), "{name} means {:?}", resolved(&client, &name));
    let listening = home.host(leader).get("/fleet/self").unwrap().json()["listening"].to_string();
    assert!(listening.contains(&format!("{}:11435", Lan::address(leader))), "{listening}");

    // Its power fails: the endpoint and its name follow the leadership.
    home.host_mut(leader).kill();
    let others: Vec<u8> = herds.into_iter().filter(|host| *host != leader).collect();
    let (next, followed) = home.agree_soon(&others);
    let opened = only(next);
    println!("a new leader after {followed:?}, which answers the network {opened:?} later");
    assert_eq!(call(&client, next, "GET", "/api/tags", &key, &[]).unwrap().status, 200);
    assert!(resolves_to(next).is_some(), "{name} means {:?}", resolved(&client, &name));
    home.host_mut(leader).start();
    home.host_mut(leader).is_up_soon();
    home.agree_soon(&herds);
    only(next);

    // Two leaders while the network is in two parts; one of them gives the endpoint back afterwards.
    home.lan.send_away(&[next]);
    let stays: Vec<u8> = herds.into_iter().filter(|host| *host != next).collect();
    let third = home.agree_soon(&stays).0;
    only(third);
    home.lan.bring_home(&[next]);
    let last = home.agree_soon(&herds).0;
    println!("after two leaders, one answers the network: {:?}", only(last));

    let revoked = home.host(maker).run(&["keys", "revoke", "nas", "--json"]);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    let closed = within(PATIENCE, || open_at(&client, &herds).is_empty().then_some(()));
    assert!(closed.is_some(), "open at {:?}", open_at(&client, &herds));
}

fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn containers_are_answered_and_neighbours_who_pretend_to_be_some_are_not() {
    let Some(mut home) = Home::new(3, &Programs::built()) else { return };
    // The second machine plays a container of the first; the third is a neighbour who knows the way to the bridge.
    let [host, container, neighbour] = [1, 2, 3].map(|number| home.lan.space(number).clone());
    let (one, two, three) = (host.name(), container.name(), neighbour.name());
    ip(&format!("-n {one} link add docker0 type bridge"));
    ip(&format!("-n {one} link add inside type veth peer name eth1 netns {two}"));
    ip(&format!("-n {one} link set inside master docker0 up"));
    ip(&format!("-n {one} addr add 172.17.0.1/16 dev docker0"));
    ip(&format!("-n {one} link set docker0 up"));
    ip(&format!("-n {two} addr add 172.17.0.2/16 dev eth1"));
    ip(&format!("-n {two} link set eth1 up"));
    ip(&format!("-n {three} route add 172.17.0.0/16 via {}", Lan::address(1)));
    home.host_mut(1).set("FLEET_CONTAINERS", "on");
    home.host_mut(1).set("FLEET_LAN", "on");
    home.host_mut(1).start();
    home.host_mut(1).is_up_soon();
    let ask = |from: &Space, named: &str| {
        let headers = [("Host", named)];
        from.inside(|| {
            let sent = send("http://172.17.0.1:11435/api/tags", "GET", &headers, &[]);
            sent.ok().map(fleet_tests::Exchange::finish)
        })
    };
    let listed = within(PATIENCE, || ask(&container, "host.docker.internal:11435")).unwrap().0;
    assert_eq!((listed.status, listed.body.contains(&Home::model(1))), (200, true), "{listed:?}");
    assert_eq!(ask(&container, "evil.example").unwrap().status, 403);
    assert!(ask(&neighbour, "host.docker.internal:11435").is_none(), "a neighbour is hung up on");
    assert!(open_at(&neighbour, &[1]).is_empty(), "without a key nobody listens at its own address");

    // A machine alone leads itself.
    let made = home.host(1).run(&["keys", "add", "nas", "--json"]);
    let key = made.first()["key"].as_str().unwrap().to_owned();
    assert!(within(PATIENCE, || (open_at(&neighbour, &[1]) == [1]).then_some(())).is_some(), "{}", home.host(1).said());
    assert_eq!(call(&neighbour, 1, "GET", "/api/tags", &key, &[]).unwrap().status, 200);
    assert_eq!(call(&neighbour, 1, "GET", "/api/tags", "", &[]).unwrap().status, 401);
    assert_eq!(ask(&container, "host.docker.internal:11435").unwrap().status, 200, "containers still need none");
}
