//! What arrived and was not taken yet: one bounded queue per node, taken from in turn, so that nobody fills it for others.
//!
//! Whoever brings a message waits while its sender's queue is full, stops reading that connection, and so slows the sender.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use proto::{Clock, Moment};
use tokio::sync::Notify;

use crate::{Event, NodeKey};

/// Messages that wait per node, at most; whoever brings the next one waits.
const MOST_MESSAGES: usize = 256;
/// Their bytes, at most. One message always fits.
const MOST_BYTES: usize = 512 * 1024;
/// Comings and goings of one node that wait; beyond them the middle of the story is left out.
const MOST_TURNS: usize = 8;
/// How often life signs are passed on.
const HEARD_EVERY: Duration = Duration::from_millis(250);

pub(crate) struct Inbox {
    state: Mutex<State>,
    /// Something can be taken.
    ready: Notify,
    /// Something was taken.
    room: Notify,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<NodeKey, Queue>,
    /// Nodes with something to take, each once.
    turn: VecDeque<NodeKey>,
    /// Nodes a byte of which arrived, and the flags that are up because of it.
    heard: BTreeMap<NodeKey, Arc<AtomicBool>>,
    ended: bool,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Event>,
    messages: usize,
    bytes: usize,
}

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox { state: Mutex::default(), ready: Notify::new(), room: Notify::new() }
    }

    /// Passes on that `event`, no message, happened to `node`.
    pub(crate) fn turn(&self, node: NodeKey, event: Event) {
        let mut state = self.lock();
        if state.ended {
            return;
        }
        let queue = state.queues.entry(node).or_default();
        if queue.items.iter().filter(|item| !matches!(item, Event::Message { .. })).count() >= MOST_TURNS {
            queue.forget_a_turn();
        }
        queue.items.push_back(event);
        state.take_turn(node);
        drop(state);
        self.ready.notify_one();
    }

    /// Passes on a message; waits while too many of its sender wait already. May be dropped half-way: nothing is passed on then.
    pub(crate) async fn message(&self, from: NodeKey, message: Bytes) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let mut state = self.lock();
                if state.ended {
                    return;
                }
                let queue = state.queues.entry(from).or_default();
                let fits = queue.messages < MOST_MESSAGES && queue.bytes + message.len() <= MOST_BYTES;
                if fits || queue.messages == 0 {
                    queue.messages += 1;
                    queue.bytes += message.len();
                    queue.items.push_back(Event::Message { from, message });
                    state.take_turn(from);
                    drop(state);
                    self.ready.notify_one();
                    return;
                }
            }
            room.await;
        }
    }

    /// Notes that a byte of `node` arrived. `flag` stays up until that was passed on: whoever sees it up need not call.
    pub(crate) fn heard(&self, node: NodeKey, flag: &Arc<AtomicBool>) {
        let first = {
            let mut state = self.lock();
            let first = state.heard.is_empty();
            state.heard.insert(node, flag.clone());
            first
        };
        if first {
            self.ready.notify_one();
        }
    }

    /// Drops what `node` said and was not taken yet, and says that it is gone if it was there.
    pub(crate) fn forget(&self, node: NodeKey, gone: bool) {
        let mut state = self.lock();
        let queue = state.queues.entry(node).or_default();
        // Whoever takes events knows of a connection if its end comes first here, or nothing but the present one.
        let known = match queue.items.iter().position(|item| !matches!(item, Event::Message { .. })) {
            Some(first) => matches!(queue.items[first], Event::Closed { .. }),
            None => gone,
        };
        *queue = Queue::default();
        if known {
            queue.items.push_back(Event::Closed { node });
        } else {
            state.queues.remove(&node);
        }
        state.heard.remove(&node);
        state.turn.retain(|waiting| *waiting != node);
        state.take_turn(node);
        drop(state);
        self.ready.notify_one();
        self.room.notify_waiters();
    }

    /// Nothing more will come. What is there can still be taken.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.ready.notify_one();
        self.room.notify_waiters();
    }

    fn take(&self) -> Taken {
        let mut state = self.lock();
        let Some(node) = state.turn.pop_front() else {
            return match (state.ended, state.heard.is_empty()) {
                (true, _) => Taken::End,
                (false, true) => Taken::Nothing,
                (false, false) => Taken::OnlyHeard,
            };
        };
        let Some(queue) = state.queues.get_mut(&node) else { return Taken::Skip };
        let Some(event) = queue.items.pop_front() else { return Taken::Skip };
        if let Event::Message { message, .. } = &event {
            queue.messages -= 1;
            queue.bytes -= message.len();
            if let Some(flag) = state.heard.remove(&node) {
                // The message says it as well.
                flag.store(false, Ordering::Relaxed);
            }
        }
        if state.queues.get(&node).is_some_and(|queue| queue.items.is_empty()) {
            state.queues.remove(&node);
        } else {
            state.turn.push_back(node);
        }
        drop(state);
        self.room.notify_waiters();
        Taken::Event(event)
    }

    fn take_heard(&self) -> Vec<NodeKey> {
        let heard = std::mem::take(&mut self.lock().heard);
        heard
            .into_iter()
            .map(|(node, flag)| {
                flag.store(false, Ordering::Relaxed);
                node
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_turn(&mut self, node: NodeKey) {
        if self.queues.contains_key(&node) && !self.turn.contains(&node) {
            self.turn.push_back(node);
        }
    }
}

impl Queue {
    /// Leaves out one whole connection of which the beginning and the end both still wait here.
    fn forget_a_turn(&mut self) {
        let Some(from) = self.items.iter().position(|item| matches!(item, Event::Connected { .. })) else { return };
        let ends = |item: &Event| matches!(item, Event::Closed { .. });
        let Some(to) = self.items.iter().skip(from).position(ends) else { return };
        for item in self.items.drain(from..=from + to) {
            if let Event::Message { message, .. } = item {
                self.messages -= 1;
                self.bytes -= message.len();
            }
        }
    }
}

enum Taken {
    Event(Event),
    Skip,
    OnlyHeard,
    Nothing,
    End,
}

/// What happens on the mesh, in the order in which it happened to each node.
pub struct Events {
    inbox: Arc<Inbox>,
    clock: Clock,
    heard: Vec<NodeKey>,
    heard_at: Moment,
}

impl Events {
    pub(crate) fn new(inbox: Arc<Inbox>, clock: Clock) -> Events {
        Events { inbox, clock, heard: Vec::new(), heard_at: clock.now() }
    }

    /// The next event; `None` when the mesh has stopped and all was taken. May be dropped half-way: nothing is lost then.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(from) = self.heard.pop() {
                return Some(Event::Heard { from });
            }
            let since = self.clock.now().since(self.heard_at);
            if since >= HEARD_EVERY {
                self.listen();
                if !self.heard.is_empty() {
                    continue;
                }
            }
            match self.inbox.take() {
                Taken::Event(event) => return Some(event),
                Taken::Skip => {}
                Taken::End => return None,
                // Whoever puts something in leaves a permit, so nothing is missed between looking and waiting.
                Taken::Nothing => self.inbox.ready.notified().await,
                Taken::OnlyHeard => {
                    let due = tokio::time::sleep(HEARD_EVERY.saturating_sub(since));
                    let is_due = tokio::select! {
                        () = self.inbox.ready.notified() => false,
                        () = due => true,
                    };
                    if is_due {
                        self.listen();
                    }
                }
            }
        }
    }

    fn listen(&mut self) {
        self.heard = self.inbox.take_heard();
        self.heard_at = self.clock.now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> (Arc<Inbox>, Events) {
        fn now() -> Moment {
            static START: std::sync::OnceLock<tokio::time::Instant> = std::sync::OnceLock::new();
            #[allow(clippy::disallowed_methods, reason = "the clock of a test")]
            let (start, now) = (*START.get_or_init(tokio::time::Instant::now), tokio::time::Instant::now());
            Moment::at(now.saturating_duration_since(start))
        }
        let inbox = Arc::new(Inbox::new());
        (inbox.clone(), Events::new(inbox, Clock::new(now, || 0)))
    }

    fn node(byte: u8) -> NodeKey {
        [byte; 32].into()
    }

    fn connected(byte: u8) -> Event {
        Event::Connected { node: node(byte), address: ([127, 0, 0, 1], 1).into() }
    }

    fn closed(byte: u8) -> Event {
        Event::Closed { node: node(byte) }
    }

    fn said(byte: u8, text: &'static str) -> Event {
        Event::Message { from: node(byte), message: Bytes::from_static(text.as_bytes()) }
    }

    async fn all(events: &mut Events) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = events.next().await {
            all.push(event);
        }
        all
    }

    #[tokio::test]
    async fn nodes_take_turns_and_each_keeps_its_order() {
        let (inbox, mut events) = setup();
        inbox.turn(node(1), connected(1));
        for text in ["a", "b", "c"] {
            inbox.message(node(1), Bytes::from_static(text.as_bytes())).await;
        }
        inbox.message(node(2), Bytes::from_static(b"x")).await;
        inbox.turn(node(1), closed(1));
        inbox.end();
        let expected = [connected(1), said(2, "x"), said(1, "a"), said(1, "b"), said(1, "c"), closed(1)];
        assert_eq!(all(&mut events).await, expected);
    }

    #[tokio::test]
    async fn who_fills_its_queue_waits_and_others_do_not() {
        let (inbox, mut events) = setup();
        for _ in 0..MOST_MESSAGES {
            inbox.message(node(1), Bytes::from_static(b"m")).await;
        }
        let mut one_more = Box::pin(inbox.message(node(1), Bytes::from_static(b"late")));
        assert!(futures_util::poll!(&mut one_more).is_pending());
        inbox.message(node(2), Bytes::from_static(b"x")).await;
        assert_eq!(events.next().await, Some(said(1, "m")));
        one_more.await;
        let huge = Bytes::from(vec![0; MOST_BYTES + 1]);
        inbox.message(node(3), huge.clone()).await;
        assert!(futures_util::poll!(Box::pin(inbox.message(node(3), huge))).is_pending());
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_are_passed_on_once_in_a_while() {
        let (inbox, mut events) = setup();
        let flag = Arc::new(AtomicBool::new(true));
        inbox.heard(node(1), &flag);
        assert_eq!(events.next().await, Some(Event::Heard { from: node(1) }));
        assert!(!flag.load(Ordering::Relaxed));
        // A message is a sign of life itself.
        flag.store(true, Ordering::Relaxed);
        inbox.heard(node(1), &flag);
        inbox.message(node(1), Bytes::from_static(b"m")).await;
        assert_eq!(events.next().await, Some(said(1, "m")));
        inbox.end();
        assert_eq!(events.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn many_messages_do_not_drown_the_signs_of_life_of_others() {
        let (inbox, mut events) = setup();
        inbox.heard(node(2), &Arc::default());
        for _ in 0..3 {
            inbox.message(node(1), Bytes::from_static(b"m")).await;
        }
        assert_eq!(events.next().await, Some(said(1, "m")));
        tokio::time::advance(HEARD_EVERY).await;
        assert_eq!(events.next().await, Some(Event::Heard { from: node(2) }));
    }

    #[tokio::test]
    async fn what_a_removed_node_said_is_forgotten() {
        for (before, gone, expected) in [
            // Nothing was taken of it: it was never there.
            (vec![connected(1)], true, vec![]),
            (vec![connected(1), closed(1)], false, vec![]),
            // It was seen, and is gone.
            (vec![], true, vec![closed(1)]),
            (vec![closed(1), connected(1)], true, vec![closed(1)]),
            // It was seen to go already.
            (vec![], false, vec![]),
        ] {
            let (inbox, mut events) = setup();
            for event in &before {
                inbox.turn(node(1), event.clone());
            }
            inbox.message(node(1), Bytes::from_static(b"m")).await;
            inbox.forget(node(1), gone);
            inbox.end();
            assert_eq!(all(&mut events).await, expected, "{before:?} {gone}");
        }
    }

    #[tokio::test]
    async fn a_long_story_is_shortened_in_the_middle() {
        let (inbox, mut events) = setup();
        for _ in 0..100 {
            inbox.turn(node(1), connected(1));
            inbox.message(node(1), Bytes::from_static(b"m")).await;
            inbox.turn(node(1), closed(1));
        }
        inbox.turn(node(1), connected(1));
        inbox.end();
        let all = all(&mut events).await;
        assert!(all.len() <= 2 * MOST_TURNS, "{}", all.len());
        let turns: Vec<_> = all.iter().filter(|event| !matches!(event, Event::Message { .. })).collect();
        assert!(
            turns.chunks(2).all(|pair| *pair[0] == connected(1) && pair.get(1).is_none_or(|end| **end == closed(1)))
        );
        assert_eq!(all.last(), Some(&connected(1)));
    }
}
