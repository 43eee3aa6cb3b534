//! Nodes of a fleet and requests for them, as short as the tests want to say them.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use proto::{Api, BackendState, ModelName, Moment, NodeId};
use routing::scheduler::*;
use routing::{Ending, Refusal};

use crate::fixture::{id, secs};

/// Node number `n`.
pub fn node_id(n: u8) -> NodeId {
    NodeId::new([n; 32])
}

pub fn node(n: u8, backends: Vec<BackendState>) -> NodeReport {
    NodeReport {
        id: node_id(n),
        name: format!("n{n}").into(),
        backends: backends.into_iter().map(Arc::new).collect(),
        memory: None,
        vram: None,
        shares: true,
    }
}

pub fn settings() -> FleetSettings {
    FleetSettings { queue_size: 1024, queue_wait: Duration::from_secs(30), scoring: Scoring::Predicted }
}

/// A streamed chat with the first of `models`.
pub fn fleet_ask(models: &[&str], now: Moment) -> FleetAsk {
    FleetAsk {
        api: Api::OllamaChat,
        models: models.iter().map(|name| ModelName::new(name)).collect(),
        app: None,
        text_bytes: 400,
        images: 0,
        tools: false,
        max_tokens: Some(100),
        context_wanted: None,
        cuts: true,
        streams: true,
        session: None,
        zone: Zone::Cloud,
        priority: Priority::Interactive,
        excluded: vec![],
        only: None,
        now_only: false,
        rtt: Duration::from_millis(1),
        waited_since: now,
    }
}

pub fn speed(backend: &str, model: &str, service_ms: u64) -> LaneSpeed {
    LaneSpeed {
        backend: id(backend),
        model: ModelName::new(model),
        load: None,
        prefill: None,
        decode: None,
        service: Some(Duration::from_millis(service_ms)),
        first: Some(Duration::from_millis(service_ms / 4 + 1)),
        most_context: None,
    }
}

pub fn lane_work(backend: &str, model: &str, slots: u32, issued: &[(u8, u32)]) -> LaneWork {
    LaneWork {
        backend: id(backend),
        model: ModelName::new(model),
        issued: issued.iter().map(|&(n, requests)| (node_id(n), requests)).collect(),
        slots,
        waiting: 0,
        loading: None,
        rests: None,
    }
}

pub fn work(lanes: Vec<LaneWork>) -> NodeWork {
    NodeWork { lanes, rtt: Duration::from_millis(1) }
}

pub fn answered(ms: u64) -> Ended {
    ended(FleetEnding::Backend(Ending::Answered), ms)
}

pub fn ended(ending: FleetEnding, ms: u64) -> Ended {
    Ended { ending, first: Some(Duration::from_millis(ms / 4)), took: Duration::from_millis(ms) }
}

/// A scheduler and its clock. Doors are nodes; it runs on node 1.
pub struct Desk {
    pub scheduler: Scheduler,
    pub now: Moment,
    next: u64,
}

impl Desk {
    pub fn new(nodes: Vec<NodeReport>) -> Desk {
        Desk::with(settings(), nodes)
    }

    /// A scheduler that leads.
    pub fn with(settings: FleetSettings, nodes: Vec<NodeReport>) -> Desk {
        let mut desk = Desk { scheduler: Scheduler::new(settings, node_id(1), 0), now: secs(100), next: 0 };
        desk.scheduler.set_leading(true, desk.now);
        desk.nodes(nodes);
        desk
    }

    pub fn nodes(&mut self, nodes: Vec<NodeReport>) {
        self.handle(FleetInput::Nodes(nodes.into_iter().map(Arc::new).collect()));
    }

    pub fn handle(&mut self, input: FleetInput) {
        self.scheduler.handle(input, self.now);
    }

    pub fn work(&mut self, n: u8, lanes: Vec<LaneWork>) {
        self.handle(FleetInput::Work(node_id(n), work(lanes)));
    }

    pub fn speeds(&mut self, n: u8, speeds: Vec<LaneSpeed>) {
        self.handle(FleetInput::Speeds(node_id(n), speeds));
    }

    pub fn ask(&self, models: &[&str]) -> FleetAsk {
        fleet_ask(models, self.now)
    }

    /// A request comes in by the door of node `door`.
    pub fn arrive(&mut self, door: u8, ask: FleetAsk) -> AskId {
        self.next += 1;
        let id = AskId { door: node_id(door), number: self.next };
        self.handle(FleetInput::Arrive(id, ask));
        id
    }

    /// The same; says what came of it at once, of it or of others.
    pub fn place(&mut self, door: u8, ask: FleetAsk) -> String {
        self.arrive(door, ask);
        self.news().join(" ")
    }

    pub fn end(&mut self, id: AskId, ended: Ended) {
        self.handle(FleetInput::Ended(id, ended));
    }

    pub fn outputs(&mut self) -> Vec<FleetOutput> {
        std::iter::from_fn(|| self.scheduler.poll_output()).collect()
    }

    /// `number>node/backend`, or `number: words`, or `waits` if there is nothing.
    pub fn news(&mut self) -> Vec<String> {
        let told = |output| match output {
            FleetOutput::Ticket(id, ticket) => {
                format!("{}>{}/{}", id.number, ticket.node.as_bytes()[0], ticket.backend)
            }
            FleetOutput::Refuse(id, refusal) => format!("{}: {refusal}", id.number),
        };
        let news: Vec<String> = self.outputs().into_iter().map(told).collect();
        if news.is_empty() { vec!["waits".to_owned()] } else { news }
    }

    pub fn tickets(&mut self) -> Vec<(AskId, FleetTicket)> {
        let ticket = |output| match output {
            FleetOutput::Ticket(id, ticket) => (id, ticket),
            FleetOutput::Refuse(id, refusal) => panic!("{id:?}: {refusal}"),
        };
        self.outputs().into_iter().map(ticket).collect()
    }

    pub fn refusals(&mut self) -> Vec<(AskId, Refusal)> {
        let refusal = |output| match output {
            FleetOutput::Refuse(id, refusal) => (id, refusal),
            FleetOutput::Ticket(id, ticket) => panic!("{id:?}: {ticket:?}"),
        };
        self.outputs().into_iter().map(refusal).collect()
    }

    /// Time passes, from one wake-up to the next.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        for wakes in 0.. {
            let Some(wake) = self.scheduler.poll_timeout().filter(|wake| *wake <= end) else { break };
            assert!(wake >= self.now && wakes < 10_000, "spins");
            self.now = wake;
            self.scheduler.handle_timeout(wake);
        }
        self.now = end;
    }
}
