//! Rows 6 and 7: resident memory, idle and while large bodies pass. Each on servers that did nothing else before.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::client::{self, Line};
use crate::process_facts::{self, Memory};
use crate::report::{Bar, Measure, median_of};
use crate::stage::{Servers, Stage};

/// Long enough for what a start leaves behind to be done.
const SETTLE: Duration = Duration::from_secs(2);

/// Row 6.
pub(crate) fn idle(stage: &mut Stage) -> Result<Vec<Measure>> {
    let servers = Servers::start(&stage.programs, 1)?;
    std::thread::sleep(SETTLE);
    let mut resident = Vec::new();
    for target in servers.targets() {
        if let Some(pid) = target.pid {
            resident.push((target.column, process_facts::memory(pid)?));
        }
    }
    let values = |of: fn(&Memory) -> u64| {
        let values: Vec<_> = resident.iter().map(|(column, memory)| (*column, mb(of(memory)))).collect();
        median_of(&values)
    };
    let bar = Bar::Most { must: 40.0, aim: 25.0 };
    Ok(vec![
        Measure {
            row: "6",
            what: "idle: resident".to_owned(),
            unit: "MB",
            values: values(|memory| memory.resident),
            bar,
        },
        Measure {
            row: "6",
            what: "idle: PSS".to_owned(),
            unit: "MB",
            values: values(|memory| memory.pss),
            bar: Bar::Fact,
        },
    ])
}

const BODIES: usize = 4;
const BODY: usize = 20_000_000;

/// Row 7.
pub(crate) fn large_bodies(stage: &mut Stage) -> Result<Vec<Measure>> {
    let servers = Servers::start(&stage.programs, 1)?;
    std::thread::sleep(SETTLE);
    let mut peaks = Vec::new();
    for target in servers.targets() {
        let Some(pid) = target.pid else { continue };
        let idle = process_facts::memory(pid)?.resident;
        process_facts::forget_peak(pid)?;
        send_large(target.plain).with_context(|| format!("through {}", target.column.name()))?;
        peaks.push((target.column, mb(process_facts::peak_resident(pid)?.saturating_sub(idle))));
    }
    // Bodies × 1.2.
    let bar = Bar::Most { must: 96.0, aim: 30.0 };
    Ok(vec![Measure {
        row: "7",
        what: "four 20 MB bodies at once: peak over idle".to_owned(),
        unit: "MB",
        values: median_of(&peaks),
        bar,
    }])
}

fn send_large(address: SocketAddr) -> Result<()> {
    let request = client::chat(address, "tiny delay_ms=50", false, BODY);
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..BODIES)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let answer = Line::connect(address)?.exchange(&request, |_| {})?;
                    ensure!(answer.status() == 200, "status {}", answer.status());
                    Ok(())
                })
            })
            .collect();
        for sender in senders {
            sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        Ok(())
    })
}

#[allow(clippy::cast_precision_loss, reason = "memory in KiB is far below 2^53")]
fn mb(kib: u64) -> f64 {
    kib as f64 * 1.024 / 1000.0
}
