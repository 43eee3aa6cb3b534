//! The life of one inference request: read, placed, tried, tried elsewhere, and handed over with its first content.
//!
//! Runs inside the request's own future. Dropping that (the client left) closes the connection to the backend, gives
//! the slot back and reports the trace, each by a `Drop`.

mod attempt;
mod facts;
mod request;

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Cause, Failure, Text};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode, request as parts};
use hyper::body::Incoming;
use proto::{Api, BackendId, ModelName, Outcome};

use crate::answer::Flow;
use crate::body::{self, Received};
use crate::budget::Permit;
use crate::door::Worker;
use crate::fleet::{Ask, Placing};
use crate::headers;
use crate::record::Record;
use crate::reply;
use attempt::Attempted;
use facts::{app, facts, tags};

/// Bytes of the longest model name that is looked for: ids of some servers are file paths. A longer one is refused, for it
/// would go into headers, which many clients take 8 KiB of.
const LONGEST_MODEL: usize = 1024;
/// Tokens that an answer is taken to have when the request does not bound it.
const ANSWER_TOKENS: u64 = 256;

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
    /// Where the model's name stands in the body.
    model_text: Option<Text>,
    /// What no backend should see.
    own: Vec<std::ops::Range<usize>>,
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
}

/// An error answer in the making.
struct Wrong {
    status: StatusCode,
    headers: HeaderMap,
    body: Option<Bytes>,
    failure: Failure,
}

impl Wrong {
    fn ours(failure: Failure) -> Wrong {
        let status = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Wrong { status, headers: HeaderMap::new(), body: None, failure }
    }
}

impl Exchange {
    /// Reads a request. The error has the record in it, so that it is reported with the right status.
    pub(crate) async fn read(
        worker: Arc<Worker>,
        api: Api,
        parts: parts::Parts,
        body: Incoming,
        mut record: Box<Record>,
    ) -> Result<Exchange, Box<(Failure, Box<Record>)>> {
        let door = worker.door();
        if let Some(encoding) = parts.headers.get(http::header::CONTENT_ENCODING)
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            let text = "compressed request bodies are not taken: send it without Content-Encoding";
            return Err(Box::new((Failure::new(Cause::UnsupportedMediaType, text), record)));
        }
        let received = match body::receive(body, door.settings().limits.body, door.budget()).await {
            Ok(received) => received,
            Err(failure) => return Err(Box::new((failure, record))),
        };
        let facts = match facts(api, &parts.headers, &received) {
            Ok(facts) => facts,
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
        let Some(text) = facts.model else {
            return Err(Box::new((Failure::model_required(api), record)));
        };
        if text.text.is_empty() {
            return Err(Box::new((Failure::model_required(api), record)));
        }
        let mut asked = vec![text.text.clone()];
        asked.extend(facts.fallback_models);
        if asked.iter().any(|name| name.len() > LONGEST_MODEL) {
            // Ollama's words for a name that cannot be one.
            return Err(Box::new((Failure::new(Cause::BadRequest, "invalid model name"), record)));
        }
        let app = app(&parts.headers);
        let trace = record.trace_mut();
        trace.original_model = text.text.clone();
        trace.model = text.text.clone();
        trace.estimated_tokens = facts.text_bytes / 4 + facts.max_tokens.unwrap_or(ANSWER_TOKENS);
        trace.app = app.as_deref().map(str::to_owned);
        trace.tags = tags(facts.tags, &parts.headers, facts.user.as_deref());
        Ok(Exchange {
            worker,
            api,
            path_and_query: parts.uri.path_and_query().map_or_else(|| api.path().to_owned(), ToString::to_string),
            headers: parts.headers,
            payload,
            models: asked.iter().map(|name| ModelName::new(name)).collect(),
            asked,
            model_text: Some(text),
            own: facts.own,
            streamed: facts.stream.unwrap_or(api.streams_by_default()),
            ignored: String::new(),
            app,
            record,
        })
    }

    /// Places the request and tries it until there is content, or nothing more to try.
    pub(crate) async fn run(mut self) -> Result<Begun, Box<Refused>> {
        let mut last: Option<Wrong> = None;
        let mut failed: Vec<BackendId> = Vec::new();
        loop {
            let ask = Ask {
                api: self.api,
                models: self.models.clone(),
                app: self.app.clone(),
                estimated_tokens: self.record.trace().estimated_tokens,
                excluded: failed.clone(),
                streams: self.streamed,
                arrived: self.record.arrived(),
            };
            let placed = match self.worker.door().fleet().place(ask) {
                Placing::Now(placed) => placed,
                Placing::Later(placed) => placed.await,
            };
            let ticket = match placed {
                Ok(ticket) => ticket,
                // What the last backend said tells more than that there is no other.
                Err(failure) => return Err(self.refuse(last.unwrap_or_else(|| Wrong::ours(failure)))),
            };
            match self.attempt(ticket).await {
                Attempted::Begun(status, headers, first, flow) => {
                    return Ok(Begun {
                        status,
                        headers: self.answer_headers(headers),
                        first,
                        flow,
                        record: self.record,
                    });
                }
                Attempted::Final(wrong) => return Err(self.refuse(wrong)),
                Attempted::Unreachable(wrong) => {
                    // The router rests it and bounds the wait; meanwhile its server may be starting again.
                    self.record.attempt_failed(&wrong.failure.message);
                }
                Attempted::Again(wrong) => {
                    self.record.attempt_failed(&wrong.failure.message);
                    failed.extend(self.record.trace().backend.clone());
                    let tried_enough = failed.len() > self.worker.door().settings().max_retries as usize;
                    let sent_for_good = matches!(self.payload, Payload::Flowing(None, _));
                    if tried_enough || sent_for_good {
                        return Err(self.refuse(wrong));
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
        let retries = trace.attempts.iter().filter(|attempt| attempt.error.is_some()).count();
        answer.insert(headers::RETRIES, headers::number(retries as i64));
        let score = trace.candidates.first().map_or(0.0, proto::Candidate::total);
        answer.insert(headers::SCORE, headers::number(score as i64));
        answer.insert(headers::CONTEXT, HeaderValue::from_static("passed"));
        if !self.ignored.is_empty() {
            answer.insert(headers::IGNORED, headers::value(&self.ignored));
        }
        answer
    }

    fn refuse(mut self, wrong: Wrong) -> Box<Refused> {
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
        Box::new(Refused { status, headers, body, failure, record: self.record })
    }
}
