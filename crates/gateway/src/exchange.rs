//! The life of one inference request: read, placed, tried, tried elsewhere, and handed over with its first content.
//!
//! Runs inside the request's own future. Dropping that (the client left) closes the connection to the backend, gives
//! the slot back and reports the trace, each by a `Drop`.

mod attempt;
mod beside;
mod facts;
mod request;

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Cause, Failure, Scan};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode, request as parts};
use hyper::body::Incoming;
use proto::{Api, BackendId, Dialect, KeepAlive, ModelName, NodeId, Outcome};

use crate::answer::Flow;
use crate::body::{self, Received};
use crate::budget::Permit;
use crate::fleet::{Ask, Guest, Placing};
use crate::headers;
use crate::inflate::Coding;
use crate::record::Record;
use crate::reply;
use crate::stored::{self, Keeping};
use crate::worker::Worker;
use attempt::Attempted;
pub(crate) use attempt::{Wait, cause, first_content, is_stream, retry_after};
use facts::{app, facts, is_batch, session, tags};

/// Bytes of the longest model name that is looked for: ids of some servers are file paths. A longer one is refused, for it
/// would go into headers, which many clients take 8 KiB of.
const LONGEST_MODEL: usize = 1024;
/// Tokens that an answer is taken to have when the request does not bound it.
const ANSWER_TOKENS: u64 = 256;
/// Tokens of the smallest context that is taken for a wish: Ollama loads a model with four tokens when asked for less.
const LEAST_CONTEXT: u64 = 4;

/// A request on its way.
pub(crate) struct Exchange {
    worker: Arc<Worker>,
    api: Api,
    path_and_query: String,
    headers: HeaderMap,
    payload: Payload,
    /// The requested model, then the fallbacks, as the client wrote them.
    asked: Vec<String>,
    models: Vec<ModelName>,
    /// The only machine that was asked for (`model@machine`).
    only: Option<NodeId>,
    /// Set where another node's door has sent it, with the one of the models that is meant and how old it was then.
    guest: Option<Guest>,
    pinned: Option<usize>,
    age: std::time::Duration,
    failed: Failed,
    is_batch: bool,
    /// What the body says, and where.
    pub(crate) scan: Scan,
    keep_alive: Option<KeepAlive>,
    session: Option<u64>,
    pub(crate) streamed: bool,
    /// Fields that have no effect where the request went, for `X-Fleet-Ignored`.
    ignored: String,
    app: Option<Arc<str>>,
    pub(crate) record: Box<Record>,
}

enum Payload {
    /// All of it, and its share of the memory for bodies.
    Kept(Bytes, #[allow(dead_code, reason = "given back when dropped")] Option<Permit>),
    /// The beginning and what is still to come, until they are sent.
    Flowing(Option<(Bytes, Incoming)>, #[allow(dead_code, reason = "given back when dropped")] Option<Permit>),
}

/// Where a request has failed.
#[derive(Default)]
struct Failed {
    backends: Vec<BackendId>,
    nodes: Vec<NodeId>,
    tries: usize,
}

/// An answer whose first content is there.
pub(crate) struct Begun {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) first: Bytes,
    /// What is still to come; `None` when `first` is all of it.
    pub(crate) flow: Option<Box<Flow>>,
    pub(crate) record: Box<Record>,
}

/// An answer that is an error.
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The same in words, for a stream that has begun already.
    pub(crate) failure: Failure,
    pub(crate) record: Box<Record>,
    /// Whether there is no room for a guest: no attempt was made.
    pub(crate) is_bounce: bool,
    /// Whether every node would answer so.
    pub(crate) is_final: bool,
}

/// An error answer in the making.
pub(crate) struct Wrong {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    pub(crate) failure: Failure,
}

/// What an error answer means for whoever could ask elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Bounce,
    Again,
    Final,
}

impl Wrong {
    pub(crate) fn ours(failure: Failure) -> Wrong {
        let status = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Wrong { status, headers: HeaderMap::new(), body: None, failure }
    }
}

impl Exchange {
    /// Reads a request. The error has the record in it, so that it is reported with the right status.
    pub(crate) async fn read(
        worker: Arc<Worker>,
        api: Api,
        mut parts: parts::Parts,
        body: Incoming,
        mut record: Box<Record>,
    ) -> Result<Exchange, Box<(Failure, Box<Record>)>> {
        let door = worker.door();
        let most = door.settings().limits.body;
        let received = match Coding::of(&parts.headers) {
            Ok(None) => body::receive(body, most, door.budget()).await,
            Ok(Some(coding)) => body::receive_packed(body, coding, most, door.budget()).await,
            Err(failure) => Err(failure),
        };
        // What goes on from here is plain.
        parts.headers.remove(http::header::CONTENT_ENCODING);
        let received = match received {
            Ok(received) => received,
            Err(failure) => return Err(Box::new((failure, record))),
        };
        let owner = record.owner().cloned();
        let read = facts(api, &parts.headers, &received)
            .and_then(|scan| stored::continued(door, received, scan, owner.as_deref()));
        let (received, mut scan) = match read {
            Ok(read) => read,
            Err(failure) => return Err(Box::new((failure, record))),
        };
        let payload = match received {
            Received::Kept { bytes, permit } => {
                record.trace_mut().request_bytes = bytes.len() as u64;
                Payload::Kept(bytes, permit)
            }
            Received::Flowing { start, rest, length, permit } => {
                record.trace_mut().request_bytes = length.unwrap_or(start.len() as u64);
                record.trace_mut().unretriable = true;
                Payload::Flowing(Some((start, rest)), permit)
            }
        };
        let Some(name) = scan.model.as_ref().map(|text| text.text.clone()).filter(|name| !name.is_empty()) else {
            return Err(Box::new((Failure::model_required(api), record)));
        };
        let keep_alive = match (&scan.keep_alive, api.dialect(), &payload) {
            (Some(at), Dialect::Ollama, Payload::Kept(body, _)) => match dialect::keep_alive(&body[at.clone()]) {
                Ok(wish) => wish,
                Err(failure) => return Err(Box::new((failure, record))),
            },
            _ => None,
        };
        let only = door.fleet().at_machine(&name).map(|(bare, node)| (bare.to_owned(), node));
        let (name, only) = only.map_or((name, None), |(bare, node)| (bare, Some(node)));
        let mut asked = vec![name];
        // Anthropic's own names mean "the best there is" here; whoever has a model of that name gets it.
        if api.dialect() == Dialect::Anthropic && is_anthropics(&asked[0]) {
            asked.extend(door.fleet().stand_in(&asked[0]).map(|model| model.to_string()));
        }
        asked.append(&mut scan.fallback_models);
        if asked.iter().any(|name| name.len() > LONGEST_MODEL) {
            // Ollama's words for a name that cannot be one.
            return Err(Box::new((Failure::new(Cause::BadRequest, "invalid model name"), record)));
        }
        let app = app(&parts.headers);
        let trace = record.trace_mut();
        trace.original_model = scan.model.as_ref().map_or_else(|| asked[0].clone(), |text| text.text.clone());
        trace.model = asked[0].clone();
        trace.estimated_tokens = scan.text_bytes / 4 + scan.max_tokens.unwrap_or(ANSWER_TOKENS);
        trace.text_bytes = scan.text_bytes;
        trace.images = scan.images;
        trace.app = app.as_deref().map(str::to_owned);
        trace.tags = tags(std::mem::take(&mut scan.tags), &parts.headers, scan.user.as_deref());
        let session = session(&parts.headers, &scan);
        record.trace_mut().session = session;
        let models = asked.iter().map(|name| ModelName::new(name)).collect();
        let is_batch = is_batch(&parts.headers);
        Ok(Exchange {
            worker,
            api,
            path_and_query: parts.uri.path_and_query().map_or_else(|| api.path().to_owned(), ToString::to_string),
            session,
            headers: parts.headers,
            payload,
            models,
            asked,
            only,
            guest: None,
            pinned: None,
            age: std::time::Duration::ZERO,
            failed: Failed::default(),
            is_batch,
            keep_alive,
            streamed: scan.stream.unwrap_or(api.streams_by_default()),
            scan,
            ignored: String::new(),
            app,
            record,
        })
    }

    /// How long the client wishes the model to stay.
    pub(crate) fn keep_alive(&self) -> Option<KeepAlive> {
        self.keep_alive
    }

    /// What `/api/show` says of the model, where its server does not say it.
    pub(crate) fn shown(&self) -> Option<Bytes> {
        let model = self.models.first().filter(|_| self.api == Api::OllamaShow)?;
        self.worker.door().listings().show(model)
    }

    /// The models asked for, in order of preference.
    pub(crate) fn models(&self) -> &[ModelName] {
        &self.models
    }

    /// The same request, sent here by another node's door; `age`: how old it was then, `model`: the one that is meant.
    pub(crate) fn for_guest(mut self, guest: Guest, model: Option<String>, age: std::time::Duration) -> Exchange {
        self.guest = Some(guest);
        self.pinned = model.filter(|model| model.len() <= LONGEST_MODEL).map(|model| {
            let name = ModelName::new(&model);
            self.models.iter().position(|known| *known == name).unwrap_or_else(|| {
                // The door has a stand-in of its own.
                self.asked.push(model);
                self.models.push(name);
                self.models.len() - 1
            })
        });
        self.age = age;
        self
    }

    fn ask(&self) -> Ask {
        let models = match self.pinned {
            Some(model) => vec![self.models[model].clone()],
            None => self.models.clone(),
        };
        Ask {
            api: self.api,
            models,
            app: self.app.clone(),
            estimated_tokens: self.record.trace().estimated_tokens,
            text_bytes: self.scan.text_bytes,
            images: self.scan.images,
            max_tokens: self.scan.max_tokens,
            context_wanted: self.scan.num_ctx.filter(|tokens| *tokens >= LEAST_CONTEXT),
            cuts: self.api.dialect() == Dialect::Ollama && self.scan.truncate != Some(false),
            keep_alive: self.keep_alive,
            session: self.session,
            excluded: self.failed.backends.clone(),
            excluded_nodes: self.failed.nodes.clone(),
            only: self.only,
            now_only: false,
            tools: self.scan.tools,
            is_batch: self.is_batch,
            guest: self.guest,
            streams: self.streamed,
            arrived: self.record.arrived(),
            age: self.age,
        }
    }

    /// Places the request and tries it until there is content, or nothing more to try.
    pub(crate) async fn run(mut self) -> Result<Begun, Box<Refused>> {
        let mut last: Option<Wrong> = None;
        loop {
            let placed = match self.worker.door().fleet().place(self.ask()) {
                Placing::Now(placed) => placed,
                Placing::Later(placed) => placed.await,
            };
            let mut ticket = match placed {
                Ok(ticket) => ticket,
                // What the last backend said tells more than that there is no other.
                Err(no) => {
                    let meaning = if no.is_bounce { Meaning::Bounce } else { Meaning::Again };
                    return Err(self.refuse(last.unwrap_or_else(|| Wrong::ours(no.failure)), meaning));
                }
            };
            ticket.model = self.pinned.unwrap_or(ticket.model);
            match self.attempt_beside(ticket).await {
                Attempted::Begun(status, headers, first, flow) => {
                    return Ok(Begun {
                        status,
                        headers: self.answer_headers(headers),
                        first,
                        flow,
                        record: self.record,
                    });
                }
                Attempted::Final(wrong) => return Err(self.refuse(wrong, Meaning::Final)),
                Attempted::Bounced => {}
                Attempted::Unreachable(wrong) if self.guest.is_none() => {
                    // The router rests it and bounds the wait; meanwhile its server may be starting again.
                    self.record.attempt_failed(&wrong.failure.message);
                }
                Attempted::Again(wrong) | Attempted::Unreachable(wrong) => {
                    self.record.attempt_failed(&wrong.failure.message);
                    self.failed.tries += 1;
                    match &self.record.trace().server {
                        Some(server) => self.failed.nodes.push(server.id),
                        None => self.failed.backends.extend(self.record.trace().backend.clone()),
                    }
                    let tried_enough = self.failed.tries > self.worker.door().settings().max_retries as usize;
                    let sent_for_good = matches!(self.payload, Payload::Flowing(None, _));
                    if tried_enough || sent_for_good {
                        return Err(self.refuse(wrong, Meaning::Again));
                    }
                    last = Some(wrong);
                }
            }
        }
    }

    /// What Herd says about the request, added to `answer`.
    fn answer_headers(&self, mut answer: HeaderMap) -> HeaderMap {
        let trace = self.record.trace();
        let ready = self.worker.door().ready();
        let requested = headers::value(&trace.original_model);
        let is_as_asked = trace.model == trace.original_model;
        let served = if is_as_asked { requested.clone() } else { headers::value(&trace.model) };
        if trace.fallback_used {
            answer.insert(headers::FALLBACK, served.clone());
        }
        answer.insert(headers::SERVED_MODEL, served);
        answer.insert(headers::REQUESTED_MODEL, requested);
        if let Some(backend) = &trace.backend {
            answer.insert(headers::BACKEND, ready.backend(backend));
        }
        if let Some(server) = &trace.server {
            answer.insert(headers::NODE, headers::value(&server.name));
        }
        let retries = trace.attempts.iter().filter(|attempt| attempt.error.is_some()).count();
        if trace.queued_ms >= 1.0 {
            answer.insert(headers::QUEUED, headers::number(trace.queued_ms as i64));
        }
        answer.insert(headers::RETRIES, headers::number(retries as i64));
        let score = trace.candidates.first().map_or(0.0, proto::Candidate::total);
        answer.insert(headers::SCORE, headers::number(score as i64));
        answer.insert(headers::CONTEXT, HeaderValue::from_static(trace.context_verdict.unwrap_or("passed")));
        if !self.ignored.is_empty() {
            answer.insert(headers::IGNORED, headers::value(&self.ignored));
        }
        answer
    }

    /// What looks at the answer, where it is to be stored or to say that it is not.
    fn keeping(&self, is_translated: bool, streamed: bool) -> Option<Box<Keeping>> {
        let (Api::Responses, Payload::Kept(body, _), None) = (self.api, &self.payload, self.guest) else { return None };
        let owner = self.record.owner().cloned();
        Keeping::new(self.worker.door().responses(), owner, body, &self.scan.storing, is_translated, streamed)
    }

    fn refuse(mut self, wrong: Wrong, meaning: Meaning) -> Box<Refused> {
        let Wrong { status, headers, body, failure } = wrong;
        let mut headers = self.answer_headers(headers);
        let dialect = self.api.dialect();
        let body = body.unwrap_or_else(|| {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(Failure::content_type(dialect)));
            failure.body(dialect)
        });
        reply::retry_after(&failure, &mut headers);
        let outcome = if self.record.trace().backend.is_none() { Outcome::Rejected } else { Outcome::Failed };
        self.record.end(outcome, status.as_u16(), Some(failure.message.clone()));
        Box::new(Refused {
            status,
            headers,
            body,
            failure,
            record: self.record,
            is_bounce: meaning == Meaning::Bounce,
            is_final: meaning == Meaning::Final,
        })
    }
}

/// Whether `model` is one of Anthropic's own names, which Claude Code and its kin send whatever is behind the address.
fn is_anthropics(model: &str) -> bool {
    model.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("claude-"))
}
