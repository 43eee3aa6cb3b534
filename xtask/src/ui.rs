//! The dashboard in `ui/`: builds it, holds what is committed to what the sources make, and tests it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use parts::cache;

use crate::process::{run, succeeds};
use crate::sdk::language::{fingerprint, node_is_here, npm};
use crate::tally::Tally;
use crate::{program, root};

#[derive(Args)]
pub(crate) struct Options {
    /// Changes nothing: builds beside what is committed, and fails if that is another page.
    #[arg(long)]
    check: bool,
    /// Runs the tests: types, parts, and the pages in a browser. The programs must have been built.
    #[arg(long)]
    test: bool,
}

/// What `npm ci` made `ui/node_modules` from.
const STAMP: &str = "node_modules/.made-from";
const BUILT: &str = "dist";

pub(crate) fn run_and_close(options: &Options) -> Result<std::process::ExitCode> {
    let mut tally = Tally::default();
    if options.check {
        check(&mut tally);
    }
    if options.test {
        tests(&mut tally)?;
        in_a_browser(&mut tally)?;
    }
    if !options.check && !options.test {
        install()?;
        build(&directory().join(BUILT))?;
        return Ok(std::process::ExitCode::SUCCESS);
    }
    tally.close();
    Ok(if tally.failed == 0 { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE })
}

/// Whether the committed page is what the sources make, counted as one test. Without Node that cannot be told.
pub(crate) fn check(tally: &mut Tally) {
    if let Err(why) = node_is_here() {
        tally.skip("the dashboard's sources against what is committed", &format!("{why:#}"));
        return;
    }
    tally.count("the committed dashboard is what its sources make", install().and_then(|()| compare()));
}

/// Types and parts of the page.
pub(crate) fn tests(tally: &mut Tally) -> Result<()> {
    if let Err(why) = node_is_here() {
        tally.skip("the dashboard's own tests", &format!("{why:#}"));
        return Ok(());
    }
    if let Err(error) = install() {
        tally.fail("the dashboard's packages", &format!("{error:#}"));
        return Ok(());
    }
    println!("== types of the dashboard");
    tally.count("types of the dashboard", run(package("tsc").arg("--noEmit")));
    println!("== parts of the dashboard");
    tally.run("parts of the dashboard", package("vitest").args(["run", "--reporter=default", "--reporter=./tally.js"]))
}

/// The pages in a real browser, against real nodes; these must have been built.
pub(crate) fn in_a_browser(tally: &mut Tally) -> Result<()> {
    const WHAT: &str = "the dashboard in a browser";
    if let Err(why) = node_is_here() {
        tally.skip(WHAT, &format!("{why:#}"));
        return Ok(());
    }
    let Some(browser) = browser() else {
        tally.skip(WHAT, "no Chromium was found. Run this, then try again: apt-get install -y chromium");
        return Ok(());
    };
    println!("== {WHAT}");
    let suite = match suite() {
        Ok(suite) => suite,
        Err(error) => {
            tally.fail(WHAT, &format!("{error:#}"));
            return Ok(());
        }
    };
    let mut tests = Command::new("node");
    tests.args(["--test", "--test-reporter=tap", "run.test.mjs"]).current_dir(suite);
    tests.env("HERD", program("debug", "herd")).env("FAKE_OLLAMA", program("debug", "fake-ollama"));
    tally.run(WHAT, tests.env("CHROMIUM", browser))
}

fn directory() -> PathBuf {
    root().join("ui")
}

/// Brings `ui/node_modules` to what the lock file says, if it is not that already.
fn install() -> Result<()> {
    let lists = ["package.json", "package-lock.json", ".npmrc"].map(|file| directory().join(file));
    let wanted = fingerprint(&lists.each_ref(), "")?;
    let stamp = directory().join(STAMP);
    if std::fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted) {
        return Ok(());
    }
    println!("installing the dashboard's packages");
    run(npm().args(["ci", "--ignore-scripts", "--no-update-notifier", "--loglevel=error"]).current_dir(directory()))?;
    std::fs::write(&stamp, wanted).context("noting what the packages were made from")
}

fn build(into: &Path) -> Result<()> {
    run(package("vite").args(["build", "--logLevel=warn", "--emptyOutDir", "--outDir"]).arg(into))
}

/// A program of the packages in `ui/`.
fn package(name: &str) -> Command {
    let mut command = Command::new("node");
    let script = match name {
        "vite" => "node_modules/vite/bin/vite.js",
        "vitest" => "node_modules/vitest/vitest.mjs",
        _ => "node_modules/typescript/bin/tsc",
    };
    command.arg(script).current_dir(directory()).env("NO_COLOR", "1");
    command
}

fn compare() -> Result<()> {
    let built = tempfile::tempdir().context("making a directory for the page")?;
    build(built.path())?;
    let (sources, committed) = (files(built.path())?, files(&directory().join(BUILT))?);
    let names: std::collections::BTreeSet<_> = sources.keys().chain(committed.keys()).collect();
    let other: Vec<_> = names.into_iter().filter(|name| sources.get(*name) != committed.get(*name)).collect();
    if !other.is_empty() {
        bail!(
            "ui/dist is not what ui/src makes ({}): run `cargo xtask ui` and commit it",
            other.iter().map(|name| name.display().to_string()).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

/// All files below `directory`, by their path in it.
fn files(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry.context("reading a directory")?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(directory).context("a file lies in its directory")?.to_owned();
                found.insert(name, std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
            }
        }
    }
    Ok(found)
}

/// A directory with the suite and its packages: Node looks for packages beside the file that imports them.
fn suite() -> Result<PathBuf> {
    let sources = root().join("tests/ui");
    let lists = ["package.json", "package-lock.json", ".npmrc"].map(|file| sources.join(file));
    let installed = cache::entry(
        &format!("ui-tests-{}", fingerprint(&lists.each_ref(), "")?),
        &|line| println!("{line}"),
        |target| {
            println!("installing the packages of the dashboard's tests once");
            for list in &lists {
                std::fs::copy(list, target.join(list.file_name().context("a file has a name")?))
                    .context("copying the lists")?;
            }
            run(npm().args(["ci", "--ignore-scripts", "--no-update-notifier", "--loglevel=error"]).current_dir(target))
        },
    )?;
    for file in std::fs::read_dir(&sources).context("looking for the suite")? {
        let file = file.context("looking for the suite")?.path();
        if file.extension().is_some_and(|extension| extension == "mjs") {
            let name = file.file_name().context("a file has a name")?;
            std::fs::copy(&file, installed.join(name)).context("copying the suite")?;
        }
    }
    Ok(installed)
}

/// A Chromium: the one that `CHROMIUM` names, else one on the PATH.
fn browser() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let known = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].map(PathBuf::from);
    named.into_iter().chain(known).find(|program| succeeds(Command::new(program).arg("--version"))).and_then(
        |program| {
            if program.is_absolute() {
                return Some(program);
            }
            let folders = std::env::var_os("PATH")?;
            std::env::split_paths(&folders).map(|folder| folder.join(&program)).find(|path| path.exists())
        },
    )
}
