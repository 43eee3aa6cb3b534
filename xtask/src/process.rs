//! Starts other programs so that none outlives this one.
//!
//! Each child has a process group of its own, so that its children end with it. Ctrl-C, SIGTERM and SIGHUP end all groups
//! and make the main thread come back; a second one kills what is left.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Time that a program gets to end by itself, in steps of [`STEP`].
const STEPS: u32 = 100;
const STEP: Duration = Duration::from_millis(50);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Whether somebody asked this program to end.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// An error once somebody asked this program to end; to be called between steps.
pub(crate) fn go_on() -> Result<()> {
    if interrupted() { bail!("interrupted") } else { Ok(()) }
}

/// From now on signals are caught. Called once, first.
pub(crate) fn watch_signals() -> Result<()> {
    ctrlc::set_handler(|| {
        let again = INTERRUPTED.swap(true, Ordering::SeqCst);
        let groups = GROUPS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for &group in groups.iter() {
            signal(group, if again { Signal::Kill } else { Signal::Terminate });
        }
    })
    .context("catching Ctrl-C")
}

/// A program that was started; it and its children are ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` in a process group of its own, without standard input unless that was piped.
    pub(crate) fn start(command: &mut Command) -> Result<Process> {
        go_on()?;
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        let child = command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?;
        groups().push(child.id());
        let process = Process { child, ended: None };
        // A signal between the question above and the entry in the list would otherwise be missed.
        if interrupted() {
            drop(process);
            bail!("interrupted");
        }
        Ok(process)
    }

    /// Its standard output, if that was piped and not taken before.
    pub(crate) fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().context("watching a program")?;
            if self.ended.is_some() {
                self.forget();
            }
        }
        Ok(self.ended)
    }

    /// Kills it with all that it started, as a power cut would.
    pub(crate) fn kill(mut self) {
        signal(self.child.id(), Signal::Kill);
        let _ = self.child.kill();
        self.ended = self.child.wait().ok();
        self.forget();
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Result<ExitStatus> {
        let status = self.child.wait().context("waiting for a program")?;
        self.ended = Some(status);
        self.forget();
        go_on()?;
        Ok(status)
    }

    /// What it started itself may live on in its group; that ends too. The id stays taken while the group has members.
    fn forget(&self) {
        let id = self.child.id();
        let mut groups = groups();
        groups.retain(|&group| group != id);
        signal(id, Signal::Terminate);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.ended(), Ok(None)) {
            return;
        }
        if cfg!(unix) {
            signal(self.child.id(), Signal::Terminate);
        } else {
            let _ = self.child.kill();
        }
        for _ in 0..STEPS {
            if !matches!(self.ended(), Ok(None)) {
                return;
            }
            sleep(STEP);
        }
        signal(self.child.id(), Signal::Kill);
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.forget();
    }
}

fn groups() -> std::sync::MutexGuard<'static, Vec<u32>> {
    GROUPS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Clone, Copy)]
enum Signal {
    Terminate,
    Kill,
}

/// Sends a signal to the group of a child of ours; a group that is gone is none of our business any more.
fn signal(group: u32, signal: Signal) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(group).ok().and_then(rustix::process::Pid::from_raw) {
        let signal = match signal {
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        let _ = rustix::process::kill_process_group(group, signal);
    }
    #[cfg(not(unix))]
    let _ = (group, signal as u8);
}

/// Runs `command` to its end with this program's output; its failure is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = name(command);
    let status = Process::start(command.stdin(Stdio::null()))?.wait()?;
    if status.success() { Ok(()) } else { bail!("{name} failed ({status})") }
}

/// What a person calls `command`: the program without its directory, and the first argument.
fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_stem().unwrap_or_default().to_string_lossy();
    let first = command.get_args().next().unwrap_or_default().to_string_lossy();
    format!("{program} {first}").trim_end().to_owned()
}

/// Whether `command` runs and succeeds; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::{Process, succeeds};

    #[test]
    fn a_dropped_process_takes_its_children_along() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 600 & echo $!; wait"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Process::start(&mut shell).unwrap();
        let mut output = BufReader::new(process.stdout().unwrap());
        let mut grandchild = String::new();
        output.read_line(&mut grandchild).unwrap();
        let alive = || succeeds(Command::new("kill").args(["-0", grandchild.trim()]));
        assert!(alive());
        drop(process);
        // The pipe's other end closes when the last of them is gone.
        let mut rest = String::new();
        output.read_line(&mut rest).unwrap();
        assert!(rest.is_empty());
    }

    #[test]
    fn a_failure_names_the_command_as_people_do() {
        let error = super::run(Command::new("/bin/sh").args(["-e", "-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh -e failed (exit status: 3)");
    }

    #[test]
    fn how_a_process_ended_is_known() {
        for (script, success) in [("exit 0", true), ("exit 3", false)] {
            let status = Process::start(Command::new("sh").args(["-c", script]).stdin(Stdio::null())).unwrap().wait();
            assert_eq!(status.unwrap().success(), success, "{script}");
        }
    }
}
