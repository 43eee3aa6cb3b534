//! What this node tells the others of its work, and what it knows of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mesh::Transport;
use proto::wire::Machine;
use proto::{BackendState, Moment, NodeId};
use routing::scheduler::{FleetInput, LaneSpeed, NodeReport};
use tokio::sync::Notify;

use super::mail::Mail;
use super::{Line, NodeWork, Tickets, With, translate};
use crate::fleet::Known;

/// What changes together is told together: so long after the first change.
const SETTLE: Duration = Duration::from_millis(15);
/// How often speeds are told, if they have changed noticeably.
const SPEEDS: Duration = Duration::from_secs(3);
/// Speeds that differ by less than this share are the same.
const NOTICEABLE: f64 = 0.15;

/// Rung whenever what the backends work on may be different; costs nothing where nobody listens.
#[derive(Default)]
pub(crate) struct Bell {
    is_heard: AtomicBool,
    has_rung: AtomicBool,
    notify: Notify,
}

impl Bell {
    /// Rings it.
    pub(crate) fn ring(&self) {
        if self.is_heard.load(Ordering::Relaxed) && !self.has_rung.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    /// Waits until it has rung, and for what follows at once.
    pub(super) async fn rung(&self) {
        self.notify.notified().await;
        tokio::time::sleep(SETTLE).await;
        self.has_rung.store(false, Ordering::Release);
    }

    fn listen(&self, is_heard: bool) {
        self.is_heard.store(is_heard, Ordering::Relaxed);
    }
}

/// What was told, and when.
#[derive(Default)]
pub(super) struct Told {
    number: u64,
    /// Whether this node takes requests of others.
    shares: bool,
    speeds: Vec<LaneSpeed>,
    pub(super) speeds_at: Option<Moment>,
    pub(super) beat: Moment,
    pub(super) looked: Moment,
    /// The other nodes within reach.
    pub(super) doors: BTreeSet<NodeId>,
    /// What the scheduler was last told of each node.
    reports: Vec<Arc<NodeReport>>,
}

impl Told {
    /// Those that say the same as before are the same: the scheduler need not look at them again.
    fn same_or_new(&mut self, reports: Vec<NodeReport>) -> Vec<Arc<NodeReport>> {
        let is_same = |one: &NodeReport, other: &NodeReport| {
            (one.id, &one.name, one.memory, one.vram, one.shares)
                == (other.id, &other.name, other.memory, other.vram, other.shares)
                && one.backends.len() == other.backends.len()
                && one.backends.iter().zip(&other.backends).all(|(one, other)| Arc::ptr_eq(one, other))
        };
        let known = std::mem::take(&mut self.reports);
        let kept = |report: NodeReport| {
            let same = known.iter().find(|known| is_same(known, &report)).cloned();
            same.unwrap_or_else(|| Arc::new(report))
        };
        self.reports = reports.into_iter().map(kept).collect();
        self.reports.clone()
    }
}

/// What this node says of itself to its own scheduler.
pub(crate) struct Own {
    pub(crate) name: Arc<str>,
    pub(crate) backends: Vec<Arc<BackendState>>,
    pub(crate) machine: Option<Machine>,
    pub(crate) shares: bool,
    pub(crate) mesh: Option<Arc<dyn Transport>>,
}

impl Tickets {
    /// Takes in what is known of the fleet now.
    pub(crate) fn know(&self, known: &Known, own: Own) {
        let now = self.clock.now();
        let mut state = self.lock();
        let Some(me) = known.me else { return };
        let was_leading = state.is_leading();
        let mut mail = Mail::default();
        if state.me != me {
            // A machine that left its fleet has another identity: what it knew of that one is not of this.
            state.me = me;
        }
        state.told.shares = own.shares;
        let has_company = !known.others.is_empty();
        self.has_company.store(has_company, Ordering::Relaxed);
        self.bell.listen(has_company);
        self.line.store(own.mesh.map(|mesh| Arc::new(Line { mesh })));

        let doors: BTreeSet<NodeId> = known.within_reach().map(|other| other.id).collect();
        let mut reports = vec![report(me, own.name, own.backends, own.machine.as_ref(), own.shares)];
        for other in known.within_reach() {
            let summary = other.summary.as_deref();
            let shares = summary.is_none_or(|summary| matches!(summary.share.state.as_str(), "on" | ""));
            let machine = summary.and_then(|summary| summary.machine.as_ref());
            reports.push(report(other.id, other.name.clone(), other.backends.clone(), machine, shares));
        }
        let reports = state.told.same_or_new(reports);
        state.tell(FleetInput::Nodes(reports), now, &mut mail);
        let gone: Vec<NodeId> = state.told.doors.difference(&doors).copied().collect();
        let is_new = doors.difference(&state.told.doors).next().is_some();
        for door in gone {
            state.tell(FleetInput::DoorGone(door), now, &mut mail);
        }
        state.told.doors = doors;
        // A machine alone decides for itself.
        let leader = if has_company { known.leader } else { Some(me) };
        if state.leader != leader {
            let before = state.leader;
            state.leader = leader;
            state.is_silent = false;
            state.heard = now;
            let is_leading = state.is_leading();
            if was_leading && !is_leading {
                state.tell(FleetInput::Retire, now, &mut mail);
                for waiter in state.waiting.values_mut().filter(|waiter| waiter.with == With::Own) {
                    waiter.position = None;
                }
            }
            state.scheduler.set_leading(is_leading, now);
            state.sort(now, &mut mail);
            match (before.filter(|before| *before != me), leader.filter(|leader| *leader != me)) {
                (Some(before), Some(leader)) => state.ask_other(before, leader, now, &mut mail),
                (Some(before), None) => state.decide_alone(before, now, &mut mail),
                (None, _) => {}
            }
            if was_leading && !is_leading && leader.is_none() {
                // What it had queued for itself it goes on to place for itself.
                let own: Vec<u64> = state.waiting.keys().copied().collect();
                for number in own {
                    if let Some(ask) = state.waiting.get(&number).map(|waiter| waiter.ask.clone()) {
                        state.arrive(number, ask, now, &mut mail);
                    }
                }
            }
            state.ask_leader(now, &mut mail);
        }
        if has_company && state.told.speeds_at.is_none() {
            state.told.speeds_at = Some(now + SPEEDS);
        } else if !has_company {
            state.told.speeds_at = None;
        }
        if is_new {
            state.told.speeds.clear();
            state.told.speeds_at = has_company.then_some(now);
        }
        self.release(state, mail);
        if is_new {
            self.bell.ring();
        }
        self.timer.notify_one();
    }

    /// Tells everybody what this node's backends work on.
    pub(super) fn tell_work(&self) {
        let now = self.clock.now();
        let lanes = self.placer.look(|router| router.work());
        let mut state = self.lock();
        let mut mail = Mail::default();
        let work = NodeWork { lanes, rtt: state.rtt.typical() };
        state.told.number += 1;
        let message = translate::work(state.told.number, state.told.shares, &work);
        for door in &state.told.doors {
            mail.send(*door, message.clone());
        }
        let me = state.me;
        state.tell(FleetInput::Work(me, work), now, &mut mail);
        self.release(state, mail);
    }

    /// Tells everybody how fast this node's models are, if that has changed.
    pub(super) fn tell_speeds(&self) {
        let now = self.clock.now();
        let speeds = self.placer.look(|router| router.speeds());
        let mut state = self.lock();
        let mut mail = Mail::default();
        state.told.speeds_at = Some(now + SPEEDS);
        if !are_alike(&speeds, &state.told.speeds) {
            let message = translate::speeds(&speeds);
            for door in &state.told.doors {
                mail.send(*door, message.clone());
            }
            state.told.speeds.clone_from(&speeds);
            let me = state.me;
            state.tell(FleetInput::Speeds(me, speeds), now, &mut mail);
        }
        self.release(state, mail);
    }

    /// Whether this node takes requests of others from now on: told at once.
    pub(crate) fn shares(&self, shares: bool) {
        let mut state = self.lock();
        let mut mail = Mail::default();
        let (me, now) = (state.me, self.clock.now());
        state.told.shares = shares;
        state.tell(FleetInput::Shares(me, shares), now, &mut mail);
        self.release(state, mail);
        self.tell_work();
    }
}

fn report(
    id: NodeId,
    name: Arc<str>,
    backends: Vec<Arc<BackendState>>,
    machine: Option<&Machine>,
    shares: bool,
) -> NodeReport {
    let memory = machine.and_then(|machine| Some((machine.memory_total?, machine.memory_available?)));
    let gpus = machine.map(|machine| machine.gpus.iter().filter(|gpu| !gpu.unified)).into_iter().flatten();
    let vram = gpus
        .filter_map(|gpu| Some((gpu.memory_total?, gpu.memory_total?.saturating_sub(gpu.memory_used?))))
        .reduce(|(total, free), (more, more_free)| (total + more, free + more_free));
    NodeReport { id, name, backends, memory, vram, shares }
}

fn are_alike(now: &[LaneSpeed], before: &[LaneSpeed]) -> bool {
    let rate = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= NOTICEABLE * a.abs().max(b.abs()),
        (None, None) => true,
        _ => false,
    };
    let span = |a: Option<Duration>, b: Option<Duration>| {
        rate(a.map(|span| span.as_secs_f64()), b.map(|span| span.as_secs_f64()))
    };
    now.len() == before.len()
        && now.iter().zip(before).all(|(now, before)| {
            (&now.backend, &now.model, now.most_context) == (&before.backend, &before.model, before.most_context)
                && rate(now.prefill, before.prefill)
                && rate(now.decode, before.decode)
                && span(now.load, before.load)
                && span(now.service, before.service)
                && span(now.first, before.first)
        })
}
