//! Runs every test there is, with all set-up, and closes with one line that adds them up.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use parts::engine::{self, Engine};

use crate::tally::Tally;
use crate::{cargo, desktop, process, sdk, ui};

#[derive(Args)]
pub(crate) struct Options {
    /// The Rust tests only, and nothing is fetched but crates.
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut tally = Tally::default();
    all(options.quick, &mut tally)?;
    tally.close();
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs all tests and adds them to `tally`.
pub(crate) fn all(quick: bool, tally: &mut Tally) -> Result<()> {
    let engine = if quick {
        tally.skip("tests with a real engine and the SDK suites", "left out by --quick");
        None
    } else {
        real_engine(tally)
    };
    // Some tests start our programs; cargo builds those of another package only if told to. All default members at once,
    // here as below, because features would otherwise be united differently and much be compiled twice.
    println!("== building");
    let built = process::run(cargo().args(["build", "--quiet", "--bins"]));
    process::go_on()?;
    if let Err(error) = built {
        tally.fail("building", &format!("{error:#}"));
        return Ok(());
    }
    println!("== cargo test");
    tally.run("cargo test", cargo().args(["test", "--no-fail-fast"]))?;
    desktop::all(tally)?;
    if !quick {
        ui::tests(tally)?;
        ui::in_a_browser(tally)?;
        sdk::all(engine.as_ref(), tally)?;
    }
    Ok(())
}

/// Fetched beforehand, so that the Rust tests that want one find it in the cache.
fn real_engine(tally: &mut Tally) -> Option<Engine> {
    match engine::find_or_fetch(&|line| println!("{line}")) {
        Ok(engine) => Some(engine),
        Err(error) => {
            tally.skip("tests with a real engine", &format!("{error:#}"));
            None
        }
    }
}
