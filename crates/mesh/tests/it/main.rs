//! The mesh from outside: one suite for both ways of carrying bytes, and what only real sockets can show.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod faults;
mod fleet;
mod nearby;
mod strangers;
mod suite;
