//! An attempt here or at another node, and a second one beside it where the first takes too long.
//!
//! A slow first content may be a node that hangs, and its client should not wait to find out. So past the learnt bound the
//! request is placed once more, with a slot elsewhere that is free right now, and whichever says something first goes on.
//! The first attempt is never ended for that alone: a slow load is no failure, and aborted it would be lost work.

use std::sync::Arc;
use std::time::Duration;

use dialect::{Cause, Failure};
use futures_util::future::{Either, select};
use http_body_util::BodyExt as _;

use super::attempt::Attempted;
use super::{Exchange, Payload, Wrong};
use crate::answer::Flow;
use crate::away::{Arrived, Kit, Leg, Went};
use crate::fleet::{Ask, AwayBody, Ending, Placing, Slot, Ticket, TicketEnding};
use crate::headers;
use crate::pulse::Nature;
use crate::source::Source;

/// Second tries of one request.
const MOST_BESIDE: u32 = 3;

/// An attempt at another node, so far.
struct Trip {
    slot: Slot,
    began: proto::Moment,
    ticket: Placed,
}

/// What is written down of an attempt.
struct Placed {
    server: proto::Server,
    backend: Arc<proto::BackendState>,
    model: usize,
    candidates: Vec<proto::Candidate>,
    queued: Duration,
}

impl Exchange {
    /// Tries what the ticket says; where its patience ends before there is content, something else beside it.
    pub(super) async fn attempt_beside(&mut self, ticket: Ticket) -> Attempted {
        let can_wait =
            ticket.patience.is_none() || matches!(self.payload, Payload::Flowing(..)) || self.guest.is_some();
        if ticket.server.is_none() && can_wait {
            return self.attempt(ticket).await;
        }
        let kit = self.kit();
        let flowing = match self.flowing(&ticket) {
            Ok(flowing) => flowing,
            Err(failure) => return Attempted::Final(Wrong::ours(failure)),
        };
        let patience = ticket.patience.filter(|_| !can_wait);
        match ticket.server.clone() {
            None => self.first_here(ticket, kit, patience).await,
            Some(server) => {
                let (trip, leg) = self.trip(server, ticket);
                self.first_away(kit, trip, leg, flowing, patience).await
            }
        }
    }

    /// The first attempt goes to a backend of this node, a second one to another node.
    async fn first_here(&mut self, ticket: Ticket, kit: Kit, patience: Option<Duration>) -> Attempted {
        let Some(patience) = patience else { return self.attempt(ticket).await };
        let (worker, models, arrived) = (self.worker.clone(), self.asked.clone(), self.record.arrived());
        let number = ticket.slot.ticket();
        let clock = worker.door().clock();
        let ask = Ask { now_only: true, excluded: vec![ticket.backend.id.clone()], ..self.ask() };
        // A second attempt at this node would need what the first one is using.
        let second = async {
            let mut ask = ask;
            let mut wait = patience;
            for _ in 0..MOST_BESIDE {
                tokio::time::sleep(wait).await;
                wait *= 2;
                let Some(ticket) = place(&worker, ask.clone()).await else { continue };
                let Some(server) = ticket.server.clone() else { continue };
                let bound = ticket.patience.unwrap_or(patience);
                let name = models.get(ticket.model).cloned().unwrap_or_default();
                let (trip, leg) = depart(server, ticket, name, clock.now(), arrived);
                let node = leg.server.id;
                match tokio::time::timeout(bound, kit.clone().go(leg, None)).await {
                    Ok(Went::Begun(begun)) => return (trip, begun),
                    Ok(Went::Bounced) => trip.slot.bounced(),
                    Ok(Went::Again(_) | Went::Final(_)) => {
                        trip.slot.finish(Ending::Failed);
                        ask.excluded_nodes.push(node);
                    }
                    // It hangs as well. Who waits already does not wait for the next one to be tried.
                    Err(_) => {
                        trip.slot.too_slow();
                        ask.excluded_nodes.push(node);
                        wait = Duration::ZERO;
                    }
                }
            }
            std::future::pending().await
        };
        let won = {
            let first = std::pin::pin!(self.attempt(ticket));
            let second = std::pin::pin!(second);
            match select(first, second).await {
                Either::Left((first, _)) => Either::Left(first),
                // The first is dropped with this block, and so closes its connection and gives its slot back.
                Either::Right((second, _)) => {
                    if let Some(number) = number {
                        worker.door().fleet().ticket_ended(number, TicketEnding::TooSlow);
                    }
                    Either::Right(second)
                }
            }
        };
        match won {
            Either::Left(first) => first,
            Either::Right((trip, begun)) => {
                if let Some(backend) = self.record.trace().backend.clone() {
                    worker.door().fleet().suspect(&backend);
                }
                self.record.attempt_failed("was too slow: another machine answered first");
                self.arrived(trip, *begun)
            }
        }
    }

    /// The first attempt goes to another node, a second one to this or yet another.
    async fn first_away(
        &mut self,
        kit: Kit,
        trip: Trip,
        leg: Leg,
        flowing: Option<AwayBody>,
        patience: Option<Duration>,
    ) -> Attempted {
        self.note(&trip);
        let first_node = leg.server.id;
        let mut first = std::pin::pin!(kit.clone().go(leg, flowing));
        let Some(mut wait) = patience else {
            let went = first.await;
            return self.went(trip, went);
        };
        let first_wait = wait;
        let mut ask = Ask { now_only: true, ..self.ask() };
        ask.excluded_nodes.push(first_node);
        for _ in 0..MOST_BESIDE {
            if let Ok(went) = tokio::time::timeout(wait, &mut first).await {
                return self.went(trip, went);
            }
            wait *= 2;
            let worker = self.worker.clone();
            let placed = match select(&mut first, std::pin::pin!(place(&worker, ask.clone()))).await {
                Either::Left((went, _)) => return self.went(trip, went),
                Either::Right((placed, _)) => placed,
            };
            let Some(ticket) = placed else { continue };
            match ticket.server.clone() {
                None => {
                    // Whatever comes of it stands in the trace; the first attempt is put down again if it wins.
                    let won = {
                        let second = std::pin::pin!(self.attempt(ticket));
                        match select(&mut first, second).await {
                            Either::Left((went, _)) => Either::Left(went),
                            Either::Right((second, _)) => Either::Right(second),
                        }
                    };
                    match won {
                        Either::Left(went) => {
                            self.note(&trip);
                            return self.went(trip, went);
                        }
                        Either::Right(begun @ Attempted::Begun(..)) => {
                            trip.slot.too_slow();
                            return begun;
                        }
                        Either::Right(_) => self.note(&trip),
                    }
                }
                Some(server) => {
                    let bound = ticket.patience.unwrap_or(first_wait);
                    let (beside, leg) = self.trip(server, ticket);
                    let node = leg.server.id;
                    let second = tokio::time::timeout(bound, kit.clone().go(leg, None));
                    match select(&mut first, std::pin::pin!(second)).await {
                        Either::Left((went, _)) => return self.went(trip, went),
                        Either::Right((Ok(Went::Begun(begun)), _)) => {
                            self.record.attempt_failed("was too slow: another machine answered first");
                            trip.slot.too_slow();
                            return self.arrived(beside, *begun);
                        }
                        Either::Right((Ok(Went::Bounced), _)) => beside.slot.bounced(),
                        Either::Right((Ok(Went::Again(_) | Went::Final(_)), _)) => {
                            beside.slot.finish(Ending::Failed);
                            ask.excluded_nodes.push(node);
                        }
                        // It hangs as well: the next one is tried at once.
                        Either::Right((Err(_), _)) => {
                            beside.slot.too_slow();
                            ask.excluded_nodes.push(node);
                            wait = Duration::ZERO;
                        }
                    }
                }
            }
        }
        let went = first.await;
        self.went(trip, went)
    }

    /// What travels of this request.
    fn kit(&self) -> Kit {
        let token = self.worker.door().settings().token();
        let mut travelling = http::HeaderMap::with_capacity(self.headers.len() + 8);
        for (name, value) in headers::for_backend(&self.headers, token) {
            travelling.append(name.clone(), value.clone());
        }
        if let Some(tags) = self.headers.get(headers::TAGS) {
            travelling.insert(headers::TAGS, tags.clone());
        }
        Kit {
            fleet: self.worker.door().fleet().clone(),
            api: self.api,
            path_and_query: self.path_and_query.as_str().into(),
            headers: travelling,
            body: match &self.payload {
                Payload::Kept(bytes, _) => Some(bytes.clone()),
                Payload::Flowing(..) => None,
            },
            streamed: self.streamed,
            request_id: self.record.trace().request_id,
        }
    }

    /// The body, where it flows through and goes to another node.
    fn flowing(&mut self, ticket: &Ticket) -> Result<Option<AwayBody>, Failure> {
        let Payload::Flowing(flowing, _) = &mut self.payload else { return Ok(None) };
        if ticket.server.is_none() {
            return Ok(None);
        }
        let Some((start, rest)) = flowing.take() else {
            return Err(Failure::new(Cause::Internal, "a body was to be sent twice"));
        };
        let start = futures_util::stream::once(std::future::ready(Ok(http_body::Frame::data(start))));
        let rest = http_body_util::BodyStream::new(rest.map_err(|error| Box::new(error) as _));
        let body = http_body_util::StreamBody::new(futures_util::StreamExt::chain(start, rest));
        Ok(Some(AwayBody::new(body)))
    }

    fn trip(&self, server: proto::Server, ticket: Ticket) -> (Trip, Leg) {
        let name = self.asked.get(ticket.model).cloned().unwrap_or_default();
        depart(server, ticket, name, self.worker.door().clock().now(), self.record.arrived())
    }

    /// Puts down that the request is at another node.
    fn note(&mut self, trip: &Trip) {
        let Placed { server, backend, model, candidates, .. } = &trip.ticket;
        self.record.began(trip.began, Some(server.clone()), Some(backend.id.clone()));
        let name = self.asked.get(*model).cloned().unwrap_or_default();
        let trace = self.record.trace_mut();
        trace.candidates.clone_from(candidates);
        trace.fallback_used = *model > 0;
        trace.model = name;
    }

    fn went(&mut self, trip: Trip, went: Went) -> Attempted {
        match went {
            Went::Begun(begun) => self.arrived(trip, *begun),
            Went::Bounced => {
                trip.slot.bounced();
                Attempted::Bounced
            }
            Went::Again(wrong) => {
                trip.slot.finish(Ending::Failed);
                Attempted::Again(wrong)
            }
            Went::Final(wrong) => {
                trip.slot.finish(Ending::Refused);
                Attempted::Final(wrong)
            }
        }
    }

    /// Another node has begun to answer.
    fn arrived(&mut self, trip: Trip, arrived: Arrived) -> Attempted {
        self.note(&trip);
        self.record.trace_mut().queued_ms += crate::record::ms(trip.ticket.queued);
        let Arrived { status, headers, first, is_all, streamed, mut source, mut watch, facts } = arrived;
        if let Some(ignored) = headers.get(headers::IGNORED).and_then(|value| value.to_str().ok()) {
            self.ignored = ignored.to_owned();
        }
        facts.tell(self.record.trace_mut());
        self.record.first_content(streamed);
        let mut keeping = self.keeping(false, streamed);
        let first = match &mut keeping {
            Some(keeping) => keeping.begin(first, is_all),
            None => first,
        };
        self.record.trace_mut().response_bytes = first.len() as u64;
        if is_all {
            let mut end = watch.finish();
            self.record.answered(&mut end);
            if let Some(facts) = source.take_facts() {
                facts.tell(self.record.trace_mut());
            }
            self.record.end(proto::Outcome::Completed, status.as_u16(), None);
            trip.slot.finish(Ending::Answered);
            return Attempted::Begun(status, headers, first, None);
        }
        trip.slot.first_content();
        let flow = self.flow(trip.ticket.backend, streamed, source, watch, keeping, trip.slot);
        Attempted::Begun(status, headers, first, Some(Box::new(flow)))
    }

    fn flow(
        &self,
        backend: Arc<proto::BackendState>,
        streamed: bool,
        source: Source,
        watch: dialect::StreamWatch,
        keeping: Option<Box<crate::stored::Keeping>>,
        slot: Slot,
    ) -> Flow {
        let slots = self.record.trace().candidates.first().map_or(1, |chosen| chosen.slots);
        let nature = Nature { calls: self.scan.tools, is_shared: slots > 1 };
        Flow::new(self.worker.clone(), backend, self.api, streamed, source, watch, None, keeping, slot, nature)
    }
}

/// Takes from a ticket what an attempt at another node needs.
fn depart(
    server: proto::Server,
    ticket: Ticket,
    model: String,
    now: proto::Moment,
    arrived: proto::Moment,
) -> (Trip, Leg) {
    let Ticket { backend, model: number, candidates, queued, slot, ahead, issuer, .. } = ticket;
    let leg = Leg { server: server.clone(), issuer, ahead, model, age: now.since(arrived) };
    let ticket = Placed { server, backend, model: number, candidates, queued };
    (Trip { slot, began: now, ticket }, leg)
}

/// A place for a second attempt, if there is one right now.
async fn place(worker: &crate::worker::Worker, ask: Ask) -> Option<Ticket> {
    let placed = match worker.door().fleet().place(ask) {
        Placing::Now(placed) => placed,
        Placing::Later(placed) => placed.await,
    };
    placed.ok()
}
