//! The commands about the machines of a fleet against a stand-in for a door, word by word.
//!
//! `GOLDEN=write` rewrites the files under `tests/golden`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up should fail loudly")]

mod fake;

use fake::{FakeDoor, Person, Ran, Step, golden, golden_of, herd, herd_with};
use serde_json::{Value, json};

fn node(name: &str, more: Value) -> Value {
    let mut node = json!({
        "name": name, "id": "4c0me0ftheidentityofthatmachineinfull0000000000000000", "self": false, "leads": false,
        "presence": "here", "silent_for_s": 1.25, "version": "0.1.0",
        "share": {"state": "on", "reason": "Serving 4 models (ollama).", "until": null},
        "address": "10.0.0.5:11441", "rtt_ms": 0.84, "models": 4, "loaded": 1, "machine": null, "trouble": null
    });
    node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    node
}

fn fleet() -> Value {
    let unknown = json!({
        "presence": "gone", "silent_for_s": 310.5, "version": null, "share": null, "address": null, "rtt_ms": null,
        "models": null, "loaded": null, "trouble": "it does not answer at 10.0.0.7:11441; is it asleep?"
    });
    json!([
        node("den", json!({"self": true, "silent_for_s": null, "address": null, "rtt_ms": null})),
        node("mac-studio", json!({"leads": true, "models": 12})),
        node(
            "attic\u{1b}[2J",
            json!({
                "presence": "elsewhere", "address": null, "rtt_ms": null,
                "share": {"state": "paused", "reason": "A camera is in use.", "until": null}
            })
        ),
        node("bob-laptop", unknown),
    ])
}

#[test]
fn nodes_are_listed() {
    golden("nodes", &FakeDoor::herd(&[("/fleet/nodes", 200, fleet())]), "herd nodes");
    let alone = json!([node("den", json!({"self": true, "leads": true, "address": null, "rtt_ms": null}))]);
    golden("nodes-alone", &FakeDoor::herd(&[("/fleet/nodes", 200, alone)]), "herd nodes");
}

#[test]
fn devices_are_listed_in_the_order_of_joining() {
    let device = |name: &str, seniority: u32, role: &str, presence: &str| {
        json!({
            "name": name, "id": "4c0me0ftheidentityofthatmachineinfull0000000000000000", "self": name == "den",
            "role": role, "seniority": seniority, "presence": presence
        })
    };
    let list = json!([
        device("mac-studio", 1, "admin", "here"),
        device("den", 2, "admin", "here"),
        device("bob\u{202e}-laptop", 7, "guest", "left"),
    ]);
    golden("devices", &FakeDoor::herd(&[("/fleet/devices", 200, list)]), "herd devices");
    let alone = json!([device("den", 1, "admin", "here")]);
    golden("devices-alone", &FakeDoor::herd(&[("/fleet/devices", 200, alone)]), "herd devices");
}

#[test]
fn the_leader_is_named() {
    for (name, leader) in [
        ("leader", json!({"name": "mac-studio", "self": false})),
        ("leader-self", json!({"name": "den", "self": true})),
        ("leader-nobody", Value::Null),
    ] {
        golden(name, &FakeDoor::herd(&[("/fleet/leader", 200, leader)]), "herd leader");
    }
}

#[test]
fn status_tells_of_the_fleet() {
    let status = json!({
        "name": "den", "version": "0.1.0", "share": {"state": "on", "reason": "", "until": null},
        "leader": {"name": "mac-studio", "self": false}, "nodes": 4, "models": 12, "backends": [], "in_flight": 0,
        "queued": 0, "uptime_s": 7500, "listening": ["127.0.0.1:11435"], "data_dir": "/home/ada/.fleet-manager"
    });
    let answers = [
        ("/fleet/self", 200, status),
        ("/fleet/status", 200, json!({"fleet": {"name": "Home", "id": "f"}})),
        ("/fleet/nodes", 200, fleet()),
    ];
    golden("status-fleet", &FakeDoor::herd(&answers), "herd status");
    golden("status-fleet-bare", &FakeDoor::herd(&answers[..1]), "herd status");
}

#[test]
fn joining_tells_whom_one_is_with() {
    let joined = json!({
        "fleet": {"id": "f", "name": "Home"},
        "members": [{"id": "a", "name": "mac-studio"}, {"id": "b", "name": "attic\u{7}"}, {"id": "c", "name": "den"}]
    });
    let door = FakeDoor::herd(&[("/fleet/join", 200, joined)]);
    golden("join", &door, "herd join 7kq2 m9xd");
    golden("join-address", &door, "herd join 7KQ2-M9XD --addr 10.0.0.5:41233");
    let asked = |code: &str, address: Value| json!({"code": code, "address": address});
    let typed = [asked("7kq2 m9xd", Value::Null), asked("7KQ2-M9XD", json!("10.0.0.5:41233"))];
    assert_eq!(door.bodies("/fleet/join"), [&typed[0], &typed[0], &typed[1], &typed[1]].map(Value::clone));
}

#[test]
fn what_is_refused_says_why() {
    let answers = |path| move |status, error: &str| FakeDoor::herd(&[(path, status, json!({ "error": error }))]);
    let join = answers("/fleet/join");
    golden("join-nobody", &join(404, "no machine shows that code; name it with --addr"), "herd join 7KQ2-M9XD");
    golden("join-wrong", &join(403, "the code is wrong\u{1b}[1m"), "herd join 7KQ2-M9XD");
    golden("join-late", &join(504, "nobody there said yes in time"), "herd join 7KQ2-M9XD");
    golden("join-no-code", &join(400, "a code has 8 letters and digits, and 32 bytes at most"), "herd join x");
    golden("remove-senior", &answers("/fleet/remove")(403, "mac-studio joined before"), "herd remove mac-studio");
    golden("remove-unknown", &answers("/fleet/remove")(404, "no device is called bob"), "herd remove bob");
    golden("rename-taken", &answers("/fleet/rename")(403, "bob-desk is taken"), "herd rename bob-laptop bob-desk");
    golden("pair-refused", &answers("/fleet/pair")(403, "a code is shown already"), "herd pair --yes");
    golden("leave-failed", &answers("/fleet/leave")(502, "roster.json cannot be written"), "herd leave");
    golden("nodes-broken", &answers("/fleet/nodes")(500, "it could not be read"), "herd nodes");
}

#[test]
fn what_is_done_is_told() {
    let done = |path| FakeDoor::herd(&[(path, 200, json!({}))]);
    let door = done("/fleet/leave");
    golden("leave", &door, "herd leave");
    assert_eq!(door.bodies("/fleet/leave"), [json!({}), json!({})]);
    let door = done("/fleet/remove");
    golden("remove", &door, "herd remove bob-laptop");
    assert_eq!(door.bodies("/fleet/remove")[0], json!({"device": "bob-laptop"}));
    let door = done("/fleet/rename");
    golden_of("rename", &door, &[&["herd", "rename", "bob-laptop", "Bob’s desk"]], Person::default);
    assert_eq!(door.bodies("/fleet/rename")[0], json!({"device": "bob-laptop", "name": "Bob’s desk"}));
    let begun = json!({"fleet": {"id": "f", "name": "Home"}, "pair_again": ["attic", "bob-laptop"]});
    let door = FakeDoor::herd(&[("/fleet/new", 200, begun)]);
    golden("fleet-new", &door, "herd fleet new --name Home");
    assert_eq!(door.bodies("/fleet/new")[0], json!({"name": "Home"}));
}

#[test]
fn what_is_hard_to_undo_is_asked_at_a_terminal() {
    let names = [("leave", "/fleet/leave"), ("remove bob", "/fleet/remove"), ("fleet new", "/fleet/new")];
    for (words, path) in names {
        let door = FakeDoor::herd(&[(path, 200, json!({}))]);
        for (answer, flags, code, asks) in [
            ("y\n", "", 0, true),
            ("\n", "", 1, true),
            ("no\n", "", 1, true),
            ("", "", 1, true),
            ("n\n", " --yes", 0, false),
            ("n\n", " --json", 0, false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let line = format!("herd {words}{flags} --port {}", door.port);
            let args: Vec<&str> = line.split(' ').collect();
            let answers = if answer.is_empty() { vec![] } else { vec![answer] };
            let person = Person { terminal: true, answers, ..Person::default() };
            let ran = herd_with(dir.path(), &args, &[], person);
            assert_eq!((ran.code, ran.err.contains("[y/N] ")), (code, asks), "{line} {answer:?}: {}", ran.err);
            assert_eq!(door.bodies(path).len(), usize::from(code == 0), "{line} {answer:?}");
        }
    }
}

fn code() -> Step {
    Step::Line(json!({"code": "7KQ2-M9XD", "expires_in_s": 180, "address": "10.0.0.5:41233"}))
}

fn asks(id: &str, name: &str) -> Step {
    Step::Line(json!({"asks": {"id": id, "name": name, "address": "10.0.0.7:50312"}}))
}

fn joined() -> Step {
    Step::Line(json!({"joined": {"id": "b", "name": "bob-laptop"}}))
}

fn at_a_terminal(answers: &[&'static str]) -> Person {
    Person { terminal: true, answers: answers.to_vec(), ..Person::default() }
}

fn pair(flags: &str, answers: &[(&str, u16, Value)], steps: &[Step], person: Person) -> (Ran, FakeDoor) {
    let door = FakeDoor::streaming(answers, &[("/fleet/pair", steps.to_vec())]);
    let dir = tempfile::tempdir().unwrap();
    let line = format!("herd pair{flags} --port {}", door.port);
    let ran = herd_with(dir.path(), &line.split(' ').collect::<Vec<_>>(), &[], person);
    (ran, door)
}

#[test]
fn a_code_is_shown_until_somebody_has_joined() {
    let door = FakeDoor::streaming(&[], &[("/fleet/pair", vec![code(), joined()])]);
    golden("pair-yes", &door, "herd pair --yes");
    assert_eq!(door.bodies("/fleet/pair"), [json!({"yes": true}), json!({"yes": true})]);
}

#[test]
fn a_person_is_asked_before_a_machine_is_let_in() {
    const YES: &str = r#"/fleet/pair/answer {"id":"b","allow":true}"#;
    let answers = [("/fleet/pair/answer", 200, json!({}))];
    let steps = vec![code(), asks("b", "bob-laptop\u{1b}[2J"), Step::Until(YES), joined()];
    let door = FakeDoor::streaming(&answers, &[("/fleet/pair", steps.clone())]);
    golden_of("pair-asks", &door, &[&["herd", "pair"]], || at_a_terminal(&["y\n"]));
    assert_eq!(door.bodies("/fleet/pair"), [json!({"yes": false})]);
    let (ran, _) = pair("", &answers, &steps, at_a_terminal(&["Yes\n"]));
    assert!(ran.err.starts_with("\r\u{1b}[KWaiting; the code is good for another 3 min.\r\u{1b}[K"), "{}", ran.err);
}

#[test]
fn whoever_is_not_clearly_wanted_stays_out() {
    const NO: &str = r#"/fleet/pair/answer {"id":"b","allow":false}"#;
    let refused = Step::Line(json!({"error": "bob-laptop was not allowed to join", "kind": "refused"}));
    let answers = [("/fleet/pair/answer", 200, json!({}))];
    let steps = vec![code(), asks("b", "bob-laptop"), Step::Until(NO), refused];
    let door = FakeDoor::streaming(&answers, &[("/fleet/pair", steps.clone())]);
    golden_of("pair-not-allowed", &door, &[&["herd", "pair"]], || at_a_terminal(&["\n"]));
    // The end of what is typed is no answer.
    assert_eq!(pair("", &answers, &steps, at_a_terminal(&[])).0.code, 4);
}

#[test]
fn where_nobody_can_say_yes_any_more_it_is_a_no() {
    const NO: &str = r#"/fleet/pair/answer {"id":"b","allow":false}"#;
    let refused = Step::Line(json!({"error": "bob-laptop was not allowed to join", "kind": "refused"}));
    let answers = [("/fleet/pair/answer", 200, json!({}))];
    let first = Step::Until(NO);
    let steps = vec![code(), asks("b", "bob-laptop"), first, asks("b", "bob-laptop"), refused];
    let (ran, door) = pair("", &answers, &steps, at_a_terminal(&[]));
    assert_eq!(ran.code, 4, "{}", ran.err);
    let said = door.bodies("/fleet/pair/answer");
    assert_eq!(said, [json!({"id": "b", "allow": false}), json!({"id": "b", "allow": false})]);
}

#[test]
fn a_yes_before_there_was_a_question_is_no_answer_to_it() {
    const NO: &str = r#"/fleet/pair/answer {"id":"b","allow":false}"#;
    let refused = Step::Line(json!({"error": "bob-laptop was not allowed to join", "kind": "refused"}));
    let answers = [("/fleet/pair/answer", 200, json!({}))];
    let steps = vec![code(), Step::Until("all is read"), asks("b", "bob-laptop"), Step::Until(NO), refused];
    let door = FakeDoor::streaming(&answers, &[("/fleet/pair", steps)]);
    let is_read: Option<Box<dyn Fn() + Send>> = Some(Box::new(door.tell("all is read")));
    let hasty = Person { ahead: "y\ny\ny\n", is_read, ..at_a_terminal(&["n\n"]) };
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(herd_with(dir.path(), &["herd", "pair", "--port", &door.port.to_string()], &[], hasty).code, 4);
}

#[test]
fn a_script_is_asked_in_json() {
    const YES: &str = r#"/fleet/pair/answer {"id":"b","allow":true}"#;
    let answers = [("/fleet/pair/answer", 200, json!({}))];
    let steps = [code(), asks("b", "bob-laptop"), Step::Until(YES), joined()];
    let person = Person { ahead: "what?\n\n{\"id\":\"b\",\"allow\":true}\n", ..Person::default() };
    let (ran, _) = pair(" --json", &answers, &steps, person);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 3), "{}", ran.out);
    assert!(ran.out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{}", ran.out);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    // Whoever cannot answer leaves that to others, such as the dashboard.
    let steps = [code(), asks("b", "bob-laptop"), joined()];
    assert_eq!(pair(" --json", &answers, &steps, Person::default()).0.code, 0);
}

#[test]
fn a_late_answer_is_told_and_no_more() {
    let answers = [("/fleet/pair/answer", 404, json!({"error": "nobody asks any more"}))];
    const YES: &str = r#"/fleet/pair/answer {"id":"b","allow":true}"#;
    let late = Step::Line(json!({"error": "nobody joined in time: show a new code to try again", "kind": "timed_out"}));
    let door =
        FakeDoor::streaming(&answers, &[("/fleet/pair", vec![code(), asks("b", "bob"), Step::Until(YES), late])]);
    golden_of("pair-late", &door, &[&["herd", "pair"]], || at_a_terminal(&["y\n"]));
}

#[test]
fn nobody_to_ask_is_wrong_usage() {
    golden_of("pair-nobody-to-ask", &FakeDoor::herd(&[]), &[&["herd", "pair"]], Person::default);
}

#[test]
fn ctrl_c_withdraws_the_code() {
    for flags in ["", " --yes"] {
        let person = Person { leaves_at: Some("withdrawn by Ctrl-C."), ..at_a_terminal(&["n\n"]) };
        let (ran, door) = pair(flags, &[], &[code(), Step::Gone], person);
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(ran.err.ends_with("The code is withdrawn, nobody has joined.\n"), "{}", ran.err);
        door.until("gone");
    }
}

#[test]
fn each_end_of_a_code_has_its_exit_code() {
    for (kind, code_) in [("not_found", 5), ("refused", 4), ("timed_out", 6), ("failed", 1), ("of tomorrow", 1)] {
        let end = Step::Line(json!({"error": "because\u{7} of it", "kind": kind}));
        for flags in [" --yes", " --yes --json"] {
            let (ran, _) = pair(flags, &[], &[code(), end.clone()], Person::default());
            assert_eq!((ran.code, ran.err.as_str()), (code_, "Because of it.\n"), "{kind}");
        }
    }
    let (ran, _) = pair(" --yes", &[], &[code()], Person::default());
    assert_eq!((ran.code, ran.err.as_str()), (1, "Herd shows the code no more, nobody has joined.\n"));
    let long = Step::Line(json!({ "x": "y".repeat(3 << 20) }));
    let (ran, _) = pair(" --yes", &[], &[long], Person::default());
    assert_eq!((ran.code, ran.err.as_str()), (1, "Herd's answer has a line of more than 1 MiB.\n"));
}

#[test]
fn the_words_of_a_fleet_need_a_running_herd() {
    let port = fake::unused_port();
    for words in ["nodes", "devices", "leader", "pair --yes", "join X", "leave", "remove a", "rename a b", "fleet new"]
    {
        let ran = herd(&format!("herd {words} --port {port}"), &[]);
        assert_eq!(ran.code, 3, "{words}: {}", ran.err);
        assert!(ran.err.contains("Start it with `herd`"), "{words}: {}", ran.err);
    }
}
