//! Says what the tray shows and what a click means.
//!
//! Nothing here is remembered but what was already notified ([`Told`]), and nothing looks at a clock, a file or a socket: a
//! shell reads the local API into a [`State`], shows [`menu()`], [`icon()`] and [`tooltip`] of it, and carries out the
//! [`Command`] that [`command`] makes of a click. All words come from one table per language, [`words`].

mod api;
mod click;
mod icon;
mod menu;
mod notice;
mod state;
pub mod words;

pub use api::{Answers, Local};
pub use click::{Command, Order, Page, Topic, command};
pub use icon::{Icon, icon};
pub use menu::{Kind, Menu, Row, menu, tooltip};
pub use notice::{Notice, Told};
pub use state::{Asking, Fleet, Herd, Preferences, Rules, Running, Share, Sharing, State, Until, Why};
pub use words::{Language, Say};
