//! Rows 3t and 7t: what translating costs beside passing on, through the same Herd to the same Ollama.
//!
//! Slices of both take turns. The backend speaks Ollama's dialect; the client speaks that, or OpenAI's.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::cpu::{AFTERMATH, billed, bursts, per};
use super::latency::{LARGE, one_by_one};
use crate::client;
use crate::report::{Bar, Column, Measure, Values};
use crate::stage::{Stage, Target};
use crate::stats::{median, quantile, us};

const SLICE: Duration = Duration::from_secs(1);

/// How a request is written for the server at an address: command, whether streamed, bytes of padding.
type Write = fn(SocketAddr, &str, bool, usize) -> Vec<u8>;

const WAYS: [(&str, Write); 2] = [("passed on", client::chat), ("translated", client::chat_openai)];

/// Row 3t.
pub(crate) fn burst(stage: &mut Stage) -> Result<Vec<Measure>> {
    let bar = Bar::Most { must: 2.0, aim: 1.3 };
    both(stage, "3t", "CPU per million chunks in a burst", "s", bar, |stage, herd, write| {
        let before = billed(herd)?;
        let request = |command: &str| write(herd.stream, command, true, 0);
        let chunks = stage.wait(bursts(herd, request, 1))?;
        std::thread::sleep(AFTERMATH);
        Ok(us(billed(herd)? - before) / per(chunks, 1))
    })
}

/// Row 7t, one request at a time; the time that the backend itself takes is taken off both ways.
pub(crate) fn large_prompt(stage: &mut Stage) -> Result<Vec<Measure>> {
    let bar = Bar::Most { must: 3.0, aim: 2.0 };
    let direct = stage.standing()?.targets()[0];
    both(stage, "7t", "1 MB prompt: added p50", "µs", bar, |_, herd, write| {
        let time = |address: SocketAddr| {
            let mut delays = one_by_one(address, &write(address, "tiny", false, LARGE))?;
            quantile(&mut delays, 0.5).ok_or_else(|| anyhow::anyhow!("no request was answered"))
        };
        Ok(time(herd.plain)? - time(direct.plain)?)
    })
}

/// What `slice` gives for either way, and the one as a multiple of the other.
fn both(
    stage: &mut Stage,
    row: &'static str,
    what: &str,
    unit: &'static str,
    bar: Bar,
    mut slice: impl FnMut(&Stage, &Target, Write) -> Result<f64>,
) -> Result<Vec<Measure>> {
    let rounds = stage.rounds(SLICE);
    let targets = stage.standing()?.targets();
    let Some(herd) = targets.iter().find(|target| target.column == Column::Herd) else { return Ok(Vec::new()) };
    let mut values = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for turn in 0..WAYS.len() {
            let way = (turn + round) % WAYS.len();
            values[way].push(slice(stage, herd, WAYS[way].1)?);
        }
    }
    let medians = values.map(|values| median(&values).unwrap_or(0.0));
    ensure!(medians[0] > 0.0, "passing on took no time that could be measured");
    let of_herd = |value: f64| Values::of(|column| (column == Column::Herd).then_some(value));
    let fact = |way: usize| Measure {
        row,
        what: format!("{what}, {}", WAYS[way].0),
        unit,
        values: of_herd(medians[way]),
        bar: Bar::Fact,
    };
    let what = format!("{what}: translated over passed on");
    let ratio = Measure { row, what, unit: "×", values: of_herd(medians[1] / medians[0]), bar };
    Ok(vec![fact(0), fact(1), ratio])
}
