//! What this node says and when, and what becomes of what others say.

use std::sync::Arc;
use std::time::Duration;

use proto::wire::{Digest, Leaving, Message, Pulse, Setting, Settings, State};
use proto::{Moment, NodeId, Role};

use crate::core::Membership;
use crate::{Output, SettingRefused};

/// The state is sent at least this often.
const STATE: Duration = Duration::from_secs(30);

/// Pulses in a row that speak of other settings before they are sent: changes that are on their way arrive meanwhile.
const DIFFERING: u8 = 2;

/// All settings are sent to a member that has others at most this often, and less and less if that changes nothing.
const RESEND: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

impl Membership {
    /// What is done each second.
    pub(crate) fn beat(&mut self, now: Moment) {
        if self.role.is_none() {
            return;
        }
        self.send_pulses(now);
        self.redial(now);
        if now >= self.next_state {
            self.send_state(now);
        }
    }

    /// Tells everybody what this node is and does.
    pub(crate) fn send_state(&mut self, now: Moment) {
        self.next_state = now + STATE;
        if self.role.is_none() {
            return;
        }
        let state = Arc::new(Message::State(self.state(now)));
        for node in self.connected_peers() {
            self.send(node, &state);
        }
    }

    pub(crate) fn send_pulses(&mut self, now: Moment) {
        self.is_urgent = false;
        let pulse = self.next_pulse(now);
        for node in self.connected_peers() {
            self.send(node, &pulse);
        }
    }

    /// What a member that has just connected is told at once.
    pub(crate) fn greet(&mut self, node: NodeId, now: Moment) {
        if self.role.is_some() {
            let pulse = self.next_pulse(now);
            self.send(node, &pulse);
            let state = Arc::new(Message::State(self.state(now)));
            self.send(node, &state);
        }
    }

    fn connected_peers(&self) -> Vec<NodeId> {
        let connected = self.peers.iter().filter(|(_, peer)| peer.connected.is_some() && peer.left.is_none());
        connected.map(|(node, _)| *node).collect()
    }

    fn next_pulse(&mut self, now: Moment) -> Arc<Message> {
        self.seq += 1;
        let members = self.peers.len() + 1;
        let mut hears = vec![0; members.div_ceil(8)];
        for peer in self.peers.values().filter(|peer| peer.is_heard()) {
            hears[peer.place / 8] |= 1 << (peer.place % 8);
        }
        Arc::new(Message::Pulse(Pulse {
            incarnation: self.incarnation,
            seq: self.seq,
            priority: self.priority,
            observing: now < self.leading.observe_until,
            epoch: self.seen,
            claim: self.claim(),
            roster: self.roster,
            hears,
            settings: self.settings.hash(),
        }))
    }

    fn state(&self, now: Moment) -> State {
        let known = self.peers.iter().filter_map(|(node, peer)| {
            let seen = now.since(peer.seen?).as_secs();
            Some(Digest {
                node: *node,
                incarnation: peer.last?.incarnation,
                priority: peer.priority.unwrap_or_default(),
                age_s: Some(u32::try_from(seen).unwrap_or(u32::MAX)),
            })
        });
        State {
            incarnation: self.incarnation,
            version: self.state_version,
            payload: self.payload.clone(),
            members: known.collect(),
        }
    }

    pub(crate) fn receive(&mut self, node: NodeId, message: Message, now: Moment) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        match message {
            Message::Pulse(pulse) => {
                let settings = pulse.settings;
                self.take_pulse(node, pulse, now);
                self.compare_settings(node, settings, now);
            }
            Message::State(state) => {
                peer.hear(now);
                self.take_state(node, state, now);
            }
            Message::Leaving(leaving) => self.take_leave(node, leaving),
            Message::Settings(settings) => {
                peer.hear(now);
                self.take_settings(node, settings);
            }
        }
    }

    fn take_state(&mut self, node: NodeId, state: State, now: Moment) {
        for digest in state.members {
            if let (Some(peer), Some(age)) = (self.peers.get_mut(&digest.node), digest.age_s) {
                let age = Duration::from_secs(age.into());
                let is_news = peer.told.is_none_or(|(_, told, at)| age <= told + now.since(at));
                if is_news {
                    peer.told = Some((digest, age, now));
                }
            }
        }
        let version = Some((state.incarnation, state.version));
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if peer.state != version {
            peer.state = version;
            self.output(Output::StateOf(node, state.payload));
        }
    }

    pub(crate) fn say_goodbye(&mut self) {
        let leaving = Leaving { incarnation: self.incarnation, successor: self.successor() };
        let leaving = Arc::new(Message::Leaving(leaving));
        for node in self.connected_peers() {
            self.send(node, &leaving);
        }
    }

    pub(crate) fn set_setting(&mut self, key: String, value: Option<String>) {
        let set = match self.role {
            None | Some(Role::Guest) => Err(SettingRefused::Guest),
            Some(_) => self.settings.set(&key, value, self.seen, self.me),
        };
        match set {
            Err(reason) => self.output(Output::SettingRefused { key, reason }),
            Ok(None) => {}
            Ok(Some(setting)) => {
                self.output(Output::SettingChanged(setting.clone()));
                self.spread(vec![setting], None);
            }
        }
    }

    fn take_settings(&mut self, node: NodeId, settings: Settings) {
        if !self.shares_settings_with(node) {
            return;
        }
        let mut news = Vec::new();
        for setting in settings.entries {
            for changed in self.settings.merge(setting) {
                news.push(changed.clone());
                self.output(Output::SettingChanged(changed));
            }
        }
        self.spread(news, Some(node));
    }

    /// Hands news on to everybody but the one it came from. It ends when nobody finds it new.
    fn spread(&mut self, news: Vec<Setting>, from: Option<NodeId>) {
        for chunk in crate::map::chunks(news) {
            let message = Arc::new(Message::Settings(chunk));
            for node in self.connected_peers() {
                if Some(node) != from && self.shares_settings_with(node) {
                    self.send(node, &message);
                }
            }
        }
    }

    /// Guests neither get nor give settings.
    fn shares_settings_with(&self, node: NodeId) -> bool {
        let is_guest = |role: Option<Role>| role.is_none_or(|role| role == Role::Guest);
        !is_guest(self.role) && !is_guest(self.peers.get(&node).map(|peer| peer.role))
    }

    fn compare_settings(&mut self, node: NodeId, theirs: u64, now: Moment) {
        if !self.shares_settings_with(node) {
            return;
        }
        let ours = self.settings.hash();
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.connected.is_some()) else { return };
        if theirs == ours {
            (peer.differing, peer.settings.1) = (0, RESEND.0);
            return;
        }
        peer.differing = peer.differing.saturating_add(1);
        if peer.differing >= DIFFERING && now >= peer.settings.0 {
            let pause = peer.settings.1.max(RESEND.0);
            peer.settings = (now + pause, (pause * 2).min(RESEND.1));
            for chunk in crate::map::chunks(self.settings.entries()) {
                self.send(node, &Arc::new(Message::Settings(chunk)));
            }
        }
    }
}
