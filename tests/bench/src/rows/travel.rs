//! Rows 12b and 14 of a fleet: a machine whose server refuses, and what the way to another machine costs.

use anyhow::{Context as _, Result};

use super::cpu::per;
use super::faults::{CONCURRENT, ask_at_once};
use super::latency::{SLICE, one_by_one};
use crate::client;
use crate::fleet::{self, Machine};
use crate::report::{Bar, Column, Measure, Values};
use crate::stage::{Stage, Target, stub_says};
use crate::stats::{median, quantile};

/// Fleets that are started until one is led by a machine without a model.
const MOST_STARTS: usize = 9;

fn measure(row: &'static str, what: &str, unit: &'static str, value: Option<f64>, bar: Bar) -> Measure {
    Measure {
        row,
        what: what.to_owned(),
        unit,
        values: Values::of(|column| value.filter(|_| column == Column::Herd)),
        bar,
    }
}

/// Row 12b with machines: the inference server of one of three answers 503.
pub(crate) fn refusing(stage: &mut Stage) -> Result<Vec<Measure>> {
    let (mut tries, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..if stage.quick { 1 } else { 3 } {
        let Some(machines) = fleet::start(&stage.programs, &[64, 64, 64])? else { return Ok(Vec::new()) };
        fleet::settle();
        // A door that follows, before a machine that is neither its own nor the leader.
        let leader = fleet::leader(&machines)?;
        let door = &machines[(leader + 1) % 3];
        let busy = machines[(leader + 2) % 3].stub.as_ref().context("each has a stub")?.address();
        let before = stub_says(busy, "/_stub/mode/busy")?["refused"].as_u64().unwrap_or(0);
        let failed = stage.wait(ask_at_once(&target(door)))?;
        let after = stub_says(busy, "/_stub/state")?["refused"].as_u64().context("the stub did not count")?;
        tries.push(per(after - before, 1));
        errors.push(per(failed, 1));
    }
    let what = format!("fleet: the server of one of three machines answers 503, {CONCURRENT} at once");
    Ok(vec![
        measure("12b", &format!("{what}: tries there"), "tries", median(&tries), Bar::Most { must: 40.0, aim: 5.0 }),
        measure("12b", &format!("{what}: client errors"), "errors", median(&errors), Bar::Most { must: 0.0, aim: 0.0 }),
    ])
}

fn target(machine: &Machine) -> Target {
    let (address, pid) = (machine.herd.address(), Some(machine.herd.pid()));
    Target { column: Column::Herd, plain: address, stream: address, pid }
}

/// Row 14: a machine without a model, which follows, has a request answered by one that does not lead either; beside it the
/// same request is sent to that machine's own door.
pub(crate) fn added(stage: &mut Stage) -> Result<Vec<Measure>> {
    // Which of them leads is not ours to say: the leader must have no model, or its own tickets would be free.
    let mut found = None;
    for at in 0..MOST_STARTS {
        let mut slots = [0; 3];
        slots[at % 3] = 4096;
        let Some(machines) = fleet::start(&stage.programs, &slots)? else { return Ok(Vec::new()) };
        let leader = fleet::leader(&machines)?;
        if machines[leader].stub.is_none() {
            found = Some((machines, leader));
            break;
        }
    }
    let (machines, leader) = found.context("whoever has the model leads")?;
    fleet::settle();
    let server = machines.iter().find(|machine| machine.stub.is_some()).context("one has a stub")?;
    let follower = (0..machines.len())
        .find(|at| *at != leader && machines[*at].stub.is_none())
        .map(|at| &machines[at])
        .context("one follows and has no stub")?;
    let (mut by_tcp, mut by_mesh, mut by_leader) = (Vec::new(), Vec::new(), Vec::new());
    let mut more = Vec::new();
    for _ in 0..stage.rounds(SLICE) {
        let half = |machine: &Machine| -> Result<f64> {
            let request = client::chat(machine.herd.address(), "tiny", false, 0);
            let mut delays = one_by_one(machine.herd.address(), &request)?;
            quantile(&mut delays, 0.5).context("nothing was answered")
        };
        let (tcp, mesh, led) = (half(server)?, half(follower)?, half(&machines[leader])?);
        by_tcp.push(tcp);
        by_mesh.push(mesh - tcp);
        by_leader.push(led - tcp);
        more.push(mesh);
    }
    let bar = Bar::Most { must: 150.0, aim: 100.0 };
    Ok(vec![
        measure("14", "the way to another machine, ticket of a third included: added p50", "µs", median(&by_mesh), bar),
        measure("14", "the same from the leader's door: added p50", "µs", median(&by_leader), Bar::Fact),
        measure("14", "at that machine's own door: whole p50", "µs", median(&by_tcp), Bar::Fact),
        measure("14", "at the other machine's door: whole p50", "µs", median(&more), Bar::Fact),
    ])
}
