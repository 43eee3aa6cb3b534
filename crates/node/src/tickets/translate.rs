//! Between the scheduler's words and those on the wire.

use std::sync::Arc;
use std::time::Duration;

use dialect::{Cause, Failure};
use gateway::TicketEnding;
use proto::wire::{self, Envelope, Excluded, Name, Scored};
use proto::{Api, BackendId, Candidate, ModelName, Moment, Predicted};
use routing::Refusal;
use routing::scheduler::{Ended, FleetAsk, FleetEnding, FleetTicket, LaneSpeed, LaneWork, NodeWork, Priority, Zone};

/// A request without place that is this old is not believed to be older.
const OLDEST: Duration = Duration::from_secs(24 * 3600);
/// Code of a refusal that means: I do not lead.
pub(super) const NOT_LEADER: &str = "not-leader";

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

/// At most `most` bytes of `text`, whole characters.
fn cut(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

pub(super) fn ask(id: u64, ask: &FleetAsk, now: Moment) -> Envelope {
    let excluded = ask.excluded.iter().take(wire::MAX_EXCLUDED).map(|(node, backend)| Excluded {
        node: *node,
        backend: backend.as_ref().map(|backend| Name(cut(backend.as_str(), 64))),
    });
    Envelope::Ask(wire::Ask {
        id,
        api: ask.api.path().to_owned(),
        models: ask
            .models
            .iter()
            .take(wire::MAX_WANTED)
            .map(|model| Name(cut(model.as_str(), wire::MAX_NAME)))
            .collect(),
        text_bytes: ask.text_bytes,
        images: ask.images,
        max_tokens: ask.max_tokens,
        context_wanted: ask.context_wanted,
        cuts: ask.cuts,
        streams: ask.streams,
        app: ask.app.as_deref().map_or_else(String::new, |app| cut(app, 64)),
        session: ask.session,
        tags: Vec::new(),
        zone: match ask.zone {
            Zone::Node => 0,
            Zone::Fleet => 1,
            Zone::Cloud => 2,
        },
        priority: match ask.priority {
            Priority::Interactive => 0,
            Priority::Batch => 1,
        },
        age_ms: millis(now.since(ask.waited_since)),
        excluded: excluded.collect(),
        only: ask.only,
        now_only: ask.now_only,
        rtt_us: micros(ask.rtt),
        client_key: String::new(),
        tools: ask.tools,
    })
}

/// What another door asks; `None` where this version does not know the call.
pub(super) fn asked(ask: &wire::Ask, now: Moment) -> Option<FleetAsk> {
    let api = Api::at(&ask.api)?;
    let age = Duration::from_millis(ask.age_ms).min(OLDEST);
    if ask.models.is_empty() {
        return None;
    }
    Some(FleetAsk {
        api,
        models: ask.models.iter().map(|model| ModelName::new(&model.0)).collect(),
        app: Some(ask.app.as_str()).filter(|app| !app.is_empty()).map(Arc::from),
        text_bytes: ask.text_bytes,
        images: ask.images,
        tools: ask.tools,
        max_tokens: ask.max_tokens,
        context_wanted: ask.context_wanted,
        cuts: ask.cuts,
        streams: ask.streams,
        session: ask.session,
        zone: match ask.zone {
            2 => Zone::Cloud,
            1 => Zone::Fleet,
            _ => Zone::Node,
        },
        priority: if ask.priority == 0 { Priority::Interactive } else { Priority::Batch },
        excluded: ask
            .excluded
            .iter()
            .map(|excluded| {
                (excluded.node, excluded.backend.as_ref().map(|backend| BackendId::new(backend.0.as_str())))
            })
            .collect(),
        only: ask.only,
        now_only: ask.now_only,
        rtt: Duration::from_micros(ask.rtt_us.into()),
        waited_since: earlier(now, age),
    })
}

/// `age` before `now`, as far back as this clock goes.
fn earlier(now: Moment, age: Duration) -> Moment {
    let since_start = now.since(Moment::default());
    Moment::at(since_start.saturating_sub(age))
}

pub(super) fn ticket(id: u64, ticket: &FleetTicket) -> Envelope {
    Envelope::Ticket(wire::Ticket {
        id,
        node: ticket.node,
        backend: cut(ticket.backend.as_str(), 64),
        model: u32::try_from(ticket.model).unwrap_or(0),
        ahead: ticket.ahead,
        patience_ms: ticket.patience.map(millis),
        scored: ticket
            .candidates
            .iter()
            .take(wire::MAX_SCORED)
            .map(|candidate| Scored {
                node: candidate.node.as_deref().map_or_else(String::new, |node| cut(node, 64)),
                backend: cut(candidate.backend.as_str(), 64),
                in_flight: candidate.in_flight,
                slots: candidate.slots,
                loaded: candidate.loaded,
                points: vec![
                    candidate.thermal,
                    candidate.memory_fit,
                    candidate.queue_depth,
                    candidate.wait_time,
                    candidate.role_affinity,
                    candidate.availability_trend,
                    candidate.context_fit,
                ],
                predicted_ms: candidate.predicted.map_or_else(Vec::new, |parts| {
                    vec![parts.load_ms, parts.queue_ms, parts.prefill_ms, parts.decode_ms, parts.link_ms]
                }),
            })
            .collect(),
    })
}

pub(super) fn ticketed(ticket: wire::Ticket) -> FleetTicket {
    let candidate = |scored: &Scored| {
        let point = |at: usize| scored.points.get(at).copied().filter(|point| point.is_finite()).unwrap_or_default();
        let part = |at: usize| scored.predicted_ms.get(at).copied().filter(|ms| ms.is_finite()).unwrap_or_default();
        Candidate {
            node: Some(scored.node.as_str()).filter(|node| !node.is_empty()).map(Arc::from),
            backend: BackendId::new(scored.backend.as_str()),
            in_flight: scored.in_flight,
            slots: scored.slots,
            loaded: scored.loaded,
            thermal: point(0),
            memory_fit: point(1),
            queue_depth: point(2),
            wait_time: point(3),
            role_affinity: point(4),
            availability_trend: point(5),
            context_fit: point(6),
            predicted: (!scored.predicted_ms.is_empty()).then(|| Predicted {
                load_ms: part(0),
                queue_ms: part(1),
                prefill_ms: part(2),
                decode_ms: part(3),
                link_ms: part(4),
            }),
        }
    };
    FleetTicket {
        node: ticket.node,
        backend: BackendId::new(ticket.backend.as_str()),
        model: usize::try_from(ticket.model).unwrap_or(0),
        ahead: ticket.ahead,
        patience: ticket.patience_ms.map(Duration::from_millis),
        candidates: ticket.scored.iter().map(candidate).collect(),
        // Its door knows.
        queued: Duration::ZERO,
    }
}

pub(super) fn refused(id: u64, refusal: &Refusal) -> Envelope {
    // The door knows which call it was and says it in its client's dialect; the words are the same for all.
    let failure = crate::refusal::failure(refusal, Api::OllamaChat, "");
    let code = match refusal {
        Refusal::UnknownModel { .. } => "unknown-model",
        Refusal::ContextTooLong { .. } => "context-too-long",
        Refusal::QueueFull { .. } => "queue-full",
        Refusal::Occupied => "occupied",
        _ => "",
    };
    Envelope::Refused(wire::Refused {
        id,
        status: failure.status(),
        words: cut(&failure.message, 2048),
        retry_after_s: failure.retry_after_s,
        code: code.to_owned(),
    })
}

pub(super) fn not_leader(id: u64) -> Envelope {
    Envelope::Refused(wire::Refused { id, status: 503, code: NOT_LEADER.to_owned(), ..wire::Refused::default() })
}

/// What a client of `api`, who asked for `requested`, is told.
pub(super) fn failure(refused: &wire::Refused, api: Api, requested: &str) -> Failure {
    if refused.code == "unknown-model" {
        return Failure::model_not_found(api, requested);
    }
    let cause = match (refused.code.as_str(), refused.status) {
        ("context-too-long", _) => Cause::ContextLength,
        ("queue-full" | "occupied", _) => Cause::Busy,
        (_, 404) => Cause::ModelNotFound,
        (_, 501) => Cause::Unsupported,
        (_, 502) => Cause::BadGateway,
        (_, 400) => Cause::BadRequest,
        _ => Cause::Unavailable,
    };
    let mut failure = Failure::new(cause, refused.words.clone());
    failure.retry_after_s = refused.retry_after_s;
    failure
}

pub(super) fn withdrawn(ids: Vec<u64>) -> Envelope {
    Envelope::Withdrawn(wire::Withdrawn { ids })
}

pub(super) fn ending(ending: TicketEnding) -> FleetEnding {
    match ending {
        TicketEnding::Attempt(ending) => FleetEnding::Backend(crate::placing::ending(ending)),
        TicketEnding::Bounced => FleetEnding::Bounced,
        TicketEnding::TooSlow => FleetEnding::TooSlow,
    }
}

/// Endings by their numbers on the wire.
const ENDINGS: [FleetEnding; 8] = [
    FleetEnding::Backend(routing::Ending::Answered),
    FleetEnding::Backend(routing::Ending::ClientLeft),
    FleetEnding::Backend(routing::Ending::Refused4xx),
    FleetEnding::Backend(routing::Ending::Busy503),
    FleetEnding::Backend(routing::Ending::Failed),
    FleetEnding::Backend(routing::Ending::Broke),
    FleetEnding::Bounced,
    FleetEnding::TooSlow,
];

pub(super) fn ended(id: u64, ended: &Ended) -> Envelope {
    let number = ENDINGS.iter().position(|known| *known == ended.ending).unwrap_or(1);
    Envelope::Ended(wire::Ended {
        id,
        ending: u8::try_from(number).unwrap_or(1),
        first_ms: ended.first.map(millis),
        took_ms: millis(ended.took),
    })
}

/// An ending that this version does not know says nothing about the node.
pub(super) fn has_ended(ended: &wire::Ended) -> Ended {
    let ending = ENDINGS.get(usize::from(ended.ending)).copied();
    Ended {
        ending: ending.unwrap_or(FleetEnding::Backend(routing::Ending::ClientLeft)),
        first: ended.first_ms.map(Duration::from_millis),
        took: Duration::from_millis(ended.took_ms),
    }
}

pub(super) fn work(number: u64, shares: bool, work: &NodeWork) -> Envelope {
    Envelope::Work(wire::Work {
        number,
        shares,
        lanes: work
            .lanes
            .iter()
            .take(wire::MAX_LANES)
            .map(|lane| wire::LaneWork {
                backend: cut(lane.backend.as_str(), 64),
                model: cut(lane.model.as_str(), wire::MAX_NAME),
                issued: lane
                    .issued
                    .iter()
                    .take(wire::MAX_ISSUERS)
                    .map(|(by, requests)| wire::Issued { by: *by, requests: *requests })
                    .collect(),
                slots: lane.slots,
                waiting: lane.waiting,
                loading_ms: lane.loading.map(millis),
                rests_ms: lane.rests.map(millis),
            })
            .collect(),
        rtt_us: micros(work.rtt),
    })
}

pub(super) fn worked(work: &wire::Work) -> NodeWork {
    NodeWork {
        lanes: work
            .lanes
            .iter()
            .map(|lane| LaneWork {
                backend: BackendId::new(lane.backend.as_str()),
                model: ModelName::new(&lane.model),
                issued: lane.issued.iter().map(|issued| (issued.by, issued.requests)).collect(),
                slots: lane.slots.max(1),
                waiting: lane.waiting,
                loading: lane.loading_ms.map(Duration::from_millis),
                rests: lane.rests_ms.map(Duration::from_millis),
            })
            .collect(),
        rtt: Duration::from_micros(work.rtt_us.into()),
    }
}

pub(super) fn speeds(speeds: &[LaneSpeed]) -> Envelope {
    let per_1000_s = |rate: f64| (rate * 1000.0).clamp(0.0, 1e15) as u64;
    Envelope::Speeds(wire::Speeds {
        lanes: speeds
            .iter()
            .take(wire::MAX_LANES)
            .map(|lane| wire::LaneSpeed {
                backend: cut(lane.backend.as_str(), 64),
                model: cut(lane.model.as_str(), wire::MAX_NAME),
                load_ms: lane.load.map(millis),
                prefill_mtps: lane.prefill.map(per_1000_s),
                decode_mtps: lane.decode.map(per_1000_s),
                service_us: lane.service.map(|service| u64::try_from(service.as_micros()).unwrap_or(u64::MAX)),
                first_ms: lane.first.map(millis),
                most_context: lane.most_context,
            })
            .collect(),
    })
}

pub(super) fn sped(speeds: &wire::Speeds) -> Vec<LaneSpeed> {
    let per_s = |rate: u64| Some(rate as f64 / 1000.0).filter(|rate| *rate > 0.0);
    let lane = |lane: &wire::LaneSpeed| LaneSpeed {
        backend: BackendId::new(lane.backend.as_str()),
        model: ModelName::new(&lane.model),
        load: lane.load_ms.map(Duration::from_millis),
        prefill: lane.prefill_mtps.and_then(per_s),
        decode: lane.decode_mtps.and_then(per_s),
        service: lane.service_us.map(Duration::from_micros),
        first: lane.first_ms.map(Duration::from_millis),
        most_context: lane.most_context,
    };
    speeds.lanes.iter().map(lane).collect()
}

#[cfg(test)]
mod tests {
    use proto::NodeId;

    use super::*;

    #[test]
    fn a_request_arrives_as_it_was() {
        let now = Moment::at(Duration::from_secs(100));
        let own = FleetAsk {
            api: Api::Messages,
            models: vec![ModelName::new("a"), ModelName::new("b")],
            app: Some("app".into()),
            text_bytes: 7,
            images: 1,
            tools: true,
            max_tokens: Some(9),
            context_wanted: Some(4096),
            cuts: true,
            streams: true,
            session: Some(u64::MAX),
            zone: Zone::Fleet,
            priority: Priority::Batch,
            excluded: vec![(NodeId::new([1; 32]), None), (NodeId::new([2; 32]), Some(BackendId::new("x")))],
            only: Some(NodeId::new([3; 32])),
            now_only: true,
            rtt: Duration::from_micros(1500),
            waited_since: Moment::at(Duration::from_secs(97)),
        };
        let sent = ask(5, &own, now).encode();
        let Ok(Envelope::Ask(got)) = Envelope::decode(&sent) else { panic!("not an ask") };
        assert_eq!(format!("{:?}", asked(&got, now).unwrap()), format!("{own:?}"));
        assert!(asked(&wire::Ask { api: "/api/new".to_owned(), ..got.clone() }, now).is_none());
        assert!(asked(&wire::Ask { models: Vec::new(), ..got }, now).is_none());
    }

    #[test]
    fn endings_and_tickets_arrive_as_they_were() {
        for ending in ENDINGS {
            let own = Ended { ending, first: Some(Duration::from_millis(3)), took: Duration::from_millis(40) };
            let Ok(Envelope::Ended(got)) = Envelope::decode(&ended(1, &own).encode()) else { panic!("not an end") };
            assert_eq!(has_ended(&got), own);
        }
        let own = FleetTicket {
            node: NodeId::new([4; 32]),
            backend: BackendId::new("ollama"),
            model: 1,
            ahead: 2,
            patience: Some(Duration::from_millis(900)),
            candidates: vec![Candidate {
                node: Some("den".into()),
                backend: BackendId::new("ollama"),
                slots: 2,
                thermal: 50.0,
                predicted: Some(Predicted { decode_ms: 12.5, ..Predicted::default() }),
                ..Candidate::default()
            }],
            queued: Duration::ZERO,
        };
        let Ok(Envelope::Ticket(got)) = Envelope::decode(&ticket(1, &own).encode()) else { panic!("not a ticket") };
        assert_eq!(format!("{:?}", ticketed(got)), format!("{own:?}"));
    }
}
