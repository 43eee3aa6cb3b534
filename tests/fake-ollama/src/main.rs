//! `fake-ollama`: a stand-in for Ollama on a port of loopback, for tests and benches.
//!
//! Prints `listening on http://127.0.0.1:PORT` and runs until SIGTERM, SIGINT or, with `--with-parent`, the end of its
//! standard input; then it cuts all streams, as the original does.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use clap::Parser;
use fake_ollama::{Fault, Options};
use tokio::sync::oneshot;

/// A stand-in for Ollama 0.33.
#[derive(Debug, Parser)]
#[command(name = "fake-ollama", version)]
struct Flags {
    /// Port on loopback; 0 for any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Models: NAME or NAME=KIND, separated by commas.
    #[arg(long, value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Requests a model answers at a time.
    #[arg(long, default_value_t = 1)]
    parallel: usize,
    /// Models loaded at a time.
    #[arg(long, default_value_t = 3)]
    max_loaded: usize,
    /// Requests that may wait for a load.
    #[arg(long, default_value_t = 512)]
    max_queue: usize,
    /// Context when a request does not say, tokens.
    #[arg(long, default_value_t = 4096)]
    context: u64,
    /// Seconds an idle model stays loaded when no request says.
    #[arg(long, default_value_t = 300)]
    keep_alive: u64,
    /// Milliseconds a load takes.
    #[arg(long, default_value_t = 0)]
    load_ms: u64,
    /// Milliseconds that each of two pings to an engine that hangs takes.
    #[arg(long, default_value_t = 10_000)]
    ping_ms: u64,
    /// Mebibytes of memory on the GPU; without it there is none and only --max-loaded counts.
    #[arg(long)]
    memory_mib: Option<u64>,
    /// Milliseconds before each token.
    #[arg(long, default_value_t = 0)]
    token_ms: u64,
    /// Tokens of an answer, for models that would stop by themselves.
    #[arg(long)]
    tokens: Option<u64>,
    /// Tool calls in one answer.
    #[arg(long, default_value_t = 1)]
    calls: u64,
    /// A fault from the start: KIND[:AFTER[:TIMES]]; may be given more than once.
    #[arg(long)]
    fault: Vec<Fault>,
    /// Models that can be pulled: NAME or NAME=KIND, separated by commas; without it the registry is out of reach.
    #[arg(long, value_delimiter = ',')]
    registry: Vec<String>,
    /// Milliseconds a pull takes.
    #[arg(long, default_value_t = 0)]
    pull_ms: u64,
    /// Show models as held in GPU memory.
    #[arg(long)]
    gpu: bool,
    /// Let stubs of remote models be used.
    #[arg(long)]
    remotes: bool,
    /// Switch cloud models off.
    #[arg(long)]
    no_cloud: bool,
    /// The version told.
    #[arg(long, default_value = "0.33.0-rc2")]
    tell_version: String,
    /// Threads that serve.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// End when standard input ends.
    #[arg(long)]
    with_parent: bool,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let with_parent = flags.with_parent;
    let options = flags.options();
    fake_ollama::serve(
        options,
        |addr| {
            let mut out = std::io::stdout().lock();
            // Nobody may be reading; that is no reason to stop.
            drop(writeln!(out, "listening on http://{addr}").and_then(|()| out.flush()));
        },
        ended(with_parent),
    )
}

impl Flags {
    fn options(self) -> Options {
        let default = Options::default();
        Options {
            port: self.port,
            models: self.models.unwrap_or(default.models),
            parallel: self.parallel,
            max_loaded: self.max_loaded,
            max_queue: self.max_queue,
            context: self.context,
            keep_alive: Duration::from_secs(self.keep_alive),
            load: Duration::from_millis(self.load_ms),
            ping: Duration::from_millis(self.ping_ms),
            memory: self.memory_mib.map(|mebibytes| mebibytes.saturating_mul(1 << 20)),
            pace: Duration::from_millis(self.token_ms),
            tokens: self.tokens,
            calls: self.calls,
            faults: self.fault,
            registry: self.registry,
            pull: Duration::from_millis(self.pull_ms),
            gpu: self.gpu,
            remotes: self.remotes,
            cloud_disabled: self.no_cloud,
            version: self.tell_version,
            models_dir: default.models_dir,
            threads: self.threads,
        }
    }
}

/// Ends with SIGTERM or SIGINT, or with standard input if `with_parent`.
async fn ended(with_parent: bool) {
    let parent = async {
        if !with_parent {
            return std::future::pending().await;
        }
        let (over, is_over) = oneshot::channel();
        // Reading blocks, so it has a thread; the process does not wait for it.
        std::thread::spawn(move || {
            let mut bytes = [0u8; 64];
            while std::io::stdin().read(&mut bytes).is_ok_and(|count| count > 0) {}
            over.send(())
        });
        drop(is_over.await);
    };
    tokio::select! {
        () = parent => {}
        () = signal() => {}
    }
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
