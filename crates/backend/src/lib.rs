//! Finds and watches the inference servers of this machine and keeps what is known of them true.
//!
//! [`Watcher::run`] is started by the node and ends when its token is cancelled. It holds one task per [`Place`], at
//! most [`MAX_PLACES`], each with at most one question to its server at a time (four while models are described). What
//! a server answers is cut at 16 MiB. Loads and unloads are ordered through [`Handle`]. No prompt ever goes through
//! here.

mod board;
mod http;
mod llama;
mod lm_studio;
mod loads;
mod lookout;
mod meet;
mod ollama;
mod open_ai;
mod place;
mod portrait;
mod rhythm;
mod watcher;

use std::time::Duration;

use proto::Address;

pub use loads::{LoadFault, LoadedIn, Patience};
pub use place::{BadPlace, MAX_PLACES, Place};
pub use watcher::{Handle, Watcher};

/// What to watch, and what never to use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Where to look, the most important first. Doubles and what is beyond [`MAX_PLACES`] are left out.
    pub places: Vec<Place>,
    /// Whether models that an Ollama serves from elsewhere are listed.
    pub cloud_models: bool,
    /// What our own door answers in `X-Fleet-Instance`, so that it is told from another Herd in the notes.
    pub own_id: String,
}

/// How often to look.
///
/// Shorter finds changes sooner and costs the servers more; the defaults cost an idle server about one request in two
/// seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// Between two looks at a server that is up, or at a guessed port that refuses connections.
    pub alive: Duration,
    /// Between two listings of a server's models, and the longest pause while it hangs.
    pub models: Duration,
    /// Time for an answer to a look; two in a row without one and the server counts as hung.
    pub answer: Duration,
    /// Time for a connection on this machine; other hosts get four times as long.
    pub connect: Duration,
    /// First pause after a server went down; doubles up to [`Pace::alive`].
    pub restart: Duration,
    /// First pause before a port that speaks HTTP but is no inference server is asked again.
    pub foreign: Duration,
    /// The longest such pause; it doubles up to here.
    pub foreign_most: Duration,
    /// How long a guessed place that went down is shown.
    pub forget: Duration,
    /// The longest that [`Handle::first_look`] waits.
    pub first_look: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            alive: Duration::from_secs(2),
            models: Duration::from_secs(10),
            answer: Duration::from_secs(2),
            connect: Duration::from_millis(500),
            restart: Duration::from_millis(500),
            foreign: Duration::from_secs(60),
            foreign_most: Duration::from_secs(600),
            forget: Duration::from_secs(600),
            first_look: Duration::from_millis(1500),
        }
    }
}

impl Pace {
    /// Time for a connection to `address`.
    pub(crate) fn connect_to(&self, address: &Address) -> Duration {
        if address.is_loopback() { self.connect } else { self.connect.saturating_mul(4) }
    }
}

/// Something worth telling about a place that is not used; for `herd doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where, as `host:port`.
    pub place: String,
    /// What was found there, in one sentence.
    pub found: String,
}
