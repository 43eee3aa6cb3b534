//! The leaders that this node hears of, and which of two should stay.

use std::time::Duration;

use proto::wire::Claim;
use proto::{Moment, NodeId, Priority};

use crate::PATIENCE;
use crate::core::Membership;
use crate::peer::{Peer, Stamp};

/// Longest way on which word of a leader is believed.
const MAX_HOPS: u8 = 16;

/// What orders two leaders that both live: the one that more nodes follow stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) size: u32,
    pub(crate) priority: Priority,
    pub(crate) leader: NodeId,
}

impl Rank {
    pub(crate) fn of(claim: &Claim) -> Rank {
        Rank { size: claim.size, priority: claim.priority, leader: claim.leader }
    }
}

/// A leader that a member speaks of, itself perhaps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) claim: Claim,
    /// Since when the member that says so is heard without a break.
    pub(crate) since: Moment,
    /// Whether it can be followed: it shows that the leader lived after this node gave it up. Otherwise it is reason to
    /// wait, no more.
    pub(crate) is_news: bool,
}

impl Heard {
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { incarnation: self.claim.incarnation, seq: self.claim.seq }
    }
}

impl Membership {
    /// Every leader that some member speaks of now, this node not counted.
    pub(crate) fn heard_claims(&self, now: Moment) -> Vec<Heard> {
        self.peers.iter().filter_map(|(node, peer)| self.heard_claim(*node, peer, now)).collect()
    }

    fn heard_claim(&self, node: NodeId, peer: &Peer, now: Moment) -> Option<Heard> {
        let pulse = peer.pulse.as_ref()?;
        let claim = pulse.claim.filter(|claim| claim.leader != self.me && claim.priority != Priority::Never)?;
        let heard = Heard { claim, since: peer.heard_since, is_news: true };
        if claim.leader == node {
            let (incarnation, seq) = (pulse.incarnation, pulse.seq);
            return peer.may_lead().then_some(Heard { claim: Claim { incarnation, seq, hops: 0, ..claim }, ..heard });
        }
        let leader = self.peers.get(&claim.leader)?;
        // What a leader says of itself counts for more than what others say of it.
        let is_out = leader.is_heard() || !leader.may_lead();
        // Whoever hears a leader without help notices its end by itself; from others there must be news. No news for
        // long is not believed of anybody.
        let patience = if claim.hops <= 1 { PATIENCE * 3 } else { PATIENCE };
        if is_out || claim.hops == 0 || claim.hops >= MAX_HOPS || now.since(peer.news) >= patience {
            return None;
        }
        let is_news = leader.given_up.is_none_or(|last| heard.stamp().is_life_after(last));
        Some(Heard { is_news, ..heard })
    }

    /// How many follow this node, itself included.
    pub(crate) fn followers(&self) -> u32 {
        let follows = |peer: &&Peer| {
            peer.pulse.as_ref().and_then(|pulse| pulse.claim).is_some_and(|claim| claim.leader == self.me)
        };
        1 + u32::try_from(self.peers.values().filter(follows).count()).unwrap_or(u32::MAX - 1)
    }
}

/// A leader whose member has been back for less than this may be told of by pulses that waited on the way.
pub(crate) const SETTLED: Duration = Duration::from_millis(500);
