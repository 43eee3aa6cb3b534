//! Writes what happens to `logs/herd.jsonl`, one JSON object per line, and in short to stderr.
//!
//! [`start`] starts two threads, one per place, which end when the [`Guard`] is dropped. Nothing that logs ever waits:
//! each place has a queue of 4096 lines, and the next one is dropped.

mod line;

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use store::log::LogFile;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use self::line::Fields;
use crate::clock::clock;

/// Lines that may wait for the disk or the terminal; the next one is dropped.
const QUEUED_LINES: usize = 4096;

/// Whose events are logged at the level asked for. What libraries say is logged from `warn` on.
const OURS: [&str; 8] = ["backend", "cli", "dialect", "gateway", "herd", "node", "routing", "store"];

/// Writes out what is still queued and ends logging when dropped.
#[must_use = "lines are lost when this is dropped"]
pub struct Guard {
    _file: WorkerGuard,
    _stderr: WorkerGuard,
}

/// Starts logging from `level` on (`trace`, `debug`, `info`, `warn`, `error` or `off`), into `logs` in the data directory
/// `dir` and to stderr. `stderr_ansi` allows colours there, if it is a terminal.
///
/// # Errors
/// The level is none, the log file cannot be opened, or logging was started before.
pub fn start(dir: &Path, level: &str, stderr_ansi: bool) -> anyhow::Result<Guard> {
    let targets = targets(level)?;
    let logs = dir.join("logs");
    let file =
        LogFile::open(&logs, || clock().unix_ms()).with_context(|| format!("opening the log in {}", logs.display()))?;
    let (file, file_guard) = queue("log").finish(file);
    let (stderr, stderr_guard) = queue("stderr").finish(std::io::stderr());
    let lines = Lines { file, stderr, colours: stderr_ansi && std::io::stderr().is_terminal() };
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(targets).with(lines))
        .context("logging was started before")?;
    Ok(Guard { _file: file_guard, _stderr: stderr_guard })
}

fn queue(thread: &str) -> NonBlockingBuilder {
    NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).lossy(true).thread_name(thread)
}

fn targets(level: &str) -> anyhow::Result<Targets> {
    let level: LevelFilter =
        level.parse().with_context(|| format!("{level} is not trace, debug, info, warn, error or off"))?;
    let others = level.min(LevelFilter::WARN);
    Ok(Targets::new().with_default(others).with_targets(OURS.map(|ours| (ours, level))))
}

/// The layer that makes a line of each event, for each of the two places.
struct Lines<F = NonBlocking, E = NonBlocking> {
    file: F,
    stderr: E,
    colours: bool,
}

impl<S, F, E> Layer<S> for Lines<F, E>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: for<'a> MakeWriter<'a> + 'static,
    E: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(known) = span.extensions().get::<Fields>() {
                fields.add(known);
            }
        }
        event.record(&mut fields);
        let (about, now) = (event.metadata(), clock().unix_ms());
        with_buffer(|line| {
            line::json(line, now, about.level(), about.target(), &fields);
            // Nobody can be told that the log cannot be written, least of all by the log.
            let _ = self.file.make_writer().write_all(line.as_bytes());
            line.clear();
            line::short(line, now, about.level(), &fields, self.colours);
            let _ = self.stderr.make_writer().write_all(line.as_bytes());
        });
    }
}

/// Lends a buffer that this thread keeps. Events inside of events (a `Debug` that logs) get one of their own.
fn with_buffer(write: impl FnOnce(&mut String)) {
    thread_local! {
        static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
    }
    BUFFER.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.clear();
            write(&mut buffer);
            buffer.shrink_to(line::MOST_BYTES);
        }
        Err(_) => write(&mut String::new()),
    });
}

/// The word of Python's logging for a level, which scripts that read the log know.
fn python_level(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

#[cfg(test)]
mod tests;
