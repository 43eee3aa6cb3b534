//! `herd`: runs this machine's Herd, and asks a running one.

use std::process::ExitCode;

// The system's allocator costs a request a tenth of its time (measured with perf, glibc 2.36, November 2026).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main(cli::Program::Herd, node::run)
}
