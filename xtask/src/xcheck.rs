//! Type-checks the code for macOS and Windows on Linux. Nothing is linked or run: it finds what does not compile, no more.
//!
//! rustup's toolchain has no standard library for other systems here, so Debian's rustc-web builds it from its own sources.
//! That toolchain is of another version than ours and is good for nothing but this.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use parts::cache;

use crate::process::{run, succeeds};
use crate::tally::Tally;
use crate::{root, target};

const TARGETS: [&str; 2] = ["aarch64-apple-darwin", "x86_64-pc-windows-gnu"];

/// With these, everything they stand on is checked too.
const PACKAGES: [&str; 3] = ["cli", "parts", "xtask"];

const INSTALL: &str = "apt-get install -y --no-install-recommends rustc-web cargo-web rust-web-src";

const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";

/// Checks each target and counts it as one test; a missing toolchain is a loud skip.
pub(crate) fn all(tally: &mut Tally) -> Result<()> {
    if !toolchain_is_here() {
        tally.skip("type-check for macOS and Windows", INSTALL);
        return Ok(());
    }
    let compiler = stand_in_compiler()?;
    for system in TARGETS {
        println!("== type-check for {system}");
        let checked = run(&mut check(system, &compiler));
        crate::process::go_on()?;
        tally.count(&format!("type-check for {system}"), checked);
    }
    Ok(())
}

fn toolchain_is_here() -> bool {
    let library = Path::new("/usr/lib/rustlib/src/rust/library/std/src/lib.rs");
    let in_usr_src = || {
        Command::new(RUSTC).args(["--print", "sysroot"]).output().ok().is_some_and(|output| {
            let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            Path::new(&sysroot).join("lib/rustlib/src/rust/library/std/src/lib.rs").exists()
        })
    };
    cfg!(target_os = "linux") && succeeds(Command::new(CARGO).arg("--version")) && (library.exists() || in_usr_src())
}

fn check(system: &str, compiler: &Path) -> Command {
    let mut command = Command::new(CARGO);
    command.args(["check", "--quiet", "-Zbuild-std=std,panic_abort", "--target", system]);
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    let target_name = system.replace('-', "_");
    command
        .current_dir(root())
        .env("PATH", "/usr/bin:/bin")
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target().join("xcheck"))
        .env(format!("CC_{target_name}"), compiler)
        .env(format!("AR_{target_name}"), "/usr/bin/ar")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO");
    command
}

/// A "C compiler" whose objects are empty: checking never looks into them, and so C parts need no other system's headers.
fn stand_in_compiler() -> Result<PathBuf> {
    const SCRIPT: &str =
        "#!/bin/sh\nwhile [ $# -gt 0 ]; do\n  if [ \"$1\" = -o ]; then : > \"$2\"; fi\n  shift\ndone\n";
    let entry = cache::entry("stand-in-cc-1", &|_| {}, |directory| {
        let script = directory.join("cc");
        std::fs::write(&script, SCRIPT).context("writing the stand-in compiler")?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
                .context("marking it as a program")?;
        }
        Ok(())
    })?;
    Ok(entry.join("cc"))
}
