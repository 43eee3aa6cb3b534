//! Ranks the requests of the whole fleet, and binds each to a node when a slot there is its.
//!
//! One on each node. The leader's keeps the one queue of the fleet: what every door asks for waits there until a slot
//! of the node that will have answered it first is free. Without a leader each door asks its own, which sends
//! everything to nodes at once and lets it wait there. Knows nodes only by what they report and by what was sent there.

mod affinity;
mod board;
mod choosing;
mod ending;
mod lane;
mod predicting;
mod reasons;
mod roll;
mod settling;
mod views;
mod want;
mod words;

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proto::{ModelName, Moment, NodeId};

use crate::breaker::Pass;
use crate::pace::Pace;
use crate::queue::{Queue, Waiting};
use crate::tokens::Tokens;
use crate::{Estimate, Refusal};
use affinity::Sessions;
use board::{Board, UNKNOWN_RTT};
use choosing::{Chooser, Decision, Reserved};
pub use views::{FleetView, LaneView, Stranded};
use want::{Facts, Want};
pub use words::*;

/// Requests with tickets; beyond that nothing more is placed until some have ended.
const MOST_TICKETS: usize = 1 << 16;
/// Doors whose distance is remembered.
const MOST_DOORS: usize = 1024;
/// Whoever has waited so long or was tried comes back rather than anew: the bound of the queue is doubled for those.
const COMES_BACK: Duration = Duration::from_millis(100);

/// Places the requests of many doors on the nodes of a fleet.
///
/// After each call the caller carries out what [`Scheduler::poll_output`] gives until it gives nothing more. At most
/// [`FleetSettings::queue_size`] new requests wait.
#[derive(Debug)]
pub struct Scheduler {
    settings: FleetSettings,
    me: NodeId,
    seed: u64,
    is_leading: bool,
    board: Board,
    queue: Queue<AskId, Want, Facts>,
    tickets: BTreeMap<AskId, Ticket>,
    sessions: Sessions,
    tokens: Tokens,
    pace: Pace,
    doors: BTreeMap<NodeId, Duration>,
    outputs: VecDeque<FleetOutput>,
    /// Tickets so far.
    serial: u64,
    wake: Option<Moment>,
    /// Whether those that wait may stand otherwise than at the last look.
    looks: bool,
}

/// A request that was sent to a node.
#[derive(Debug)]
struct Ticket {
    lane: usize,
    lane_serial: u64,
    sent: Moment,
    /// `None`: it needs no slot, and says nothing about the backend.
    pass: Option<Pass>,
    facts: Facts,
    was_hot: bool,
    patience: Option<Duration>,
}

/// A request that is to be placed.
struct Asked<'a> {
    id: AskId,
    want: &'a Want,
    facts: &'a Facts,
    enqueued: Moment,
}

impl Scheduler {
    /// A scheduler without nodes, on node `me`, that does not lead. `seed` decides only who goes first among equals.
    pub fn new(settings: FleetSettings, me: NodeId, seed: u64) -> Scheduler {
        Scheduler {
            settings,
            me,
            seed,
            is_leading: false,
            board: Board::default(),
            queue: Queue::default(),
            tickets: BTreeMap::new(),
            sessions: Sessions::default(),
            tokens: Tokens::default(),
            pace: Pace::default(),
            doors: BTreeMap::new(),
            outputs: VecDeque::new(),
            serial: 0,
            wake: None,
            looks: false,
        }
    }

    /// Whether it keeps the queue of the fleet. One that does not sends requests to nodes at once, up to 32 beyond the
    /// slots there, and lets them wait there.
    pub fn set_leading(&mut self, is_leading: bool, now: Moment) {
        self.is_leading = is_leading;
        self.settle(None, now);
    }

    /// Takes over what the owner chose anew. Who waits already stays.
    pub fn set_settings(&mut self, settings: FleetSettings, now: Moment) {
        self.settings = settings;
        self.looks = true;
        self.settle(None, now);
    }

    /// Takes in that `input` happened at `now`.
    pub fn handle(&mut self, input: FleetInput, now: Moment) {
        match input {
            FleetInput::Nodes(reports) => {
                self.board.replace(reports, self.me, now);
                self.looks = true;
            }
            FleetInput::Shares(node, shares) => {
                if let Some(node) = self.board.find_mut(node) {
                    node.shares = shares;
                }
                self.looks = true;
            }
            FleetInput::Work(node, work) => {
                self.looks |= work.lanes.iter().any(|lane| lane.rests.is_some());
                self.board.works(node, work, self.me, now);
                if self.tickets.len() >= MOST_TICKETS / 2 {
                    self.forget_lost(now);
                }
            }
            FleetInput::Speeds(node, speeds) => self.board.speeds(node, speeds),
            FleetInput::Arrive(id, ask) => return self.arrive(id, &ask, now),
            FleetInput::Leave(id) => return self.leave(id, now),
            FleetInput::Ended(id, ended) => return self.ended(id, ended, now),
            FleetInput::DoorGone(door) => {
                self.forget(|id| id.door == door, now);
                self.doors.remove(&door);
            }
            FleetInput::Retire => self.forget(|_| true, now),
            FleetInput::Counted { model, text_bytes, images, prompt_tokens, completion_tokens } => {
                self.tokens.counted(&model, text_bytes, images, prompt_tokens, completion_tokens);
                return;
            }
        }
        self.settle(None, now);
    }

    /// When [`Scheduler::handle_timeout`] must be called at the latest; `None`: time alone changes nothing.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.wake
    }

    /// Takes in that it is `now`. Calling it too early does no harm.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.looks = true;
        self.settle(None, now);
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<FleetOutput> {
        self.outputs.pop_front()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Tokens that `model` will probably make of a prompt of so many bytes of text and so many images.
    pub fn estimate(&self, model: &ModelName, text_bytes: u64, images: u32) -> Estimate {
        self.tokens.estimate(model, text_bytes, images)
    }

    fn arrive(&mut self, id: AskId, ask: &FleetAsk, now: Moment) {
        if self.tickets.contains_key(&id) || self.queue.contains(id) {
            return;
        }
        let Some(model) = ask.models.first() else {
            return self.refuse(id, Refusal::UnknownModel { model: String::new() });
        };
        let needs = self.tokens.needs(model, ask.text_bytes, ask.images, ask.max_tokens);
        let (want, facts) = Want::new(id.door, ask, Some(&needs));
        if self.doors.len() >= MOST_DOORS {
            self.doors.clear();
        }
        self.doors.insert(id.door, facts.rtt);
        let is_first = ask.now_only || !want.api.needs_slot() || self.queue.waiting_under(model) == 0;
        let mut is_busy = false;
        if is_first {
            let again = Cell::new(None);
            match self.decide(&want, &facts, &Reserved::default(), &again, now) {
                Decision::Go(pick) => {
                    return self.issue(&Asked { id, want: &want, facts: &facts, enqueued: now }, *pick, now);
                }
                Decision::Wait { .. } => is_busy = true,
                Decision::Nobody => {
                    if let crate::standing::Standing::Refused(refusal) = self.board.standing(&want, now) {
                        return self.refuse(id, refusal);
                    }
                }
            }
            self.wake_by(again.get(), now);
        }
        if ask.now_only {
            return self.refuse(id, Refusal::Occupied);
        }
        let comes_back = !want.excluded.is_empty() || now.since(ask.waited_since) >= COMES_BACK;
        let bound = self.settings.queue_size.saturating_mul(if comes_back { 2 } else { 1 });
        let estimated_tokens = needs.prompt.tokens.saturating_add(needs.likely_answer);
        let models = want.models.clone();
        let want = Arc::new(want);
        let waiting = Waiting {
            want: Arc::clone(&want),
            app: ask.app.clone(),
            estimated_tokens,
            waited_since: ask.waited_since,
            enqueued: now,
            with: facts,
        };
        self.queue.push(id, waiting);
        if is_busy {
            self.queue.is_busy(&want);
        } else {
            self.looks = true;
        }
        self.settle(Some(&models), now);
        if self.queue.len() > bound && self.queue.remove(id).is_some() {
            let waiting = self.queue.len();
            self.refuse(id, Refusal::QueueFull { waiting, retry_after: self.pace.time_for(waiting) });
        }
    }

    fn decide(
        &self,
        want: &Want,
        facts: &Facts,
        reserved: &Reserved,
        again: &Cell<Option<Moment>>,
        now: Moment,
    ) -> Decision {
        if self.tickets.len() >= MOST_TICKETS {
            return Decision::Nobody;
        }
        let home = facts.session.and_then(|session| self.sessions.home(session, now));
        self.chooser(again, now).decide(want, facts, home, reserved)
    }

    fn chooser<'a>(&'a self, again: &'a Cell<Option<Moment>>, now: Moment) -> Chooser<'a> {
        let (board, scoring, is_leading, seed) = (&self.board, self.settings.scoring, self.is_leading, self.seed);
        Chooser { board, scoring, is_leading, seed, now, again }
    }

    fn rtt_of(&self, door: NodeId) -> Duration {
        self.doors.get(&door).copied().unwrap_or(UNKNOWN_RTT)
    }

    fn refuse(&mut self, id: AskId, refusal: Refusal) {
        self.outputs.push_back(FleetOutput::Refuse(id, refusal));
    }
}

impl FleetOutput {
    fn id(&self) -> AskId {
        match self {
            FleetOutput::Ticket(id, _) | FleetOutput::Refuse(id, _) => *id,
        }
    }
}
