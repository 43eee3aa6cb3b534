//! Chooses the model that answers for names which no backend has.

use std::sync::Arc;

use proto::{BackendState, Capability, Model};

/// Tokens of context below which coding agents fail: their instructions alone are that long.
const AGENTS_CONTEXT: u64 = 32_768;

/// The model of these backends that a client most likely means by "your best one": of those that chat, one that calls
/// tools before one that may not, one with room for an agent's instructions before others, then the largest. Whether it is
/// in memory does not matter, or conversations would wander from model to model.
pub fn stand_in(backends: &[Arc<BackendState>]) -> Option<&str> {
    let models = backends.iter().flat_map(|backend| &backend.models).filter(|model| chats(model));
    models.max_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| b.name.cmp(&a.name))).map(|model| model.id.as_str())
}

fn chats(model: &Model) -> bool {
    let is_elsewhere = model.name.as_str().ends_with("cloud");
    let is_told = !model.capabilities.is_empty();
    !is_elsewhere && (!is_told || model.capabilities.contains(&Capability::Completion))
}

fn rank(model: &Model) -> (u8, bool, u64, u64) {
    let tools = match model.capabilities.as_slice() {
        // Not told: maybe.
        [] => 1,
        told => 2 * u8::from(told.contains(&Capability::Tools)),
    };
    let has_room = model.context_trained.is_none_or(|tokens| tokens >= AGENTS_CONTEXT);
    let parameters = model.parameter_size.as_deref().and_then(parameters).unwrap_or(0);
    (tools, has_room, parameters, model.size.unwrap_or(0))
}

/// The number behind `8.0B`, `134.52M` or `389K`.
fn parameters(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "T" => 1e12,
        "B" => 1e9,
        "M" => 1e6,
        "K" => 1e3,
        _ => return text.parse().ok(),
    };
    // Saturates, and makes nothing of a number that is none.
    number.parse::<f64>().ok().map(|number| (number * unit) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, count) in [
            ("8.0B", Some(8_000_000_000)),
            ("134.52M", Some(134_520_000)),
            ("389K", Some(389_000)),
            ("999", Some(999)),
            ("", None),
            ("B", None),
            ("8x7B", None),
            ("é", None),
        ] {
            assert_eq!(parameters(text), count, "{text}");
        }
    }
}
