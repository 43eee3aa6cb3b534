//! The desk that a machine stands on: a camera, a microphone, a message bus with somebody in charge of sleep.
//!
//! The machine's program runs in a mount namespace where `/dev` is a folder with a file for a camera, so it looks where it
//! always looks. The sound server is PulseAudio with sources of thin air, the bus a real one with a stand-in for logind.
//! What is not installed or not allowed here is said aloud and is not there. All of it ends with the value.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Machine, Program, eventually};

/// Puts another `/dev` in place, and says when that is done. No battery of this machine is seen either.
const FURNISH: &str = r#"
    set -e
    dev="$1/dev"; mkdir "$dev" "$1/nothing"
    for name in null zero full random urandom; do
        : > "$dev/$name"; mount --bind "/dev/$name" "$dev/$name"
    done
    : > "$dev/video0"
    mount --rbind "$dev" /dev
    if [ -d /sys/class/power_supply ]; then mount --bind "$1/nothing" /sys/class/power_supply; fi
    echo furnished
    exec sleep infinity
"#;

/// Rules that look at things of the real machine.
const OTHER_RULES: [&str; 6] = ["BATTERY", "LID", "DISPLAY", "GAMES", "HEAT", "METERED"];

/// A desk.
pub struct Desk {
    // In the order in which they must end.
    programs: Vec<Program>,
    space: Program,
    home: tempfile::TempDir,
}

impl Desk {
    /// A desk with a camera. `None`, said aloud, where no namespaces can be made.
    pub fn new() -> Option<Desk> {
        if !are_here(&["unshare", "nsenter"]) {
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", FURNISH, "sh"]).arg(home.path());
        let mut space = Program(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(space.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "furnished" {
            eprintln!("SKIPPED: no namespace with devices of its own can be made here");
            return None;
        }
        Some(Desk { programs: Vec::new(), space, home })
    }

    /// With a microphone called `mouth` and a loudspeaker called `ear`. `None`, said aloud, where PulseAudio is missing.
    pub fn with_sound(mut self) -> Option<Desk> {
        if !are_here(&["pulseaudio", "parec", "pactl"]) {
            return None;
        }
        let mut command = self.at_home("pulseaudio");
        command
            .args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"])
            .arg(format!("--load=module-native-protocol-unix socket={}", self.socket().display()))
            .args(["--load=module-null-source source_name=mouth", "--load=module-null-sink sink_name=ear"]);
        self.programs.push(Program(command.spawn().unwrap()));
        eventually("the sound server", || {
            let mut list = self.at_home("pactl");
            let listed = list.args(["list", "short", "sources"]).stdout(Stdio::piped()).output().ok()?;
            String::from_utf8_lossy(&listed.stdout).contains("mouth").then_some(())
        });
        Some(self)
    }

    /// With a message bus and a stand-in for logind. `None`, said aloud, where its parts are missing.
    pub fn with_logind(mut self) -> Option<Desk> {
        let asked = Command::new("/usr/bin/python3").args(["-c", "import dbusmock"]).stderr(Stdio::null()).status();
        if !asked.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: python3-dbusmock is not installed");
            return None;
        }
        if !are_here(&["dbus-daemon", "gdbus"]) {
            return None;
        }
        let mut daemon = self.at_home("dbus-daemon");
        daemon.args(["--session", "--nofork", "--print-address"]).arg(format!("--address={}", self.bus()));
        let mut daemon = Program(daemon.stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(daemon.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.programs.push(daemon);
        let mut logind = self.at_home("/usr/bin/python3");
        logind.args(["-m", "dbusmock", "--session", "--template", "logind"]);
        self.programs.push(Program(logind.spawn().unwrap()));
        let mut wait = self.at_home("gdbus");
        wait.args(["wait", "--session", "--timeout", "60", "org.freedesktop.login1"]);
        assert!(wait.status().unwrap().success(), "no stand-in for logind came");
        Some(self)
    }

    /// Starts a machine on it, which only the rule about meetings may pause.
    pub fn machine(&self, name: &'static str, flags: &[&str], mesh: &(u16, String), vars: &[(&str, &str)]) -> Machine {
        let (server, bus) = (self.server(), self.bus());
        let off = OTHER_RULES.map(|rule| format!("FLEET_PAUSE_{rule}"));
        let mut all = vec![
            ("PULSE_SERVER", server.as_str()),
            ("DBUS_SYSTEM_BUS_ADDRESS", bus.as_str()),
            ("DBUS_SESSION_BUS_ADDRESS", bus.as_str()),
            ("DISPLAY", ""),
        ];
        all.extend(off.iter().map(|rule| (rule.as_str(), "off")));
        all.extend_from_slice(vars);
        Machine::start_by(&self.inside(), name, flags, mesh, &all)
    }

    /// A program that holds the camera until it is dropped, or for as long as `sleep` understands.
    pub fn holds_camera(&self, span: &str) -> Program {
        let inside = self.inside();
        let mut command = Command::new(&inside[0]);
        command.args(&inside[1..]).args(["sh", "-c", "exec sleep \"$0\" < /dev/video0", span]);
        Program(command.stdin(Stdio::null()).spawn().unwrap())
    }

    /// A program that records from a source of the sound server until it is dropped.
    pub fn records(&self, source: &str) -> Program {
        let mut command = self.at_home("parec");
        Program(command.args(["--device", source, "--client-name", "caller"]).spawn().unwrap())
    }

    /// What keeps this machine awake, as logind lists it.
    pub fn inhibitors(&self) -> String {
        let mut command = self.at_home("gdbus");
        command.args(["call", "--session", "--dest", "org.freedesktop.login1"]);
        command.args(["--object-path", "/org/freedesktop/login1"]);
        let told = command.args(["--method", "org.freedesktop.login1.Manager.ListInhibitors"]);
        String::from_utf8(told.stdout(Stdio::piped()).output().unwrap().stdout).unwrap()
    }

    fn inside(&self) -> Vec<String> {
        let pid = self.space.pid().to_string();
        ["nsenter", "--target", &pid, "--user", "--mount", "--preserve-credentials", "--"].map(str::to_owned).to_vec()
    }

    fn at_home(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for name in ["HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
            command.env(name, self.home.path());
        }
        command.env("PULSE_SERVER", self.server()).env("DBUS_SESSION_BUS_ADDRESS", self.bus()).env_remove("DISPLAY");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("sound")
    }

    fn server(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    fn bus(&self) -> String {
        format!("unix:path={}", self.home.path().join("bus").display())
    }
}

/// Whether `programs` are installed; says so if not.
fn are_here(programs: &[&str]) -> bool {
    let is_missing = |program: &&&str| {
        !Command::new("which").arg(program).stdout(Stdio::null()).status().is_ok_and(|is| is.success())
    };
    let missing: Vec<_> = programs.iter().filter(is_missing).collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: {missing:?} not installed");
    }
    missing.is_empty()
}
