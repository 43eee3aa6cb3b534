//! Prints what a decision costs: `cargo run --release -p routing --example speed`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use proto::{
    Address, Api, ApiSet, BackendId, BackendKind, BackendState, Health, Link, Loaded, Model, ModelName, Moment, NodeId,
};
use routing::scheduler::*;
use routing::{Ask, Ending, Input, Key, Output, Router, Settings};

fn main() {
    for (backends, models) in [(1, 1), (3, 30), (16, 100), (50, 100)] {
        println!("{backends:>3} backends x {models:>3} models: {:>8.0} ns per arrive + finish", free(backends, models));
    }
    for (nodes, models) in [(3, 10), (16, 30), (50, 100)] {
        println!("{nodes:>3} nodes x {models:>3} models: {:>8.0} ns per ticket", ticket(nodes, models));
    }
    for (nodes, waiting) in [(16, 10), (16, 1000), (50, 1000)] {
        println!(
            "{waiting:>5} waiting for {nodes:>2} nodes: {:>8.0} ns per end + ticket + arrive",
            fleet_full(nodes, waiting)
        );
    }
    for (waiting, lines) in [(10, 1), (1000, 1), (1000, 30)] {
        println!(
            "{waiting:>5} waiting for {lines:>2} models: {:>8.0} ns per finish + grant + arrive",
            full(waiting, lines)
        );
    }
}

/// A ticket decision of a fleet: a request arrives, gets its ticket and ends.
fn ticket(nodes: u8, models: usize) -> f64 {
    let mut scheduler = fleet(nodes, models, 8);
    let names: Vec<ModelName> = (0..models).map(|model| ModelName::new(&format!("some-model:{model}b"))).collect();
    let app: Arc<str> = "app".into();
    nanos(|key| {
        let now = Moment::at(Duration::from_micros(key));
        let id = AskId { door: NodeId::new([1; 32]), number: key };
        scheduler.handle(FleetInput::Arrive(id, fleet_ask(&names[key as usize % models], &app, key % 64, now)), now);
        let Some(FleetOutput::Ticket(_, ticket)) = scheduler.poll_output() else { unreachable!("there is room") };
        let took = Duration::from_millis(900);
        let ended = Ended { ending: FleetEnding::Backend(Ending::Answered), first: Some(took / 9), took };
        scheduler.handle(FleetInput::Ended(id, ended), now);
        black_box((ticket, scheduler.poll_timeout()));
    })
}

/// All slots of the fleet are taken and `waiting` requests wait: one ends, another gets its ticket, a new one comes.
fn fleet_full(nodes: u8, waiting: u64) -> f64 {
    let mut scheduler = fleet(nodes, 1, 1);
    let model = ModelName::new("some-model:0b");
    let apps: Vec<Arc<str>> = (0..8).map(|app| format!("app {app}").into()).collect();
    let mut working = std::collections::VecDeque::new();
    let arrive = |scheduler: &mut Scheduler, working: &mut std::collections::VecDeque<AskId>, key: u64| {
        let now = Moment::at(Duration::from_micros(key));
        let id = AskId { door: NodeId::new([1 + (key % 5) as u8; 32]), number: key };
        scheduler.handle(FleetInput::Arrive(id, fleet_ask(&model, &apps[key as usize % 8], key, now)), now);
        while let Some(output) = scheduler.poll_output() {
            if let FleetOutput::Ticket(id, _) = output {
                working.push_back(id);
            }
        }
    };
    (0..waiting + u64::from(nodes)).for_each(|key| arrive(&mut scheduler, &mut working, key));
    nanos(|key| {
        let ended = working.pop_front().expect("all slots are taken");
        let took = Duration::from_millis(900);
        let answered = Ended { ending: FleetEnding::Backend(Ending::Answered), first: Some(took / 9), took };
        scheduler.handle(FleetInput::Ended(ended, answered), Moment::at(Duration::from_micros(1_000_000 + key)));
        arrive(&mut scheduler, &mut working, 1_000_000 + key);
    })
}

fn fleet_ask(model: &ModelName, app: &Arc<str>, session: u64, now: Moment) -> FleetAsk {
    FleetAsk {
        api: Api::OllamaChat,
        models: vec![model.clone()],
        app: Some(Arc::clone(app)),
        text_bytes: 4000,
        images: 0,
        tools: false,
        max_tokens: Some(200),
        context_wanted: None,
        cuts: true,
        streams: true,
        session: Some(session),
        zone: Zone::Cloud,
        priority: Priority::Interactive,
        excluded: vec![],
        only: None,
        now_only: false,
        rtt: Duration::from_millis(1),
        waited_since: now,
    }
}

fn fleet(nodes: u8, models: usize, slots: u32) -> Scheduler {
    let settings = FleetSettings { queue_size: 4096, queue_wait: Duration::from_secs(30), scoring: Scoring::Predicted };
    let mut scheduler = Scheduler::new(settings, NodeId::new([1; 32]), 7);
    let now = Moment::default();
    scheduler.set_leading(true, now);
    let report = |n: u8| NodeReport {
        id: NodeId::new([n; 32]),
        name: format!("node {n}").into(),
        backends: vec![Arc::new(state(usize::from(n), models, slots))],
        memory: Some((64 << 30, 32 << 30)),
        vram: None,
        shares: true,
    };
    scheduler.handle(FleetInput::Nodes((1..=nodes).map(|n| Arc::new(report(n))).collect()), now);
    for n in 1..=nodes {
        let speed = |model: usize| LaneSpeed {
            backend: BackendId::new(format!("ollama-{n}")),
            model: ModelName::new(&format!("some-model:{model}b")),
            load: Some(Duration::from_secs(3)),
            prefill: Some(400.0 + f64::from(n)),
            decode: Some(40.0 + f64::from(n)),
            service: Some(Duration::from_millis(900)),
            first: Some(Duration::from_millis(100)),
            most_context: Some(8192),
        };
        scheduler.handle(FleetInput::Speeds(NodeId::new([n; 32]), (0..models).map(speed).collect()), now);
    }
    scheduler
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

fn state(number: usize, models: usize, slots: u32) -> BackendState {
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
    BackendState {
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
    }
}

fn router(backends: usize, models: usize, slots: u32) -> Router {
    let mut router = Router::new(Settings::default(), 7);
    let states = (0..backends).map(|number| Arc::new(state(number, models, slots))).collect();
    router.handle(Input::Backends(states), Moment::default());
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
