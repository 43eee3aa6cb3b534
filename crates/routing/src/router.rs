//! The router itself: four verbs around the backends, what they work on, and who waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proto::{BackendState, KeepAlive, ModelName, Moment, NodeId};

use crate::breaker::Pass;
use crate::context::Need;
use crate::fleet::{Fleet, Place, is_embedding};
use crate::pace::Pace;
use crate::patience::{Patience, allowance};
use crate::queue::{Queue, Waiting};
use crate::standing::{Choice, Room, Standing, WaitsAt, Want};
use crate::tokens::{Estimate, Tokens};
use crate::{Ask, Ending, Grant, Input, JobId, Key, Output, Refusal, Settings, Verdict};

/// Places the requests of one machine on its backends.
///
/// After each call the caller carries out what [`Router::poll_output`] gives until it gives nothing more.
#[derive(Debug)]
pub struct Router {
    pub(crate) settings: Settings,
    pub(crate) fleet: Fleet,
    pub(crate) running: BTreeMap<Key, Running>,
    pub(crate) queue: Queue<Key, Want, Extra>,
    pub(crate) outputs: VecDeque<Output>,
    pace: Pace,
    tokens: Tokens,
    /// Grants so far: tells which of two requests was granted first.
    serial: u64,
    seed: u64,
    /// Running requests that should move as soon as another backend can take them.
    pub(crate) stuck: usize,
    pub(crate) patience: Patience,
    /// Whether a slot may have freed since it was last looked who is overdue.
    pub(crate) has_freed: bool,
    pub(crate) wake: Option<Moment>,
    pub(crate) is_draining: bool,
    /// Whether any backend loads, or may have a reason to: then each change may matter to its plan.
    pub(crate) loads_are_active: bool,
    /// When plans change by time alone.
    pub(crate) loads_wake: Option<Moment>,
    pub(crate) last_job: JobId,
    /// When something was last handled.
    pub(crate) now: Moment,
    /// Moves when what is worked on may have changed.
    pub(crate) work_changes: u64,
}

/// What else is known of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extra {
    pub(crate) keep_alive: Option<KeepAlive>,
    pub(crate) issuer: Option<NodeId>,
}

/// A granted request.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) want: Arc<Want>,
    pub(crate) place: Place,
    pub(crate) issuer: Option<NodeId>,
    serial: u64,
    /// `None`: it needs no slot, and says nothing about the backend.
    pass: Option<Pass>,
    pub(crate) granted: Moment,
    /// When it is looked at whether its content is overdue; `None`: never, or no longer.
    pub(crate) look: Option<Moment>,
    /// Whether its model was in memory when it was granted and it holds a slot.
    is_watched: bool,
    pub(crate) has_content: bool,
    pub(crate) is_told_to_move: bool,
}

impl Running {
    pub(crate) fn holds_slot(&self) -> bool {
        self.pass.is_some()
    }
}

impl Router {
    /// A router without backends. `seed` decides only who goes first among equals.
    pub fn new(settings: Settings, seed: u64) -> Router {
        Router {
            settings,
            fleet: Fleet::default(),
            running: BTreeMap::new(),
            queue: Queue::default(),
            outputs: VecDeque::new(),
            pace: Pace::default(),
            tokens: Tokens::default(),
            serial: 0,
            seed,
            stuck: 0,
            patience: Patience::default(),
            has_freed: false,
            wake: None,
            is_draining: false,
            loads_are_active: false,
            loads_wake: None,
            last_job: 0,
            now: Moment::default(),
            work_changes: 0,
        }
    }

    /// Takes in that `input` happened at `now`.
    pub fn handle(&mut self, input: Input, now: Moment) {
        self.now = now;
        let is_work = !matches!(input, Input::Counted { .. } | Input::Timed { .. } | Input::FirstContent(_));
        match input {
            Input::Arrive(key, ask) => self.arrive(key, ask, now),
            Input::Leave(key) => self.leave(key, now),
            Input::FirstContent(key) => self.first_content(key, now),
            Input::Finish(key, ending) => self.finish(key, ending, now),
            Input::Backends(states) => self.replace_backends(states, now),
            Input::JobEnded { id, result } => self.job_ended(id, result, now),
            Input::Memory { backend, free_bytes, total_bytes } => {
                self.take_memory(backend.as_ref(), free_bytes, total_bytes, now);
            }
            Input::Wish { model, backend, wish } => self.wish(&model, backend.as_ref(), wish, now),
            Input::Counted { model, text_bytes, media, prompt_tokens, completion_tokens } => {
                self.tokens.counted(&model, text_bytes, media, prompt_tokens, completion_tokens);
            }
            Input::Timed { backend, model, prompt_tokens, prefill, completion_tokens, decode } => {
                let lanes = self.fleet.backends.iter_mut().filter(|known| known.state.id == backend);
                if let Some(lane) = lanes.flat_map(|known| &mut known.lanes).find(|lane| lane.has(&model)) {
                    lane.turn.rates.timed(prompt_tokens, prefill, completion_tokens, decode);
                }
            }
            Input::Drain => self.drain(),
        }
        let before = self.outputs.len();
        self.settle(now);
        self.work_changes += u64::from(is_work || self.outputs.len() != before);
    }

    /// When [`Router::handle_timeout`] must be called at the latest; `None`: time alone changes nothing.
    pub fn poll_timeout(&self) -> Option<Moment> {
        [self.wake, self.loads_wake, self.patience.wake()].into_iter().flatten().min()
    }

    /// Takes in that it is `now`. Calling it too early does no harm.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.now = now;
        let before = self.outputs.len();
        self.settle(now);
        self.work_changes += u64::from(self.outputs.len() != before);
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Tokens that `model` will probably make of a prompt of so many bytes of text and so many images.
    pub fn estimate(&self, model: &ModelName, text_bytes: u64, media: u32) -> Estimate {
        self.tokens.estimate(model, text_bytes, media)
    }

    fn arrive(&mut self, key: Key, ask: Ask, now: Moment) {
        if self.running.contains_key(&key) || self.queue.contains(key) {
            return;
        }
        if self.is_draining {
            return self.refuse(key, Refusal::Draining);
        }
        let Ask { api, models, app, text_bytes, media, max_tokens, context_wanted, cuts, .. } = ask;
        let Ask { keep_alive, excluded, streams, waited_since, most_ahead, issuer, .. } = ask;
        let with = Extra { keep_alive, issuer };
        if !excluded.is_empty() {
            self.has_freed |= self.patience.resume();
        }
        let needs = models.first().map(|model| self.tokens.needs(model, text_bytes, media, max_tokens));
        let (prompt, estimated_tokens) = needs
            .map_or((0, 0), |needs| (needs.prompt.tokens, needs.prompt.tokens.saturating_add(needs.likely_answer)));
        let need = needs.filter(|_| api.needs_slot()).map_or(Need::default(), |needs| {
            let answer = if is_embedding(api) { 0 } else { needs.answer_room };
            let (prompt, likely) = (needs.prompt.at_most, needs.prompt.tokens);
            Need { prompt, likely, answer, wanted: context_wanted, cuts }.rounded()
        });
        let allowance = streams.then(|| allowance(prompt));
        let want = Arc::new(Want { models, api, excluded, allowance, need });
        match self.fleet.standing(&want, None, now) {
            Standing::Hopeless => self.refuse(key, self.fleet.refusal(&want)),
            Standing::Refused(refusal) => self.refuse(key, refusal),
            // Nobody is overtaken: who waits and could go now has gone in `settle`, unless only time has passed.
            Standing::Free { model, places } if self.queue.is_empty() => {
                self.grant(key, want, model, places, (now, with), now);
            }
            _ => {
                self.queue.push(key, Waiting { want, app, estimated_tokens, waited_since, enqueued: now, with });
                self.grant_waiting(now);
                if most_ahead.is_some_and(|most| self.is_occupied(key, most, now)) {
                    self.queue.remove(key);
                    return self.refuse(key, Refusal::Occupied);
                }
                if self.queue.len() > self.settings.queue_size && self.queue.remove(key).is_some() {
                    let waiting = self.queue.len();
                    self.refuse(key, Refusal::QueueFull { waiting, retry_after: self.pace.time_for(waiting) });
                }
            }
        }
    }

    /// Whether request `key` waits for something else than a load, behind `most` others or more.
    fn is_occupied(&self, key: Key, most: u32, now: Moment) -> bool {
        let Some(request) = self.queue.get(key) else { return false };
        let waits_for_load = matches!(
            self.fleet.standing(&request.want, None, now),
            Standing::Busy { at: Some(WaitsAt { load: Some(_), .. }), .. }
        );
        let ahead = request.want.models.first().map_or(0, |name| self.queue.waiting_under(name)).saturating_sub(1);
        !waits_for_load && ahead >= most as usize
    }

    fn leave(&mut self, key: Key, now: Moment) {
        self.outputs.retain(|output| output.key() != Some(key));
        if self.queue.remove(key).is_none() {
            self.finish(key, Ending::ClientLeft, now);
        }
    }

    fn first_content(&mut self, key: Key, now: Moment) {
        let Some(running) = self.running.get_mut(&key).filter(|running| !running.has_content) else { return };
        running.has_content = true;
        let look = running.look.take();
        if let Some(at) = look {
            self.patience.forget(key, at);
        }
        let Some(pass) = running.pass else { return };
        let backend = &mut self.fleet.backends[running.place.backend];
        backend.answering += 1;
        backend.breaker.proved(pass, backend.working.saturating_sub(1));
        let lane = &mut backend.lanes[running.place.lane];
        lane.learning.content(key, now);
        if running.is_watched {
            lane.seen.content(now.since(running.granted));
        }
    }

    fn finish(&mut self, key: Key, ending: Ending, now: Moment) {
        if ending == Ending::Answered {
            // An answer in one piece is content too.
            self.first_content(key, now);
        }
        let Some(running) = self.running.remove(&key) else { return };
        self.outputs.retain(|output| !matches!(output, Output::Move(moving) if *moving == key));
        if let Some(at) = running.look {
            self.patience.forget(key, at);
        }
        let backend = &mut self.fleet.backends[running.place.backend];
        let lane = &mut backend.lanes[running.place.lane];
        match ending {
            Ending::Answered | Ending::Refused4xx => lane.completed += 1,
            Ending::Busy503 | Ending::Failed | Ending::Broke => lane.failed += 1,
            Ending::ClientLeft => {}
        }
        let Some(pass) = running.pass else {
            lane.light -= 1;
            backend.light -= 1;
            return;
        };
        self.has_freed = true;
        lane.turn.used = now;
        if ending == Ending::Answered {
            lane.turn.answers.add(now.since(running.granted));
        }
        lane.working -= 1;
        backend.working -= 1;
        backend.answering -= u32::from(running.has_content);
        if is_embedding(running.want.api) {
            lane.embedding -= 1;
        }
        lane.learning.ended(key, running.serial, now);
        match ending {
            Ending::Answered => {}
            Ending::Refused4xx if !running.has_content => backend.breaker.proved(pass, backend.working),
            Ending::Refused4xx | Ending::ClientLeft => backend.breaker.left(pass),
            Ending::Busy503 => backend.breaker.said_busy(pass, backend.working, now),
            Ending::Failed => backend.breaker.failed(pass, now),
            Ending::Broke => backend.breaker.broke(pass, backend.working),
        }
        self.pace.ended(!self.queue.is_empty(), now);
    }

    fn replace_backends(&mut self, states: Vec<Arc<BackendState>>, now: Moment) {
        self.loads_are_active = true;
        let moved = self.fleet.replace(states, now);
        self.stuck = 0;
        self.has_freed = true;
        for running in self.running.values_mut() {
            // Every place with work is kept.
            running.place = moved.get(&running.place).copied().unwrap_or(running.place);
            let is_lost = self.fleet.backend(running.place).is_lost();
            self.stuck += usize::from(is_lost && !running.has_content && !running.is_told_to_move);
        }
    }

    fn drain(&mut self) {
        self.is_draining = true;
        let waiting: Vec<Key> = self.queue.keys().collect();
        for key in waiting {
            self.queue.remove(key);
            self.refuse(key, Refusal::Draining);
        }
    }

    /// Brings everybody to rest: grants what can be granted, refuses who has waited in vain, loads what is waited for,
    /// moves who is stuck.
    fn settle(&mut self, now: Moment) {
        self.wake = None;
        if !self.queue.is_empty() || self.loads_are_active {
            self.settle_waiting(now);
        } else {
            self.loads_wake = None;
        }
        if self.stuck > 0 {
            self.move_stuck(now);
        }
        self.move_overdue(now);
    }

    pub(crate) fn grant(
        &mut self,
        key: Key,
        want: Arc<Want>,
        model: usize,
        mut places: Vec<Choice>,
        (enqueued, with): (Moment, Extra),
        now: Moment,
    ) {
        let Some(first) = places.first().copied() else { return };
        let ties = places.iter().take_while(|place| self.fleet.order(&first, place, want.api).is_eq()).count();
        places[..ties].rotate_left((self.seed % ties.max(1) as u64) as usize);
        let candidates = places.iter().map(|choice| self.fleet.candidate(choice, &want, model)).collect();

        let Choice { place, room, context, mut verdict } = places[0];
        self.serial += 1;
        let backend = &mut self.fleet.backends[place.backend];
        let lane = &mut backend.lanes[place.lane];
        if room == Room::Probe {
            lane.learning.begin(key, self.serial, lane.working);
        }
        lane.granted[usize::from(room == Room::Light)] = self.serial;
        let pass = if room == Room::Light {
            lane.light += 1;
            backend.light += 1;
            None
        } else {
            lane.working += 1;
            backend.working += 1;
            lane.embedding += u32::from(is_embedding(want.api));
            lane.turn.used = now;
            if let Some(wish) = with.keep_alive.filter(|_| backend.loads.is_some()) {
                lane.turn.wishes.keep_alive(wish);
                self.loads_are_active = true;
            }
            Some(backend.breaker.enter())
        };
        let waited = pass.and_then(|_| lane.waited_for_load(enqueued, want.need.whole()));
        if let (Verdict::Kept, Some((_, true))) = (verdict, waited) {
            verdict = Verdict::Grown;
        }
        let loaded_for = waited.map(|(waited, _)| waited);
        let is_watched = pass.is_some() && lane.is_loaded();
        let look = want.allowance.filter(|_| is_watched).map(|allowance| now + lane.seen.bound() + allowance);
        if let Some(at) = look {
            self.patience.watch(key, at);
        }
        let queued = now.since(enqueued);
        let state = Arc::clone(&backend.state);
        let grant = Grant { backend: state, model, candidates, queued, context, verdict, loaded_for };
        let serial = self.serial;
        let running = Running {
            want,
            place,
            issuer: with.issuer,
            serial,
            pass,
            granted: now,
            look,
            is_watched: look.is_some(),
            has_content: false,
            is_told_to_move: false,
        };
        self.running.insert(key, running);
        self.outputs.push_back(Output::Grant(key, grant));
    }

    pub(crate) fn refuse(&mut self, key: Key, refusal: Refusal) {
        self.outputs.push_back(Output::Refuse(key, refusal));
    }
}

impl Output {
    fn key(&self) -> Option<Key> {
        match self {
            Output::Grant(key, _) | Output::Refuse(key, _) | Output::Move(key) => Some(*key),
            Output::Load(_) | Output::Unload(_) => None,
        }
    }
}
