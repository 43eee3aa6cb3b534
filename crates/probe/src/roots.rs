//! Where to look.

use std::path::PathBuf;

/// Places beyond this many are not looked at.
pub(crate) const MOST_PLACES: usize = 16;

/// Where the senses look. All of it is a parameter, so that tests bring a machine made of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The directory that `proc`, `sys` and `etc` are in: `/`. Only Linux asks.
    pub system: PathBuf,
    /// Places whose disk space is wanted: the data directory, directories of models. The first 16 count.
    pub places: Vec<PathBuf>,
    /// The D-Bus address of the user's session, where there is one. Only Linux asks.
    pub session_bus: Option<String>,
    /// The D-Bus address of the system. Only Linux asks.
    pub system_bus: Option<String>,
    /// The X11 display of this machine, where the session is one of X11. Only Linux asks.
    pub display: Option<String>,
    /// Whether NVIDIA's driver may be asked.
    pub nvidia: bool,
}

impl Roots {
    /// This machine, with the environment as `var` tells it.
    pub fn new(places: Vec<PathBuf>, var: impl Fn(&str) -> Option<String>) -> Roots {
        let told = |name: &str| var(name).filter(|value| !value.is_empty());
        let session_bus = told("DBUS_SESSION_BUS_ADDRESS")
            .or_else(|| told("XDG_RUNTIME_DIR").map(|directory| format!("unix:path={directory}/bus")));
        let system_bus =
            told("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|| "unix:path=/run/dbus/system_bus_socket".to_owned());
        // An X server inside a Wayland session hears only what is meant for X11 programs. One behind a host name (ssh
        // forwards it) has somebody else's keyboard.
        let x11 = told("WAYLAND_DISPLAY").is_none() && told("XDG_SESSION_TYPE").is_none_or(|kind| kind != "wayland");
        let display = told("DISPLAY").filter(|display| x11 && display.starts_with(':'));
        Roots { system: PathBuf::from("/"), places, session_bus, system_bus: Some(system_bus), display, nvidia: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_x11_session_of_this_machine_has_a_display() {
        for (vars, display) in [
            (&[("DISPLAY", ":0")][..], Some(":0")),
            (&[("DISPLAY", ":0"), ("XDG_SESSION_TYPE", "x11")], Some(":0")),
            (&[("DISPLAY", ":0"), ("WAYLAND_DISPLAY", "wayland-0")], None),
            (&[("DISPLAY", ":0"), ("XDG_SESSION_TYPE", "wayland")], None),
            (&[("DISPLAY", "localhost:10.0")], None),
            (&[("DISPLAY", "")], None),
            (&[], None),
        ] {
            let var = |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(Roots::new(Vec::new(), var).display.as_deref(), display, "{vars:?}");
        }
    }

    #[test]
    fn the_session_bus_is_found_without_its_variable() {
        let roots = Roots::new(Vec::new(), |name| (name == "XDG_RUNTIME_DIR").then(|| "/run/user/1000".to_owned()));
        assert_eq!(roots.session_bus.as_deref(), Some("unix:path=/run/user/1000/bus"));
        assert_eq!(Roots::new(Vec::new(), |_| None).session_bus, None);
    }
}
