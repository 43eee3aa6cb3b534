//! What a node's own router does for the fleet: refuses rather than lets wait, and tells what it works on.

#![allow(clippy::unwrap_used, reason = "an answer that is missing fails the test")]

mod fixture;

use std::time::Duration;

use fixture::*;
use proto::{ModelName, NodeId};
use routing::scheduler::LaneWork;
use routing::{Ask, Ending, Input, Key};

fn by(n: u8) -> NodeId {
    NodeId::new([n; 32])
}

/// A request that node `n` placed, and that may wait behind so many.
fn placed(bench: &Bench, models: &[&str], n: u8, most: u32) -> Ask {
    Ask { most_ahead: Some(most), issuer: Some(by(n)), ..ask(models, bench.now) }
}

fn arrive(bench: &mut Bench, key: Key, n: u8, most: u32) -> String {
    let ask = placed(bench, &["m"], n, most);
    told_as(bench.arrive_with(key, ask))
}

const OCCUPIED: &str = "there is no room for it at the moment";

#[test]
fn who_may_not_wait_is_told_at_once() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"])]);
    assert_eq!(arrive(&mut bench, 1, 2, 0), "a/0");
    assert_eq!(arrive(&mut bench, 2, 2, 0), OCCUPIED);
    assert_eq!(arrive(&mut bench, 3, 2, 2), "waits");
    assert_eq!(arrive(&mut bench, 4, 2, 2), "waits");
    assert_eq!(arrive(&mut bench, 5, 2, 2), OCCUPIED);
    assert_eq!(told_as(bench.arrive(6, &["m"])), "waits", "one that is not bounded");
    bench.finish(1, Ending::Answered);
    assert_eq!(bench.granted(), [(3, "a".to_owned())]);
    assert_eq!(bench.router.queued(), 2, "nobody else was forgotten");
}

#[test]
fn a_load_is_waited_for_all_the_same() {
    let mut bench = Bench::new(vec![holding(ollama("a", &["m", "n*"]), 1)]);
    let ask = placed(&bench, &["m"], 2, 0);
    bench.handle(Input::Arrive(1, ask));
    assert_eq!(bench.news(), ["unload n at a"]);
    assert_eq!(bench.router.queued(), 1);
}

#[test]
fn a_backend_that_rests_is_no_place_to_wait() {
    let mut bench = Bench::new(vec![told("a", 4, &["m"])]);
    assert_eq!(arrive(&mut bench, 1, 2, 3), "a/0");
    bench.finish(1, Ending::Failed);
    assert_eq!(arrive(&mut bench, 2, 2, 0), OCCUPIED);
    let [LaneWork { rests: Some(rests), .. }] = &bench.router.work()[..] else { panic!("{:?}", bench.router.work()) };
    assert_eq!(*rests, Duration::from_millis(250));
}

#[test]
fn work_says_who_placed_what() {
    let mut bench = Bench::new(vec![told("a", 2, &["m", "n"]), told("b", 1, &["o"])]);
    assert!(bench.router.work().is_empty());
    let before = bench.router.work_changed();
    for (key, n) in [(1, 2), (2, 3), (3, 2), (4, 2)] {
        arrive(&mut bench, key, n, 9);
    }
    bench.arrive(5, &["n"]);
    assert_ne!(bench.router.work_changed(), before);
    let work = bench.router.work();
    let told = |lane: &LaneWork| (lane.model.to_string(), lane.issued.clone(), lane.slots, lane.waiting);
    assert_eq!(
        work.iter().map(told).collect::<Vec<_>>(),
        [("m".to_owned(), vec![(by(2), 3), (by(3), 1)], 2, 2), ("n".to_owned(), vec![(by(0), 1)], 2, 0)]
    );
    for key in 1..=5 {
        bench.finish(key, Ending::Answered);
    }
    assert!(bench.router.work().is_empty());
    let rests = bench.router.work_changed();
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.router.work_changed(), rests, "calm stays calm");
}

#[test]
fn loads_are_told_with_what_is_left_of_them() {
    let mut bench = Bench::new(vec![ollama("a", &["m"])]);
    let ask = placed(&bench, &["m"], 2, 0);
    bench.handle(Input::Arrive(1, ask));
    let (_, job) = bench.told();
    bench.pass(Duration::from_secs(1));
    bench.router.handle_timeout(bench.now);
    let lane = &bench.router.work()[0];
    assert_eq!((lane.loading, lane.issued.clone()), (Some(Duration::from_secs(2)), vec![(by(2), 1)]));
    bench.ended(job, Ok(()));
    bench.news();
    assert_eq!(bench.router.work()[0].loading, None);
    assert_eq!(bench.router.speeds()[0].load, Some(Duration::from_secs(1)));
}

#[test]
fn speeds_are_what_was_seen() {
    let mut bench = Bench::new(vec![told("a", 1, &["m*"])]);
    assert!(bench.router.speeds().is_empty());
    bench.arrive(1, &["m"]);
    bench.pass(Duration::from_millis(300));
    bench.handle(Input::FirstContent(1));
    bench.pass(Duration::from_millis(700));
    bench.finish(1, Ending::Answered);
    bench.handle(Input::Timed {
        backend: id("a"),
        model: ModelName::new("m"),
        prompt_tokens: 1000,
        prefill: Some(Duration::from_secs(2)),
        completion_tokens: 100,
        decode: Some(Duration::from_secs(4)),
    });
    let speed = bench.router.speeds().pop().unwrap();
    assert_eq!((speed.service, speed.first), (Some(Duration::from_secs(1)), Some(Duration::from_millis(300))));
    assert_eq!((speed.prefill, speed.decode, speed.load), (Some(500.0), Some(25.0), None));
}
