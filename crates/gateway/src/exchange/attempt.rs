//! One try at one backend: sent, judged, and waited for until there is content.

use std::future::pending;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::{AnswerTranslator, Cause, Failure, StreamWatch};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use proto::{Api, BackendState, Dialect, Outcome};

use super::request::{Placed, Translation};
use super::{Exchange, Payload, Wrong};
use crate::answer::Flow;
use crate::fleet::{Ending, Ticket};
use crate::pulse::Nature;
use crate::source::Source;
use crate::upstream::{Asked, Broken, Head, Inflow, Upstream};
use crate::verdict::{self, Verdict};

/// Bytes of a whole answer that are collected before its first byte is sent on, so that a backend that breaks off can
/// still be replaced. Larger answers (many embeddings) flow from there on.
const WHOLE_MOST: usize = 1 << 20;
/// Bytes of records without content that are held back while waiting for content; beyond that they flow.
const HELD_MOST: usize = 64 * 1024;
/// Bytes of a backend's error answer that are read, and how long they may take.
const ERROR_MOST: usize = 64 * 1024;
const ERROR_LONGEST: Duration = Duration::from_secs(5);

/// How one attempt ended.
pub(super) enum Attempted {
    /// With an answer.
    Begun(StatusCode, HeaderMap, Bytes, Option<Box<Flow>>),
    /// Another node had no room: no attempt was made.
    Bounced,
    /// Nothing was sent, because nobody listens there: it may come back, or another may serve.
    Unreachable(Wrong),
    /// With an error that another backend may not make.
    Again(Wrong),
    /// With an error that all would make.
    Final(Wrong),
}

impl Exchange {
    /// Tries a backend; its slot is given back however that ends.
    pub(super) async fn attempt(&mut self, mut ticket: Ticket) -> Attempted {
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
        let placed = Placed { context: ticket.context, prompt_tokens: ticket.prompt_tokens };
        let Ticket { slot, mut moved, .. } = ticket;
        // A sender that is dropped without a word means that nothing will move.
        let mut moved = std::pin::pin!(async {
            if (&mut moved).await.is_err() {
                pending::<()>().await;
            }
        });
        let (head, inflow, translation) = loop {
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
            let (outgoing, translation) = match self.request(&backend, model, placed) {
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
        let mut inflow = Source::Backend(inflow);
        let streamed = self.streamed && is_stream(&headers);
        let mut watch = StreamWatch::new(translation.as_ref().map_or(self.api, |way| way.upstream), streamed);
        let mut translator = translation.map(|translation| {
            let (door, request_id) = (worker.door(), &self.record.trace().request_id);
            let id = match self.api {
                Api::Responses => door.responses().id(request_id),
                _ => request_id.to_string(),
            };
            Box::new(AnswerTranslator::new(translation.expect, &id, door.clock().unix_ms()))
        });
        let mut keeping = self.keeping(translator.is_some(), streamed || translator.is_some() && self.streamed);
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
                let first = match &mut keeping {
                    Some(keeping) => keeping.begin(first, is_all),
                    None => first,
                };
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
                    let slots = self.record.trace().candidates.first().map_or(1, |chosen| chosen.slots);
                    let nature = Nature { calls: self.scan.tools, is_shared: slots > 1 };
                    let flow = Flow::new(
                        worker.clone(),
                        backend,
                        self.api,
                        streamed,
                        inflow,
                        watch,
                        translator,
                        keeping,
                        slot,
                        nature,
                    );
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
        // Clients of OpenAI and Anthropic try a 500 again, and this one would be the same each time.
        if verdict == Verdict::ClientsMistake && dialect != Dialect::Ollama && status >= 500 && translation.is_none() {
            return (verdict, Wrong::ours(Failure::new(Cause::BadRequest, failure.message)));
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
}

/// Why there was no content.
pub(crate) enum Wait {
    /// The bytes ended badly.
    Broken(Broken),
    /// The answer ended without any.
    Nothing,
    /// An error record came instead.
    Said(String),
}

/// Waits for the first content: of a stream, all records up to it; of a whole answer, all of it where it is not too
/// large. Tells whether that is all there is.
pub(crate) async fn first_content(
    inflow: &mut Source,
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

pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    content_type.starts_with("text/event-stream") || content_type.starts_with("application/x-ndjson")
}

pub(crate) fn cause(status: u16) -> Cause {
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

pub(crate) fn retry_after(headers: &HeaderMap) -> u32 {
    let said = headers.get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    said.unwrap_or(2).clamp(1, 120)
}
