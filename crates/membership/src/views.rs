//! The fleet as people are shown it.

use proto::{Epoch, Moment, NodeId};

use crate::core::Membership;
use crate::peer::{Peer, hears};
use crate::{MemberView, Presence, View};

impl Membership {
    /// Who leads since which epoch, as last told by [`Output::LeaderChanged`](crate::Output::LeaderChanged).
    pub fn leader(&self) -> Option<(NodeId, Epoch)> {
        Some((self.leading.leader(self.me)?, self.leading.epoch))
    }

    /// Whether a chore of the fleet that `leader` orders as the leader of `epoch` is to be done: only if this node follows
    /// it and knows of no later epoch. Requests are served for anybody.
    pub fn obeys(&self, leader: NodeId, epoch: Epoch) -> bool {
        self.leader().is_some_and(|(followed, since)| followed == leader && epoch >= since && epoch >= self.seen)
    }

    /// What this node knows at `now`.
    pub fn view(&self, now: Moment) -> View {
        View {
            me: self.me,
            role: self.role,
            standing: self.standing(now),
            leader: self.leading.leader(self.me),
            epoch: self.leading.epoch,
            members: self.peers.iter().map(|(node, peer)| self.member_view(*node, peer, now)).collect(),
        }
    }

    fn member_view(&self, id: NodeId, peer: &Peer, now: Moment) -> MemberView {
        let pulse = peer.pulse.as_ref();
        let told = peer.told.map(|(digest, age, at)| (digest, age + now.since(at)));
        let own_silence = peer.seen.map(|seen| now.since(seen));
        MemberView {
            id,
            role: peer.role,
            presence: self.presence(peer),
            priority: peer.priority.or(told.map(|(digest, _)| digest.priority)),
            incarnation: peer.last.map(|last| last.incarnation).or(told.map(|(digest, _)| digest.incarnation)),
            follows: pulse.and_then(|pulse| pulse.claim).map(|claim| claim.leader),
            silent_for: own_silence.into_iter().chain(told.map(|(_, age)| age)).min(),
        }
    }

    fn presence(&self, peer: &Peer) -> Presence {
        // Only what members hear themselves counts, so that word of one that is gone cannot go round.
        let hear_it = |other: &Peer| {
            other.pulse.as_ref().is_some_and(|pulse| pulse.roster == self.roster && hears(pulse, peer.place))
        };
        match peer {
            _ if peer.is_heard() => Presence::Here,
            _ if peer.left.is_some() => Presence::Left,
            _ if self.peers.values().any(hear_it) => Presence::Elsewhere,
            _ => Presence::Gone,
        }
    }
}
