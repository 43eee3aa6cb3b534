//! The window as a child process: opened, brought to the front and closed through its standard input.
//!
//! One line is one order: `show URL`, `notice JSON`, `focus`; the end of the input is the order to quit, so that the window
//! ends with us however we end. A thread waits for each child. Addresses go this way and not as arguments, which every
//! program on the machine can read: they may hold what signs in.

pub(crate) mod page;

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::{Clock, Moment};
use serde_json::json;

use crate::desktop::Content;

/// A window that ends with an error within this time did not open.
const STILLBORN: Duration = Duration::from_secs(5);
/// How long a window may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// The one window.
#[derive(Clone)]
pub(crate) struct Window {
    slot: Arc<Mutex<Slot>>,
    clock: Clock,
}

#[derive(Default)]
struct Slot {
    child: Option<Open>,
    /// Counts the windows, so that the end of one is not taken for the end of the next.
    number: u64,
    /// Windows in a row that did not open.
    stillborn: u32,
}

struct Open {
    number: u64,
    pid: u32,
    stdin: ChildStdin,
}

/// The order that shows `content`.
fn order(content: &Content) -> String {
    match content {
        Content::Page(url) => format!("show {url}\n"),
        Content::Notice(title, lines) => format!("notice {}\n", json!({ "title": title, "lines": lines })),
    }
}

impl Window {
    /// No window yet.
    pub(crate) fn new(clock: Clock) -> Window {
        Window { slot: Arc::default(), clock }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the window with `content`, or brings it to the front and shows that in it.
    pub(crate) fn open(&self, content: &Content) {
        let mut slot = self.slot();
        let order = order(content);
        if let Some(open) = &mut slot.child {
            allow_foreground(open.pid);
            if open.stdin.write_all(format!("{order}focus\n").as_bytes()).is_ok() {
                return;
            }
            // It is ending; its waiter finds the slot taken by the next one.
            slot.child = None;
        }
        match (slot.stillborn, content) {
            // Twice is no accident: this machine shows no windows, but perhaps it has a browser.
            (2.., Content::Page(url)) => browse(url),
            _ => self.spawn(&mut slot, content, &order),
        }
    }

    /// Brings the window to the front; whether there is one.
    pub(crate) fn focus(&self) -> bool {
        let mut slot = self.slot();
        let Some(open) = &mut slot.child else { return false };
        allow_foreground(open.pid);
        open.stdin.write_all(b"focus\n").is_ok()
    }

    /// Shows `content` in the window, if it is open.
    pub(crate) fn replace(&self, content: &Content) {
        if let Some(open) = &mut self.slot().child {
            // A window that ends just now has nothing to show any more.
            let _ = open.stdin.write_all(order(content).as_bytes());
        }
    }

    fn spawn(&self, slot: &mut Slot, content: &Content, order: &str) {
        let started = self.clock.now();
        let spawned = command().and_then(|mut command| {
            let mut child = command.arg("--window").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
            let mut stdin =
                child.stdin.take().ok_or_else(|| std::io::Error::other("no way to tell the window anything"))?;
            stdin.write_all(order.as_bytes())?;
            Ok((child, stdin))
        });
        match spawned {
            Ok((child, stdin)) => {
                slot.number += 1;
                let (number, pid) = (slot.number, child.id());
                slot.child = Some(Open { number, pid, stdin });
                let (window, content) = (self.clone(), content.clone());
                let waits = std::thread::Builder::new().name("window".to_owned());
                if let Err(error) = waits.spawn(move || window.wait(child, number, started, &content)) {
                    tracing::warn!(%error, "nobody waits for the end of the window");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the window cannot be started");
                if let Content::Page(url) = content {
                    browse(url);
                }
            }
        }
    }

    /// Waits for the end of one window, then frees the slot.
    fn wait(&self, mut child: Child, number: u64, started: Moment, content: &Content) {
        let ended = child.wait();
        let is_well = ended.as_ref().is_ok_and(|status| status.success());
        let mut slot = self.slot();
        if slot.child.as_ref().is_some_and(|open| open.number == number) {
            slot.child = None;
        }
        if is_well {
            slot.stillborn = 0;
            return;
        }
        tracing::warn!(?ended, "the window has ended with an error");
        if self.clock.now().since(started) < STILLBORN {
            slot.stillborn += 1;
            match content {
                Content::Page(url) if slot.stillborn >= 2 => browse(url),
                // Once may be chance.
                content => self.spawn(&mut slot, content, &order(content)),
            }
        }
    }

    /// Closes the window and waits until its process is gone. Blocks for at most three seconds.
    pub(crate) fn close(&self) {
        let Some(Open { pid, stdin, .. }) = self.slot().child.take() else { return };
        drop(stdin);
        let until = self.clock.now() + GRACE;
        while is_there(pid) && self.clock.now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        if is_there(pid) {
            kill(pid);
        }
    }
}

/// This program, also where its file was replaced by an update meanwhile: then the window still fits its tray.
fn command() -> std::io::Result<Command> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("/proc/self/exe");
        // The name that window managers file the window under.
        command.arg0("herd-desktop");
        Ok(command)
    }
    #[cfg(not(target_os = "linux"))]
    Ok(Command::new(std::env::current_exe()?))
}

/// Shows `url` in the browser.
fn browse(url: &str) {
    let (program, arguments): (&str, &[&str]) = if cfg!(windows) {
        ("rundll32", &["url.dll,FileProtocolHandler"])
    } else if cfg!(target_os = "macos") {
        ("open", &[])
    } else {
        ("xdg-open", &[])
    };
    let started = Command::new(program).args(arguments).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    match started {
        Ok(mut child) => {
            // It hands the address on and ends; somebody has to take note of that.
            let waits = std::thread::Builder::new().name("browser".to_owned());
            drop(waits.spawn(move || drop(child.wait())));
        }
        Err(error) => tracing::error!(%error, program, "the browser cannot be started"),
    }
}

#[cfg(unix)]
fn is_there(pid: u32) -> bool {
    // The waiter takes note of the end, so a process that has ended is not there any more.
    pid_of(pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

#[cfg(unix)]
fn kill(pid: u32) {
    if let Some(pid) = pid_of(pid) {
        // Gone at last is as good.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[cfg(unix)]
fn pid_of(pid: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)
}

/// On Windows the end of the input ends the window, hung or not: its reading thread ends the process.
#[cfg(not(unix))]
fn is_there(_pid: u32) -> bool {
    false
}

#[cfg(not(unix))]
fn kill(_pid: u32) {}

/// The click was ours: it gives us the right to come to the front, and we give it to the window.
#[cfg(windows)]
fn allow_foreground(pid: u32) {
    #[allow(unsafe_code, reason = "a call of the system")]
    // SAFETY: takes a number and touches no memory of ours.
    unsafe {
        let _ = windows::Win32::UI::WindowsAndMessaging::AllowSetForegroundWindow(pid);
    }
}

#[cfg(not(windows))]
fn allow_foreground(_pid: u32) {}
