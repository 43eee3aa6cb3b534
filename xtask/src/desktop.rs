//! The desktop app's own checks: it stands on the system's webview, which not every machine that builds Herd has.

use std::process::Command;

use anyhow::Result;

use crate::cargo;
use crate::process::{go_on, run, succeeds};
use crate::tally::Tally;

const PACKAGES: [&str; 4] = ["--package", "herd-desktop", "--package", "icongen"];

const LIBRARIES: &str = "apt-get install -y --no-install-recommends libwebkit2gtk-4.1-dev libayatana-appindicator3-dev \
                         librsvg2-dev pkg-config";
const SESSION: &str = "apt-get install -y --no-install-recommends xvfb dbus webkit2gtk-driver";

/// Lints and tests it, and looks whether the committed icons are as their sources say. What is missing is a loud skip.
pub(crate) fn all(tally: &mut Tally) -> Result<()> {
    let libraries = ["--exists", "webkit2gtk-4.1", "ayatana-appindicator3-0.1"];
    if cfg!(target_os = "linux") && !succeeds(Command::new("pkg-config").args(libraries)) {
        tally.skip("the desktop app", LIBRARIES);
        return Ok(());
    }
    println!("== lints of the desktop app");
    let mut lints = cargo();
    lints.args(["clippy", "--quiet", "--all-targets"]).args(PACKAGES).args(["--", "--deny", "warnings"]);
    tally.count("lints of the desktop app", run(&mut lints));
    go_on()?;
    let has = |program: &str| succeeds(Command::new("which").arg(program));
    if cfg!(target_os = "linux") && !(has("Xvfb") && has("dbus-daemon")) {
        tally.skip("the desktop app on a desktop", SESSION);
    }
    println!("== cargo test of the desktop app");
    let mut tests = cargo();
    tests.args(["test", "--no-fail-fast"]).args(PACKAGES);
    tally.run("cargo test of the desktop app", &mut tests)
}

/// Opens and closes its window a hundred times in so many minutes.
pub(crate) fn soak(minutes: u32) -> Result<()> {
    let mut soak = cargo();
    soak.args(["test", "--release", "--package", "herd-desktop", "--test", "desktop", "--"]);
    soak.args(["--ignored", "--nocapture", "a_hundred_windows"]).env("HERD_SOAK_MINUTES", minutes.to_string());
    run(&mut soak)
}
