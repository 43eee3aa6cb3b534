//! The trace of one request while it is being made: begun when the request comes in, reported when this is dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dialect::{End, Stats};
use proto::{Api, Attempt, BackendId, Clock, Moment, Outcome, RequestId, Server, Trace};

use crate::fleet::{Fleet, Ticket};
use crate::keys::Pass;
use crate::metrics::Metrics;
use crate::told::tellable;

/// Attempts that a trace tells of; a request that waits for a server to come back may make more.
const ATTEMPTS_KEPT: usize = 16;

/// A request's trace in the making. Whatever happens to the request, dropping this reports it; a request of which
/// nobody said how it ended was left by its client.
pub(crate) struct Record {
    fleet: Arc<dyn Fleet>,
    metrics: Arc<Metrics>,
    clock: Clock,
    arrived: Moment,
    attempt_began: Moment,
    ended: bool,
    trace: Trace,
    /// Set where it is another node's request: its door keeps the trace.
    guest: Option<Epilogue>,
    /// The key by which it was let in counts it until it is over.
    pass: Option<Pass>,
}

/// The trace of a guest's request, once it is over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epilogue(Arc<Mutex<Option<Box<Trace>>>>);

impl Epilogue {
    /// The trace, where the request is over.
    pub(crate) fn take(&self) -> Option<Box<Trace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, trace: &Trace) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(trace.clone()));
    }
}

impl Record {
    pub(crate) fn new(
        fleet: Arc<dyn Fleet>,
        metrics: Arc<Metrics>,
        clock: Clock,
        id: RequestId,
        unix_ms: u64,
        api: Api,
    ) -> Box<Record> {
        let now = clock.now();
        metrics.begun();
        Box::new(Record {
            fleet,
            metrics,
            clock,
            arrived: now,
            attempt_began: now,
            ended: false,
            guest: None,
            pass: None,
            trace: Trace {
                request_id: id,
                unix_ms,
                api,
                model: String::new(),
                original_model: String::new(),
                server: None,
                prefill_ms: None,
                decode_ms: None,
                backend: None,
                candidates: Vec::new(),
                outcome: Outcome::ClientDisconnected,
                status: 0,
                latency_ms: 0.0,
                ttft_ms: None,
                queued_ms: 0.0,
                prompt_tokens: None,
                completion_tokens: None,
                estimated_tokens: 0,
                text_bytes: 0,
                images: 0,
                session: None,
                context: None,
                context_verdict: None,
                loaded_ms: None,
                attempts: Vec::new(),
                fallback_used: false,
                client_ip: String::new(),
                client_key: None,
                error: None,
                finish_reason: None,
                app: None,
                tags: Vec::new(),
                request_bytes: 0,
                response_bytes: 0,
                unretriable: false,
            },
        })
    }

    /// It is another node's request: its trace is told through `epilogue`, and kept there.
    pub(crate) fn is_for_guest(&mut self, epilogue: Epilogue) {
        self.guest = Some(epilogue);
    }

    /// It was let in by a key.
    pub(crate) fn admitted(&mut self, pass: Pass) {
        self.trace.client_key = Some(pass.name().to_string());
        self.pass = Some(pass);
    }

    /// Whose stored responses the client may continue: those that were made with the same key, or with none.
    pub(crate) fn owner(&self) -> Option<&Arc<str>> {
        self.pass.as_ref().map(Pass::name)
    }

    /// The facts so far.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The facts so far, to be added to.
    pub(crate) fn trace_mut(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// When the request came in.
    pub(crate) fn arrived(&self) -> Moment {
        self.arrived
    }

    /// The request was placed: `served` is the model that will answer.
    pub(crate) fn placed(&mut self, ticket: &mut Ticket, served: String, is_fallback: bool) {
        self.began(self.clock.now(), ticket.server.clone(), Some(ticket.backend.id.clone()));
        self.trace.candidates = std::mem::take(&mut ticket.candidates);
        self.trace.queued_ms += ms(ticket.queued);
        self.trace.model = served;
        self.trace.fallback_used = is_fallback;
        self.trace.context = ticket.context;
        self.trace.context_verdict = Some(ticket.verdict.as_str());
        self.trace.loaded_ms = ticket.loaded_for.map(ms).or(self.trace.loaded_ms);
        self.trace.estimated_tokens = self.trace.estimated_tokens.max(ticket.prompt_tokens);
    }

    /// An attempt began.
    pub(crate) fn began(&mut self, at: Moment, server: Option<Server>, backend: Option<BackendId>) {
        self.attempt_began = at;
        self.trace.server = server;
        self.trace.backend = backend;
    }

    /// The attempt failed before any content.
    pub(crate) fn attempt_failed(&mut self, error: &str) {
        self.metrics.retried();
        let attempts = &mut self.trace.attempts;
        if let Some(backend) = self.trace.backend.clone()
            && attempts.len() < ATTEMPTS_KEPT
        {
            let took_ms = ms(self.clock.now().since(self.attempt_began));
            let node = self.trace.server.as_ref().map(|server| server.name.clone());
            attempts.push(Attempt { node, backend, error: Some(error.to_owned()), took_ms });
        }
    }

    /// The first content is there.
    pub(crate) fn first_content(&mut self, is_streamed: bool) {
        let now = self.clock.now();
        if is_streamed {
            self.trace.ttft_ms = Some(ms(now.since(self.arrived)));
        }
        if let Some(backend) = self.trace.backend.clone() {
            let took_ms = ms(now.since(self.attempt_began));
            let node = self.trace.server.as_ref().map(|server| server.name.clone());
            self.trace.attempts.push(Attempt { node, backend, error: None, took_ms });
        }
    }

    /// The client has been answered with `status` and there is nothing more to say about it.
    pub(crate) fn end(&mut self, outcome: Outcome, status: u16, error: Option<String>) {
        self.ended = true;
        self.trace.outcome = outcome;
        self.trace.status = status;
        if error.is_some() {
            self.trace.error = error;
        }
    }

    /// Adds what the answer said about itself.
    pub(crate) fn answered(&mut self, end: &mut End) {
        let Stats { prompt_tokens, completion_tokens, finish_reason, total_ns, eval_ns, prompt_eval_ns, .. } =
            std::mem::take(&mut end.stats);
        self.trace.prompt_tokens = prompt_tokens;
        self.trace.completion_tokens = completion_tokens;
        self.trace.finish_reason = finish_reason;
        self.trace.prefill_ms = prompt_eval_ns.map(|ns| ns as f64 / 1e6);
        self.trace.decode_ms = eval_ns.map(|ns| ns as f64 / 1e6);
        // A whole answer comes at once; how long the first token took is what the generation did not.
        if let (None, Some(total), Some(eval)) = (self.trace.ttft_ms, total_ns, eval_ns) {
            self.trace.ttft_ms = Some(self.trace.queued_ms + total.saturating_sub(eval) as f64 / 1e6);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.trace.latency_ms = ms(self.clock.now().since(self.arrived));
        if !self.ended {
            self.trace.outcome = Outcome::ClientDisconnected;
        }
        for said in self.trace.attempts.iter_mut().filter_map(|attempt| attempt.error.as_mut()) {
            *said = tellable(said);
        }
        if let Some(said) = &mut self.trace.error {
            *said = tellable(said);
        }
        self.metrics.ended(&self.trace);
        let empty = Trace {
            model: String::new(),
            original_model: String::new(),
            server: None,
            backend: None,
            candidates: Vec::new(),
            attempts: Vec::new(),
            client_ip: String::new(),
            client_key: None,
            error: None,
            finish_reason: None,
            app: None,
            tags: Vec::new(),
            ..self.trace
        };
        let trace = std::mem::replace(&mut self.trace, empty);
        match &self.guest {
            Some(epilogue) => {
                epilogue.put(&trace);
                self.fleet.served(trace);
            }
            None => self.fleet.report(trace),
        }
    }
}

pub(crate) fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
