//! `herd-node`: a Herd that never leads, under the name that users of the earlier system start it by.

use std::process::ExitCode;

// The system's allocator costs a request a tenth of its time (measured with perf, glibc 2.36, November 2026).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main(cli::Program::HerdNode, node::run)
}
