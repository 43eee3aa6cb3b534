//! The lid: logind knows, else the kernel's own file does.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use super::bus::Line;
use super::files;
use super::wire::{Call, Value};
use crate::presence::{LidSense, Surroundings};

pub(super) struct Lid {
    system: Rc<RefCell<Line>>,
    buttons: PathBuf,
}

impl Lid {
    pub(super) fn new(around: &Surroundings, system: Rc<RefCell<Line>>) -> Lid {
        Lid { system, buttons: around.system.join("proc/acpi/button/lid") }
    }
}

impl LidSense for Lid {
    fn lid_closed(&mut self) -> Option<bool> {
        if let Some(Value::Bool(closed)) = self.system.borrow_mut().ask(&LID) {
            return Some(closed);
        }
        let states = files::entries(&self.buttons)?;
        let state = states.iter().find_map(|lid| files::text(&lid.join("state")))?;
        match state.split_whitespace().last()? {
            "open" => Some(false),
            "closed" => Some(true),
            _ => None,
        }
    }
}

/// org.freedesktop.login1(5): false on a machine without a lid.
const LID: Call<'static> = Call {
    destination: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.DBus.Properties",
    member: "Get",
    arguments: &["org.freedesktop.login1.Manager", "LidClosed"],
};
