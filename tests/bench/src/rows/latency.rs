//! Rows 1 and 7b: what a proxy adds to one request at a time on one connection.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::{self, Line};
use crate::clock;
use crate::report::{Bar, Measure, median_of};
use crate::stage::{Slices, Stage, Target};
use crate::stats::{quantile, us};

/// Long enough for thousands of tiny requests, short enough that neighbours' load is shared alike.
pub(super) const SLICE: Duration = Duration::from_millis(400);

/// Bytes of prompt in row 7b.
pub(super) const LARGE: usize = 1_000_000;

/// Row 1.
pub(crate) fn tiny(stage: &mut Stage) -> Result<Vec<Measure>> {
    let bar = Bar::TimesNginx { must: 1.5, aim: 1.0 };
    let targets = stage.standing()?.targets();
    added(stage, &targets, "1", "tiny chat, one connection", 0, bar)
}

/// Row 7b, against an nginx that passes the body on as it comes; one with defaults writes it to a file first.
pub(crate) fn large_prompt(stage: &mut Stage) -> Result<Vec<Measure>> {
    let bar = Bar::TimesNginx { must: 3.0, aim: 1.2 };
    let mut targets = stage.standing()?.targets();
    let mut measures = added(stage, &targets, "7b", "1 MB prompt (nginx with defaults)", LARGE, Bar::Fact)?;
    measures.truncate(1);
    for target in &mut targets {
        target.plain = target.stream;
    }
    measures.extend(added(stage, &targets, "7b", "1 MB prompt", LARGE, bar)?);
    Ok(measures)
}

fn added(
    stage: &Stage,
    targets: &[Target],
    row: &'static str,
    what: &str,
    padding: usize,
    bar: Bar,
) -> Result<Vec<Measure>> {
    let rounds = stage.rounds(SLICE);
    let mut highs = Vec::new();
    let lows = Slices::interleave(targets, rounds, |target| {
        let request = client::chat(target.plain, "tiny", false, padding);
        let mut delays = one_by_one(target.plain, &request)?;
        highs.push((target.column, quantile(&mut delays, 0.99).unwrap_or(0.0)));
        Ok(quantile(&mut delays, 0.5).unwrap_or(0.0))
    })?;
    let direct = lows.medians();
    let measure = |what: String, values, bar| Measure { row, what, unit: "µs", values, bar };
    Ok(vec![
        measure(format!("{what}: added p50"), lows.added(), bar),
        measure(format!("{what}: whole p50"), direct, Bar::Fact),
        measure(format!("{what}: whole p99"), median_of(&highs), Bar::Fact),
    ])
}

/// The time of each exchange of a slice, in microseconds; the first tenth is warm-up.
pub(super) fn one_by_one(address: std::net::SocketAddr, request: &[u8]) -> Result<Vec<f64>> {
    let mut line = Line::connect(address)?;
    let start = clock::now_ns();
    let length = u64::try_from(SLICE.as_nanos())?;
    let mut delays = Vec::with_capacity(16 * 1024);
    loop {
        let before = clock::now_ns();
        if before - start > length {
            return Ok(delays);
        }
        let answer = line.exchange(request, |_| {})?;
        let after = clock::now_ns();
        ensure!(answer.status() == 200, "status {}", answer.status());
        if answer.closes() {
            line = Line::connect(address)?;
        }
        if before - start > length / 10 {
            delays.push(us(after - before));
        }
    }
}
