//! The real program on a desktop of its own: a private X server, a private bus on which the test is the panel and the
//! notification server, and a private home. Nothing of the person's own desktop is touched.
//!
//! What is missing is said aloud, and the tests then pass without having tested anything.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod app;
mod face;
mod panel;
mod scripted;
mod session;
mod soak;
mod whole;
mod window;

use std::future::Future;
use std::time::Duration;

use session::Session;

/// Waits until `happened`; each look may be slow. The panic says what was waited for.
async fn until<F: Future<Output = bool>>(what: &str, mut happened: impl FnMut() -> F) {
    let waited = async {
        while !happened().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let patience = Duration::from_secs(30);
    assert!(tokio::time::timeout(patience, waited).await.is_ok(), "still waiting: {what}");
}

/// A desktop, or `None` and a word on what is missing.
fn desktop() -> Option<Session> {
    match Session::start() {
        Ok(session) => Some(session),
        Err(missing) => {
            eprintln!("SKIPPED: {missing}. apt-get install xvfb dbus");
            None
        }
    }
}
