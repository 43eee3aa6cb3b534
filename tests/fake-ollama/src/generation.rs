//! An answer in the making: one token after the other, at the pace and with the faults that were asked for.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::clock;
use crate::faults::Effects;
use crate::io::Wire;
use crate::record::Entry;
use crate::runner::Slot;
use crate::script::{Call, Cut, Script, Token};

/// Ollama ends an answer that repeats one token more than 30 times (llm/llama_server.go, August 2026).
const MOST_REPEATS: u32 = 30;

/// The next thing an answer brings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    Text(Cow<'static, str>),
    Thinking(Cow<'static, str>),
    /// The answer is complete.
    End(Finish),
    /// It ends without a word.
    Silence,
    /// The engine died.
    Died,
    /// It was cut inside of a tool call's arguments; holds the tool's name.
    BadCall(String),
    /// The connection was cut: there is nobody to tell.
    Cut,
}

/// The last record's facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Finish {
    /// `stop` or `length`.
    pub(crate) reason: &'static str,
    pub(crate) calls: Vec<Call>,
    pub(crate) prompt_tokens: u64,
    pub(crate) tokens: u64,
    pub(crate) total: Duration,
    pub(crate) load: Duration,
    pub(crate) prompt: Duration,
    pub(crate) eval: Duration,
}

/// What a [`Generation`] is started with.
pub(crate) struct Start {
    pub(crate) script: Script,
    /// Most tokens; `None` for no limit.
    pub(crate) limit: Option<u64>,
    pub(crate) stops: Vec<String>,
    /// Text that comes back before the first token.
    pub(crate) echo: String,
    /// Whether one token for ever is noticed.
    pub(crate) watches_repeats: bool,
    pub(crate) pace: Duration,
    pub(crate) effects: Effects,
    pub(crate) prompt_tokens: u64,
    pub(crate) began: Instant,
    pub(crate) load: Duration,
}

/// See the module. Dropping it frees the slot: the client left.
pub(crate) struct Generation {
    start: Start,
    slot: Slot,
    entry: Arc<Entry>,
    wire: Arc<Wire>,
    taken: u64,
    held: String,
    last: Option<Cow<'static, str>>,
    repeats: u32,
    sleep: Option<Pin<Box<Sleep>>>,
    died: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    first_token: Option<Instant>,
    /// When the last token was due.
    due: Instant,
    over: bool,
}

impl Generation {
    pub(crate) fn new(start: Start, slot: Slot, entry: Arc<Entry>, wire: Arc<Wire>) -> Generation {
        let held = start.echo.clone();
        Generation {
            start,
            slot,
            entry,
            wire,
            taken: 0,
            held,
            last: None,
            repeats: 0,
            sleep: None,
            died: None,
            first_token: None,
            due: clock::now(),
            over: false,
        }
    }

    /// The next piece. After the last one (anything but text and thinking) it must not be called again.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        loop {
            if let Some(piece) = self.fault() {
                return Poll::Ready(piece);
            }
            // Nothing wakes it: only the client can end this.
            if self.start.effects.hang_after == Some(self.taken) || self.slot.user.engine.hung.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            let limit = self.start.limit.unwrap_or(u64::MAX);
            let token = if self.taken >= limit { None } else { self.start.script.token(self.taken) };
            if token.is_some() {
                match self.wait(cx) {
                    Poll::Ready(()) if self.slot.user.engine.dead.load(Ordering::Relaxed) => continue,
                    Poll::Ready(()) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
            let Some(token) = token else {
                return Poll::Ready(self.end(limit));
            };
            self.count();
            if let Some(piece) = self.take(token) {
                return Poll::Ready(piece);
            }
        }
    }

    /// The next piece, for callers that may wait. May be dropped: the client left.
    pub(crate) async fn next(&mut self) -> Piece {
        std::future::poll_fn(|cx| self.poll_piece(cx)).await
    }

    fn fault(&mut self) -> Option<Piece> {
        let effects = &self.start.effects;
        let engine = &self.slot.user.engine;
        if effects.dies_before || effects.dies_after == Some(self.taken) {
            engine.dead.store(true, Ordering::Relaxed);
            engine.died.notify_waiters();
        }
        if effects.engine_hangs_after == Some(self.taken) {
            engine.hung.store(true, Ordering::Relaxed);
        }
        if effects.cut_after == Some(self.taken) {
            self.wire.reset();
            return Some(Piece::Cut);
        }
        engine.dead.load(Ordering::Relaxed).then_some(Piece::Died)
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let pace = self.start.effects.token_delay.unwrap_or(self.start.pace);
        if pace.is_zero() {
            return Poll::Ready(());
        }
        let due = self.due;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until((due + pace).into())));
        if sleep.as_mut().poll(cx).is_ready() {
            self.sleep = None;
            // Counted from the last due time, not from now: timers are late by up to a millisecond, each time.
            self.due = (due + pace).max(clock::now().checked_sub(pace).unwrap_or(due));
            return Poll::Ready(());
        }
        // A dead engine ends all its answers, so a long pause must not hide it.
        let engine = self.slot.user.engine.clone();
        let died = self.died.get_or_insert_with(|| Box::pin(async move { engine.died.notified().await }));
        if died.as_mut().poll(cx).is_ready() {
            self.died = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn count(&mut self) {
        self.taken += 1;
        self.first_token.get_or_insert_with(clock::now);
        self.entry.tokens.fetch_add(1, Ordering::Relaxed);
        self.slot.user.tally.tokens.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&mut self, token: Token) -> Option<Piece> {
        let text = match token {
            Token::Hidden => return None,
            Token::Thinking(text) => return Some(Piece::Thinking(text)),
            Token::Text(text) => text,
        };
        if self.start.watches_repeats {
            if self.last.as_ref() == Some(&text) {
                self.repeats += 1;
            } else {
                self.repeats = 0;
                self.last = Some(text.clone());
            }
            if self.repeats > MOST_REPEATS {
                return Some(Piece::Silence);
            }
        }
        if self.held.is_empty() && self.start.stops.is_empty() {
            return Some(Piece::Text(text));
        }
        self.held.push_str(&text);
        self.release()
    }

    /// Gives out what is held back, up to a stop word or to what may become one.
    fn release(&mut self) -> Option<Piece> {
        let stops = &self.start.stops;
        if let Some(at) = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| self.held.find(stop)).min() {
            self.held.truncate(at);
            self.start.limit = Some(self.taken);
            self.over = true;
            return (!self.held.is_empty()).then(|| Piece::Text(Cow::Owned(std::mem::take(&mut self.held))));
        }
        let may_stop = |at: usize| stops.iter().any(|stop| !stop.is_empty() && stop.starts_with(&self.held[at..]));
        let keep = self.held.char_indices().map(|(at, _)| at).find(|at| may_stop(*at)).unwrap_or(self.held.len());
        let rest = self.held.split_off(keep);
        let out = std::mem::replace(&mut self.held, rest);
        (!out.is_empty()).then_some(Piece::Text(Cow::Owned(out)))
    }

    fn end(&mut self, limit: u64) -> Piece {
        if !self.held.is_empty() {
            return Piece::Text(Cow::Owned(std::mem::take(&mut self.held)));
        }
        let short = self.taken >= limit && !self.over && self.start.script.token(self.taken).is_some();
        if short && self.start.script.cut_after(self.taken) == Cut::InArguments {
            let name = self.start.script.calls.first().map(|call| call.name.clone());
            return Piece::BadCall(name.unwrap_or_default());
        }
        let now = clock::now();
        let first = self.first_token.unwrap_or(now);
        let total = now.saturating_duration_since(self.start.began);
        let eval = now.saturating_duration_since(first);
        Piece::End(Finish {
            reason: if short { "length" } else { "stop" },
            calls: if short || self.over { Vec::new() } else { self.start.script.calls.clone() },
            prompt_tokens: self.start.prompt_tokens,
            // The token that ends an answer counts, though it is not seen.
            tokens: self.taken + u64::from(!short && !self.over && self.start.script.calls.is_empty()),
            total,
            load: self.start.load,
            prompt: total.saturating_sub(self.start.load).saturating_sub(eval),
            eval,
        })
    }
}
