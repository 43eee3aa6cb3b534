//! What the program is told when it is started.

use std::ffi::OsString;

/// What `--help` says.
pub(crate) const USAGE: &str = "\
Herd's icon in the tray, with this machine's Herd in it.

Usage: herd-desktop [--hidden]
       herd-desktop --window [URL]

      --hidden      open no window (what starting at login does)
      --window      be the window: shows what standard input names, or URL for as long as it is open
  -V, --version     print the version
  -h, --help        print this

The settings are those of `herd`: variables FLEET_*, and settings.json in the data directory.";

/// What it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Tray,
    Window,
    Help,
    Version,
}

/// The arguments, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) mode: Mode,
    /// Whether no window is opened at the start.
    pub(crate) hidden: bool,
    /// What the window shows when nobody tells it by standard input.
    pub(crate) url: Option<String>,
}

impl Arguments {
    /// Reads `given`, without the program's own name. The error is a sentence.
    pub(crate) fn parse(given: impl IntoIterator<Item = OsString>) -> Result<Arguments, String> {
        let mut arguments = Arguments { mode: Mode::Tray, hidden: false, url: None };
        for argument in given {
            match argument.to_string_lossy().as_ref() {
                "--hidden" => arguments.hidden = true,
                "--window" => arguments.mode = Mode::Window,
                "-h" | "--help" => arguments.mode = Mode::Help,
                "-V" | "--version" => arguments.mode = Mode::Version,
                url if arguments.mode == Mode::Window && url.starts_with("http://") && arguments.url.is_none() => {
                    arguments.url = Some(url.to_owned());
                }
                // Finder gives the programs that it starts a number.
                number if cfg!(target_os = "macos") && number.starts_with("-psn_") => {}
                other => return Err(format!("`{other}` is not understood")),
            }
        }
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read() {
        let tray = |hidden| Ok(Arguments { mode: Mode::Tray, hidden, url: None });
        let window =
            |url: Option<&str>| Ok(Arguments { mode: Mode::Window, hidden: false, url: url.map(str::to_owned) });
        for (given, expected) in [
            ("", tray(false)),
            ("--hidden", tray(true)),
            ("--window", window(None)),
            ("--window http://127.0.0.1:1/dashboard", window(Some("http://127.0.0.1:1/dashboard"))),
            ("--window file:///etc/passwd", Err("`file:///etc/passwd` is not understood".to_owned())),
            ("http://a", Err("`http://a` is not understood".to_owned())),
        ] {
            let read = Arguments::parse(given.split_whitespace().map(OsString::from));
            assert_eq!(read, expected, "{given}");
        }
    }
}
