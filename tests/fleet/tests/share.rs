//! Whether a machine shares, as its owner says: real programs on loopback, one of which hears of the other.
#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

use std::time::{Duration, Instant};

use fleet_tests::{Exchange, Machine, eventually, exchange, get, meshes, pair, post, send, until_all_agree};
use serde_json::{Value, json};

/// What the owner of `machine` says about sharing, at the command line, and what is answered.
fn says(machine: &Machine, command: &str) -> Value {
    let (code, said) = machine.herd.run(&format!("share {command} --json"));
    assert_eq!(code, Some(0), "share {command}: {said}");
    serde_json::from_str(&said).unwrap()
}

fn share(machine: &Machine) -> Value {
    get(&machine.herd.at("/fleet/self")).json()["share"].clone()
}

/// What `machine` knows of how the machine called `name` shares.
fn knows_of(machine: &Machine, name: &str) -> Value {
    let row = machine.rows("/fleet/nodes").into_iter().find(|row| row["name"] == name);
    row.map_or(Value::Null, |row| row["share"].clone())
}

/// A question, which is answered in full where it is streamed and with one token otherwise.
fn question(model: &str, stream: bool) -> Value {
    let options = if stream { json!({}) } else { json!({ "num_predict": 1 }) };
    json!({ "model": model, "stream": stream, "options": options, "messages": [{ "role": "user", "content": "hi" }] })
}

fn chats(machine: &Machine, model: &str) -> u16 {
    post(&machine.herd.at("/api/chat"), &question(model, false)).status
}

fn alone() -> Machine {
    Machine::start("box", "tiny", &meshes(1)[0])
}

#[test]
fn a_pause_shows_here_and_there_and_outlives_a_restart() {
    let [mut studio, den]: [Machine; 2] =
        Machine::fleet(&[("studio", &["--models", "tiny"]), ("den", &["--models", "tiny"])]).try_into().ok().unwrap();
    let said = says(&studio, "pause 20m");
    assert_eq!((&said["state"], &said["code"]), (&json!("paused"), &json!("paused_until")), "{said}");
    assert!(said["until"].is_string(), "{said}");
    assert_eq!(share(&studio)["code"], "paused_until");
    let (code, status) = studio.herd.run("status");
    assert!(code == Some(0) && status.contains("is paused") && status.contains("This ends at"), "{status}");
    let told = eventually("the other machine to know", || {
        let known = knows_of(&den, "studio");
        (known["state"] == "paused").then_some(known)
    });
    assert_eq!(told["code"], "paused_until");
    assert!(told["until"].is_string(), "{told}");
    let (_, nodes) = den.herd.run("nodes");
    assert!(nodes.contains("paused: Paused by the owner for a while"), "{nodes}");
    assert_eq!(chats(&studio, "tiny"), 200, "its own apps are served always");

    studio.herd.restart();
    assert_eq!((&share(&studio)["code"], &share(&studio)["until"]), (&json!("paused_until"), &said["until"]));
    eventually("the other machine to know again", || (knows_of(&den, "studio")["state"] == "paused").then_some(()));
    assert_eq!(says(&studio, "on")["state"], "on");
    eventually("the other machine to know that it shares", || {
        (knows_of(&den, "studio")["state"] == "on").then_some(())
    });
}

#[test]
fn every_word_of_the_owner_is_heeded() {
    let machine = alone();
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
        let said = says(&machine, command);
        assert_eq!((&said["state"], &said["code"]), (&json!(state), &json!(code)), "{command}: {said}");
        assert_eq!(share(&machine)["code"], code, "{command}");
        assert_eq!(chats(&machine, "tiny"), 200, "{command}");
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
    let machine = alone();
    assert_eq!(says(&machine, "pause 1s")["state"], "paused");
    eventually("the pause to end", || (share(&machine)["state"] == "on").then_some(()));
}

/// The machines `studio`, which alone has the model `alpha` and answers slowly, and `den`, which uses it.
fn host_and_guest() -> (Machine, Machine) {
    let meshes = meshes(2);
    let flags = ["--models", "alpha", "--token-ms", "20", "--tokens", "100"];
    let vars = [("FLEET_QUEUE_WAIT", "1s")];
    let studio = Machine::start_with("studio", &flags, &meshes[0], &vars);
    let den = Machine::start_with("den", &["--models", "beta"], &meshes[1], &vars);
    pair(&studio, &den);
    until_all_agree(&[&studio, &den]);
    eventually("the models to be known", || (chats(&den, "alpha") == 200).then_some(()));
    (studio, den)
}

/// A request of `den` that `studio` is answering.
fn running(den: &Machine, studio: &Machine) -> Exchange {
    let mut asked = exchange(&den.herd.at("/api/chat"), &question("alpha", true));
    assert!(asked.read_until("content"), "{}", den.herd.said());
    eventually("the guest to be counted", || {
        (get(&studio.herd.at("/fleet/share")).json()["guests"] == 1).then_some(())
    });
    asked
}

#[test]
fn a_machine_that_pauses_refuses_others_and_finishes_what_runs() {
    let (studio, den) = host_and_guest();
    let asked = running(&den, &studio);
    assert_eq!(says(&studio, "pause")["state"], "paused");
    assert_eq!(chats(&den, "alpha"), 503, "nobody else has it");
    assert_eq!(chats(&studio, "alpha"), 200, "its own apps go on");
    let finished = asked.finish();
    assert!(finished.complete && finished.lines().last().unwrap()["done"] == true, "{finished:?}");
    assert_eq!(says(&studio, "on")["state"], "on");
    eventually("others to be served again", || (chats(&den, "alpha") == 200).then_some(()));
}

#[test]
fn a_machine_that_finishes_drains_first() {
    let (studio, den) = host_and_guest();
    let asked = running(&den, &studio);
    let said = says(&studio, "finish");
    assert_eq!((&said["state"], &said["code"], &said["guests"]), (&json!("draining"), &json!("finishing"), &json!(1)));
    assert_eq!(chats(&den, "alpha"), 503);
    assert!(asked.finish().complete);
    eventually("the pause to begin", || (share(&studio)["code"] == "finished").then_some(()));
    assert_eq!(get(&studio.herd.at("/fleet/share")).json()["guests"], 0);
}

/// How long it takes until another machine knows: told in the output, for whoever reads it.
#[test]
fn others_hear_of_it_at_once() {
    let machines = Machine::fleet(&[("studio", &["--models", "tiny"]), ("den", &["--models", "tiny"])]);
    let (studio, den) = (&machines[0], &machines[1]);
    for (state, known) in [("pause", "paused"), ("on", "on"), ("off", "off"), ("on", "on")] {
        #[allow(clippy::disallowed_methods, reason = "a measurement")]
        let begun = Instant::now();
        assert_eq!(studio.change("/fleet/share", &json!({ "state": state })).status, 200);
        eventually("the other machine to know", || (knows_of(den, "studio")["state"] == known).then_some(()));
        let took: Duration = begun.elapsed();
        println!("{state}: known after {} ms", took.as_millis());
    }
}
