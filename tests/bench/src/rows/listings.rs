//! Row 8: the list of what can be asked for, where there is much.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::latency::{SLICE, one_by_one};
use crate::client;
use crate::processes::Process;
use crate::report::{Bar, Column, Measure, Values};
use crate::stage::Stage;
use crate::stats::{median, quantile};

/// Servers, and models of each. All at one Herd: its list has the same rows as that of so many machines.
const SERVERS: usize = 50;
const MODELS: u32 = 100;

/// Row 8.
pub(crate) fn tags(stage: &mut Stage) -> Result<Vec<Measure>> {
    let stubs: Vec<Process> =
        (0..SERVERS).map(|_| stage.programs.stub_that_lists(0, MODELS - 1)).collect::<Result<_>>()?;
    let backends: Vec<String> = (0..)
        .zip(&stubs)
        .map(|(number, stub)| format!("http://{}?slots=4&name=stub-{number}", stub.address()))
        .collect();
    let Some((herd, _)) = stage.programs.herd_before(&backends)? else { return Ok(Vec::new()) };
    let request = client::get(herd.address(), "/api/tags");
    let mut listed = 0;
    for _ in 0..150 {
        let (_, body) = client::ask(herd.address(), &request)?;
        let list: Value = serde_json::from_slice(&body).context("reading the list")?;
        let rows = list["models"].as_array().map_or(0, Vec::len);
        let everywhere =
            list["models"].as_array().into_iter().flatten().filter(|row| {
                row["details"]["fleet_backends"].as_array().is_none_or(|backends| backends.len() == SERVERS)
            });
        listed = rows;
        if rows >= MODELS as usize && everywhere.count() == rows {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    ensure!(listed >= MODELS as usize, "only {listed} models are listed");
    let mut halves = Vec::new();
    for _ in 0..stage.rounds(SLICE) {
        halves.extend(quantile(&mut one_by_one(herd.address(), &request)?, 0.5));
    }
    let value = median(&halves);
    Ok(vec![Measure {
        row: "8",
        what: format!("/api/tags with {SERVERS} servers of {MODELS} models at one herd ({listed} rows): p50"),
        unit: "µs",
        values: Values::of(|column| value.filter(|_| column == Column::Herd)),
        bar: Bar::Most { must: 1000.0, aim: 150.0 },
    }])
}
