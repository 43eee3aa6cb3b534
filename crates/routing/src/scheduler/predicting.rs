//! Predicts when an answer would be complete, from what was learnt, or what is usual, or what the model's size suggests.

use std::time::Duration;

use proto::{BackendKind, Moment, Predicted};

use super::affinity::Home;
use super::board::{Node, Usual};
use super::lane::Lane;
use super::want::Facts;
use crate::points::guessed_gb;

const GB: f64 = (1u64 << 30) as f64;
/// Gigabytes of weights that a machine of which nothing is known goes through in a second: so many divided by the
/// model's size is how many tokens it writes.
const GB_PER_SECOND: f64 = 100.0;
const WRITES: (f64, f64) = (5.0, 200.0);
/// Prompts are read so many times as fast as answers are written.
const READS: f64 = 20.0;
/// A cold load: so long, and so much longer for each gigabyte.
const LOAD: (f64, f64) = (500.0, 1000.0);
const MOST_LOAD_MS: f64 = 120_000.0;
/// A model that must make room for others' work costs those so much for each request that they work on, at most.
const DISTURBANCE_MS: f64 = 1000.0;
const MOST_DISTURBANCE_MS: f64 = 10_000.0;

/// What a prediction rests on beside the lane.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) usual: Usual,
    pub(super) facts: &'a Facts,
    pub(super) home: Option<Home>,
    pub(super) is_near: bool,
    pub(super) now: Moment,
}

/// One lane as a request finds it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) lane: &'a Lane,
    pub(super) node: &'a Node,
    /// Requests there, those included that are about to go there.
    pub(super) ahead: u32,
    pub(super) slots: u32,
}

/// Bytes of the model, known or guessed, in GB.
fn size_gb(lane: &Lane) -> f64 {
    match lane.bytes() {
        Some(bytes) => (bytes as f64 / GB).max(0.05),
        None => lane.names.first().map_or(10.0, |name| guessed_gb(name.as_str())),
    }
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

impl Scene<'_> {
    /// When the answer would be complete at `place`.
    pub(super) fn predict(&self, place: &Place) -> Predicted {
        let Place { lane, node, ahead, slots } = *place;
        let (prefill_ms, decode_ms) = self.work_ms(place);
        let queue_ms = match ahead.checked_sub(slots) {
            Some(waiting) => {
                let service = lane.service().or(self.usual.service).map_or(prefill_ms + decode_ms, ms);
                (f64::from(waiting) + 1.0) / f64::from(slots.max(1)) * service
            }
            None => 0.0,
        };
        let link_ms = if self.is_near { 0.0 } else { ms(self.facts.rtt.max(node.rtt)) };
        Predicted { load_ms: self.load_ms(place), queue_ms, prefill_ms, decode_ms, link_ms }
    }

    /// Reading the prompt and writing the answer, in milliseconds.
    fn work_ms(&self, place: &Place) -> (f64, f64) {
        let Place { lane, ahead, slots, .. } = *place;
        let facts = self.facts;
        let known = self.home.filter(|home| home.lane == lane.serial && lane.is_hot());
        let prompt = facts.prompt.saturating_sub(known.map_or(0, |home| home.tokens)) as f64;
        let beside = f64::from(ahead.min(slots.saturating_sub(1)));
        let crowd = 1.0 + crowding(lane.backend.kind) * beside;
        let speed = lane.speed.as_ref();
        let (prefill, decode) = (speed.and_then(|speed| speed.prefill), speed.and_then(|speed| speed.decode));
        if let (None, None, Some(service)) = (prefill, decode, lane.service().or(self.usual.service)) {
            return (0.0, ms(service) * crowd);
        }
        let decode = decode.or(self.usual.decode);
        let writes = decode.unwrap_or_else(|| (GB_PER_SECOND / size_gb(lane)).clamp(WRITES.0, WRITES.1)).max(0.01);
        let reads = prefill.or(self.usual.prefill).unwrap_or(writes * READS).max(0.1);
        (prompt / reads * 1000.0 * crowd, facts.answer as f64 / writes * 1000.0 * crowd)
    }

    /// Until the model is in memory.
    fn load_ms(&self, place: &Place) -> f64 {
        let Place { lane, node, .. } = *place;
        if lane.is_hot() {
            return 0.0;
        }
        if let Some(until) = lane.loads_until {
            return ms(until.since(self.now));
        }
        let busy = node.load().saturating_sub(lane.in_flight(node.reported));
        let disturbance = (f64::from(busy) * DISTURBANCE_MS).min(MOST_DISTURBANCE_MS);
        ms(likely_load(lane)) + disturbance
    }

    /// After what time without content a second try beside this one is worth it.
    pub(super) fn patience(&self, place: &Place, predicted: &Predicted) -> Duration {
        let Place { lane, .. } = *place;
        let facts = self.facts;
        let from_ms = |ms: f64| Duration::from_secs_f64((ms / 1000.0).clamp(0.0, 86_400.0));
        let queue = from_ms(predicted.queue_ms);
        if !lane.is_hot() {
            let load = from_ms(predicted.load_ms).max(likely_load(lane));
            return load.saturating_mul(4).max(Duration::from_secs(10)) + queue;
        }
        if !facts.streams {
            let service = lane.service().or(self.usual.service);
            let usual = service.unwrap_or_else(|| from_ms(predicted.prefill_ms + predicted.decode_ms));
            let least = if service.is_some() { LEAST_WHOLE } else { LEAST_WHOLE * 2 };
            // The answer may be as long as the client lets it, and comes in one piece.
            let longest = facts.max_tokens.filter(|&most| most > facts.answer && facts.answer > 0);
            let stretch = longest.map_or(0.0, |most| {
                let each = predicted.decode_ms / facts.answer.max(1) as f64;
                each * most.min(LONGEST_ANSWER) as f64
            });
            return usual.saturating_mul(4).max(least) + from_ms(stretch) + queue;
        }
        let each = predicted.prefill_ms / facts.prompt.max(1) as f64;
        match lane.first() {
            Some(first) => {
                let beyond = facts.prompt.saturating_sub(lane.longest_prompt) as f64;
                let bound = first.saturating_mul(3).max(Duration::from_millis(400)) + from_ms(each * beyond);
                bound.min(Duration::from_secs(20)) + queue
            }
            None => Duration::from_secs(2) + from_ms(predicted.prefill_ms) + queue,
        }
    }
}

/// An answer in one piece is waited for so long at least where it is known how long answers take, twice as long where that
/// is guessed.
const LEAST_WHOLE: Duration = Duration::from_secs(1);
/// No answer is waited for longer than for one of so many tokens.
const LONGEST_ANSWER: u64 = 16_384;

/// How long the model will take to be loaded.
pub(super) fn likely_load(lane: &Lane) -> Duration {
    let learnt = lane.speed.as_ref().and_then(|speed| speed.load);
    learnt.unwrap_or_else(|| {
        let likely = (LOAD.0 + LOAD.1 * size_gb(lane)).min(MOST_LOAD_MS);
        Duration::from_secs_f64(likely / 1000.0)
    })
}

/// By how much each request beside it makes one slower. Llama.cpp's engines write 1.4 to 1.6 times as much in all with
/// many at once; vLLM batches.
fn crowding(kind: BackendKind) -> f64 {
    match kind {
        BackendKind::Ollama | BackendKind::LlamaServer | BackendKind::LlamaRouter => 0.5,
        BackendKind::LmStudio | BackendKind::OpenAi => 0.3,
        BackendKind::Vllm => 0.03,
    }
}
