//! Idle time as an X server counts it, by its screen saver extension.

use std::time::Duration;

use x11rb::connection::Connection as _;
use x11rb::protocol::screensaver::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

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
        if self.connection.is_none() {
            let (connection, screen) = x11rb::connect(Some(&self.name)).ok()?;
            let root = connection.setup().roots.get(screen)?.root;
            self.connection = Some((connection, root));
        }
        let (connection, root) = self.connection.as_ref()?;
        let asked = connection.screensaver_query_info(*root).ok().and_then(|reply| reply.reply().ok());
        if asked.is_none() {
            self.connection = None;
        }
        asked.map(|told| Duration::from_millis(told.ms_since_user_input.into()))
    }
}
