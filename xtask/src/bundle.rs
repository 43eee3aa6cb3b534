//! Makes the package for Debian and Ubuntu: `herd-fleet_VERSION_ARCH.deb` with the desktop app, the commands, icons, a unit
//! for machines without a desktop, a manual page and completions.
//!
//! The file is put together here and packed by `dpkg-deb`: no download, and nothing of the build machine in it. What macOS
//! and Windows get is made by Tauri's bundler there (`src-tauri/bundle.conf.json`).

mod manual;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{run, succeeds};
use crate::{cargo, program, root, target};

/// What it needs at run time; what these need, they say themselves. The names of Debian 12 and 13, and Ubuntu 22.04 and 24.04.
const DEPENDS: &str = "libc6 (>= 2.35), libwebkit2gtk-4.1-0, libgtk-3-0 | libgtk-3-0t64, libayatana-appindicator3-1";
const PROGRAMS: [&str; 3] = ["herd", "herd-node", "herd-desktop"];
const ICON_SIZES: [u32; 7] = [16, 32, 48, 64, 128, 256, 512];

/// How the package is made.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Packs programs as `cargo build` makes them: fast to make, for trying the package out.
    #[arg(long)]
    debug: bool,
}

/// Builds the programs and the package; prints its path.
pub(crate) fn run_bundle(options: &Options) -> Result<()> {
    if !succeeds(Command::new("dpkg-deb").arg("--version")) {
        bail!("dpkg-deb is missing: it is part of every Debian and Ubuntu; packages of other systems are made there");
    }
    let profile = if options.debug { "debug" } else { "release" };
    for package in ["cli", "herd-desktop"] {
        let mut build = cargo();
        build.args(["build", "--package", package]);
        if !options.debug {
            build.arg("--release");
        }
        run(&mut build)?;
    }
    let tree = target().join("bundle").join("herd-fleet");
    if tree.exists() {
        std::fs::remove_dir_all(&tree).context("removing the last package's files")?;
    }
    lay_out(&tree, profile)?;
    let architecture = said(Command::new("dpkg-deb").args(["--print-architecture"]))
        .or_else(|_| said(Command::new("dpkg").arg("--print-architecture")))?;
    let (version, architecture) = (version()?, architecture.trim());
    let control = control(&version, architecture, kilobytes(&tree)?);
    write(&tree.join("DEBIAN/control"), control.as_bytes(), 0o644)?;
    let package = target().join("bundle").join(format!("herd-fleet_{version}_{architecture}.deb"));
    let mut pack = Command::new("dpkg-deb");
    // Unoptimised programs are large, and nobody keeps them: packed fast rather than small.
    let how: &[&str] = if options.debug { &["-Zgzip", "-z1"] } else { &["-Zxz"] };
    pack.args(how).args(["--build", "--root-owner-group"]).arg(&tree).arg(&package);
    // The same sources make the same file.
    pack.env("SOURCE_DATE_EPOCH", committed_at());
    run(&mut pack)?;
    println!("{}", package.display());
    Ok(())
}

/// Puts every file where it belongs below `tree`.
fn lay_out(tree: &Path, profile: &str) -> Result<()> {
    for name in PROGRAMS {
        let file = tree.join("usr/bin").join(name);
        write(&file, &read(&program(profile, name))?, 0o755)?;
        // Release builds have no debug information; of others it is most of the file.
        if profile == "debug" {
            run(Command::new("strip").arg(&file))?;
        }
    }
    let linux = root().join("src-tauri/linux");
    let put = |from: &Path, to: &str| write(&tree.join(to), &read(from)?, 0o644);
    put(&linux.join("herd-fleet.desktop"), "usr/share/applications/herd-fleet.desktop")?;
    put(&linux.join("herd.service"), "usr/lib/systemd/user/herd.service")?;
    put(&root().join("icons/herd.svg"), "usr/share/icons/hicolor/scalable/apps/herd-fleet.svg")?;
    for size in ICON_SIZES {
        let from = root().join(format!("src-tauri/icons/{size}x{size}.png"));
        put(&from, &format!("usr/share/icons/hicolor/{size}x{size}/apps/herd-fleet.png"))?;
    }
    let herd = program(profile, "herd");
    for (shell, to) in [
        ("bash", "usr/share/bash-completion/completions/herd"),
        ("zsh", "usr/share/zsh/vendor-completions/_herd"),
        ("fish", "usr/share/fish/vendor_completions.d/herd.fish"),
    ] {
        write(&tree.join(to), said(Command::new(&herd).args(["completions", shell]))?.as_bytes(), 0o644)?;
    }
    let version = version()?;
    let help = said(Command::new(&herd).arg("--help"))?;
    write(&tree.join("usr/share/man/man1/herd.1"), manual::page("herd", &version, &help).as_bytes(), 0o644)?;
    let help = said(Command::new(program(profile, "herd-node")).arg("--help"))?;
    write(&tree.join("usr/share/man/man1/herd-node.1"), manual::page("herd-node", &version, &help).as_bytes(), 0o644)?;
    let help = said(Command::new(program(profile, "herd-desktop")).arg("--help"))?;
    let page = manual::page("herd-desktop", &version, &help);
    write(&tree.join("usr/share/man/man1/herd-desktop.1"), page.as_bytes(), 0o644)?;
    for page in ["herd", "herd-node", "herd-desktop"] {
        run(Command::new("gzip").args(["-9n"]).arg(tree.join(format!("usr/share/man/man1/{page}.1"))))?;
    }
    let licence = ["LICENSE", "LICENSE-MIT"].map(|name| read(&root().join(name)));
    let [first, second] = licence;
    write(&tree.join("usr/share/doc/herd-fleet/copyright"), &[first?, b"\n".to_vec(), second?].concat(), 0o644)
}

fn control(version: &str, architecture: &str, kilobytes: u64) -> String {
    format!(
        "Package: herd-fleet\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: The Herd project <herd@localhost>\n\
         Section: net\n\
         Priority: optional\n\
         Installed-Size: {kilobytes}\n\
         Depends: {DEPENDS}\n\
         Recommends: default-dbus-session-bus | dbus-session-bus\n\
         Description: makes all your computers answer as one local AI endpoint\n \
         Herd runs on each of your machines. Apps keep talking to localhost, and get their\n \
         answer from whichever machine can give it soonest: one that has the model loaded,\n \
         has time, and is not in a meeting. No server, no account, no cloud.\n \
         .\n \
         herd-desktop is the icon in the tray with the dashboard; herd is the same without\n \
         a desktop, and the commands.\n"
    )
}

/// The version of the workspace.
fn version() -> Result<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).context("reading Cargo.toml")?;
    let line =
        manifest.lines().find_map(|line| line.strip_prefix("version = \"")).context("a version in Cargo.toml")?;
    Ok(line.trim_end_matches('"').to_owned())
}

/// The time of the last commit, in seconds since 1970; a fixed one outside of a checkout.
fn committed_at() -> String {
    let asked = said(Command::new("git").current_dir(root()).args(["log", "-1", "--format=%ct"]));
    asked.map_or_else(|_| "1767225600".to_owned(), |time| time.trim().to_owned())
}

/// Kilobytes of all files below `directory`.
fn kilobytes(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    let mut left: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).with_context(|| format!("listing {}", directory.display()))? {
            let entry = entry?;
            let facts = entry.metadata()?;
            if facts.is_dir() {
                left.push(entry.path());
            }
            bytes += facts.len();
        }
    }
    Ok(bytes.div_ceil(1024))
}

/// What `command` prints, if it ends well.
fn said(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading what {name} says"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let directory = path.parent().context("a file lies in a directory")?;
    std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).context("setting the mode of a file")?;
    }
    #[cfg(not(unix))]
    let _ = mode;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_file_has_no_blank_or_unindented_line() {
        let control = control("0.1.0", "amd64", 7);
        assert!(control.ends_with('\n') && !control.contains("\n\n"));
        let fields = ["Package", "Version", "Architecture", "Maintainer", "Depends", "Description", "Installed-Size"];
        for field in fields {
            assert!(control.lines().any(|line| line.starts_with(&format!("{field}: "))), "{field}");
        }
        let after = control.lines().skip_while(|line| !line.starts_with("Description")).skip(1);
        assert!(after.into_iter().all(|line| line.starts_with(' ')));
    }

    #[test]
    fn every_file_that_is_packed_is_there() {
        for size in ICON_SIZES {
            assert!(root().join(format!("src-tauri/icons/{size}x{size}.png")).exists(), "{size}");
        }
        for file in ["herd-fleet.desktop", "herd.service"] {
            assert!(root().join("src-tauri/linux").join(file).exists(), "{file}");
        }
        assert_eq!(version().unwrap(), env!("CARGO_PKG_VERSION"));
    }
}
