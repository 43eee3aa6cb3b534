//! Takes in what a backend says is in memory: other programs load and unload there too.

use std::time::Duration;

use proto::{BackendKind, Health, Moment};

use super::turn::Grown;
use super::{Before, Loads};
use crate::fleet::Backend;
use crate::lane::{InMemory, Lane};

/// How long it is remembered how far a model was grown, and what was too much.
pub(super) const REMEMBERED: Duration = Duration::from_secs(3600);
const DOUBTED: Duration = Duration::from_secs(300);
/// No guess about memory forbids this.
const LEAST_CONTEXT: u64 = 4096;

impl Backend {
    /// The backend was looked at. `is_new`: for the first time.
    pub(crate) fn told(&mut self, is_new: bool, now: Moment) {
        let Some(mut loads) = self.loads.take() else { return };
        if matches!(self.state.health, Health::Down { .. }) {
            loads.forget();
            self.lanes.iter_mut().for_each(|lane| lane.turn.assumed = None);
        }
        self.forget_deleted();
        let slots = self.state.slots.unwrap_or(1);
        let is_confirmed = loads.before.as_ref().is_some_and(|before| {
            // What we loaded is told to be there, so this look was after the load.
            let is_fresh = |lane: &Lane| lane.turn.assumed.is_some_and(|assumed| assumed.memory.is_some());
            let is_there = |lane: &Lane| is_fresh(lane) && lane.turn.told.is_some() && !before.has(lane);
            before.has_failed || self.lanes.iter().any(is_there)
        });
        if is_confirmed {
            loads.confirm = None;
        }
        for lane in &mut self.lanes {
            if let Some(model) = lane.names.first().and_then(|name| self.state.model(name)) {
                lane.turn.sizes.describe(model, slots);
            }
            if let Some(InMemory { context: Some(context), size: Some(size) }) = lane.turn.told {
                lane.turn.sizes.see(context, size);
            }
            lane.believe(now);
            if lane.memory.is_some() && lane.turn.was.is_none() && !is_new && lane.turn.assumed.is_none() {
                lane.turn.began = lane.turn.began.max(now);
            }
            lane.turn.was = lane.memory;
            let is_wanted = lane.is_loaded() || lane.turn.wants_since.is_some();
            lane.turn.wishes.unload &= is_wanted;
        }
        loads.notice_who_left(&self.lanes, now);
        loads.before.take_if(|before| now > before.until);
        if self.state.health.is_up() {
            let told = self.lanes.iter().filter_map(|lane| lane.turn.told);
            let bytes = told.clone().map(|memory| memory.size.unwrap_or_default()).sum();
            loads.room.see(told.count(), bytes);
        }
        self.loads = Some(loads);
        self.limit_contexts(now);
    }

    /// Works out how much context each model can have.
    pub(crate) fn limit_contexts(&mut self, now: Moment) {
        let Some(loads) = &self.loads else { return };
        let total = loads.room.bytes.map(|(_, total)| total / 10 * 9);
        for lane in &mut self.lanes {
            let turn = &mut lane.turn;
            turn.ceiling = turn.ceiling.filter(|ceiling| now < ceiling.until);
            turn.grown = turn.grown.filter(|grown| now < grown.until);
            let in_memory = total
                .filter(|_| self.state.kind == BackendKind::Ollama)
                .and_then(|total| turn.sizes.context_in(total))
                .map(|context| context.max(LEAST_CONTEXT));
            lane.knows_memory = in_memory.is_some();
            let ceiling = turn.ceiling.map(|ceiling| ceiling.context);
            lane.most = [turn.trained, ceiling, in_memory].into_iter().flatten().min();
        }
    }
}

impl Loads {
    /// Whoever was in memory when the last load of ours began and is no more had to leave for it: that was one too many.
    pub(super) fn notice_who_left(&mut self, lanes: &[Lane], now: Moment) {
        let has_left = |before: &mut Before| {
            !before.has_failed && lanes.iter().any(|lane| lane.memory.is_none() && before.has(lane))
        };
        if self.before.take_if(has_left).is_some() {
            let stay = lanes.iter().filter(|lane| lane.is_loaded()).count();
            self.room.limit(stay, now);
        }
    }
}

impl Lane {
    /// Decides between what the backend said and what a job of ours did just before.
    pub(super) fn believe(&mut self, now: Moment) {
        let turn = &mut self.turn;
        if let Some(assumed) = turn.assumed {
            let asked = assumed.memory.and_then(|memory| memory.context);
            // The server gave less than was asked for. Where it is known what the model was trained for, this may have
            // been another program's doing.
            if let (Some(asked), Some(got)) = (asked, turn.told.and_then(|told| told.context))
                && got < asked
                && now >= assumed.until
            {
                let until = now + if turn.trained.is_none() { REMEMBERED } else { DOUBTED };
                turn.ceiling = Some(Grown { context: got, until });
            }
            if now >= assumed.until || agree(assumed.memory, turn.told) {
                turn.assumed = None;
            }
        }
        self.memory = turn.assumed.map_or(turn.told, |assumed| assumed.memory);
    }
}

/// Whether the backend says what we did.
fn agree(assumed: Option<InMemory>, told: Option<InMemory>) -> bool {
    match (assumed, told) {
        (None, None) => true,
        (Some(assumed), Some(told)) => {
            assumed.context == told.context || told.context.is_none() || assumed.context.is_none()
        }
        _ => false,
    }
}
