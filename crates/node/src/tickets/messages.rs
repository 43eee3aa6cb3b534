//! What other nodes say about requests.

use std::time::Duration;

use proto::wire::{self, Envelope};
use proto::{Moment, NodeId};
use routing::scheduler::{AskId, FleetInput};

use super::mail::Mail;
use super::{State, Tickets, With, translate};

/// A request that its leader does not tell of although it could is asked for again after this.
const LOST: Duration = Duration::from_secs(1);

impl Tickets {
    /// A member has said something about requests, or anything at all.
    pub(crate) fn heard(&self, from: NodeId, message: Option<Envelope>) {
        let now = self.clock.now();
        let mut state = self.lock();
        let mut mail = Mail::default();
        if state.leader == Some(from) {
            state.heard = now;
            if std::mem::take(&mut state.is_silent) {
                state.ask_leader(now, &mut mail);
            }
        }
        if let Some(message) = message {
            state.hear(from, message, now, &mut mail);
        }
        self.release(state, mail);
    }
}

impl State {
    fn hear(&mut self, from: NodeId, message: Envelope, now: Moment, mail: &mut Mail) {
        let id = |number| AskId { door: from, number };
        match message {
            Envelope::Ask(ask) => {
                if !self.is_leading() || self.is_stopping {
                    return mail.send(from, translate::not_leader(ask.id));
                }
                match translate::asked(&ask, now) {
                    Some(asked) => self.tell(FleetInput::Arrive(id(ask.id), asked), now, mail),
                    // Of a newer version: its door decides.
                    None => mail.send(from, translate::not_leader(ask.id)),
                }
            }
            Envelope::Ticket(ticket) => {
                let number = ticket.id;
                let asked = self.waiting.get(&number).map(|waiter| (waiter.asked, waiter.position.is_some()));
                if let Some((asked, has_waited)) = asked
                    && !has_waited
                {
                    self.rtt.took(now.since(asked));
                }
                self.give(number, from, translate::ticketed(ticket), now, mail);
            }
            Envelope::Refused(refused) => self.refused(from, &refused, now, mail),
            Envelope::Beat(beat) => self.beat(from, &beat, now, mail),
            Envelope::Withdrawn(withdrawn) => {
                for number in withdrawn.ids {
                    self.tell(FleetInput::Leave(id(number)), now, mail);
                }
            }
            Envelope::Ended(ended) => {
                self.tell(FleetInput::Ended(id(ended.id), translate::has_ended(&ended)), now, mail);
            }
            Envelope::Work(work) => {
                self.tell(FleetInput::Shares(from, work.shares), now, mail);
                self.tell(FleetInput::Work(from, translate::worked(&work)), now, mail);
            }
            Envelope::Speeds(speeds) => self.tell(FleetInput::Speeds(from, translate::sped(&speeds)), now, mail),
            Envelope::Membership(_) | Envelope::Roster(_) | Envelope::Addresses(_) | Envelope::News(_) => {}
        }
    }

    fn refused(&mut self, from: NodeId, refused: &wire::Refused, now: Moment, mail: &mut Mail) {
        let Some(waiter) = self.waiting.get_mut(&refused.id) else { return };
        if waiter.with != With::Leader(from) {
            return;
        }
        if refused.code == translate::NOT_LEADER {
            waiter.with = With::Own;
            let ask = waiter.ask.clone();
            return self.arrive(refused.id, ask, now, mail);
        }
        if let Some(waiter) = self.waiting.remove(&refused.id) {
            let failure = translate::failure(refused, waiter.ask.api, super::requested(&waiter.ask));
            mail.answer(refused.id, waiter.answer, Err(failure));
        }
    }

    fn beat(&mut self, from: NodeId, beat: &wire::Beat, now: Moment, mail: &mut Mail) {
        for told in &beat.waiting {
            if let Some(waiter) = self.waiting.get_mut(&told.id) {
                waiter.position = Some((told.position, told.eta_ms.map(Duration::from_millis)));
                waiter.asked = waiter.asked.max(now);
            }
        }
        // Whether all are told of.
        if usize::try_from(beat.total).is_ok_and(|total| total == beat.waiting.len()) {
            for (number, waiter) in &mut self.waiting {
                if waiter.with == With::Leader(from) && now.since(waiter.asked) > LOST {
                    waiter.asked = now;
                    // It may be that the ticket was lost: the leader then counts it, and would not give another.
                    mail.send(from, translate::withdrawn(vec![*number]));
                    mail.send(from, translate::ask(*number, &waiter.ask, now));
                }
            }
        }
    }

    /// Has the leader place what this node was to place without it, as far as that waits.
    pub(super) fn ask_leader(&mut self, now: Moment, mail: &mut Mail) {
        let Some(leader) = self.leader.filter(|leader| *leader != self.me) else { return };
        let own: Vec<u64> =
            self.waiting.iter().filter(|(_, waiter)| waiter.with == With::Own).map(|(number, _)| *number).collect();
        for number in own {
            let me = self.me;
            self.tell(FleetInput::Leave(AskId { door: me, number }), now, mail);
            if let Some(waiter) = self.waiting.get_mut(&number) {
                waiter.with = With::Leader(leader);
                waiter.asked = now;
                waiter.position = None;
                mail.send(leader, translate::ask(number, &waiter.ask, now));
            }
        }
    }

    /// Has another leader place what `before` was to place.
    pub(super) fn ask_other(&mut self, before: NodeId, leader: NodeId, now: Moment, mail: &mut Mail) {
        let mut theirs = Vec::new();
        for (number, waiter) in &mut self.waiting {
            if waiter.with == With::Leader(before) {
                waiter.with = With::Leader(leader);
                waiter.asked = now;
                waiter.position = None;
                theirs.push(*number);
                mail.send(leader, translate::ask(*number, &waiter.ask, now));
            }
        }
        // Where two led for a while, only one of them goes on with these.
        for part in theirs.chunks(wire::MAX_PLACES_TOLD) {
            mail.send(before, translate::withdrawn(part.to_vec()));
        }
    }

    /// Places what `leader` was to place without it.
    pub(super) fn decide_alone(&mut self, leader: NodeId, now: Moment, mail: &mut Mail) {
        let theirs: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, waiter)| waiter.with == With::Leader(leader))
            .map(|(number, _)| *number)
            .collect();
        if theirs.is_empty() {
            return;
        }
        for part in theirs.chunks(wire::MAX_PLACES_TOLD) {
            mail.send(leader, translate::withdrawn(part.to_vec()));
        }
        for number in theirs {
            let Some(waiter) = self.waiting.get_mut(&number) else { continue };
            waiter.with = With::Own;
            waiter.position = None;
            let ask = waiter.ask.clone();
            self.arrive(number, ask, now, mail);
        }
    }
}
