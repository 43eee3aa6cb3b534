//! Rows 4, 4b and 5: many slow streams at once.
//!
//! The stub writes each token when it is due, counted from the start of its stream, and stamps it just before the write:
//! a proxy that stalls is charged for every token that waited.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::task::JoinSet;

use super::cpu::{AFTERMATH, billed, per};
use crate::client::{self, Connection, Failure};
use crate::process_facts::{self, Memory};
use crate::report::{Bar, Column, Measure, median_of};
use crate::stage::{Servers, Slices, Stage, Target};
use crate::stats::{quantile, us};
use crate::tokens::Tokens;

const STREAMS: usize = 200;
const PACE: Duration = Duration::from_millis(20);
/// Tokens of each stream that are not counted: connections are being opened.
const WARM_UP: u64 = 25;
const SLICE: Duration = Duration::from_secs(2);

/// Row 4.
pub(crate) fn one_way(stage: &mut Stage) -> Result<Vec<Measure>> {
    let rounds = stage.rounds(SLICE);
    let targets = stage.standing()?.targets();
    let (mut highs, mut costs) = (Vec::new(), Vec::new());
    let lows = Slices::interleave(&targets, rounds, |target| {
        let before = billed(target)?;
        let mut delays = stage.wait(paced(target.stream))?;
        std::thread::sleep(AFTERMATH);
        // Microseconds per chunk are seconds per million.
        let chunks = u64::try_from(STREAMS)? * chunks()?;
        costs.push((target.column, us(billed(target)? - before) / per(chunks, 1)));
        highs.push((target.column, quantile(&mut delays, 0.99).unwrap_or(0.0)));
        Ok(quantile(&mut delays, 0.5).unwrap_or(0.0))
    })?;
    let high = median_of(&highs);
    let cost = median_of(&costs);
    let bar = Bar::TimesNginx { must: 1.3, aim: 1.0 };
    let what = |which| format!("one-way time of a token, {STREAMS} streams at 20 ms: {which}");
    Ok(vec![
        Measure { row: "4", what: what("p50"), unit: "µs", values: lows.medians(), bar },
        Measure { row: "4", what: what("p99"), unit: "µs", values: high, bar: Bar::Fact },
        Measure {
            row: "4",
            what: "CPU per million chunks of these".to_owned(),
            unit: "s",
            values: cost.of_proxies(),
            bar: Bar::Fact,
        },
    ])
}

/// Tokens of one stream of a slice.
fn chunks() -> Result<u64> {
    Ok(WARM_UP + u64::try_from(SLICE.as_millis() / PACE.as_millis())?)
}

/// Delays of all counted tokens of a slice, in microseconds.
async fn paced(address: SocketAddr) -> Result<Vec<f64>> {
    let chunks = chunks()?;
    let mut tasks = JoinSet::new();
    for index in 0..STREAMS {
        // Spread evenly over one pace, so that tokens do not come as a wall.
        let phase = PACE * u32::try_from(index)? / u32::try_from(STREAMS)?;
        let command = format!("stream chunks={chunks} pace_ms={} phase_us={}", PACE.as_millis(), phase.as_micros());
        let request = client::chat(address, &command, true, 0);
        tasks.spawn(async move {
            let mut connection = Connection::connect(address).await?;
            let (mut tokens, mut delays, mut seen) = (Tokens::new(), Vec::with_capacity(128), 0);
            let piece = |bytes: &[u8], now| {
                tokens.feed(bytes, now, |delay| {
                    seen += 1;
                    if seen > WARM_UP {
                        delays.push(us(delay));
                    }
                });
                true
            };
            let answer = connection.exchange(&request, piece).await?;
            ensure!(answer.status() == 200, "status {}", answer.status());
            ensure!(tokens.is_whole(chunks), "a stream lost tokens: {} of {chunks}", tokens.count());
            Ok(delays)
        });
    }
    let mut all = Vec::with_capacity(STREAMS * 128);
    while let Some(delays) = tasks.join_next().await {
        all.extend(delays??);
    }
    Ok(all)
}

/// Streams at once in rows 4b and 5, their pace and length: all are open for some seconds.
const MANY: usize = 1000;
const MANY_PACE_MS: u64 = 100;
const MANY_CHUNKS: u64 = 60;

/// What became of a thousand streams.
#[derive(Debug, Default)]
struct Fates {
    lost: usize,
    refused: usize,
    before: Memory,
    during: Memory,
}

/// Rows 4b and 5, on servers that did nothing else before.
pub(crate) fn thousand(stage: &mut Stage) -> Result<Vec<Measure>> {
    let mut servers = Servers::start(&stage.programs, 1)?;
    let mut fates: Vec<(Column, Fates)> = Vec::new();
    for target in servers.targets() {
        fates.push((target.column, stage.wait(open_many(&target))?));
    }
    servers.check_alive()?;
    let values = |of: fn(&Fates) -> f64| {
        let values: Vec<_> = fates.iter().map(|(column, fates)| (*column, of(fates))).collect();
        median_of(&values)
    };
    let proxies = |of| values(of).of_proxies();
    let none = Bar::Most { must: 0.0, aim: 0.0 };
    let measure = |row, what: &str, unit, values, bar| Measure { row, what: what.to_owned(), unit, values, bar };
    Ok(vec![
        measure("4b", "1 000 streams to one backend: lost", "streams", values(|fates| count(fates.lost)), none),
        measure("4b", "1 000 streams to one backend: refused", "streams", values(|fates| count(fates.refused)), none),
        measure(
            "5",
            "memory per open stream (PSS)",
            "KB",
            proxies(|fates| (kib(fates.during.pss) - kib(fates.before.pss)) * 1.024 / count(MANY)),
            Bar::Most { must: 32.0, aim: 16.0 },
        ),
        measure(
            "5",
            "resident with 1 000 open streams",
            "MB",
            proxies(|fates| kib(fates.during.resident) * 1.024 / 1000.0),
            Bar::Fact,
        ),
    ])
}

async fn open_many(target: &Target) -> Result<Fates> {
    let memory = || target.pid.map_or(Ok(Memory::default()), process_facts::memory);
    let mut fates = Fates { before: memory()?, ..Fates::default() };
    let command = format!("stream chunks={MANY_CHUNKS} pace_ms={MANY_PACE_MS}");
    let request: std::sync::Arc<[u8]> = client::chat(target.stream, &command, true, 0).into();
    let (begun, mut beginnings) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for _ in 0..MANY {
        let (request, address, begun) = (request.clone(), target.stream, begun.clone());
        tasks.spawn(async move {
            let mut connection = Connection::connect(address).await?;
            let mut tokens = Tokens::new();
            let answer = connection
                .exchange(&request, |bytes, now| {
                    if tokens.count() == 0 {
                        // Nobody listens any more when the streams were already looked at.
                        let _ = begun.send(());
                    }
                    tokens.feed(bytes, now, |_| {});
                    true
                })
                .await?;
            Ok((answer.status(), tokens.is_whole(MANY_CHUNKS)))
        });
    }
    drop(begun);
    let length = Duration::from_millis(MANY_PACE_MS * MANY_CHUNKS);
    // All have begun, or half of the first ones' life has passed.
    let all_open = async {
        for _ in 0..MANY {
            if beginnings.recv().await.is_none() {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let _ = tokio::time::timeout(length / 2, all_open).await;
    fates.during = memory()?;
    let all_ended = async {
        while let Some(ended) = tasks.join_next().await {
            match ended? {
                Ok((200, true)) => {}
                Ok((200, false)) | Err(Failure::Cut(_) | Failure::Malformed(_)) => fates.lost += 1,
                Ok(_) | Err(Failure::Refused(_)) => fates.refused += 1,
            }
        }
        anyhow::Ok(())
    };
    if tokio::time::timeout(length * 3 + Duration::from_secs(5), all_ended).await.is_err() {
        bail!("streams did not end");
    }
    Ok(fates)
}

#[allow(clippy::cast_precision_loss, reason = "small counts")]
fn count(of: usize) -> f64 {
    of as f64
}

#[allow(clippy::cast_precision_loss, reason = "memory in KiB is far below 2^53")]
fn kib(of: u64) -> f64 {
    of as f64
}
