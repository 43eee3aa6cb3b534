//! Keeps the machine awake: logind does not suspend it while somebody holds a descriptor of "sleep".

use std::os::fd::OwnedFd;

use super::bus::{Bus, PATIENCE};
use super::wire::{Call, Value};
use crate::NotHeld;
use crate::presence::Surroundings;

const LOGIND: &str = "org.freedesktop.login1";

/// The descriptor, which ends the hold when it is closed.
#[derive(Debug)]
pub(crate) struct Hold(#[expect(dead_code, reason = "held, not looked at")] OwnedFd);

impl Hold {
    pub(crate) fn new(around: &Surroundings, reason: &str) -> Result<Hold, NotHeld> {
        // Strings of a message are without zero bytes, and this one need not be long.
        let reason: String = reason.chars().filter(|letter| *letter != '\0').take(128).collect();
        let address = around.system_bus.as_deref().ok_or(NotHeld::Nobody)?;
        let mut bus = Bus::connect_for_descriptors(address, PATIENCE).map_err(|_| NotHeld::Nobody)?;
        let is_there = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "NameHasOwner",
            arguments: &[LOGIND],
        };
        if let Ok(Value::Bool(false)) = bus.ask(&is_there) {
            return Err(NotHeld::Nobody);
        }
        let call = Call {
            destination: LOGIND,
            path: "/org/freedesktop/login1",
            interface: "org.freedesktop.login1.Manager",
            member: "Inhibit",
            arguments: &["sleep", "Herd", &reason, "block"],
        };
        bus.ask_for_descriptor(&call).map(Hold).map_err(|_| NotHeld::Refused)
    }
}
