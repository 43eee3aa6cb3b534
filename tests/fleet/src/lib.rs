//! A fleet in a box: real `herd` processes in front of stand-in or real inference servers, for end-to-end tests.
//!
//! The programs are taken from the folder that this test was built into; `cargo xtask test` builds them first.
//! Everything started here ends with the value that stands for it.

mod backdrop;
pub mod crowd;
#[cfg(target_os = "linux")]
mod desk;
#[cfg(target_os = "linux")]
pub mod hosts;
mod http;
mod machine;
mod program;
mod wire;

pub use backdrop::Backdrop;
#[cfg(target_os = "linux")]
pub use desk::Desk;
pub use http::{Answer, Exchange, ask, exchange, get, post, send};
pub use machine::{Machine, here, meshes, pair, until_all_agree};
pub use program::{Fake, Herd, Program, eventually, free_port};
pub use wire::{Wire, raw};
