//! The lock of the screen: the session's hint to logind, or what the desktop's screen saver says.

use std::cell::RefCell;
use std::rc::Rc;

use super::bus::Line;
use super::wire::{Call, Value};
use crate::presence::LockSense;

pub(super) struct Lock {
    session: Rc<RefCell<Line>>,
    system: Rc<RefCell<Line>>,
}

impl Lock {
    pub(super) fn new(session: Rc<RefCell<Line>>, system: Rc<RefCell<Line>>) -> Lock {
        Lock { session, system }
    }
}

impl LockSense for Lock {
    /// Some desktops keep one of them only, so any "yes" counts.
    fn locked(&mut self) -> Option<bool> {
        let asked = [(&self.system, &HINT), (&self.session, &GNOME), (&self.session, &OTHERS)];
        let told = asked.into_iter().filter_map(|(bus, call)| match bus.borrow_mut().ask(call) {
            Some(Value::Bool(locked)) => Some(locked),
            _ => None,
        });
        told.reduce(|one, other| one || other)
    }
}

/// The session of whoever asks, or of the user's screen.
const HINT: Call<'static> = Call {
    destination: "org.freedesktop.login1",
    path: "/org/freedesktop/login1/session/auto",
    interface: "org.freedesktop.DBus.Properties",
    member: "Get",
    arguments: &["org.freedesktop.login1.Session", "LockedHint"],
};

const GNOME: Call<'static> = Call {
    destination: "org.gnome.ScreenSaver",
    path: "/org/gnome/ScreenSaver",
    interface: "org.gnome.ScreenSaver",
    member: "GetActive",
    arguments: &[],
};

const OTHERS: Call<'static> = Call {
    destination: "org.freedesktop.ScreenSaver",
    path: "/org/freedesktop/ScreenSaver",
    interface: "org.freedesktop.ScreenSaver",
    member: "GetActive",
    arguments: &[],
};
