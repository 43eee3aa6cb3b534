//! Installs the pinned client packages of one language into the cache and knows how its suite is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use parts::cache;
use sha2::{Digest, Sha256};

use crate::process::run;
use crate::root;

/// One language's client packages, installed.
pub(crate) struct Language {
    pub(crate) name: &'static str,
    installed: PathBuf,
    python: Option<&'static str>,
}

impl Language {
    /// Python's. Fails with the line to run where there is no Python or no pip.
    pub(crate) fn python() -> Result<Language> {
        let python = parts::python()?;
        let list = directory("python").join("requirements.txt");
        let version = output(Command::new(python).args(["-c", "import sys; print(sys.version)"]))?;
        let name = format!("sdk-python-{}", fingerprint(&[&list], &version)?);
        let installed = cache::entry(&name, &|line| println!("{line}"), |target| {
            println!("installing the Python clients once");
            let mut pip = Command::new(python);
            pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-warn-conflicts"]);
            // Wheels only: a source package would run its own build, and want a compiler.
            pip.args(["--root-user-action", "ignore", "--only-binary=:all:", "--target"]).arg(target);
            run(pip.arg("--requirement").arg(&list))
        })?;
        Ok(Language { name: "Python", installed, python: Some(python) })
    }

    /// Node's. Fails with the line to run where there is no Node, an old one, or no npm.
    pub(crate) fn node() -> Result<Language> {
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
        if !new_enough(&version) {
            bail!("node {} is older than 18.15. Run this, then try again: {INSTALL}", version.trim());
        }
        if output(npm().arg("--version")).is_err() {
            bail!("npm is missing. Run this, then try again: {INSTALL}");
        }
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
        Ok(Language { name: "Node", installed, python: None })
    }

    /// The command that runs what fits `backend`; the scene's variables are still to be added.
    pub(crate) fn suite(&self, backend: &str) -> Result<Command> {
        if let Some(python) = self.python {
            let mut suite = Command::new(python);
            // Nothing is written beside the sources.
            suite.env("PYTHONPATH", &self.installed).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
            suite.arg(directory("python").join("run.py"));
            return Ok(suite);
        }
        // Node looks for packages beside the file that imports them, so the suite is copied to where they are.
        let mut suite = Command::new("node");
        suite.args(["--test", "--test-reporter=tap"]).current_dir(&self.installed);
        for file in std::fs::read_dir(directory("node")).context("looking for the Node suite")? {
            let file = file.context("looking for the Node suite")?.path();
            if file.extension().is_some_and(|extension| extension == "mjs") {
                let name = file.file_name().context("a file has a name")?;
                std::fs::copy(&file, self.installed.join(name)).context("copying the Node suite")?;
                // A file without a test that fits would count as a passed one.
                let fits = name != "ollama.test.mjs" || backend == "ollama";
                if fits && name.to_string_lossy().ends_with(".test.mjs") {
                    suite.arg(name);
                }
            }
        }
        Ok(suite)
    }
}

fn directory(language: &str) -> PathBuf {
    root().join("tests/sdk").join(language)
}

fn npm() -> Command {
    Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" })
}

/// What `command` prints; an error if it cannot be run or fails.
fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context("starting a program")?;
    if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).into_owned()) } else { bail!("it failed") }
}

/// Twelve hexadecimal digits that change when one of `files` or `also` does.
fn fingerprint(files: &[&PathBuf], also: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(std::fs::read(Path::new(file)).with_context(|| format!("reading {}", file.display()))?);
    }
    hash.update(also);
    Ok(hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}

/// Whether `version`, as `node --version` prints it, has the test runner's TAP reporter.
fn new_enough(version: &str) -> bool {
    let mut numbers = version.trim().trim_start_matches('v').split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (18, 15)
}

#[cfg(test)]
mod tests {
    use super::new_enough;

    #[test]
    fn node_18_15_is_the_oldest() {
        for (version, expected) in [
            ("v20.20.2\n", true),
            ("v18.15.0", true),
            ("v18.14.2", false),
            ("v16.0.0", false),
            ("", false),
            ("nonsense", false),
        ] {
            assert_eq!(new_enough(version), expected, "{version:?}");
        }
    }
}
