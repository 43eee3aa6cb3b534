//! One other member: whether it lives, what it last said, and which of its pulses to believe.

use std::time::Duration;

use proto::wire::{Digest, Pulse};
use proto::{Incarnation, Moment, NodeId, Priority, Role};

use crate::twin::Twin;

/// A pulse's place in all that a member ever said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) incarnation: Incarnation,
    pub(crate) seq: u64,
}

impl Stamp {
    pub(crate) fn of(pulse: &Pulse) -> Stamp {
        Stamp { incarnation: pulse.incarnation, seq: pulse.seq }
    }

    /// Whether it proves that its author lived after a loss at which `last` was the last one known.
    ///
    /// The very next pulse may have been on its way when the author died (found by simulation: it revived a dead leader
    /// for 3.5 s), so only the one after it counts.
    pub(crate) fn is_life_after(self, last: Stamp) -> bool {
        self.incarnation > last.incarnation
            || self.incarnation == last.incarnation && self.seq >= last.seq.saturating_add(2)
    }
}

/// Which pulses are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// The member is heard: any later one.
    Open,
    /// The member was lost: not the very next one.
    Lost,
    /// There is a new connection: not the very next one, but also the first ones of a backup that was restored.
    Fresh,
}

/// Seqs that a member's pulse on a new connection may be behind and still be taken for a late one: one minute's worth.
const LATE: u64 = 60;

/// Pulses in a row without this node among those its author hears, after which the way there counts as broken.
const UNLISTED: u8 = 3;

/// What is known of a member.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) role: Role,
    /// Its place in the roster, ordered by id: its bit in what pulses say of whom they hear.
    pub(crate) place: usize,
    pub(crate) connected: Option<Moment>,
    /// When the last byte came; `None`: it is not heard.
    heard: Option<Moment>,
    /// Since when it is heard without a break.
    pub(crate) heard_since: Moment,
    gate: Gate,
    /// The last pulse that was believed, whether it still lives or not.
    pub(crate) last: Option<Stamp>,
    /// What it last said, while it is heard.
    pub(crate) pulse: Option<Pulse>,
    /// How well it suits, as it last said.
    pub(crate) priority: Option<Priority>,
    /// When what it says of its leader was last news.
    pub(crate) news: Moment,
    /// The last known stamp of it as a leader, when it was given up: others must bring later ones.
    pub(crate) given_up: Option<Stamp>,
    unlisted: u8,
    /// The start that it said has ended.
    pub(crate) left: Option<Incarnation>,
    /// When it was last heard, by this node.
    pub(crate) seen: Option<Moment>,
    /// What others last told of it: how long they had not heard it, and when they told so.
    pub(crate) told: Option<(Digest, Duration, Moment)>,
    pub(crate) dial: Moment,
    pub(crate) twin: Twin,
    /// The version of the state that was last taken from it.
    pub(crate) state: Option<(Incarnation, u64)>,
    /// Pulses in a row whose settings differ from this node's.
    pub(crate) differing: u8,
    /// When it may be sent all settings again, and how long to wait after that.
    pub(crate) settings: (Moment, Duration),
}

impl Peer {
    pub(crate) fn new(role: Role, now: Moment) -> Peer {
        Peer {
            role,
            place: 0,
            connected: None,
            heard: None,
            heard_since: now,
            gate: Gate::Fresh,
            last: None,
            pulse: None,
            priority: None,
            news: now,
            given_up: None,
            unlisted: 0,
            left: None,
            seen: None,
            told: None,
            dial: now,
            twin: Twin::default(),
            state: None,
            differing: 0,
            settings: (now, Duration::ZERO),
        }
    }

    /// Whether this node hears it.
    pub(crate) fn is_heard(&self) -> bool {
        self.heard.is_some()
    }

    pub(crate) fn heard(&self) -> Option<Moment> {
        self.heard
    }

    /// Whether it may lead, as far as this node knows.
    pub(crate) fn may_lead(&self) -> bool {
        self.role != Role::Guest && self.left.is_none() && self.priority != Some(Priority::Never)
    }

    /// Some byte came. It prolongs life, and does not give it back.
    pub(crate) fn hear(&mut self, now: Moment) {
        if self.heard.is_some() {
            self.heard = Some(now);
            self.seen = Some(now);
        }
    }

    /// This node itself was late by `span`: what came meanwhile was not read yet.
    pub(crate) fn excuse(&mut self, span: Duration, now: Moment) {
        self.heard = self.heard.map(|heard| (heard + span).min(now));
        self.news = (self.news + span).min(now);
    }

    pub(crate) fn connect(&mut self, now: Moment) {
        self.connected = Some(now);
        self.gate = Gate::Fresh;
        self.unlisted = 0;
    }

    pub(crate) fn disconnect(&mut self) {
        self.connected = None;
        self.gate = Gate::Lost;
    }

    /// It is not heard any more; whether it was before.
    pub(crate) fn lose(&mut self) -> bool {
        self.pulse = None;
        self.unlisted = 0;
        if self.gate == Gate::Open {
            self.gate = Gate::Lost;
        }
        if self.last.is_some() {
            self.given_up = self.given_up.max(self.last);
        }
        self.heard.take().is_some()
    }

    /// Takes a pulse in; whether it was believed.
    pub(crate) fn believe(&mut self, pulse: Pulse, now: Moment) -> bool {
        let stamp = Stamp::of(&pulse);
        if self.left == Some(stamp.incarnation) || !self.last.is_none_or(|last| self.fits(stamp, last)) {
            return false;
        }
        if !self.is_heard() {
            self.heard_since = now;
            self.given_up = None;
        }
        let known = self.pulse.as_ref().and_then(|pulse| pulse.claim);
        let is_news = pulse.claim.as_ref().is_some_and(|claim| {
            !known.is_some_and(|known| {
                known.leader == claim.leader && (known.incarnation, known.seq) >= (claim.incarnation, claim.seq)
            })
        });
        if is_news {
            self.news = now;
        }
        self.gate = Gate::Open;
        self.left = None;
        self.last = Some(stamp);
        self.heard = Some(now);
        self.seen = Some(now);
        self.priority = Some(pulse.priority);
        self.pulse = Some(pulse);
        true
    }

    fn fits(&self, stamp: Stamp, last: Stamp) -> bool {
        match self.gate {
            Gate::Open => stamp > last,
            Gate::Lost => stamp.is_life_after(last),
            Gate::Fresh => {
                stamp.is_life_after(last)
                    || stamp.incarnation < last.incarnation
                    || stamp.incarnation == last.incarnation && stamp.seq.saturating_add(LATE) < last.seq
            }
        }
    }

    /// Counts whether the last pulse names this node among those it hears; whether the way there counts as broken.
    ///
    /// `hears_me` is `None` if that cannot be read.
    pub(crate) fn count_unlisted(&mut self, hears_me: Option<bool>) -> bool {
        self.unlisted = if hears_me == Some(false) { self.unlisted.saturating_add(1) } else { 0 };
        self.unlisted >= UNLISTED
    }
}

/// Whether the member at `place` of the roster is among those that `pulse` says it hears.
pub(crate) fn hears(pulse: &Pulse, place: usize) -> bool {
    pulse.hears.get(place / 8).is_some_and(|byte| byte & (1 << (place % 8)) != 0)
}

/// Tells rosters apart: a hash (FNV-1a) of the ids in their order. Nothing secret or hostile depends on it.
pub(crate) fn roster_hash<'a>(ids: impl Iterator<Item = &'a NodeId>) -> u64 {
    hash(ids.flat_map(|id| id.as_bytes().iter().copied()))
}

/// FNV-1a with 64 bits.
pub(crate) fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
