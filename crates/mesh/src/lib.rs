//! Carries messages and HTTP between authenticated nodes; finds them; pairs them.

mod base32;
mod files;
mod gate;
#[cfg(test)]
mod golden;
mod hello;
mod key;
mod secret;

pub use files::FileError;
pub use hello::{Hello, VERSIONS};
pub use key::{Identity, NodeKey, NotAKey};
pub use secret::{FleetSecret, Secrets};
