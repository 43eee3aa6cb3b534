//! Chores that are little more than a cargo command.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{run, succeeds};
use crate::{cargo, root};

/// Builds Herd for release and hands `arguments` to the benchmark.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let packages = ["--package", "cli", "--package", "fake-ollama"];
    run(cargo().args(["build", "--quiet", "--release", "--bins"]).args(packages))?;
    // It takes the herd and the stand-in for Ollama that lie beside it.
    run(cargo().args(["run", "--quiet", "--release", "--package", "bench", "--"]).args(arguments))
}

/// Keeps Herd under load for `minutes`.
pub(crate) fn soak(minutes: u32) -> Result<()> {
    bench(&["soak".into(), "--minutes".into(), minutes.to_string()])
}

/// Runs each fuzz target of the dialects for `seconds`.
pub(crate) fn fuzz(seconds: u32) -> Result<()> {
    let directory = root().join("crates/dialect/fuzz");
    let targets = directory.join("fuzz_targets");
    if !targets.is_dir() {
        bail!("there is nothing to fuzz: crates/dialect/fuzz has no fuzz_targets");
    }
    if !succeeds(cargo().args(["fuzz", "--version"])) {
        bail!("cargo-fuzz is missing. Run this, then try again:\n    cargo install --locked cargo-fuzz");
    }
    if !succeeds(Command::new("rustc").args(["+nightly", "--version"])) {
        bail!("a nightly toolchain is missing. Run this, then try again:\n    rustup toolchain install nightly");
    }
    let mut names: Vec<String> = std::fs::read_dir(&targets)
        .context("listing the fuzz targets")?
        .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    for name in names {
        println!("== {name}");
        let mut fuzz = Command::new("cargo");
        fuzz.args(["+nightly", "fuzz", "run", &name, "--", &format!("-max_total_time={seconds}")]);
        // Told to the nightly cargo by the `+`; what the calling cargo set would override it.
        fuzz.env_remove("RUSTUP_TOOLCHAIN").current_dir(directory.parent().expect("fuzz lies in a crate"));
        run(&mut fuzz)?;
    }
    Ok(())
}
