//! Chores of this repository, each with its own set-up: `cargo xtask demo|test|ci|ui|bundle|xcheck|bench|soak|fuzz`.

mod arrows;
mod bundle;
mod chores;
mod ci;
mod demo;
mod desktop;
mod machine;
mod process;
mod sdk;
mod tally;
mod test;
mod ui;
mod xcheck;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Chores of this repository, each with its own set-up."
)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Shows Herd at work: builds it, finds or fetches an inference server and a small model, and asks a question through it.
    Demo(demo::Options),
    /// Runs every test: the crates' own, and the Python and Node clients against Herd.
    Test(test::Options),
    /// What continuous integration runs: format, lints, arrows between crates, licences, other systems, then `test`.
    Ci,
    /// Builds the dashboard into `ui/dist`, which is committed; or checks and tests it.
    Ui(ui::Options),
    /// Makes the package for Debian and Ubuntu, with the desktop app in it.
    Bundle(bundle::Options),
    /// Type-checks everything for macOS and Windows.
    Xcheck,
    /// Builds Herd for release and measures it; arguments go to the benchmark (`--help` among them).
    Bench {
        /// Rows and options of the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Builds Herd for release and keeps it under mixed load with faults, watching memory, files and lost requests.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 10)]
        minutes: u32,
        /// The desktop app instead: a hundred windows, one after the other.
        #[arg(long)]
        desktop: bool,
    },
    /// Throws made-up bytes at the parsers of the `dialect` crate (needs cargo-fuzz and a nightly toolchain).
    Fuzz {
        /// Seconds per target.
        #[arg(default_value_t = 60)]
        seconds: u32,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match process::watch_signals().and_then(|()| carry_out(arguments.chore)) {
        Ok(code) => code,
        Err(_) if process::interrupted() => {
            eprintln!("interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(chore: Chore) -> Result<ExitCode> {
    match chore {
        Chore::Demo(options) => demo::run(&options).map(|()| ExitCode::SUCCESS),
        Chore::Test(options) => test::run(&options),
        Chore::Ui(options) => ui::run_and_close(&options),
        Chore::Ci => ci::run_and_close(),
        Chore::Bundle(options) => bundle::run_bundle(&options).map(|()| ExitCode::SUCCESS),
        Chore::Xcheck => xcheck::run_and_close(),
        Chore::Bench { arguments } => chores::bench(&arguments).map(|()| ExitCode::SUCCESS),
        Chore::Soak { minutes, desktop: false } => chores::soak(minutes).map(|()| ExitCode::SUCCESS),
        Chore::Soak { minutes, desktop: true } => desktop::soak(minutes).map(|()| ExitCode::SUCCESS),
        Chore::Fuzz { seconds } => chores::fuzz(seconds).map(|()| ExitCode::SUCCESS),
    }
}

/// The checkout that this program was built from.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies one below the root")
}

/// The cargo that called us, in the root of the checkout.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// The path of one of our programs, as built with `profile` (`debug` or `release`).
fn program(profile: &str, name: &str) -> PathBuf {
    target().join(profile).join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}
