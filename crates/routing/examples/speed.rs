//! Prints what a decision costs: `cargo run --release -p routing --example speed`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use proto::{
    Address, Api, ApiSet, BackendId, BackendKind, BackendState, Health, Link, Loaded, Model, ModelName, Moment,
};
use routing::{Ask, Ending, Input, Key, Output, Router, Settings};

fn main() {
    for (backends, models) in [(1, 1), (3, 30), (16, 100), (50, 100)] {
        println!("{backends:>3} backends x {models:>3} models: {:>8.0} ns per arrive + finish", free(backends, models));
    }
    for (waiting, lines) in [(10, 1), (1000, 1), (1000, 30)] {
        println!(
            "{waiting:>5} waiting for {lines:>2} models: {:>8.0} ns per finish + grant + arrive",
            full(waiting, lines)
        );
    }
}

/// Nobody waits: each request is granted, brings content and ends.
fn free(backends: usize, models: usize) -> f64 {
    let mut router = router(backends, models, 8);
    let names: Vec<ModelName> = (0..models).map(|model| ModelName::new(&format!("some-model:{model}b"))).collect();
    let app: Arc<str> = "app".into();
    nanos(|key| {
        let now = Moment::at(Duration::from_micros(key));
        let ask = ask(vec![names[key as usize % models].clone()], &app, now);
        router.handle(Input::Arrive(key, ask), now);
        let Some(Output::Grant(_, grant)) = router.poll_output() else { unreachable!("there is room") };
        router.handle(Input::FirstContent(key), now);
        router.handle(Input::Finish(key, Ending::Answered), now);
        black_box((grant, router.poll_timeout()));
    })
}

/// All slots are taken and `waiting` requests wait: one ends, another begins, a new one comes.
fn full(waiting: u64, lines: usize) -> f64 {
    let mut router = router(3, lines, 1);
    let apps: Vec<Arc<str>> = (0..8).map(|app| format!("app {app}").into()).collect();
    let names: Vec<ModelName> = (0..lines).map(|model| ModelName::new(&format!("some-model:{model}b"))).collect();
    let mut working = std::collections::VecDeque::new();
    for key in 0..waiting + 3 * lines as u64 {
        arrive(&mut router, key, &names, &apps, &mut working);
    }
    nanos(|key| {
        let ended = working.pop_front().expect("three work for each model");
        router.handle(Input::Finish(ended, Ending::Answered), Moment::at(Duration::from_micros(key)));
        arrive(&mut router, 1_000_000 + key, &names, &apps, &mut working);
        black_box(router.poll_timeout());
    })
}

fn arrive(
    router: &mut Router,
    key: Key,
    names: &[ModelName],
    apps: &[Arc<str>],
    working: &mut std::collections::VecDeque<Key>,
) {
    let now = Moment::at(Duration::from_micros(key));
    let ask = ask(vec![names[key as usize % names.len()].clone()], &apps[key as usize % apps.len()], now);
    router.handle(Input::Arrive(key, ask), now);
    while let Some(output) = router.poll_output() {
        if let Output::Grant(key, _) = output {
            working.push_back(key);
            router.handle(Input::FirstContent(key), now);
        }
    }
}

fn ask(models: Vec<ModelName>, app: &Arc<str>, now: Moment) -> Ask {
    Ask {
        api: Api::OllamaChat,
        models,
        app: Some(Arc::clone(app)),
        text_bytes: 400,
        media: 0,
        max_tokens: Some(0),
        context_wanted: None,
        cuts: true,
        keep_alive: None,
        excluded: vec![],
        streams: true,
        waited_since: now,
        most_ahead: None,
        issuer: None,
    }
}

fn router(backends: usize, models: usize, slots: u32) -> Router {
    let model = |number| Model {
        name: ModelName::new(&format!("some-model:{number}b")),
        id: format!("some-model:{number}b"),
        digest: None,
        size: None,
        weights: None,
        quantization: None,
        family: None,
        parameter_size: None,
        capabilities: vec![],
        context_trained: None,
        modified_at: None,
        loaded: Some(Loaded { context: Some(8192), size: Some(1 << 30), size_vram: None, expires_at: None }),
        listing: None,
    };
    let state = |number| BackendState {
        id: BackendId::new(format!("ollama-{number}")),
        kind: BackendKind::Ollama,
        address: Address { host: "127.0.0.1".to_owned(), port: 11434, base_path: String::new() },
        link: Link::Loopback,
        version: None,
        health: Health::Up,
        speaks: ApiSet::of(&Api::ALL),
        serves: ApiSet::of(&Api::ALL),
        slots: Some(slots),
        most_loaded: None,
        ignores_model_name: false,
        models: (0..models).map(model).collect(),
    };
    let mut router = Router::new(Settings::default(), 7);
    router.handle(Input::Backends((0..backends).map(|number| Arc::new(state(number))).collect()), Moment::default());
    router
}

/// Mean time of one call, of the best of five rounds, so that other work on the machine counts little.
fn nanos(mut once: impl FnMut(u64)) -> f64 {
    #[allow(clippy::disallowed_methods, reason = "measures itself")]
    let clock = std::time::Instant::now;
    let rounds = 5;
    let calls = 20_000;
    let mut best = f64::MAX;
    for round in 0..rounds {
        let begun = clock();
        (round * calls..(round + 1) * calls).for_each(&mut once);
        best = best.min(begun.elapsed().as_nanos() as f64 / calls as f64);
    }
    best
}
