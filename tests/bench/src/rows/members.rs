//! Row 16: five machines on one network, what happens to them, and how long they take to get over it.
//!
//! The machines are network namespaces, which takes root on Linux; elsewhere the row says so and measures nothing. Looked
//! at every few milliseconds from outside, by what each machine tells at its door.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fleet_tests::hosts::{self, Home};

use crate::process_facts;
use crate::report::{Bar, Column, Measure, Values};
use crate::stage::Stage;
use crate::stats::median;

const MACHINES: u8 = 5;
/// Time that one round of everything stands for in `--seconds`: 20 are ten rounds.
const ROUND: Duration = Duration::from_secs(2);
/// How long idle machines are watched.
const IDLE: Duration = Duration::from_secs(10);

/// Seconds that each thing took, in the order in which they were first measured.
#[derive(Default)]
struct Figures {
    order: Vec<&'static str>,
    seconds: BTreeMap<&'static str, Vec<f64>>,
}

impl Figures {
    fn add(&mut self, what: &'static str, took: Duration) {
        if !self.order.contains(&what) {
            self.order.push(what);
        }
        self.seconds.entry(what).or_default().push(took.as_secs_f64());
    }

    /// The middle and the worst of each; a promise (must and aim, in seconds) is about the worst.
    fn measures(&self) -> Vec<Measure> {
        let promised = |what| match what {
            KILLED => Bar::Most { must: 0.5, aim: 0.1 },
            SILENT => Bar::Most { must: 5.0, aim: 3.6 },
            HEALED | PLUGGED => Bar::Most { must: 3.0, aim: 1.5 },
            REMOVED => Bar::Most { must: 2.0, aim: 1.0 },
            _ => Bar::Fact,
        };
        let lines = self.order.iter().flat_map(|what| {
            let seconds = &self.seconds[what];
            let worst = seconds
                .iter()
                .copied()
                .fold(None, |worst: Option<f64>, one| Some(worst.map_or(one, |worst| worst.max(one))));
            [
                measure(format!("{what}: median"), "s", median(seconds), Bar::Fact),
                measure(format!("{what}: worst of {}", seconds.len()), "s", worst, promised(*what)),
            ]
        });
        lines.collect()
    }
}

const JOINED: &str = "the last of five has joined: each lists each model";
const KILLED: &str = "leader's process dies: all follow another";
const RETURNED: &str = "it is started again: all hear each other";
const SILENT: &str = "leader's cable is pulled: all others follow another";
const PLUGGED: &str = "it is plugged in: all agree";
const SLEPT: &str = "a follower stops: the others agree without it";
const WOKEN: &str = "it goes on after 6 s: all agree";
const SPLIT: &str = "the network falls into 3 and 2: each part agrees";
const HEALED: &str = "the parts are joined: all agree";
const POWER: &str = "all five are started at once: all agree";
const REMOVED: &str = "a machine is removed: it hears nobody, and nobody hears it";

fn measure(what: String, unit: &'static str, value: Option<f64>, bar: Bar) -> Measure {
    Measure { row: "16", what, unit, values: Values::of(|column| value.filter(|_| column == Column::Herd)), bar }
}

/// Row 16.
pub(crate) fn five(stage: &mut Stage) -> Result<Vec<Measure>> {
    let Some(programs) = programs(stage)? else { return Ok(Vec::new()) };
    let rounds = stage.rounds(ROUND);
    let mut figures = Figures::default();
    let mut idle = Vec::new();
    for round in 0..rounds {
        let Some(mut home) = Home::new(MACHINES, &programs) else { return Ok(Vec::new()) };
        home.start();
        home.join_all(2);
        figures.add(JOINED, home.list_soon(&home.all(), &home.all()));
        home.agree_soon(&home.all());
        if round == 0 {
            idle = idle_in_company(&home)?;
        }
        trouble(&mut home, &mut figures);
        eprintln!("  round {} of {rounds}", round + 1);
    }
    Ok([idle, figures.measures()].concat())
}

/// What machines run; `None` without a Herd.
pub(super) fn programs(stage: &Stage) -> Result<Option<hosts::Programs>> {
    let Some(herd) = stage.programs.herd.clone() else { return Ok(None) };
    let fake_ollama = herd.with_file_name("fake-ollama");
    ensure!(
        fake_ollama.is_file(),
        "no fake-ollama beside {}: build it with `cargo build --release --bins`",
        herd.display()
    );
    Ok(Some(hosts::Programs { herd, fake_ollama }))
}

/// Everything once.
fn trouble(home: &mut Home, figures: &mut Figures) {
    let (killed, took) = home.kill_leader();
    figures.add(KILLED, took);
    figures.add(RETURNED, home.bring_back(killed));

    let (pulled, took) = home.pull_leader();
    figures.add(SILENT, took);
    home.agree_soon(&home.others(&[pulled]));
    figures.add(PLUGGED, home.plug(pulled));

    let leader = home.agree_soon(&home.all()).0;
    let (without, again) = home.put_to_sleep(home.others(&[leader])[0]);
    figures.add(SLEPT, without);
    figures.add(WOKEN, again);

    let away = [leader, home.others(&[leader])[0]];
    figures.add(SPLIT, home.split(&away).2);
    figures.add(HEALED, home.heal(&away).1);

    figures.add(POWER, home.cut_power().1);
    let (forgotten, alone) = home.remove(1, MACHINES);
    figures.add(REMOVED, forgotten.max(alone));
}

/// What a machine that does nothing costs, with four others in its fleet.
fn idle_in_company(home: &Home) -> Result<Vec<Measure>> {
    let pids = || home.hosts.iter().map(|host| host.herd().pid());
    let cpu = || pids().map(process_facts::cpu_ns).sum::<Result<u64>>();
    let before = cpu().context("looking at the idle machines")?;
    std::thread::sleep(IDLE);
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds of seconds")]
    let share = (cpu()? - before) as f64 / 1e9 / IDLE.as_secs_f64() / f64::from(MACHINES) * 100.0;
    let memory: Vec<f64> = pids()
        .map(|pid| {
            #[allow(clippy::cast_precision_loss, reason = "KiB of a process")]
            process_facts::memory(pid).map(|memory| memory.resident as f64 * 1024.0 / 1e6)
        })
        .collect::<Result<_>>()?;
    let bar = Bar::Most { must: 40.0, aim: 25.0 };
    Ok(vec![
        measure("idle with four others in the fleet: resident".to_owned(), "MB", median(&memory), bar),
        measure("idle with four others in the fleet: of a core".to_owned(), "%", Some(share), Bar::Fact),
    ])
}
