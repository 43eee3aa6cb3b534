//! What is asked over message buses: a real bus, with stand-ins for the services of a desktop.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use probe::presence::{Evidence, Surroundings};
use probe::{KeepAwake, NotHeld};

use crate::{Program, Seen, are_here, nothing};

/// A bus, and the services on it.
struct Desktop {
    address: String,
    programs: Vec<Program>,
}

impl Desktop {
    /// `None`, said aloud, where its parts are not installed.
    fn new(directory: &Path) -> Option<Desktop> {
        let has_stand_ins = || {
            let asked = Command::new("/usr/bin/python3").args(["-c", "import dbusmock"]).stderr(Stdio::null()).status();
            let is_here = asked.is_ok_and(|status| status.success());
            if !is_here {
                eprintln!("SKIPPED: python3-dbusmock not installed");
            }
            is_here
        };
        if !are_here(&["dbus-daemon", "gdbus"]) || !has_stand_ins() {
            return None;
        }
        let address = format!("unix:path={}", directory.join("bus").display());
        let mut daemon = Command::new("dbus-daemon");
        daemon.args(["--session", "--nofork", "--print-address"]).arg(format!("--address={address}"));
        let mut daemon = Program::start(daemon.stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(daemon.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Desktop { address, programs: vec![daemon] })
    }

    fn serve(&mut self, name: &str, arguments: &[&str]) {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-m", "dbusmock", "--session"]).args(arguments).env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        self.programs.push(Program::start(command.stdout(Stdio::null())));
        let mut wait = Command::new("gdbus");
        wait.args(["wait", "--session", "--timeout", "60", name]).env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        assert!(wait.status().unwrap().success(), "{name} did not come");
    }

    fn call(&self, name: &str, path: &str, method: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("gdbus");
        command.args(["call", "--session", "--dest", name, "--object-path", path, "--method", method]);
        let told = command.args(arguments).env("DBUS_SESSION_BUS_ADDRESS", &self.address).output().unwrap();
        assert!(told.status.success(), "{method}: {}", String::from_utf8_lossy(&told.stderr));
        String::from_utf8(told.stdout).unwrap()
    }

    fn around(&self, directory: &Path) -> Surroundings {
        Surroundings {
            session_bus: Some(self.address.clone()),
            system_bus: Some(self.address.clone()),
            ..nothing(directory)
        }
    }
}

const LOGIND: &str = "org.freedesktop.login1";
const LOGIND_PATH: &str = "/org/freedesktop/login1";
const NETWORK: &str = "org.freedesktop.NetworkManager";
const NETWORK_PATH: &str = "/org/freedesktop/NetworkManager";
const GAMES: &str = "com.feralinteractive.GameMode";
const GAMES_PATH: &str = "/com/feralinteractive/GameMode";
const SAVER: &str = "org.gnome.ScreenSaver";
const SAVER_PATH: &str = "/org/gnome/ScreenSaver";

#[test]
fn what_the_services_of_a_desktop_say_is_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut desktop) = Desktop::new(dir.path()) else { return };
    let set = |desktop: &Desktop, name, path, interface, property, value| {
        desktop.call(name, path, "org.freedesktop.DBus.Properties.Set", &[interface, property, value]);
    };
    let add = |desktop: &Desktop, name, path, interface, property, value| {
        desktop.call(name, path, "org.freedesktop.DBus.Mock.AddProperty", &[interface, property, value]);
    };
    desktop.serve(LOGIND, &["--template", "logind"]);
    desktop.serve(NETWORK, &[NETWORK, NETWORK_PATH, NETWORK]);
    desktop.serve(GAMES, &[GAMES, GAMES_PATH, GAMES]);
    desktop.serve(SAVER, &["--template", "gnome_screensaver"]);
    add(&desktop, LOGIND, LOGIND_PATH, "org.freedesktop.login1.Manager", "LidClosed", "<true>");
    add(&desktop, NETWORK, NETWORK_PATH, NETWORK, "Metered", "<uint32 3>");
    add(&desktop, GAMES, GAMES_PATH, GAMES, "ClientCount", "<1>");
    desktop.call(SAVER, SAVER_PATH, "org.gnome.ScreenSaver.SetActive", &["true"]);
    let session = "/org/freedesktop/login1/session/auto";
    let about = ["org.freedesktop.login1.Session", "{'LockedHint': <false>}", "@a(ssss) []"];
    let arguments = [&[session], &about[..]].concat();
    desktop.call(LOGIND, LOGIND_PATH, "org.freedesktop.DBus.Mock.AddObject", &arguments);

    let seen = Seen::new(&desktop.around(dir.path()));
    let told = |evidence: &Evidence| (evidence.lid_closed, evidence.metered, evidence.full_screen, evidence.locked);
    let evidence = seen.until("a desktop", |evidence| told(evidence) != (None, None, None, None));
    assert_eq!(told(&evidence), (Some(true), Some(true), Some(true), Some(true)));

    set(&desktop, LOGIND, LOGIND_PATH, "org.freedesktop.login1.Manager", "LidClosed", "<false>");
    set(&desktop, NETWORK, NETWORK_PATH, NETWORK, "Metered", "<uint32 2>");
    set(&desktop, GAMES, GAMES_PATH, GAMES, "ClientCount", "<0>");
    desktop.call(SAVER, SAVER_PATH, "org.gnome.ScreenSaver.SetActive", &["false"]);
    let calm = (Some(false), Some(false), None, Some(false));
    seen.until("a calm desktop", |evidence| told(evidence) == calm);

    set(&desktop, LOGIND, session, "org.freedesktop.login1.Session", "LockedHint", "<true>");
    seen.until("a locked session", |evidence| evidence.locked == Some(true));
}

#[test]
fn sleep_is_held_off_until_the_guard_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut desktop) = Desktop::new(dir.path()) else { return };
    desktop.serve(LOGIND, &["--template", "logind"]);
    let held =
        |desktop: &Desktop| desktop.call(LOGIND, LOGIND_PATH, "org.freedesktop.login1.Manager.ListInhibitors", &[]);
    let awake = KeepAwake::new(&desktop.around(dir.path()));
    let guard = awake.hold("serving 2 requests").expect("logind agrees");
    let told = held(&desktop);
    assert!(told.contains("('sleep', 'Herd', 'serving 2 requests', 'block'"), "{told}");
    drop(guard);
    // The service hears of it by the closed descriptor, in its own time.
    let ended = (0..600).any(|_| {
        let is_over = !held(&desktop).contains("Herd");
        is_over || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            false
        }
    });
    assert!(ended, "{}", held(&desktop));
}

#[test]
fn without_logind_or_where_it_says_no_nothing_is_held() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(KeepAwake::new(&nothing(dir.path())).hold("work").err(), Some(NotHeld::Nobody));
    let Some(mut desktop) = Desktop::new(dir.path()) else { return };
    assert_eq!(KeepAwake::new(&desktop.around(dir.path())).hold("work").err(), Some(NotHeld::Nobody));
    // One that knows no such call says no, as one does that asks for a password first.
    desktop.serve(LOGIND, &[LOGIND, LOGIND_PATH, "org.freedesktop.login1.Manager"]);
    assert_eq!(KeepAwake::new(&desktop.around(dir.path())).hold("work").err(), Some(NotHeld::Refused));
}
