//! The life of one inference request: read, placed, tried, tried elsewhere, and handed over with its first content.
//!
//! Runs inside the request's own future. Dropping that (the client left) closes the connection to the backend, gives
//! the slot back and reports the trace, each by a `Drop`.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::{AnswerTranslator, Cause, Edit, Expect, Failure, Note, Scan, StreamWatch, Text, Translated};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode, request};
use hyper::body::Incoming;
use proto::{Api, BackendId, BackendKind, BackendState, Capability, ModelName, Outcome};

use crate::answer::Flow;
use crate::body::{self, Received};
use crate::budget::Permit;
use crate::door::Worker;
use crate::fleet::{Ask, Ending, Placing, Ticket};
use crate::headers;
use crate::record::Record;
use crate::reply;
use crate::upstream::{Asked, Broken, Head, Inflow, Length, Outgoing, Upstream, request_head};
use crate::verdict::{self, Verdict};

/// Bytes of a whole answer that are collected before its first byte is sent on, so that a backend that breaks off can
/// still be replaced. Larger answers (many embeddings) flow from there on.
const WHOLE_MOST: usize = 1 << 20;
/// Bytes of records without content that are held back while waiting for content; beyond that they flow.
const HELD_MOST: usize = 64 * 1024;
/// Bytes of a backend's error answer that are read, and how long they may take.
const ERROR_MOST: usize = 64 * 1024;
const ERROR_LONGEST: Duration = Duration::from_secs(5);
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

/// A request that was translated: the call that was made, and what its answer is to become.
struct Translation {
    upstream: Api,
    expect: Expect,
}

/// How one attempt ended.
enum Attempted {
    /// With an answer.
    Begun(StatusCode, HeaderMap, Bytes, Option<Box<Flow>>),
    /// Nothing was sent, because nobody listens there: it may come back, or another may serve.
    Unreachable(Wrong),
    /// With an error that another backend may not make.
    Again(Wrong),
    /// With an error that all would make.
    Final(Wrong),
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
        parts: request::Parts,
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

    async fn attempt(&mut self, mut ticket: Ticket) -> Attempted {
        let model = ticket.model.min(self.asked.len() - 1);
        // A server with one model that answers to any name serves that model, whatever it was called.
        let served = match ticket.backend.models.first() {
            Some(only) if ticket.backend.ignores_model_name => only.id.clone(),
            _ => self.asked[model].clone(),
        };
        self.record.placed(&mut ticket, served, model > 0);
        let worker = self.worker.clone();
        let backend = ticket.backend.clone();
        let fails = |broken: &Broken| {
            worker.door().fleet().suspect(&backend.id);
            Failure::new(Cause::BadGateway, format!("the inference server `{}` {broken}", backend.id))
        };
        let Ticket { slot, mut moved, .. } = ticket;
        // A sender that is dropped without a word means that nothing will move.
        let mut moved = std::pin::pin!(async {
            if (&mut moved).await.is_err() {
                pending::<()>().await;
            }
        });
        let (head, mut inflow, translation) = loop {
            let kept = match self.payload {
                Payload::Kept(..) => worker.pool().take(&backend.address),
                // A body that cannot be sent twice goes over a connection that cannot be stale.
                Payload::Flowing(..) => None,
            };
            let upstream = match kept {
                Some(upstream) => upstream,
                None => match Upstream::connect(&backend.address).await {
                    Ok(upstream) => upstream,
                    Err(broken) => {
                        let failure = fails(&broken);
                        slot.finish(Ending::Failed);
                        return Attempted::Unreachable(Wrong::ours(failure));
                    }
                },
            };
            let (outgoing, translation) = match self.request(&backend, model) {
                Ok(request) => request,
                Err(failure) => {
                    slot.finish(Ending::Refused);
                    return Attempted::Final(Wrong::ours(failure));
                }
            };
            let asked = tokio::select! {
                biased;
                asked = upstream.ask(outgoing, false) => asked,
                () = &mut moved => Err(Asked { broken: Broken::Hung, is_stale: false }),
            };
            match asked {
                Ok((head, inflow)) => break (head, inflow, translation),
                Err(Asked { is_stale: true, .. }) => {}
                Err(Asked { broken: Broken::Client, .. }) => {
                    slot.finish(Ending::ClientLeft);
                    let failure = Failure::new(Cause::BadRequest, "the request body broke off");
                    return Attempted::Final(Wrong::ours(failure));
                }
                Err(Asked { broken, .. }) => {
                    let failure = fails(&broken);
                    slot.finish(Ending::Failed);
                    return Attempted::Again(Wrong::ours(failure));
                }
            }
        };
        if head.status.as_u16() >= 300 {
            let (verdict, wrong) = self.judge(&backend, head, inflow, translation).await;
            slot.finish(verdict.ending());
            return if verdict.asks_for_another() { Attempted::Again(wrong) } else { Attempted::Final(wrong) };
        }
        let Head { status, mut headers } = head;
        let streamed = self.streamed && is_stream(&headers);
        let mut watch = StreamWatch::new(translation.as_ref().map_or(self.api, |way| way.upstream), streamed);
        let mut translator = translation.map(|translation| {
            let clock = worker.door().clock();
            Box::new(AnswerTranslator::new(
                translation.expect,
                self.record.trace().request_id.as_str(),
                clock.unix_ms(),
            ))
        });
        if let Some(translator) = &translator {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(translator.content_type()));
        }
        let begun = tokio::select! {
            biased;
            begun = first_content(&mut inflow, &mut watch, translator.as_deref_mut(), streamed) => begun,
            () = &mut moved => Err(Wait::Broken(Broken::Hung)),
        };
        match begun {
            Ok((first, is_all)) => {
                self.record.first_content(streamed);
                if is_all {
                    let mut end = watch.finish();
                    self.record.answered(&mut end);
                    self.record.trace_mut().response_bytes = first.len() as u64;
                    self.record.end(Outcome::Completed, status.as_u16(), None);
                    slot.finish(Ending::Answered);
                    if let Some(upstream) = inflow.into_upstream() {
                        worker.pool().give(&backend.address, upstream);
                    }
                    Attempted::Begun(status, headers, first, None)
                } else {
                    slot.first_content();
                    self.record.trace_mut().response_bytes = first.len() as u64;
                    let flow = Flow::new(worker.clone(), backend, self.api, streamed, inflow, watch, translator, slot);
                    Attempted::Begun(status, headers, first, Some(Box::new(flow)))
                }
            }
            Err(wait) => {
                let failure = match wait {
                    Wait::Broken(broken) => fails(&broken),
                    Wait::Nothing => fails(&Broken::Silent),
                    Wait::Said(text) => Failure::new(Cause::BadGateway, text),
                };
                slot.finish(Ending::Failed);
                Attempted::Again(Wrong::ours(failure))
            }
        }
    }

    /// Reads an error answer and tells whose mistake it is.
    async fn judge(
        &self,
        backend: &BackendState,
        head: Head,
        mut inflow: Inflow,
        translation: Option<Translation>,
    ) -> (Verdict, Wrong) {
        let mut body = BytesMut::new();
        let _ = tokio::time::timeout(ERROR_LONGEST, async {
            while let Some(Ok(bytes)) = inflow.bytes().await {
                body.extend_from_slice(&bytes[..bytes.len().min(ERROR_MOST - body.len())]);
                if body.len() >= ERROR_MOST {
                    break;
                }
            }
        })
        .await;
        if let Some(upstream) = inflow.into_upstream() {
            self.worker.pool().give(&backend.address, upstream);
        }
        let body = body.freeze();
        let status = head.status.as_u16();
        let called = translation.as_ref().map_or(self.api, |translation| translation.upstream);
        let verdict = if status < 400 { Verdict::Failed } else { verdict::judge(called, status, &body) };
        let said = dialect::error_text(&body);
        let dialect = self.api.dialect();
        if verdict == Verdict::NotSpoken {
            let text = format!("`{}` does not offer {}", backend.id, called.path());
            return (verdict, Wrong::ours(Failure::new(Cause::Unsupported, text)));
        }
        if verdict == Verdict::ModelGone {
            self.worker.door().fleet().refresh(&backend.id);
        } else if verdict == Verdict::Failed {
            self.worker.door().fleet().suspect(&backend.id);
        }
        let said =
            if said.is_empty() { format!("the inference server `{}` answered {status}", backend.id) } else { said };
        let mut failure = Failure::new(cause(status), said);
        if verdict == Verdict::Busy {
            failure.retry_after_s = Some(retry_after(&head.headers));
        }
        if body.is_empty() || status < 400 {
            return (verdict, Wrong::ours(failure));
        }
        let mut shown = head.headers;
        if let Some(translation) = translation {
            let (status, body) = AnswerTranslator::error(&translation.expect, status, &body);
            shown.insert(CONTENT_TYPE, HeaderValue::from_static(Failure::content_type(dialect)));
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            return (verdict, Wrong { status, headers: shown, body: Some(body), failure });
        }
        let body = match dialect::reshape_error(status, &body, dialect) {
            Some(reshaped) => {
                shown.insert(CONTENT_TYPE, HeaderValue::from_static(Failure::content_type(dialect)));
                reshaped
            }
            None => body,
        };
        (verdict, Wrong { status: head.status, headers: shown, body: Some(body), failure })
    }

    /// The request as the backend gets it, and what turns its answer into the client's words where that is needed.
    fn request(&mut self, backend: &BackendState, model: usize) -> Result<(Outgoing, Option<Translation>), Failure> {
        if let Some(upstream) = dialect::way(self.api, backend.kind, backend.speaks)
            && upstream != self.api
        {
            return self.translated(backend, model);
        }
        let edits = self.edits(backend, model);
        let host = backend.address.authority();
        let target = [backend.address.base_path.as_str(), self.path_and_query.as_str()];
        let token = self.worker.door().settings().token();
        let head = |length| request_head(&Method::POST, target, &host, &self.headers, length, token);
        let outgoing = match &mut self.payload {
            Payload::Kept(bytes, _) => {
                let pieces = dialect::splice(bytes, edits);
                Outgoing::kept(head(Length::Known(pieces.len())), pieces)
            }
            Payload::Flowing(flowing, _) => {
                let (start, rest) =
                    flowing.take().ok_or_else(|| Failure::new(Cause::Internal, "a body was to be sent twice"))?;
                // Edits beyond what was read are not known; those within it are.
                let edited: Vec<Bytes> = dialect::splice(&start, edits).into_iter().collect();
                let start = match <[Bytes; 1]>::try_from(edited) {
                    Ok([whole]) => whole,
                    Err(pieces) => pieces.concat().into(),
                };
                let length = match http_body::Body::size_hint(&rest).exact() {
                    Some(left) => Length::Known(start.len() as u64 + left),
                    None => Length::Chunked,
                };
                Outgoing::flowing(head(length), start, rest, length == Length::Chunked)
            }
        };
        Ok((outgoing, None))
    }

    /// The request in the words of a backend that does not know the client's.
    fn translated(&mut self, backend: &BackendState, model: usize) -> Result<(Outgoing, Option<Translation>), Failure> {
        let Payload::Kept(bytes, _) = &self.payload else {
            let mut failure = Failure::new(
                Cause::Busy,
                "other large requests fill the memory for request bodies, and this one must be translated: try again",
            );
            failure.retry_after_s = Some(1);
            return Err(failure);
        };
        let known = backend.model(&self.models[model]);
        let name = known.map_or(self.asked[model].as_str(), |known| known.id.as_str());
        let thinks = known
            .filter(|known| !known.capabilities.is_empty())
            .map(|known| known.capabilities.contains(&Capability::Thinking));
        let target = dialect::Target { kind: backend.kind, model: name, thinks };
        let Translated { upstream, body, notes, expect } = dialect::translate_for(self.api, target, bytes)?;
        let ignored = notes.iter().filter_map(|note| match note {
            Note::Ignored(field) => Some(field.as_ref()),
            Note::Emulated(_) => None,
        });
        self.ignored = ignored.collect::<Vec<&str>>().join(", ");
        let target = [backend.address.base_path.as_str(), upstream.path()];
        let token = self.worker.door().settings().token();
        // Whatever type the client gave its own body, this one is JSON.
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let length = Length::Known(body.len() as u64);
        let head = request_head(&Method::POST, target, &backend.address.authority(), &self.headers, length, token);
        Ok((Outgoing::kept(head, body.into()), Some(Translation { upstream, expect })))
    }

    /// What changes in the body on its way to this backend.
    fn edits(&self, backend: &BackendState, model: usize) -> Vec<Edit> {
        let mut edits: Vec<Edit> =
            self.own.iter().map(|range| Edit { range: range.clone(), with: Bytes::new() }).collect();
        if let (Some(text), Some(name)) = (&self.model_text, self.name_for(backend, model)) {
            // Multipart forms have the bare name, JSON has a string.
            let with = match self.api {
                Api::Transcriptions => Bytes::from(name.to_owned()),
                _ => dialect::json_string(name),
            };
            edits.push(Edit { range: text.range.clone(), with });
        }
        edits
    }

    /// The name that the backend wants to hear instead of the one in the body, where it is another.
    ///
    /// Ollama knows all spellings of a name and repeats the client's in its answers; `llama-server` with one model does
    /// not look at it. Others know a model by one exact id.
    fn name_for<'a>(&'a self, backend: &'a BackendState, model: usize) -> Option<&'a str> {
        let by_one_id = !matches!(backend.kind, BackendKind::Ollama | BackendKind::LlamaServer);
        let wanted = match backend.model(&self.models[model]) {
            Some(known) if by_one_id => known.id.as_str(),
            _ => self.asked[model].as_str(),
        };
        (wanted != self.asked[0]).then_some(wanted)
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

/// Why there was no content.
enum Wait {
    Broken(Broken),
    /// The answer ended without any.
    Nothing,
    /// An error record came instead.
    Said(String),
}

/// Waits for the first content: of a stream, all records up to it; of a whole answer, all of it where it is not too
/// large. Tells whether that is all there is.
async fn first_content(
    inflow: &mut Inflow,
    watch: &mut StreamWatch,
    mut translator: Option<&mut AnswerTranslator>,
    streamed: bool,
) -> Result<(Bytes, bool), Wait> {
    let most = if streamed { HELD_MOST } else { WHOLE_MOST };
    let mut held = Bytes::new();
    loop {
        let bytes = match inflow.bytes().await {
            Some(Ok(bytes)) => bytes,
            Some(Err(broken)) => return Err(Wait::Broken(broken)),
            None => match translator {
                Some(translator) => {
                    let mut rest = Vec::new();
                    translator.finish(&mut rest).map_err(|failure| Wait::Said(failure.message))?;
                    return Ok((joined(held, rest.into()), true));
                }
                None if streamed => return Err(Wait::Nothing),
                None => return Ok((held, true)),
            },
        };
        let seen = watch.feed(&bytes);
        if let Some(text) = seen.error
            && streamed
            && !seen.content
        {
            return Err(Wait::Said(text));
        }
        match translator.as_deref_mut() {
            None => {
                held = joined(held, bytes);
                if (streamed && seen.content) || held.len() >= most {
                    return Ok((held, false));
                }
            }
            Some(translator) => {
                let mut out = Vec::new();
                translator.feed(&bytes, &mut out).map_err(|failure| Wait::Said(failure.message))?;
                held = joined(held, out.into());
                // What is collected to be translated whole is bounded by the translator.
                if streamed && !held.is_empty() && (seen.content || held.len() >= most) {
                    return Ok((held, false));
                }
            }
        }
    }
}

/// The usual case is that one of them is empty, and then nothing is copied.
fn joined(before: Bytes, after: Bytes) -> Bytes {
    if before.is_empty() {
        return after;
    }
    let mut joined = BytesMut::from(before);
    joined.extend_from_slice(&after);
    joined.freeze()
}

fn facts(api: Api, headers: &HeaderMap, received: &Received) -> Result<Scan, Failure> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if api == Api::Transcriptions {
        let Some(boundary) = dialect::boundary(content_type) else {
            let text = "audio is sent as multipart/form-data";
            return Err(Failure::new(Cause::UnsupportedMediaType, text));
        };
        let bytes = match received {
            Received::Kept { bytes, .. } => bytes,
            Received::Flowing { start, .. } => start,
        };
        let model = dialect::multipart_model(bytes, boundary);
        return Ok(Scan { model, has_input: true, stream: Some(false), ..Scan::default() });
    }
    if content_type.len() >= 10 && content_type.as_bytes()[..10].eq_ignore_ascii_case(b"multipart/") {
        return Err(Failure::new(Cause::UnsupportedMediaType, "this call takes application/json"));
    }
    match received {
        Received::Kept { bytes, .. } => {
            dialect::scan(bytes, api == Api::OllamaShow).map_err(|bad| Failure::from_bad_body(&bad, api))
        }
        Received::Flowing { start, length, .. } => match dialect::scan_start(start) {
            Some(model) => Ok(Scan { model: Some(model), text_bytes: length.unwrap_or(0), ..Scan::default() }),
            None => {
                let mut failure = Failure::new(
                    Cause::Busy,
                    "other large requests fill the memory for request bodies, and this one does not name its model \
                     in its first 64 KiB: try again, or put \"model\" first",
                );
                failure.retry_after_s = Some(1);
                Err(failure)
            }
        },
    }
}

/// The product in a User-Agent, without its version: `ollama-python`, `OpenAI/Python`, `claude-cli`.
fn app(headers: &HeaderMap) -> Option<Arc<str>> {
    let agent = headers.get(http::header::USER_AGENT)?.to_str().ok()?;
    let product = agent.split([' ', '(']).next().unwrap_or("");
    let name = match product.rsplit_once('/') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit() || c == 'v') => name,
        _ => product,
    };
    let name = &name[..name.len().min(64)];
    (!name.is_empty()).then(|| Arc::from(name))
}

/// Tags from the body, the header and the user, in that order, without doubles.
fn tags(mut tags: Vec<String>, headers: &HeaderMap, user: Option<&str>) -> Vec<String> {
    const MOST: usize = 32;
    if let Some(listed) = headers.get(headers::TAGS).and_then(|value| value.to_str().ok()) {
        tags.extend(
            listed.split(',').map(str::trim).filter(|tag| !tag.is_empty() && tag.len() <= 128).map(str::to_owned),
        );
    }
    if let Some(user) = user.filter(|user| !user.is_empty()) {
        tags.push(format!("user:{user}"));
    }
    let mut seen = std::collections::BTreeSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    tags.truncate(MOST);
    tags
}

fn is_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    content_type.starts_with("text/event-stream") || content_type.starts_with("application/x-ndjson")
}

fn cause(status: u16) -> Cause {
    match status {
        400 | 422 => Cause::BadRequest,
        401 => Cause::Unauthorized,
        403 => Cause::Forbidden,
        404 => Cause::ModelNotFound,
        413 => Cause::TooLarge,
        415 => Cause::UnsupportedMediaType,
        429 => Cause::TooManyRequests,
        501 => Cause::Unsupported,
        503 => Cause::Busy,
        504 => Cause::GatewayTimeout,
        400..=499 => Cause::BadRequest,
        _ => Cause::BadGateway,
    }
}

fn retry_after(headers: &HeaderMap) -> u32 {
    let said = headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    said.unwrap_or(2).clamp(1, 120)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_known_by_its_agent() {
        for (agent, name) in [
            ("ollama-python/0.6.3 (x86_64 linux) Python/3.11", Some("ollama-python")),
            ("OpenAI/Python 3.52.0", Some("OpenAI/Python")),
            ("claude-cli/2.0.1 (external, cli)", Some("claude-cli")),
            ("curl/7.88.1", Some("curl")),
            ("litellm", Some("litellm")),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::USER_AGENT, HeaderValue::from_str(agent).unwrap());
            assert_eq!(app(&headers).as_deref(), name, "{agent}");
        }
    }

    #[test]
    fn tags_come_once_and_in_order() {
        let mut headers = HeaderMap::new();
        headers.insert(headers::TAGS, HeaderValue::from_static("b, c,,a"));
        let found = tags(vec!["a".to_owned(), "b".to_owned()], &headers, Some("me"));
        assert_eq!(found, ["a", "b", "c", "user:me"]);
    }
}
