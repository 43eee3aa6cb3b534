//! What an X server knows: idle time, by its screen saver extension, and whether the active window fills the screen.

use std::time::Duration;

use x11rb::connection::Connection as _;
use x11rb::protocol::screensaver::ConnectionExt as _;
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _};
use x11rb::rust_connection::RustConnection;

/// States of a window that are looked at; there are a dozen kinds.
const MOST_STATES: u32 = 64;

/// A connection that is made when it is first needed, and again after it was lost.
pub(super) struct Display {
    name: String,
    connection: Option<(RustConnection, u32)>,
}

impl Display {
    pub(super) fn new(name: &str) -> Display {
        Display { name: name.to_owned(), connection: None }
    }

    /// Time since the last input of any kind.
    pub(super) fn idle(&mut self) -> Option<Duration> {
        let asked = self.ask(|connection, root| connection.screensaver_query_info(root).ok()?.reply().ok());
        asked.map(|told| Duration::from_millis(told.ms_since_user_input.into()))
    }

    /// Whether the active window fills the screen, as far as the window manager tells (EWMH 1.5, `_NET_ACTIVE_WINDOW`,
    /// `_NET_WM_STATE`).
    pub(super) fn full_screen(&mut self) -> Option<bool> {
        // A window may go between two questions, which is an error of the answer and not of the connection.
        self.ask(|connection, root| {
            let atom = |name: &[u8]| Some(connection.intern_atom(true, name).ok()?.reply().ok()?.atom);
            let property = |window, property, kind: AtomEnum| {
                connection.get_property(false, window, property, kind, 0, MOST_STATES).ok()?.reply().ok()
            };
            let active = property(root, atom(b"_NET_ACTIVE_WINDOW")?, AtomEnum::WINDOW)?;
            let active = active.value32().and_then(|mut windows| windows.next());
            let Some(window) = active else { return Some(None) };
            let (kind, filled) = (atom(b"_NET_WM_STATE")?, atom(b"_NET_WM_STATE_FULLSCREEN")?);
            let states = if window == 0 { None } else { property(window, kind, AtomEnum::ATOM) };
            Some(Some(states.is_some_and(|states| {
                states.value32().is_some_and(|mut states| states.any(|state| state == filled && state != 0))
            })))
        })
        .flatten()
    }

    /// What `question` gets to know. The connection is made anew after one that failed.
    fn ask<T>(&mut self, question: impl FnOnce(&RustConnection, u32) -> Option<T>) -> Option<T> {
        if self.connection.is_none() {
            let (connection, screen) = x11rb::connect(Some(&self.name)).ok()?;
            let root = connection.setup().roots.get(screen)?.root;
            self.connection = Some((connection, root));
        }
        let (connection, root) = self.connection.as_ref()?;
        let told = question(connection, *root);
        if told.is_none() {
            self.connection = None;
        }
        told
    }
}
