//! Rows 2 and 3: time on the CPU that a proxy spends per request and per streamed chunk.
//!
//! Each slice begins and ends with the proxy idle, and ends after a pause, so that what it does later (writing its
//! records) is on its bill too.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use crate::client::{self, Connection};
use crate::clock;
use crate::process_facts;
use crate::report::{Bar, Measure, median_of};
use crate::stage::{Slices, Stage, Target};
use crate::stats::us;
use crate::tokens::Tokens;

const CONNECTIONS: usize = 64;
const SLICE: Duration = Duration::from_secs(1);

/// Longer than a batch of records waits to be written.
pub(super) const AFTERMATH: Duration = Duration::from_millis(1100);

/// Streams at once in a burst, and chunks in each.
const BURSTS: usize = 4;
const CHUNKS: u64 = 4000;

/// Row 2.
pub(crate) fn requests(stage: &mut Stage) -> Result<Vec<Measure>> {
    let rounds = stage.rounds(SLICE);
    let targets = stage.standing()?.targets();
    let mut rates = Vec::new();
    let cost = Slices::interleave(&targets, rounds, |target| {
        let request = client::chat(target.plain, "tiny", false, 0);
        // Connections are opened and used once before the bill begins.
        let connections = stage.wait(warm(target, &request))?;
        let before = billed(target)?;
        let start = clock::now_ns();
        let count = stage.wait(hammer(connections, &request))?;
        rates.push((target.column, per(count * 1_000_000_000, clock::now_ns() - start)));
        std::thread::sleep(AFTERMATH);
        Ok(us(billed(target)? - before) / per(count, 1))
    })?;
    let bar = Bar::TimesNginx { must: 2.0, aim: 1.2 };
    let what = format!("CPU per tiny chat, {CONNECTIONS} connections");
    Ok(vec![
        Measure { row: "2", what, unit: "µs", values: cost.medians().of_proxies(), bar },
        Measure {
            row: "2",
            what: "tiny chats answered".to_owned(),
            unit: "1/s",
            values: median_of(&rates),
            bar: Bar::Fact,
        },
    ])
}

async fn warm(target: &Target, request: &[u8]) -> Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::connect(target.plain).await?;
        let answer = connection.exchange(request, |_, _| true).await?;
        ensure!(answer.status() == 200, "status {}", answer.status());
        connections.push(connection);
    }
    Ok(connections)
}

/// Uses all connections for a slice; answers how many requests were answered.
async fn hammer(connections: Vec<Connection>, request: &[u8]) -> Result<u64> {
    let end = clock::now_ns() + u64::try_from(SLICE.as_nanos())?;
    let request: std::sync::Arc<[u8]> = request.into();
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let request = request.clone();
        tasks.spawn(async move {
            let mut count = 0;
            while clock::now_ns() < end {
                let answer = connection.exchange(&request, |_, _| true).await?;
                ensure!(answer.status() == 200, "status {}", answer.status());
                count += 1;
            }
            Ok(count)
        });
    }
    let mut total = 0;
    while let Some(count) = tasks.join_next().await {
        total += count??;
    }
    Ok(total)
}

/// Row 3, in two ways of writing: each token by itself, as inference servers do, and many in one write.
pub(crate) fn burst(stage: &mut Stage) -> Result<Vec<Measure>> {
    let rounds = stage.rounds(SLICE);
    let targets = stage.standing()?.targets();
    let mut measures = Vec::new();
    for (batch, what, bar) in
        [(1, "written one by one", Bar::TimesNginx { must: 1.0, aim: 0.8 }), (64, "written 64 at once", Bar::Fact)]
    {
        let cost = Slices::interleave(&targets, rounds, |target| {
            let before = billed(target)?;
            let request = |command: &str| client::chat(target.stream, command, true, 0);
            let chunks = stage.wait(bursts(target, request, batch))?;
            std::thread::sleep(AFTERMATH);
            Ok(us(billed(target)? - before) / per(chunks, 1))
        })?;
        let values = cost.medians().of_proxies();
        // Microseconds per chunk are seconds per million.
        measures.push(Measure {
            row: "3",
            what: format!("CPU per million chunks in a burst, {what}"),
            unit: "s",
            values,
            bar,
        });
    }
    Ok(measures)
}

/// Streams for a slice, written by the stub `batch` chunks at a time; answers how many chunks came.
pub(super) async fn bursts(target: &Target, request: impl Fn(&str) -> Vec<u8>, batch: u64) -> Result<u64> {
    let end = clock::now_ns() + u64::try_from(SLICE.as_nanos())?;
    let request: std::sync::Arc<[u8]> = request(&format!("stream chunks={CHUNKS} batch={batch}")).into();
    let mut tasks = JoinSet::new();
    for _ in 0..BURSTS {
        let (request, address) = (request.clone(), target.stream);
        tasks.spawn(async move {
            let mut connection = Connection::connect(address).await?;
            let mut chunks = 0;
            while clock::now_ns() < end {
                let mut tokens = Tokens::new();
                let piece = |bytes: &[u8], now| {
                    tokens.feed(bytes, now, |_| {});
                    true
                };
                let answer = connection.exchange(&request, piece).await?;
                ensure!(answer.status() == 200, "status {}", answer.status());
                ensure!(tokens.is_whole(CHUNKS), "a burst lost tokens: {} of {CHUNKS}", tokens.count());
                chunks += CHUNKS;
            }
            Ok(chunks)
        });
    }
    let mut total = 0;
    while let Some(chunks) = tasks.join_next().await {
        total += chunks??;
    }
    Ok(total)
}

pub(super) fn billed(target: &Target) -> Result<u64> {
    target.pid.map_or(Ok(0), process_facts::cpu_ns)
}

#[allow(clippy::cast_precision_loss, reason = "counts of a measurement are far below 2^53")]
pub(super) fn per(count: u64, of: u64) -> f64 {
    count as f64 / of as f64
}
