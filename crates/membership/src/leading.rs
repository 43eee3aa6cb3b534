//! Who leads: follow a live leader; claim if there is none; of two, the one that more nodes follow stays.

use std::cmp::Reverse;
use std::time::Duration;

use proto::wire::Claim;
use proto::{Epoch, Moment, NodeId, Priority, Role};

use crate::claims::{Heard, Rank, SETTLED};
use crate::core::Membership;
use crate::course::{Course, Followed};
use crate::peer::Stamp;
use crate::{Output, PULSE, Standing};

/// How much later the next best claims.
const STAGGER: Duration = Duration::from_secs(1);

/// A lost leader may be back within this time: a connection that only broke is there again in a few milliseconds.
const GRACE: Duration = Duration::from_millis(50);

/// How long another leader must be the better one until a follower goes over. Leaders that hear of each other settle it
/// sooner; where they do not, their followers in between do.
const TEMPTED: Duration = Duration::from_secs(2);

impl Membership {
    /// What this node says of its leader: nothing while it doubts.
    pub(crate) fn claim(&self) -> Option<Claim> {
        match &self.leading.course {
            Course::Alone => None,
            Course::Follows(followed) => followed.doubt.is_none().then_some(followed.claim),
            Course::Leads(epoch) => Some(Claim {
                leader: self.me,
                epoch: *epoch,
                incarnation: self.incarnation,
                seq: self.seq,
                size: self.followers(),
                priority: self.priority,
                hops: 0,
            }),
        }
    }

    /// Whether this node may lead at all.
    pub(crate) fn may_lead(&self) -> bool {
        self.role.is_some_and(|role| role != Role::Guest) && self.priority != Priority::Never
    }

    pub(crate) fn standing(&self, now: Moment) -> Standing {
        match &self.leading.course {
            _ if self.role.is_none() || self.has_left => Standing::Outside,
            Course::Leads(_) => Standing::Leading,
            Course::Follows(_) => Standing::Following,
            Course::Alone if now < self.leading.observe_until => Standing::Observing,
            Course::Alone => Standing::Waiting,
        }
    }

    /// Draws the conclusions about leadership from what is known now.
    pub(crate) fn decide(&mut self, now: Moment) {
        self.leading.wake = None;
        if self.role.is_none() {
            return self.leading.forget();
        }
        let claims = self.heard_claims(now);
        match self.leading.course {
            Course::Leads(epoch) => self.defend(epoch, &claims, now),
            Course::Follows(followed) => self.keep(followed, &claims, now),
            Course::Alone => {}
        }
        if matches!(self.leading.course, Course::Alone) {
            // What was given up a moment ago needs later proof of life.
            let claims = self.heard_claims(now);
            self.find(&claims, now);
        }
    }

    /// This node leads: does it still?
    fn defend(&mut self, epoch: Epoch, claims: &[Heard], now: Moment) {
        let own = Rank { size: self.followers(), priority: self.priority, leader: self.me };
        let better = claims.iter().filter(|heard| heard.is_news && Rank::of(&heard.claim) > own);
        let settles = better.map(|heard| heard.since + SETTLED).min();
        if !self.may_lead() || settles.is_some_and(|at| now >= at) {
            self.leading.course = Course::Alone;
            self.leading.is_clear_since = None;
            self.is_urgent = true;
        } else if let Some(at) = settles {
            self.leading.wake_at(at);
        } else if self.seen > epoch {
            // Some node once followed a later epoch: it can follow this node only in one that is later still. A leader
            // that is about to give way does not do this, so two cannot drive each other up.
            self.lead();
        }
    }

    /// This node follows a leader: does that one still lead and live?
    fn keep(&mut self, followed: Followed, claims: &[Heard], now: Moment) {
        let leader = followed.claim.leader;
        let of_leader = claims.iter().filter(|heard| heard.claim.leader == leader);
        let best = of_leader.min_by_key(|heard| (!heard.is_news, heard.claim.hops, Reverse(heard.stamp())));
        let is_heard = match self.peers.get(&leader) {
            None => return self.drop_leader(),
            Some(peer) if peer.left.is_some() => return self.drop_leader(),
            Some(peer) => peer.is_heard(),
        };
        // It speaks for itself, and says that it does not lead or must not.
        if is_heard && best.is_none() {
            return self.drop_leader();
        }
        match (best, followed.doubt) {
            (Some(heard), _) if is_heard || heard.is_news && is_way(heard, &followed) => self.keep_by(heard),
            (_, None) => self.doubt(followed, now),
            (None, Some(since)) if now >= since + GRACE => return self.drop_leader(),
            (None, Some(since)) => self.leading.wake_at(since + GRACE),
            // Somebody still speaks of it: wait until they show that it lives, or take it back.
            (Some(_), Some(_)) => self.leading.wake_at(self.tick),
        }
        self.compare(claims, now);
    }

    fn keep_by(&mut self, heard: &Heard) {
        // Only a leader whose epoch was turned back by hand could say a lower one.
        if heard.claim.epoch < self.leading.epoch {
            return self.drop_leader();
        }
        let claim = Claim { hops: heard.claim.hops + 1, ..heard.claim };
        if let Course::Follows(Followed { claim: old, doubt: None }) = self.leading.course
            && old.hops == claim.hops
            && old.epoch == claim.epoch
        {
            self.leading.course = Course::Follows(Followed { claim, doubt: None });
        } else {
            self.follow(claim);
        }
    }

    fn doubt(&mut self, followed: Followed, now: Moment) {
        let Claim { leader, incarnation, seq, .. } = followed.claim;
        if let Some(peer) = self.peers.get_mut(&leader) {
            peer.given_up = peer.given_up.max(Some(Stamp { incarnation, seq }));
        }
        self.leading.course = Course::Follows(Followed { doubt: Some(now), ..followed });
        self.leading.wake_at(now + GRACE);
        self.is_urgent = true;
    }

    fn drop_leader(&mut self) {
        self.leading.course = Course::Alone;
        self.leading.is_clear_since = None;
        self.leading.tempted = None;
        self.is_urgent = true;
    }

    /// Goes over to a leader that has been the better one for a while, at once while the own one is in doubt.
    fn compare(&mut self, claims: &[Heard], now: Moment) {
        let Course::Follows(Followed { claim, doubt }) = self.leading.course else { return };
        let others = claims.iter().filter(|heard| heard.claim.leader != claim.leader);
        let rival = followable(others, self.leading.epoch);
        let rival = rival.filter(|rival| doubt.is_some() || Rank::of(&rival.claim) > Rank::of(&claim));
        let Some(rival) = rival else {
            self.leading.tempted = None;
            return;
        };
        let since = match self.leading.tempted {
            Some((leader, since)) if leader == rival.claim.leader => since,
            _ => now,
        };
        self.leading.tempted = Some((rival.claim.leader, since));
        let is_new_term = doubt.is_some() && rival.claim.epoch > claim.epoch;
        if is_new_term || now >= since + TEMPTED {
            self.follow(Claim { hops: rival.claim.hops + 1, ..rival.claim });
        } else {
            self.leading.wake_at(since + TEMPTED);
        }
    }

    /// This node has no leader: follows the best there is, or claims when it is its turn.
    fn find(&mut self, claims: &[Heard], now: Moment) {
        if let Some(best) = followable(claims.iter(), self.leading.epoch) {
            return self.follow(Claim { hops: best.claim.hops + 1, ..best.claim });
        }
        // Whoever hears from any peer of a live leader never claims, even if it cannot follow that one yet.
        if !claims.is_empty() || !self.may_lead() {
            self.leading.is_clear_since = None;
            return;
        }
        if now < self.leading.observe_until {
            self.leading.is_clear_since = None;
            return self.leading.wake_at(self.leading.observe_until);
        }
        let since = *self.leading.is_clear_since.get_or_insert(now);
        let turn = since + STAGGER * self.better_candidates(since);
        if now >= turn {
            self.lead();
        } else {
            self.leading.wake_at(turn);
        }
    }

    /// How many of those that are heard claim before this node, for which the way has been clear since `since`.
    fn better_candidates(&self, since: Moment) -> u32 {
        // After a power cut all stop observing in the same moment, and none knows it of the others yet.
        let has_just_observed = since.since(self.leading.observe_until) < GRACE;
        let successor = self.leading.successor;
        let own = (successor == Some(self.me), self.priority, self.me);
        let better = self.peers.iter().filter(|(node, peer)| {
            let Some(pulse) = &peer.pulse else { return false };
            let may_claim = peer.may_lead() && (has_just_observed || !pulse.observing);
            may_claim && (successor == Some(**node), pulse.priority, **node) > own
        });
        u32::try_from(better.count()).unwrap_or(u32::MAX)
    }

    fn follow(&mut self, claim: Claim) {
        self.leading.epoch = self.leading.epoch.max(claim.epoch);
        self.leading.course = Course::Follows(Followed { claim, doubt: None });
        (self.leading.is_clear_since, self.leading.successor, self.leading.tempted) = (None, None, None);
        self.is_urgent = true;
    }

    fn lead(&mut self) {
        let epoch = self.seen.next();
        (self.seen, self.leading.epoch) = (epoch, epoch);
        self.leading.course = Course::Leads(epoch);
        (self.leading.is_clear_since, self.leading.successor, self.leading.tempted) = (None, None, None);
        self.persist();
        self.is_urgent = true;
    }

    /// Who should lead when this node stops: the best of those that are heard, if possible one that may claim at once.
    pub(crate) fn successor(&self) -> Option<NodeId> {
        if !matches!(self.leading.course, Course::Leads(_)) {
            return None;
        }
        let candidates = self.peers.iter().filter(|(_, peer)| peer.may_lead());
        let heard = candidates.filter_map(|(node, peer)| {
            let pulse = peer.pulse.as_ref()?;
            Some((!pulse.observing, pulse.priority, *node))
        });
        heard.max().map(|(.., node)| node)
    }

    /// Says who leads, if that has changed.
    pub(crate) fn tell_leader(&mut self) {
        let now = (self.leading.leader(self.me), self.leading.epoch);
        if now.0 != self.leading.told.0 || now.0.is_some() && now.1 != self.leading.told.1 {
            self.leading.told = now;
            self.output(Output::LeaderChanged { leader: now.0, epoch: now.1 });
        }
    }
}

/// Whether `heard` is a way by which this node can know of the leader that it follows. One that is as long as the own
/// way may lead back to this node, unless it brought proof of life that was not there when doubt began.
fn is_way(heard: &Heard, followed: &Followed) -> bool {
    followed.doubt.is_some() || heard.claim.hops < followed.claim.hops
}

/// The best of `claims` that can be followed without going back behind `epoch`.
fn followable<'a>(claims: impl Iterator<Item = &'a Heard>, epoch: Epoch) -> Option<&'a Heard> {
    claims.filter(|heard| heard.is_news && heard.claim.epoch >= epoch).max_by_key(|heard| Rank::of(&heard.claim))
}

// A pulse comes at least this often, so a turn that comes a stagger later sees the claim of the one before.
const _: () = assert!(STAGGER.as_millis() >= PULSE.as_millis());
