//! What goes on at each model, in words: loaded, loading, draining, waited for and why.

use std::sync::Arc;
use std::time::Duration;

use proto::view::{LaneView, ModelView};
use proto::{BackendState, ModelName};
use routing::{LaneState, QueueView, WaitReason};

/// Every model that is in memory, on its way there, or waited for.
pub(crate) fn lanes(node: &str, backends: &[Arc<BackendState>], queues: &[QueueView]) -> Vec<LaneView> {
    let mut lanes = Vec::new();
    for backend in backends.iter().filter(|backend| backend.health.is_up()) {
        for model in &backend.models {
            let row = queues.iter().find(|row| row.backend == backend.id && row.model == model.name);
            let state = match row.map(|row| row.state) {
                Some(state) if state != LaneState::Idle => word(state),
                _ if model.loaded.is_some() => word(LaneState::Loaded),
                _ => continue,
            };
            lanes.push(LaneView {
                model: ModelView::new(node, backend.id.as_str(), model),
                state: state.to_owned(),
                in_flight: row.map_or(0, |row| row.in_flight),
                waiting: row.map_or(0, |row| row.pending),
                slots: row.map(|row| row.slots),
                reason: row.and_then(|row| row.reason.as_ref().map(|reason| sentence(reason, row.eta))),
                eta_s: row.and_then(|row| row.eta).map(|eta| eta.as_secs_f64()),
            });
        }
    }
    lanes
}

/// The same of another node, as far as this one knows: every model that is in memory, or that requests are known to be at.
pub(crate) fn elsewhere(
    node: &str,
    backends: &[Arc<BackendState>],
    known: &[&routing::scheduler::LaneView],
) -> Vec<LaneView> {
    let mut lanes = Vec::new();
    for backend in backends {
        for model in &backend.models {
            let lane = known.iter().find(|lane| lane.backend == backend.id && lane.model == model.name);
            if lane.is_none() && model.loaded.is_none() {
                continue;
            }
            let state = match (&model.loaded, lane) {
                (Some(_), _) => LaneState::Loaded,
                (None, Some(lane)) if lane.in_flight > 0 => LaneState::Loading,
                (None, _) => LaneState::Waiting,
            };
            lanes.push(LaneView {
                model: ModelView::new(node, backend.id.as_str(), model),
                state: word(state).to_owned(),
                in_flight: lane.map_or(0, |lane| lane.in_flight),
                waiting: lane.map_or(0, |lane| lane.waiting),
                slots: lane.map(|lane| lane.slots),
                reason: lane.filter(|lane| lane.waiting > 0).map(|lane| sentence(&WaitReason::Busy, lane.eta)),
                eta_s: lane.and_then(|lane| lane.eta).map(|eta| eta.as_secs_f64()),
            });
        }
    }
    lanes
}

/// The word that people and scripts see.
pub(crate) fn word(state: LaneState) -> &'static str {
    match state {
        LaneState::Idle => "idle",
        LaneState::Loaded => "loaded",
        LaneState::Loading => "loading",
        LaneState::Draining => "draining",
        LaneState::Waiting => "waiting",
    }
}

/// Why requests wait, in a few words.
pub(crate) fn sentence(reason: &WaitReason, eta: Option<Duration>) -> String {
    let when = |verb: &str| eta.map_or_else(String::new, |eta| format!(", {verb} in about {}", about(eta)));
    let shown = ModelName::as_str;
    match reason {
        WaitReason::Busy => format!("all its slots are in use{}", when("one is free")),
        WaitReason::Loads => format!("being loaded{}", when("ready")),
        WaitReason::LoadsAfter { model } => format!("loads after {}{}", shown(model), when("ready")),
        WaitReason::WaitsFor { model, answers: 0 } => {
            format!("waiting for the room of {}{}", shown(model), when("ready"))
        }
        WaitReason::WaitsFor { model, answers } => {
            format!("waiting for {} to finish {}, then loads{}", shown(model), count(*answers), when("ready"))
        }
        WaitReason::Grows { answers: 0 } => format!("loads again with more context{}", when("ready")),
        WaitReason::Grows { answers } => {
            format!("finishes {}, then loads again with more context{}", count(*answers), when("ready"))
        }
        WaitReason::Failed { reason } => format!("could not be loaded ({reason}){}", when("tried again")),
        WaitReason::Unwell => "its server does not answer".to_owned(),
    }
}

fn count(answers: u32) -> String {
    match answers {
        1 => "1 answer".to_owned(),
        more => format!("{more} answers"),
    }
}

fn about(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..120 => format!("{} s", seconds.max(1)),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_like_sentences() {
        let qwen = ModelName::new("qwen");
        let nine = Some(Duration::from_secs(9));
        for (reason, eta, text) in [
            (WaitReason::Busy, None, "all its slots are in use"),
            (WaitReason::Loads, nine, "being loaded, ready in about 9 s"),
            (WaitReason::LoadsAfter { model: qwen.clone() }, None, "loads after qwen"),
            (
                WaitReason::WaitsFor { model: qwen.clone(), answers: 2 },
                nine,
                "waiting for qwen to finish 2 answers, then loads, ready in about 9 s",
            ),
            (WaitReason::WaitsFor { model: qwen, answers: 0 }, None, "waiting for the room of qwen"),
            (WaitReason::Grows { answers: 1 }, None, "finishes 1 answer, then loads again with more context"),
            (
                WaitReason::Failed { reason: "out of memory".to_owned() },
                Some(Duration::from_secs(300)),
                "could not be loaded (out of memory), tried again in about 5 min",
            ),
        ] {
            assert_eq!(sentence(&reason, eta), text);
        }
    }
}
