//! Mixed traffic through Herd while its backends fail in turns: nothing may be lost, and nothing may grow.
//!
//! Two backends of three are always well, so every request can be served. *Lost* is a request without an answer that is
//! whole: a refusal, a connection that ends before an answer, silence for a minute, or a stream that ends without its
//! final record and without saying why. A stream cut by its backend's end that says so is counted by itself.
//!
//! Runs for the time asked; bounded by a fixed number of clients, each with one request at a time.

mod clients;
mod faults;
mod watch;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::clock;
use crate::processes::{Process, Programs};
use crate::stage::stub_says;

use clients::{Counts, Traffic};
pub(crate) use faults::Fault;
use faults::Faults;
use watch::Watch;

/// Backends of the fleet under test.
const BACKENDS: usize = 3;

/// Time between two looks at the process.
const LOOK: Duration = Duration::from_secs(1);

/// Time between two lines of progress.
const TELL: Duration = Duration::from_secs(30);

/// Longest that what is open may take to end when the traffic has stopped.
const CALM: Duration = Duration::from_secs(15);

/// Soaks Herd for `time`, with the faults of `order` one after another, again and again.
pub(crate) fn play(programs: &Programs, time: Duration, order: Vec<Fault>) -> Result<()> {
    let stubs: Vec<Process> = (0..BACKENDS).map(|_| programs.stub()).collect::<Result<_>>()?;
    let addresses: Vec<_> = stubs.iter().map(Process::address).collect();
    let (mut herd, _) = programs.herd(&addresses)?.context("there is no herd to soak")?;
    // All backends are seen before any of them fails.
    std::thread::sleep(Duration::from_secs(3));
    let mut watch = Watch::begin(herd.pid())?;
    let counts = Arc::new(Counts::default());
    let traffic = Traffic::start(herd.address(), counts.clone())?;
    let mut faults = Faults::new(stubs, order);
    let (start, mut told) = (clock::now_ns(), clock::now_ns());
    let end = start + u64::try_from(time.as_nanos())?;
    let played = loop {
        std::thread::sleep(LOOK);
        let now = clock::now_ns();
        counts.latest_fault(faults.latest());
        let step = herd.check_alive().and_then(|()| faults.step(programs, now)).and_then(|()| watch.look());
        if let Err(why) = step {
            break Err(why);
        }
        if now - told > u64::try_from(TELL.as_nanos())? {
            told = now;
            eprintln!("{:>5} s  {}; {}", (now - start) / 1_000_000_000, counts.line(), watch.line());
        }
        if now > end {
            break Ok(());
        }
    };
    // What still runs may end in its own time, on backends that are all well.
    faults.heal(programs)?;
    traffic.stop()?;
    played?;
    let left_open = calm(&mut watch, &faults)?;
    println!("{}\n{}\n{}", counts.line(), watch.line(), faults.line());
    for why in counts.reasons() {
        println!("lost: {why}");
    }
    ensure!(counts.answered.load(Relaxed) > 0, "nothing was answered");
    ensure!(counts.lost.load(Relaxed) == 0, "{} requests were lost", counts.lost.load(Relaxed));
    ensure!(left_open == 0, "{left_open} requests are still open at the backends");
    watch.verdict()
}

/// Waits until nothing is open any more; answers how many requests still are.
fn calm(watch: &mut Watch, faults: &Faults) -> Result<u64> {
    let start = clock::now_ns();
    loop {
        let mut open = 0;
        for stub in faults.stubs() {
            open += stub_says(stub.address(), "/_stub/state")?["open"].as_u64().unwrap_or(0);
        }
        let waited = Duration::from_nanos(clock::now_ns() - start);
        if open == 0 && watch.is_calm()? || waited > CALM {
            watch.end()?;
            return Ok(open);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
