//! A request of this door on its way to a node of the fleet: placed, and placed again where there was no room after all.

use std::sync::Arc;
use std::time::Duration;

use dialect::{Cause, Failure};
use gateway::{Ask, Fleet, Guest, NoTicket, Placing, Slot, Ticket, Verdict};
use proto::{Address, ApiSet, BackendId, BackendKind, BackendState, Health, Link, ModelName, NodeId, Server};
use routing::scheduler::{FleetAsk, Priority, Zone};
use tokio::sync::oneshot;

use crate::node::Node;
use crate::tickets::{Asked, Given};

/// Times that a node without room is asked for by one attempt before its client is told that all are busy. There is no
/// bound in sight: each means that the view was old, and a new one came with it.
const MOST_BOUNCES: u32 = 1000;

impl Node {
    /// Places a request of this door somewhere in the fleet.
    pub(crate) async fn place_in_the_fleet(self: Arc<Node>, ask: Ask) -> Result<Ticket, NoTicket> {
        let fleet: Arc<dyn Fleet> = self.clone();
        let Some(me) = self.fleet.known().me else {
            return settled(self.placer.place(&fleet, ask)).await;
        };
        let now_only = ask.now_only;
        for bounces in 0..MOST_BOUNCES {
            let given = match self.tickets.ask(fleet_ask(&ask, me)) {
                Asked::Now(answer) => *answer,
                Asked::Later(waiting) => waiting.await,
            };
            let given = given?;
            if given.ticket.node != me {
                return self.away(&fleet, given);
            }
            let model = given.ticket.model.min(ask.models.len().saturating_sub(1));
            let here = Ask {
                models: ask.models.get(model).cloned().into_iter().collect(),
                guest: Some(Guest { from: me, issuer: given.issuer, ahead: given.ticket.ahead }),
                ..ask.clone()
            };
            let slot = Slot::away(fleet.clone(), given.number);
            match settled(self.placer.place(&fleet, here)).await {
                Ok(mut ticket) => {
                    ticket.model = model;
                    ticket.queued += given.ticket.queued;
                    ticket.patience = given.ticket.patience;
                    ticket.issuer = Some(given.issuer);
                    if !given.ticket.candidates.is_empty() {
                        ticket.candidates = given.ticket.candidates;
                    }
                    ticket.slot = ticket.slot.and(slot);
                    return Ok(ticket);
                }
                Err(no) if no.is_bounce && !now_only => {
                    slot.bounced();
                    // Asked again at once, it might be told the same.
                    tokio::time::sleep(Duration::from_millis(u64::from(bounces.min(20)))).await;
                }
                Err(no) => {
                    slot.bounced();
                    return Err(no);
                }
            }
        }
        Err(Failure::new(Cause::Busy, "server busy, please try again").into())
    }

    /// The ticket is for another node.
    fn away(&self, fleet: &Arc<dyn Fleet>, given: Given) -> Result<Ticket, NoTicket> {
        let Given { number, issuer, ticket } = given;
        let known = self.fleet.known();
        let other = known.others.iter().find(|other| other.id == ticket.node);
        let backend = other.and_then(|other| other.backends.iter().find(|backend| backend.id == ticket.backend));
        let (_, moved) = oneshot::channel();
        Ok(Ticket {
            server: Some(Server {
                name: other.map_or_else(|| ticket.node.to_string().into(), |other| other.name.clone()),
                id: ticket.node,
            }),
            backend: backend.cloned().unwrap_or_else(|| Arc::new(unknown(&ticket.backend))),
            model: ticket.model,
            candidates: ticket.candidates,
            queued: ticket.queued,
            context: None,
            verdict: Verdict::Passed,
            loaded_for: None,
            prompt_tokens: 0,
            slot: Slot::away(fleet.clone(), number),
            moved,
            patience: ticket.patience,
            ahead: ticket.ahead,
            issuer: Some(issuer),
        })
    }

    /// What is meant by `model@machine`.
    pub(crate) fn machine_in<'a>(&self, name: &'a str) -> Option<(&'a str, NodeId)> {
        let (model, machine) =
            name.rsplit_once('@').filter(|(model, machine)| !model.is_empty() && !machine.is_empty())?;
        // Names of models are compared without regard to case and tag, and so is this.
        let machine = machine.strip_suffix(":latest").unwrap_or(machine);
        let known = self.fleet.known();
        if self.name().eq_ignore_ascii_case(machine) {
            return Some((model, known.me?));
        }
        let other = known.others.iter().find(|other| other.name.to_lowercase() == machine.to_lowercase())?;
        Some((model, other.id))
    }

    /// Whether any machine of the fleet has `model` on a backend that counts tokens; `None`: none has it.
    pub(crate) fn counts_elsewhere(&self, model: &ModelName) -> Option<bool> {
        let known = self.fleet.known();
        let holders = known.within_reach().flat_map(|other| &other.backends);
        let mut serves = holders
            .filter(|backend| backend.model(model).is_some())
            .map(|backend| backend.serves.has(proto::Api::CountTokens))
            .peekable();
        serves.peek()?;
        Some(serves.any(|serves| serves))
    }
}

fn fleet_ask(ask: &Ask, me: NodeId) -> FleetAsk {
    let backends = ask.excluded.iter().map(|backend| (me, Some(backend.clone())));
    FleetAsk {
        api: ask.api,
        models: ask.models.clone(),
        app: ask.app.clone(),
        text_bytes: ask.text_bytes,
        images: ask.images,
        tools: ask.tools,
        max_tokens: ask.max_tokens,
        context_wanted: ask.context_wanted,
        cuts: ask.cuts,
        streams: ask.streams,
        session: ask.session,
        zone: Zone::Cloud,
        priority: if ask.is_batch { Priority::Batch } else { Priority::Interactive },
        excluded: backends.chain(ask.excluded_nodes.iter().map(|node| (*node, None))).collect(),
        only: ask.only,
        now_only: ask.now_only,
        rtt: Duration::ZERO,
        waited_since: ask.arrived,
    }
}

async fn settled(placing: Placing) -> Result<Ticket, NoTicket> {
    match placing {
        Placing::Now(placed) => placed,
        Placing::Later(placed) => placed.await,
    }
}

/// A backend that another node has just got, or no longer has: the node will see.
fn unknown(id: &BackendId) -> BackendState {
    BackendState {
        id: id.clone(),
        kind: BackendKind::OpenAi,
        address: Address { host: String::new(), port: 0, base_path: String::new() },
        link: Link::Loopback,
        version: None,
        health: Health::Up,
        speaks: ApiSet::NONE,
        serves: ApiSet::NONE,
        slots: None,
        most_loaded: None,
        ignores_model_name: false,
        models: Vec::new(),
    }
}
