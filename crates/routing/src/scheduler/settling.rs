//! Brings those who wait to rest: sends who can be sent, refuses who has waited in vain.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use proto::{ModelName, Moment};

use super::choosing::{Decision, Pick, Reserved};
use super::want::Want;
use super::words::{AskId, FleetOutput, FleetTicket};
use super::{Asked, Scheduler, Ticket};

/// In one round so many may be passed over because they wait for something better than what is free. The next one is
/// asked as if it were the last of all: is that still better if all others wait for it too?
const PASSED: usize = 8;

impl Scheduler {
    pub(super) fn issue(&mut self, asked: &Asked, pick: Pick, now: Moment) {
        let Asked { id, want, facts, enqueued } = *asked;
        let Some(lane) = self.board.lane_mut(pick.lane) else { return };
        self.serial += 1;
        let (lane_serial, backend) = (lane.serial, lane.backend.id.clone());
        let pass = want.api.needs_slot().then(|| lane.breaker.enter());
        if pick.is_probe {
            lane.probed(now);
        }
        let Some(node) = self.board.lane(pick.lane).and_then(|lane| self.board.node_of(lane)) else { return };
        let node = node.report.id;
        if pass.is_some() {
            self.board.sent(pick.lane, id, self.serial, now);
            if let Some(session) = facts.session {
                self.sessions.put(session, lane_serial, facts.prompt, now);
            }
        }
        let ticket = Ticket {
            lane: pick.lane,
            lane_serial,
            sent: now,
            pass,
            facts: *facts,
            was_hot: pick.is_hot,
            patience: pick.patience,
        };
        self.tickets.insert(id, ticket);
        let Pick { model, ahead, patience, candidates, .. } = pick;
        let queued = now.since(enqueued);
        let ticket = FleetTicket { node, backend, model, ahead, patience, candidates, queued };
        self.outputs.push_back(FleetOutput::Ticket(id, ticket));
    }

    pub(super) fn wake_by(&mut self, at: Option<Moment>, now: Moment) {
        self.wake = [self.wake.filter(|wake| *wake > now), at].into_iter().flatten().min();
    }

    /// Brings everybody to rest: sends who can be sent, refuses who has waited in vain. `only`: room may have come for
    /// these models only.
    pub(super) fn settle(&mut self, only: Option<&[ModelName]>, now: Moment) {
        if self.queue.is_empty() {
            self.wake = None;
            self.looks = false;
            return;
        }
        let again = Cell::new(None);
        self.place_waiting(only, &again, now);
        if self.looks || only.is_none() {
            // Everything was looked at: the old alarm is not needed any more.
            self.wake = None;
        }
        self.wake_by(again.get(), now);
        if std::mem::take(&mut self.looks) {
            self.look(now);
        }
        if self.queue.is_empty() {
            self.wake = None;
        }
    }

    pub(super) fn place_waiting(&mut self, only: Option<&[ModelName]>, again: &Cell<Option<Moment>>, now: Moment) {
        let mut passed: BTreeSet<AskId> = BTreeSet::new();
        let mut reserved = Reserved::default();
        let mut owner_first = true;
        let mut is_last = false;
        loop {
            let chooser = self.chooser(again, now);
            let rank = |want: &Want| {
                if only.is_some_and(|only| !want.models.iter().any(|model| only.contains(model))) {
                    return None;
                }
                let rank = chooser.rank(want, self.rtt_of(want.door))?;
                Some(if owner_first { rank } else { rank.max(1) })
            };
            let Some(next) = self.queue.turn(now, rank, |id| passed.contains(id)) else { return };
            let Some(request) = self.queue.get(next.key) else { return };
            let want = Arc::clone(&request.want);
            let facts = request.with;
            match self.decide(&want, &facts, &reserved, again, now) {
                Decision::Go(pick) => {
                    let is_own = |lane| self.board.node_of(lane).is_some_and(|node| node.report.id == want.door);
                    if next.rank == 0 && !next.by_age && !self.board.lane(pick.lane).is_some_and(is_own) {
                        // It is first only for its own machine.
                        owner_first = false;
                        continue;
                    }
                    let Some((id, request)) = self.queue.take(next) else { return };
                    self.issue(&Asked { id, want: &want, facts: &facts, enqueued: request.enqueued }, *pick, now);
                    continue;
                }
                Decision::Wait { lane, .. } => {
                    reserved.add(lane);
                    passed.insert(next.key);
                }
                Decision::Nobody => _ = passed.insert(next.key),
            }
            if passed.len() >= PASSED {
                if std::mem::replace(&mut is_last, true) {
                    return;
                }
                let lanes = self.board.holders(&want.models).next().map_or(&[][..], |(_, lanes, _)| lanes);
                let others = want.models.first().map_or(0, |model| self.queue.waiting_under(model));
                reserved.spread(others.saturating_sub(passed.len() + 1), lanes, &self.board);
            }
        }
    }

    /// Looks how those stand that wait, and refuses whose patience is at its end.
    pub(super) fn look(&mut self, now: Moment) {
        let board = &self.board;
        let looked = self.queue.look(now, self.settings.queue_wait, |want| board.standing(want, now), |_, _, _| {});
        for id in looked.impatient {
            if let Some(request) = self.queue.remove(id) {
                self.refuse(id, self.board.out_of_reach(&request.want, now));
            }
        }
        for (id, refusal) in looked.refused {
            if self.queue.remove(id).is_some() {
                self.refuse(id, refusal);
            }
        }
        self.wake_by(looked.wake, now);
    }
}
