//! Herd's own benchmark: what a request costs directly, through nginx and through Herd, in turns on one machine.
//!
//! Starts all it needs (a stub backend, nginx where installed, Herd where built), on loopback and in a temporary folder,
//! and ends it again. Times mean little by themselves; ratios of one run are what counts.

mod client;
mod clock;
#[cfg(target_os = "linux")]
mod fleet;
mod http;
mod process_facts;
mod processes;
mod report;
mod rows;
mod soak;
mod sockets;
mod stage;
mod stats;
mod stub;
mod tokens;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};

use processes::Programs;
use rows::{LONG, ROWS};
use stage::Stage;

/// Measures Herd against nginx and the bare backend.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Sub>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// The stub backend (started by the benchmark itself).
    #[command(hide = true)]
    Stub {
        /// Port to listen on; 0 is any.
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Models that it lists beside its own, none of which it serves.
        #[arg(long, default_value_t = 0)]
        more: u32,
    },
    /// Mixed traffic against backends that fail, for as long as asked; fails on lost requests and on growth.
    Soak(Soak),
}

#[derive(Debug, Args)]
struct Run {
    /// Rows to play (1 2 3 3t 4 4b 5 6 7 7b 7t 8 9 11 12 12b 13 14 15 16 17 18 18m 18w); all but 11 and 12, which take ten minutes each, when none is
    /// named.
    rows: Vec<String>,
    /// The `herd` to measure; default: beside this program.
    #[arg(long)]
    herd: Option<PathBuf>,
    /// The nginx to compare with; default: the one on PATH.
    #[arg(long)]
    nginx: Option<PathBuf>,
    /// Seconds per server and row.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// A quarter of the time: to see that it works, not to compare.
    #[arg(long)]
    quick: bool,
    /// Also write the results there as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Soak {
    /// How long; at most a week.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10080))]
    minutes: u64,
    /// What goes wrong, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [soak::Fault::Busy, soak::Fault::Killed, soak::Fault::Hang, soak::Fault::Silent])]
    faults: Vec<soak::Fault>,
    /// The `herd` to soak; default: beside this program.
    #[arg(long)]
    herd: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    processes::allow_many_files()?;
    match arguments.command {
        Some(Sub::Stub { port, more }) => stub::run(port, more),
        Some(Sub::Soak(soak)) => {
            processes::end_all_on_signal()?;
            let programs = programs(soak.herd.as_deref(), None)?;
            soak::play(&programs, Duration::from_secs(soak.minutes * 60), soak.faults)
        }
        None => measure(&arguments.run),
    }
}

fn measure(run: &Run) -> Result<()> {
    let known: Vec<&str> = ROWS.iter().flat_map(|row| row.names).copied().collect();
    if let Some(unknown) = run.rows.iter().find(|row| !known.contains(&row.as_str())) {
        anyhow::bail!("no row `{unknown}`; there are {}", known.join(" "));
    }
    anyhow::ensure!((0.1..=600.0).contains(&run.seconds), "--seconds {} is not between 0.1 and 600", run.seconds);
    processes::end_all_on_signal()?;
    let programs = programs(run.herd.as_deref(), run.nginx.as_deref())?;
    let seconds = if run.quick { run.seconds / 4.0 } else { run.seconds };
    let mut stage = Stage::new(programs, Duration::from_secs_f64(seconds), run.quick)?;
    let before = process_facts::load_average();
    let (mut measures, mut failures) = (Vec::new(), Vec::new());
    for row in ROWS {
        let wanted = |name: &str| match run.rows.is_empty() {
            true => !LONG.contains(&name),
            false => run.rows.iter().any(|row| row == name),
        };
        if !row.names.iter().any(|name| wanted(name)) {
            continue;
        }
        let name = row.names.join(", ");
        eprintln!("row {name} …");
        match (row.play)(&mut stage) {
            Ok(found) => measures.extend(found.into_iter().filter(|measure| wanted(measure.row))),
            Err(why) => {
                eprintln!("row {name} failed: {why:#}");
                failures.push((name, format!("{why:#}")));
            }
        }
    }
    let after = process_facts::load_average();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("\n{}", report::table(&measures));
    println!(
        "{cores} cores; load average {before} before, {after} after; each value is a median of slices taken in turns."
    );
    if let Some(path) = &run.json {
        let text = format!("{:#}\n", report::json(&measures, [&before, &after], &failures));
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    anyhow::ensure!(failures.is_empty(), "{} of the rows failed", failures.len());
    Ok(())
}

/// Finds what to measure; what is missing is said and left out.
fn programs(herd: Option<&Path>, nginx: Option<&Path>) -> Result<Programs> {
    let beside = std::env::current_exe()?.with_file_name("herd");
    let herd = match herd {
        Some(path) => Some(std::fs::canonicalize(path).with_context(|| format!("no herd at {}", path.display()))?),
        None => Some(beside).filter(|path| path.is_file()),
    };
    if herd.is_none() {
        eprintln!(
            "no herd beside this program: build it with `cargo build --release --bin herd`, or name it with --herd"
        );
    }
    let nginx = nginx.map(Path::to_owned).or_else(|| on_path("nginx"));
    if nginx.is_none() {
        eprintln!("no nginx on PATH: ratios to it are left out (`apt-get install -y nginx-light`)");
    }
    Programs::new(herd, nginx)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Administrators' programs are often not on a user's path.
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|folder| folder.join(name)).find(|file| file.is_file())
}
