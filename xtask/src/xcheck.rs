//! Type-checks the code for macOS and Windows on Linux. Nothing is linked or run: it finds what does not compile, no more.
//!
//! rustup's toolchain has no standard library for other systems here, so Debian's rustc-web builds it from its own sources.
//! That toolchain is of another version than ours and is good for nothing but this.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use parts::cache;

use crate::process::{run, succeeds};
use crate::tally::Tally;
use crate::{root, target};

const TARGETS: [&str; 2] = ["aarch64-apple-darwin", "x86_64-pc-windows-gnu"];

/// With these, everything they stand on is checked too.
const PACKAGES: [&str; 4] = ["cli", "herd-desktop", "parts", "xtask"];

const INSTALL: &str =
    "apt-get install -y --no-install-recommends rustc-web cargo-web rust-web-src binutils-mingw-w64-x86-64";

/// Where the stand-ins are that are found by their names.
const SEARCHED: &str = "searched";

const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";

/// [`all`] and the closing line.
pub(crate) fn run_and_close() -> Result<ExitCode> {
    let mut tally = Tally::default();
    all(&mut tally)?;
    tally.close();
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks each target and counts it as one test; a missing toolchain is a loud skip.
pub(crate) fn all(tally: &mut Tally) -> Result<()> {
    if !toolchain_is_here() {
        tally.skip("type-check for macOS and Windows", INSTALL);
        return Ok(());
    }
    let stand_ins = stand_ins()?;
    for system in TARGETS {
        println!("== type-check for {system}");
        let checked = run(&mut check(system, &stand_ins));
        crate::process::go_on()?;
        tally.count(&format!("type-check for {system}"), checked);
    }
    Ok(())
}

fn toolchain_is_here() -> bool {
    let sources = Path::new("/usr/lib/rustlib/src/rust/library/std/src/lib.rs");
    // std for windows-gnu makes import libraries even when it is only checked.
    let dlltool = Path::new("/usr/bin/x86_64-w64-mingw32-dlltool");
    cfg!(target_os = "linux") && sources.exists() && dlltool.exists() && succeeds(Command::new(CARGO).arg("--version"))
}

fn check(system: &str, stand_ins: &Path) -> Command {
    let mut command = Command::new(CARGO);
    command.args(["check", "--quiet", "-Zbuild-std=std,panic_abort", "--target", system]);
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    let target_name = system.replace('-', "_");
    command
        .current_dir(root())
        // Only what has a name of its own: build scripts are linked by this system's `cc`.
        .env("PATH", format!("{}:/usr/bin:/bin", stand_ins.join(SEARCHED).display()))
        .env("RUSTC", RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target().join("xcheck"))
        .env(format!("CC_{target_name}"), stand_ins.join("cc"))
        .env(format!("AR_{target_name}"), stand_ins.join("ar"))
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO");
    command
}

/// A "C compiler" that writes nothing and an "archiver" whose libraries are empty: checking never looks into them, and so
/// crates with C parts need no headers of another system. And one for Windows' resources, which have no headers at all but
/// are put through a preprocessor: the one of this system does.
fn stand_ins() -> Result<PathBuf> {
    cache::entry("stand-in-cc-4", &|_| {}, |directory| {
        std::fs::create_dir(directory.join(SEARCHED)).context("making a folder for stand-ins")?;
        for (name, script) in [
            ("cc", "#!/bin/sh\nexit 0\n"),
            ("ar", "#!/bin/sh\nprintf '!<arch>\\n' > \"$2\"\n"),
            ("searched/x86_64-w64-mingw32-gcc", "#!/bin/sh\nexec /usr/bin/cc \"$@\"\n"),
        ] {
            let file = directory.join(name);
            std::fs::write(&file, script).with_context(|| format!("writing the stand-in for {name}"))?;
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                let mode = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(&file, mode).context("marking it as a program")?;
            }
        }
        Ok(())
    })
}
