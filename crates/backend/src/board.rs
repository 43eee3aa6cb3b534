//! The one place where all that is seen comes together: names backends, and tells the node when something changed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::{BackendId, BackendKind, BackendState, Health, Link};
use tokio::sync::{Notify, watch};

use crate::portrait::{Portrait, same_models};
use crate::{Note, Place};

/// Called with all backends, sorted by id, whenever anything about one of them changed.
pub(crate) type OnChange = Box<dyn Fn(Vec<Arc<BackendState>>) + Send + Sync>;

/// What one look says, as far as others need to know.
#[derive(Default)]
pub(crate) struct Report {
    /// `None`: nothing is to be shown of this place.
    pub(crate) sighting: Option<Sighting>,
    pub(crate) note: Option<String>,
}

/// A backend as seen from its place.
pub(crate) struct Sighting {
    /// `None` as long as it never said anything.
    pub(crate) portrait: Option<Portrait>,
    /// What it most likely is as long as it never said anything.
    pub(crate) guess: BackendKind,
    pub(crate) health: Health,
}

/// All places with what is known of each.
pub(crate) struct Board {
    seats: Vec<Seat>,
    known: Mutex<Known>,
    /// Held while the node is told, so that it hears of changes one by one and in their order.
    telling: Mutex<()>,
    on_change: OnChange,
    settled: watch::Sender<bool>,
    /// The longest that the first look may take, in milliseconds.
    first_look_ms: AtomicU64,
}

/// A place, and what asks for a look at it.
struct Seat {
    place: Place,
    wake: Notify,
    list: AtomicBool,
    /// How often somebody asked for a look.
    asked: AtomicU64,
    /// How often somebody had asked when the latest look began.
    began: AtomicU64,
    /// How many of those who asked were answered by a look that began afterwards.
    seen: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    /// One for each seat.
    entries: Vec<Entry>,
    /// What the node was told last.
    told: Vec<Arc<BackendState>>,
    looked: BTreeSet<usize>,
    is_settled: bool,
}

#[derive(Default)]
struct Entry {
    /// The ids that this place had, by the kind it was: a backend that comes back is called the same.
    ids: Vec<(Option<BackendKind>, BackendId)>,
    report: Report,
}

impl Board {
    pub(crate) fn new(places: Vec<Place>, on_change: OnChange) -> Board {
        let entries = places.iter().map(|_| Entry::default()).collect();
        let seats = places.into_iter().map(Seat::new);
        Board {
            seats: seats.collect(),
            known: Mutex::new(Known { entries, ..Known::default() }),
            telling: Mutex::new(()),
            on_change,
            settled: watch::Sender::new(false),
            first_look_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn limit_first_look(&self, limit: Duration) {
        self.first_look_ms.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn first_look(&self) -> Duration {
        Duration::from_millis(self.first_look_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.seats.iter().map(|seat| &seat.place)
    }

    /// Takes in what a look at place number `at` showed.
    pub(crate) fn report(&self, at: usize, report: Report) {
        let mut known = self.lock();
        known.entries[at].report = report;
        known.looked.insert(at);
        let is_first_look_over = known.looked.len() == self.seats.len() && !known.is_settled;
        drop(known);
        if is_first_look_over {
            self.settle();
        } else {
            self.tell();
        }
        let seat = &self.seats[at];
        seat.seen.send_replace(seat.began.load(Ordering::SeqCst));
    }

    /// Ends the first look: until now the node was told nothing, so that names do not depend on who answers first.
    pub(crate) fn settle(&self) {
        self.lock().is_settled = true;
        self.tell();
        self.settled.send_replace(true);
    }

    /// Hears when the first look has ended.
    pub(crate) fn settled(&self) -> watch::Receiver<bool> {
        self.settled.subscribe()
    }

    /// Asks for a look at the backend called `id`, with `list` also for its models. Any number of calls before the next
    /// look are one.
    pub(crate) fn ask(&self, id: &BackendId, list: bool) {
        if let Some(seat) = self.seat(id) {
            seat.ask(list);
        }
    }

    /// Asks for a look at the backend called `id` and waits until the node was told of one that began after this call.
    /// Without end while nobody looks; at once if no backend is called so. May be dropped half-way.
    pub(crate) async fn look(&self, id: &BackendId) {
        let Some(seat) = self.seat(id) else { return };
        let mine = seat.ask(false);
        // The board outlives the borrow, so the sender is there.
        let _ = seat.seen.subscribe().wait_for(|seen| *seen >= mine).await;
    }

    fn seat(&self, id: &BackendId) -> Option<&Seat> {
        let known = self.lock();
        let at = known.entries.iter().position(|entry| entry.ids.iter().any(|(_, own)| own == id))?;
        Some(&self.seats[at])
    }

    /// Asks for a look at every place.
    pub(crate) fn ask_all(&self) {
        for seat in &self.seats {
            seat.ask(true);
        }
    }

    /// Waits until somebody asks for a look at place number `at`. May be dropped half-way.
    pub(crate) async fn asked(&self, at: usize) {
        self.seats[at].wake.notified().await;
    }

    /// Begins a look at place number `at`; says whether it shall list its models.
    pub(crate) fn begin_look(&self, at: usize) -> bool {
        let seat = &self.seats[at];
        seat.began.store(seat.asked.load(Ordering::SeqCst), Ordering::SeqCst);
        seat.list.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn notes(&self) -> Vec<Note> {
        let known = self.lock();
        let notes = self.seats.iter().zip(&known.entries).filter_map(|(seat, entry)| {
            Some(Note { place: seat.place.address.authority(), found: entry.report.note.clone()? })
        });
        let mut notes: Vec<Note> = notes.collect();
        notes.sort_by(|a, b| a.place.cmp(&b.place));
        notes
    }

    fn tell(&self) {
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.lock();
        if !known.is_settled {
            return;
        }
        let states = self.states(&mut known);
        if states.len() == known.told.len() && states.iter().zip(&known.told).all(|(a, b)| Arc::ptr_eq(a, b)) {
            return;
        }
        known.told.clone_from(&states);
        drop(known);
        (self.on_change)(states);
    }

    /// All that is to be shown, sorted by id; what did not change is the very same as before.
    fn states(&self, known: &mut Known) -> Vec<Arc<BackendState>> {
        let mut states = Vec::new();
        for (at, seat) in self.seats.iter().enumerate() {
            let Some(sighting) = &known.entries[at].report.sighting else { continue };
            let kind = sighting.portrait.as_ref().map(|portrait| portrait.kind);
            let old_id = known.entries[at].ids.iter().find(|(old, _)| *old == kind).map(|(_, id)| id.clone());
            let id = old_id.unwrap_or_else(|| {
                let id = self.new_id(&known.entries, at, kind);
                known.entries[at].ids.push((kind, id.clone()));
                id
            });
            let Some(sighting) = &known.entries[at].report.sighting else { continue };
            let state = state(id, &seat.place, sighting);
            let before = known.told.iter().find(|told| same(told, &state));
            states.push(before.cloned().unwrap_or_else(|| Arc::new(state)));
        }
        states.sort_by(|a, b| a.id.cmp(&b.id));
        states
    }

    /// A name that no other place has or had: the owner's, else the kind's, with the port where that is taken.
    fn new_id(&self, entries: &[Entry], at: usize, kind: Option<BackendKind>) -> BackendId {
        let place = &self.seats[at].place;
        let port = place.address.port;
        let is_taken = |name: &str| {
            let others = || entries.iter().zip(&self.seats).enumerate().filter(|(other, _)| *other != at);
            others().any(|(_, (entry, _))| entry.ids.iter().any(|(_, id)| id.as_str() == name))
                || (place.name.as_deref() != Some(name)
                    && others().any(|(_, (_, seat))| seat.place.name.as_deref() == Some(name)))
        };
        let (plain, with_port) = match (&place.name, kind) {
            (Some(name), _) => (Some(name.clone()), format!("{name}-{port}")),
            (None, Some(kind)) => (Some(kind.as_str().to_owned()), format!("{}-{port}", kind.as_str())),
            (None, None) => (None, format!("backend-{port}")),
        };
        let numbered = (2..).map(|n: u32| format!("{with_port}-{n}"));
        let name = plain.into_iter().chain([with_port.clone()]).chain(numbered).find(|name| !is_taken(name));
        BackendId::new(name.unwrap_or(with_port))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing is left half-done under this lock, so what a panicking thread left is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn new(place: Place) -> Seat {
        Seat {
            place,
            wake: Notify::new(),
            list: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            began: AtomicU64::new(0),
            seen: watch::Sender::new(0),
        }
    }

    /// Asks for a look, with `list` also for its models; returns the number of this asking.
    fn ask(&self, list: bool) -> u64 {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.list.fetch_or(list, Ordering::Relaxed);
        self.wake.notify_one();
        mine
    }
}

fn state(id: BackendId, place: &Place, sighting: &Sighting) -> BackendState {
    let portrait = sighting.portrait.clone().unwrap_or(Portrait {
        kind: sighting.guess,
        version: None,
        speaks: proto::ApiSet::NONE,
        slots: None,
        most_loaded: None,
        ignores_model_name: false,
        models: Vec::new(),
    });
    BackendState {
        id,
        kind: portrait.kind,
        address: place.address.clone(),
        link: if place.address.is_loopback() { Link::Loopback } else { Link::Unencrypted },
        version: portrait.version,
        health: sighting.health.clone(),
        speaks: portrait.speaks,
        serves: dialect::served(portrait.kind, portrait.speaks),
        slots: place.slots.or(portrait.slots),
        most_loaded: place.most_loaded.or(portrait.most_loaded),
        ignores_model_name: portrait.ignores_model_name,
        models: portrait.models,
    }
}

fn same(a: &BackendState, b: &BackendState) -> bool {
    // Taken apart, so that a new field cannot be forgotten here.
    let BackendState {
        id,
        kind,
        address,
        link,
        version,
        health,
        speaks,
        serves,
        slots,
        most_loaded,
        ignores_model_name,
        models,
    } = a;
    *id == b.id
        && *kind == b.kind
        && *address == b.address
        && *link == b.link
        && *version == b.version
        && *health == b.health
        && *speaks == b.speaks
        && *serves == b.serves
        && *slots == b.slots
        && *most_loaded == b.most_loaded
        && *ignores_model_name == b.ignores_model_name
        && same_models(models, &b.models)
}

#[cfg(test)]
mod tests;
