//! A program that has the screen for itself: a game that told GameMode, or an active window as large as the screen (X11
//! only: Wayland tells nobody).

use std::cell::RefCell;
use std::rc::Rc;

use super::bus::Line;
use super::wire::{Call, Value};
use super::x11::Display;
use crate::presence::{FullScreenSense, Surroundings};

pub(super) struct FullScreen {
    session: Rc<RefCell<Line>>,
    display: Option<Display>,
}

impl FullScreen {
    pub(super) fn new(around: &Surroundings, session: Rc<RefCell<Line>>) -> FullScreen {
        FullScreen { session, display: around.display.as_deref().map(Display::new) }
    }
}

impl FullScreenSense for FullScreen {
    /// That there is no game does not say that nothing fills the screen.
    fn full_screen(&mut self) -> Option<bool> {
        match self.session.borrow_mut().ask(&GAMES) {
            Some(Value::I32(1..)) => Some(true),
            _ => self.display.as_mut().and_then(Display::full_screen),
        }
    }
}

/// Not started by being asked: see the flags of a [`Call`].
const GAMES: Call<'static> = Call {
    destination: "com.feralinteractive.GameMode",
    path: "/com/feralinteractive/GameMode",
    interface: "org.freedesktop.DBus.Properties",
    member: "Get",
    arguments: &["com.feralinteractive.GameMode", "ClientCount"],
};
