//! Ranks the requests of the whole fleet, and binds each to a node when a slot there is its.
//!
//! One on each node. The leader's keeps the one queue of the fleet: what every door asks for waits there until a slot
//! of the node that will have answered it first is free. Without a leader each door asks its own, which sends
//! everything to nodes at once and lets it wait there. Knows nodes only by what they report and by what was sent there.

mod affinity;
mod board;
mod choosing;
mod lane;
mod predicting;
mod reasons;
mod views;
mod want;
mod words;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proto::{ModelName, Moment, NodeId};

use crate::breaker::Pass;
use crate::pace::Pace;
use crate::queue::{Queue, Waiting};
use crate::tokens::Tokens;
use crate::{Ending, Estimate, Refusal};
use affinity::Sessions;
use board::Board;
use choosing::{Chooser, Decision, Pick, Reserved};
use lane::number;
pub use views::{FleetView, LaneView, Stranded};
use want::{Facts, Want};
pub use words::*;

/// In one round so many may be passed over because they wait for something better than what is free. The next one is
/// asked as if it were the last of all: is that still better if all others wait for it too?
const PASSED: usize = 8;
/// Requests with tickets; beyond that nothing more is placed until some have ended.
const MOST_TICKETS: usize = 1 << 16;
/// After so long a ticket for a lane that works on nothing of ours is as good as ended.
const LOST: Duration = Duration::from_secs(600);
/// Doors whose distance is remembered.
const MOST_DOORS: usize = 1024;
/// Whoever has waited so long or was tried comes back rather than anew: the bound of the queue is doubled for those.
const COMES_BACK: Duration = Duration::from_millis(100);
/// Assumed where nobody has learnt it.
const UNKNOWN_RTT: Duration = Duration::from_millis(1);

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

    fn leave(&mut self, id: AskId, now: Moment) {
        self.outputs.retain(|output| output.id() != id);
        if self.queue.remove(id).is_none()
            && let Some(freed) = self.drop_ticket(id, now)
        {
            self.settle(Some(&freed), now);
        } else if self.queue.is_empty() {
            self.wake = None;
        }
    }

    /// Forgets everything of those that are `meant`.
    fn forget(&mut self, meant: impl Fn(&AskId) -> bool, now: Moment) {
        self.outputs.retain(|output| !meant(&output.id()));
        let waiting: Vec<AskId> = self.queue.keys().filter(&meant).collect();
        waiting.into_iter().for_each(|id| _ = self.queue.remove(id));
        let placed: Vec<AskId> = self.tickets.keys().copied().filter(&meant).collect();
        placed.into_iter().for_each(|id| _ = self.drop_ticket(id, now));
    }

    /// Forgets tickets whose ends were never told, going by what nodes say.
    fn forget_lost(&mut self, now: Moment) {
        let is_lost = |ticket: &Ticket| {
            let lane = self.board.lane(ticket.lane).filter(|lane| lane.serial == ticket.lane_serial);
            now.since(ticket.sent) > LOST && lane.is_none_or(|lane| !lane.is_told_of_mine())
        };
        let lost: Vec<AskId> = self.tickets.iter().filter(|(_, it)| is_lost(it)).map(|(id, _)| *id).collect();
        lost.into_iter().for_each(|id| _ = self.drop_ticket(id, now));
    }

    /// Forgets a ticket that says nothing about where it went. Answers the names of the model whose slot is free.
    fn drop_ticket(&mut self, id: AskId, now: Moment) -> Option<Vec<ModelName>> {
        let ticket = self.tickets.remove(&id)?;
        let lane = self.board.lane_mut(ticket.lane).filter(|lane| lane.serial == ticket.lane_serial)?;
        let names = lane.names.clone();
        if let Some(pass) = ticket.pass {
            lane.breaker.left(pass);
            self.board.over(ticket.lane, id, ticket.sent, now);
        }
        Some(names)
    }

    fn ended(&mut self, id: AskId, ended: Ended, now: Moment) {
        let Some(ticket) = self.tickets.remove(&id) else { return };
        let Some(lane) = self.board.lane_mut(ticket.lane).filter(|lane| lane.serial == ticket.lane_serial) else {
            return;
        };
        // The one model of a server that ignores names is known by any.
        let freed = (!lane.backend.ignores_model_name).then(|| lane.names.clone());
        let Some(pass) = ticket.pass else { return };
        let others = number(lane.tickets.len().saturating_sub(1));
        let session = ticket.facts.session;
        match ended.ending {
            FleetEnding::Backend(Ending::Answered) => {
                let first = ended.first.unwrap_or(ended.took);
                if lane.is_distrusted && ticket.patience.is_some_and(|patience| first > patience) {
                    lane.breaker.left(pass);
                } else {
                    lane.is_distrusted = false;
                    lane.breaker.proved(pass, others);
                }
                let first = ended.first.filter(|_| ticket.facts.streams);
                lane.answered(ended.took, first, ticket.facts.prompt, ticket.was_hot);
                self.board.answered(ticket.lane);
                if let Some(session) = session {
                    let tokens = ticket.facts.prompt.saturating_add(ticket.facts.answer);
                    self.sessions.put(session, ticket.lane_serial, tokens, now);
                }
            }
            FleetEnding::Backend(Ending::Refused4xx) => lane.breaker.proved(pass, others),
            FleetEnding::Backend(Ending::ClientLeft) => lane.breaker.left(pass),
            FleetEnding::Backend(Ending::Busy503) => lane.breaker.said_busy(pass, others, now),
            FleetEnding::Backend(Ending::Failed | Ending::Broke) => lane.breaker.failed(pass, now),
            FleetEnding::TooSlow => {
                lane.breaker.failed(pass, now);
                lane.is_distrusted = true;
            }
            FleetEnding::Bounced => {
                lane.breaker.left(pass);
                lane.bounced(now);
            }
        }
        let is_well =
            matches!(ended.ending, FleetEnding::Backend(Ending::Answered | Ending::Refused4xx | Ending::ClientLeft));
        if !is_well {
            self.looks = true;
            if let Some(session) = session {
                self.sessions.forget(session, Some(ticket.lane_serial));
            }
        }
        self.board.over(ticket.lane, id, ticket.sent, now);
        self.pace.ended(!self.queue.is_empty(), now);
        self.settle(freed.as_deref(), now);
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

    fn issue(&mut self, asked: &Asked, pick: Pick, now: Moment) {
        let Asked { id, want, facts, enqueued } = *asked;
        let Some(lane) = self.board.lane_mut(pick.lane) else { return };
        self.serial += 1;
        let (lane_serial, backend) = (lane.serial, lane.backend.id.clone());
        let pass = want.api.needs_slot().then(|| lane.breaker.enter());
        if pick.is_probe {
            lane.probed(now);
        }
        let Some(node) = self.board.lane(pick.lane).and_then(|lane| self.board.node_of(lane)) else { return };
        let node = node.report.id;
        if pass.is_some() {
            self.board.sent(pick.lane, id, self.serial, now);
            if let Some(session) = facts.session {
                self.sessions.put(session, lane_serial, facts.prompt, now);
            }
        }
        let ticket = Ticket {
            lane: pick.lane,
            lane_serial,
            sent: now,
            pass,
            facts: *facts,
            was_hot: pick.is_hot,
            patience: pick.patience,
        };
        self.tickets.insert(id, ticket);
        let Pick { model, ahead, patience, candidates, .. } = pick;
        let queued = now.since(enqueued);
        let ticket = FleetTicket { node, backend, model, ahead, patience, candidates, queued };
        self.outputs.push_back(FleetOutput::Ticket(id, ticket));
    }

    fn refuse(&mut self, id: AskId, refusal: Refusal) {
        self.outputs.push_back(FleetOutput::Refuse(id, refusal));
    }

    fn wake_by(&mut self, at: Option<Moment>, now: Moment) {
        self.wake = [self.wake.filter(|wake| *wake > now), at].into_iter().flatten().min();
    }

    /// Brings everybody to rest: sends who can be sent, refuses who has waited in vain. `only`: room may have come for
    /// these models only.
    fn settle(&mut self, only: Option<&[ModelName]>, now: Moment) {
        if self.queue.is_empty() {
            self.wake = None;
            self.looks = false;
            return;
        }
        let again = Cell::new(None);
        self.place_waiting(only, &again, now);
        if self.looks || only.is_none() {
            // Everything was looked at: the old alarm is not needed any more.
            self.wake = None;
        }
        self.wake_by(again.get(), now);
        if std::mem::take(&mut self.looks) {
            self.look(now);
        }
        if self.queue.is_empty() {
            self.wake = None;
        }
    }

    fn place_waiting(&mut self, only: Option<&[ModelName]>, again: &Cell<Option<Moment>>, now: Moment) {
        let mut passed: BTreeSet<AskId> = BTreeSet::new();
        let mut reserved = Reserved::default();
        let mut owner_first = true;
        let mut is_last = false;
        loop {
            let chooser = self.chooser(again, now);
            let rank = |want: &Want| {
                if only.is_some_and(|only| !want.models.iter().any(|model| only.contains(model))) {
                    return None;
                }
                let rank = chooser.rank(want, self.rtt_of(want.door))?;
                Some(if owner_first { rank } else { rank.max(1) })
            };
            let Some(next) = self.queue.turn(now, rank, |id| passed.contains(id)) else { return };
            let Some(request) = self.queue.get(next.key) else { return };
            let want = Arc::clone(&request.want);
            let facts = request.with;
            match self.decide(&want, &facts, &reserved, again, now) {
                Decision::Go(pick) => {
                    let is_own = |lane| self.board.node_of(lane).is_some_and(|node| node.report.id == want.door);
                    if next.rank == 0 && !next.by_age && !self.board.lane(pick.lane).is_some_and(is_own) {
                        // It is first only for its own machine.
                        owner_first = false;
                        continue;
                    }
                    let Some((id, request)) = self.queue.take(next) else { return };
                    self.issue(&Asked { id, want: &want, facts: &facts, enqueued: request.enqueued }, *pick, now);
                    continue;
                }
                Decision::Wait { lane, .. } => {
                    reserved.add(lane);
                    passed.insert(next.key);
                }
                Decision::Nobody => _ = passed.insert(next.key),
            }
            if passed.len() >= PASSED {
                if std::mem::replace(&mut is_last, true) {
                    return;
                }
                let lanes = self.board.holders(&want.models).next().map_or(&[][..], |(_, lanes, _)| lanes);
                let others = want.models.first().map_or(0, |model| self.queue.waiting_under(model));
                reserved.spread(others.saturating_sub(passed.len() + 1), lanes, &self.board);
            }
        }
    }

    /// Looks how those stand that wait, and refuses whose patience is at its end.
    fn look(&mut self, now: Moment) {
        let board = &self.board;
        let looked = self.queue.look(now, self.settings.queue_wait, |want| board.standing(want, now), |_, _, _| {});
        for id in looked.impatient {
            if let Some(request) = self.queue.remove(id) {
                self.refuse(id, self.board.out_of_reach(&request.want, now));
            }
        }
        for (id, refusal) in looked.refused {
            if self.queue.remove(id).is_some() {
                self.refuse(id, refusal);
            }
        }
        self.wake_by(looked.wake, now);
    }
}

impl FleetOutput {
    fn id(&self) -> AskId {
        match self {
            FleetOutput::Ticket(id, _) | FleetOutput::Refuse(id, _) => *id,
        }
    }
}
