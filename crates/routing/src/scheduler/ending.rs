//! What happens to a request after its ticket: it ends, well or not, or is forgotten.

use std::time::Duration;

use proto::{ModelName, Moment};

use super::lane::number;
use super::words::{AskId, Ended, FleetEnding};
use super::{Scheduler, Ticket};
use crate::Ending;

/// After so long a ticket for a lane that works on nothing of ours is as good as ended.
const LOST: Duration = Duration::from_secs(600);

impl Scheduler {
    pub(super) fn leave(&mut self, id: AskId, now: Moment) {
        self.outputs.retain(|output| output.id() != id);
        if self.queue.remove(id).is_none()
            && let Some(freed) = self.drop_ticket(id, now)
        {
            self.settle(Some(&freed), now);
        } else if self.queue.is_empty() {
            self.wake = None;
        }
    }

    /// Forgets everything of those that are `meant`.
    pub(super) fn forget(&mut self, meant: impl Fn(&AskId) -> bool, now: Moment) {
        self.outputs.retain(|output| !meant(&output.id()));
        let waiting: Vec<AskId> = self.queue.keys().filter(&meant).collect();
        waiting.into_iter().for_each(|id| _ = self.queue.remove(id));
        let placed: Vec<AskId> = self.tickets.keys().copied().filter(&meant).collect();
        placed.into_iter().for_each(|id| _ = self.drop_ticket(id, now));
    }

    /// Forgets tickets whose ends were never told, going by what nodes say.
    pub(super) fn forget_lost(&mut self, now: Moment) {
        let is_lost = |ticket: &Ticket| {
            let lane = self.board.lane(ticket.lane).filter(|lane| lane.serial == ticket.lane_serial);
            now.since(ticket.sent) > LOST && lane.is_none_or(|lane| !lane.is_told_of_mine())
        };
        let lost: Vec<AskId> = self.tickets.iter().filter(|(_, it)| is_lost(it)).map(|(id, _)| *id).collect();
        lost.into_iter().for_each(|id| _ = self.drop_ticket(id, now));
    }

    /// Forgets a ticket that says nothing about where it went. Answers the names of the model whose slot is free.
    pub(super) fn drop_ticket(&mut self, id: AskId, now: Moment) -> Option<Vec<ModelName>> {
        let ticket = self.tickets.remove(&id)?;
        let lane = self.board.lane_mut(ticket.lane).filter(|lane| lane.serial == ticket.lane_serial)?;
        let names = lane.names.clone();
        if let Some(pass) = ticket.pass {
            lane.breaker.left(pass);
            self.board.over(ticket.lane, id, ticket.sent, now);
        }
        Some(names)
    }

    pub(super) fn ended(&mut self, id: AskId, ended: Ended, now: Moment) {
        let Some(ticket) = self.tickets.remove(&id) else { return };
        let Some(lane) = self.board.lane_mut(ticket.lane).filter(|lane| lane.serial == ticket.lane_serial) else {
            return;
        };
        // The one model of a server that ignores names is known by any.
        let freed = (!lane.backend.ignores_model_name).then(|| lane.names.clone());
        let Some(pass) = ticket.pass else { return };
        let others = number(lane.tickets.len().saturating_sub(1));
        let session = ticket.facts.session;
        match ended.ending {
            FleetEnding::Backend(Ending::Answered) => {
                let first = ended.first.unwrap_or(ended.took);
                if lane.is_distrusted && ticket.patience.is_some_and(|patience| first > patience) {
                    lane.breaker.left(pass);
                } else {
                    lane.is_distrusted = false;
                    lane.breaker.proved(pass, others);
                }
                let first = ended.first.filter(|_| ticket.facts.streams);
                lane.answered(ended.took, first, ticket.facts.prompt, ticket.was_hot);
                self.board.answered(ticket.lane);
                if let Some(session) = session {
                    let tokens = ticket.facts.prompt.saturating_add(ticket.facts.answer);
                    self.sessions.put(session, ticket.lane_serial, tokens, now);
                }
            }
            FleetEnding::Backend(Ending::Refused4xx) => lane.breaker.proved(pass, others),
            FleetEnding::Backend(Ending::ClientLeft) => lane.breaker.left(pass),
            FleetEnding::Backend(Ending::Busy503) => lane.breaker.said_busy(pass, others, now),
            FleetEnding::Backend(Ending::Failed | Ending::Broke) => lane.breaker.failed(pass, now),
            FleetEnding::TooSlow => {
                lane.breaker.failed(pass, now);
                lane.is_distrusted = true;
            }
            FleetEnding::Bounced => {
                lane.breaker.left(pass);
                lane.bounced(now);
            }
        }
        let is_well =
            matches!(ended.ending, FleetEnding::Backend(Ending::Answered | Ending::Refused4xx | Ending::ClientLeft));
        if !is_well {
            self.looks = true;
            if let Some(session) = session {
                self.sessions.forget(session, Some(ticket.lane_serial));
            }
        }
        self.board.over(ticket.lane, id, ticket.sent, now);
        self.pace.ended(!self.queue.is_empty(), now);
        self.settle(freed.as_deref(), now);
    }
}
