//! Keeps the machine awake: logind does not suspend it while somebody holds a descriptor of "sleep".

use std::os::fd::OwnedFd;

use super::bus::{Bus, PATIENCE};
use super::wire::Call;
use crate::presence::Surroundings;

/// The descriptor, which ends the hold when it is closed.
#[derive(Debug)]
pub(crate) struct Hold(#[expect(dead_code, reason = "held, not looked at")] OwnedFd);

impl Hold {
    pub(crate) fn new(around: &Surroundings, reason: &str) -> Option<Hold> {
        // Strings of a message are without zero bytes, and this one need not be long.
        let reason: String = reason.chars().filter(|letter| *letter != '\0').take(128).collect();
        let mut bus = Bus::connect_for_descriptors(around.system_bus.as_deref()?, PATIENCE).ok()?;
        let call = Call {
            destination: "org.freedesktop.login1",
            path: "/org/freedesktop/login1",
            interface: "org.freedesktop.login1.Manager",
            member: "Inhibit",
            arguments: &["sleep", "Herd", &reason, "block"],
        };
        bus.ask_for_descriptor(&call).ok().map(Hold)
    }
}
