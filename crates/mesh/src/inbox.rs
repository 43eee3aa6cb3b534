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
mod tests;
