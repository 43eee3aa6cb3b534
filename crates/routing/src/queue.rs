//! Keeps requests that must wait, fairly between apps, in turn within an app.
//!
//! Requests for one model form a domain; in it, equal wants form a line. Of a domain, the app with the least served
//! work goes next (start-time fair queueing: an app that comes anew starts where the last one served started, so that
//! nobody saves up turns). Of several domains, the request that waited longest goes next; they hardly ever compete.
//! The caller may put some wants before others; that counts more than fairness, and less than age.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proto::{ModelName, Moment};

use crate::Refusal;
use crate::standing::{Standing, WaitsAt};

/// A request older than this has every second turn of its domain, so that nobody starves and bursts still let others in.
const AGED: Duration = Duration::from_secs(30);
/// Charged for any request beside its tokens: a slot is taken even for a short one.
const BASE_COST: u64 = 256;
/// One request is charged no more than this, so that a wrong estimate does not shut an app out.
const MOST_COST: u64 = 1 << 20;
/// Apps remembered beyond those that wait.
const IDLE_APPS: usize = 64;

pub(crate) type App = Option<Arc<str>>;

/// What decides who can serve a request.
pub(crate) trait Wanted: Ord {
    /// The model that it is queued under; `None`: it is not queued at all.
    fn domain(&self) -> Option<&ModelName>;
    /// Whether it went before, and was charged for then.
    fn is_retry(&self) -> bool;
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiting<W, X> {
    pub(crate) want: Arc<W>,
    pub(crate) app: App,
    pub(crate) estimated_tokens: u64,
    pub(crate) waited_since: Moment,
    pub(crate) enqueued: Moment,
    /// What else is known of it.
    pub(crate) with: X,
}

impl<W: Wanted, X> Waiting<W, X> {
    /// What its app is charged for it. A retry was charged for when it went the first time.
    fn cost(&self) -> u64 {
        if self.want.is_retry() { 0 } else { BASE_COST + self.estimated_tokens.min(MOST_COST) }
    }
}

/// All requests that wait. Its bound is kept by its owner.
#[derive(Debug)]
pub(crate) struct Queue<K, W, X> {
    waiting: BTreeMap<K, (Waiting<W, X>, u64)>,
    domains: BTreeMap<ModelName, Domain<K, W>>,
    next_turn: u64,
}

impl<K, W, X> Default for Queue<K, W, X> {
    fn default() -> Queue<K, W, X> {
        Queue { waiting: BTreeMap::new(), domains: BTreeMap::new(), next_turn: 0 }
    }
}

#[derive(Debug)]
struct Domain<K, W> {
    lines: BTreeMap<Arc<W>, Line<K>>,
    accounts: BTreeMap<App, Account>,
    /// The account of the app served last, before it was charged.
    floor: u64,
    fair_turn: bool,
}

impl<K, W> Default for Domain<K, W> {
    fn default() -> Domain<K, W> {
        Domain { lines: BTreeMap::new(), accounts: BTreeMap::new(), floor: 0, fair_turn: false }
    }
}

#[derive(Debug, Default)]
struct Account {
    served: u64,
    waiting: usize,
}

/// Oldest first, for each app.
type Turns<K> = BTreeMap<(Moment, u64), (K, Moment)>;

/// One of them.
type Turn<K> = ((Moment, u64), K);

#[derive(Debug)]
struct Line<K> {
    apps: BTreeMap<App, Turns<K>>,
    /// Since when no backend is well enough to wait for without limit.
    stranded: Option<Moment>,
    /// No request's patience began earlier.
    patience_from: Moment,
}

/// Who goes next, or would.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Head<K> {
    rank: u8,
    served: u64,
    turn: (Moment, u64),
    key: K,
}

/// Whose turn it is.
#[derive(Clone, Debug)]
pub(crate) struct Next<K> {
    pub(crate) key: K,
    pub(crate) rank: u8,
    /// Whether it goes because it has waited long.
    pub(crate) by_age: bool,
    domain: ModelName,
}

impl<K: Ord + Copy, W: Wanted, X> Queue<K, W, X> {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn contains(&self, key: K) -> bool {
        self.waiting.contains_key(&key)
    }

    pub(crate) fn get(&self, key: K) -> Option<&Waiting<W, X>> {
        self.waiting.get(&key).map(|(request, _)| request)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = K> {
        self.waiting.keys().copied()
    }

    /// What each waiting request wants, and how many want it.
    pub(crate) fn wants(&self) -> impl Iterator<Item = (&W, usize)> {
        let lines = self.domains.values().flat_map(|domain| &domain.lines);
        lines.map(|(want, line)| (&**want, line.len()))
    }

    /// What each waiting request wants, with those that want it.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&W, impl Iterator<Item = &Waiting<W, X>>)> {
        let lines = self.domains.values().flat_map(|domain| &domain.lines);
        lines.map(|(want, line)| {
            let keys = line.apps.values().flat_map(BTreeMap::values).map(|(key, _)| key);
            (&**want, keys.filter_map(|key| self.get(*key)))
        })
    }

    /// Somebody works who could serve `want`: those who want it wait for that without limit.
    pub(crate) fn is_busy(&mut self, want: &W) {
        let domain = want.domain().and_then(|name| self.domains.get_mut(name));
        if let Some(line) = domain.and_then(|domain| domain.lines.get_mut(want)) {
            line.stranded = None;
        }
    }

    /// All that wait in the order in which they would go if a slot freed for each, for each domain; those of a lower
    /// `class` first. Age is left out.
    pub(crate) fn order(&self, class: impl Fn(&W) -> u8) -> Vec<(&ModelName, Vec<K>)> {
        self.domains.iter().map(|(name, domain)| (name, self.order_in(domain, &class))).collect()
    }

    fn order_in(&self, domain: &Domain<K, W>, class: &impl Fn(&W) -> u8) -> Vec<K> {
        let mut classes: BTreeMap<u8, BTreeMap<&App, Vec<Turn<K>>>> = BTreeMap::new();
        for (want, line) in &domain.lines {
            let apps = classes.entry(class(want)).or_default();
            for (app, turns) in &line.apps {
                apps.entry(app).or_default().extend(turns.iter().map(|(turn, (key, _))| (*turn, *key)));
            }
        }
        let mut served: BTreeMap<&App, u64> = BTreeMap::new();
        let mut order = Vec::new();
        for apps in classes.values_mut() {
            let mut heads: BTreeSet<(u64, (Moment, u64), K, &App)> = BTreeSet::new();
            for (app, turns) in apps.iter_mut() {
                // The next one is the last.
                turns.sort_unstable_by(|a, b| b.cmp(a));
                let so_far = domain.accounts.get(*app).map_or(0, |account| account.served);
                let so_far = *served.entry(app).or_insert(so_far);
                heads.extend(turns.pop().map(|(turn, key)| (so_far, turn, key, *app)));
            }
            while let Some((so_far, _, key, app)) = heads.pop_first() {
                order.push(key);
                let so_far = so_far + self.get(key).map_or(0, Waiting::cost);
                served.insert(app, so_far);
                let next = apps.get_mut(app).and_then(Vec::pop);
                heads.extend(next.map(|(turn, key)| (so_far, turn, key, app)));
            }
        }
        order
    }

    /// How many wait under `name`.
    pub(crate) fn waiting_under(&self, name: &ModelName) -> usize {
        self.domains.get(name).map_or(0, |domain| domain.lines.values().map(Line::len).sum())
    }

    pub(crate) fn push(&mut self, key: K, request: Waiting<W, X>) {
        let Some(name) = request.want.domain() else { return };
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
    pub(crate) fn remove(&mut self, key: K) -> Option<Waiting<W, X>> {
        let (request, turn) = self.waiting.remove(&key)?;
        let name = request.want.domain()?;
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
    pub(crate) fn next(&mut self, now: Moment, has_room: impl Fn(&W) -> bool) -> Option<(K, Waiting<W, X>)> {
        let next = self.turn(now, |want| has_room(want).then_some(0), |_| false)?;
        self.take(next)
    }

    /// Whose turn it is among those whose want has a `rank`, less before more, leaving out those that were `passed` over.
    pub(crate) fn turn(
        &self,
        now: Moment,
        rank: impl Fn(&W) -> Option<u8>,
        passed: impl Fn(&K) -> bool,
    ) -> Option<Next<K>> {
        let mut next: Option<(Head<K>, bool, &ModelName)> = None;
        for (name, domain) in &self.domains {
            let mut oldest: Option<Head<K>> = None;
            let mut fairest: Option<Head<K>> = None;
            for (want, line) in &domain.lines {
                let Some(rank) = rank(want) else { continue };
                for (app, turns) in &line.apps {
                    let Some((&turn, &(key, _))) = turns.iter().find(|(_, (key, _))| !passed(key)) else { continue };
                    let served = domain.accounts.get(app).map_or(0, |account| account.served);
                    let head = Head { rank, served, turn, key };
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
        next.map(|(head, by_age, name)| Next { key: head.key, rank: head.rank, by_age, domain: name.clone() })
    }

    /// Takes out whose turn it is, and charges its app.
    pub(crate) fn take(&mut self, next: Next<K>) -> Option<(K, Waiting<W, X>)> {
        let domain = self.domains.get_mut(&next.domain)?;
        domain.fair_turn = next.by_age;
        let (request, _) = self.waiting.get(&next.key)?;
        if let Some(account) = domain.accounts.get_mut(&request.app) {
            domain.floor = domain.floor.max(account.served);
            account.served += request.cost();
        }
        self.remove(next.key).map(|request| (next.key, request))
    }

    /// Looks how each line stands, and tells `waits` of each that waits for a backend whose loads are ours.
    pub(crate) fn look(
        &mut self,
        now: Moment,
        queue_wait: Duration,
        standing: impl Fn(&W) -> Standing,
        mut waits: impl FnMut(&W, WaitsAt, usize),
    ) -> Looked<K> {
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
#[derive(Debug)]
pub(crate) struct Looked<K> {
    /// Whose patience is at its end.
    pub(crate) impatient: Vec<K>,
    pub(crate) refused: Vec<(K, Refusal)>,
    /// When to look again.
    pub(crate) wake: Option<Moment>,
}

impl<K> Default for Looked<K> {
    fn default() -> Looked<K> {
        Looked { impatient: Vec::new(), refused: Vec::new(), wake: None }
    }
}

impl<K: Copy> Line<K> {
    fn len(&self) -> usize {
        self.apps.values().map(BTreeMap::len).sum()
    }

    /// No backend is well: whoever has no patience left goes to `lost`.
    fn strand(&mut self, now: Moment, queue_wait: Duration, lost: &mut Vec<K>) {
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
    use crate::Key;
    use crate::standing::Want;

    #[test]
    fn apps_that_came_and_went_are_forgotten() {
        let mut queue: Queue<Key, Want, ()> = Queue::default();
        let want = Arc::new(Want {
            models: vec![ModelName::new("m")],
            api: Api::OllamaChat,
            excluded: vec![],
            allowance: None,
            need: crate::context::Need::default(),
        });
        let push = |queue: &mut Queue<Key, Want, ()>, key: Key| {
            let app = Some(format!("app {key}").into());
            let (want, waited_since) = (Arc::clone(&want), Moment::default());
            queue.push(
                key,
                Waiting { want, app, estimated_tokens: key, waited_since, enqueued: waited_since, with: () },
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
