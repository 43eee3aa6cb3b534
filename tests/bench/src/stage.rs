//! Where rows are played: the programs, how long each slice lasts, and the servers that stay up between rows.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::client;
use crate::processes::{Process, Programs};
use crate::report::{Column, Values};
use crate::stats::median;

/// A server to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub column: Column,
    /// Where whole answers are asked for.
    pub plain: SocketAddr,
    /// Where streams are asked for: the door that buffers nothing.
    pub stream: SocketAddr,
    /// Whose time and memory count; `None` for the stub itself.
    pub pid: Option<u32>,
}

/// One set of servers: stubs, and what stands in front of them.
#[derive(Debug)]
pub(crate) struct Servers {
    pub stubs: Vec<Process>,
    nginx: Option<(Process, SocketAddr)>,
    herd: Option<Process>,
}

impl Servers {
    /// Starts `stubs` stubs, and each proxy in front of all of them.
    pub(crate) fn start(programs: &Programs, stubs: usize) -> Result<Self> {
        let stubs: Vec<Process> = (0..stubs).map(|_| programs.stub()).collect::<Result<_>>()?;
        let addresses: Vec<SocketAddr> = stubs.iter().map(Process::address).collect();
        let nginx = programs.nginx(&addresses)?.map(|(process, unbuffered, _)| (process, unbuffered));
        let herd = programs.herd(&addresses)?.map(|(process, _)| process);
        Ok(Self { stubs, nginx, herd })
    }

    /// All that can be measured, the stub first.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let stub = self.stubs[0].address();
        let mut targets = vec![Target { column: Column::Direct, plain: stub, stream: stub, pid: None }];
        if let Some((process, unbuffered)) = &self.nginx {
            let pid = Some(process.pid());
            targets.push(Target { column: Column::Nginx, plain: process.address(), stream: *unbuffered, pid });
        }
        targets.extend(self.herd.as_ref().map(|process| {
            let (address, pid) = (process.address(), Some(process.pid()));
            Target { column: Column::Herd, plain: address, stream: address, pid }
        }));
        targets
    }

    /// Fails when one of the servers has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        self.stubs.iter_mut().try_for_each(Process::check_alive)?;
        if let Some((process, _)) = &mut self.nginx {
            process.check_alive()?;
        }
        self.herd.as_mut().map_or(Ok(()), Process::check_alive)
    }
}

/// Asks a stub about itself.
pub(crate) fn stub_says(stub: SocketAddr, path: &str) -> Result<Value> {
    let (answer, body) = client::ask(stub, &client::get(stub, path))?;
    if answer.status() != 200 {
        bail!("the stub answers {} to {path}", answer.status());
    }
    serde_json::from_slice(&body).context("reading what the stub says")
}

/// The programs, and how thorough to be.
#[derive(Debug)]
pub(crate) struct Stage {
    pub programs: Programs,
    /// Time per server and row.
    pub time: Duration,
    pub quick: bool,
    pub runtime: tokio::runtime::Runtime,
    standing: Option<Servers>,
}

impl Stage {
    pub(crate) fn new(programs: Programs, time: Duration, quick: bool) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { programs, time, quick, runtime, standing: None })
    }

    /// The servers that most rows share, started when first asked for.
    pub(crate) fn standing(&mut self) -> Result<&mut Servers> {
        if self.standing.is_none() {
            self.standing = Some(Servers::start(&self.programs, 1)?);
        }
        let standing = self.standing.as_mut().context("no servers")?;
        standing.check_alive()?;
        Ok(standing)
    }

    /// How many slices of `length` each server gets.
    pub(crate) fn rounds(&self, length: Duration) -> usize {
        let rounds = self.time.as_secs_f64() / length.as_secs_f64();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
        let rounds = rounds.round() as usize;
        rounds.clamp(if self.quick { 2 } else { 3 }, 1000)
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// What each slice gave, by server and round.
#[derive(Debug, Default)]
pub(crate) struct Slices([Vec<f64>; 3]);

impl Slices {
    /// Gives each of `targets` a turn, `rounds` times; who goes first rotates.
    pub(crate) fn interleave(
        targets: &[Target],
        rounds: usize,
        mut slice: impl FnMut(&Target) -> Result<f64>,
    ) -> Result<Self> {
        let mut slices = Self::default();
        for round in 0..rounds {
            for at in 0..targets.len() {
                let target = &targets[(at + round) % targets.len()];
                let value = slice(target).with_context(|| format!("through {}", target.column.name()))?;
                slices.0[target.column as usize].push(value);
            }
        }
        Ok(slices)
    }

    pub(crate) fn medians(&self) -> Values {
        Values::of(|column| median(&self.0[column as usize]))
    }

    /// The median, for proxies, of what each slice is above the direct slice of its round.
    pub(crate) fn added(&self) -> Values {
        let direct = &self.0[Column::Direct as usize];
        Values::of(|column| {
            let added: Vec<f64> =
                self.0[column as usize].iter().zip(direct).map(|(value, direct)| value - direct).collect();
            median(&added)
        })
        .of_proxies()
    }
}
