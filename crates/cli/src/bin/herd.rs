//! `herd`: runs this machine's Herd, and asks a running one.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(cli::Program::Herd, node::run)
}
