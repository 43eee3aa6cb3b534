//! Backends that fail, rest, come back or hang, and what becomes of their requests.

mod fixture;

use std::collections::BTreeMap;
use std::time::Duration;

use fixture::*;
use proto::{Address, BackendState, Health};
use routing::{Ask, Ending, Input, Key, Settings};

#[test]
fn an_unknown_backend_gets_four_and_more_as_it_answers() {
    let mut bench = Bench::new(vec![told("a", 64, &["m"])]);
    for key in 0..40 {
        bench.arrive(key, &["m"]);
    }
    assert_eq!(bench.router.load(&id("a")), 4);
    for (key, proof, load) in [(0, None, 8), (1, Some(Ending::Answered), 16), (2, Some(Ending::Refused4xx), 32)] {
        bench.handle(proof.map_or(Input::FirstContent(key), |ending| Input::Finish(key, ending)));
        assert_eq!(bench.router.load(&id("a")), load, "{proof:?}");
    }
}

/// Row 12b of the project's performance table: a backend that says 503 at once must not draw the burst to itself.
#[test]
fn a_backend_that_answers_503_draws_five_of_120() {
    for (good_ms, slots) in [(40, 64), (100, 4), (100, 1), (300, 4), (1000, 40)] {
        let names = ["bad", "good", "fine"];
        let mut bench = Bench::new(names.map(|name| told(name, slots, &["m"])).to_vec());
        let mut ends: BTreeMap<(proto::Moment, Key), (Ending, String)> = BTreeMap::new();
        let (mut tries, mut answered, mut next) = (0, 0, 120);
        for key in 0..120 {
            bench.handle(Input::Arrive(key, ask(&["m"], bench.now)));
        }
        while answered < 120 {
            for (key, backend) in bench.granted() {
                let is_bad = backend == "bad";
                tries += u32::from(is_bad);
                let (after, ending) = if is_bad { (1, Ending::Busy503) } else { (good_ms, Ending::Answered) };
                ends.insert((bench.now + Duration::from_millis(after), key), (ending, backend));
            }
            let (at, key) = *ends.keys().next().unwrap();
            let (ending, backend) = ends.remove(&(at, key)).unwrap();
            bench.pass(at.since(bench.now));
            bench.finish(key, ending);
            answered += u32::from(ending == Ending::Answered);
            if ending == Ending::Busy503 {
                let again = Ask { excluded: vec![id(&backend)], ..ask(&["m"], secs(100)) };
                bench.handle(Input::Arrive(next, again));
                next += 1;
            }
        }
        assert!(tries <= 5, "{tries} tries with {slots} slots and answers in {good_ms} ms");
    }
}

#[test]
fn the_only_backend_is_waited_for_while_it_rests() {
    let mut bench = Bench::new(vec![told("a", 4, &["m"])]);
    bench.arrive(1, &["m"]);
    bench.finish(1, Ending::Failed);
    for key in 2..5 {
        assert_eq!(told_as(bench.arrive(key, &["m"])), "waits");
    }
    bench.pass(Duration::from_millis(249));
    assert!(bench.granted().is_empty());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.granted(), [(2, "a".to_owned())], "one tries");
    bench.finish(2, Ending::Answered);
    assert_eq!(bench.granted().len(), 2, "the others follow");
}

#[test]
fn a_fallback_serves_while_the_model_asked_for_rests() {
    let mut bench = Bench::new(vec![told("a", 4, &["m"]), told("b", 4, &["n"])]);
    bench.arrive(1, &["m"]);
    bench.finish(1, Ending::Failed);
    assert_eq!(told_as(bench.arrive(2, &["m", "n"])), "b/1");
    bench.pass(Duration::from_millis(250));
    assert_eq!(told_as(bench.arrive(3, &["m", "n"])), "a/0", "the try after the rest");
    assert_eq!(told_as(bench.arrive(4, &["m", "n"])), "b/1", "one try only");
    bench.finish(3, Ending::Answered);
    assert_eq!(told_as(bench.arrive(5, &["m", "n"])), "a/0");
}

#[test]
fn a_failed_backend_is_tried_late_while_others_do_the_work() {
    let mut bench = Bench::new(vec![told("a", 4, &["m*"]), told("b", 4, &["m"])]);
    bench.arrive(1, &["m"]);
    bench.finish(1, Ending::Failed);
    for (after, expected) in [(250, "b/0"), (1749, "b/0"), (1, "a/0"), (0, "b/0")] {
        bench.pass(Duration::from_millis(after));
        assert_eq!(told_as(bench.arrive(2, &["m"])), expected, "{after}");
        bench.finish(2, if expected == "a/0" { Ending::Failed } else { Ending::Answered });
    }
}

#[test]
fn a_client_that_leaves_during_the_try_proves_nothing() {
    let mut bench = Bench::new(vec![told("a", 4, &["m"])]);
    bench.arrive(1, &["m"]);
    bench.finish(1, Ending::Failed);
    bench.pass(Duration::from_secs(1));
    bench.arrive(2, &["m"]);
    bench.arrive(3, &["m"]);
    assert_eq!(bench.router.queued(), 1);
    bench.handle(Input::Leave(2));
    assert_eq!(bench.granted(), [(3, "a".to_owned())]);
    bench.finish(2, Ending::ClientLeft);
    assert_eq!(bench.router.in_flight(), 1, "said twice, counted once");
}

#[test]
fn patience_ends_when_nobody_could_serve_for_long() {
    let wait = Duration::from_secs(30);
    let unavailable = "no backend with model `m` is able to serve at the moment";
    let up = || told("a", 1, &["m"]);
    let loading = BackendState { health: Health::Loading, ..up() };
    for state in [down(up()), loading] {
        let mut bench = Bench::new(vec![state]);
        assert_eq!(told_as(bench.arrive(1, &["x", "m"])), "waits");
        bench.pass(wait - Duration::from_millis(1));
        assert!(bench.answers().is_empty());
        bench.pass(Duration::from_millis(1));
        assert_eq!(told_as(bench.answers().pop().map(|(_, answer)| answer)), unavailable);
        // A retry brings the patience that is left.
        let retry = Ask { excluded: vec![id("b")], waited_since: secs(100), ..ask(&["m"], bench.now) };
        assert_eq!(told_as(bench.arrive_with(2, retry)), unavailable);
    }

    let mut bench = Bench::new(vec![up()]);
    bench.arrive(1, &["m"]);
    bench.arrive(2, &["m"]);
    bench.pass(wait * 100);
    assert!(bench.answers().is_empty(), "while it is merely busy there is no limit");
    bench.backends(vec![down(up())]);
    bench.pass(wait - Duration::from_millis(1));
    assert!(bench.answers().iter().all(|(key, _)| *key != 2), "patience begins when it goes down");
    bench.backends(vec![up()]);
    bench.backends(vec![down(up())]);
    bench.pass(wait - Duration::from_millis(1));
    assert_eq!(bench.router.queued(), 1, "and anew when it was up meanwhile");
    bench.backends(vec![]);
    bench.pass(Duration::from_millis(1));
    assert_eq!(told_as(bench.answers().pop().map(|(_, answer)| answer)), unavailable);
}

#[test]
fn back_up_means_forgiven_but_one_at_first() {
    let up = || told("a", 8, &["m"]);
    let mut bench = Bench::new(vec![up()]);
    for key in 0..4 {
        bench.arrive(key, &["m"]);
        bench.finish(key, Ending::Failed);
        bench.pass(Duration::from_secs(60));
    }
    for key in 10..14 {
        bench.arrive(key, &["m"]);
    }
    bench.finish(10, Ending::Failed);
    bench.backends(vec![down(up())]);
    bench.backends(vec![up()]);
    assert_eq!(bench.router.load(&id("a")), 1, "no rest any more");
    bench.handle(Input::FirstContent(11));
    assert_eq!(bench.router.load(&id("a")), 2);
}

#[test]
fn back_up_while_answers_go_on_means_one_more() {
    let up = || told("a", 8, &["m"]);
    for (answering, load) in [(4, 5), (2, 4), (0, 4)] {
        let mut bench = Bench::new(vec![up()]);
        for key in 0..4 {
            bench.arrive(key, &["m"]);
        }
        for key in 0..answering {
            bench.handle(Input::FirstContent(key));
        }
        bench.backends(vec![BackendState { health: Health::Hung, ..up() }]);
        bench.backends(vec![up()]);
        bench.arrive(10, &["m"]);
        bench.arrive(11, &["m"]);
        assert_eq!(bench.router.load(&id("a")), load, "{answering} being answered");
    }
}

#[test]
fn a_new_program_at_the_old_place_is_not_blamed_for_the_old_one() {
    let mut bench = Bench::new(vec![told("a", 8, &["m"])]);
    bench.arrive(1, &["m"]);
    bench.finish(1, Ending::Failed);
    assert_eq!(told_as(bench.arrive(2, &["m"])), "waits");
    bench.backends(vec![BackendState { version: Some("2".to_owned()), ..told("a", 8, &["m"]) }]);
    assert_eq!(bench.granted(), [(2, "a".to_owned())]);
    bench.arrive(3, &["m"]);
    assert_eq!(bench.router.load(&id("a")), 2, "nor held to one try");
}

#[test]
fn a_failed_backend_is_tried_by_time_alone_when_the_others_are_full() {
    let mut bench = Bench::new(vec![told("a", 4, &["m*"]), told("b", 1, &["m"])]);
    bench.arrive(1, &["m"]);
    bench.finish(1, Ending::Failed);
    bench.arrive(2, &["m"]);
    assert_eq!(told_as(bench.arrive(3, &["m"])), "waits");
    bench.pass(Duration::from_millis(1999));
    assert!(bench.granted().is_empty());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.granted(), [(3, "a".to_owned())]);
}

#[test]
fn each_request_has_its_own_patience() {
    let mut bench = Bench::new(vec![down(told("a", 4, &["m"]))]);
    for key in 0..3 {
        bench.arrive(key, &["m"]);
        bench.pass(Duration::from_secs(10));
    }
    for gone in 0..3 {
        let refused: Vec<_> = bench.answers().into_iter().map(|(key, _)| key).collect();
        assert_eq!(refused, [gone]);
        bench.pass(Duration::from_secs(10));
    }
}

#[test]
fn a_request_without_content_moves_from_a_lost_backend() {
    let both = |health: Health| vec![BackendState { health, ..told("a", 4, &["m*"]) }, told("b", 1, &["m"])];
    let dead = Health::Down { reason: String::new() };
    for (health, moves) in [(Health::Hung, true), (dead, true), (Health::Loading, false), (Health::Up, false)] {
        let mut bench = Bench::new(both(Health::Up));
        for key in 1..4 {
            bench.arrive(key, &["m"]);
        }
        assert_eq!(bench.router.load(&id("a")), 2);
        bench.handle(Input::FirstContent(1));
        for round in 0..2 {
            bench.backends(both(health.clone()));
            let moved: Vec<_> = bench.answers().into_iter().map(|(key, answer)| (key, told_as(Some(answer)))).collect();
            let expected = if moves && round == 0 { vec![(3, "moves".to_owned())] } else { vec![] };
            assert_eq!(moved, expected, "{health:?}, round {round}: 1 has content, 2 is elsewhere");
        }
    }
    let mut bench = Bench::new(both(Health::Up));
    bench.arrive(1, &["m"]);
    bench.backends(vec![told("b", 1, &["m"])]);
    assert!(matches!(bench.answers()[..], [(1, Answer::Move)]), "gone is lost too");
}

#[test]
fn a_request_moves_as_soon_as_there_is_somewhere_to_go() {
    let a = || told("a", 4, &["m*"]);
    let b = || told("b", 4, &["m"]);
    let mut bench = Bench::new(vec![a(), b()]);
    bench.arrive(1, &["m"]);
    bench.arrive(2, &["m"]);
    bench.finish(2, Ending::Failed);
    bench.backends(vec![down(a()), b()]);
    assert!(bench.answers().is_empty(), "b rests");
    bench.pass(Duration::from_millis(250));
    assert!(matches!(bench.answers()[..], [(1, Answer::Move)]));
    let mut bench = Bench::new(vec![a()]);
    bench.arrive(1, &["m"]);
    bench.backends(vec![down(a())]);
    assert!(bench.answers().is_empty(), "nowhere to go: it may still come back");
}

#[test]
fn what_runs_stays_counted_when_its_backend_goes() {
    let mut bench = Bench::new(vec![told("a", 1, &["m", "n"]), told("b", 1, &["m"])]);
    bench.arrive_with(1, Ask { excluded: vec![id("b")], ..ask(&["m"], bench.now) });
    bench.answers();
    bench.backends(vec![told("b", 1, &["m"])]);
    assert_eq!((bench.router.in_flight(), bench.router.load(&id("a"))), (1, 1));
    // Back with another model: the old work still counts, and the old model is not offered.
    bench.backends(vec![told("c", 1, &["c"]), told("a", 1, &["k", "n"]), told("b", 1, &["m"])]);
    assert_eq!(bench.router.load(&id("a")), 1);
    bench.answers();
    bench.arrive(2, &["m"]);
    assert_eq!(told_as(bench.arrive(3, &["m"])), "waits");
    bench.finish(1, Ending::Answered);
    assert_eq!((bench.router.in_flight(), bench.router.load(&id("a"))), (1, 0));
}

#[test]
fn what_was_learnt_outlives_a_restart_but_not_a_new_version() {
    let learnt = || {
        let mut bench = Bench::new(vec![ollama("a", &["m*"])]);
        bench.warm(&["m"], 2);
        bench.arrive(1, &["m"]);
        bench.arrive(2, &["m"]);
        bench.handle(Input::FirstContent(2));
        bench.finish(1, Ending::Answered);
        bench.finish(2, Ending::Answered);
        bench
    };
    let a = || ollama("a", &["m*"]);
    let unversioned = |state: BackendState| BackendState { version: None, ..state };
    let address = Address { host: "elsewhere".to_owned(), port: 1, base_path: String::new() };
    for (name, then, slots) in [
        ("restart", vec![vec![unversioned(down(a()))], vec![a()]], 2),
        ("gone for a while", vec![vec![], vec![], vec![a()]], 2),
        ("the model is loaded now", vec![vec![ollama("a", &["m*"])]], 2),
        ("new version", vec![vec![BackendState { version: Some("2".to_owned()), ..a() }]], 1),
        ("elsewhere", vec![vec![BackendState { address, ..a() }]], 1),
        ("told", vec![vec![BackendState { slots: Some(7), ..a() }]], 7),
    ] {
        let mut bench = learnt();
        assert_eq!(bench.router.slots(&id("a"), None), Some(2));
        for states in then {
            bench.backends(states);
        }
        assert_eq!(bench.router.slots(&id("a"), None), Some(slots), "{name}");
    }
}

#[test]
fn a_slot_is_learnt_while_somebody_waits() {
    let mut bench = Bench::new(vec![ollama("a", &["m*"])]);
    assert_eq!(told_as(bench.arrive(1, &["m"])), "a/0");
    assert_eq!(told_as(bench.arrive(2, &["m"])), "waits", "one that never answered is not tried out");
    bench.handle(Input::FirstContent(1));
    assert_eq!(bench.granted(), [(2, "a".to_owned())], "the probe");
    bench.arrive(3, &["m"]);
    assert_eq!(bench.router.queued(), 1);
    bench.finish(1, Ending::Answered);
    bench.handle(Input::FirstContent(2));
    assert_eq!(bench.router.slots(&id("a"), None), Some(1), "it had to wait for its turn");
    assert_eq!(bench.router.queued(), 1);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.granted(), [(3, "a".to_owned())], "the next probe, by time alone");
    bench.handle(Input::FirstContent(3));
    assert_eq!(bench.router.slots(&id("a"), None), Some(2));
    bench.arrive(4, &["m"]);
    bench.pass(Duration::from_secs(29));
    assert_eq!(bench.router.queued(), 1);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.router.load(&id("a")), 3, "successes come every 30 s");
}

#[test]
fn nobody_waits_where_nobody_may() {
    let settings = Settings { queue_size: 0, queue_wait: Duration::ZERO };
    let mut bench = Bench::with(settings, vec![told("a", 1, &["m"])]);
    assert_eq!(told_as(bench.arrive(1, &["m"])), "a/0");
    assert_eq!(told_as(bench.arrive(2, &["m"])), "0 requests are waiting already");
}
