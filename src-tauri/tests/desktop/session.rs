//! A private desktop: an X server, a bus, a home. Ends with its value.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// The desktop.
pub(crate) struct Session {
    home: TempDir,
    display: String,
    pub(crate) bus: String,
    _programs: [Killed; 2],
}

/// A program that is killed when this is dropped.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Session {
    /// Starts it; the error names the program that is missing.
    pub(crate) fn start() -> Result<Session, String> {
        let home = tempfile::tempdir().unwrap();
        let runtime = home.path().join("run");
        std::fs::create_dir(&runtime).unwrap();
        set_private(&runtime);
        let mut x = Command::new("Xvfb");
        x.args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"]);
        let (x, number) = started(&mut x)?;
        let mut bus = Command::new("dbus-daemon");
        bus.args(["--session", "--nofork", "--nopidfile", "--print-address=1"]);
        bus.arg(format!("--address=unix:dir={}", runtime.display())).env("HOME", home.path());
        let (bus, address) = started(&mut bus)?;
        Ok(Session { home, display: format!(":{number}"), bus: address, _programs: [x, bus] })
    }

    /// The data directory of the Herd here.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Where programs that start with the session are listed.
    pub(crate) fn autostart(&self) -> PathBuf {
        self.home.path().join(".config/autostart")
    }

    /// Gives `command` this desktop, and nothing of the person's own.
    pub(crate) fn dress<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let home = self.home.path();
        let own = ["PATH", "LANG", "RUST_BACKTRACE", "CARGO_MANIFEST_DIR"];
        let kept: Vec<_> = std::env::vars_os().filter(|(name, _)| own.iter().any(|own| name == own)).collect();
        command
            .env_clear()
            .envs(kept)
            .env("HOME", home)
            .env("TMPDIR", home)
            .env("XDG_RUNTIME_DIR", home.join("run"))
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("XDG_DATA_HOME", home.join("share"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("DISPLAY", &self.display)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .env("GDK_BACKEND", "x11")
            .env("NO_AT_BRIDGE", "1")
            .env("FLEET_DATA_DIR", self.data())
            .env("FLEET_MDNS", "off")
            .env("FLEET_MESH_PORT", "0")
            .env("FLEET_NODE_ID", "test-machine")
            .env("FLEET_LOCAL_DISCOVERY", "off")
    }
}

/// Starts `command` and reads the one line that it says when it is ready.
fn started(command: &mut Command) -> Result<(Killed, String), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|error| format!("{name} cannot be started ({error})"))?;
    let output = child.stdout.take().unwrap();
    let child = Killed(child);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).map_err(|error| format!("{name} says nothing ({error})"))?;
    let line = line.trim().to_owned();
    if line.is_empty() { Err(format!("{name} does not start here")) } else { Ok((child, line)) }
}

fn set_private(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
}
