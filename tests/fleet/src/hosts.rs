//! Machines on one network, as Linux network namespaces on a bridge: real programs, real multicast, cables to pull.
//!
//! Each host has its own addresses, loopback, data directory and inference server, so that every program listens where it
//! does for people: the door on 11435, the mesh on 11441, Ollama on 11434. Needs root and `ip`; where these are missing
//! [`Lan::new`] says so and there are no hosts. Everything ends with the value that stands for it, also on a panic; what a
//! killed test left behind is removed by the next one. Names carry the process id, so that runs do not disturb each other.

mod capture;
mod deeds;
mod home;
mod host;
mod lan;
mod strikes;
mod talk;

pub use capture::Capture;
pub use deeds::{open_ports, open_udp_ports};
pub use home::Home;
pub use host::{Host, Programs};
pub use lan::{Lan, Space};
pub use strikes::{COMMON, Crowd, Strike, Struck, Toll, WHISPER};
pub use talk::{Said, Talk};

use std::time::{Duration, Instant};

/// Waits until `look` finds something, and tells how long that took; `None` after `limit`.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<(T, Duration)> {
    let start = now();
    loop {
        if let Some(found) = look() {
            return Some((found, start.elapsed()));
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The present moment.
#[allow(clippy::disallowed_methods, reason = "tests wait in real time")]
pub fn now() -> Instant {
    Instant::now()
}
