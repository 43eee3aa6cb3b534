//! Rows 9 and 15: what the fleet's scheduler takes for a request, with few nodes and with many.
//!
//! The scheduler alone is fed with nodes that do not exist: fifty processes would measure how they disturb each other.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use proto::{
    Address, Api, ApiSet, BackendId, BackendKind, BackendState, Health, Link, Loaded, Model, ModelName, Moment, NodeId,
};
use routing::Ending;
use routing::scheduler::{
    AskId, Ended, FleetAsk, FleetEnding, FleetInput, FleetOutput, FleetSettings, NodeReport, Priority, Scheduler,
    Scoring, Zone,
};

use crate::clock;
use crate::report::{Bar, Column, Measure, Values};
use crate::stage::Stage;
use crate::stats::{median, us};

/// Requests of one slice.
const REQUESTS: u64 = 4000;
const SLICE: Duration = Duration::from_millis(200);

/// Rows 9 and 15.
pub(crate) fn tickets(stage: &mut Stage) -> Result<Vec<Measure>> {
    let rounds = stage.rounds(SLICE);
    let cost = |nodes: u8, models: u32| -> Result<f64> {
        let times: Vec<f64> = (0..rounds).map(|_| slice(nodes, models)).collect::<Result<_>>()?;
        median(&times).context("nothing was measured")
    };
    let (one, few, many) = (cost(1, 100)?, cost(16, 100)?, cost(50, 100)?);
    let measure = |row, what: &str, value: f64, bar| Measure {
        row,
        what: what.to_owned(),
        unit: "µs",
        values: Values::of(|column| Some(value).filter(|_| column == Column::Herd)),
        bar,
    };
    let most = |must, aim| Bar::Most { must, aim };
    Ok(vec![
        measure(
            "9",
            "a request at the leader's door: the scheduler with 50 nodes above that with 1",
            many - one,
            most(10.0, 3.0),
        ),
        measure("9", "the same whole (a machine alone does without)", many, Bar::Fact),
        measure("15", "a ticket and its end, 16 nodes that all have the same 100 models", few, most(100.0, 20.0)),
        measure("15", "a ticket and its end, 50 nodes that all have the same 100 models", many, most(300.0, 50.0)),
    ])
}

/// Microseconds of one request from its arrival to its end.
fn slice(nodes: u8, models: u32) -> Result<f64> {
    let me = NodeId::new([1; 32]);
    let settings = FleetSettings { queue_size: 4096, queue_wait: Duration::from_secs(60), scoring: Scoring::Predicted };
    let mut scheduler = Scheduler::new(settings, me, 7);
    let start = Moment::at(Duration::from_secs(1));
    scheduler.set_leading(true, start);
    let names: Vec<ModelName> = (0..models).map(|number| ModelName::new(&format!("some-model:{number}b"))).collect();
    let reports = (1..=nodes).map(|number| Arc::new(report(number, &names)));
    scheduler.handle(FleetInput::Nodes(reports.collect()), start);
    let app: Arc<str> = "app".into();
    let mut took = 0;
    for number in 0..REQUESTS {
        let now = Moment::at(Duration::from_secs(1) + Duration::from_millis(number));
        let name = &names[usize::try_from(number % u64::from(models))?];
        let ask = ask(name, &app, now);
        let id = AskId { door: me, number };
        let before = clock::now_ns();
        scheduler.handle(FleetInput::Arrive(id, ask), now);
        let Some(FleetOutput::Ticket(_, ticket)) = scheduler.poll_output() else { bail!("no ticket") };
        let ended = Ended {
            ending: FleetEnding::Backend(Ending::Answered),
            first: Some(Duration::from_millis(20)),
            took: Duration::from_millis(300),
        };
        scheduler.handle(FleetInput::Ended(id, ended), now);
        black_box((ticket, scheduler.poll_timeout()));
        took += clock::now_ns() - before;
    }
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    Ok(us(took) / REQUESTS as f64)
}

fn ask(name: &ModelName, app: &Arc<str>, now: Moment) -> FleetAsk {
    FleetAsk {
        api: Api::OllamaChat,
        models: vec![name.clone()],
        app: Some(app.clone()),
        text_bytes: 400,
        images: 0,
        tools: false,
        max_tokens: None,
        context_wanted: None,
        cuts: true,
        streams: true,
        session: None,
        zone: Zone::Cloud,
        priority: Priority::Interactive,
        excluded: Vec::new(),
        only: None,
        now_only: false,
        rtt: Duration::from_micros(300),
        waited_since: now,
    }
}

fn report(number: u8, names: &[ModelName]) -> NodeReport {
    let model = |name: &ModelName| Model {
        name: name.clone(),
        id: name.to_string(),
        digest: None,
        size: Some(4 << 30),
        weights: None,
        quantization: None,
        family: None,
        parameter_size: None,
        capabilities: Vec::new(),
        context_trained: None,
        modified_at: None,
        loaded: Some(Loaded { context: Some(8192), size: Some(4 << 30), size_vram: None, expires_at: None }),
        listing: None,
    };
    let backend = BackendState {
        id: BackendId::new("ollama"),
        kind: BackendKind::Ollama,
        address: Address { host: "127.0.0.1".to_owned(), port: 11434, base_path: String::new() },
        link: Link::Loopback,
        version: None,
        health: Health::Up,
        speaks: ApiSet::of(&Api::ALL),
        serves: ApiSet::of(&Api::ALL),
        slots: Some(4),
        most_loaded: None,
        ignores_model_name: false,
        models: names.iter().map(model).collect(),
    };
    NodeReport {
        id: NodeId::new([number; 32]),
        name: format!("node-{number}").into(),
        backends: vec![Arc::new(backend)],
        memory: Some((512 << 30, 256 << 30)),
        vram: None,
        shares: true,
    }
}
