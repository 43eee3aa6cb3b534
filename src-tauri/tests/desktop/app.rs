//! The program under test.

use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Stdio};

use crate::session::{Killed, Session};
use crate::until;

/// A running `herd-desktop`. Killed when dropped; its windows end with it.
pub(crate) struct App(Killed);

impl App {
    /// Starts it with `arguments`, for the Herd at `port`.
    pub(crate) fn start(session: &Session, port: u16, arguments: &[&str], more: &[(&str, &str)]) -> App {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd-desktop"));
        session.dress(&mut command);
        command.args(arguments).env("FLEET_PORT", port.to_string()).envs(more.iter().copied());
        App(Killed(command.stdin(Stdio::null()).spawn().unwrap()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.0.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.0.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let app = std::cell::RefCell::new(&mut self.0.0);
        until("the end of the app", || {
            let ended = app.borrow_mut().try_wait().unwrap().is_some();
            async move { ended }
        })
        .await;
        app.borrow_mut().wait().unwrap()
    }

    /// Has the system end it, and waits.
    pub(crate) async fn quit(self) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert!(self.ended().await.success());
    }

    /// The processes that it started and that live.
    pub(crate) fn children(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task", self.pid());
        let threads = std::fs::read_dir(path).map(|threads| threads.flatten().collect::<Vec<_>>()).unwrap_or_default();
        let lists = threads.iter().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
    }

    /// Its windows' processes.
    pub(crate) fn windows(&self) -> Vec<u32> {
        let is_window = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|argument| argument == b"--window")
        };
        self.children().into_iter().filter(is_window).collect()
    }
}

/// Asks the system for a port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.local_addr().unwrap().port()
}
