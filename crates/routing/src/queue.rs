//! Keeps requests that must wait, fairly between apps, in turn within an app.
//!
//! Requests for one model form a domain; in it, equal wants form a line. Of a domain, the app with the least served
//! work goes next (start-time fair queueing: an app that comes anew starts where the last one served started, so that
//! nobody saves up turns). Of several domains, the request that waited longest goes next; they hardly ever compete.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::{KeepAlive, ModelName, Moment};

use crate::standing::{Standing, WaitsAt, Want};
use crate::{Key, Refusal};

/// A request older than this has every second turn of its domain, so that nobody starves and bursts still let others in.
const AGED: Duration = Duration::from_secs(30);
/// Charged for any request beside its tokens: a slot is taken even for a short one.
const BASE_COST: u64 = 256;
/// One request is charged no more than this, so that a wrong estimate does not shut an app out.
const MOST_COST: u64 = 1 << 20;
/// Apps remembered beyond those that wait.
const IDLE_APPS: usize = 64;

pub(crate) type App = Option<Arc<str>>;

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) want: Arc<Want>,
    pub(crate) app: App,
    pub(crate) estimated_tokens: u64,
    pub(crate) waited_since: Moment,
    pub(crate) enqueued: Moment,
    pub(crate) keep_alive: Option<KeepAlive>,
}

/// All requests that wait. Its bound is kept by the router.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<Key, (Waiting, u64)>,
    domains: BTreeMap<ModelName, Domain>,
    next_turn: u64,
}

#[derive(Debug, Default)]
struct Domain {
    lines: BTreeMap<Arc<Want>, Line>,
    accounts: BTreeMap<App, Account>,
    /// The account of the app served last, before it was charged.
    floor: u64,
    fair_turn: bool,
}

#[derive(Debug, Default)]
struct Account {
    served: u64,
    waiting: usize,
}

/// Oldest first, for each app.
type Turns = BTreeMap<(Moment, u64), (Key, Moment)>;

#[derive(Debug)]
struct Line {
    apps: BTreeMap<App, Turns>,
    /// Since when no backend is well enough to wait for without limit.
    stranded: Option<Moment>,
    /// No request's patience began earlier.
    patience_from: Moment,
}

/// Who goes next, or would.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    served: u64,
    turn: (Moment, u64),
    key: Key,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn contains(&self, key: Key) -> bool {
        self.waiting.contains_key(&key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.waiting.keys().copied()
    }

    /// What each waiting request wants, and how many want it.
    pub(crate) fn wants(&self) -> impl Iterator<Item = (&Want, usize)> {
        let lines = self.domains.values().flat_map(|domain| &domain.lines);
        lines.map(|(want, line)| (&**want, line.len()))
    }

    pub(crate) fn push(&mut self, key: Key, request: Waiting) {
        let Some(name) = request.want.models.first() else { return };
        let turn = self.next_turn;
        self.next_turn += 1;
        let domain = self.domains.entry(name.clone()).or_default();
        let account = domain.accounts.entry(request.app.clone()).or_default();
        if account.waiting == 0 {
            account.served = account.served.max(domain.floor);
        }
        account.waiting += 1;
        // A new line counts as stranded until it is looked at, so that patience of a retry counts from its beginning.
        let line = domain.lines.entry(Arc::clone(&request.want)).or_insert_with(|| Line {
            apps: BTreeMap::new(),
            stranded: Some(request.enqueued),
            patience_from: request.waited_since,
        });
        line.patience_from = line.patience_from.min(request.waited_since);
        let turns = line.apps.entry(request.app.clone()).or_default();
        turns.insert((request.waited_since, turn), (key, request.enqueued));
        self.waiting.insert(key, (request, turn));
    }

    /// Takes `key` out, whether it is served or gives up.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Waiting> {
        let (request, turn) = self.waiting.remove(&key)?;
        let name = request.want.models.first()?;
        let domain = self.domains.get_mut(name)?;
        if let Some(account) = domain.accounts.get_mut(&request.app) {
            account.waiting -= 1;
        }
        if let Some(line) = domain.lines.get_mut(&request.want) {
            if let Some(turns) = line.apps.get_mut(&request.app) {
                turns.remove(&(request.waited_since, turn));
                if turns.is_empty() {
                    line.apps.remove(&request.app);
                }
            }
            if line.apps.is_empty() {
                domain.lines.remove(&request.want);
            }
        }
        if domain.lines.is_empty() {
            self.domains.remove(name);
        } else if domain.accounts.len() > 2 * self.waiting.len() + IDLE_APPS {
            domain.accounts.retain(|_, account| account.waiting > 0);
        }
        Some(request)
    }

    /// Takes the request out whose turn it is among those with room, and charges its app.
    pub(crate) fn next(&mut self, now: Moment, has_room: impl Fn(&Want) -> bool) -> Option<(Key, Waiting)> {
        let mut next: Option<(Head, bool, &ModelName)> = None;
        for (name, domain) in &self.domains {
            let mut oldest: Option<Head> = None;
            let mut fairest: Option<Head> = None;
            for (_, line) in domain.lines.iter().filter(|(want, _)| has_room(want)) {
                for (app, turns) in &line.apps {
                    let Some((&turn, &(key, _))) = turns.first_key_value() else { continue };
                    let served = domain.accounts.get(app).map_or(0, |account| account.served);
                    let head = Head { served, turn, key };
                    fairest = Some(fairest.map_or(head, |best| best.min(head)));
                    oldest = oldest.filter(|best| best.turn < turn).or(Some(head));
                }
            }
            let aged = oldest.filter(|head| now.since(head.turn.0) > AGED);
            let head = if domain.fair_turn { fairest } else { aged.or(fairest) };
            if let Some(head) = head
                && next.is_none_or(|(best, ..)| head.turn < best.turn)
            {
                next = Some((head, aged.is_some() && !domain.fair_turn, name));
            }
        }
        let (head, by_age, name) = next?;
        let domain = self.domains.get_mut(&name.clone())?;
        domain.fair_turn = by_age;
        let (request, _) = self.waiting.get(&head.key)?;
        if let Some(account) = domain.accounts.get_mut(&request.app) {
            domain.floor = domain.floor.max(account.served);
            // A retry was charged for when it went the first time.
            if request.want.excluded.is_empty() {
                account.served += BASE_COST + request.estimated_tokens.min(MOST_COST);
            }
        }
        self.remove(head.key).map(|request| (head.key, request))
    }

    /// Looks how each line stands, and tells `waits` of each that waits for a backend whose loads are ours.
    pub(crate) fn look(
        &mut self,
        now: Moment,
        queue_wait: Duration,
        standing: impl Fn(&Want) -> Standing,
        mut waits: impl FnMut(&Want, WaitsAt, usize),
    ) -> Looked {
        let mut looked = Looked::default();
        for (want, line) in self.domains.values_mut().flat_map(|domain| &mut domain.lines) {
            let again = match standing(want) {
                Standing::Free { .. } => None,
                Standing::Busy { again, at } => {
                    line.stranded = None;
                    if let Some(at) = at {
                        waits(want, at, line.len());
                    }
                    again
                }
                Standing::Stranded { again } => {
                    line.strand(now, queue_wait, &mut looked.impatient);
                    [again, Some(line.patience_from + queue_wait)].into_iter().flatten().min()
                }
                Standing::Hopeless => {
                    line.strand(now, queue_wait, &mut looked.impatient);
                    Some(line.patience_from + queue_wait)
                }
                Standing::Refused(refusal) => {
                    let keys = line.apps.values().flat_map(BTreeMap::values).map(|&(key, _)| key);
                    looked.refused.extend(keys.map(|key| (key, refusal.clone())));
                    None
                }
            };
            looked.wake = [looked.wake, again].into_iter().flatten().min();
        }
        looked
    }
}

/// What came of a look at all lines.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Whose patience is at its end.
    pub(crate) impatient: Vec<Key>,
    pub(crate) refused: Vec<(Key, Refusal)>,
    /// When to look again.
    pub(crate) wake: Option<Moment>,
}

impl Line {
    fn len(&self) -> usize {
        self.apps.values().map(BTreeMap::len).sum()
    }

    /// No backend is well: whoever has no patience left goes to `lost`.
    fn strand(&mut self, now: Moment, queue_wait: Duration, lost: &mut Vec<Key>) {
        let stranded = *self.stranded.get_or_insert_with(|| {
            self.patience_from = now;
            now
        });
        if self.patience_from + queue_wait > now {
            return;
        }
        // Who waited for busy backends begins to be patient when they fall ill; who came later, when it first came in.
        self.patience_from = now;
        for (&(since, _), &(key, enqueued)) in self.apps.values().flatten() {
            let from = if enqueued < stranded { stranded } else { since };
            if from + queue_wait <= now {
                lost.push(key);
            } else {
                self.patience_from = self.patience_from.min(from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::Api;

    use super::*;

    #[test]
    fn apps_that_came_and_went_are_forgotten() {
        let mut queue = Queue::default();
        let want = Arc::new(Want {
            models: vec![ModelName::new("m")],
            api: Api::OllamaChat,
            excluded: vec![],
            allowance: None,
            need: crate::context::Need::default(),
        });
        let push = |queue: &mut Queue, key: Key| {
            let app = Some(format!("app {key}").into());
            let (want, waited_since) = (Arc::clone(&want), Moment::default());
            queue.push(
                key,
                Waiting { want, app, estimated_tokens: key, waited_since, enqueued: waited_since, keep_alive: None },
            );
        };
        push(&mut queue, 0);
        for key in 1..1000 {
            push(&mut queue, key);
            assert!(queue.next(Moment::default(), |_| true).is_some());
            assert!(queue.domains.values().all(|domain| domain.accounts.len() <= IDLE_APPS + 4));
        }
        assert_eq!(queue.len(), 1);
        assert!(queue.next(Moment::default(), |_| true).is_some());
        assert!(queue.domains.is_empty() && queue.waiting.is_empty());
    }
}
