//! A command line that is running, and what it says.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use crate::Program;

/// How long a word of it, or its end, is waited for.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a command said until its end.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output, each line parsed; what is no JSON is a text.
    pub lines: Vec<Value>,
    /// Standard error.
    pub aside: String,
}

impl Said {
    /// The first line.
    pub fn first(&self) -> &Value {
        self.lines.first().unwrap_or(&Value::Null)
    }
}

/// A command that runs. It ends with this value.
pub struct Talk {
    program: Program,
    lines: Receiver<String>,
    aside: Receiver<String>,
}

impl Talk {
    /// Starts `command`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Talk {
        let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("the program can be started");
        let (says, lines) = channel();
        let out = child.stdout.take().expect("its output is a pipe");
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| says.send(line))
        });
        let aside = whole_aside(&mut child);
        Talk { program: Program(child), lines, aside }
    }

    /// The next line of its output; `None` at the end.
    ///
    /// # Panics
    /// If neither comes in time.
    pub fn next(&self) -> Option<Value> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(serde_json::from_str(&line).unwrap_or(Value::String(line))),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("waited in vain for a line"),
        }
    }

    /// Its process.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If that does not come in time.
    pub fn end(mut self) -> Said {
        let lines = std::iter::from_fn(|| self.next()).collect();
        let aside = self.aside.recv_timeout(PATIENCE).expect("who closes its output ends soon");
        Said { code: self.program.wait(), lines, aside }
    }
}

fn whole_aside(child: &mut Child) -> Receiver<String> {
    let (says, aside) = channel();
    let mut error = child.stderr.take().expect("its output is a pipe");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = error.read_to_end(&mut bytes);
        says.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    aside
}
