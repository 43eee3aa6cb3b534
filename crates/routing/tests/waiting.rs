//! Whose turn it is when a slot becomes free.

mod fixture;

use std::time::Duration;

use fixture::*;
use proto::Api;
use routing::{Ask, Ending, Input, Key, Refusal, Settings};

fn by(app: &str, bench: &Bench) -> Ask {
    Ask { app: Some(app.into()), ..ask(&["m"], bench.now) }
}

/// Finishes whoever works and says who comes next, until nobody waits.
fn turns(bench: &mut Bench, mut working: Key) -> Vec<Key> {
    let mut order = Vec::new();
    loop {
        bench.finish(working, Ending::Answered);
        let Some((key, _)) = bench.granted().pop() else { return order };
        order.push(key);
        working = key;
    }
}

#[test]
fn an_app_is_served_in_turn() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"])]);
    for key in 0..5 {
        bench.arrive(key, &["m"]);
    }
    assert_eq!(turns(&mut bench, 0), [1, 2, 3, 4]);
}

#[test]
fn a_burst_lets_others_in() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"])]);
    bench.arrive(0, &["m"]);
    for key in 10..16 {
        bench.arrive_with(key, by("agent", &bench));
    }
    for key in 20..22 {
        bench.arrive_with(key, Ask { api: Api::Messages, ..by("chat", &bench) });
    }
    assert_eq!(turns(&mut bench, 0), [10, 20, 11, 21, 12, 13, 14, 15]);
}

#[test]
fn long_requests_cost_their_app_more() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"])]);
    bench.arrive(0, &["m"]);
    for key in 10..13 {
        bench.arrive_with(key, Ask { text_bytes: 4000, ..by("long", &bench) });
    }
    for key in 20..27 {
        bench.arrive_with(key, Ask { text_bytes: 0, ..by("short", &bench) });
    }
    assert_eq!(turns(&mut bench, 0), [10, 20, 21, 22, 23, 24, 11, 25, 26, 12]);
}

#[test]
fn nobody_saves_up_turns() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"])]);
    bench.arrive(0, &["m"]);
    for key in 10..20 {
        bench.arrive_with(key, by("agent", &bench));
    }
    let mut working = 0;
    for expected in 10..14 {
        bench.finish(working, Ending::Answered);
        assert_eq!(bench.granted(), [(expected, "a".to_owned())]);
        working = expected;
    }
    for key in 20..23 {
        bench.arrive_with(key, by("late", &bench));
    }
    assert_eq!(turns(&mut bench, working), [20, 14, 21, 15, 22, 16, 17, 18, 19]);
}

#[test]
fn a_retry_goes_before_new_requests_of_its_app() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"]), told("b", 1, &["m"])]);
    bench.arrive(1, &["m"]);
    bench.arrive(2, &["m"]);
    bench.now = bench.now + Duration::from_secs(5);
    for key in 10..13 {
        bench.arrive(key, &["m"]);
    }
    bench.finish(1, Ending::Failed);
    let retry = Ask { excluded: vec![id("a")], waited_since: secs(100), ..ask(&["m"], bench.now) };
    bench.arrive_with(14, retry);
    bench.finish(2, Ending::Answered);
    assert_eq!(bench.granted(), [(14, "b".to_owned())]);
}

#[test]
fn a_retry_costs_its_app_nothing() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"])]);
    bench.arrive(0, &["m"]);
    let retry = Ask { excluded: vec![id("b")], text_bytes: 20000, ..by("unlucky", &bench) };
    bench.arrive_with(10, retry);
    bench.arrive_with(11, by("unlucky", &bench));
    for key in 20..23 {
        bench.arrive_with(key, by("lucky", &bench));
    }
    assert_eq!(turns(&mut bench, 0), [10, 11, 20, 21, 22]);
}

#[test]
fn a_newcomer_overtakes_nobody_though_time_has_passed_unseen() {
    let mut bench = Bench::new(vec![ollama("a", &["m*"])]);
    bench.warm(&["m"], 1);
    for key in 0..3 {
        bench.arrive(key, &["m"]);
    }
    bench.finish(0, Ending::Answered);
    assert!(bench.granted().is_empty(), "the probe has the slot now");
    // The next probe is due, but nobody has said so.
    bench.now = bench.now + Duration::from_secs(60);
    bench.router.handle(Input::Arrive(3, ask(&["m"], bench.now)), bench.now);
    assert_eq!(bench.granted(), [(2, "a".to_owned())]);
}

#[test]
fn whoever_waited_half_a_minute_has_every_second_turn() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"])]);
    bench.arrive(0, &["m"]);
    for key in 10..16 {
        bench.arrive_with(key, by("agent", &bench));
    }
    // Charged a great deal, the burst would wait behind all that is new.
    bench.arrive_with(1, Ask { text_bytes: 1 << 22, ..by("agent", &bench) });
    bench.pass(Duration::from_secs(31));
    for key in 20..26 {
        bench.arrive_with(key, by(&format!("new {key}"), &bench));
    }
    assert_eq!(turns(&mut bench, 0), [10, 20, 11, 21, 12, 22, 13, 23, 14, 24, 15, 25, 1]);
}

#[test]
fn a_model_that_is_full_holds_up_nobody_else() {
    let mut bench = Bench::new(vec![told("a", 1, &["m", "n"])]);
    for key in 0..4 {
        bench.arrive(key, &["m"]);
    }
    assert_eq!(told_as(bench.arrive(9, &["n"])), "a/0");
    assert_eq!(told_as(bench.arrive(10, &["n"])), "waits");
    bench.finish(9, Ending::Answered);
    assert_eq!(bench.granted(), [(10, "a".to_owned())]);
}

#[test]
fn of_different_models_the_oldest_goes_first() {
    let mut bench = Bench::new(vec![told("a", 1, &["k", "l", "m", "n", "o", "p"])]);
    for (key, model) in ["k", "l", "m", "n"].into_iter().enumerate() {
        bench.arrive(key as u64, &[model]);
    }
    for (key, model) in [(10, "p"), (11, "o")] {
        assert_eq!(told_as(bench.arrive(key, &[model])), "waits", "the window of a new backend is full");
        bench.now = bench.now + Duration::from_secs(1);
    }
    bench.finish(3, Ending::ClientLeft);
    assert_eq!(bench.granted(), [(10, "a".to_owned())]);
}

#[test]
fn the_queue_is_bounded_and_says_when_to_come_back() {
    let settings = Settings { queue_size: 3, ..Settings::default() };
    let mut bench = Bench::with(settings, vec![told("a", 1, &["m", "n"])]);
    for key in 0..4 {
        bench.arrive(key, &["m"]);
    }
    let full = |bench: &mut Bench, key| match bench.arrive(key, &["m"]) {
        Some(Answer::Refuse(Refusal::QueueFull { waiting, retry_after })) => (waiting, retry_after.as_secs()),
        other => panic!("{other:?}"),
    };
    assert_eq!(full(&mut bench, 5), (3, 1));
    assert_eq!(told_as(bench.arrive(6, &["n"])), "a/0", "who need not wait is not refused");
    for key in 0..3 {
        bench.now = bench.now + Duration::from_secs(4);
        bench.finish(key, Ending::Answered);
        bench.answers();
        bench.arrive(10 + key, &["m"]);
    }
    assert_eq!(full(&mut bench, 20), (3, 12), "one each four seconds");
}

#[test]
fn who_leaves_gets_nothing() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"])]);
    bench.arrive(1, &["m"]);
    bench.arrive(2, &["m"]);
    bench.arrive(3, &["m"]);
    bench.handle(Input::Leave(2));
    bench.finish(1, Ending::Answered);
    assert_eq!(bench.granted(), [(3, "a".to_owned())]);
    // Granted, but left before anybody looked.
    bench.router.handle(Input::Arrive(4, ask(&["m"], bench.now)), bench.now);
    bench.router.handle(Input::Finish(3, Ending::Answered), bench.now);
    bench.router.handle(Input::Leave(4), bench.now);
    assert!(bench.answers().is_empty());
    assert_eq!((bench.router.in_flight(), bench.router.queued()), (0, 0));
    for input in [Input::Leave(99), Input::FirstContent(99), Input::Finish(99, Ending::Failed)] {
        bench.handle(input);
    }
    assert!(bench.answers().is_empty());
}

#[test]
fn the_wait_is_told_with_the_grant() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"])]);
    bench.arrive(1, &["m"]);
    bench.arrive(2, &["m"]);
    bench.now = bench.now + Duration::from_secs(7);
    bench.finish(1, Ending::Answered);
    let (_, answer) = bench.answers().pop().unwrap();
    assert_eq!(answer.grant().unwrap().queued, Duration::from_secs(7));
}
