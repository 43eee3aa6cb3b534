//! What is shown of the fleet's queue.

use std::sync::Arc;
use std::time::Duration;

use proto::{BackendId, ModelName, NodeId};

/// What goes on in the fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetView {
    /// Models of backends of nodes that work or are waited for, sorted by node, backend, model.
    pub lanes: Vec<LaneView>,
    /// Models that requests wait for and that nobody serves now, sorted.
    pub stranded: Vec<Stranded>,
}

/// What goes on at one model of one backend of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneView {
    /// The node.
    pub node: NodeId,
    /// Its shown name.
    pub name: Arc<str>,
    /// The backend.
    pub backend: BackendId,
    /// One of the model's names.
    pub model: ModelName,
    /// Whether it is in memory.
    pub loaded: bool,
    /// Requests that it works on at once, as known.
    pub slots: u32,
    /// Requests that are known to be there.
    pub in_flight: u32,
    /// Requests of the fleet's queue that are likely to go there.
    pub waiting: u32,
    /// When the first of those is likely to begin.
    pub eta: Option<Duration>,
}

/// Requests that nobody serves now.
#[derive(Clone, Debug, PartialEq)]
pub struct Stranded {
    /// The model that was asked for.
    pub model: ModelName,
    /// How many wait for it.
    pub waiting: u32,
    /// Each machine that has it and what keeps it, in words; at most eight.
    pub why: Vec<String>,
}
