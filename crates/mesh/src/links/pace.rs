//! When to dial: at once, a little later, or much later.

use std::time::Duration;

use proto::Moment;

use super::{Connection, Links, Member, Order, Role, UP_WITHIN};
use crate::{NodeKey, Source, Trouble};

/// Addresses of unknown owner that are dialled at the same time.
pub(super) const MOST_EXPLORED: usize = 8;
/// How long the larger key waits for the smaller one's dial.
pub(super) const LARGER_WAITS: Duration = Duration::from_secs(3);
/// How long a dial of a member that was seen lately may take before another is begun beside it. Dials end after five
/// seconds by themselves, so there are at most six.
pub(super) const IMPATIENT: Duration = Duration::from_secs(1);
/// The longest pause between dials of an address where a member may be.
pub(super) const SLOWEST: Duration = Duration::from_secs(30);
/// The longest pause between dials of what seems to be another fleet's.
pub(super) const SLOWEST_FOREIGN: Duration = Duration::from_secs(300);

/// One role of one member while it is not up.
#[derive(Debug, Default)]
pub(super) struct Missing {
    pub(super) next: Moment,
    pub(super) failures: u32,
}

impl Links {
    /// When [`Links::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Moment> {
        if self.ending {
            return None;
        }
        let late = self.connections.values().filter(|open| open.up.is_none() && !open.closing);
        let late = late.map(|open| open.began + UP_WITHIN);
        let dials = self
            .members
            .iter()
            .flat_map(|(node, member)| Role::ALL.into_iter().filter_map(|role| self.due(*node, member, role)));
        let room = self.exploring() < MOST_EXPLORED;
        let strays = self.strays.values().filter(move |stray| room && !stray.dialling).map(|stray| stray.next);
        late.chain(dials).chain(strays).min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Moment) {
        if self.ending {
            return;
        }
        let due = |open: &Connection| open.up.is_none() && now >= open.began + UP_WITHIN;
        let late: Vec<_> = self.connections.iter().filter(|(_, open)| due(open)).map(|(id, _)| *id).collect();
        for connection in late {
            self.close(connection);
        }
        for node in self.members.keys().copied().collect::<Vec<_>>() {
            for role in Role::ALL {
                self.dial_if_due(node, role, now);
            }
        }
        let mut room = MOST_EXPLORED.saturating_sub(self.exploring());
        let mut due: Vec<_> =
            self.strays.iter_mut().filter(|(_, stray)| !stray.dialling && now >= stray.next).collect();
        // The fleet's own tag, or a person's word, first.
        due.sort_by_key(|(_, stray)| (stray.source == Source::Foreign, stray.failures, stray.next));
        for (address, stray) in due {
            if room == 0 {
                break;
            }
            room -= 1;
            stray.dialling = true;
            self.orders.push_back(Order::Dial { node: None, role: Role::Control, addresses: vec![*address] });
        }
    }

    /// When to dial `node` next for `role`; `None` if there is no need or no way to.
    pub(super) fn due(&self, node: NodeKey, member: &Member, role: Role) -> Option<Moment> {
        if member.addresses.is_empty() || self.live(node, role).next().is_some() {
            return None;
        }
        // Who does not answer is looked for on one connection, not two.
        if role == Role::Data && !self.is_up(node, Role::Control) {
            return None;
        }
        let ordered =
            |order: &Order| matches!(order, Order::Dial { node: Some(to), role: of, .. } if *to == node && *of == role);
        if self.orders.iter().any(ordered) {
            return None;
        }
        let next = member.roles[role as usize].next;
        let under_way = self.dials.values().filter(|dial| dial.node == Some(node) && dial.role == role);
        match under_way.map(|dial| dial.began).max() {
            None => Some(next),
            // The system repeats its own attempts ever more slowly, and the network may be back in a moment.
            Some(began) if member.is_recent(began) => Some(next.max(began + IMPATIENT)),
            Some(_) => None,
        }
    }

    pub(super) fn dial_if_due(&mut self, node: NodeKey, role: Role, now: Moment) {
        let Some(member) = self.members.get(&node) else { return };
        if self.due(node, member, role).is_none_or(|due| now < due) {
            return;
        }
        // A connection without a role may turn out to be this one, and there is no hurry: it has a deadline.
        let undecided = |open: &Connection| open.node == node && open.role.is_none() && !open.closing;
        if self.connections.values().any(undecided) {
            let pause = self.jittered(Duration::from_millis(200));
            if let Some(missing) = self.missing(node, role) {
                missing.next = now + pause;
            }
            return;
        }
        self.orders.push_back(Order::Dial { node: Some(node), role, addresses: self.addresses(node) });
    }

    /// Makes the next dials of `node` happen as soon as its rank allows.
    pub(super) fn hurry(&mut self, node: NodeKey, now: Moment) {
        let soonest = now + self.patience(node);
        if let Some(member) = self.members.get_mut(&node) {
            for missing in &mut member.roles {
                missing.next = missing.next.min(soonest);
            }
        }
    }

    pub(super) fn failed(&mut self, node: NodeKey, role: Role, trouble: Trouble, now: Moment) {
        let Some(member) = self.members.get_mut(&node) else { return };
        member.trouble = Some(trouble);
        let recent = member.is_recent(now);
        let missing = &mut member.roles[role as usize];
        missing.failures = missing.failures.saturating_add(1);
        let pause = if recent {
            Duration::from_millis(200 << missing.failures.min(3)).min(Duration::from_secs(1))
        } else {
            backoff(missing.failures, SLOWEST)
        };
        let next = now + self.jittered(pause);
        if let Some(missing) = self.missing(node, role) {
            missing.next = next;
        }
    }

    /// How long to leave the first dial to the other side.
    pub(super) fn patience(&self, node: NodeKey) -> Duration {
        if self.me < node { Duration::ZERO } else { LARGER_WAITS }
    }

    pub(super) fn missing(&mut self, node: NodeKey, role: Role) -> Option<&mut Missing> {
        self.members.get_mut(&node).map(|member| &mut member.roles[role as usize])
    }

    pub(super) fn exploring(&self) -> usize {
        self.strays.values().filter(|stray| stray.dialling).count()
    }

    /// `pause`, shortened by up to half, so that nodes do not dial in step.
    pub(super) fn jittered(&mut self, pause: Duration) -> Duration {
        // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = u32::try_from((z ^ z >> 31) >> 48).unwrap_or(0);
        pause - pause * share / (2 * 65536)
    }
}

/// 1, 2, 4 … seconds, up to `slowest`.
pub(super) fn backoff(failures: u32, slowest: Duration) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(16)).min(slowest)
}
