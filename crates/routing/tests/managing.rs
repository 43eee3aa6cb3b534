//! Single stories of loads and unloads: what fails, what is wished, what is shared, and what other programs do.

#![allow(clippy::unwrap_used, reason = "an account that does not add up fails the test")]

mod fixture;

use std::time::Duration;

use fixture::*;
use proto::{Api, BackendKind, BackendState, Capability, Health, KeepAlive, ModelName};
use routing::{Ask, Ending, Input, JobFault, LaneState, Verdict, WaitReason, Wish, Wished};

const SEC: Duration = Duration::from_secs(1);

fn fault(is_memory: bool, retry: bool) -> JobFault {
    JobFault { reason: "it is broken".to_owned(), is_memory, retry }
}

/// Room for one of `m` and `n`, of which `m` is in memory.
fn tight() -> BackendState {
    with(holding(ollama("o", &["m", "n"]), 1), "m", Some(4096))
}

fn wish(bench: &mut Bench, model: &str, wish: Wish) {
    bench.handle(Input::Wish { model: ModelName::new(model), backend: None, wish });
}

#[test]
fn a_request_waits_for_its_load_and_gets_what_was_loaded() {
    let cold = || ollama("o", &["m"]);
    let mut bench = Bench::new(vec![cold()]);
    bench.handle(Input::Arrive(1, Ask { context_wanted: Some(6000), ..ask(&["m"], bench.now) }));
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 6000"]);
    bench.arrive(2, &["m"]);
    bench.pass(SEC * 300);
    assert!(bench.news().is_empty(), "however long it takes");
    bench.ended(job, Ok(()));
    let grant = bench.answers().pop().unwrap().1.grant().unwrap();
    assert_eq!((grant.context, grant.verdict, grant.loaded_for), (Some(6000), Verdict::Kept, Some(SEC * 300)));
    // The backend gave another context than it was asked for, which is believed a little later.
    bench.backends(vec![with(cold(), "m", Some(5000))]);
    bench.pass(SEC * 3);
    bench.backends(vec![with(cold(), "m", Some(5000))]);
    bench.finish(1, Ending::Answered);
    let grant = bench.answers().pop().unwrap().1.grant().unwrap();
    assert_eq!((grant.context, grant.verdict), (Some(5000), Verdict::Kept));
}

#[test]
fn a_load_goes_on_when_all_have_left_and_is_not_lost() {
    let mut bench = Bench::new(vec![ollama("o", &["m"])]);
    bench.handle(Input::Arrive(1, ask(&["m"], bench.now)));
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 4096"]);
    bench.handle(Input::Leave(1));
    assert!(bench.news().is_empty());
    bench.pass(SEC);
    bench.ended(job, Ok(()));
    assert_eq!(told_as(bench.arrive(2, &["m"])), "o/0");
    assert_eq!(bench.router.poll_timeout(), Some(bench.now + SEC * 2), "until the backend says so too");
}

#[test]
fn a_prompt_that_outgrows_the_context_makes_the_model_grow() {
    let state = |context| BackendState { slots: Some(2), ..with(ollama("o", &["m"]), "m", Some(context)) };
    let mut bench = Bench::new(vec![state(4096)]);
    assert_eq!(told_as(bench.arrive(1, &["m"])), "o/0");
    let long = |bench: &Bench| Ask { text_bytes: 30_000, ..ask(&["m"], bench.now) };
    bench.handle(Input::Arrive(2, long(&bench)));
    assert!(bench.news().is_empty(), "1 still works");
    bench.handle(Input::Arrive(3, ask(&["m"], bench.now)));
    assert!(bench.news().is_empty(), "nothing new begins meanwhile");
    let row = bench.router.queue_by_model().remove(0);
    assert_eq!((row.state, row.reason), (LaneState::Draining, Some(WaitReason::Grows { answers: 1 })));
    bench.finish(1, Ending::Answered);
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 16384"]);
    bench.pass(SEC * 2);
    bench.ended(job, Ok(()));
    let verdicts: Vec<_> = bench
        .answers()
        .into_iter()
        .map(|(key, answer)| answer.grant().map(|grant| (key, grant.verdict, grant.context)).unwrap())
        .collect();
    assert_eq!(verdicts, [(2, Verdict::Grown, Some(16_384)), (3, Verdict::Kept, Some(16_384))]);
}

#[test]
fn what_nothing_holds_is_cut_or_refused_as_the_client_expects() {
    let mut state = with(ollama("o", &["m"]), "m", Some(4096));
    state.models[0].context_trained = Some(4096);
    let mut bench = Bench::new(vec![state.clone()]);
    let long = |bench: &Bench, cuts| Ask { text_bytes: 60_000, cuts, ..ask(&["m"], bench.now) };
    let refused = told_as(bench.arrive_with(1, long(&bench, false)));
    assert_eq!(
        refused,
        "the prompt needs a context of 15360 tokens; the most that any backend offers for this model is 4096"
    );
    let grant = bench.arrive_with(2, long(&bench, true)).unwrap().grant().unwrap();
    assert_eq!((grant.verdict, grant.context), (Verdict::Cut, Some(4096)));
    // Another backend that is free and can hold it is better than any of both.
    let larger = with(ollama("p", &["m"]), "m", Some(32_768));
    bench.backends(vec![state, larger]);
    let grant = bench.arrive_with(3, long(&bench, true)).unwrap().grant().unwrap();
    assert_eq!((grant.backend.id.as_str(), grant.verdict), ("p", Verdict::Kept));
}

#[test]
fn a_server_with_a_fixed_context_judges_for_itself() {
    let mut small = told("s", 4, &["m*"]);
    small.models[0].loaded.as_mut().unwrap().context = Some(2048);
    let mut bench = Bench::new(vec![small.clone()]);
    let long = |bench: &Bench| Ask { text_bytes: 60_000, cuts: false, ..ask(&["m"], bench.now) };
    let grant = bench.arrive_with(1, long(&bench)).unwrap().grant().unwrap();
    assert_eq!((grant.verdict, grant.context), (Verdict::Passed, None));
    bench.backends(vec![small, told("t", 1, &["m"])]);
    assert_eq!(told_as(bench.arrive_with(2, long(&bench))), "t/0", "one that may hold it is better");
}

#[test]
fn vectors_are_loaded_without_a_context() {
    let mut state = ollama("o", &["m"]);
    state.models[0].capabilities = vec![Capability::Embedding];
    for (kind, expected) in [(BackendKind::Ollama, true), (BackendKind::LlamaRouter, true)] {
        let state = BackendState { kind, ..state.clone() };
        let mut bench = Bench::new(vec![state]);
        let embed = Ask { api: Api::OllamaEmbed, context_wanted: Some(8192), ..ask(&["m"], bench.now) };
        bench.handle(Input::Arrive(1, embed));
        let Some(routing::Output::Load(job)) = bench.router.poll_output() else { panic!() };
        assert_eq!((job.context, job.is_embedding), (None, expected), "{kind:?}");
        bench.ended(job.id, Ok(()));
        let grant = bench.answers().pop().unwrap().1.grant().unwrap();
        assert_eq!((grant.context, grant.verdict), (None, Verdict::Passed));
    }
}

#[test]
fn a_load_that_fails_is_told_or_tried_elsewhere() {
    let told_reason = "1: model `m` could not be loaded: it is broken";
    let mut bench = Bench::new(vec![ollama("o", &["m"])]);
    let mut begin = |key| {
        bench.handle(Input::Arrive(key, ask(&["m"], bench.now)));
        bench.told()
    };
    let (news, job) = begin(1);
    assert_eq!(news, ["load m at o with 4096"]);
    bench.ended(job, Err(fault(false, false)));
    assert_eq!(bench.news(), [told_reason]);
    bench.handle(Input::Arrive(2, ask(&["m"], bench.now)));
    assert_eq!(bench.news(), [told_reason.replace("1:", "2:")], "not tried again so soon");
    bench.pass(SEC);
    bench.handle(Input::Arrive(3, ask(&["m"], bench.now)));
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 4096"], "a second later it is");
    bench.ended(job, Err(fault(false, true)));
    assert_eq!(bench.news(), [told_reason.replace("1:", "3:")]);

    // Where it may pass, it is tried once more first.
    let mut bench = Bench::new(vec![ollama("o", &["m"])]);
    bench.handle(Input::Arrive(1, ask(&["m"], bench.now)));
    let (_, job) = bench.told();
    bench.ended(job, Err(fault(false, true)));
    assert!(bench.news().is_empty());
    bench.pass(SEC);
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 4096"]);
    bench.ended(job, Ok(()));
    assert_eq!(bench.news(), ["1 to o"]);

    // Another backend that has the model is better than another try.
    let mut bench = Bench::new(vec![ollama("o", &["m"]), ollama("p", &["m"])]);
    bench.handle(Input::Arrive(1, ask(&["m"], bench.now)));
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 4096"], "one of them");
    bench.ended(job, Err(fault(false, false)));
    assert_eq!(bench.news(), ["load m at p with 4096"]);
}

#[test]
fn too_little_memory_means_less_context_or_fewer_models() {
    let state = || with(ollama("o", &["m", "n"]), "n", Some(4096));
    let mut bench = Bench::new(vec![state()]);
    bench.handle(Input::Arrive(1, Ask { context_wanted: Some(32_768), ..ask(&["m"], bench.now) }));
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 32768"]);
    bench.ended(job, Err(fault(true, false)));
    bench.pass(SEC);
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 16384"], "half of it is enough for the prompt");
    bench.ended(job, Ok(()));
    assert_eq!(bench.news(), ["1 to o"]);

    let mut bench = Bench::new(vec![state()]);
    bench.handle(Input::Arrive(1, ask(&["m"], bench.now)));
    let (_, job) = bench.told();
    bench.ended(job, Err(fault(true, false)));
    bench.backends(vec![state()]);
    let (news, job) = bench.told();
    assert_eq!(news, ["unload n at o"], "the other one leaves");
    bench.ended(job, Ok(()));
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 4096"]);
    bench.ended(job, Err(fault(true, false)));
    assert_eq!(bench.news(), ["1: model `m` could not be loaded: it is broken"], "alone it is too large");
}

#[test]
fn contexts_and_company_follow_the_memory() {
    const GIB: u64 = 1 << 30;
    let mut state = holding(ollama("o", &["m", "n"]), 3);
    for model in &mut state.models {
        model.size = Some(4 * GIB);
        model.parameter_size = Some("8B".to_owned());
        model.context_trained = Some(131_072);
    }
    let n_in_memory = with(state.clone(), "n", Some(4096));
    for (name, state, free, total, wanted, expected) in [
        ("plenty", state.clone(), 64 * GIB, 64 * GIB, 131_072, "load m at o with 131072"),
        ("not so much", state, 8 * GIB, 8 * GIB, 131_072, "load m at o with 21504"),
        ("room beside the other", n_in_memory.clone(), 12 * GIB, 20 * GIB, 4096, "load m at o with 4096"),
        ("no room beside the other", n_in_memory, 3 * GIB, 8 * GIB, 4096, "unload n at o"),
    ] {
        let mut bench = Bench::new(vec![state]);
        bench.handle(Input::Memory { backend: None, free_bytes: free, total_bytes: total });
        bench.handle(Input::Arrive(1, Ask { context_wanted: Some(wanted), ..ask(&["m"], bench.now) }));
        assert_eq!(bench.news(), [expected], "{name}");
    }
}

#[test]
fn an_idle_model_leaves_at_once_and_a_busy_one_after_its_turn() {
    let mut bench = Bench::new(vec![tight()]);
    bench.handle(Input::Arrive(1, ask(&["n"], bench.now)));
    let (news, job) = bench.told();
    assert_eq!(news, ["unload m at o"]);
    bench.ended(job, Ok(()));
    let (news, job) = bench.told();
    assert_eq!(news, ["load n at o with 4096"]);
    bench.pass(SEC);
    bench.ended(job, Ok(()));
    bench.backends(vec![with(with(tight(), "m", None), "n", Some(4096))]);
    assert_eq!(bench.news(), ["1 to o"]);
    bench.handle(Input::Arrive(2, ask(&["n"], bench.now)));
    bench.handle(Input::Arrive(3, ask(&["m"], bench.now)));
    // Loads of `m` are guessed to take three seconds, and so the turn lasts twelve.
    bench.pass(SEC * 11);
    assert!(bench.news().is_empty());
    let rows = bench.router.queue_by_model();
    let reason = WaitReason::WaitsFor { model: ModelName::new("n"), answers: 1 };
    assert_eq!((rows[0].state, rows[0].reason.clone()), (LaneState::Waiting, Some(reason)));
    assert_eq!((rows[1].state, rows[1].reason.clone()), (LaneState::Loaded, Some(WaitReason::Busy)));
    bench.pass(SEC);
    assert_eq!(bench.router.queue_by_model()[1].state, LaneState::Draining);
    bench.finish(1, Ending::Answered);
    assert_eq!(bench.news(), ["unload n at o"], "2 waits for the next turn");
}

#[test]
fn a_short_gap_is_no_end_of_a_turn() {
    let mut bench = Bench::new(vec![with(tight(), "m", None)]);
    bench.handle(Input::Arrive(1, ask(&["n"], bench.now)));
    let (_, job) = bench.told();
    bench.pass(SEC);
    bench.ended(job, Ok(()));
    bench.backends(vec![with(with(tight(), "m", None), "n", Some(4096))]);
    bench.handle(Input::Arrive(2, ask(&["m"], bench.now)));
    let gap = Duration::from_millis(200);
    for key in 10..20 {
        bench.pass(gap);
        bench.finish(if key == 10 { 1 } else { key - 1 }, Ending::Answered);
        bench.pass(gap);
        bench.handle(Input::Arrive(key, ask(&["n"], bench.now)));
    }
    assert!(bench.news().iter().all(|news| news.ends_with("to o")), "a client that asks one thing after the other");
    bench.finish(19, Ending::Answered);
    bench.pass(SEC);
    assert_eq!(bench.news(), ["unload n at o"], "and now it has stopped");
}

#[test]
fn keeping_alive_delays_nobody() {
    for keep_alive in [KeepAlive::For(Duration::from_secs(600)), KeepAlive::Forever] {
        let mut bench = Bench::new(vec![tight()]);
        bench.handle(Input::Arrive(1, Ask { keep_alive: Some(keep_alive), ..ask(&["m"], bench.now) }));
        assert_eq!(bench.news(), ["1 to o"]);
        bench.finish(1, Ending::Answered);
        bench.pass(SEC * 60);
        bench.handle(Input::Arrive(2, ask(&["n"], bench.now)));
        assert_eq!(bench.news(), ["unload m at o"], "{keep_alive:?}");
    }
}

#[test]
fn of_idle_models_those_leave_first_that_nobody_wishes_to_keep() {
    let state = || {
        let all = holding(ollama("o", &["k", "l", "m", "n"]), 3);
        ["k", "l", "m"].into_iter().fold(all, |state, name| with(state, name, Some(4096)))
    };
    for (name, kept, used, leaves) in [
        ("the one unused for longest", None, ["l", "m", "k"], "l"),
        ("not the one that is kept", Some(("l", Wish::Keep(None))), ["l", "m", "k"], "m"),
        ("not while it is kept", Some(("l", Wish::Keep(Some(SEC * 100)))), ["l", "m", "k"], "m"),
        ("it is not kept any more", Some(("l", Wish::Keep(Some(SEC * 10)))), ["l", "m", "k"], "l"),
    ] {
        let mut bench = Bench::new(vec![state()]);
        for (key, model) in used.into_iter().enumerate() {
            bench.pass(SEC * 10);
            assert_eq!(told_as(bench.arrive(key as u64, &[model])), "o/0");
            bench.finish(key as u64, Ending::Answered);
        }
        if let Some((model, kept)) = kept {
            wish(&mut bench, model, kept);
        }
        bench.pass(SEC);
        bench.handle(Input::Arrive(9, ask(&["n"], bench.now)));
        assert_eq!(bench.news(), [format!("unload {leaves} at o")], "{name}");
    }
}

#[test]
fn wishes_come_after_everybody_else() {
    let mut bench = Bench::new(vec![tight()]);
    wish(&mut bench, "n", Wish::Load { context: Some(8192) });
    assert_eq!(bench.news(), ["unload m at o"], "m has not been used for long");

    let mut bench = Bench::new(vec![tight()]);
    bench.arrive(1, &["m"]);
    wish(&mut bench, "n", Wish::Load { context: Some(8192) });
    wish(&mut bench, "m", Wish::Unload);
    bench.pass(SEC * 500);
    assert!(bench.news().is_empty(), "m works");
    bench.handle(Input::Arrive(2, ask(&["m"], bench.now)));
    bench.finish(1, Ending::Answered);
    assert_eq!(bench.news(), ["2 to o"], "and has more to do");
    bench.finish(2, Ending::Answered);
    let (news, job) = bench.told();
    assert_eq!(news, ["unload m at o"]);
    bench.ended(job, Ok(()));
    let (news, job) = bench.told();
    assert_eq!(news, ["load n at o with 8192"]);
    bench.ended(job, Ok(()));
    bench.backends(vec![with(with(tight(), "m", None), "n", Some(8192))]);
    assert!(bench.news().is_empty());
    bench.pass(SEC * 3600);
    assert_eq!((bench.news().len(), bench.router.poll_timeout()), (0, None), "each wish once");
}

#[test]
fn a_wish_that_finds_no_room_is_forgotten() {
    let mut bench = Bench::new(vec![tight()]);
    bench.arrive(1, &["m"]);
    wish(&mut bench, "n", Wish::Load { context: None });
    bench.pass(SEC * 601);
    bench.finish(1, Ending::Answered);
    bench.pass(SEC * 3600);
    assert_eq!((bench.news().len(), bench.router.poll_timeout()), (0, None));
}

#[test]
fn a_client_that_wants_it_unloaded_has_its_way_when_nobody_else_needs_it() {
    let mut bench = Bench::new(vec![tight()]);
    bench.handle(Input::Arrive(1, Ask { keep_alive: Some(KeepAlive::Unload), ..ask(&["m"], bench.now) }));
    bench.handle(Input::Arrive(2, ask(&["m"], bench.now)));
    bench.finish(1, Ending::Answered);
    assert_eq!(bench.news(), ["1 to o", "2 to o"]);
    bench.finish(2, Ending::Answered);
    assert_eq!(bench.news(), ["unload m at o"]);
}

#[test]
fn what_is_to_be_deleted_is_unloaded_and_not_offered_any_more() {
    let mut bench = Bench::new(vec![tight()]);
    let (o, m) = (id("o"), ModelName::new("m"));
    bench.arrive(1, &["m"]);
    wish(&mut bench, "m", Wish::Delete);
    assert_eq!(told_as(bench.arrive(2, &["m"])), "no backend has model `m`");
    assert!(!bench.router.is_clear(&o, &m));
    bench.finish(1, Ending::Answered);
    let (news, job) = bench.told();
    assert_eq!(news, ["unload m at o"]);
    assert!(!bench.router.is_clear(&o, &m));
    bench.ended(job, Ok(()));
    assert!(bench.router.is_clear(&o, &m));
    bench.backends(vec![with(tight(), "m", None)]);
    assert_eq!(told_as(bench.arrive(3, &["m"])), "no backend has model `m`", "as long as it is not gone");
    wish(&mut bench, "m", Wish::Forget);
    bench.handle(Input::Arrive(4, ask(&["m"], bench.now)));
    assert_eq!(bench.news(), ["load m at o with 4096"], "it was not deleted after all");
}

#[test]
fn names_of_one_file_share_one_runner() {
    let shared = |loaded: Option<&str>| {
        let mut state = holding(ollama("o", &["a", "b", "c"]), 3);
        for model in state.models.iter_mut().filter(|model| model.id != "c") {
            model.weights = Some("77".repeat(32));
        }
        loaded.map_or(state.clone(), |name| with(state, name, Some(8192)))
    };
    for listed in ["a", "b"] {
        let mut bench = Bench::new(vec![shared(Some(listed))]);
        let grant = bench.arrive(1, &["a"]).unwrap().grant().unwrap();
        assert_eq!(grant.context, Some(8192), "listed as {listed}");
        assert_eq!(told_as(bench.arrive(2, &["b"])), "waits", "one slot for both");
        bench.finish(1, Ending::Answered);
        assert_eq!(bench.granted(), [(2, "o".to_owned())]);
        bench.finish(2, Ending::Answered);
        wish(&mut bench, "a", Wish::Unload);
        assert_eq!(bench.news(), [format!("unload {listed} at o")], "by the name that the server knows");
    }
    let mut bench = Bench::new(vec![shared(None)]);
    bench.handle(Input::Arrive(1, ask(&["b"], bench.now)));
    let (news, job) = bench.told();
    assert_eq!(news, ["load b at o with 4096"]);
    bench.handle(Input::Arrive(2, ask(&["a"], bench.now)));
    bench.ended(job, Ok(()));
    assert_eq!(bench.news(), ["1 to o"], "one load for both");
    // That they share a file becomes known while both work.
    let mut apart = shared(Some("a"));
    apart.slots = Some(2);
    apart.models.iter_mut().for_each(|model| model.weights = None);
    let apart = with(with(apart, "b", Some(4096)), "a", Some(4096));
    let mut bench = Bench::new(vec![apart.clone()]);
    bench.arrive(1, &["a"]);
    bench.arrive(2, &["b"]);
    let mut together = apart;
    together.models.iter_mut().filter(|model| model.id != "c").for_each(|model| model.weights = Some("77".to_owned()));
    bench.backends(vec![together]);
    assert_eq!(told_as(bench.arrive(3, &["a"])), "waits");
    bench.finish(1, Ending::Answered);
    bench.finish(2, Ending::Answered);
    assert_eq!(bench.router.load(&id("o")), 1, "3 alone is left");
}

#[test]
fn other_programs_are_believed() {
    let mut bench = Bench::new(vec![tight()]);
    bench.backends(vec![with(tight(), "m", None)]);
    bench.handle(Input::Arrive(1, ask(&["m"], bench.now)));
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 4096"], "it vanished");
    bench.ended(job, Ok(()));
    bench.backends(vec![tight()]);
    assert_eq!(bench.news(), ["1 to o"]);
    bench.finish(1, Ending::Answered);
    bench.backends(vec![with(tight(), "m", Some(8192))]);
    let grant = bench.arrive(2, &["m"]).unwrap().grant().unwrap();
    assert_eq!(grant.context, Some(8192), "it was loaded with another context");
    bench.finish(2, Ending::Answered);
    bench.backends(vec![with(with(tight(), "m", None), "n", Some(2048))]);
    let grant = bench.arrive(3, &["n"]).unwrap().grant().unwrap();
    assert_eq!(grant.context, Some(2048), "another one was loaded");
}

#[test]
fn while_room_is_uncertain_nothing_else_begins() {
    let unknown = || BackendState { slots: Some(2), ..with(ollama("o", &["m", "n"]), "m", Some(4096)) };
    let mut bench = Bench::new(vec![unknown()]);
    assert_eq!(told_as(bench.arrive(1, &["m"])), "o/0");
    bench.handle(Input::Arrive(2, ask(&["n"], bench.now)));
    bench.pass(Duration::from_millis(100));
    let (news, job) = bench.told();
    assert_eq!(news, ["load n at o with 4096"]);
    assert_eq!(told_as(bench.arrive(3, &["m"])), "waits", "the server may need to make it leave");
    bench.finish(1, Ending::Answered);
    assert!(bench.news().is_empty());
    bench.ended(job, Ok(()));
    assert_eq!(bench.news(), ["2 to o"], "of m it is not known yet whether it is still there");
    // It had to leave: so there is room for one.
    bench.backends(vec![with(with(unknown(), "m", None), "n", Some(4096))]);
    assert!(bench.news().is_empty(), "n has its turn");
    bench.finish(2, Ending::Answered);
    bench.pass(SEC);
    let (news, job) = bench.told();
    assert_eq!(news, ["unload n at o"], "this time by us");
    bench.ended(job, Ok(()));
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 4096"]);
    bench.ended(job, Ok(()));
    assert_eq!(bench.news(), ["3 to o"]);

    // It had not to leave: so there is room for two, and next time nobody is held up.
    let both = || with(unknown(), "n", Some(4096));
    let mut bench = Bench::new(vec![both()]);
    bench.backends(vec![unknown()]);
    bench.arrive(1, &["m"]);
    bench.handle(Input::Arrive(2, ask(&["n"], bench.now)));
    assert_eq!(bench.news(), ["load n at o with 4096"]);
    assert_eq!(told_as(bench.arrive(3, &["m"])), "o/0");
}

#[test]
fn who_was_looked_at_after_a_load_is_not_waited_for() {
    let unknown = || BackendState { slots: Some(2), ..with(ollama("o", &["m", "n"]), "m", Some(4096)) };
    let mut bench = Bench::new(vec![unknown()]);
    bench.handle(Input::Arrive(1, ask(&["n"], bench.now)));
    let (_, job) = bench.told();
    assert_eq!(told_as(bench.arrive(2, &["m"])), "waits");
    // Whoever loads tells first what is loaded now, then that it is done.
    bench.backends(vec![with(unknown(), "n", Some(4096))]);
    assert!(bench.news().is_empty());
    bench.ended(job, Ok(()));
    assert_eq!(bench.news(), ["1 to o", "2 to o"], "m is still there, and nothing more is waited for");
}

#[test]
fn an_unload_that_fails_leaves_it_to_the_server() {
    let mut bench = Bench::new(vec![tight()]);
    bench.handle(Input::Arrive(1, ask(&["n"], bench.now)));
    let (_, job) = bench.told();
    bench.ended(job, Err(fault(false, true)));
    let (news, job) = bench.told();
    assert_eq!(news, ["load n at o with 4096"], "another program holds on to m: the server decides");
    assert_eq!(told_as(bench.arrive(2, &["m"])), "waits", "and gets the moment in which it is idle");
    bench.ended(job, Ok(()));
    assert_eq!(bench.news()[0], "1 to o");
}

#[test]
fn a_restart_forgets_what_the_server_was_doing() {
    let up = || ollama("o", &["m", "n"]);
    let mut bench = Bench::new(vec![up()]);
    bench.handle(Input::Arrive(1, ask(&["m"], bench.now)));
    let (_, old) = bench.told();
    bench.backends(vec![down(up())]);
    assert!(bench.news().is_empty());
    bench.backends(vec![up()]);
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 4096"]);
    bench.ended(old, Ok(()));
    assert!(bench.news().is_empty(), "that was another server");
    bench.ended(job, Ok(()));
    assert_eq!(bench.news(), ["1 to o"]);
    // One that merely hangs goes on with its load.
    let mut bench = Bench::new(vec![up()]);
    bench.handle(Input::Arrive(1, ask(&["m"], bench.now)));
    let (_, job) = bench.told();
    bench.backends(vec![BackendState { health: Health::Hung, ..up() }]);
    bench.backends(vec![up()]);
    assert!(bench.news().is_empty());
    bench.ended(job, Ok(()));
    assert_eq!(bench.news(), ["1 to o"]);
}

#[test]
fn a_job_that_never_ends_is_given_up() {
    let mut bench = Bench::new(vec![ollama("o", &["m"])]);
    bench.handle(Input::Arrive(1, ask(&["m"], bench.now)));
    bench.news();
    bench.pass(SEC * 901);
    assert!(bench.news()[0].starts_with("1: model `m` could not be loaded: the server did not say"));
}

#[test]
fn a_fallback_is_taken_when_the_model_cannot_be_loaded() {
    let mut bench = Bench::new(vec![with(ollama("o", &["m", "n"]), "n", Some(4096))]);
    bench.handle(Input::Arrive(1, ask(&["m", "n"], bench.now)));
    let (news, job) = bench.told();
    assert_eq!(news, ["load m at o with 4096"]);
    bench.ended(job, Err(fault(false, false)));
    assert!(bench.news().is_empty(), "whether n is still there is not known before the backend was looked at");
    bench.backends(vec![with(ollama("o", &["m", "n"]), "n", Some(4096))]);
    assert_eq!(bench.news(), ["1 to o"]);
}

#[test]
fn stopping_loads_nothing_more() {
    let mut bench = Bench::new(vec![tight()]);
    bench.arrive(1, &["m"]);
    bench.handle(Input::Arrive(2, ask(&["n"], bench.now)));
    bench.handle(Input::Drain);
    bench.finish(1, Ending::Answered);
    bench.pass(SEC * 3600);
    assert_eq!(bench.news(), ["2: this node is stopping and takes no new requests"]);
}

#[test]
fn what_is_waited_for_is_shown_with_its_time() {
    let mut bench = Bench::new(vec![tight()]);
    bench.arrive(1, &["m"]);
    bench.pass(SEC * 4);
    bench.finish(1, Ending::Answered);
    bench.arrive(2, &["m"]);
    bench.handle(Input::Arrive(3, ask(&["n"], bench.now)));
    let rows = bench.router.queue_by_model();
    let waits_for = WaitReason::WaitsFor { model: ModelName::new("m"), answers: 1 };
    // Four seconds for the answer, three for a load of unknown length.
    assert_eq!((rows[1].reason.clone(), rows[1].eta), (Some(waits_for), Some(SEC * 7)));
    bench.finish(2, Ending::Answered);
    let (_, job) = bench.told();
    bench.ended(job, Ok(()));
    let (_, job) = bench.told();
    bench.pass(SEC);
    bench.handle(Input::Arrive(4, ask(&["n"], bench.now)));
    let row = bench.router.queue_by_model().remove(1);
    assert_eq!((row.state, row.reason, row.eta), (LaneState::Loading, Some(WaitReason::Loads), Some(SEC * 2)));
    bench.ended(job, Err(fault(false, true)));
    bench.news();
    let row = bench.router.queue_by_model().remove(1);
    assert_eq!((row.pending, row.state), (2, LaneState::Waiting));
}

#[test]
fn a_load_that_takes_far_too_long_is_tried_beside_where_the_model_is_too() {
    let mut bench = Bench::new(vec![ollama("o", &["m"]), ollama("p", &["m"])]);
    bench.handle(Input::Arrive(1, ask(&["m"], bench.now)));
    let (news, first) = bench.told();
    assert_eq!(news, ["load m at o with 4096"]);
    bench.pass(SEC * 11);
    assert!(bench.news().is_empty(), "three seconds were expected");
    bench.pass(SEC);
    let (news, second) = bench.told();
    assert_eq!(news, ["load m at p with 4096"], "and the first is not aborted");
    bench.pass(SEC);
    bench.handle(Input::Arrive(2, ask(&["m"], bench.now)));
    bench.ended(second, Ok(()));
    assert_eq!(bench.granted(), [(1, "p".to_owned())]);
    bench.pass(SEC * 60);
    assert!(bench.news().is_empty());
    bench.ended(first, Ok(()));
    assert_eq!(bench.granted(), [(2, "o".to_owned())], "a load is never lost");
}

#[test]
fn a_load_that_hangs_holds_nobody_up_for_long() {
    // It was never seen with two models, so it may have to unload one.
    let both = || with(BackendState { slots: Some(1), ..ollama("o", &["m", "n"]) }, "m", Some(4096));
    let mut bench = Bench::new(vec![both()]);
    assert_eq!(told_as(bench.arrive(1, &["m"])), "o/0");
    bench.handle(Input::Arrive(2, ask(&["n"], bench.now)));
    bench.pass(Duration::from_millis(100));
    assert_eq!(bench.news(), ["load n at o with 4096"]);
    bench.handle(Input::Arrive(3, ask(&["m"], bench.now)));
    bench.pass(SEC * 30);
    assert!(bench.news().is_empty(), "it may wait for the end of 1, and then has time");
    bench.finish(1, Ending::Answered);
    bench.pass(SEC * 11);
    assert!(bench.news().is_empty());
    bench.pass(SEC);
    assert_eq!(bench.granted(), [(3, "o".to_owned())]);
    bench.handle(Input::Arrive(4, ask(&["m"], bench.now)));
    bench.finish(3, Ending::Answered);
    assert_eq!(bench.granted(), [(4, "o".to_owned())]);
}

#[test]
fn a_model_that_left_for_another_is_known_to_have_left() {
    let none = || BackendState { slots: Some(1), ..ollama("o", &["m", "n"]) };
    let mut bench = Bench::new(vec![none()]);
    bench.handle(Input::Arrive(1, ask(&["m"], bench.now)));
    let (_, job) = bench.told();
    // Whoever loads tells first what is loaded now, then that it is done.
    bench.backends(vec![with(none(), "m", Some(4096))]);
    bench.ended(job, Ok(()));
    bench.finish(1, Ending::Answered);
    bench.handle(Input::Arrive(2, ask(&["n"], bench.now)));
    assert_eq!(bench.told().0, ["1 to o", "load n at o with 4096"]);
    let job = job + 1;
    bench.backends(vec![with(none(), "n", Some(4096))]);
    bench.ended(job, Ok(()));
    bench.finish(2, Ending::Answered);
    bench.handle(Input::Arrive(3, ask(&["m"], bench.now)));
    bench.pass(SEC * 10);
    assert_eq!(bench.news(), ["2 to o", "unload n at o"], "there is room for one");
}

#[test]
fn a_request_on_its_way_finds_its_model() {
    let unknown = || BackendState { slots: Some(1), ..with(ollama("o", &["m", "n"]), "m", Some(4096)) };
    let mut bench = Bench::new(vec![unknown()]);
    assert_eq!(told_as(bench.arrive(1, &["m"])), "o/0");
    bench.handle(Input::Arrive(2, ask(&["n"], bench.now)));
    bench.handle(Input::Arrive(3, ask(&["m"], bench.now)));
    assert!(bench.news().is_empty(), "1 may not be there yet, and the server would make m leave");
    bench.pass(Duration::from_millis(99));
    assert!(bench.news().is_empty());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.news(), ["load n at o with 4096"]);
    bench.finish(1, Ending::Answered);
    assert!(bench.news().is_empty(), "3 would let n starve");
}

#[test]
fn whoever_wished_something_is_told_what_became_of_it() {
    let cold = || holding(ollama("o", &["m", "n"]), 1);
    let loaded = || with(cold(), "m", Some(4096));
    let mut bench = Bench::new(vec![cold()]);
    let wished = |bench: &Bench| bench.router.wished(&ModelName::new("m"));
    assert_eq!(wished(&bench), Wished::Done, "there was none");
    for (result, became) in
        [(Err(fault(false, false)), Wished::Failed("it is broken".to_owned())), (Ok(()), Wished::Done)]
    {
        // However soon after it failed.
        wish(&mut bench, "m", Wish::Load { context: None });
        assert_eq!(wished(&bench), Wished::Pending);
        let (_, job) = bench.told();
        bench.ended(job, result);
        assert_eq!(wished(&bench), became);
    }
    bench.backends(vec![loaded()]);
    assert_eq!(told_as(bench.arrive(1, &["m"])), "o/0");
    wish(&mut bench, "m", Wish::Unload);
    assert_eq!(wished(&bench), Wished::Pending, "somebody uses it");
    bench.finish(1, Ending::Answered);
    let (_, job) = bench.told();
    bench.handle(Input::Arrive(2, ask(&["m"], bench.now)));
    bench.ended(job, Ok(()));
    assert_eq!(wished(&bench), Wished::Done, "though it is loaded again");
    let (_, job) = bench.told();
    bench.ended(job, Ok(()));
    bench.finish(2, Ending::Answered);
    bench.news();
    wish(&mut bench, "m", Wish::Unload);
    let (_, job) = bench.told();
    bench.ended(job, Err(fault(false, true)));
    assert_eq!(wished(&bench), Wished::Failed("its server still uses it".to_owned()));
}
