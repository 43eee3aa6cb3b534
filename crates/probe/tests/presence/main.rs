//! The watch and real parts: processes that hold files open, a sound server, a message bus.
//!
//! What needs a program that is not installed says so and is left out.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod camera;
mod cards;
mod desktop;
mod sound;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use probe::presence::{Evidence, Surroundings, Watch};

/// Longer than anything takes on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Surroundings in `root` with nothing in them, and all processes of this machine.
fn nothing(root: &Path) -> Surroundings {
    let directory = |name: &str| {
        let directory = root.join(name);
        fs::create_dir_all(&directory).unwrap();
        directory
    };
    Surroundings {
        system: directory("system"),
        devices: directory("dev"),
        processes: "/proc".into(),
        sound_cards: root.join("cards"),
        pulse: None,
        session_bus: None,
        system_bus: None,
        display: None,
        consent: String::new(),
        own: 0,
    }
}

/// A watch whose changes can be waited for.
struct Seen {
    watch: Watch,
    changes: Receiver<Evidence>,
}

impl Seen {
    fn new(around: &Surroundings) -> Seen {
        let (tell, changes) = channel();
        let watch = Watch::start(around, move |evidence| drop(tell.send(evidence.clone()))).unwrap();
        Seen { watch, changes }
    }

    /// The first change that is as wanted.
    fn until(&self, what: &str, is_so: impl Fn(&Evidence) -> bool) -> Evidence {
        loop {
            match self.changes.recv_timeout(PATIENCE) {
                Ok(evidence) if is_so(&evidence) => return evidence,
                Ok(_) => {}
                Err(_) => panic!("no evidence of {what}, but {:?}", self.watch.evidence()),
            }
        }
    }

    fn cameras(&self, held: usize) -> Evidence {
        self.until("cameras", |evidence| evidence.cameras.as_ref().is_some_and(|holders| holders.len() == held))
    }

    fn microphones(&self, held: usize) -> Evidence {
        self.until("microphones", |evidence| evidence.microphones.as_ref().is_some_and(|holders| holders.len() == held))
    }
}

/// A program that ends with the test.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Program {
        Program(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Holds `file` open for reading: standard output is as good as any descriptor.
    fn holding(file: &Path) -> Program {
        Program::run("sleep".as_ref(), file)
    }

    /// The same with another copy of `sleep`.
    fn run(sleep: &Path, file: &Path) -> Program {
        Program::start(Command::new(sleep).arg("600").stdout(fs::File::open(file).unwrap()))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether `programs` are installed; says so if not.
fn are_here(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| {
            Command::new("which").arg(program).stdout(Stdio::null()).status().is_ok_and(|is| !is.success())
        })
        .collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: {missing:?} not installed");
    }
    missing.is_empty()
}

#[test]
fn a_watch_can_end_at_once_and_from_within() {
    let dir = tempfile::tempdir().unwrap();
    drop(Watch::start(&nothing(dir.path()), |_| {}).unwrap());

    // Dropped by the thread that tells of a change.
    let (tell, told) = channel();
    let (give, given) = channel::<Watch>();
    let watch = Watch::start(&nothing(dir.path()), move |_| {
        if let Ok(watch) = given.recv() {
            drop(watch);
            tell.send(()).unwrap();
        }
    });
    give.send(watch.unwrap()).unwrap();
    told.recv_timeout(PATIENCE).unwrap();
}
