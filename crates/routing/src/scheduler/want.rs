//! What decides who may serve a request of the fleet, and the hard filters on it.

use std::time::Duration;

use proto::{Api, BackendId, Link, ModelName, Moment, NodeId};

use super::board::Node;
use super::lane::Lane;
use super::words::{FleetAsk, Priority, Zone};
use crate::context::Need;
use crate::fleet::is_embedding;
use crate::queue::Wanted;
use crate::tokens::Needs;

/// Requests with equal wants wait in one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Want {
    pub(super) models: Vec<ModelName>,
    pub(super) api: Api,
    pub(super) door: NodeId,
    pub(super) zone: Zone,
    pub(super) only: Option<NodeId>,
    pub(super) excluded: Vec<(NodeId, Option<BackendId>)>,
    pub(super) has_images: bool,
    pub(super) has_tools: bool,
    pub(super) priority: Priority,
    pub(super) need: Need,
}

/// What else is known of a request: it decides which of those that may serve it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Tokens of the prompt and of the answer, likely.
    pub(super) prompt: u64,
    pub(super) answer: u64,
    pub(super) max_tokens: Option<u64>,
    pub(super) session: Option<u64>,
    pub(super) streams: bool,
    pub(super) rtt: Duration,
}

impl Want {
    pub(super) fn new(door: NodeId, ask: &FleetAsk, needs: Option<&Needs>) -> (Want, Facts) {
        let answers = !is_embedding(ask.api);
        let need = needs.filter(|_| ask.api.needs_slot()).map_or(Need::default(), |needs| {
            let answer = if answers { needs.answer_room } else { 0 };
            let (prompt, likely) = (needs.prompt.at_most, needs.prompt.tokens);
            Need { prompt, likely, answer, wanted: ask.context_wanted, cuts: ask.cuts }.rounded()
        });
        let mut excluded = ask.excluded.clone();
        excluded.sort();
        excluded.dedup();
        let want = Want {
            models: ask.models.clone(),
            api: ask.api,
            door,
            zone: ask.zone,
            only: ask.only,
            excluded,
            has_images: ask.images > 0,
            has_tools: ask.tools,
            priority: ask.priority,
            need,
        };
        let facts = Facts {
            prompt: needs.map_or(0, |needs| needs.prompt.tokens),
            answer: needs.filter(|_| answers).map_or(0, |needs| needs.usual_answer),
            max_tokens: ask.max_tokens,
            session: ask.session,
            streams: ask.streams,
            rtt: if ask.rtt.is_zero() { Duration::from_millis(1) } else { ask.rtt },
        };
        (want, facts)
    }
}

impl Wanted for Want {
    fn domain(&self) -> Option<&ModelName> {
        self.models.first()
    }

    fn is_retry(&self) -> bool {
        !self.excluded.is_empty()
    }
}

/// Why a lane does not serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Its node is not within reach.
    Offline,
    /// Its node takes no requests of others.
    NotSharing,
    /// Its backend does not answer.
    Down,
    /// It fails, or says that nothing should be sent: until then, where that is known.
    Rests(Option<Moment>),
    /// Another node was asked for, or the request may not go so far.
    OutOfBounds,
    /// The model is in the cloud, and the request may not go there.
    InTheCloud,
    /// It was tried.
    Tried,
    /// It does not answer the call.
    NotSpoken,
    /// The model does not see.
    Blind,
    /// The model does not call tools.
    NoTools,
    /// The machine has not the memory for the model.
    TooLarge,
    /// It cannot hold the prompt.
    TooLong { needed: u64, most: u64 },
}

impl Unfit {
    /// Whether it may pass.
    pub(super) fn is_passing(self) -> bool {
        matches!(self, Unfit::Offline | Unfit::NotSharing | Unfit::Down | Unfit::Rests(_))
    }

    /// Less: the better known to those who ask why nobody serves.
    pub(super) fn rank(self) -> u8 {
        match self {
            Unfit::Rests(_) => 0,
            Unfit::Down => 1,
            Unfit::NotSharing => 2,
            Unfit::Offline => 3,
            Unfit::Tried => 4,
            Unfit::TooLong { .. } => 5,
            Unfit::TooLarge => 6,
            Unfit::Blind => 7,
            Unfit::NoTools => 8,
            Unfit::NotSpoken => 9,
            Unfit::InTheCloud => 10,
            Unfit::OutOfBounds => 11,
        }
    }

    /// In words, of the node called `name` and its `lane`.
    pub(super) fn words(self, name: &str, lane: &Lane) -> String {
        let backend = &lane.backend.id;
        match self {
            Unfit::Offline => format!("{name} is offline"),
            Unfit::NotSharing => format!("{name} takes no requests of others"),
            Unfit::Down => format!("{backend} on {name} does not answer"),
            Unfit::Rests(_) => format!("{backend} on {name} rests after failures"),
            Unfit::OutOfBounds => format!("the request may not go to {name}"),
            Unfit::InTheCloud => format!("{name} has it in the cloud, and the request may not go there"),
            Unfit::Tried => format!("{backend} on {name} was tried"),
            Unfit::NotSpoken => format!("{backend} on {name} does not answer this call"),
            Unfit::Blind => format!("the model on {name} takes no images"),
            Unfit::NoTools => format!("the model on {name} calls no tools"),
            Unfit::TooLarge => format!("{name} has too little memory"),
            Unfit::TooLong { needed, most } => {
                format!("the prompt needs a context of {needed} tokens and {name} offers {most}")
            }
        }
    }
}

/// Whether `lane` of `node` may serve `want` as the model called `model`; `Ok(true)`: but not with the whole prompt.
pub(super) fn fit(want: &Want, model: &ModelName, lane: &Lane, node: &Node) -> Result<bool, Unfit> {
    let report = &node.report;
    let is_near = report.id == want.door;
    if want.only.is_some_and(|only| only != report.id) || (want.zone == Zone::Node && !is_near) {
        return Err(Unfit::OutOfBounds);
    }
    if want.zone != Zone::Cloud && (model.is_cloud() || lane.names.iter().any(ModelName::is_cloud)) {
        return Err(Unfit::InTheCloud);
    }
    if !lane.backend.serves.has(want.api) {
        return Err(Unfit::NotSpoken);
    }
    if want.has_images && lane.sees == Some(false) {
        return Err(Unfit::Blind);
    }
    if want.has_tools && lane.calls_tools == Some(false) {
        return Err(Unfit::NoTools);
    }
    let is_tried = |(at, which): &(NodeId, Option<BackendId>)| {
        *at == report.id && which.as_ref().is_none_or(|which| *which == lane.backend.id)
    };
    if want.excluded.iter().any(is_tried) {
        return Err(Unfit::Tried);
    }
    if !lane.is_hot() && want.api.needs_slot() && is_too_large(lane, node) {
        return Err(Unfit::TooLarge);
    }
    let needed = want.need.least();
    let is_short = lane.most_context().is_some_and(|most| most < needed);
    if is_short && !want.need.cuts {
        return Err(Unfit::TooLong { needed, most: lane.most_context().unwrap_or_default() });
    }
    if node.gone.is_some() {
        return Err(Unfit::Offline);
    }
    if !node.shares && !is_near {
        return Err(Unfit::NotSharing);
    }
    if !lane.backend.health.is_up() {
        return Err(Unfit::Down);
    }
    Ok(is_short)
}

/// Whether all memory of the machine would not do.
fn is_too_large(lane: &Lane, node: &Node) -> bool {
    // A backend on another host has other memory.
    let (Some(size), Some((memory, _)), Link::Loopback) = (lane.bytes(), node.report.memory, lane.backend.link) else {
        return false;
    };
    size > memory.saturating_add(node.report.vram.map_or(0, |(vram, _)| vram))
}
