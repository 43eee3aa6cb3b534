//! Which backend and which model a request gets, and why it gets none.

mod fixture;

use std::time::Duration;

use fixture::*;
use proto::{Api, ApiSet, BackendKind, BackendState, Candidate, Health, ModelName};
use routing::{Ask, Ending, Grant, Input, Settings};

fn chatless(state: BackendState) -> BackendState {
    BackendState { serves: ApiSet::of(&[Api::Embeddings]), ..state }
}

fn nameless(state: BackendState) -> BackendState {
    BackendState { ignores_model_name: true, ..state }
}

#[test]
fn the_first_model_that_can_be_served_wins() {
    let a = || told("a", 1, &["m"]);
    let b = || told("b", 1, &["n"]);
    let hung = |state: BackendState| BackendState { health: Health::Hung, ..state };
    for (name, backends, models, expected) in [
        ("asked for", vec![a(), b()], &["m", "n"][..], "a/0"),
        ("an unknown one is passed over", vec![a(), b()], &["x", "n"], "b/1"),
        ("one that is down is passed over", vec![down(a()), b()], &["m", "n"], "b/1"),
        ("one that hangs is passed over", vec![hung(a()), b()], &["m", "n"], "b/1"),
        ("one that does not speak is passed over", vec![chatless(a()), b()], &["m", "n"], "b/1"),
        ("a second backend comes before a fallback", vec![down(a()), told("c", 1, &["m"]), b()], &["m", "n"], "c/0"),
        ("all down: waits", vec![down(a()), down(b())], &["m", "n"], "waits"),
        ("nobody has it", vec![a(), b()], &["x", "y"], "no backend has model `x`"),
        ("also not one that is down", vec![down(a()), b()], &["x"], "no backend has model `x`"),
        ("nobody answers", vec![down(a())], &["x"], "no inference server answers on this machine"),
        ("nothing asked for", vec![a()], &[], "no backend has model ``"),
        ("nobody there", vec![], &["m"], "no inference server answers on this machine"),
        (
            "not spoken",
            vec![chatless(b()), chatless(told("z", 1, &["n"])), a()],
            &["x", "n"],
            "no backend with model `n` answers this call; it is on b (openai), z (openai)",
        ),
        ("any name", vec![nameless(a())], &["gpt-4o"], "a/0"),
        ("any name, but a known fallback is better", vec![nameless(a()), b()], &["gpt-4o", "n"], "b/1"),
        (
            "any name, on each that has the one model",
            vec![down(nameless(a())), nameless(told("c", 1, &["m"]))],
            &["x"],
            "c/0",
        ),
        (
            "any name, but not where names tell models apart",
            vec![nameless(a()), b()],
            &["x"],
            "no backend has model `x`",
        ),
        (
            "any name, but only where there is one model",
            vec![nameless(told("c", 1, &["m", "n"]))],
            &["x"],
            "no backend has model `x`",
        ),
        ("nothing asked for, of one that takes any name", vec![nameless(a())], &[], "no backend has model ``"),
    ] {
        let mut bench = Bench::new(backends);
        assert_eq!(told_as(bench.arrive(1, models)), expected, "{name}");
    }
}

#[test]
fn a_busy_backend_is_waited_for_rather_than_a_fallback_taken() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"]), told("b", 1, &["n"])]);
    bench.arrive(1, &["m"]);
    assert_eq!(told_as(bench.arrive(2, &["m", "n"])), "waits");
    bench.backends(vec![down(told("a", 1, &["m"])), told("b", 1, &["n"])]);
    assert_eq!(bench.granted(), [(2, "b".to_owned())], "until it is down");
}

#[test]
fn the_least_loaded_for_its_slots_is_chosen() {
    for (name, backends, before, expected) in [
        ("less of its slots in use", vec![told("a", 2, &["m"]), told("b", 4, &["m"])], vec!["a", "b"], "b"),
        ("loaded at equal load", vec![told("a", 2, &["m"]), told("b", 2, &["m*"])], vec![], "b"),
        ("load before loaded", vec![told("a", 2, &["m"]), told("b", 2, &["m*"])], vec!["b"], "a"),
        ("less work for other models", vec![told("a", 2, &["m", "n"]), told("b", 2, &["m"])], vec!["a:n"], "b"),
        ("loaded before less work", vec![told("a", 2, &["m*", "n"]), told("b", 2, &["m"])], vec!["a:n"], "a"),
        ("full", vec![told("a", 1, &["m*"]), told("b", 8, &["m"])], vec!["a", "b", "b", "b"], "b"),
    ] {
        let mut bench = Bench::new(backends);
        for (key, at) in before.into_iter().enumerate() {
            let (at, model) = at.split_once(':').unwrap_or((at, "m"));
            let others = ["a", "b"].iter().filter(|other| **other != at).map(|other| id(other)).collect();
            let ask = Ask { excluded: others, ..ask(&[model], bench.now) };
            assert_eq!(told_as(bench.arrive_with(10 + key as u64, ask)), format!("{at}/0"), "{name}");
        }
        assert_eq!(told_as(bench.arrive(1, &["m"])), format!("{expected}/0"), "{name}");
    }
}

#[test]
fn equals_take_turns() {
    let mut bench = Bench::new(["a", "b", "c"].map(|name| told(name, 4, &["m", "n"])).to_vec());
    let mut served = Vec::new();
    for key in 0..6 {
        // A look at another model in between must not put things out of step.
        bench.arrive(100 + key, &["n"]);
        bench.finish(100 + key, Ending::Answered);
        let show = Ask { api: Api::OllamaShow, ..ask(&["m"], bench.now) };
        bench.arrive_with(200 + key, show);
        bench.finish(200 + key, Ending::Answered);
        served.push(told_as(bench.arrive(key, &["m"])));
        bench.finish(key, Ending::Answered);
    }
    served.sort();
    assert_eq!(served, ["a/0", "a/0", "b/0", "b/0", "c/0", "c/0"]);
}

#[test]
fn a_decision_is_kept_with_its_points() {
    let mut bench = Bench::new(vec![told("a", 8, &["m"]), told("b", 8, &["m*"]), told("c", 1, &["m"])]);
    for key in 0..7 {
        bench.arrive(key, &["m"]);
    }
    let seen = |grant: &Grant| -> Vec<_> {
        let points = |c: &Candidate| (c.backend.to_string(), c.in_flight, c.slots, c.loaded, c.thermal, c.queue_depth);
        grant.candidates.iter().map(points).collect()
    };
    let grant = bench.arrive(20, &["m"]).unwrap().grant().unwrap();
    let (a, b) = (("a".to_owned(), 3, 8, false, 10.0, -18.0), ("b".to_owned(), 3, 8, true, 50.0, -18.0));
    assert_eq!(seen(&grant), [b, a], "c is full and therefore none");
    assert_eq!((grant.backend.id.as_str(), grant.queued), ("b", Duration::ZERO));

    let mut bench = Bench::new(vec![told("a", 16, &["m"])]);
    bench.warm(&["m"], 2);
    let last = (0..9).map(|key| bench.arrive(key, &["m"]).unwrap().grant().unwrap()).last().unwrap();
    assert_eq!(seen(&last), [("a".to_owned(), 8, 16, false, 10.0, -30.0)]);
}

#[test]
fn slots_go_by_what_is_told_or_by_kind() {
    for (kind, said, slots) in [
        (BackendKind::Vllm, None, 64),
        (BackendKind::LmStudio, None, 4),
        (BackendKind::OpenAi, None, 4),
        (BackendKind::Ollama, None, 1),
        (BackendKind::LlamaServer, None, 1),
        (BackendKind::Ollama, Some(3), 3),
        (BackendKind::Vllm, Some(2), 2),
        (BackendKind::Vllm, Some(0), 1),
    ] {
        let mut bench = Bench::new(vec![backend("a", kind, said, &["m*"])]);
        bench.warm(&["m"], 6);
        for model in [None, Some(&ModelName::new("m"))] {
            assert_eq!(bench.router.slots(&id("a"), model), Some(slots), "{kind:?} {said:?}");
        }
        for key in 0..u64::from(slots) {
            assert_eq!(told_as(bench.arrive(key, &["m"])), "a/0", "{kind:?} {said:?} {key}");
        }
        // Only the one that learns takes one more.
        let expected = if said.is_none() && slots == 1 { "a/0" } else { "waits" };
        assert_eq!(told_as(bench.arrive(500, &["m"])), expected, "{kind:?} {said:?}");
        assert_eq!(told_as(bench.arrive(501, &["m"])), "waits", "{kind:?} {said:?}");
    }
    let bench = Bench::new(vec![told("a", 1, &["m"])]);
    assert_eq!(bench.router.slots(&id("b"), None), None);
    assert_eq!(bench.router.slots(&id("a"), Some(&ModelName::new("x"))), None);
}

#[test]
fn what_needs_no_slot_never_waits_for_one() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"])]);
    bench.arrive(1, &["m"]);
    assert_eq!(told_as(bench.arrive(2, &["m"])), "waits");
    for (key, api) in [(3, Api::OllamaShow), (4, Api::CountTokens)] {
        let ask = Ask { api, ..ask(&["m"], bench.now) };
        assert_eq!(told_as(bench.arrive_with(key, ask)), "a/0", "{api:?}");
    }
    assert_eq!((bench.router.in_flight(), bench.router.load(&id("a")), bench.router.queued()), (3, 3, 1));
    bench.finish(3, Ending::Failed);
    bench.finish(1, Ending::Answered);
    assert_eq!(bench.granted(), [(2, "a".to_owned())], "nor does it tell anything about those that need one");
    bench.backends(vec![down(told("a", 1, &["m"]))]);
    let show = Ask { api: Api::OllamaShow, ..ask(&["m"], bench.now) };
    assert_eq!(told_as(bench.arrive_with(5, show)), "waits", "but for a backend it does");
}

#[test]
fn vectors_take_one_slot_of_an_ollama() {
    let mut bench = Bench::new(vec![ollama("a", &["m*"])]);
    bench.warm(&["m"], 2);
    for (key, api) in [(1, Api::OllamaEmbed), (2, Api::OllamaEmbeddings), (3, Api::Embeddings)] {
        let ask = Ask { api, ..ask(&["m"], bench.now) };
        assert_eq!(told_as(bench.arrive_with(key, ask)), if key == 1 { "a/0" } else { "waits" }, "{api:?}");
    }
    bench.pass(Duration::from_secs(7200));
    assert!(bench.granted().is_empty(), "and teach nothing");
}

#[test]
fn whoever_tried_everything_is_told_at_once() {
    let mut bench = Bench::new(vec![told("a", 1, &["m"]), down(told("b", 1, &["m"])), chatless(told("c", 1, &["m"]))]);
    let tried =
        |excluded: &[&str]| Ask { excluded: excluded.iter().map(|name| id(name)).collect(), ..ask(&["m"], secs(100)) };
    assert_eq!(told_as(bench.arrive_with(1, tried(&["a"]))), "waits", "b may come back");
    assert_eq!(told_as(bench.arrive_with(2, tried(&["a", "b"]))), "all 2 backends that could serve were tried");
    assert_eq!(told_as(bench.arrive_with(3, tried(&["b"]))), "a/0");
}

#[test]
fn stopping_refuses_everybody_but_those_at_work() {
    let mut bench = Bench::with(Settings::default(), vec![told("a", 1, &["m"])]);
    bench.arrive(1, &["m"]);
    bench.arrive(2, &["m"]);
    bench.handle(Input::Drain);
    let stopping = "this node is stopping and takes no new requests";
    assert_eq!(told_as(bench.answers().pop().map(|(_, answer)| answer)), stopping);
    assert_eq!(told_as(bench.arrive(3, &["m"])), stopping);
    assert_eq!((bench.router.in_flight(), bench.router.queued()), (1, 0));
    bench.finish(1, Ending::Answered);
    assert_eq!(bench.router.in_flight(), 0);
}

#[test]
fn what_goes_on_is_counted_by_model() {
    let mut bench = Bench::new(vec![told("b", 1, &["m", "n", "never"]), told("a", 1, &["o"])]);
    bench.warm(&["m"], 3);
    bench.arrive(1, &["m"]);
    bench.arrive(2, &["m"]);
    bench.arrive(3, &["m", "o"]);
    bench.arrive(4, &["n"]);
    bench.finish(4, Ending::Broke);
    bench.arrive(5, &["o"]);
    let rows: Vec<_> = bench
        .router
        .queue_by_model()
        .into_iter()
        .map(|row| {
            format!(
                "{}:{} {} {} {} {} {}",
                row.backend, row.model, row.pending, row.in_flight, row.completed, row.failed, row.slots
            )
        })
        .collect();
    assert_eq!(rows, ["a:o 0 1 0 0 1", "b:m 2 1 3 0 1", "b:n 0 0 0 1 1"]);
}
