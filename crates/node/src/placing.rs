//! Drives the router: hands it what happens, and carries its answers to the requests that wait for them.
//!
//! One lock around the router; it is held for the microseconds of a decision and never across anything else. Tickets
//! are handed out after it is released, because giving one back takes it again.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use dialect::Failure;
use gateway::{Ask, Ending, Fleet, Placing, Slot, Ticket};
use proto::{Api, BackendState, Clock, Moment};
use routing::{Input, Key, Output, Router};
use tokio::sync::{Notify, oneshot};

use crate::refusal;

type Answer = Result<Ticket, Failure>;

/// The router, and everybody who waits for it.
pub(crate) struct Placer {
    state: Mutex<State>,
    clock: Clock,
    timer: Notify,
}

struct State {
    router: Router,
    next_key: Key,
    waiting: HashMap<Key, Waiter>,
    /// For each granted request without content, the way to tell it to go elsewhere.
    movable: HashMap<Key, oneshot::Sender<()>>,
    /// When the timer task will look next.
    armed: Option<Moment>,
}

struct Waiter {
    answer: oneshot::Sender<Answer>,
    fleet: Arc<dyn Fleet>,
    api: Api,
    requested: String,
}

/// What is to be told once the lock is free.
#[derive(Default)]
struct Mail {
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    moves: Vec<oneshot::Sender<()>>,
}

impl Placer {
    pub(crate) fn new(settings: routing::Settings, seed: u64, clock: Clock) -> Arc<Placer> {
        let state = State {
            router: Router::new(settings, seed),
            next_key: 1,
            waiting: HashMap::new(),
            movable: HashMap::new(),
            armed: None,
        };
        Arc::new(Placer { state: Mutex::new(state), clock, timer: Notify::new() })
    }

    /// Places a request of `fleet`'s door.
    pub(crate) fn place(self: &Arc<Placer>, fleet: &Arc<dyn Fleet>, ask: Ask) -> Placing {
        let now = self.clock.now();
        let api = ask.api;
        let requested = ask.models.first().map_or_else(String::new, |name| name.as_str().to_owned());
        let mut mail = Mail::default();
        let mut own = None;
        let mut state = self.lock();
        let key = state.next_key;
        state.next_key += 1;
        let ask = routing::Ask {
            api,
            models: ask.models,
            app: ask.app,
            text_bytes: ask.estimated_tokens.saturating_mul(4),
            media: 0,
            max_tokens: Some(0),
            context_wanted: None,
            cuts: api.dialect() == proto::Dialect::Ollama,
            keep_alive: None,
            excluded: ask.excluded,
            streams: ask.streams,
            waited_since: ask.arrived,
        };
        state.router.handle(Input::Arrive(key, ask), now);
        while let Some(output) = state.router.poll_output() {
            match output {
                Output::Grant(to, grant) if to == key => own = Some(Ok(state.ticket(fleet, key, grant))),
                Output::Refuse(to, refusal) if to == key => {
                    own = Some(Err(refusal::failure(&refusal, api, &requested)))
                }
                other => state.sort(other, &mut mail, now),
            }
        }
        let placing = match own {
            Some(answer) => Placing::Now(answer),
            None => {
                let (answer, waits) = oneshot::channel();
                state.waiting.insert(key, Waiter { answer, fleet: fleet.clone(), api, requested });
                Placing::Later(Box::pin(Waiting { placer: self.clone(), key, waits, answered: false }))
            }
        };
        self.release(state, mail);
        placing
    }

    pub(crate) fn first_content(&self, key: Key) {
        let mut state = self.lock();
        state.movable.remove(&key);
        self.tell(state, Input::FirstContent(key));
    }

    pub(crate) fn finish(&self, key: Key, ending: Ending) {
        let ending = match ending {
            Ending::Answered => routing::Ending::Answered,
            Ending::ClientLeft => routing::Ending::ClientLeft,
            Ending::Refused => routing::Ending::Refused4xx,
            Ending::Busy => routing::Ending::Busy503,
            Ending::Failed => routing::Ending::Failed,
            Ending::Broke => routing::Ending::Broke,
        };
        let mut state = self.lock();
        state.movable.remove(&key);
        self.tell(state, Input::Finish(key, ending));
    }

    pub(crate) fn backends(&self, backends: Vec<Arc<BackendState>>) {
        self.tell(self.lock(), Input::Backends(backends));
    }

    /// Refuses everything new and everything that waits.
    pub(crate) fn drain(&self) {
        self.tell(self.lock(), Input::Drain);
    }

    /// Reads from the router.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Router) -> T) -> T {
        look(&self.lock().router)
    }

    /// Tells the router when its time has come; runs as long as the node. May be dropped at any time.
    pub(crate) async fn keep_time(&self) {
        loop {
            let wake = {
                let mut state = self.lock();
                state.armed = state.router.poll_timeout();
                state.armed
            };
            match wake {
                None => self.timer.notified().await,
                Some(moment) => {
                    let wait = moment.since(self.clock.now());
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {
                            let mut state = self.lock();
                            let now = self.clock.now();
                            state.router.handle_timeout(now);
                            let mut mail = Mail::default();
                            state.sort_all(&mut mail, now);
                            self.release(state, mail);
                        }
                        () = self.timer.notified() => {}
                    }
                }
            }
        }
    }

    fn tell(&self, mut state: MutexGuard<'_, State>, input: Input) {
        let mut mail = Mail::default();
        let now = self.clock.now();
        state.router.handle(input, now);
        state.sort_all(&mut mail, now);
        self.release(state, mail);
    }

    /// Unlocks, then sends.
    fn release(&self, state: MutexGuard<'_, State>, mail: Mail) {
        let wake = state.router.poll_timeout();
        let sooner = match (wake, state.armed) {
            (Some(wake), Some(armed)) => wake < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        drop(state);
        if sooner {
            self.timer.notify_one();
        }
        for (to, answer) in mail.answers {
            // A waiter that has just gone drops the ticket here, and with it gives the slot back.
            let _ = to.send(answer);
        }
        for request in mail.moves {
            let _ = request.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sort_all(&mut self, mail: &mut Mail, now: Moment) {
        while let Some(output) = self.router.poll_output() {
            self.sort(output, mail, now);
        }
    }

    fn sort(&mut self, output: Output, mail: &mut Mail, now: Moment) {
        match output {
            Output::Grant(key, grant) => match self.waiting.remove(&key) {
                Some(Waiter { answer, fleet, .. }) => {
                    let ticket = self.ticket(&fleet, key, grant);
                    mail.answers.push((answer, Ok(ticket)));
                }
                None => tracing::error!(key, "a slot was granted to a request that does not wait"),
            },
            Output::Refuse(key, refusal) => {
                if let Some(Waiter { answer, api, requested, .. }) = self.waiting.remove(&key) {
                    mail.answers.push((answer, Err(refusal::failure(&refusal, api, &requested))));
                }
            }
            Output::Move(key) => mail.moves.extend(self.movable.remove(&key)),
            // Nothing carries jobs out yet: backends load by themselves when they are asked for an answer.
            Output::Load(job) | Output::Unload(job) => {
                self.router.handle(Input::JobEnded { id: job.id, result: Ok(()) }, now);
            }
        }
    }

    fn ticket(&mut self, fleet: &Arc<dyn Fleet>, key: Key, grant: routing::Grant) -> Ticket {
        let (mover, moved) = oneshot::channel();
        self.movable.insert(key, mover);
        Ticket {
            backend: grant.backend,
            model: grant.model,
            candidates: grant.candidates,
            queued: grant.queued,
            slot: Slot::new(fleet.clone(), key),
            moved,
        }
    }
}

/// A request in the queue. Dropped, it leaves it.
struct Waiting {
    placer: Arc<Placer>,
    key: Key,
    waits: oneshot::Receiver<Answer>,
    answered: bool,
}

impl Future for Waiting {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        Pin::new(&mut self.waits).poll(cx).map(|answer| {
            self.answered = true;
            // The sender only goes without a word when the node is being taken apart.
            answer
                .unwrap_or_else(|_| Err(Failure::new(dialect::Cause::Unavailable, "Herd is stopping on this machine")))
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            let mut state = self.placer.lock();
            if state.waiting.remove(&self.key).is_some() {
                self.placer.tell(state, Input::Leave(self.key));
            }
        }
    }
}
