//! Five machines on one network: they find each other, pair, agree on a leader, lose and find each other again, and let
//! nobody else in. Real programs in network namespaces; skipped, and said so, where these cannot be made.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

#[path = "hosts/network.rs"]
mod network;
