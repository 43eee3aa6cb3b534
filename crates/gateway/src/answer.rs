//! The body of a generated answer: the backend's bytes as they come, and a proper end whatever happens.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use dialect::{AnswerTranslator, Cause, End, Failure, StreamWatch};
use proto::{Api, BackendKind, BackendState, Clock, Dialect, Outcome};
use tokio::time::Sleep;

use crate::exchange::{Begun, Refused};
use crate::fleet::{Ending, Slot};
use crate::pulse::{Nature, Pulse};
use crate::record::Record;
use crate::reply::CutOff;
use crate::source::Source;
use crate::stored::Keeping;
use crate::worker::Worker;

/// Time between heartbeats while nothing else can be said.
const BEAT: Duration = Duration::from_secs(10);

/// A request that is still looking for its first content.
pub(crate) type Search = Pin<Box<dyn Future<Output = Result<Begun, Box<Refused>>> + Send>>;

/// The rest of an answer, and what has to be given back at its end.
pub(crate) struct Flow {
    worker: Arc<Worker>,
    backend: Arc<BackendState>,
    api: Api,
    streamed: bool,
    inflow: Source,
    watch: StreamWatch,
    /// Set where the backend speaks another dialect than the client.
    translator: Option<Box<AnswerTranslator>>,
    /// Set where the answer is to be stored, or to say that it is not.
    keeping: Option<Box<Keeping>>,
    slot: Slot,
    pulse: Pulse,
}

impl Flow {
    #[allow(clippy::too_many_arguments, reason = "an attempt hands over everything it holds")]
    pub(crate) fn new(
        worker: Arc<Worker>,
        backend: Arc<BackendState>,
        api: Api,
        streamed: bool,
        inflow: Source,
        watch: StreamWatch,
        translator: Option<Box<AnswerTranslator>>,
        keeping: Option<Box<Keeping>>,
        slot: Slot,
        nature: Nature,
    ) -> Flow {
        let pulse = Pulse::new(worker.door().clock(), worker.door().settings().limits.silence, nature);
        Flow { worker, backend, api, streamed, inflow, watch, translator, keeping, slot, pulse }
    }
}

/// The body of an answer.
pub(crate) struct Answer {
    state: State,
    /// Set when the headers left before it was known who would serve.
    late: bool,
}

enum State {
    /// The headers are out, the content is not there yet.
    Search { search: Search, beat: Pin<Box<Sleep>>, api: Api, model: String, clock: Clock },
    /// Content flows.
    Flow { first: Option<Bytes>, flow: Box<Flow>, record: Box<Record> },
    /// The last bytes.
    Last(Option<Bytes>, Option<Box<Record>>),
}

impl Answer {
    /// An answer that has begun.
    pub(crate) fn begun(first: Bytes, flow: Box<Flow>, record: Box<Record>) -> Answer {
        Answer { state: State::Flow { first: Some(first), flow, record }, late: false }
    }

    /// An answer whose headers leave before its content is there; `clock` dates the heartbeats.
    pub(crate) fn late(search: Search, api: Api, model: String, clock: Clock) -> Answer {
        let beat = Box::pin(tokio::time::sleep(Duration::ZERO));
        Answer { state: State::Search { search, beat, api, model, clock }, late: true }
    }

    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        loop {
            match &mut self.state {
                State::Search { search, beat, api, model, clock } => {
                    if let Poll::Ready(found) = search.as_mut().poll(cx) {
                        let api = *api;
                        self.state = found_late(found, api);
                        continue;
                    }
                    if beat.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    beat.set(tokio::time::sleep(BEAT));
                    if let Some(record) = dialect::heartbeat(*api, model, clock.unix_ms()) {
                        return Poll::Ready(Some(Ok(record)));
                    }
                }
                State::Flow { first, flow, record } => {
                    if let Some(bytes) = first.take() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    match flow.inflow.poll_bytes(cx) {
                        Poll::Pending => match flow.pulse.poll_silence(cx) {
                            Poll::Pending => return Poll::Pending,
                            Poll::Ready(silence) => {
                                let how = format!("said nothing for {} s and was given up", silence.as_secs());
                                if self.end(Some(Broke::Off(how))) {
                                    return Poll::Ready(Some(Err(CutOff)));
                                }
                            }
                        },
                        Poll::Ready(Some(Ok(bytes))) => {
                            flow.pulse.heard();
                            let seen = flow.watch.feed(&bytes);
                            let mut failed = None;
                            let bytes = match &mut flow.translator {
                                None => {
                                    if seen.error.is_some() {
                                        record.trace_mut().error = seen.error;
                                    }
                                    bytes
                                }
                                Some(translator) => {
                                    let taken = flow.worker.door().clock().now().since(record.arrived());
                                    translator.elapsed(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
                                    let mut out = Vec::with_capacity(bytes.len() * 2);
                                    failed = translator.feed(&bytes, &mut out).err();
                                    out.into()
                                }
                            };
                            let bytes = match &mut flow.keeping {
                                Some(keeping) => keeping.pass(bytes),
                                None => bytes,
                            };
                            record.trace_mut().response_bytes += bytes.len() as u64;
                            if let Some(failure) = failed {
                                self.end(Some(Broke::Said(failure.message)));
                            }
                            // A record that is not whole yet says nothing in the client's words.
                            if !bytes.is_empty() {
                                return Poll::Ready(Some(Ok(bytes)));
                            }
                        }
                        Poll::Ready(Some(Err(broken))) => {
                            if self.end(Some(Broke::Off(broken.to_string()))) {
                                return Poll::Ready(Some(Err(CutOff)));
                            }
                        }
                        Poll::Ready(None) => {
                            self.end(None);
                        }
                    }
                }
                State::Last(bytes, record) => {
                    let bytes = bytes.take();
                    if bytes.is_none() {
                        record.take();
                    }
                    return Poll::Ready(bytes.map(Ok));
                }
            }
        }
    }

    /// The backend's bytes have ended, `broken` tells how if not well. Decides what else the client gets; true if
    /// nothing can be said and the connection must be cut.
    fn end(&mut self, broken: Option<Broke>) -> bool {
        let State::Flow { flow, mut record, .. } = std::mem::replace(&mut self.state, State::Last(None, None)) else {
            return false;
        };
        let Flow { worker, backend, api, streamed, mut inflow, mut watch, translator, keeping, slot, .. } = *flow;
        let mut end = watch.finish();
        record.answered(&mut end);
        if let Some(facts) = inflow.take_facts() {
            facts.tell(record.trace_mut());
        }
        let is_here = record.trace().server.is_none();
        let ended = match translator {
            Some(translator) => {
                let is_silent_end = backend.kind == BackendKind::Ollama && !end.complete && !end.repeats;
                end_translated(translator, broken, is_silent_end && end.error.is_none())
            }
            None => end_passed(api, streamed, broken, &end, record.trace().error.as_deref().or(end.error.as_deref())),
        };
        let held = |last: Vec<u8>, is_well: bool| match keeping {
            Some(mut keeping) => keeping.end(last.into(), is_well),
            None => last.into(),
        };
        let (text, last) = match ended {
            Ended::Well(rest) => {
                let rest = held(rest, true);
                record.end(Outcome::Completed, 200, None);
                slot.finish(Ending::Answered);
                if let Some(upstream) = inflow.into_upstream() {
                    worker.pool().give(&backend.address, upstream);
                }
                let known = self.late.then(|| closing_note(&record, api)).flatten();
                let rest = match known {
                    Some(known) => [rest, known].concat().into(),
                    None => rest,
                };
                record.trace_mut().response_bytes += rest.len() as u64;
                self.state = State::Last((!rest.is_empty()).then_some(rest), Some(record));
                return false;
            }
            // The backend's own error record has reached the client already.
            Ended::Told(said) => (said, Some(held(Vec::new(), false)).filter(|held| !held.is_empty())),
            Ended::Badly { how, end } => {
                let text = match how {
                    Broke::Off(how) => match &record.trace().server {
                        Some(server) => format!("the machine `{}` {how}", server.name),
                        None => format!("the inference server `{}` {how}", backend.id),
                    },
                    Broke::Said(text) => text,
                };
                let last = streamed.then(|| {
                    let end = end(&Failure::new(Cause::BadGateway, text.clone()));
                    let held = held(Vec::new(), false);
                    if held.is_empty() { end } else { [held, end].concat().into() }
                });
                (text, last)
            }
        };
        slot.finish(Ending::Broke);
        if is_here {
            worker.door().fleet().suspect(&backend.id);
        }
        record.end(Outcome::Incomplete, 200, Some(text));
        record.trace_mut().response_bytes += last.as_ref().map_or(0, |last| last.len() as u64);
        let must_cut = last.is_none() && !streamed;
        self.state = State::Last(last, Some(record));
        must_cut
    }
}

/// How an answer did not end well.
enum Broke {
    /// The connection did this.
    Off(String),
    /// The backend said this.
    Said(String),
}

/// How an answer ended.
enum Ended {
    /// As it should, with these last bytes of ours.
    Well(Vec<u8>),
    /// With an error that the client has been told, in these words.
    Told(String),
    /// Without an end that the client could see.
    Badly { how: Broke, end: Box<dyn FnOnce(&Failure) -> Bytes> },
}

/// `is_early`: an Ollama that says how each answer ended has not said it of this one.
fn end_translated(mut translator: Box<AnswerTranslator>, broken: Option<Broke>, is_early: bool) -> Ended {
    let mut rest = Vec::new();
    let how = match broken {
        Some(how) => how,
        None if is_early && !translator.has_ended() => too_early(),
        None => match translator.finish(&mut rest) {
            Ok(()) => return Ended::Well(rest),
            Err(failure) => Broke::Said(failure.message),
        },
    };
    Ended::Badly { how, end: Box::new(move |failure| translator.stream_end(failure)) }
}

fn end_passed(api: Api, streamed: bool, broken: Option<Broke>, end: &End, said: Option<&str>) -> Ended {
    if let Some(said) = said {
        return Ended::Told(said.to_owned());
    }
    // Ollama ends a stream without its last record after 31 equal tokens in a row (measured on 0.33).
    let stopped_repeating = api.dialect() == Dialect::Ollama && !end.mid_record && end.repeats;
    if broken.is_none() && (end.complete || !streamed || stopped_repeating) {
        return Ended::Well(Vec::new());
    }
    let how = broken.unwrap_or_else(too_early);
    let (mid_record, sequence) = (end.mid_record, end.sequence);
    Ended::Badly { how, end: Box::new(move |failure| failure.stream_end_after(api, mid_record, sequence)) }
}

fn too_early() -> Broke {
    Broke::Off("ended the answer before it was complete".to_owned())
}

fn found_late(found: Result<Begun, Box<Refused>>, api: Api) -> State {
    match found {
        Ok(Begun { first, flow: Some(flow), record, .. }) => State::Flow { first: Some(first), flow, record },
        Ok(Begun { first, flow: None, record, .. }) => State::Last(Some(first), Some(record)),
        Err(refused) => {
            let last = refused.failure.stream_end(api, false);
            State::Last(Some(last), Some(refused.record))
        }
    }
}

/// What the headers would have said, for clients whose headers had to leave early. Only server-sent events have room
/// for it: a comment, which clients skip.
fn closing_note(record: &Record, api: Api) -> Option<Bytes> {
    if api.dialect() == Dialect::Ollama {
        return None;
    }
    let trace = record.trace();
    let backend = trace.backend.as_ref().map_or("", |backend| backend.as_str());
    let retries = trace.attempts.iter().filter(|attempt| attempt.error.is_some()).count();
    let clean = |text: &str| text.replace(['\r', '\n'], " ");
    Some(Bytes::from(format!(
        ": x-fleet-backend={} x-fleet-served-model={} x-fleet-retries={retries}\n\n",
        clean(backend),
        clean(&trace.model)
    )))
}
