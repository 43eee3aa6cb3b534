//! What continuous integration runs: the cheap checks first, then every test. Each check counts as one test in the last line.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;
use parts::cache;

use crate::process::{go_on, run, succeeds};
use crate::tally::Tally;
use crate::{arrows, cargo, root, test, ui, xcheck};

/// The version that `deny.toml` was written for.
const CARGO_DENY: &str = "0.20.2";

/// Runs all of it, whatever fails on the way, and says in the end what did.
pub(crate) fn run_all() -> Result<Tally> {
    let mut tally = Tally::default();
    let mut step = |name: &str, check: &mut dyn FnMut() -> Result<()>| {
        println!("== {name}");
        tally.count(name, check());
        go_on()
    };
    step("format", &mut || run(cargo().args(["fmt", "--all", "--", "--check"])))?;
    step("arrows between crates", &mut arrows::check)?;
    step("lints", &mut || run(cargo().args(["clippy", "--quiet", "--all-targets", "--", "--deny", "warnings"])))?;
    step("licences, bans and sources", &mut deny)?;
    println!("== the committed dashboard");
    ui::check(&mut tally);
    go_on()?;
    xcheck::all(&mut tally)?;
    test::all(false, &mut tally)?;
    Ok(tally)
}

/// [`run_all`] and the closing line.
pub(crate) fn run_and_close() -> Result<ExitCode> {
    let tally = run_all()?;
    tally.close();
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn deny() -> Result<()> {
    let program = cargo_deny()?;
    // It reads the licences of crates for every system, also of those that were not compiled here.
    run(cargo().args(["fetch", "--quiet", "--locked"]))?;
    // `advisories` is left out: its database is not a crate, and comes from elsewhere.
    run(Command::new(program).current_dir(root()).args([
        "--offline",
        "--locked",
        "check",
        "licenses",
        "bans",
        "sources",
    ]))
}

/// cargo-deny: the machine's own, else the cached one, else one built now (about a minute).
fn cargo_deny() -> Result<PathBuf> {
    let own = PathBuf::from("cargo-deny");
    if succeeds(Command::new(&own).arg("--version")) {
        return Ok(own);
    }
    let entry = cache::entry(&format!("cargo-deny-{CARGO_DENY}"), &|line| println!("{line}"), |directory| {
        println!("building cargo-deny {CARGO_DENY} once");
        run(cargo()
            .args(["install", "--quiet", "--locked", "cargo-deny", "--version", CARGO_DENY, "--root"])
            .arg(directory))
    })?;
    Ok(entry.join("bin/cargo-deny"))
}
