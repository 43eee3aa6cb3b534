//! The feed: server-sent events that tell everything once, and from then on what changed, at most five times a second.
//!
//! Nobody is told anything by anybody: each listener looks when its time has come, and those who come meanwhile share what
//! it saw. With the last listener everything that was seen is forgotten.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use proto::Moment;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::look::Parts;
use super::merge;
use crate::door::Door;
use crate::fleet::View;

/// Listeners at once; the next one is refused.
pub(super) const MOST_LISTENERS: usize = 32;
/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(200);
/// Silence after which listeners are told that there is nothing to tell.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a listener waits for what another one looks at.
const PATIENCE: Duration = Duration::from_secs(6);
/// Time between two events of the earlier system's feed.
const WHOLE_PERIOD: Duration = Duration::from_secs(2);

/// What all listeners share.
pub(crate) struct Feed {
    listeners: AtomicUsize,
    versions: AtomicU64,
    /// Whoever takes this looks.
    parts: Mutex<Option<Parts>>,
    latest: watch::Sender<Option<Look>>,
    closing: CancellationToken,
}

/// What was seen at one time.
#[derive(Clone)]
struct Look {
    taken: Moment,
    version: u64,
    whole: Arc<Map<String, Value>>,
    /// The event that makes this of the version before, where that was seen.
    delta: Option<Bytes>,
}

impl Default for Feed {
    fn default() -> Feed {
        Feed {
            listeners: AtomicUsize::new(0),
            versions: AtomicU64::new(0),
            parts: Mutex::new(Some(Parts::default())),
            latest: watch::Sender::new(None),
            closing: CancellationToken::new(),
        }
    }
}

impl Feed {
    /// Ends all feeds: the door closes.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    fn put_back(&self, parts: Parts) {
        *self.parts.lock().unwrap_or_else(PoisonError::into_inner) = Some(parts);
    }
}

/// The feed of the page: `snapshot`, then `delta`s, each with the number of its version; and `heartbeat`s.
/// `None`: there are too many listeners.
pub(super) fn deltas(door: &Arc<Door>) -> Option<Body> {
    let listener = Listener { seat: Seat::take(door)?, seen: None, told: door.clock().now() };
    Some(body(listener, |mut listener| async move { Some((listener.next().await, listener)) }))
}

/// The documented feed of the earlier system. `None`: there are too many listeners.
pub(super) fn wholes(door: &Arc<Door>) -> Option<Body> {
    let seat = Seat::take(door)?;
    Some(body((seat, false), |(seat, waits)| async move {
        if waits {
            tokio::time::sleep(WHOLE_PERIOD).await;
        }
        let status = seat.0.fleet().view(View::FleetStatus).await.ok()?;
        let status: Value = serde_json::from_slice(&status).ok()?;
        let shown = json!({ "nodes": status["nodes"], "queues": status["queues"], "timestamp": status["timestamp"] });
        Some((Bytes::from(format!("data: {shown}\n\n")), (seat, true)))
    }))
}

/// Events as `next` makes them, until the client leaves or the door closes.
fn body<S, N, F>(state: S, next: N) -> Body
where
    S: Seated + Send + 'static,
    N: Fn(S) -> F + Send + 'static,
    F: Future<Output = Option<(Bytes, S)>> + Send + 'static,
{
    let closing = state.door().feed().closing.clone();
    let events = stream::unfold((state, next), |(state, next)| async move {
        let (event, state) = next(state).await?;
        Some((Ok::<_, Infallible>(event), (state, next)))
    });
    Body::from_stream(futures_util::StreamExt::take_until(events, closing.cancelled_owned()))
}

/// One of the places for listeners.
struct Seat(Arc<Door>);

impl Seat {
    fn take(door: &Arc<Door>) -> Option<Seat> {
        let seat = Seat(door.clone());
        // Counted first: the seat gives its number back however this ends.
        let before = door.feed().listeners.fetch_add(1, Ordering::AcqRel);
        (before < MOST_LISTENERS).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let feed = self.0.feed();
        if feed.listeners.fetch_sub(1, Ordering::AcqRel) == 1 {
            feed.latest.send_replace(None);
            feed.put_back(Parts::default());
        }
    }
}

trait Seated {
    fn door(&self) -> &Arc<Door>;
}

impl Seated for (Seat, bool) {
    fn door(&self) -> &Arc<Door> {
        &self.0.0
    }
}

impl Seated for Listener {
    fn door(&self) -> &Arc<Door> {
        &self.seat.0
    }
}

struct Listener {
    seat: Seat,
    seen: Option<Look>,
    /// When it was last told something.
    told: Moment,
}

impl Listener {
    async fn next(&mut self) -> Bytes {
        loop {
            if self.seen.is_some() {
                tokio::time::sleep(PERIOD).await;
            }
            let look = fresh(&self.seat.0).await;
            let now = self.seat.0.clock().now();
            if let Some(event) = look.and_then(|look| self.told_of(look)) {
                self.told = now;
                return event;
            }
            if now.since(self.told) >= HEARTBEAT {
                self.told = now;
                return Bytes::from_static(b"event: heartbeat\ndata: {}\n\n");
            }
        }
    }

    /// What this listener has to be told of `look`.
    fn told_of(&mut self, look: Look) -> Option<Bytes> {
        let event = match &self.seen {
            None => Some(event("snapshot", look.version, &look.whole)),
            Some(seen) if seen.version == look.version => None,
            Some(seen) if seen.version + 1 == look.version && look.delta.is_some() => look.delta.clone(),
            Some(seen) => merge::patch(&seen.whole, &look.whole).map(|patch| event("delta", look.version, &patch)),
        };
        self.seen = Some(look);
        event
    }
}

fn event(kind: &str, version: u64, data: &Map<String, Value>) -> Bytes {
    let data = serde_json::to_string(data).expect("text of JSON values");
    Bytes::from(format!("id: {version}\nevent: {kind}\ndata: {data}\n\n"))
}

/// What was seen within the last period, by whomever. `None`: another listener looks and takes too long.
async fn fresh(door: &Arc<Door>) -> Option<Look> {
    let feed = door.feed();
    let now = door.clock().now();
    let latest = feed.latest.borrow().clone();
    if let Some(look) = latest.as_ref().filter(|look| now.since(look.taken) < PERIOD) {
        return Some(look.clone());
    }
    let mut news = feed.latest.subscribe();
    let parts = feed.parts.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(parts) = parts else {
        let _ = tokio::time::timeout(PATIENCE, news.changed()).await;
        return feed.latest.borrow().clone();
    };
    // Put back also where the listener leaves in the middle of its look.
    let mut looking = Looking { feed, parts };
    let whole = looking.parts.look(door, now).await;
    let look = match latest {
        Some(before) if *before.whole == whole => Look { taken: now, ..before },
        before => {
            let version = feed.versions.fetch_add(1, Ordering::Relaxed) + 1;
            let changes = before.and_then(|before| merge::patch(&before.whole, &whole));
            let delta = changes.map(|changes| event("delta", version, &changes));
            Look { taken: now, version, whole: Arc::new(whole), delta }
        }
    };
    feed.latest.send_replace(Some(look.clone()));
    Some(look)
}

struct Looking<'a> {
    feed: &'a Feed,
    parts: Parts,
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.feed.put_back(std::mem::take(&mut self.parts));
    }
}
