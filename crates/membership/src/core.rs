//! The core itself: four verbs around what is known of each member.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proto::wire::{MAX_MEMBERS, MAX_PAYLOAD, Message};
use proto::{Epoch, Incarnation, Moment, NodeId, Priority, Role};

use crate::course::Leading;
use crate::map::Shared;
use crate::peer::{Peer, roster_hash};
use crate::twin::Twin;
use crate::{Input, Output, PATIENCE, PULSE, Start};

/// A call that comes this much after it was due tells that the machine slept or the process was stopped. The others give
/// this node up half a second later, so nobody else leads yet.
const SLEPT: Duration = Duration::from_secs(2);

/// A call that comes this much late means that what came meanwhile waits unread.
const LATE: Duration = Duration::from_millis(100);

/// Pulses beside the regular ones in each second, so that no quarrel can flood the network.
const URGENT: u8 = 4;

/// How long after start or sleep members that were never seen are dialled each second.
const EAGER: Duration = Duration::from_secs(60);

/// Outputs that wait for the caller. It takes them after each call; if it does not, further messages are not sent.
const MAX_OUTPUTS: usize = 64 * 1024;

/// Decides who is alive and who leads, for one node.
///
/// After each call the caller carries out what [`Membership::poll_output`] gives until it gives nothing more.
#[derive(Debug)]
pub struct Membership {
    pub(crate) me: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) priority: Priority,
    /// `None`: not on the roster.
    pub(crate) role: Option<Role>,
    pub(crate) has_left: bool,
    /// This node's place in the roster.
    pub(crate) place: usize,
    pub(crate) roster: u64,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    pub(crate) seq: u64,
    /// The highest epoch ever seen.
    pub(crate) seen: Epoch,
    pub(crate) leading: Leading,
    pub(crate) settings: Shared,
    pub(crate) payload: Vec<u8>,
    pub(crate) state_version: u64,
    pub(crate) next_state: Moment,
    /// Whose identity is also used elsewhere: this node's own, as others tell.
    pub(crate) echo: Twin,
    /// Members lost within the last second: all at once means that this node moved.
    pub(crate) losses: VecDeque<(Moment, NodeId)>,
    /// Until when members that were never seen are dialled each second.
    pub(crate) eager_until: Moment,
    pub(crate) tick: Moment,
    pub(crate) is_urgent: bool,
    urgent_left: u8,
    now: Moment,
    outputs: VecDeque<Output>,
}

impl Membership {
    /// A node that has just started and knows no roster yet. It observes until [`PATIENCE`] has passed with one.
    pub fn new(start: Start, now: Moment) -> Membership {
        let Start { me, incarnation, epoch, priority, settings, seed } = start;
        let mut membership = Membership {
            me,
            incarnation,
            priority,
            role: None,
            has_left: false,
            place: 0,
            roster: 0,
            peers: BTreeMap::new(),
            seq: 0,
            seen: epoch,
            leading: Leading::new(epoch, now + PATIENCE),
            settings: Shared::new(settings),
            payload: Vec::new(),
            state_version: 0,
            next_state: now,
            echo: Twin::default(),
            losses: VecDeque::new(),
            eager_until: now + EAGER,
            tick: now + Duration::from_millis(seed % 1000),
            is_urgent: false,
            urgent_left: URGENT,
            now,
            outputs: VecDeque::new(),
        };
        membership.persist();
        membership
    }

    /// Takes in that `input` happened at `now`.
    pub fn handle(&mut self, input: Input, now: Moment) {
        if self.has_left {
            return;
        }
        let now = self.advance(now);
        match input {
            Input::Roster(members) => self.take_roster(members, now),
            Input::Connected(node) => self.connected(node, now),
            Input::Disconnected(node) => self.disconnected(node, now),
            Input::Heard(node) => {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.hear(now);
                }
            }
            Input::Message(node, message) => self.receive(node, message, now),
            Input::Priority(priority) => {
                self.is_urgent |= (priority == Priority::Never) != (self.priority == Priority::Never);
                self.priority = priority;
            }
            Input::State(payload) => {
                if self.take_payload(payload) {
                    self.next_state = now;
                }
            }
            Input::UrgentState(payload) => {
                if self.take_payload(payload) {
                    self.send_state(now);
                }
            }
            Input::SettingSet { key, value } => self.set_setting(key, value),
            Input::Slept | Input::ClockJumped => self.resume(now),
            Input::Leave => return self.leave(),
        }
        self.settle(now);
    }

    /// When [`Membership::handle_timeout`] must be called at the latest; `None`: it has left.
    pub fn poll_timeout(&self) -> Option<Moment> {
        if self.has_left {
            return None;
        }
        let silent = self.peers.values().filter_map(|peer| Some(peer.heard()? + PATIENCE));
        silent.chain(self.leading.wake()).chain([self.tick]).min().map(|wake| wake.max(self.now))
    }

    /// Takes in that it is `now`. Calling it too early does no harm.
    pub fn handle_timeout(&mut self, now: Moment) {
        if !self.has_left {
            let now = self.advance(now);
            self.settle(now);
        }
    }

    /// The next thing to do, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Time has passed: notices sleep, beats, and gives up who has been silent. Returns the moment, which never goes back.
    fn advance(&mut self, now: Moment) -> Moment {
        let now = now.max(self.now);
        self.now = now;
        let late = now.since(self.tick);
        if late > SLEPT {
            self.resume(now);
        } else if late > LATE {
            for peer in self.peers.values_mut() {
                peer.excuse(late, now);
            }
        }
        if now >= self.tick {
            // Kept in step unless that would mean two beats at once.
            self.tick = if late >= PULSE { now + PULSE } else { self.tick + PULSE };
            self.urgent_left = URGENT;
            self.beat(now);
        }
        self.give_up_silent(now);
        now
    }

    /// Draws the conclusions of what has changed.
    fn settle(&mut self, now: Moment) {
        self.decide(now);
        if self.is_urgent && self.urgent_left > 0 && self.role.is_some() {
            self.urgent_left -= 1;
            self.send_pulses(now);
        }
        self.tell_leader();
    }

    /// What this node says of itself from now on; false if it says that already, or it is too long.
    fn take_payload(&mut self, payload: Vec<u8>) -> bool {
        let is_new = payload.len() <= MAX_PAYLOAD && payload != self.payload;
        if is_new {
            self.payload = payload;
            self.state_version += 1;
        }
        is_new
    }

    fn take_roster(&mut self, mut members: Vec<(NodeId, Role)>, now: Moment) {
        members.sort();
        members.dedup_by_key(|(node, _)| *node);
        members.truncate(MAX_MEMBERS);
        self.roster = roster_hash(members.iter().map(|(node, _)| node));
        let was_outside = self.role.take().is_none();
        let mut known = std::mem::take(&mut self.peers);
        for (place, (node, role)) in members.into_iter().enumerate() {
            if node == self.me {
                self.role = Some(role);
                self.place = place;
            } else {
                let mut peer = known.remove(&node).unwrap_or_else(|| Peer::new(role, now));
                (peer.role, peer.place) = (role, place);
                self.peers.insert(node, peer);
            }
        }
        for (node, peer) in known {
            if peer.is_heard() {
                self.output(Output::MemberDead(node));
            }
        }
        if self.role.is_none() {
            self.forget_everything(now);
        } else if was_outside {
            self.leading.observe(now + PATIENCE);
        }
        self.is_urgent = true;
        self.next_state = now;
    }

    /// Sleep, or a jump of the clock: nothing that was known of the others holds any more.
    pub(crate) fn resume(&mut self, now: Moment) {
        self.forget_everything(now);
        self.leading.observe(now + PATIENCE);
        self.losses.clear();
        self.eager_until = now + EAGER;
        self.tick = now;
        self.is_urgent = true;
    }

    fn forget_everything(&mut self, now: Moment) {
        let mut lost = Vec::new();
        for (node, peer) in &mut self.peers {
            // A connection that outlived it all may still prove itself.
            peer.dial = peer.dial.max(now + PULSE);
            if peer.lose() {
                lost.push(*node);
            }
        }
        for node in lost {
            self.output(Output::MemberDead(node));
        }
        self.leading.forget();
    }

    fn leave(&mut self) {
        self.say_goodbye();
        self.has_left = true;
        self.role = None;
        self.leading.forget();
        self.tell_leader();
    }

    pub(crate) fn persist(&mut self) {
        self.output(Output::Persist { incarnation: self.incarnation, epoch: self.seen });
    }

    pub(crate) fn send(&mut self, node: NodeId, message: &Arc<Message>) {
        if self.outputs.len() < MAX_OUTPUTS {
            self.outputs.push_back(Output::Send(node, Arc::clone(message)));
        }
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}
