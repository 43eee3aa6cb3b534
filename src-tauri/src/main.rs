//! `herd-desktop`: Herd's icon in the tray, and its window.
//!
//! Without arguments it is the tray, with the node in the same process, or the face of a `herd` that already runs. With
//! `--window` it is the window, a process of its own, so that closing it gives back all that a webview takes.

#![cfg_attr(all(windows, not(debug_assertions)), windows_subsystem = "windows")]

mod app;
mod arguments;
mod client;
mod clock;
mod controller;
mod desktop;
mod environment;
mod finding;
mod pictures;
mod preferences;
mod window;

use std::process::ExitCode;

use arguments::{Arguments, Mode};

/// The app as `tauri.conf.json` describes it, with the page and the icon that are built in.
#[allow(clippy::disallowed_methods, reason = "what the macro makes ends the process where it cannot find itself")]
fn context() -> tauri::Context {
    tauri::generate_context!()
}

fn main() -> ExitCode {
    environment::prepare();
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match arguments.mode {
        Mode::Help => {
            println!("{}", arguments::USAGE);
            ExitCode::SUCCESS
        }
        Mode::Version => {
            println!("herd-desktop {}", proto::VERSION);
            ExitCode::SUCCESS
        }
        Mode::Window | Mode::Tray if !environment::has_display() => {
            eprintln!("There is no display to show anything on. `herd` runs this machine's Herd without one.");
            ExitCode::FAILURE
        }
        Mode::Window => window::page::run(arguments.url),
        Mode::Tray => app::run(arguments.hidden),
    }
}
