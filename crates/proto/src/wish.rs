//! What clients wish for a model's stay in memory.

use std::time::Duration;

/// Ollama's `keep_alive`: how long a client wishes a model to stay in memory after its request.
///
/// A wish: what stays is decided by the node, so that no client can block the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// So long.
    For(Duration),
    /// As long as there is room.
    Forever,
    /// It may go at once.
    Unload,
}
