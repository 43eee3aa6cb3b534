//! Rows 11 and 12: apps at the doors of all machines while one of these dies, is cut off or hangs.
//!
//! The machines are network namespaces, which takes root on Linux; elsewhere the rows measure nothing.

use std::time::Duration;

use anyhow::Result;
use fleet_tests::crowd::Manner;
use fleet_tests::hosts::{Home, Strike, Toll};

use super::members::programs;
use crate::report::{Bar, Column, Measure, Values};
use crate::stage::Stage;
use crate::stats::median;

/// Time that one repetition stands for in `--seconds`: by default there are ten.
const ROUND: Duration = Duration::from_millis(400);
const NONE: Bar = Bar::Most { must: 0.0, aim: 0.0 };

/// One line: what each repetition gave.
struct Line {
    what: String,
    unit: &'static str,
    values: Vec<f64>,
    bar: Bar,
}

/// What all repetitions gave, line by line.
#[derive(Default)]
struct Lines(Vec<Line>);

impl Lines {
    fn add(&mut self, what: &str, unit: &'static str, value: f64, bar: Bar) {
        match self.0.iter_mut().find(|line| line.what == what) {
            Some(line) => line.values.push(value),
            None => self.0.push(Line { what: what.to_owned(), unit, values: vec![value], bar }),
        }
    }

    fn toll(&mut self, what: &str, toll: &Toll) {
        let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        self.add(&format!("{what}: asked"), "requests", count(toll.asked), Bar::Fact);
        self.add(&format!("{what}: lost without a byte"), "requests", count(toll.lost.len()), NONE);
        self.add(
            &format!("{what}: cut though nothing there had to do with it"),
            "streams",
            count(toll.cut_elsewhere.len()),
            NONE,
        );
        self.add(&format!("{what}: cut without a word"), "streams", count(toll.silent.len()), NONE);
        self.add(&format!("{what}: ended in an error record"), "streams", count(toll.cut), Bar::Fact);
    }

    /// Counts are added up; of times the median and the worst are told.
    fn measures(self, row: &'static str) -> Vec<Measure> {
        let one = |what: String, unit, value: f64, bar| Measure {
            row,
            what,
            unit,
            values: Values::of(|column| Some(value).filter(|_| column == Column::Herd)),
            bar,
        };
        let lines = self.0.into_iter().flat_map(|Line { what, unit, values, bar }| {
            let number = values.len();
            if unit != "s" {
                return vec![one(format!("{what}, {number} times"), unit, values.iter().sum(), bar)];
            }
            let worst = values.iter().copied().fold(0.0, f64::max);
            vec![
                one(format!("{what}: median of {number}"), unit, median(&values).unwrap_or(0.0), Bar::Fact),
                one(format!("{what}: worst of {number}"), unit, worst, bar),
            ]
        });
        lines.collect()
    }
}

/// Row 11: fifty streams run through five doors, twenty-five requests wait, and the leader's machine dies or is cut off.
pub(crate) fn dies(stage: &mut Stage) -> Result<Vec<Measure>> {
    let Some(programs) = programs(stage)? else { return Ok(Vec::new()) };
    let mut lines = Lines::default();
    let rounds = stage.rounds(ROUND);
    for round in 1..=rounds {
        for (how, what) in [(Strike::Kill, "leader's machine dies"), (Strike::Pull, "leader's cable is pulled")] {
            let Some(mut home) = Home::five(&programs) else { return Ok(Vec::new()) };
            let struck = home.strike_leader(how);
            eprintln!("  {round} of {rounds}: {what}: others: {}", struck.others);
            lines.toll(what, &struck.others);
            if how == Strike::Pull {
                eprintln!("  its own: {}; its own model: {}", struck.own, struck.alone);
                lines.toll("its own apps", &struck.own);
                lines.toll("its own apps, of its own model", &struck.alone);
                let bar = Bar::Most { must: 1.0, aim: 0.5 };
                let longest = struck.alone.quantile(1.0).as_secs_f64();
                lines.add("its own apps, of its own model: longest wait", "s", longest, bar);
            }
        }
    }
    Ok(lines.measures("11"))
}

/// Row 12: one of three machines hangs under thirty short requests a second.
pub(crate) fn hangs(stage: &mut Stage) -> Result<Vec<Measure>> {
    let Some(programs) = programs(stage)? else { return Ok(Vec::new()) };
    let mut lines = Lines::default();
    let rounds = stage.rounds(ROUND);
    for round in 1..=rounds {
        for (how, manners, what) in [
            (Strike::Silent, &Manner::ALL[..], "a server accepts and never answers"),
            (Strike::Silent, &[Manner::Whole], "a server accepts and never answers, no app streams"),
            (Strike::Stop, &Manner::ALL, "a herd is stopped"),
            (Strike::Pull, &Manner::ALL, "a cable is pulled"),
        ] {
            let Some(mut home) = Home::quick(3, &programs) else { return Ok(Vec::new()) };
            let (_, before, after) = home.hang(how, manners);
            eprintln!("  {round} of {rounds}: {what}: before: {before}; after: {after}");
            lines.toll(what, &after);
            lines.add(&format!("{what}: p99 before"), "s", before.quantile(0.99).as_secs_f64(), Bar::Fact);
            let must = Bar::Most { must: 2.0, aim: 0.5 };
            lines.add(&format!("{what}: p99"), "s", after.quantile(0.99).as_secs_f64(), must);
            lines.add(&format!("{what}: longest"), "s", after.quantile(1.0).as_secs_f64(), Bar::Fact);
        }
    }
    Ok(lines.measures("12"))
}
