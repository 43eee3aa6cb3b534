//! Where the watch looks.

use std::path::{Path, PathBuf};

use crate::Roots;

/// Where the watch looks. All of it is a parameter, so that tests bring devices made of files and buses of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The directory that `sys`, `run` and `proc/acpi` are in: `/`. Only Linux asks.
    pub system: PathBuf,
    /// The directory of devices, `/dev`, with cameras named `video…` and sound in `snd`. Only Linux asks.
    pub devices: PathBuf,
    /// The directory of processes, `/proc`, which tells who holds a device. Only Linux asks.
    pub processes: PathBuf,
    /// The directory of sound cards, `/proc/asound`. Only Linux asks.
    pub sound_cards: PathBuf,
    /// The sound server of the user, where there is one. Only Linux asks.
    pub pulse: Option<Pulse>,
    /// The D-Bus address of the user's session, where there is one. Only Linux asks.
    pub session_bus: Option<String>,
    /// The D-Bus address of the system. Only Linux asks.
    pub system_bus: Option<String>,
    /// The X11 display of this machine, where the session is one of X11. Only Linux asks.
    pub display: Option<String>,
    /// The key below `HKEY_CURRENT_USER` where the system notes who uses which device. Only Windows asks.
    pub consent: String,
    /// The process that does not count, nor its children: this one. 0: all count.
    pub own: u32,
}

/// A sound server that speaks PulseAudio's protocol: PulseAudio or PipeWire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Its socket.
    pub socket: PathBuf,
    /// Files that may hold the word that lets in; the first that can be read counts. A server of the same user asks for
    /// none.
    pub cookies: Vec<PathBuf>,
}

impl Surroundings {
    /// This machine, with the environment as `var` tells it.
    pub fn new(var: impl Fn(&str) -> Option<String>) -> Surroundings {
        let roots = Roots::new(Vec::new(), &var);
        Surroundings {
            system: roots.system,
            devices: PathBuf::from("/dev"),
            processes: PathBuf::from("/proc"),
            sound_cards: PathBuf::from("/proc/asound"),
            pulse: pulse(&var),
            session_bus: roots.session_bus,
            system_bus: roots.system_bus,
            display: roots.display,
            consent: r"Software\Microsoft\Windows\CurrentVersion\CapabilityAccessManager\ConsentStore".to_owned(),
            own: std::process::id(),
        }
    }

    /// The same as roots of the senses that are not of presence.
    #[cfg(target_os = "linux")]
    pub(crate) fn roots(&self) -> Roots {
        Roots {
            system: self.system.clone(),
            places: Vec::new(),
            session_bus: self.session_bus.clone(),
            system_bus: self.system_bus.clone(),
            display: self.display.clone(),
            nvidia: false,
        }
    }
}

/// The server that programs of this user speak to (pulse-client.conf(5), "default-server").
fn pulse(var: impl Fn(&str) -> Option<String>) -> Option<Pulse> {
    let told = |name: &str| var(name).filter(|value| !value.is_empty());
    let socket = match told("PULSE_SERVER") {
        Some(servers) => servers.split_whitespace().find_map(local)?,
        None => told("PULSE_RUNTIME_PATH")
            .map(|directory| Path::new(&directory).join("native"))
            .or_else(|| told("XDG_RUNTIME_DIR").map(|directory| Path::new(&directory).join("pulse/native")))?,
    };
    let home = told("HOME").map(PathBuf::from);
    let configuration = told("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".config")));
    let cookies = [
        told("PULSE_COOKIE").map(PathBuf::from),
        configuration.map(|directory| directory.join("pulse/cookie")),
        home.map(|directory| directory.join(".pulse-cookie")),
    ];
    Some(Pulse { socket, cookies: cookies.into_iter().flatten().collect() })
}

/// The socket of a server on this machine, like `unix:/run/x` or `{machine-id}unix:/run/x`.
fn local(server: &str) -> Option<PathBuf> {
    let server = match server.strip_prefix('{') {
        Some(rest) => rest.split_once('}')?.1,
        None => server,
    };
    let path = server.strip_prefix("unix:").unwrap_or(server);
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sound_server_is_where_programs_of_the_user_look_for_it() {
        for (vars, socket) in [
            (&[("XDG_RUNTIME_DIR", "/run/user/1")][..], Some("/run/user/1/pulse/native")),
            (&[("XDG_RUNTIME_DIR", "/r"), ("PULSE_RUNTIME_PATH", "/p")], Some("/p/native")),
            (&[("XDG_RUNTIME_DIR", "/r"), ("PULSE_SERVER", "unix:/s")], Some("/s")),
            (&[("PULSE_SERVER", "tcp:far:4713 {0f}unix:/s")], Some("/s")),
            (&[("PULSE_SERVER", "/s")], Some("/s")),
            // Somebody else's microphone.
            (&[("XDG_RUNTIME_DIR", "/r"), ("PULSE_SERVER", "far.example")], None),
            (&[], None),
        ] {
            let var = |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(pulse(var).map(|pulse| pulse.socket), socket.map(PathBuf::from), "{vars:?}");
        }
    }

    #[test]
    fn the_word_that_lets_in_is_looked_for_where_programs_of_the_user_do() {
        let var = |name: &str| match name {
            "PULSE_SERVER" => Some("unix:/s".to_owned()),
            "HOME" => Some("/home/a".to_owned()),
            _ => None,
        };
        let expected = ["/home/a/.config/pulse/cookie", "/home/a/.pulse-cookie"].map(PathBuf::from);
        assert_eq!(pulse(var).unwrap().cookies, expected);
    }
}
