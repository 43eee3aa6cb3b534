//! Backends whose engine hangs while they say that all is well: who moves, when, and who never does.

mod fixture;

use std::time::Duration;

use fixture::*;
use proto::{Api, BackendState};
use routing::{Ask, Ending, Input, Key};

const SECOND: Duration = Duration::from_secs(1);

fn moves(bench: &mut Bench) -> Vec<Key> {
    let answers = bench.answers().into_iter();
    answers.filter_map(|(key, answer)| matches!(answer, Answer::Move).then_some(key)).collect()
}

/// Request 1 works at `a`, which has the model in memory, and so is taken before `b`.
fn at_a(a: BackendState, others: Vec<BackendState>) -> Bench {
    let mut bench = Bench::new([vec![a], others].concat());
    assert_eq!(told_as(bench.arrive(1, &["m"])), "a/0");
    bench
}

#[test]
fn who_is_overdue_moves_if_another_has_room() {
    let a = || told("a", 4, &["m*"]);
    let b = || told("b", 1, &["m"]);
    let serves_nothing = BackendState { serves: proto::ApiSet::of(&[]), ..b() };
    for (name, others, moves_after) in [
        ("another has room", vec![b()], Some(20)),
        ("nobody else is there", vec![], None),
        ("the other is down", vec![down(b())], None),
        ("the other has not the model", vec![told("b", 1, &["n"])], None),
        ("the other does not serve the call", vec![serves_nothing], None),
    ] {
        let mut bench = at_a(a(), others);
        bench.pass(SECOND * 20 - Duration::from_millis(1));
        assert!(moves(&mut bench).is_empty(), "{name}: too early");
        bench.pass(Duration::from_millis(1));
        assert_eq!(moves(&mut bench), moves_after.map_or(vec![], |_| vec![1]), "{name}");
        bench.pass(SECOND * 600);
        bench.backends(vec![a(), b()]);
        assert_eq!(
            moves(&mut bench),
            if moves_after.is_some() { vec![] } else { vec![1] },
            "{name}: once, when it can"
        );
        bench.pass(SECOND * 600);
        assert!(moves(&mut bench).is_empty(), "{name}: once");
    }
}

#[test]
fn some_never_move() {
    let others = || vec![told("b", 4, &["m"])];
    let loaded = || told("a", 4, &["m*"]);
    let cold = Bench::new(vec![told("a", 4, &["m"])]);
    for (name, mut bench, api, input) in [
        ("the model had to be loaded", cold, Api::OllamaChat, None),
        ("content came", Bench::new(vec![loaded()]), Api::OllamaChat, Some(Input::FirstContent(1))),
        ("needs no slot", Bench::new(vec![loaded()]), Api::OllamaShow, None),
        ("is not streamed", Bench::new(vec![loaded()]), Api::Embeddings, None),
        ("has ended", Bench::new(vec![loaded()]), Api::OllamaChat, Some(Input::Finish(1, Ending::Broke))),
        ("has left", Bench::new(vec![loaded()]), Api::OllamaChat, Some(Input::Leave(1))),
        ("this node stops", Bench::new(vec![loaded()]), Api::OllamaChat, Some(Input::Drain)),
    ] {
        let asked = bench.now;
        assert_eq!(
            told_as(bench.arrive_with(1, Ask { api, streams: api != Api::Embeddings, ..ask(&["m"], asked) })),
            "a/0",
            "{name}"
        );
        bench.backends([vec![loaded()], others()].concat());
        input.into_iter().for_each(|input| bench.handle(input));
        bench.pass(SECOND * 3600);
        assert!(moves(&mut bench).is_empty(), "{name}");
    }
    let mut bench = at_a(loaded(), others());
    bench.finish(1, Ending::Failed);
    let tried = Ask { excluded: vec![id("b")], ..ask(&["m"], bench.now) };
    bench.pass(SECOND * 60);
    assert_eq!(told_as(bench.arrive_with(2, tried)), "a/0");
    bench.pass(SECOND * 3600);
    assert!(moves(&mut bench).is_empty(), "the other one was tried");
}

#[test]
fn the_only_attempt_goes_on_until_a_slot_frees() {
    let mut bench = at_a(told("a", 4, &["m*"]), vec![told("b", 1, &["m*"])]);
    assert_eq!(told_as(bench.arrive(2, &["m"])), "b/0");
    bench.handle(Input::FirstContent(2));
    bench.pass(SECOND * 33);
    assert!(moves(&mut bench).is_empty(), "b is full");
    bench.finish(2, Ending::Answered);
    assert_eq!(moves(&mut bench), [1], "at once, not at the next look");
}

#[test]
fn a_backend_that_rests_is_no_way_out_until_it_is_proven() {
    let mut bench = at_a(told("a", 4, &["m*"]), vec![told("b", 4, &["m"])]);
    assert_eq!(told_as(bench.arrive(2, &["m"])), "b/0");
    bench.finish(2, Ending::Failed);
    bench.pass(SECOND * 100);
    assert!(moves(&mut bench).is_empty());
    let tries = Ask { excluded: vec![id("a")], ..ask(&["m"], bench.now) };
    assert_eq!(told_as(bench.arrive_with(3, tries)), "b/0");
    bench.handle(Input::FirstContent(3));
    bench.pass(SECOND * 5);
    assert_eq!(moves(&mut bench), [1], "looked at every five seconds");
}

#[test]
fn slow_answers_stretch_the_bound() {
    for (slowest, overdue_after) in [(1, 20), (5, 20), (10, 40), (19, 76)] {
        let mut bench = Bench::new(vec![told("a", 40, &["m*"])]);
        for (key, after) in [(10, 0), (11, slowest), (12, 0)] {
            bench.arrive(key, &["m"]);
            bench.pass(SECOND * after);
            bench.handle(Input::FirstContent(key));
        }
        bench.arrive(1, &["m"]);
        bench.backends(vec![told("a", 40, &["m*"]), told("b", 4, &["m"])]);
        bench.pass(SECOND * overdue_after - Duration::from_millis(1));
        assert!(moves(&mut bench).is_empty(), "{slowest}");
        bench.pass(Duration::from_millis(1));
        assert_eq!(moves(&mut bench), [1], "{slowest}");
    }
    // What is seen while a request waits counts for it too.
    let mut bench = at_a(told("a", 4, &["m*"]), vec![]);
    bench.arrive(2, &["m"]);
    bench.backends(vec![told("a", 4, &["m*"]), told("b", 4, &["m"])]);
    bench.pass(SECOND * 15);
    bench.handle(Input::FirstContent(2));
    bench.pass(SECOND * 44);
    assert!(moves(&mut bench).is_empty());
    bench.pass(SECOND);
    assert_eq!(moves(&mut bench), [1]);
}

#[test]
fn no_two_leave_for_one_slot() {
    let mut bench = at_a(told("a", 4, &["m*"]), vec![]);
    (2..5).for_each(|key| assert_eq!(told_as(bench.arrive(key, &["m"])), "a/0"));
    bench.backends(vec![told("a", 4, &["m*"]), told("b", 2, &["m"])]);
    bench.pass(SECOND * 20);
    for (key, follows) in [(1, vec![2]), (2, vec![])] {
        if key == 1 {
            assert_eq!(moves(&mut bench), [1], "one at a time");
        }
        bench.finish(key, Ending::Failed);
        assert!(moves(&mut bench).is_empty(), "the slot is for who comes back");
        let again = Ask { excluded: vec![id("a")], ..ask(&["m"], bench.now) };
        bench.handle(Input::Arrive(10 + key, again));
        let answers: Vec<_> = bench.answers().into_iter().map(|(key, answer)| (key, told_as(Some(answer)))).collect();
        let moved = follows.into_iter().map(|key| (key, "moves".to_owned()));
        let expected: Vec<_> = [(10 + key, "b/0".to_owned())].into_iter().chain(moved).collect();
        assert_eq!(answers, expected);
    }
    bench.pass(SECOND * 60);
    assert!(moves(&mut bench).is_empty(), "b is full");
}

#[test]
fn a_probe_waits_for_others_by_design() {
    let mut bench = Bench::new(vec![ollama("a", &["m*"])]);
    bench.warm(&["m"], 1);
    bench.arrive(1, &["m"]);
    bench.handle(Input::FirstContent(1));
    assert_eq!(told_as(bench.arrive(2, &["m"])), "a/0", "the probe");
    bench.backends(vec![ollama("a", &["m*"]), told("b", 1, &["m"])]);
    bench.pass(SECOND * 60);
    assert!(moves(&mut bench).is_empty(), "1 still works");
    bench.finish(1, Ending::Answered);
    bench.pass(SECOND * 20);
    assert_eq!(moves(&mut bench), [2], "nothing is left to wait for");
}

#[test]
fn a_long_prompt_may_take_longer() {
    let mut bench = Bench::new(vec![told("a", 4, &["m*"])]);
    let long = Ask { text_bytes: 24000, ..ask(&["m"], bench.now) };
    assert_eq!(told_as(bench.arrive_with(1, long)), "a/0");
    bench.backends(vec![told("a", 4, &["m*"]), told("b", 4, &["m"])]);
    bench.pass(SECOND * 115);
    assert!(moves(&mut bench).is_empty(), "20 s, and 100 s for 5000 tokens more");
    bench.pass(SECOND * 10);
    assert_eq!(moves(&mut bench), [1]);
}
