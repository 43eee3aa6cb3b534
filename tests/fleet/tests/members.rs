//! Machines that become a fleet: real programs on loopback that are paired, see each other, lose each other and part.
#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

use std::time::Duration;

use fleet_tests::{Machine, eventually, free_port, get, here, meshes, pair, post, send, until_all_agree};
use serde_json::{Value, json};

#[test]
fn two_machines_are_paired_and_list_each_others_models() {
    let meshes = meshes(2);
    let (studio, den) =
        (Machine::start("studio", "tiny,alpha", &meshes[0]), Machine::start("den", "tiny,beta", &meshes[1]));
    for machine in [&studio, &den] {
        assert_eq!(machine.nodes(), here(&[machine.name]), "alone at first");
        assert!(std::net::TcpStream::connect(("127.0.0.1", meshes[0].0)).is_err(), "alone nobody listens");
        assert!(!machine.herd.dir.path().join("fleet.secret").exists());
    }

    // A wrong code first, then the right one, and the person at the other machine is asked.
    let (mut shown, code, address) = studio.shows_code(false);
    let wrong = den.change("/fleet/join", &json!({ "code": "0000-0000", "address": address }));
    assert_eq!((wrong.status, wrong.body.contains("not the code")), (403, true), "{wrong:?}");
    let asking = den.order_in_background("/fleet/join", json!({ "code": code.to_lowercase(), "address": address }));
    assert!(shown.read_until("asks"), "{}", studio.herd.said());
    let asks = shown.lines_so_far().pop().unwrap()["asks"].clone();
    assert_eq!(asks["name"], "den");
    let stranger = studio.change("/fleet/pair/answer", &json!({ "id": "0123456789", "allow": true }));
    assert_eq!(stranger.status, 404, "{stranger:?}");
    let answered = studio.change("/fleet/pair/answer", &json!({ "id": asks["id"], "allow": true }));
    assert_eq!(answered.status, 200, "{answered:?}");
    let joined = asking.join().unwrap();
    assert_eq!((joined.status, &joined.json()["fleet"]["name"]), (200, &json!("Home")), "{joined:?}");
    assert_eq!(shown.finish().lines().last().unwrap()["joined"]["name"], "den");

    until_all_agree(&[&studio, &den]);
    let row =
        |name: &str, nodes: &[&str]| (format!("{name}:latest"), nodes.iter().map(|node| (*node).to_owned()).collect());
    let expected: Vec<(String, Vec<String>)> =
        vec![row("alpha", &["studio"]), row("beta", &["den"]), row("tiny", &["den", "studio"])];
    for machine in [&studio, &den] {
        eventually("the lists to be the fleet's", || (machine.tags() == expected).then_some(()));
        let ids = get(&machine.herd.at("/v1/models")).json();
        assert_eq!(ids["data"].as_array().map(Vec::len), Some(3), "{ids}");
        let status = get(&machine.herd.at("/fleet/self")).json();
        assert_eq!((&status["nodes"], &status["models"]), (&json!(2), &json!(3)), "{status}");
        let status = get(&machine.herd.at("/fleet/status")).json();
        assert_eq!(status["fleet"]["nodes_online"], 2, "{status}");
        assert!(status["nodes"][1]["hardware"]["cores_logical"].as_u64().is_some_and(|cores| cores > 0), "{status}");
        let roles: Vec<_> = machine.rows("/fleet/devices").iter().map(|row| row["role"].clone()).collect();
        assert_eq!(roles, ["admin", "admin"]);
    }

    // What only the other one has is answered by that.
    let question = json!({ "model": "beta", "messages": [{ "role": "user", "content": "hi" }] });
    let answered = post(&studio.herd.at("/api/chat"), &question);
    assert_eq!((answered.status, answered.header("x-fleet-node")), (200, Some("den")), "{answered:?}");
    assert_eq!(post(&den.herd.at("/api/chat"), &question).status, 200);
    assert_eq!(post(&studio.herd.at("/api/chat"), &json!({ "model": "gamma", "messages": [] })).status, 404);

    // A model that comes is listed everywhere; a machine that goes takes its models along.
    den.herd.program.signal("TERM");
    eventually("the machine that stopped to be gone", || {
        (studio.nodes().contains(&("den".to_owned(), "left".to_owned()))).then_some(())
    });
    let own: Vec<_> = vec![row("alpha", &["studio"]), row("tiny", &["studio"])];
    eventually("its models to be gone", || (studio.tags() == own).then_some(()));
}

#[test]
fn a_fleet_outlives_its_leader_and_shuts_out_who_was_removed() {
    let meshes = meshes(3);
    let mut machines = vec![
        Machine::start("studio", "tiny", &meshes[0]),
        Machine::start("den", "tiny", &meshes[1]),
        Machine::start("attic", "tiny", &meshes[2]),
    ];
    pair(&machines[0], &machines[1]);
    pair(&machines[1], &machines[2]);
    let leader = until_all_agree(&machines.iter().collect::<Vec<_>>());

    // Only who joined earlier can remove: `studio` founded the fleet.
    let senior = machines[2].change("/fleet/remove", &json!({ "device": "studio" }));
    assert_eq!(senior.status, 403, "{senior:?}");
    assert_eq!(machines[0].change("/fleet/remove", &json!({ "device": "cellar" })).status, 404);

    // A new name is known everywhere at once.
    assert_eq!(machines[2].change("/fleet/rename", &json!({ "device": "attic", "name": "loft" })).status, 200);
    machines[2].name = "loft";
    let leader = if leader == "attic" { "loft".to_owned() } else { leader };
    until_all_agree(&machines.iter().collect::<Vec<_>>());
    let taken = machines[0].change("/fleet/rename", &json!({ "device": "den", "name": "Loft" }));
    assert_eq!((taken.status, taken.body.contains("Loft")), (403, true), "{taken:?}");

    // The leader is killed: the others follow another one, and soon.
    let at = machines.iter().position(|machine| machine.name == leader).unwrap();
    let killed = machines.remove(at);
    killed.herd.program.signal("KILL");
    let next = eventually("another leader", || {
        let next = machines[0].leader().filter(|next| *next != leader)?;
        machines.iter().all(|machine| machine.leader().as_ref() == Some(&next)).then_some(next)
    });
    assert_ne!(next, leader);
    let gone = (leader.clone(), "gone".to_owned());
    assert!(machines[0].nodes().contains(&gone), "{:?}", machines[0].nodes());
    let checks = machines[0].rows("/fleet/doctor");
    assert!(
        checks.iter().any(|check| check["found"].as_str().is_some_and(|found| found.contains(&leader))),
        "{checks:?}"
    );

    // One of the two that are left is removed by the other, its senior.
    let mut removed = machines.pop().unwrap();
    let stays = machines.pop().unwrap();
    let answer = stays.change("/fleet/remove", &json!({ "device": removed.name }));
    assert_eq!(answer.status, 200, "{answer:?}");
    eventually("the removed machine to be alone", || (removed.nodes().len() == 1).then_some(()));
    assert!(!removed.herd.dir.path().join("fleet.secret").exists());
    let told = removed.rows("/fleet/doctor");
    assert!(
        told.iter().any(|check| check["found"].as_str().is_some_and(|found| found.contains("was removed"))),
        "{told:?}"
    );
    eventually("the other to know it no more", || {
        stays.nodes().iter().all(|(name, _)| name != removed.name).then_some(())
    });

    // It can come back, with a new key, and is called what it calls itself.
    removed.name = if removed.name == "loft" { "attic" } else { removed.name };
    pair(&stays, &removed);
    eventually("both to see each other again", || {
        let sees = |one: &Machine, other: &Machine| one.nodes().contains(&(other.name.to_owned(), "here".to_owned()));
        (sees(&stays, &removed) && sees(&removed, &stays)).then_some(())
    });
}

#[test]
fn whoever_leaves_is_alone_and_a_fleet_survives_a_restart() {
    let meshes = meshes(2);
    let (mut studio, den) = (Machine::start("studio", "tiny", &meshes[0]), Machine::start("den", "tiny", &meshes[1]));
    pair(&studio, &den);
    until_all_agree(&[&studio, &den]);
    studio.herd.restart();
    until_all_agree(&[&studio, &den]);

    assert_eq!(den.change("/fleet/leave", &json!({})).status, 200);
    assert_eq!(den.nodes(), here(&["den"]));
    assert_eq!(den.leader().as_deref(), Some("den"));
    eventually("the other to be alone too", || (studio.nodes() == here(&["studio"])).then_some(()));
    assert_eq!(den.change("/fleet/leave", &json!({})).status, 404);
    let nobody =
        den.change("/fleet/join", &json!({ "code": "7KQ2-M9XD", "address": format!("127.0.0.1:{}", free_port()) }));
    assert_eq!(nobody.status, 404, "{nobody:?}");

    // A new fleet has another secret; its name is the owner's.
    let secret = std::fs::read_to_string(studio.herd.dir.path().join("fleet.secret")).unwrap();
    let begun = studio.change("/fleet/new", &json!({ "name": "Office" }));
    assert_eq!((begun.status, &begun.json()["fleet"]["name"]), (200, &json!("Office")), "{begun:?}");
    assert_ne!(std::fs::read_to_string(studio.herd.dir.path().join("fleet.secret")).unwrap(), secret);
    pair(&studio, &den);
    until_all_agree(&[&studio, &den]);
    assert_eq!(get(&den.herd.at("/fleet/status")).json()["fleet"]["name"], "Office");
}

#[test]
fn a_code_that_nobody_waits_for_is_withdrawn() {
    let meshes = meshes(2);
    let (studio, den) = (Machine::start("studio", "tiny", &meshes[0]), Machine::start("den", "tiny", &meshes[1]));
    let (shown, code, address) = studio.shows_code(true);
    let second = studio.change("/fleet/pair", &json!({ "yes": true }));
    assert_eq!((second.status, second.body.contains("already")), (403, true), "{second:?}");
    drop(shown);
    eventually("the code to be withdrawn", || std::net::TcpStream::connect(&address).is_err().then_some(()));
    let late = den.change("/fleet/join", &json!({ "code": code, "address": address }));
    assert_eq!(late.status, 404, "{late:?}");
    eventually("the mesh to be shut again", || {
        std::net::TcpStream::connect_timeout(&([127, 0, 0, 1], meshes[0].0).into(), Duration::from_secs(1))
            .is_err()
            .then_some(())
    });
    let (shown, ..) = studio.shows_code(true);
    studio.herd.program.signal("TERM");
    assert!(shown.finish().complete, "a machine that stops ends the conversation");
    let without = send(&den.herd.at("/fleet/pair"), "POST", &[("Content-Type", "application/json")], b"{}").unwrap();
    assert_eq!(without.finish().status, 401);
}

#[test]
fn damaged_files_are_told_and_kept_until_the_owner_leaves() {
    let meshes = meshes(2);
    let (mut studio, den) = (Machine::start("studio", "tiny", &meshes[0]), Machine::start("den", "tiny", &meshes[1]));
    pair(&studio, &den);
    until_all_agree(&[&studio, &den]);
    let path = studio.herd.dir.path().join("roster.json");
    std::fs::write(&path, "{ half a lis").unwrap();
    studio.herd.restart();
    assert_eq!(studio.nodes(), here(&["studio"]), "it works alone");
    let found = |machine: &Machine, text: &str| {
        machine
            .rows("/fleet/doctor")
            .iter()
            .any(|check| check["found"].as_str().is_some_and(|found| found.contains(text)))
    };
    assert!(found(&studio, "roster.json"));
    let refused = studio.change("/fleet/pair", &json!({ "yes": true }));
    assert_eq!((refused.status, refused.body.contains("roster.json")), (502, true), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{ half a lis");
    // It may join again, by which its owner says that the damaged file may go.
    pair(&den, &studio);
    until_all_agree(&[&studio, &den]);
    assert!(!found(&studio, "roster.json"));
}

#[test]
fn a_taken_port_is_told_and_the_next_one_taken() {
    let mut meshes = meshes(2);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    meshes[0].0 = taken.local_addr().unwrap().port();
    let (studio, den) = (Machine::start("studio", "tiny", &meshes[0]), Machine::start("den", "tiny", &meshes[1]));
    pair(&studio, &den);
    until_all_agree(&[&studio, &den]);
    let checks = studio.rows("/fleet/doctor");
    let is_told = |check: &Value| check["found"].as_str().is_some_and(|found| found.contains("is taken"));
    assert!(checks.iter().any(is_told), "{checks:?}");
}
