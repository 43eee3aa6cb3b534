//! The headless program and its commands: reads flags, runs the node or asks the running one, shows the answer.

mod args;
mod command;
mod door;
mod failure;
mod show;

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::pin::Pin;
use std::process::ExitCode;

use jiff::tz::TimeZone;
use node::settings::Settings;

use args::Parsed;
use failure::Failure;

/// Runs a node until it is told to stop; the warnings are to be logged once logging works.
pub type Serve = fn(Settings, Vec<String>) -> anyhow::Result<()>;

/// Comes when the person wants the command to stop.
pub type Interrupt = Pin<Box<dyn Future<Output = ()>>>;

/// Under which name the program was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `herd`, with all commands.
    Herd,
    /// `herd-node`, which only serves.
    HerdNode,
}

/// All that a command knows of the world around the process, so that tests can bring their own.
pub struct World<'a> {
    /// The environment.
    pub vars: Vec<(String, String)>,
    /// Answers go here, and nothing else.
    pub out: &'a mut dyn Write,
    /// Notes, progress and errors go here.
    pub err: &'a mut dyn Write,
    /// What is typed, or piped in. Taken by the command that reads it.
    pub input: Option<Box<dyn BufRead + Send>>,
    /// Whether a person sits there who can be asked and sees how time goes by.
    pub terminal: bool,
    /// Ctrl-C, for commands that end in a way of their own then; it is listened for as soon as this is polled.
    pub interrupt: Interrupt,
    /// Whether answers may be coloured.
    pub colour: bool,
    /// The wall-clock time in milliseconds since 1970, for ages.
    pub unix_ms: u64,
    /// The time zone of the reader.
    pub zone: TimeZone,
    /// What `serve` calls.
    pub serve: Serve,
    /// Opens an address in the browser of whoever sits here, and tells whether it did.
    pub browse: fn(&str) -> bool,
}

/// Runs the program with the arguments, environment and streams of this process.
pub fn main(program: Program, serve: Serve) -> ExitCode {
    // Variables that are no Unicode cannot be ours: all our names and values are.
    let vars: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let no_color = vars.iter().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
    let mut out = io::stdout();
    let colour = out.is_terminal() && !no_color;
    let mut world = World {
        vars,
        out: &mut out,
        err: &mut io::stderr(),
        input: Some(Box::new(BufReader::new(io::stdin()))),
        terminal: io::stdin().is_terminal() && io::stderr().is_terminal(),
        interrupt: Box::pin(interrupted()),
        colour,
        unix_ms: unix_ms(),
        zone: TimeZone::system(),
        serve,
        browse: command::dashboard::browse,
    };
    ExitCode::from(run(program, std::env::args_os().collect(), &mut world))
}

/// Runs one command; answers with the exit code.
///
/// 0 done, 1 failed, 2 wrong usage, 3 no running Herd, 4 refused, 5 not found, 6 timed out.
pub fn run(program: Program, args: Vec<OsString>, world: &mut World<'_>) -> u8 {
    let result = match args::parse(program, args) {
        Ok(Parsed::Invocation(invocation)) => command::run(*invocation, world),
        Ok(Parsed::Help(text)) => write!(world.out, "{text}").map_err(Failure::Output),
        Err(usage) => Err(Failure::Usage(usage)),
    };
    let flushed = world.out.flush().map_err(Failure::Output);
    match result.and(flushed) {
        Ok(()) => 0,
        // Whoever reads us has enough: `herd logs | head`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(failure) => {
            // With standard error gone too, the exit code is all that can be said.
            let _ = writeln!(world.err, "{}", failure.to_string().trim_end());
            failure.exit_code()
        }
    }
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // It cannot be listened for, so it ends the process as it always did.
        std::future::pending::<()>().await;
    }
}

#[allow(clippy::disallowed_methods, reason = "a command that ends at once has no clock of a node to ask")]
fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
