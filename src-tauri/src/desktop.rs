//! Everything that the controller may ask of the desktop.

use tray::{Icon, Menu, Notice};

/// What the tray shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) menu: Menu,
    pub(crate) icon: Icon,
    pub(crate) tooltip: String,
}

/// What a window shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A page of the dashboard.
    Page(String),
    /// What keeps the dashboard from being shown: a title, and paragraphs.
    Notice(String, Vec<String>),
}

/// The desktop, as the controller sees it. Nothing here blocks for long, and nothing fails: what a desktop cannot do, it
/// leaves out and logs.
pub(crate) trait Desktop: Send + 'static {
    /// Shows this in the tray. Called also when only the marks of check items may have changed by a click.
    fn show(&mut self, shown: &Shown);
    /// Shows a notification.
    fn notify(&mut self, notice: &Notice);
    /// Opens the window, or brings it to the front, with this in it.
    fn open(&mut self, content: Content);
    /// Brings the window to the front; whether there is one.
    fn focus(&mut self) -> bool;
    /// Puts something else into the window, if it is open.
    fn replace(&mut self, content: Content);
    /// Whether the app starts with the session; `None`: that cannot be told.
    fn at_login(&self) -> Option<bool>;
    /// Has it start with the session, or not.
    fn set_at_login(&mut self, on: bool);
    /// Ends the app and starts it again.
    fn restart(&mut self);
    /// Ends the app. The event loop ends it; this returns.
    fn exit(&mut self);
}
