//! The words all crates share: ids, units, API names, what is known of a backend, the records people read, and
//! the messages between nodes.
//!
//! Nothing here decides or does anything; types and the rules that make a value valid, no more.

mod api;
mod backend;
mod id;
mod name;
mod node;
mod time;
mod trace;
pub mod view;
pub mod wire;
mod wish;

pub use api::{Api, ApiSet, Dialect};
pub use backend::{Address, BackendKind, BackendState, Capability, Health, Link, Loaded, Model};
pub use id::{BackendId, RequestId};
pub use name::ModelName;
pub use node::{Epoch, Incarnation, NodeId, NotANodeId, Priority, Role};
pub use time::{Clock, Moment};
pub use trace::{Attempt, Candidate, Outcome, Predicted, Server, Trace};
pub use wish::KeepAlive;

/// The version of this Herd, as shown to people and other nodes.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of Ollama that clients are told when no Ollama answers here.
///
/// Codex refuses to talk to anything older (measured with 0.169, November 2026).
pub const LEAST_OLLAMA_VERSION: &str = "0.13.4";
