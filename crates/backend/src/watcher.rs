//! The task that watches, and the handle through which it is asked.

use std::fmt;
use std::sync::Arc;

use proto::{BackendId, Clock};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::board::{Board, OnChange};
use crate::lookout::Lookout;
use crate::{MAX_PLACES, Note, Pace, Patience, Place, Settings};

/// Watches the places of its [`Settings`] while it runs.
pub struct Watcher {
    board: Arc<Board>,
    pace: Pace,
    clock: Clock,
    own_id: String,
    cloud_models: bool,
}

/// Asks the running [`Watcher`] to look sooner, and for what it noticed; orders loads and unloads. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Clock,
    pub(crate) own_id: Arc<str>,
    pub(crate) patience: Patience,
}

impl Watcher {
    /// Prepares to watch; nothing is asked before [`Watcher::run`].
    ///
    /// `on_change` is called from the watcher's tasks, one call at a time, with all backends sorted by id, and only when
    /// something about one of them changed; for the first time when the first look has ended. It must not block.
    pub fn new(settings: Settings, clock: Clock, on_change: OnChange) -> (Watcher, Handle) {
        let board = Arc::new(Board::new(distinct(settings.places), on_change));
        let Settings { cloud_models, own_id, .. } = settings;
        let (own_name, patience) = (own_id.as_str().into(), Patience::default());
        let handle = Handle { board: Arc::clone(&board), clock, own_id: own_name, patience };
        let watcher = Watcher { board, pace: Pace::default(), clock, own_id, cloud_models };
        (watcher.with_pace(Pace::default()), handle)
    }

    /// Looks at another pace than the usual one.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Watcher {
        self.board.limit_first_look(pace.first_look);
        self.pace = pace;
        self
    }

    /// Watches until `stop` is cancelled; returns when every task has ended. Dropping it ends them, too.
    pub async fn run(self, stop: CancellationToken) {
        let Watcher { board, pace, clock, own_id, cloud_models } = self;
        let mut tasks = JoinSet::new();
        for (at, place) in board.places().enumerate() {
            let lookout = Lookout::new(at, place, Arc::clone(&board), &pace, clock, &own_id, cloud_models);
            let stop = stop.clone();
            tasks.spawn(async move { stop.run_until_cancelled_owned(lookout.watch()).await });
        }
        if tasks.is_empty() {
            board.settle();
        }
        tasks.spawn(async move {
            let first_look = async {
                let _ = timeout(pace.first_look, board.settled().wait_for(|settled| *settled)).await;
                board.settle();
            };
            stop.run_until_cancelled(first_look).await
        });
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a place is not watched any more");
            }
        }
    }
}

impl Handle {
    /// Its models changed (pulled, deleted, loaded): list them now. Does nothing for an id nobody has.
    pub fn refresh(&self, id: &BackendId) {
        self.board.ask(id, true);
    }

    /// A request there failed: look now whether it is still up. Does nothing for an id nobody has.
    pub fn suspect(&self, id: &BackendId) {
        self.board.ask(id, false);
    }

    /// Looks at every place now, also where something else was found.
    pub fn refresh_all(&self) {
        self.board.ask_all();
    }

    /// Waits until every place was looked at once, or [`Pace::first_look`] (1.5 seconds) is over, whether the watcher
    /// runs or not. May be dropped half-way.
    pub async fn first_look(&self) {
        let _ = timeout(self.board.first_look(), self.board.settled().wait_for(|settled| *settled)).await;
    }

    /// What was found that is not used, sorted by place.
    pub fn notes(&self) -> Vec<Note> {
        self.board.notes()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

/// The places without doubles; the owner's word about one counts wherever in the list it stands.
fn distinct(places: Vec<Place>) -> Vec<Place> {
    let mut kept: Vec<Place> = Vec::new();
    for place in places {
        match kept.iter().position(|other| same_server(other, &place)) {
            Some(at) if place.given && !kept[at].given => kept[at] = place,
            Some(_) => {}
            None if kept.len() == MAX_PLACES => {
                tracing::warn!(place = %place.address, limit = MAX_PLACES, "too many places to watch; this one is left out");
            }
            None => kept.push(place),
        }
    }
    kept
}

/// Whether two places are one server, as far as that can be told from their addresses.
fn same_server(a: &Place, b: &Place) -> bool {
    let (a, b) = (&a.address, &b.address);
    a == b
        || (a.port == b.port
            && a.base_path == b.base_path
            && a.is_loopback()
            && b.is_loopback()
            && a.host != "::1"
            && b.host != "::1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_watched_once() {
        let places = ["127.0.0.1:8080", "gpu:8080", "localhost:8080?slots=3", "127.0.0.1:8081", "[::1]:8080"];
        let mut places: Vec<Place> = places.iter().map(|text| Place::parse(text).unwrap()).collect();
        places[0].given = false;
        let kept: Vec<String> = distinct(places).iter().map(|place| place.address.authority()).collect();
        assert_eq!(kept, ["localhost:8080", "gpu:8080", "127.0.0.1:8081", "[::1]:8080"]);
        let many = (1..=100).map(|port| Place::parse(&format!("gpu:{port}")).unwrap()).collect();
        assert_eq!(distinct(many).len(), MAX_PLACES);
    }
}
