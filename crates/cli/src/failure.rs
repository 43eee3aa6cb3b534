//! Why a command did not do what was asked, and the exit code that says so to scripts.

use std::io;

/// Why a command ended otherwise than asked. The text is for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It was tried and did not work.
    #[error("{0}")]
    Failed(String),
    /// It was asked for in a way that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No Herd runs where one was looked for.
    #[error("{0}")]
    NotRunning(String),
    /// Herd runs and does not let us.
    #[error("{0}")]
    Refused(String),
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Herd did not answer in time.
    #[error("{0}")]
    TimedOut(String),
    /// The answer could not be written.
    #[error("the answer could not be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) | Failure::Output(_) => 1,
            Failure::Usage(_) => 2,
            Failure::NotRunning(_) => 3,
            Failure::Refused(_) => 4,
            Failure::NotFound(_) => 5,
            Failure::TimedOut(_) => 6,
        }
    }
}
