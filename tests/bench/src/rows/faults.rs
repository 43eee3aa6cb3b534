//! Rows 12b, 13 and 17: a backend that refuses, clients that leave, and the start.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::cpu::per;
use crate::client::{self, Connection, Failure};
use crate::clock;
use crate::report::{Bar, Column, Measure, Values, median_of};
use crate::stage::{Servers, Stage, Target, stub_says};
use crate::stats::median;
use crate::tokens::Tokens;

pub(super) const CONCURRENT: usize = 120;

/// Row 12b: of three backends one refuses everything at once.
pub(crate) fn refusing(stage: &mut Stage) -> Result<Vec<Measure>> {
    let (mut tries, mut errors) = (Vec::new(), Vec::new());
    let columns: Vec<Column> =
        Servers::start(&stage.programs, 1)?.targets().iter().map(|target| target.column).collect();
    for column in columns.into_iter().filter(|column| *column != Column::Direct) {
        // Servers of its own for each, or the second would find what the first has learnt of the connections.
        let servers = Servers::start(&stage.programs, 3)?;
        // All three backends have been looked at, and looked at again.
        std::thread::sleep(Duration::from_secs(3));
        let Some(target) = servers.targets().into_iter().find(|target| target.column == column) else { continue };
        let busy = servers.stubs[1].address();
        let before = stub_says(busy, "/_stub/mode/busy")?["refused"].as_u64().unwrap_or(0);
        let failed = stage.wait(ask_at_once(&target))?;
        let after = stub_says(busy, "/_stub/state")?["refused"].as_u64().context("the stub did not count")?;
        tries.push((column, per(after - before, 1)));
        errors.push((column, per(failed, 1)));
    }
    let measure = |what: &str, unit, values, bar| Measure { row: "12b", what: what.to_owned(), unit, values, bar };
    Ok(vec![
        measure(
            "one of three backends answers 503, 120 at once: tries there",
            "tries",
            median_of(&tries),
            Bar::Most { must: 40.0, aim: 5.0 },
        ),
        measure(
            "one of three backends answers 503, 120 at once: client errors",
            "errors",
            median_of(&errors),
            Bar::Most { must: 0.0, aim: 0.0 },
        ),
    ])
}

/// Sends all requests at once; answers how many were not answered with 200.
pub(super) async fn ask_at_once(target: &Target) -> Result<u64> {
    let request: std::sync::Arc<[u8]> = client::chat(target.plain, "tiny delay_ms=200", false, 0).into();
    let mut tasks = JoinSet::new();
    for _ in 0..CONCURRENT {
        let (request, address) = (request.clone(), target.plain);
        tasks.spawn(async move {
            let ask = async { Connection::connect(address).await?.exchange(&request, |_, _| true).await };
            let answered: Result<Result<_, Failure>, _> = tokio::time::timeout(Duration::from_secs(20), ask).await;
            matches!(answered, Ok(Ok(answer)) if answer.status() == 200)
        });
    }
    let mut failed = 0;
    while let Some(answered) = tasks.join_next().await {
        failed += u64::from(!answered?);
    }
    Ok(failed)
}

/// Streams left in row 13, and the tokens read before.
const LEAVING: u64 = 25;
const READ_BEFORE: u64 = 5;

/// Row 13.
pub(crate) fn left(stage: &mut Stage) -> Result<Vec<Measure>> {
    let servers = stage.standing()?;
    let (stub, targets) = (servers.stubs[0].address(), servers.targets());
    let (mut most, mut mean) = (Vec::new(), Vec::new());
    for (turn, target) in (0..).zip(&targets) {
        let leaves = stage.wait(leave(target, 1 + turn * LEAVING))?;
        // Longer than any of them may go on unnoticed.
        std::thread::sleep(Duration::from_millis(500));
        let mut counts = Vec::new();
        for (id, left_at) in leaves {
            let said = stub_says(stub, &format!("/_stub/writes/{id}"))?;
            let writes = said["writes"].as_array().context("the stub did not count")?;
            let late = writes.iter().filter(|at| at.as_u64().is_some_and(|at| at > left_at)).count();
            counts.push(f64::from(u32::try_from(late)?));
        }
        most.push((target.column, counts.iter().copied().fold(0.0, f64::max)));
        let number = f64::from(u32::try_from(counts.len())?);
        mean.push((target.column, counts.iter().sum::<f64>() / number));
    }
    let measure = |what: &str, values, bar| Measure { row: "13", what: what.to_owned(), unit: "tokens", values, bar };
    Ok(vec![
        measure("written after the client left, 20 ms each: most", median_of(&most), Bar::Most { must: 2.0, aim: 1.0 }),
        measure("written after the client left, 20 ms each: mean", median_of(&mean), Bar::Fact),
    ])
}

/// Opens streams, reads some tokens of each and closes; answers their ids and when each was left.
async fn leave(target: &Target, first: u64) -> Result<Vec<(u64, u64)>> {
    let mut tasks = JoinSet::new();
    for id in first..first + LEAVING {
        let request = client::chat(target.stream, &format!("stream chunks=1000 pace_ms=20 id={id}"), true, 0);
        let address = target.stream;
        tasks.spawn(async move {
            // Not in step with each other, nor with the pace.
            tokio::time::sleep(Duration::from_millis(id * 7 % 50)).await;
            let mut connection = Connection::connect(address).await?;
            let mut tokens = Tokens::new();
            let piece = |bytes: &[u8], now| {
                tokens.feed(bytes, now, |_| {});
                tokens.count() < READ_BEFORE
            };
            connection.exchange(&request, piece).await?;
            anyhow::ensure!(tokens.count() >= READ_BEFORE, "a stream ended early");
            tokio::time::sleep(Duration::from_millis(id * 3 % 20)).await;
            let left_at = clock::now_ns();
            drop(connection);
            Ok((id, left_at))
        });
    }
    let mut leaves = Vec::new();
    while let Some(left) = tasks.join_next().await {
        leaves.push(left??);
    }
    Ok(leaves)
}

/// Row 17.
pub(crate) fn start(stage: &mut Stage) -> Result<Vec<Measure>> {
    let stub = stage.programs.stub()?;
    let stubs = [stub.address()];
    let (mut nginx, mut herd) = (Vec::new(), Vec::new());
    for _ in 0..if stage.quick { 3 } else { 7 } {
        nginx.extend(stage.programs.nginx(&stubs)?.map(|(_, _, took)| took.as_secs_f64()));
        herd.extend(stage.programs.herd(&stubs)?.map(|(_, took)| took.as_secs_f64()));
    }
    let values = Values::of(|column| match column {
        Column::Direct => None,
        Column::Nginx => median(&nginx),
        Column::Herd => median(&herd),
    });
    let bar = Bar::Most { must: 1.0, aim: 0.3 };
    Ok(vec![Measure { row: "17", what: "start to first answered request".to_owned(), unit: "s", values, bar }])
}
