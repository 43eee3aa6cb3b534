//! The memory of the fleet: this node gives others what they lack of the journals it holds, and asks for what it lacks.
//!
//! Whoever holds something new says so ([`proto::wire::Envelope::News`]): a moment after it recorded requests itself, later
//! if it only took them from somebody. Whoever holds something else then asks with `POST /mesh/journal`, a few members at
//! a time. Guests get nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use mesh::roster::Roster;
use mesh::{Body, Mesh, NodeKey, Transport as _};
use proto::wire::{Envelope, MAX_BATCH, MAX_ENTRIES, MAX_VECTOR, Vector};
use proto::{Moment, NodeId, Role};
use store::{Merged, News, Store};
use tokio::sync::{Semaphore, watch};

use super::driver::{Driver, Errand};
use super::known::{id, key, role};
use super::papers::Membership;
use super::party::Party;

/// Where entries are asked for on the mesh.
pub(crate) const PATH: &str = "/mesh/journal";

/// How long after requests were recorded others are told. With the time until rows are stored and the time between two
/// questions it makes the second that the loss of a machine may cost.
const SOON: Duration = Duration::from_millis(250);
/// How long after others' entries came others are told: most have them already from where they came.
const LATER: Duration = Duration::from_secs(5);
/// Time between two questions to one member, for each eight members: what a busy node has to answer stays bounded.
const EACH: Duration = Duration::from_millis(500);
/// When somebody is asked again who did not answer.
const AGAIN: Duration = Duration::from_secs(3);
/// When somebody is asked again who will not answer: a guest's question, an older version.
const MUCH_LATER: Duration = Duration::from_secs(60);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Members asked at once.
const MOST_PULLS: usize = 3;
/// Answers taken in a row from one member.
const MOST_BATCHES: usize = 32;
/// Questions answered at once; the next one waits.
const MOST_ANSWERS: usize = 2;

/// What others are given. Shared by all who serve the mesh.
pub(crate) struct Journals {
    store: Store,
    /// Who may read.
    readers: ArcSwap<BTreeSet<NodeKey>>,
    answering: Semaphore,
    /// What was recorded and merged, counted.
    news: watch::Sender<(u64, u64)>,
}

impl Journals {
    /// The journals of `store`, whose news come here from now on.
    pub(crate) fn new(store: Store) -> Arc<Journals> {
        let news = watch::Sender::new((0, 0));
        let told = news.clone();
        store.listen(move |what| {
            told.send_modify(|(recorded, merged)| match what {
                News::Recorded => *recorded += 1,
                News::Merged => *merged += 1,
            });
        });
        Arc::new(Journals { store, readers: ArcSwap::default(), answering: Semaphore::new(MOST_ANSWERS), news })
    }

    /// All but guests may read.
    pub(super) fn allow(&self, fleet: &Membership) {
        self.readers.store(Arc::new(readers(&fleet.roster)));
    }

    /// This node's name has changed.
    pub(super) fn call(&self, name: &str) {
        self.store.rename(name);
    }

    /// Answers `from`'s question.
    pub(super) async fn serve(
        self: Arc<Self>,
        from: NodeKey,
        request: Request<hyper::body::Incoming>,
    ) -> Response<Body> {
        self.answer(from, request).await
    }

    async fn answer<B>(self: Arc<Self>, from: NodeKey, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match self.batch(from, request).await {
            Ok(batch) => response(StatusCode::OK, batch),
            Err(status) => response(status, Vec::new()),
        }
    }

    async fn batch<B>(self: Arc<Self>, from: NodeKey, request: Request<B>) -> Result<Vec<u8>, StatusCode>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.method() != Method::POST {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        if !self.readers.load().contains(&from) {
            return Err(StatusCode::FORBIDDEN);
        }
        let body = Limited::new(request.into_body(), MAX_VECTOR).collect();
        let body = tokio::time::timeout(PATIENCE, body).await.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
        let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?.to_bytes();
        let theirs = Vector::decode(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
        let _permit = self.answering.acquire().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        let store = self.store.clone();
        let looked = tokio::task::spawn_blocking(move || store.since(&theirs, MAX_ENTRIES, MAX_BATCH)).await;
        looked.map_err(|error| error.to_string()).and_then(|read| read.map_err(|error| error.to_string())).map_err(
            |error| {
                tracing::warn!(node = %id(from), error, "what a member lacks of the history cannot be read");
                StatusCode::INTERNAL_SERVER_ERROR
            },
        )
    }
}

fn readers(roster: &Roster) -> BTreeSet<NodeKey> {
    roster.members().filter(|member| role(member.role) != Role::Guest).map(|member| member.node).collect()
}

/// What was got from a member.
pub(super) type Pulled = Result<Merged, Fault>;

/// Why nothing was got from a member.
pub(super) enum Fault {
    /// It does not give anything to this node.
    Refused(StatusCode),
    /// Anything else.
    Other(String),
}

/// Who is asked for what this node lacks, and when others are told of what it has.
pub(super) struct Pulls {
    journals: Arc<Journals>,
    news: watch::Receiver<(u64, u64)>,
    seen: (u64, u64),
    /// Entries held of all journals.
    entries: u64,
    tell_at: Option<Moment>,
    peers: BTreeMap<NodeId, Peer>,
}

#[derive(Default)]
struct Peer {
    /// What it last said that it holds.
    heard: u64,
    /// As that was when it last gave everything.
    taken: Option<u64>,
    pulling: bool,
    next: Moment,
}

impl Pulls {
    pub(super) fn new(journals: Arc<Journals>) -> Pulls {
        let news = journals.news.subscribe();
        Pulls { journals, news, seen: (0, 0), entries: 0, tell_at: None, peers: BTreeMap::new() }
    }

    /// Waits until something new is held. May be dropped half-way.
    pub(super) async fn changed(&mut self) {
        if self.news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Something new is held.
    pub(super) fn noticed(&mut self, now: Moment) {
        let counts = *self.news.borrow_and_update();
        let wait = if counts.0 != self.seen.0 { SOON } else { LATER };
        self.seen = counts;
        let vector = self.journals.store.vector();
        let entries = vector.journals.iter().fold(0, |sum: u64, held| sum.saturating_add(held.through));
        if entries < self.entries {
            // The database was damaged and begun again: those who gave everything have it still.
            self.peers.values_mut().for_each(|peer| peer.taken = None);
        }
        self.entries = entries;
        self.tell_at = Some(self.tell_at.map_or(now + wait, |at| at.min(now + wait)));
    }

    /// What a member says that it holds.
    pub(super) fn heard(&mut self, from: NodeId, digest: u64) {
        self.peers.entry(from).or_default().heard = digest;
    }

    /// What this node says that it holds.
    pub(super) fn news(&self) -> Envelope {
        Envelope::News(self.journals.store.digest())
    }

    /// When something is due.
    pub(super) fn wake(&self) -> Option<Moment> {
        let own = self.journals.store.digest();
        // While as many as may be are being asked, the end of one of them is what wakes.
        let is_full = self.peers.values().filter(|peer| peer.pulling).count() >= MOST_PULLS;
        let next = self.peers.values().filter(|peer| !is_full && peer.is_wanted(own)).map(|peer| peer.next).min();
        [next, self.tell_at].into_iter().flatten().min()
    }

    /// Whoever is to be asked now.
    fn due(&mut self, now: Moment, connected: &[NodeId]) -> Vec<NodeId> {
        let own = self.journals.store.digest();
        self.peers.retain(|node, peer| peer.pulling || connected.contains(node));
        let mut under_way = self.peers.values().filter(|peer| peer.pulling).count();
        let mut due = Vec::new();
        for (node, peer) in &mut self.peers {
            if under_way < MOST_PULLS && peer.is_wanted(own) && now >= peer.next && connected.contains(node) {
                under_way += 1;
                peer.pulling = true;
                due.push(*node);
            }
        }
        due
    }

    fn pulled(&mut self, from: NodeId, heard: u64, pulled: &Pulled, now: Moment) {
        let members = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.pulling = false;
        peer.next = now
            + match pulled {
                Ok(_) => EACH * (1 + members / 8),
                Err(Fault::Refused(_)) => MUCH_LATER,
                Err(Fault::Other(_)) => AGAIN,
            };
        if let Ok(Merged { more: false, .. }) = pulled {
            peer.taken = Some(heard);
        }
    }
}

impl Peer {
    /// Whether it may hold something that a node lacks which holds `own`.
    fn is_wanted(&self, own: u64) -> bool {
        !self.pulling && self.heard != own && self.heard != 0 && self.taken != Some(self.heard)
    }
}

impl Driver {
    /// Tells others what is held, and asks for what is lacking.
    pub(super) fn exchange_journals(&mut self) {
        let now = self.now();
        let Some(party) = &mut self.party else {
            self.pulls.tell_at = None;
            self.pulls.peers.clear();
            return;
        };
        if self.pulls.tell_at.take_if(|at| now >= *at).is_some() {
            party.spread(&[self.pulls.news()], None);
        }
        for node in self.pulls.due(now, &Party::connected(party)) {
            let heard = self.pulls.peers.get(&node).map_or(0, |peer| peer.heard);
            let (mesh, store) = (party.mesh.clone(), self.pulls.journals.store.clone());
            self.errands.spawn(async move { Errand::Pulled(node, heard, pull(mesh, node, store).await) });
        }
    }

    pub(super) fn pulled(&mut self, node: NodeId, heard: u64, pulled: Pulled) {
        match &pulled {
            Ok(Merged { rows: 0, .. }) => {}
            Ok(Merged { rows, .. }) => tracing::debug!(%node, rows, "took what a member remembers"),
            Err(Fault::Refused(status)) => tracing::debug!(%node, %status, "a member gives nothing of the history"),
            Err(Fault::Other(error)) => tracing::debug!(%node, error, "what a member remembers was not taken"),
        }
        let now = self.now();
        self.pulls.pulled(node, heard, &pulled, now);
    }
}

/// Asks `node` for what is lacking until there is no more, or for a good while.
async fn pull(mesh: Mesh, node: NodeId, store: Store) -> Pulled {
    let mut all = Merged::default();
    for _ in 0..MOST_BATCHES {
        let own = store.vector();
        let batch = tokio::time::timeout(PATIENCE, ask(&mesh, node, &own));
        let batch = batch.await.map_err(|_| Fault::Other("it takes too long".to_owned()))??;
        let store = store.clone();
        let merging = tokio::task::spawn_blocking(move || store.merge(&batch, &node.to_string()));
        let merged = merging.await.map_err(|error| Fault::Other(error.to_string()))?;
        let merged = merged.map_err(|error| Fault::Other(error.to_string()))?;
        (all.rows, all.refused, all.more) = (all.rows + merged.rows, all.refused + merged.refused, merged.more);
        if !merged.more {
            break;
        }
    }
    Ok(all)
}

async fn ask(mesh: &Mesh, node: NodeId, own: &Vector) -> Result<Bytes, Fault> {
    let body = Body::new(Full::new(Bytes::from(own.encode())).map_err(|never| match never {}));
    let request = Request::post(PATH).body(body).map_err(|error| Fault::Other(error.to_string()))?;
    let response = mesh.request(key(node), request).await.map_err(|error| Fault::Other(error.to_string()))?;
    match response.status() {
        StatusCode::OK => {}
        status @ (StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
            return Err(Fault::Refused(status));
        }
        status => return Err(Fault::Other(format!("it answered {status}"))),
    }
    let body = Limited::new(response.into_body(), MAX_BATCH).collect().await;
    Ok(body.map_err(|error| Fault::Other(error.to_string()))?.to_bytes())
}

fn response(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body)).map_err(|never| match never {})));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use proto::Clock;
    use store::Settings;

    use super::*;

    fn store(dir: &std::path::Path, name: &str) -> (Store, store::Writer) {
        let settings = Settings {
            dir: dir.to_owned(),
            node_id: name.to_owned(),
            node_key: name.to_owned(),
            keep: Duration::from_secs(3600),
            max_bytes: 1 << 30,
        };
        Store::open(settings, Clock::new(|| Moment::at(Duration::ZERO), || 0)).unwrap()
    }

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    fn node(number: u8) -> NodeId {
        NodeId::new([number; 32])
    }

    fn taken(more: bool) -> Pulled {
        Ok(Merged { rows: 1, refused: 0, more })
    }

    #[test]
    fn whoever_holds_something_else_is_asked_until_it_gave_everything() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _writer) = store(dir.path(), "me");
        let mut pulls = Pulls::new(Journals::new(store));
        let all: Vec<NodeId> = (1..=5).map(node).collect();
        assert_eq!((pulls.wake(), pulls.due(at(0), &all)), (None, Vec::new()));
        pulls.heard(node(1), 0);
        assert_eq!(pulls.wake(), None, "it holds nothing");
        pulls.heard(node(1), 7);
        assert_eq!(pulls.wake(), Some(at(0)));
        assert_eq!(pulls.due(at(0), &all), [node(1)]);
        assert_eq!((pulls.wake(), pulls.due(at(0), &all)), (None, Vec::new()), "it is being asked");
        // It had more to give, then it has given all, then it has something new.
        pulls.pulled(node(1), 7, &taken(true), at(10));
        assert_eq!(pulls.wake(), Some(at(510)));
        assert_eq!(pulls.due(at(510), &all), [node(1)]);
        pulls.pulled(node(1), 7, &taken(false), at(600));
        assert_eq!(pulls.wake(), None);
        pulls.heard(node(1), 8);
        assert_eq!((pulls.wake(), pulls.due(at(1099), &all)), (Some(at(1100)), Vec::new()));
        // What was said while it gave is asked for again.
        assert_eq!(pulls.due(at(1100), &all), [node(1)]);
        pulls.heard(node(1), 9);
        pulls.pulled(node(1), 8, &taken(false), at(1200));
        assert_eq!(pulls.wake(), Some(at(1700)));
    }

    #[test]
    fn few_are_asked_at_once_and_the_unwilling_seldom() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _writer) = store(dir.path(), "me");
        let mut pulls = Pulls::new(Journals::new(store));
        let all: Vec<NodeId> = (1..=5).map(node).collect();
        for one in &all {
            pulls.heard(*one, 7);
        }
        assert_eq!(pulls.due(at(0), &all), all[..MOST_PULLS]);
        assert_eq!(pulls.wake(), None, "the end of one of them wakes");
        pulls.pulled(node(1), 7, &Err(Fault::Other("gone".to_owned())), at(0));
        pulls.pulled(node(2), 7, &Err(Fault::Refused(StatusCode::FORBIDDEN)), at(0));
        // Who is not connected any more is forgotten.
        assert_eq!(pulls.due(at(0), &[node(1), node(2), node(5)]), [node(5)]);
        pulls.pulled(node(3), 7, &taken(false), at(0));
        pulls.pulled(node(5), 7, &taken(false), at(0));
        assert_eq!(pulls.wake(), Some(at(3000)));
        assert_eq!(pulls.due(at(3000), &all[..2]), [node(1)]);
        pulls.pulled(node(1), 7, &taken(false), at(3100));
        assert_eq!(pulls.wake(), Some(at(60_000)));
    }

    #[tokio::test]
    async fn own_news_is_told_soon_and_that_of_others_later() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _writer) = store(dir.path(), "me");
        let mut pulls = Pulls::new(Journals::new(store));
        let news = pulls.journals.news.clone();
        for (recorded, merged, now, wake) in [(0, 1, 0, 5000), (0, 2, 100, 5000), (1, 2, 200, 450), (2, 2, 300, 450)] {
            news.send_replace((recorded, merged));
            pulls.changed().await;
            pulls.noticed(at(now));
            assert_eq!(pulls.wake(), Some(at(wake)), "{recorded} {merged}");
        }
    }

    #[test]
    fn what_a_broken_disk_lost_is_asked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _writer) = store(dir.path(), "me");
        let mut pulls = Pulls::new(Journals::new(store));
        pulls.heard(node(1), 7);
        assert_eq!(pulls.due(at(0), &[node(1)]), [node(1)]);
        pulls.pulled(node(1), 7, &taken(false), at(0));
        pulls.entries = 5;
        assert_eq!(pulls.wake(), None);
        pulls.noticed(at(1000));
        assert_eq!(pulls.due(at(1000), &[node(1)]), [node(1)]);
    }

    #[tokio::test]
    async fn members_are_answered_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _writer) = store(dir.path(), "me");
        let journals = Journals::new(store);
        let me = mesh::Identity::from_seed(&[1; 32]);
        let mut roster = mesh::roster::Roster::found(&me, "me", [7; 16]).unwrap();
        let keys = [2, 3].map(|seed| mesh::Identity::from_seed(&[seed; 32]).key());
        roster.add(&me, keys[0], "member", mesh::roster::Role::Member).unwrap();
        roster.add(&me, keys[1], "guest", mesh::roster::Role::Guest).unwrap();
        journals.readers.store(Arc::new(readers(&roster)));
        let question = || Full::new(Bytes::from(Vector::default().encode()));
        let stranger = mesh::Identity::from_seed(&[4; 32]).key();
        for (from, method, body, status) in [
            (keys[0], Method::POST, question(), StatusCode::OK),
            (keys[1], Method::POST, question(), StatusCode::FORBIDDEN),
            (stranger, Method::POST, question(), StatusCode::FORBIDDEN),
            (keys[0], Method::GET, question(), StatusCode::METHOD_NOT_ALLOWED),
            (keys[0], Method::POST, Full::new(Bytes::from_static(b"what?")), StatusCode::BAD_REQUEST),
            (keys[0], Method::POST, Full::new(vec![0; MAX_VECTOR + 1].into()), StatusCode::PAYLOAD_TOO_LARGE),
        ] {
            let request = Request::builder().method(&method).uri(PATH).body(body).unwrap();
            assert_eq!(journals.clone().answer(from, request).await.status(), status, "{method} {from}");
        }
    }
}
