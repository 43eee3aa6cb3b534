//! Three machines with a real llama-server each, and clients that ask at every door for the models of all.

use anyhow::{Context, Result};
use parts::engine::Engine;
use parts::tiny_gguf::{self, Variant};

use super::language::Language;
use crate::machine::{Machine, meshes};
use crate::program;
use crate::tally::Tally;

/// Each machine, and the model that only it has.
const MACHINES: [(&str, &str, Variant); 3] = [
    ("attic", "tiny-one", Variant::Says),
    ("bureau", "tiny-two", Variant::Says),
    ("cellar", "tiny-call", Variant::AlwaysCall),
];

/// Runs `tests/sdk/python/fleet.py`.
pub(super) fn play(engine: &Engine, python: &Language, tally: &mut Tally) -> Result<()> {
    const NAME: &str = "Python clients at three machines";
    println!("== {NAME}");
    let files = tempfile::tempdir().context("making a directory for the machines")?;
    let machines = match start(engine, files.path()) {
        Ok(machines) => machines,
        Err(error) => {
            crate::process::go_on()?;
            tally.fail(NAME, &format!("{error:#}"));
            return Ok(());
        }
    };
    let doors: Vec<String> =
        machines.iter().map(|machine| format!("{}=http://{}", machine.name, machine.door)).collect();
    let models: Vec<String> = MACHINES.iter().map(|(name, model, _)| format!("{model}={name}")).collect();
    let mut suite = python.fleet()?;
    suite.env("DOORS", doors.join(",")).env("MODELS", models.join(","));
    tally.run(NAME, &mut suite)?;
    Ok(())
}

fn start(engine: &Engine, below: &std::path::Path) -> Result<Vec<Machine>> {
    let mut machines = Vec::new();
    for ((name, alias, variant), mesh) in MACHINES.into_iter().zip(meshes(MACHINES.len())?) {
        let model = below.join(variant.file_name());
        tiny_gguf::write(&model, variant).context("writing the tiny model")?;
        let engine = engine.start(&model, &["--alias", alias])?;
        let mut machine = Machine::start(name, &program("debug", "herd"), engine, &mesh, below)?;
        machine.lists(alias, 1)?;
        machines.push(machine);
    }
    for joiner in &machines[1..] {
        machines[0].lets_in(joiner, &|line| println!("  {line}"))?;
    }
    Machine::agree(&machines)?;
    for machine in &mut machines {
        for (_, model, _) in MACHINES {
            machine.lists(model, 1)?;
        }
    }
    Ok(machines)
}
