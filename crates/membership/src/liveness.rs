//! Who is heard, who is lost, and whom to dial again.

use std::time::Duration;

use proto::wire::{Leaving, Pulse};
use proto::{Moment, NodeId};

use crate::core::Membership;
use crate::peer::{Stamp, hears};
use crate::{Output, PATIENCE, PULSE};

/// All members lost within this time: this node moved, not they.
const MOVED: Duration = Duration::from_secs(1);

/// A member seen this recently is dialled each second.
const RECENT: Duration = Duration::from_secs(600);

/// How often the others are dialled.
const SELDOM: Duration = Duration::from_secs(30);

/// A connection younger than this need not carry pulses both ways yet.
const YOUNG: Duration = Duration::from_secs(2);

impl Membership {
    pub(crate) fn connected(&mut self, node: NodeId, now: Moment) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.connect(now);
        // One number is left out, so that nobody takes the first pulse for one that was still on its way when the last
        // connection was lost.
        self.seq += 1;
        self.greet(node, now);
    }

    pub(crate) fn disconnected(&mut self, node: NodeId, now: Moment) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.disconnect();
        if peer.is_heard() {
            self.lose(node, now);
        }
    }

    pub(crate) fn take_pulse(&mut self, node: NodeId, mut pulse: Pulse, now: Moment) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let was_heard = peer.is_heard();
        let is_twin = peer.twin.notice(Stamp::of(&pulse), now);
        // Two machines under one identity take turns in claiming what the other does not know of: neither may lead, and
        // how far their epochs have come moves nobody.
        let is_doubled = is_twin || peer.twin.is_known(now);
        pulse.claim = pulse.claim.filter(|claim| !is_doubled || claim.leader != node);
        let (epoch, claim) = (pulse.epoch, pulse.claim);
        let hears_me = (pulse.roster == self.roster).then(|| hears(&pulse, self.place));
        if is_twin {
            self.output(Output::DuplicateIdentity(node));
        }
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if !peer.believe(pulse, now) {
            return peer.hear(now);
        }
        let is_young = peer.connected.is_none_or(|since| now.since(since) < YOUNG);
        let is_deaf = peer.count_unlisted(hears_me.filter(|_| !is_young));
        if !was_heard {
            self.output(Output::MemberAlive(node));
        }
        let epoch = claim.map_or(epoch, |claim| claim.epoch.max(epoch));
        if epoch > self.seen && !is_doubled {
            self.seen = epoch;
            self.persist();
        }
        if let Some(claim) = claim.filter(|claim| claim.leader == self.me) {
            self.notice_echo(Stamp { incarnation: claim.incarnation, seq: claim.seq }, now);
        }
        if is_deaf {
            // It does not hear this node, so what it says of itself must not keep this node waiting.
            self.lose(node, now);
        }
    }

    /// Others follow this node by pulses that it never sent: somebody else sends them.
    fn notice_echo(&mut self, stamp: Stamp, now: Moment) {
        let own = Stamp { incarnation: self.incarnation, seq: self.seq };
        let is_foreign = stamp > own;
        if is_foreign && (self.echo.notice(own, now) | self.echo.notice(stamp, now)) {
            self.output(Output::DuplicateIdentity(self.me));
        }
    }

    pub(crate) fn take_leave(&mut self, node: NodeId, leaving: Leaving) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        // A restart may have overtaken it.
        if peer.last.is_some_and(|last| last.incarnation > leaving.incarnation) {
            return;
        }
        peer.left = Some(leaving.incarnation);
        if peer.lose() {
            self.output(Output::MemberDead(node));
        }
        self.leading.name_successor(node, leaving.successor);
    }

    pub(crate) fn give_up_silent(&mut self, now: Moment) {
        let is_silent = |heard: Moment| now >= heard + PATIENCE;
        if !self.peers.values().any(|peer| peer.heard().is_some_and(is_silent)) {
            return;
        }
        let silent = self.peers.iter().filter(|(_, peer)| peer.heard().is_some_and(is_silent));
        for node in silent.map(|(node, _)| *node).collect::<Vec<_>>() {
            self.lose(node, now);
        }
    }

    /// A member that was heard is not heard any more.
    fn lose(&mut self, node: NodeId, now: Moment) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.lose();
        peer.dial = now + PULSE;
        self.output(Output::MemberDead(node));
        self.output(Output::Redial(node));
        self.losses.push_back((now, node));
        self.losses.retain(|(at, lost)| now.since(*at) <= MOVED && (*lost != node || *at == now));
        if self.losses.len() > 1 && !self.peers.values().any(|peer| peer.is_heard()) {
            self.losses.clear();
            self.leading.forget();
            self.leading.observe(now + PATIENCE);
            self.is_urgent = true;
        }
    }

    /// Asks for connections to those that are not heard.
    pub(crate) fn redial(&mut self, now: Moment) {
        let is_eager = now < self.eager_until;
        let mut due = Vec::new();
        for (node, peer) in &mut self.peers {
            let is_settling = peer.connected.is_some_and(|since| now.since(since) < PATIENCE);
            if peer.is_heard() || is_settling || now < peer.dial {
                continue;
            }
            let is_recent = match peer.seen {
                Some(seen) => now.since(seen) <= RECENT && peer.left.is_none(),
                None => false,
            };
            let pause = if is_recent || is_eager && peer.left.is_none() { PULSE } else { SELDOM };
            // A little less, so that a beat which is a little early does not miss it.
            peer.dial = now + pause.mul_f32(0.9);
            due.push(*node);
        }
        for node in due {
            self.output(Output::Redial(node));
        }
    }
}
