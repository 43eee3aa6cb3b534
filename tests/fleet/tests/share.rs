//! Whether a machine shares, as its owner says: real programs on loopback, one of which hears of the other.
#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

use fleet_tests::{Fake, Herd, eventually, free_port, get, post, send};
use serde_json::{Value, json};

/// A machine: a `herd` with a stand-in for Ollama.
struct Machine {
    herd: Herd,
    _fake: Fake,
}

impl Machine {
    fn start(name: &str, mesh: u16, other: u16) -> Machine {
        let fake = Fake::start(&["--models", "tiny"]);
        let (mesh, peers) = (mesh.to_string(), format!("127.0.0.1:{other}"));
        let vars =
            [("FLEET_NODE_ID", name), ("FLEET_MDNS", "off"), ("FLEET_MESH_PORT", &mesh), ("FLEET_PEERS", &peers)];
        Machine { herd: Herd::start_with(&[&fake.url], &vars), _fake: fake }
    }

    fn order(&self, path: &str, body: &Value) -> fleet_tests::Exchange {
        let token = std::fs::read_to_string(self.herd.dir.path().join("control.token")).unwrap();
        let bearer = format!("Bearer {}", token.trim());
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        send(&self.herd.at(path), "POST", &headers, body.to_string().as_bytes()).unwrap()
    }

    fn says(&self, command: &str) -> Value {
        let (code, said) = self.herd.run(&format!("share {command} --json"));
        assert_eq!(code, Some(0), "share {command}: {said}");
        serde_json::from_str(&said).unwrap()
    }

    fn share(&self) -> Value {
        get(&self.herd.at("/fleet/self")).json()["share"].clone()
    }

    /// What it knows of how `name` shares.
    fn knows_of(&self, name: &str) -> Value {
        let nodes = get(&self.herd.at("/fleet/nodes")).json();
        let row = nodes.as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
        row.map_or(Value::Null, |row| row["share"].clone())
    }

    fn chats(&self) -> u16 {
        let question = json!({ "model": "tiny", "stream": false, "messages": [{ "role": "user", "content": "hi" }] });
        post(&self.herd.at("/api/chat"), &question).status
    }
}

/// Two machines of one fleet.
fn pair() -> (Machine, Machine) {
    let ports = [free_port(), free_port()];
    let (studio, den) = (Machine::start("studio", ports[0], ports[1]), Machine::start("den", ports[1], ports[0]));
    let mut shown = studio.order("/fleet/pair", &json!({ "yes": true }));
    assert!(shown.read_until("\n"), "{}", studio.herd.said());
    let first = shown.lines_so_far().remove(0);
    let joined = den.order("/fleet/join", &json!({ "code": first["code"], "address": first["address"] })).finish();
    assert_eq!(joined.status, 200, "{joined:?}");
    drop(shown.finish());
    eventually("both to see each other", || {
        (studio.knows_of("den")["state"] == "on" && den.knows_of("studio")["state"] == "on").then_some(())
    });
    (studio, den)
}

#[test]
fn a_pause_shows_here_and_there_and_outlives_a_restart() {
    let (mut studio, den) = pair();
    let said = studio.says("pause 20m");
    assert_eq!((&said["state"], &said["code"]), (&json!("paused"), &json!("paused_until")), "{said}");
    assert!(said["until"].is_string(), "{said}");
    assert_eq!(studio.share()["code"], "paused_until");
    let (code, status) = studio.herd.run("status");
    assert!(code == Some(0) && status.contains("is paused") && status.contains("This ends at"), "{status}");
    let told = eventually("the other machine to know", || {
        let known = den.knows_of("studio");
        (known["state"] == "paused").then_some(known)
    });
    assert_eq!(told["code"], "paused_until");
    assert!(told["until"].is_string(), "{told}");
    let (_, nodes) = den.herd.run("nodes");
    assert!(nodes.contains("paused: Paused by the owner for a while"), "{nodes}");
    assert_eq!(studio.chats(), 200, "its own apps are served always");

    studio.herd.restart();
    assert_eq!((&studio.share()["code"], &studio.share()["until"]), (&json!("paused_until"), &said["until"]));
    eventually("the other machine to know again", || (den.knows_of("studio")["state"] == "paused").then_some(()));
    assert_eq!(studio.says("on")["state"], "on");
    eventually("the other machine to know that it shares", || (den.knows_of("studio")["state"] == "on").then_some(()));
}

#[test]
fn every_word_of_the_owner_is_heeded() {
    let fake = Fake::start(&["--models", "tiny"]);
    let machine = Machine { herd: Herd::start(&[&fake.url]), _fake: fake };
    for (command, state, code) in [
        ("off", "off", "off"),
        ("fleet-only", "off", "fleet_only"),
        ("anyway", "on", "overridden"),
        ("anyway 0", "off", "fleet_only"),
        ("finish", "paused", "finished"),
        ("pause", "paused", "paused"),
        ("pause tomorrow", "paused", "paused_until"),
        ("on", "on", "sharing"),
        ("rule meetings off", "on", "sharing"),
        ("ignore Krisp", "on", "sharing"),
    ] {
        let said = machine.says(command);
        assert_eq!((&said["state"], &said["code"]), (&json!(state), &json!(code)), "{command}: {said}");
        assert_eq!(machine.share()["code"], code, "{command}");
        assert_eq!(machine.chats(), 200, "{command}");
    }
    let all = get(&machine.herd.at("/fleet/share")).json();
    let meetings = all["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == "meetings").unwrap().clone();
    assert_eq!((&meetings["enabled"], &all["ignored"]), (&json!(false), &json!(["krisp"])), "{all}");
    let kept = std::fs::read_to_string(machine.herd.dir.path().join("node.json")).unwrap();
    assert!(kept.contains("\"Krisp\"") && kept.contains("\"meetings\": false"), "{kept}");
    assert_eq!(machine.herd.run("share rule naps on").0, Some(5));
    let stranger = send(&machine.herd.at("/fleet/share"), "POST", &[], b"{\"state\":\"off\"}").unwrap();
    assert_eq!(stranger.finish().status, 401);
}

#[test]
fn a_short_pause_ends_by_itself() {
    let fake = Fake::start(&["--models", "tiny"]);
    let machine = Machine { herd: Herd::start(&[&fake.url]), _fake: fake };
    assert_eq!(machine.says("pause 1s")["state"], "paused");
    eventually("the pause to end", || (machine.share()["state"] == "on").then_some(()));
}
