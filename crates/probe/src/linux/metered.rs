//! What the network costs, as NetworkManager knows or guesses.

use std::cell::RefCell;
use std::rc::Rc;

use super::bus::Line;
use super::wire::{Call, Value};
use crate::presence::MeteredSense;

pub(super) struct Metered {
    system: Rc<RefCell<Line>>,
}

impl Metered {
    pub(super) fn new(system: Rc<RefCell<Line>>) -> Metered {
        Metered { system }
    }
}

impl MeteredSense for Metered {
    fn metered(&mut self) -> Option<bool> {
        match self.system.borrow_mut().ask(&METERED)? {
            // `NMMetered`: yes, guessed yes; no, guessed no; 0 is "not known".
            Value::U32(1 | 3) => Some(true),
            Value::U32(2 | 4) => Some(false),
            _ => None,
        }
    }
}

const METERED: Call<'static> = Call {
    destination: "org.freedesktop.NetworkManager",
    path: "/org/freedesktop/NetworkManager",
    interface: "org.freedesktop.DBus.Properties",
    member: "Get",
    arguments: &["org.freedesktop.NetworkManager", "Metered"],
};
