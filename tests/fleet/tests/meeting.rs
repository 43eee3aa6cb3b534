//! A meeting at one of several machines, and one that is to stay awake: real programs, a camera that is a file, a
//! microphone of a real sound server, a real message bus.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

use std::time::{Duration, Instant};

use fleet_tests::{Answer, Desk, Exchange, Machine, eventually, exchange, get, meshes, pair, post, until_all_agree};
use serde_json::{Value, json};

/// The shortest pause there is; the default is a minute.
const RESUME: (&str, &str) = ("FLEET_PAUSE_RESUME_AFTER", "30s");
const SLOWLY: [&str; 6] = ["--models", "alpha", "--token-ms", "50", "--tokens", "200"];

fn question(stream: bool) -> Value {
    let options = if stream { json!({}) } else { json!({ "num_predict": 1 }) };
    json!({ "model": "alpha", "stream": stream, "options": options, "messages": [{ "role": "user", "content": "hi" }] })
}

fn asks(machine: &Machine) -> Answer {
    post(&machine.herd.at("/api/chat"), &question(false))
}

fn share(machine: &Machine) -> Value {
    get(&machine.herd.at("/fleet/share")).json()
}

/// How `machine` shares, as `other` knows it.
fn known(other: &Machine, machine: &Machine) -> Value {
    let row = other.rows("/fleet/nodes").into_iter().find(|row| row["name"] == machine.name);
    row.map_or(Value::Null, |row| row["share"].clone())
}

/// Each change of whether `machine` shares since it was started, as it has logged them.
fn changes(machine: &Machine) -> Vec<String> {
    let text = |row: &Value| row["reason"].as_str().unwrap_or("").to_owned();
    let mut all: Vec<String> = machine.herd.logged("sharing has changed").iter().map(text).collect();
    all.dedup();
    all
}

#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn now() -> Instant {
    Instant::now()
}

/// Waits until `machine` is paused by a meeting and `other` knows that; tells in the output how long both took, for
/// whoever reads it.
fn until_paused(what: &str, began: Instant, machine: &Machine, other: &Machine) {
    eventually("a pause here", || (share(machine)["code"] == "meeting").then_some(()));
    let here = began.elapsed();
    eventually("a pause as known there", || (known(other, machine)["code"] == "meeting").then_some(()));
    println!("{what}: paused after {} ms, known to others after {} ms", here.as_millis(), began.elapsed().as_millis());
}

/// Waits until `machine` shares again and `other` knows that.
fn until_resumed(what: &str, ended: Instant, machine: &Machine, other: &Machine) {
    eventually("the end of the pause here", || (share(machine)["state"] == "on").then_some(()));
    let here = ended.elapsed();
    assert!(here >= Duration::from_secs(29), "{what}: resumed after {here:?} already");
    eventually("the end as known there", || (known(other, machine)["state"] == "on").then_some(()));
    println!("{what}: resumed after {} ms, known after {} ms", here.as_millis(), ended.elapsed().as_millis());
}

/// An answer that `machine` is giving to an app of `other`.
fn stream(other: &Machine, machine: &Machine) -> Exchange {
    let mut asked = exchange(&other.herd.at("/api/chat"), &question(true));
    assert!(asked.read_until("content"), "{}", other.herd.said());
    eventually("the guest to be counted", || (share(machine)["guests"] == 1).then_some(()));
    asked
}

fn is_whole(asked: Exchange) {
    let answer = asked.finish();
    assert!(answer.complete && answer.lines().last().unwrap()["done"] == true, "{answer:?}");
    assert!(answer.lines().len() > 190, "{answer:?}");
}

#[test]
fn a_camera_pauses_a_machine_and_others_are_asked_instead() {
    let Some(desk) = Desk::new() else { return };
    let meshes = meshes(3);
    let studio = desk.machine("studio", &SLOWLY, &meshes[0], &[RESUME]);
    let den = Machine::start("den", "beta", &meshes[1]);
    let attic = Machine::start("attic", "alpha", &meshes[2]);
    pair(&studio, &den);
    pair(&studio, &attic);
    until_all_agree(&[&studio, &den, &attic]);
    assert_eq!(attic.change("/fleet/share", &json!({ "state": "off" })).status, 200);
    eventually("the attic to be known as off", || (known(&den, &attic)["state"] == "off").then_some(()));
    eventually("the model to be found", || {
        let answer = asks(&den);
        (answer.status == 200 && answer.header("x-fleet-node") == Some("studio")).then_some(())
    });
    let asked = stream(&den, &studio);
    assert_eq!(attic.change("/fleet/share", &json!({ "state": "on" })).status, 200);
    eventually("the attic to be known as on", || (known(&den, &attic)["state"] == "on").then_some(()));

    // A program that only looks which cameras there are.
    desk.holds_camera("0.3").wait();
    eventually("the look to end", || (share(&studio)["evidence"]["cameras"] == json!([])).then_some(()));
    let began = now();
    let camera = desk.holds_camera("600");
    until_paused("camera", began, &studio, &den);
    let all = share(&studio);
    assert_eq!((&all["state"], &all["rule"]), (&json!("paused"), &json!("meetings")), "{all}");
    assert_eq!(all["evidence"]["cameras"][0]["app"], "sleep");
    assert!(!known(&den, &studio).to_string().contains("sleep"), "others are told of no program");
    for _ in 0..3 {
        let answer = asks(&den);
        assert_eq!((answer.status, answer.header("x-fleet-node")), (200, Some("attic")), "{answer:?}");
    }
    assert_eq!(asks(&studio).status, 200, "its own apps are served always");
    is_whole(asked);

    let ended = now();
    drop(camera);
    until_resumed("camera", ended, &studio, &den);
    assert_eq!(changes(&studio), ["meeting", "sharing"]);
}

#[test]
fn a_recording_pauses_a_machine_and_what_only_it_can_answer_waits() {
    let Some(desk) = Desk::new().and_then(Desk::with_sound) else { return };
    let meshes = meshes(2);
    let wait = ("FLEET_QUEUE_WAIT", "10m");
    let studio = desk.machine("studio", &SLOWLY, &meshes[0], &[RESUME, wait]);
    let den = Machine::start_with("den", &["--models", "beta"], &meshes[1], &[wait]);
    pair(&studio, &den);
    until_all_agree(&[&studio, &den]);
    eventually("the model to be found", || (asks(&den).status == 200).then_some(()));
    eventually("the microphone to be watched", || share(&studio)["evidence"]["microphones"].is_array().then_some(()));
    // Who records what is played is in no meeting, however long.
    let _monitor = desk.records("ear.monitor");
    let asked = stream(&den, &studio);
    let blip = desk.records("mouth");
    std::thread::sleep(Duration::from_millis(300));
    drop(blip);
    eventually("the blip to end", || (share(&studio)["evidence"]["microphones"] == json!([])).then_some(()));
    assert_eq!(changes(&studio), Vec::<String>::new());

    let began = now();
    let recorder = desk.records("mouth");
    until_paused("microphone", began, &studio, &den);
    let all = share(&studio);
    let held = all["evidence"]["microphones"].as_array().unwrap();
    assert!(held.len() == 1 && held[0]["standing"] == "counts", "{all}");
    is_whole(asked);
    let url = den.herd.at("/api/chat");
    let waits = std::thread::spawn(move || post(&url, &question(false)));
    eventually("a request to wait", || {
        (get(&den.herd.at("/fleet/queue")).json()["pending"].as_u64() > Some(0)).then_some(())
    });
    let ended = now();
    drop(recorder);
    until_resumed("microphone", ended, &studio, &den);
    let answer = waits.join().unwrap();
    assert_eq!((answer.status, answer.header("x-fleet-node")), (200, Some("studio")), "{answer:?}");
    assert_eq!(changes(&studio), ["meeting", "sharing"]);
}

/// What a user reads, in the order in which it happens.
#[test]
fn a_meeting_is_told_in_words() {
    let Some(desk) = Desk::new() else { return };
    let studio = desk.machine("studio", &SLOWLY, &meshes(1)[0], &[RESUME]);
    let camera = desk.holds_camera("600");
    eventually("a pause", || (share(&studio)["code"] == "meeting").then_some(()));
    let (_, said) = studio.herd.run("share");
    for part in ["Paused during a meeting.", "sleep has used a camera", "herd share anyway", "herd share ignore sleep"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    println!("{said}");
    drop(camera);
    eventually("the end to be foreseen", || share(&studio)["until"].is_string().then_some(()));
    let (_, said) = studio.herd.run("share");
    assert!(said.contains("seems to be over"), "{said}");
    println!("{said}");
    let (_, said) = studio.herd.run("share anyway 1h");
    assert!(said.contains("Sharing because the owner said so"), "{said}");
    println!("{said}");
}

#[test]
fn a_machine_stays_awake_while_it_answers() {
    let Some(desk) = Desk::new().and_then(Desk::with_logind) else { return };
    let machine = desk.machine("studio", &SLOWLY, &meshes(1)[0], &[]);
    let doctor = || machine.herd.run("doctor").1;
    assert!(!doctor().contains("sleep:"), "{}", doctor());
    let held = || desk.inhibitors().contains("('sleep', 'Herd',");
    assert!(!held(), "nothing runs");
    let began = now();
    let mut asked = exchange(&machine.herd.at("/api/chat"), &question(true));
    eventually("sleep to be held off", || held().then_some(()));
    println!("awake: held after {} ms", began.elapsed().as_millis());
    let said = eventually("the doctor to tell", || Some(doctor()).filter(|said| said.contains("kept awake")));
    assert!(said.contains("sleep: this machine is kept awake while it serves requests"), "{said}");
    assert!(asked.read_until("\"done\":true"), "{}", machine.herd.said());
    let ended = now();
    eventually("sleep to be allowed again", || (!held()).then_some(()));
    let after = ended.elapsed();
    println!("awake: let go after {} ms", after.as_millis());
    assert!(after >= Duration::from_secs(20), "the next request of a conversation comes soon: {after:?}");
    assert!(!doctor().contains("sleep:"), "{}", doctor());
}
