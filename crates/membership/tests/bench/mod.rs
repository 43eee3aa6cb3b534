//! One core, a clock, and what others say to it, as short as the tests want to say it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use membership::{Input, Membership, Output, Presence, Standing, Start};
use proto::wire::{Claim, Leaving, Message, Pulse};
use proto::{Epoch, Incarnation, Moment, NodeId, Priority, Role};

pub fn node(number: u8) -> NodeId {
    NodeId::new([number; 32])
}

/// The core under test is node 5.
pub const ME: u8 = 5;

pub struct Bench {
    pub core: Membership,
    pub now: Moment,
    seqs: [u64; 256],
    hash: u64,
    members: Vec<u8>,
}

impl Bench {
    /// Node 5 among `others`, all members, just started.
    pub fn new(others: &[u8]) -> Bench {
        Bench::with(others, Priority::Normal, Epoch::default())
    }

    pub fn with(others: &[u8], priority: Priority, epoch: Epoch) -> Bench {
        let now = Moment::at(Duration::from_secs(1000));
        let start = Start { me: node(ME), incarnation: Incarnation(1), epoch, priority, settings: vec![], seed: 0 };
        let mut members = others.to_vec();
        members.push(ME);
        members.sort_unstable();
        let core = Membership::new(start, now);
        let mut bench = Bench { core, now, seqs: [10; 256], hash: 0, members: members.clone() };
        let roster = members.iter().map(|number| (node(*number), Role::Member)).collect();
        bench.handle(Input::Roster(roster));
        for other in others {
            bench.handle(Input::Connected(node(*other)));
        }
        bench.hash = bench.sent_pulses().last().map_or(0, |pulse| pulse.roster);
        bench
    }

    pub fn handle(&mut self, input: Input) {
        self.core.handle(input, self.now);
    }

    pub fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.core.poll_output()).collect()
    }

    /// The pulses that were sent since the last look at any output.
    pub fn sent_pulses(&mut self) -> Vec<Pulse> {
        self.outputs()
            .into_iter()
            .filter_map(|output| sent(&output).and_then(|(_, message)| pulse_of(message)))
            .collect()
    }

    /// A pulse as `from` would send it now, with everybody heard.
    pub fn pulse(&mut self, from: u8) -> Pulse {
        self.seqs[usize::from(from)] += 1;
        Pulse {
            incarnation: Incarnation(1),
            seq: self.seqs[usize::from(from)],
            priority: Priority::Normal,
            observing: false,
            epoch: Epoch::default(),
            claim: None,
            roster: self.hash,
            hears: vec![255; self.members.len().div_ceil(8)],
            settings: 0,
        }
    }

    /// The `seq` of the last pulse of `from`.
    pub fn last_seq(&self, from: u8) -> u64 {
        self.seqs[usize::from(from)]
    }

    pub fn say(&mut self, from: u8, pulse: Pulse) {
        self.handle(Input::Message(node(from), Message::Pulse(pulse)));
    }

    /// `from` follows nobody.
    pub fn beat(&mut self, from: u8) {
        let pulse = self.pulse(from);
        self.say(from, pulse);
    }

    /// `from` leads `size` nodes since `epoch`.
    pub fn lead(&mut self, from: u8, epoch: u64, size: u32) {
        let pulse = self.pulse(from);
        let claim = Claim { seq: pulse.seq, hops: 0, ..claim(from, epoch, size) };
        self.say(from, Pulse { epoch: Epoch::new(epoch), claim: Some(claim), ..pulse });
    }

    /// `from` follows `leader`, of which it last heard `seq`.
    pub fn follow(&mut self, from: u8, leader: u8, epoch: u64, size: u32, seq: u64) {
        let pulse = self.pulse(from);
        let claim = Claim { seq, ..claim(leader, epoch, size) };
        self.say(from, Pulse { epoch: Epoch::new(epoch), claim: Some(claim), ..pulse });
    }

    pub fn leave(&mut self, from: u8, successor: Option<u8>) {
        let leaving = Leaving { incarnation: Incarnation(1), successor: successor.map(node) };
        self.handle(Input::Message(node(from), Message::Leaving(leaving)));
    }

    /// Time passes, from one wake-up to the next.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        let mut wakes = 0;
        while let Some(wake) = self.core.poll_timeout().filter(|wake| *wake <= end) {
            self.now = wake.max(self.now);
            self.core.handle_timeout(self.now);
            wakes += 1;
            assert!(wakes < 10_000, "wakes itself up for ever");
        }
        self.now = end;
        self.core.handle_timeout(end);
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    /// Seconds pass in which `beat` says something once a second.
    pub fn pass_with(&mut self, seconds: u64, mut beat: impl FnMut(&mut Bench)) {
        for _ in 0..seconds {
            beat(self);
            self.pass_ms(1000);
        }
    }

    pub fn leader(&self) -> Option<NodeId> {
        self.core.view(self.now).leader
    }

    pub fn epoch(&self) -> u64 {
        self.core.view(self.now).epoch.number()
    }

    pub fn standing(&self) -> Standing {
        self.core.view(self.now).standing
    }

    pub fn presence(&self, of: u8) -> Presence {
        self.core.view(self.now).members.iter().find(|member| member.id == node(of)).unwrap().presence
    }
}

pub fn claim(leader: u8, epoch: u64, size: u32) -> Claim {
    Claim {
        leader: node(leader),
        epoch: Epoch::new(epoch),
        incarnation: Incarnation(1),
        seq: 0,
        size,
        priority: Priority::Normal,
        hops: 1,
    }
}

pub fn sent(output: &Output) -> Option<(NodeId, &Arc<Message>)> {
    if let Output::Send(to, message) = output { Some((*to, message)) } else { None }
}

pub fn pulse_of(message: &Message) -> Option<Pulse> {
    if let Message::Pulse(pulse) = message { Some(pulse.clone()) } else { None }
}
