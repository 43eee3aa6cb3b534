//! Faults that a test asks for: how an engine or a server goes wrong, how often, and for which requests.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most faults that may be set at once; one more is refused.
pub(crate) const MOST: usize = 64;

/// A way to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Each token takes `after` milliseconds (100 when not said).
    Slow,
    /// Every `after`-th request (second when not said) gets a 500 at once.
    Flaky,
    /// The request is read and never answered.
    Silent,
    /// After `after` tokens nothing more comes and the connection stays open.
    HangAfter,
    /// After `after` tokens the engine hangs: none of its answers goes on, and the next request for it waits for two
    /// pings and then loads the model again, as soon as nobody waits for the old one any more.
    EngineHangsAfter,
    /// After `after` tokens the connection is reset.
    CutAfter,
    /// After `after` tokens the engine dies, and with it every answer it was giving.
    RunnerDiesAfter,
    /// The engine dies before its first token.
    RunnerDiesBefore,
    /// 503, as when the queue is full.
    Busy503,
    /// Loading takes `after` milliseconds (one minute when not said).
    Loading,
    /// The engine dies while it loads.
    LoadDies,
    /// The engine does not start.
    LoadNeverStarts,
    /// The engine does not get the memory that it needs.
    LoadLacksMemory,
    /// Loading takes longer than Ollama waits.
    LoadTimesOut,
    /// The connection is closed right after the answer, without a word in its headers.
    CloseIdle,
    /// Half of the answer's first line is sent, then the connection is closed.
    HalfHeader,
    /// The model repeats one token; Ollama ends the answer after 31 of them, without a final record.
    #[serde(rename = "repeat31")]
    Repeat31,
}

/// One fault: its kind and the requests it touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The way to go wrong.
    pub kind: FaultKind,
    /// Tokens, milliseconds or requests, as the kind says.
    #[serde(default)]
    pub after: Option<u64>,
    /// Requests it touches before it is over; `None` for all.
    #[serde(default)]
    pub times: Option<u64>,
    /// Only requests for this model, written as the request writes it.
    #[serde(default)]
    pub model: Option<String>,
    /// Only requests whose path begins so. Without it: every POST under /api and /v1.
    #[serde(default)]
    pub path: Option<String>,
}

impl Fault {
    /// A fault of this kind for every request, until it is cleared.
    pub fn new(kind: FaultKind) -> Fault {
        Fault { kind, after: None, times: None, model: None, path: None }
    }

    /// The same with `after`.
    #[must_use]
    pub fn after(self, after: u64) -> Fault {
        Fault { after: Some(after), ..self }
    }

    /// The same for the next `times` requests only.
    #[must_use]
    pub fn times(self, times: u64) -> Fault {
        Fault { times: Some(times), ..self }
    }

    fn touches(&self, method: &str, path: &str, model: &str) -> bool {
        let here = match &self.path {
            Some(begin) => path.starts_with(begin.as_str()),
            None => method == "POST",
        };
        here && self.model.as_deref().is_none_or(|only| only == model)
    }
}

/// Reads `KIND[:AFTER[:TIMES]]`, as the flag `--fault` has it.
impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let mut parts = text.split(':');
        let kind = parts.next().unwrap_or_default();
        let kind: FaultKind = serde_json::from_value(serde_json::Value::String(kind.replace('-', "_")))
            .map_err(|_| format!("{kind:?} is not a kind of fault"))?;
        let mut number = || {
            let part = parts.next().filter(|part| !part.is_empty());
            part.map(|part| part.parse::<u64>().map_err(|_| format!("{part:?} is not a number"))).transpose()
        };
        let (after, times) = (number()?, number()?);
        Ok(Fault { after, times, ..Fault::new(kind) })
    }
}

/// What the faults do to one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) token_delay: Option<Duration>,
    pub(crate) fails: bool,
    pub(crate) silent: bool,
    pub(crate) hang_after: Option<u64>,
    pub(crate) engine_hangs_after: Option<u64>,
    pub(crate) cut_after: Option<u64>,
    pub(crate) dies_after: Option<u64>,
    pub(crate) dies_before: bool,
    pub(crate) busy: bool,
    pub(crate) load: Option<Duration>,
    pub(crate) load_fails: Option<&'static str>,
    pub(crate) close_idle: bool,
    pub(crate) half_header: bool,
    pub(crate) repeats: bool,
}

/// The faults that are set, at most [`MOST`].
#[derive(Debug, Default)]
pub(crate) struct Faults {
    set: Vec<(Fault, u64)>,
}

impl Faults {
    /// Sets one more; false when there are too many.
    pub(crate) fn set(&mut self, fault: Fault) -> bool {
        let room = self.set.len() < MOST;
        if room {
            self.set.push((fault, 0));
        }
        room
    }

    pub(crate) fn clear(&mut self) {
        self.set.clear();
    }

    /// The faults still in force.
    pub(crate) fn list(&self) -> Vec<&Fault> {
        self.set.iter().map(|(fault, _)| fault).collect()
    }

    /// What happens to this request; counts it.
    pub(crate) fn effects(&mut self, method: &str, path: &str, model: &str) -> Effects {
        let mut effects = Effects::default();
        for (fault, seen) in &mut self.set {
            if !fault.touches(method, path, model) {
                continue;
            }
            *seen += 1;
            if fault.kind == FaultKind::Flaky && !seen.is_multiple_of(fault.after.unwrap_or(2).max(1)) {
                continue;
            }
            effects.add(fault);
            fault.times = fault.times.map(|left| left.saturating_sub(1));
        }
        self.set.retain(|(fault, _)| fault.times != Some(0));
        effects
    }
}

impl Effects {
    fn add(&mut self, fault: &Fault) {
        let after = fault.after.unwrap_or(0);
        let millis = |otherwise| Some(Duration::from_millis(fault.after.unwrap_or(otherwise)));
        match fault.kind {
            FaultKind::Slow => self.token_delay = millis(100),
            FaultKind::Flaky => self.fails = true,
            FaultKind::Silent => self.silent = true,
            FaultKind::HangAfter => self.hang_after = Some(after),
            FaultKind::EngineHangsAfter => self.engine_hangs_after = Some(after),
            FaultKind::CutAfter => self.cut_after = Some(after),
            FaultKind::RunnerDiesAfter => self.dies_after = Some(after),
            FaultKind::RunnerDiesBefore => self.dies_before = true,
            FaultKind::Busy503 => self.busy = true,
            FaultKind::Loading => self.load = millis(60_000),
            FaultKind::LoadDies => self.load_fails = Some("llama-server process no longer running: unknown "),
            FaultKind::LoadNeverStarts => {
                self.load_fails =
                    Some("llama-server process has terminated: exit status 1: error: invalid argument: --no-such-flag");
            }
            FaultKind::LoadLacksMemory => {
                self.load_fails = Some(
                    "llama-server process has terminated: exit status 1: error: failed to allocate buffer for kv cache",
                );
            }
            FaultKind::LoadTimesOut => self.load_fails = Some("timed out waiting for llama-server to start - "),
            FaultKind::CloseIdle => self.close_idle = true,
            FaultKind::HalfHeader => self.half_header = true,
            FaultKind::Repeat31 => self.repeats = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_touches_what_it_names() {
        let mut faults = Faults::default();
        assert!(faults.set(Fault { model: Some("tiny".into()), ..Fault::new(FaultKind::Busy503).times(1) }));
        assert!(!faults.effects("POST", "/api/chat", "other").busy);
        assert!(!faults.effects("GET", "/api/tags", "tiny").busy);
        assert!(faults.effects("POST", "/api/chat", "tiny").busy);
        assert!(!faults.effects("POST", "/api/chat", "tiny").busy, "its one time is over");
    }

    #[test]
    fn flaky_spares_all_but_every_nth() {
        let mut faults = Faults::default();
        assert!(faults.set(Fault::new(FaultKind::Flaky).after(3)));
        let fails: Vec<bool> = (0..6).map(|_| faults.effects("POST", "/api/chat", "x").fails).collect();
        assert_eq!(fails, [false, false, true, false, false, true]);
    }

    #[test]
    fn the_flag_reads_kind_after_and_times() {
        for (text, fault) in [
            ("silent", Ok(Fault::new(FaultKind::Silent))),
            ("cut-after:3:1", Ok(Fault::new(FaultKind::CutAfter).after(3).times(1))),
            ("flaky::2", Ok(Fault::new(FaultKind::Flaky).times(2))),
            ("repeat31", Ok(Fault::new(FaultKind::Repeat31))),
            ("nonsense", Err("\"nonsense\" is not a kind of fault".to_owned())),
        ] {
            assert_eq!(text.parse::<Fault>(), fault, "{text}");
        }
    }

    #[test]
    fn no_more_than_the_limit_can_be_set() {
        let mut faults = Faults::default();
        assert!((0..MOST).all(|_| faults.set(Fault::new(FaultKind::Slow))));
        assert!(!faults.set(Fault::new(FaultKind::Slow)));
    }
}
