//! `herd-node`: a Herd that never leads, under the name that users of the earlier system start it by.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(cli::Program::HerdNode, node::run)
}
