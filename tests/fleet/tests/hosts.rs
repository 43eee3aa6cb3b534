//! Machines on one network: they find each other, pair, agree on a leader, lose and find each other again, and let nobody
//! else in. Real programs in network namespaces; skipped, and said so, where these cannot be made.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

#[path = "hosts/members.rs"]
mod members;
#[path = "hosts/network.rs"]
mod network;
#[path = "hosts/pairing.rs"]
mod pairing;
#[path = "hosts/strangers.rs"]
mod strangers;
#[path = "hosts/travel.rs"]
mod travel;
#[path = "hosts/trouble.rs"]
mod trouble;
