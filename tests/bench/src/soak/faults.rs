//! What goes wrong, in a fixed order: one backend at a time, for some seconds, then all well for some seconds.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};

use crate::processes::{Process, Programs};
use crate::stage::stub_says;

/// How long a fault lasts, and how long the calm after it, in seconds.
const FAULT: u64 = 4;
const CALM: u64 = 6;

/// What may happen to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Fault {
    /// Answers 503 to all inference.
    Busy,
    /// Its process ends, and comes back on the same port.
    Killed,
    /// Takes inference and never answers, but is well otherwise.
    Hang,
    /// Accepts connections and says nothing at all.
    Silent,
}

/// The backends, and where in the order of faults they are.
#[derive(Debug)]
pub(super) struct Faults {
    stubs: Vec<Slot>,
    order: Vec<Fault>,
    began: Option<u64>,
    done: usize,
    now: Option<(usize, Fault)>,
}

/// A backend: running, or gone for now.
#[derive(Debug)]
struct Slot {
    address: SocketAddr,
    process: Option<Process>,
}

impl Faults {
    pub(super) fn new(stubs: Vec<Process>, order: Vec<Fault>) -> Self {
        let stubs =
            stubs.into_iter().map(|process| Slot { address: process.address(), process: Some(process) }).collect();
        Self { stubs, order, began: None, done: 0, now: None }
    }

    pub(super) fn stubs(&self) -> impl Iterator<Item = &Process> {
        self.stubs.iter().filter_map(|slot| slot.process.as_ref())
    }

    /// Begins or ends a fault when it is time at `now` (nanoseconds of the clock).
    pub(super) fn step(&mut self, programs: &Programs, now: u64) -> Result<()> {
        let began = *self.began.get_or_insert(now);
        let second = (now - began) / 1_000_000_000 % (FAULT + CALM);
        match self.now {
            None if second >= CALM => self.begin(),
            Some(_) if second < CALM => self.heal(programs),
            _ => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<()> {
        let at = self.done % self.stubs.len();
        let Some(fault) = self.order.get(self.done % self.order.len().max(1)).copied() else { return Ok(()) };
        let slot = &mut self.stubs[at];
        match fault {
            Fault::Killed => slot.process = None,
            Fault::Busy => drop(stub_says(slot.address, "/_stub/mode/busy")?),
            Fault::Hang => drop(stub_says(slot.address, "/_stub/mode/hang")?),
            Fault::Silent => drop(stub_says(slot.address, "/_stub/mode/silent")?),
        }
        self.now = Some((at, fault));
        self.done += 1;
        Ok(())
    }

    /// Ends what is wrong now.
    pub(super) fn heal(&mut self, programs: &Programs) -> Result<()> {
        let Some((at, _)) = self.now.take() else { return Ok(()) };
        let slot = &mut self.stubs[at];
        if slot.process.is_none() {
            slot.process = Some(programs.stub_at(slot.address.port()).context("bringing a backend back")?);
        }
        stub_says(slot.address, "/_stub/mode/normal").map(drop)
    }

    /// The latest fault, ended or not.
    pub(super) fn latest(&self) -> String {
        let latest = self.done.checked_sub(1).and_then(|last| self.order.get(last % self.order.len()));
        latest.map_or_else(|| "none yet".to_owned(), |fault| format!("{fault:?}"))
    }

    pub(super) fn line(&self) -> String {
        format!("{} faults, in turns {:?}", self.done, self.order)
    }
}
