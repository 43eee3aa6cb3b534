//! The memory of the fleet: every machine tells the whole history, whichever of them is lost.
#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

use fleet_tests::{Machine, eventually, get, meshes, pair, post, until_all_agree};
use serde_json::{Value, json};

/// The ids of all requests that a machine knows of, as its owner is told.
fn history(machine: &Machine) -> Vec<String> {
    let said = machine.herd.command(&["traces", "-n", "100", "--json"]);
    let rows = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut ids: Vec<String> = rows.filter_map(|row| row["request_id"].as_str().map(str::to_owned)).collect();
    ids.sort();
    ids
}

/// Asks for `model`; the request's id and who served it.
fn ask(machine: &Machine, model: &str) -> (String, String) {
    let question = json!({ "model": model, "messages": [{ "role": "user", "content": "MARKER of the prompt" }] });
    let answer = post(&machine.herd.at("/api/chat"), &question);
    assert_eq!(answer.status, 200, "{answer:?}");
    let header = |name| answer.header(name).unwrap_or_default().to_owned();
    (header("x-fleet-request-id"), header("x-fleet-node"))
}

fn total(machine: &Machine) -> Value {
    get(&machine.herd.at("/dashboard/api/overview")).json()["total_requests"].clone()
}

#[test]
fn a_machine_whose_disk_is_lost_is_remembered_by_the_others() {
    let meshes = meshes(3);
    let studio = Machine::start("studio", "tiny", &meshes[0]);
    // What was asked while the machine was alone belongs to the history too.
    let mut asked = vec![ask(&studio, "tiny").0];
    let (den, attic) = (Machine::start("den", "tiny,beta", &meshes[1]), Machine::start("attic", "tiny", &meshes[2]));
    pair(&studio, &den);
    pair(&den, &attic);
    until_all_agree(&[&studio, &den, &attic]);
    asked.extend((0..5).map(|_| ask(&studio, "tiny").0));
    let (at_den, served_by) = ask(&studio, "beta");
    assert_eq!(served_by, "den");
    asked.push(at_den.clone());
    asked.push(ask(&attic, "tiny").0);
    asked.sort();
    for machine in [&studio, &den, &attic] {
        eventually("the whole history to be known", || (history(machine) == asked).then_some(()));
    }

    // The machine is lost, with its disk.
    let dir = studio.herd.dir.path().to_owned();
    studio.herd.program.signal("KILL");
    drop(studio);
    assert!(!dir.exists());
    for machine in [&den, &attic] {
        assert_eq!(history(machine), asked);
        assert_eq!(total(machine), json!(asked.len()));
        let why = machine.herd.trace(&at_den);
        assert_eq!((&why["node_id"], &why["status"]), (&json!("den"), &json!("completed")), "{why}");
        assert_eq!(why["candidates"][0]["node"], "den", "{why}");
        let shown = machine.herd.command(&["traces"]);
        assert!(shown.lines().next().is_some_and(|heads| heads.contains("NODE")), "{shown}");
        assert!(shown.lines().any(|line| line.contains(&at_den) && line.contains("den")), "{shown}");
        let database = std::fs::read(machine.herd.dir.path().join("latency.db")).unwrap();
        let log = std::fs::read(machine.herd.dir.path().join("latency.db-wal")).unwrap_or_default();
        for bytes in [database, log] {
            assert!(!bytes.windows(6).any(|window| window == b"MARKER"), "prompts stay where they are asked");
        }
    }

    // Another one in its place learns everything, and what it does is known to the others.
    let fresh = Machine::start("studio", "tiny", &meshes[0]);
    pair(&den, &fresh);
    eventually("the history to flow back", || (history(&fresh) == asked).then_some(()));
    assert_eq!(total(&fresh), json!(asked.len()));
    asked.push(ask(&fresh, "tiny").0);
    asked.sort();
    for machine in [&den, &attic] {
        eventually("what it did to be known", || (history(machine) == asked).then_some(()));
    }
}

#[test]
fn a_machine_that_was_away_catches_up() {
    let meshes = meshes(2);
    let (studio, den) = (Machine::start("studio", "tiny", &meshes[0]), Machine::start("den", "tiny", &meshes[1]));
    pair(&studio, &den);
    until_all_agree(&[&studio, &den]);
    den.herd.program.signal("STOP");
    let mut asked: Vec<String> = (0..300).map(|_| ask(&studio, "tiny").0).collect();
    asked.sort();
    den.herd.program.signal("CONT");
    let is_known = || get(&den.herd.at("/dashboard/api/overview")).json()["total_requests"] == json!(asked.len());
    eventually("what was missed to be known", || is_known().then_some(()));
    let last = den.herd.trace(asked.last().unwrap());
    assert_eq!(last["node_id"], "studio", "{last}");
}
