//! What the store promises, seen from outside: through its handle and through the files it leaves.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod adoption;
mod fixture;
mod journals;
mod lasting;
mod published;
mod reports;
mod trouble;
