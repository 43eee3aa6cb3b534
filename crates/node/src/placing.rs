//! Drives the router: hands it what happens, and carries its answers to the requests that wait for them.
//!
//! One lock around the router; it is held for the microseconds of a decision and never across anything else. Tickets
//! are handed out after it is released, because giving one back takes it again.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use dialect::Failure;
use gateway::{Ask, Ending, Fleet, NoTicket, Placing, Slot, Ticket, Verdict};
use proto::{Api, BackendState, Clock, ModelName, Moment, Trace};
use routing::{Input, Key, Output, Router};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::loads::Order;
use crate::refusal;
use crate::tickets::Bell;

type Answer = Result<Ticket, NoTicket>;

/// The router, and everybody who waits for it.
pub(crate) struct Placer {
    state: Mutex<State>,
    clock: Clock,
    timer: Notify,
    /// The task that loads and unloads. The router has at most one order under way for each backend.
    orders: mpsc::UnboundedSender<Order>,
    /// Rung when the router's work may be different.
    bell: Arc<Bell>,
}

struct State {
    router: Router,
    next_key: Key,
    waiting: HashMap<Key, Waiter>,
    /// For each granted request without content, the way to tell it to go elsewhere.
    movable: HashMap<Key, oneshot::Sender<()>>,
    /// When the timer task will look next.
    armed: Option<Moment>,
    /// What the router's count of changes was when the bell was last rung.
    work_seen: u64,
}

struct Waiter {
    answer: oneshot::Sender<Answer>,
    fleet: Arc<dyn Fleet>,
    facts: Facts,
}

/// What a ticket or a refusal says of the request itself.
#[derive(Clone)]
struct Facts {
    api: Api,
    models: Vec<ModelName>,
    text_bytes: u64,
    images: u32,
}

/// What is to be told once the lock is free.
#[derive(Default)]
struct Mail {
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    moves: Vec<oneshot::Sender<()>>,
    orders: Vec<Order>,
}

impl Placer {
    /// A placer whose loads and unloads are carried out by whoever has the other end of `orders`.
    pub(crate) fn new(
        settings: routing::Settings,
        seed: u64,
        clock: Clock,
        orders: mpsc::UnboundedSender<Order>,
        bell: Arc<Bell>,
    ) -> Arc<Placer> {
        let state = State {
            router: Router::new(settings, seed),
            next_key: 1,
            waiting: HashMap::new(),
            movable: HashMap::new(),
            armed: None,
            work_seen: 0,
        };
        Arc::new(Placer { state: Mutex::new(state), clock, timer: Notify::new(), orders, bell })
    }

    /// Places a request of `fleet`'s door.
    pub(crate) fn place(self: &Arc<Placer>, fleet: &Arc<dyn Fleet>, ask: Ask) -> Placing {
        let now = self.clock.now();
        let (api, guest) = (ask.api, ask.guest);
        let facts = Facts { api, models: ask.models.clone(), text_bytes: ask.text_bytes, images: ask.images };
        let mut mail = Mail::default();
        let mut own = None;
        let mut state = self.lock();
        let key = state.next_key;
        state.next_key += 1;
        let ask = routing::Ask {
            api,
            models: ask.models,
            app: ask.app,
            text_bytes: ask.text_bytes,
            media: ask.images,
            max_tokens: ask.max_tokens,
            context_wanted: ask.context_wanted,
            cuts: ask.cuts,
            keep_alive: ask.keep_alive,
            excluded: ask.excluded,
            streams: ask.streams,
            waited_since: Moment::at(ask.arrived.since(Moment::default()).saturating_sub(ask.age)),
            most_ahead: guest.map(|guest| guest.ahead),
            issuer: guest.map(|guest| guest.issuer),
        };
        state.router.handle(Input::Arrive(key, ask), now);
        while let Some(output) = state.router.poll_output() {
            match output {
                Output::Grant(to, grant) if to == key => own = Some(Ok(state.ticket(fleet, key, grant, &facts))),
                Output::Refuse(to, refusal) if to == key => {
                    own = Some(Err(no_ticket(&refusal, api, facts.requested())))
                }
                other => state.sort(other, &mut mail),
            }
        }
        let placing = match own {
            Some(answer) => Placing::Now(answer),
            None => {
                let (answer, waits) = oneshot::channel();
                state.waiting.insert(key, Waiter { answer, fleet: fleet.clone(), facts });
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
        let mut state = self.lock();
        state.movable.remove(&key);
        self.tell(state, Input::Finish(key, self::ending(ending)));
    }

    /// Somebody wishes that `model` were in memory, or were not.
    pub(crate) fn wish(&self, model: ModelName, wish: routing::Wish) {
        self.tell(self.lock(), Input::Wish { model, backend: None, wish });
    }

    /// A load or unload has ended.
    pub(crate) fn job_ended(&self, id: routing::JobId, result: Result<(), routing::JobFault>) {
        self.tell(self.lock(), Input::JobEnded { id, result });
    }

    /// A backend has counted the tokens of a request.
    pub(crate) fn counted(&self, trace: &Trace) {
        // What was cut says nothing about how long the prompt was.
        let is_whole = trace.text_bytes > 0 && trace.context_verdict != Some(Verdict::Cut.as_str());
        let Some(prompt_tokens) = trace.prompt_tokens.filter(|_| is_whole) else { return };
        let came_to_its_end = trace.finish_reason.as_deref().is_some_and(|reason| reason != "length");
        let input = Input::Counted {
            model: ModelName::new(&trace.model),
            text_bytes: trace.text_bytes,
            media: trace.images,
            prompt_tokens,
            completion_tokens: trace.completion_tokens.filter(|_| came_to_its_end),
        };
        self.tell(self.lock(), input);
        let span =
            |ms: Option<f64>| ms.filter(|ms| (0.0..1e9).contains(ms)).map(|ms| Duration::from_secs_f64(ms / 1e3));
        if let Some(backend) = &trace.backend
            && (trace.prefill_ms.is_some() || trace.decode_ms.is_some())
        {
            let input = Input::Timed {
                backend: backend.clone(),
                model: ModelName::new(&trace.model),
                prompt_tokens,
                prefill: span(trace.prefill_ms),
                completion_tokens: trace.completion_tokens.unwrap_or(0),
                decode: span(trace.decode_ms),
            };
            self.tell(self.lock(), input);
        }
    }

    /// How fast a model of a backend of this node was before this start, in tokens per second.
    pub(crate) fn remember(&self, backend: &str, model: &str, prefill: Option<f64>, decode: Option<f64>) {
        // As if it had been one request of this many tokens: what is measured from now on soon outweighs it.
        const TOKENS: u64 = 100;
        let took = |rate: Option<f64>| {
            rate.filter(|rate| (0.1..1e6).contains(rate)).map(|rate| Duration::from_secs_f64(TOKENS as f64 / rate))
        };
        let input = Input::Timed {
            backend: proto::BackendId::new(backend),
            model: ModelName::new(model),
            prompt_tokens: TOKENS,
            prefill: took(prefill),
            completion_tokens: TOKENS,
            decode: took(decode),
        };
        self.tell(self.lock(), input);
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
                            state.sort_all(&mut mail);
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
        state.sort_all(&mut mail);
        self.release(state, mail);
    }

    /// Unlocks, then sends.
    fn release(&self, mut state: MutexGuard<'_, State>, mail: Mail) {
        let work = state.router.work_changed();
        let is_news = std::mem::replace(&mut state.work_seen, work) != work;
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
        if is_news {
            self.bell.ring();
        }
        for (to, answer) in mail.answers {
            // A waiter that has just gone drops the ticket here, and with it gives the slot back.
            let _ = to.send(answer);
        }
        for request in mail.moves {
            let _ = request.send(());
        }
        for order in mail.orders {
            // Nobody takes orders any more only when the node is being taken apart.
            let _ = self.orders.send(order);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_ticket(refusal: &routing::Refusal, api: Api, requested: &str) -> NoTicket {
    NoTicket {
        failure: refusal::failure(refusal, api, requested),
        is_bounce: matches!(refusal, routing::Refusal::Occupied),
    }
}

/// The same ending, in the router's words.
pub(crate) fn ending(ending: Ending) -> routing::Ending {
    match ending {
        Ending::Answered => routing::Ending::Answered,
        Ending::ClientLeft => routing::Ending::ClientLeft,
        Ending::Refused => routing::Ending::Refused4xx,
        Ending::Busy => routing::Ending::Busy503,
        Ending::Failed => routing::Ending::Failed,
        Ending::Broke => routing::Ending::Broke,
    }
}

impl State {
    fn sort_all(&mut self, mail: &mut Mail) {
        while let Some(output) = self.router.poll_output() {
            self.sort(output, mail);
        }
    }

    fn sort(&mut self, output: Output, mail: &mut Mail) {
        match output {
            Output::Grant(key, grant) => match self.waiting.remove(&key) {
                Some(Waiter { answer, fleet, facts }) => {
                    let ticket = self.ticket(&fleet, key, grant, &facts);
                    mail.answers.push((answer, Ok(ticket)));
                }
                None => tracing::error!(key, "a slot was granted to a request that does not wait"),
            },
            Output::Refuse(key, refusal) => {
                if let Some(Waiter { answer, facts, .. }) = self.waiting.remove(&key) {
                    mail.answers.push((answer, Err(no_ticket(&refusal, facts.api, facts.requested()))));
                }
            }
            Output::Move(key) => mail.moves.extend(self.movable.remove(&key)),
            Output::Load(job) => mail.orders.push(Order::Load(job)),
            Output::Unload(job) => mail.orders.push(Order::Unload(job)),
        }
    }

    fn ticket(&mut self, fleet: &Arc<dyn Fleet>, key: Key, grant: routing::Grant, facts: &Facts) -> Ticket {
        let (mover, moved) = oneshot::channel();
        self.movable.insert(key, mover);
        Ticket {
            server: None,
            backend: grant.backend,
            model: grant.model,
            candidates: grant.candidates,
            queued: grant.queued,
            context: grant.context,
            verdict: match grant.verdict {
                routing::Verdict::Kept => Verdict::Kept,
                routing::Verdict::Grown => Verdict::Grown,
                routing::Verdict::Cut => Verdict::Cut,
                routing::Verdict::Passed => Verdict::Passed,
            },
            loaded_for: grant.loaded_for,
            prompt_tokens: facts
                .models
                .get(grant.model)
                .map_or(0, |model| self.router.estimate(model, facts.text_bytes, facts.images).tokens),
            slot: Slot::new(fleet.clone(), key),
            moved,
            patience: None,
            ahead: 0,
            issuer: None,
        }
    }
}

impl Facts {
    /// The model that the client asked for.
    fn requested(&self) -> &str {
        self.models.first().map_or("", ModelName::as_str)
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
            answer.unwrap_or_else(|_| {
                Err(Failure::new(dialect::Cause::Unavailable, "Herd is stopping on this machine").into())
            })
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
