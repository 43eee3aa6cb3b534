//! What is remembered of leadership.

use proto::wire::Claim;
use proto::{Epoch, Moment, NodeId};

/// A leader and how this node knows of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Followed {
    /// As it was last heard of; `hops` counts from here.
    pub(crate) claim: Claim,
    /// Since when nobody is left through whom this node could know that it lives.
    pub(crate) doubt: Option<Moment>,
}

/// What this node does about leadership.
#[derive(Clone, Debug)]
pub(crate) enum Course {
    Alone,
    Follows(Followed),
    Leads(Epoch),
}

/// What is remembered of leadership.
#[derive(Clone, Debug)]
pub(crate) struct Leading {
    pub(crate) course: Course,
    /// The last epoch that was followed or led: never goes back.
    pub(crate) epoch: Epoch,
    pub(crate) observe_until: Moment,
    /// Since when nothing speaks against claiming.
    pub(crate) is_clear_since: Option<Moment>,
    pub(crate) successor: Option<NodeId>,
    pub(crate) tempted: Option<(NodeId, Moment)>,
    pub(crate) wake: Option<Moment>,
    pub(crate) told: (Option<NodeId>, Epoch),
}

impl Leading {
    pub(crate) fn new(epoch: Epoch, observe_until: Moment) -> Leading {
        Leading {
            course: Course::Alone,
            epoch,
            observe_until,
            is_clear_since: None,
            successor: None,
            tempted: None,
            wake: None,
            told: (None, epoch),
        }
    }

    pub(crate) fn wake(&self) -> Option<Moment> {
        self.wake
    }

    pub(crate) fn forget(&mut self) {
        self.course = Course::Alone;
        (self.is_clear_since, self.successor, self.tempted) = (None, None, None);
    }

    pub(crate) fn observe(&mut self, until: Moment) {
        self.observe_until = until;
    }

    /// The leader `leader` stops and names who should be next.
    pub(crate) fn name_successor(&mut self, leader: NodeId, successor: Option<NodeId>) {
        if matches!(self.course, Course::Follows(followed) if followed.claim.leader == leader) {
            self.successor = successor;
        }
    }

    /// Who leads, in the eyes of `me`.
    pub(crate) fn leader(&self, me: NodeId) -> Option<NodeId> {
        match self.course {
            Course::Alone => None,
            Course::Follows(followed) => Some(followed.claim.leader),
            Course::Leads(_) => Some(me),
        }
    }

    pub(crate) fn wake_at(&mut self, at: Moment) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}
