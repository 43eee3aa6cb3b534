//! Has the requests of this machine's door placed in the fleet, and, while this node leads, those of all doors.
//!
//! Requests that wait belong to their door. The leader only ranks them, so nothing is lost with it: where it falls silent,
//! or there is none, the door decides by itself with the same scheduler. The data path never depends on the election.
//!
//! One lock around the scheduler, held for the microseconds of a decision and never across anything else; what came of
//! it is sent when it is released. A machine alone never comes here.

mod keeper;
mod mail;
mod messages;
mod news;
#[cfg(test)]
mod tests;
mod translate;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use dialect::{Cause, Failure};
use gateway::TicketEnding;
use mesh::Transport;
use proto::wire::Envelope;
use proto::{Clock, ModelName, Moment, NodeId, Trace};
use routing::scheduler::{
    AskId, Ended, FleetAsk, FleetInput, FleetOutput, FleetSettings, FleetTicket, NodeWork, Scheduler,
};
use tokio::sync::{Notify, oneshot};

use crate::placing::Placer;
use mail::Mail;
pub(crate) use news::{Bell, Own};

/// Requests of one door that may wait for a leader's answer before the next is placed by the door itself.
const MOST_WAITING: usize = 16 * 1024;

/// Messages that are kept because too much was on its way; of more, the oldest are lost.
const MOST_OWED: usize = 16 * 1024;
/// When such messages are tried again.
const OWED_AGAIN: Duration = Duration::from_millis(100);

/// The way to other nodes.
#[derive(Clone)]
pub(crate) struct Line {
    mesh: Arc<dyn Transport>,
}

/// The scheduler, and every request of this door that has to do with it.
pub(crate) struct Tickets {
    state: Mutex<State>,
    clock: Clock,
    placer: Arc<Placer>,
    /// Wakes the task that keeps time.
    timer: Notify,
    /// Rung when what this node's backends work on may be different.
    bell: Arc<Bell>,
    line: ArcSwapOption<Line>,
    /// Whether there are other machines in the fleet.
    has_company: AtomicBool,
}

struct State {
    scheduler: Scheduler,
    me: NodeId,
    leader: Option<NodeId>,
    /// When anything last came from the leader.
    heard: Moment,
    /// Whether the leader has left requests without an answer, and nothing came from it since.
    is_silent: bool,
    rtt: keeper::RoundTrip,
    next: u64,
    /// Requests of this door without a ticket.
    waiting: HashMap<u64, Waiter>,
    /// Requests of this door with one.
    under_way: HashMap<u64, UnderWay>,
    is_stopping: bool,
    /// What could not be sent because too much was on its way, oldest first, and when it is tried again.
    owed: VecDeque<(NodeId, Envelope)>,
    owed_at: Option<Moment>,
    told: news::Told,
    /// When the task that keeps time will look next.
    armed: Option<Moment>,
}

/// A request of this door without a ticket.
struct Waiter {
    answer: oneshot::Sender<Answer>,
    ask: FleetAsk,
    with: With,
    /// When it came, whoever has been asked since.
    since: Moment,
    /// When its leader was last asked, or last told of it.
    asked: Moment,
    /// Where it is in the queue, as last told.
    position: Option<(u32, Option<Duration>)>,
}

/// Who is to place a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    /// This node's own scheduler.
    Own,
    /// The leader.
    Leader(NodeId),
}

/// A request of this door with a ticket.
struct UnderWay {
    issuer: NodeId,
    sent: Moment,
    first: Option<Moment>,
}

/// A ticket for a request of this door.
pub(crate) struct Given {
    /// The door's number for it.
    pub(crate) number: u64,
    /// Who placed it.
    pub(crate) issuer: NodeId,
    pub(crate) ticket: FleetTicket,
}

type Answer = Result<Given, Failure>;

/// A request at the scheduler.
pub(crate) enum Asked {
    /// Decided on the spot.
    Now(Box<Answer>),
    /// It waits. Dropping the future takes it out of the queue.
    Later(Waiting),
}

impl Tickets {
    /// Of node `me`. Nothing happens before [`Tickets::keep`] runs and [`Tickets::know`] tells of others.
    pub(crate) fn new(
        settings: FleetSettings,
        me: NodeId,
        seed: u64,
        clock: Clock,
        placer: Arc<Placer>,
        bell: Arc<Bell>,
    ) -> Arc<Tickets> {
        let state = State {
            scheduler: Scheduler::new(settings, me, seed),
            me,
            leader: None,
            heard: clock.now(),
            is_silent: false,
            rtt: keeper::RoundTrip::default(),
            next: 1,
            waiting: HashMap::new(),
            under_way: HashMap::new(),
            is_stopping: false,
            owed: VecDeque::new(),
            owed_at: None,
            told: news::Told::default(),
            armed: None,
        };
        Arc::new(Tickets {
            state: Mutex::new(state),
            clock,
            placer,
            timer: Notify::new(),
            bell,
            line: ArcSwapOption::empty(),
            has_company: AtomicBool::new(false),
        })
    }

    /// Whether requests are to be placed here: there are other machines.
    pub(crate) fn has_company(&self) -> bool {
        self.has_company.load(Ordering::Relaxed)
    }

    /// The way to other nodes, while there is one.
    pub(crate) fn mesh(&self) -> Option<Arc<dyn Transport>> {
        self.line.load().as_ref().map(|line| line.mesh.clone())
    }

    /// Has a request of this door placed.
    pub(crate) fn ask(self: &Arc<Tickets>, mut ask: FleetAsk) -> Asked {
        let now = self.clock.now();
        let mut state = self.lock();
        if state.is_stopping {
            return Asked::Now(Box::new(Err(stopping())));
        }
        let number = state.next;
        state.next += 1;
        ask.rtt = state.rtt.typical();
        let leader = state.leader.filter(|leader| {
            *leader != state.me && !state.is_silent && state.waiting.len() < MOST_WAITING && self.line.load().is_some()
        });
        let with = leader.map_or(With::Own, With::Leader);
        let (answer, waits) = oneshot::channel();
        let mut mail = Mail::default();
        match with {
            With::Leader(leader) => {
                mail.send(leader, translate::ask(number, &ask, now));
                state.waiting.insert(number, Waiter { answer, ask, with, since: now, asked: now, position: None });
            }
            With::Own => {
                state
                    .waiting
                    .insert(number, Waiter { answer, ask: ask.clone(), with, since: now, asked: now, position: None });
                state.arrive(number, ask, now, &mut mail);
            }
        }
        // Where it was decided at once, it is answered at once.
        let own = mail.take_own(number);
        self.release(state, mail);
        match own {
            Some(answer) => Asked::Now(Box::new(answer)),
            None => Asked::Later(Waiting { tickets: self.clone(), number, waits, is_answered: false }),
        }
    }

    /// Requests of this door that run somewhere in the fleet.
    pub(crate) fn under_way(&self) -> usize {
        self.lock().under_way.len()
    }

    /// The request of this ticket has produced its first content.
    pub(crate) fn begun(&self, number: u64) {
        let now = self.clock.now();
        if let Some(under_way) = self.lock().under_way.get_mut(&number) {
            under_way.first.get_or_insert(now);
        }
    }

    /// The request of this ticket is over.
    pub(crate) fn ended(&self, number: u64, ending: TicketEnding) {
        let now = self.clock.now();
        let mut state = self.lock();
        let Some(under_way) = state.under_way.remove(&number) else { return };
        let ended = Ended {
            ending: translate::ending(ending),
            first: under_way.first.map(|first| first.since(under_way.sent)),
            took: now.since(under_way.sent),
        };
        let mut mail = Mail::default();
        if under_way.issuer == state.me {
            let id = AskId { door: state.me, number };
            state.tell(FleetInput::Ended(id, ended), now, &mut mail);
        } else {
            mail.send(under_way.issuer, translate::ended(number, &ended));
        }
        self.release(state, mail);
    }

    /// A request that another node served has been counted there.
    pub(crate) fn counted(&self, trace: &Trace) {
        let Some(prompt_tokens) = trace.prompt_tokens.filter(|_| trace.text_bytes > 0) else { return };
        let came_to_its_end = trace.finish_reason.as_deref().is_some_and(|reason| reason != "length");
        self.tell(FleetInput::Counted {
            model: ModelName::new(&trace.model),
            text_bytes: trace.text_bytes,
            images: trace.images,
            prompt_tokens,
            completion_tokens: trace.completion_tokens.filter(|_| came_to_its_end),
        });
    }

    /// What is in the queue, as far as this node knows.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Scheduler) -> T) -> T {
        look(&self.lock().scheduler)
    }

    /// Requests of this door that wait for a place, the place of the first in the queue, and how long it may take.
    pub(crate) fn own_waiting(&self) -> (usize, Option<u32>, Option<Duration>) {
        let state = self.lock();
        let told = state.waiting.values().filter_map(|waiter| waiter.position);
        let own = state.scheduler.waiting_of(state.me, self.clock.now(), 1).into_iter();
        let all = told.chain(own.map(|standing| (standing.position, standing.eta)));
        let first = all.min_by_key(|(position, _)| *position);
        (state.waiting.len(), first.map(|(position, _)| position), first.and_then(|(_, eta)| eta))
    }

    /// Refuses everything new, and everything that waits.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.is_stopping = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for (_, waiter) in waiting {
            let _ = waiter.answer.send(Err(stopping()));
        }
    }

    fn tell(&self, input: FleetInput) {
        let mut state = self.lock();
        let mut mail = Mail::default();
        let now = self.clock.now();
        state.tell(input, now, &mut mail);
        self.release(state, mail);
    }

    /// Unlocks, then sends.
    fn release(&self, state: MutexGuard<'_, State>, mail: Mail) {
        let wake = state.wake();
        let sooner = match (wake, state.armed) {
            (Some(wake), Some(armed)) => wake < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        drop(state);
        if sooner {
            self.timer.notify_one();
        }
        let owed = mail.deliver(self.line.load().as_deref());
        if !owed.is_empty() {
            self.lock().owe(owed, self.clock.now());
            self.timer.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of this door wants no place any more.
    fn leave(&self, number: u64) {
        let now = self.clock.now();
        let mut state = self.lock();
        let Some(waiter) = state.waiting.remove(&number) else { return };
        let mut mail = Mail::default();
        match waiter.with {
            With::Own => {
                let id = AskId { door: state.me, number };
                state.tell(FleetInput::Leave(id), now, &mut mail);
            }
            With::Leader(leader) => mail.send(leader, translate::withdrawn(vec![number])),
        }
        self.release(state, mail);
    }
}

impl State {
    /// Keeps what could not be sent, to send it again soon.
    fn owe(&mut self, owed: Vec<(NodeId, Envelope)>, now: Moment) {
        self.owed.extend(owed);
        while self.owed.len() > MOST_OWED {
            self.owed.pop_front();
        }
        self.owed_at = Some(now + OWED_AGAIN);
    }

    fn is_leading(&self) -> bool {
        self.leader == Some(self.me)
    }

    /// A request of this door goes to its own scheduler.
    fn arrive(&mut self, number: u64, ask: FleetAsk, now: Moment, mail: &mut Mail) {
        let id = AskId { door: self.me, number };
        self.tell(FleetInput::Arrive(id, ask), now, mail);
    }

    fn tell(&mut self, input: FleetInput, now: Moment, mail: &mut Mail) {
        self.scheduler.handle(input, now);
        self.sort(now, mail);
    }

    /// Puts what the scheduler says into `mail`.
    fn sort(&mut self, now: Moment, mail: &mut Mail) {
        while let Some(output) = self.scheduler.poll_output() {
            match output {
                FleetOutput::Ticket(id, ticket) if id.door == self.me => {
                    self.give(id.number, self.me, ticket, now, mail)
                }
                FleetOutput::Ticket(id, ticket) => mail.send(id.door, translate::ticket(id.number, &ticket)),
                FleetOutput::Refuse(id, refusal) if id.door == self.me => {
                    if let Some(waiter) = self.waiting.remove(&id.number) {
                        let failure = crate::refusal::failure(&refusal, waiter.ask.api, requested(&waiter.ask));
                        mail.answer(id.number, waiter.answer, Err(failure));
                    }
                }
                FleetOutput::Refuse(id, refusal) => mail.send(id.door, translate::refused(id.number, &refusal)),
            }
        }
    }

    /// A request of this door has a ticket.
    fn give(&mut self, number: u64, issuer: NodeId, mut ticket: FleetTicket, now: Moment, mail: &mut Mail) {
        match self.waiting.remove(&number) {
            Some(waiter) => {
                ticket.queued = now.since(waiter.since);
                self.under_way.insert(number, UnderWay { issuer, sent: now, first: None });
                mail.answer(number, waiter.answer, Ok(Given { number, issuer, ticket }));
            }
            // It left, or was placed without the leader, while the ticket was on its way.
            None => {
                let ending = TicketEnding::Attempt(gateway::Ending::ClientLeft);
                let ended = Ended { ending: translate::ending(ending), first: None, took: Duration::ZERO };
                if issuer == self.me {
                    self.scheduler.handle(FleetInput::Ended(AskId { door: self.me, number }, ended), now);
                } else {
                    mail.send(issuer, translate::ended(number, &ended));
                }
            }
        }
    }
}

fn requested(ask: &FleetAsk) -> &str {
    ask.models.first().map_or("", proto::ModelName::as_str)
}

fn stopping() -> Failure {
    Failure::new(Cause::Unavailable, "Herd is stopping on this machine")
}

/// A request without a ticket. Dropped, it leaves the queue.
pub(crate) struct Waiting {
    tickets: Arc<Tickets>,
    number: u64,
    waits: oneshot::Receiver<Answer>,
    is_answered: bool,
}

impl Future for Waiting {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        Pin::new(&mut self.waits).poll(cx).map(|answer| {
            self.is_answered = true;
            answer.unwrap_or_else(|_| Err(stopping()))
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        self.tickets.leave(self.number);
        // A ticket that was handed over at the last moment is given back.
        if let Ok(Ok(given)) = self.waits.try_recv() {
            self.tickets.ended(given.number, TicketEnding::Attempt(gateway::Ending::ClientLeft));
        }
    }
}
