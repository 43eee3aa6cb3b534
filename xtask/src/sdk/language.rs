//! Installs the pinned client packages of one language into the cache and knows how its suite is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use parts::cache;
use sha2::{Digest, Sha256};

use crate::process::run;
use crate::root;

/// Client packages of one language that can be installed together.
pub(crate) struct Language {
    pub(crate) name: &'static str,
    installed: PathBuf,
    runs: Runs,
}

enum Runs {
    /// This Python, told which packages it has.
    Python(&'static str, &'static str),
    Node,
}

impl Language {
    /// Python's. Fails with the line to run where there is no Python, an old one, or no pip.
    pub(crate) fn python() -> Result<Language> {
        Language::of_python("Python", "clients", "requirements.txt")
    }

    /// LiteLLM, which wants an older `openai` than there is by now.
    pub(crate) fn litellm() -> Result<Language> {
        Language::of_python("Python (LiteLLM)", "litellm", "litellm.txt")
    }

    fn of_python(name: &'static str, packages: &'static str, list: &str) -> Result<Language> {
        let python = parts::python()?;
        let list = directory("python").join(list);
        let version = output(Command::new(python).args(["-c", "import sys; print(sys.version)"]))?;
        if !at_least(&version, (3, 10)) {
            bail!("{python} {} is older than 3.10: put a newer one on the PATH", version.trim());
        }
        let entry = format!("sdk-python-{packages}-{}", fingerprint(&[&list], &version)?);
        let installed = cache::entry(&entry, &|line| println!("{line}"), |target| {
            println!("installing the {name} clients once");
            let mut pip = Command::new(python);
            pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-warn-conflicts"]);
            // Wheels only: a source package would run its own build, and want a compiler. All that they need is in the list.
            pip.args(["--root-user-action", "ignore", "--only-binary=:all:", "--no-deps", "--target"]).arg(target);
            run(pip.arg("--requirement").arg(&list))
        })?;
        Ok(Language { name, installed, runs: Runs::Python(python, packages) })
    }

    /// Node's. Fails with the line to run where there is no Node, an old one, or no npm.
    pub(crate) fn node() -> Result<Language> {
        node_is_here()?;
        let lists = ["package.json", "package-lock.json", ".npmrc"].map(|file| directory("node").join(file));
        let name = format!("sdk-node-{}", fingerprint(&lists.each_ref(), "")?);
        let installed = cache::entry(&name, &|line| println!("{line}"), |target| {
            println!("installing the Node clients once");
            for list in &lists {
                std::fs::copy(list, target.join(list.file_name().context("a file has a name")?))
                    .context("copying the lists")?;
            }
            run(npm().args(["ci", "--ignore-scripts", "--no-update-notifier", "--loglevel=error"]).current_dir(target))
        })?;
        Ok(Language { name: "Node", installed, runs: Runs::Node })
    }

    /// The command that asks at the doors of a fleet, for Python.
    pub(crate) fn fleet(&self) -> Result<Command> {
        let Runs::Python(python, _) = self.runs else { bail!("only Python asks fleets") };
        let mut suite = Command::new(python);
        suite.env("PYTHONPATH", &self.installed).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
        suite.arg(directory("python").join("fleet.py"));
        Ok(suite)
    }

    /// The command that runs the suites; the scene's variables are still to be added.
    pub(crate) fn suite(&self) -> Result<Command> {
        if let Runs::Python(python, packages) = self.runs {
            let mut suite = Command::new(python);
            // Nothing is written beside the sources.
            suite.env("PYTHONPATH", &self.installed).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
            suite.arg(directory("python").join("run.py")).arg(packages);
            return Ok(suite);
        }
        // Node looks for packages beside the file that imports them, so the suite is copied to where they are.
        for file in std::fs::read_dir(directory("node")).context("looking for the Node suite")? {
            let file = file.context("looking for the Node suite")?.path();
            if file.extension().is_some_and(|extension| extension == "mjs") {
                let name = file.file_name().context("a file has a name")?;
                std::fs::copy(&file, self.installed.join(name)).context("copying the Node suite")?;
            }
        }
        let mut suite = Command::new("node");
        suite.args(["--test", "--test-reporter=tap", "run.test.mjs"]).current_dir(&self.installed);
        suite.env("KNOWN", root().join("tests/sdk/known.json"));
        Ok(suite)
    }
}

/// Whether Node and npm are there and new enough; the error is the line to run.
pub(crate) fn node_is_here() -> Result<()> {
    const INSTALL: &str = if cfg!(target_os = "macos") {
        "brew install node"
    } else if cfg!(windows) {
        "winget install OpenJS.NodeJS"
    } else {
        "apt-get install -y nodejs npm"
    };
    let Ok(version) = output(Command::new("node").arg("--version")) else {
        bail!("node is missing. Run this, then try again: {INSTALL}");
    };
    if !at_least(version.trim_start_matches('v'), (20, 0)) {
        bail!("node {} is older than 20. Run this, then try again: {INSTALL}", version.trim());
    }
    if output(npm().arg("--version")).is_err() {
        bail!("npm is missing. Run this, then try again: {INSTALL}");
    }
    Ok(())
}

fn directory(language: &str) -> PathBuf {
    root().join("tests/sdk").join(language)
}

/// npm, by the name that it has on this system.
pub(crate) fn npm() -> Command {
    Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" })
}

/// What `command` prints; an error if it cannot be run or fails.
fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context("starting a program")?;
    if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).into_owned()) } else { bail!("it failed") }
}

/// Twelve hexadecimal digits that change when one of `files` or `also` does.
pub(crate) fn fingerprint(files: &[&PathBuf], also: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(std::fs::read(Path::new(file)).with_context(|| format!("reading {}", file.display()))?);
    }
    hash.update(also);
    Ok(hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}

/// Whether `version`, as programs print theirs, is not below `oldest`.
fn at_least(version: &str, oldest: (u32, u32)) -> bool {
    let mut numbers = version.trim().split(['.', ' ', '+']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= oldest
}

#[cfg(test)]
mod tests {
    use super::at_least;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, expected) in [
            ("20.20.2\n", true),
            ("18.15.0", true),
            ("18.14.2", false),
            ("16.0.0", false),
            ("", false),
            ("nonsense", false),
        ] {
            assert_eq!(at_least(version, (18, 15)), expected, "{version:?}");
        }
        assert!(at_least("3.11.7 (main, Jan  1 2026, 10:00:00) [GCC 12.2.0]", (3, 10)));
        assert!(!at_least("3.9.18+ (main)", (3, 10)));
    }
}
