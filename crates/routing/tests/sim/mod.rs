//! An Ollama in virtual time, with clients and other programs, and an account of what the router does with it.
//!
//! The server behaves as measured: it loads a model again for any other context, makes an idle model leave when it is
//! full, and lets a load wait until there is one. It says what is in memory when asked, once a second and after jobs.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proto::{BackendState, KeepAlive, Loaded, ModelName, Moment};
use routing::{Ask, Ending, Input, Job, JobFault, JobId, Key, Output, Refusal, Router, Settings, Verdict};

use super::fixture::{ask, ollama, secs};

pub const DEFAULT: u64 = 4096;

/// What a server is like.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Models in memory at once.
    pub room: usize,
    pub slots: u32,
    /// Whether the router is told both.
    pub tells: bool,
    /// How long each model takes to load.
    pub loads: Vec<Duration>,
    /// Every so many-th load fails; 0: none.
    pub fails: usize,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub at: Duration,
    pub model: usize,
    pub takes: Duration,
    pub bytes: u64,
    pub wanted: Option<u64>,
    pub keep_alive: Option<KeepAlive>,
    pub app: usize,
    /// Leaves after so long, if it still waits.
    pub patience: Option<Duration>,
}

/// What another program does at the server.
#[derive(Clone, Copy, Debug)]
pub enum Other {
    Loads(usize),
    Unloads(usize),
}

#[derive(Clone, Debug)]
enum Event {
    Arrive(Box<Request>),
    Leaves(Key),
    Content(Key),
    Ends(Key),
    Job(JobId),
    Asked,
    Other(Other),
}

#[derive(Clone, Debug)]
struct Runner {
    context: u64,
    running: u32,
    since: Moment,
    granted: u32,
}

#[derive(Debug)]
struct Going {
    job: Job,
    is_load: bool,
    /// When it can be done, once the server has begun with it.
    until: Option<Moment>,
}

/// One server, its router and everybody around them.
pub struct Sim {
    pub router: Router,
    pub now: Moment,
    pub kind: Kind,
    names: Vec<String>,
    runners: BTreeMap<String, Runner>,
    going: Option<Going>,
    events: BTreeMap<(Moment, u64), Event>,
    serial: u64,
    pub waiting: BTreeMap<Key, (Request, Moment)>,
    working: BTreeMap<Key, String>,
    asked: u64,
    pub answered: BTreeSet<Key>,
    pub refused: Vec<(Key, Refusal)>,
    pub verdicts: Vec<(Key, Verdict, Option<u64>)>,
    pub waits: BTreeMap<Key, Duration>,
    /// Jobs begun, as text.
    pub loads: Vec<(Moment, String, Option<u64>)>,
    pub unloads: Vec<(Moment, String)>,
    /// Models that the server itself made leave.
    pub evicted: usize,
    /// For each model, since when somebody waits and nobody was granted.
    hungry: BTreeMap<String, Moment>,
    pub longest_hunger: Duration,
    pub has_others: bool,
    pub story: Vec<String>,
}

impl Sim {
    pub fn new(kind: Kind, seed: u64) -> Sim {
        let names = (0..kind.loads.len()).map(|model| format!("m{model}")).collect();
        let mut sim = Sim {
            router: Router::new(Settings { queue_size: 10_000, ..Settings::default() }, seed),
            now: secs(1000),
            kind,
            names,
            runners: BTreeMap::new(),
            going: None,
            events: BTreeMap::new(),
            serial: 0,
            waiting: BTreeMap::new(),
            working: BTreeMap::new(),
            asked: 0,
            answered: BTreeSet::new(),
            refused: Vec::new(),
            verdicts: Vec::new(),
            waits: BTreeMap::new(),
            loads: Vec::new(),
            unloads: Vec::new(),
            evicted: 0,
            hungry: BTreeMap::new(),
            longest_hunger: Duration::ZERO,
            has_others: false,
            story: Vec::new(),
        };
        sim.tell();
        sim.later(Duration::from_secs(1), Event::Asked);
        sim
    }

    pub fn request(&mut self, request: Request) {
        self.later(request.at, Event::Arrive(Box::new(request)));
    }

    pub fn other(&mut self, at: Duration, other: Other) {
        self.has_others = true;
        self.later(at, Event::Other(other));
    }

    /// Lets time pass until `span` is over.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        let mut still = 0;
        loop {
            let event = self.events.keys().next().map(|key| key.0);
            let wake = self.router.poll_timeout();
            let Some(next) = [event, wake].into_iter().flatten().min().filter(|next| *next <= end) else { break };
            assert!(next >= self.now, "nothing wakes in the past");
            still = if next == self.now { still + 1 } else { 0 };
            assert!(still < 10_000, "spins at {:?}", self.now);
            self.now = next;
            if event == Some(next) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happens(event);
            } else {
                self.router.handle_timeout(next);
                self.look();
            }
        }
        self.now = end;
    }

    /// Lets time pass until everybody who comes has had an answer, or `most` has passed.
    pub fn run_to_rest(&mut self, most: Duration) {
        let end = self.now + most;
        let is_coming = |event: &Event| matches!(event, Event::Arrive(_) | Event::Other(_));
        while self.now < end && (!self.is_at_rest() || self.events.values().any(is_coming)) {
            self.run(Duration::from_secs(20));
        }
        self.run(Duration::from_secs(20));
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.serial += 1;
        self.events.insert((self.now + after, self.serial), event);
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrive(request) => {
                self.asked += 1;
                let key = self.asked;
                let name = &self.names[request.model];
                let asked = Ask {
                    text_bytes: request.bytes,
                    context_wanted: request.wanted,
                    keep_alive: request.keep_alive,
                    app: Some(format!("app {}", request.app).into()),
                    max_tokens: Some(100),
                    ..ask(&[name], self.now)
                };
                self.hungry.entry(name.clone()).or_insert(self.now);
                if let Some(patience) = request.patience {
                    self.later(patience, Event::Leaves(key));
                }
                self.waiting.insert(key, (*request, self.now));
                self.tell_router(Input::Arrive(key, asked));
            }
            Event::Leaves(key) => {
                if self.waiting.remove(&key).is_some() {
                    self.answered.insert(key);
                    self.feed();
                    self.tell_router(Input::Leave(key));
                }
            }
            Event::Content(key) => self.tell_router(Input::FirstContent(key)),
            Event::Ends(key) => {
                if let Some(name) = self.working.remove(&key)
                    && let Some(runner) = self.runners.get_mut(&name)
                {
                    runner.running = runner.running.saturating_sub(1);
                }
                self.tell_router(Input::Finish(key, Ending::Answered));
                self.serve();
            }
            Event::Job(id) => self.job_ends(id),
            Event::Asked => {
                self.tell();
                self.later(Duration::from_secs(1), Event::Asked);
            }
            Event::Other(other) => self.other_happens(other),
        }
    }

    fn other_happens(&mut self, other: Other) {
        match other {
            Other::Loads(model) => {
                let name = self.names[model].clone();
                if !self.runners.contains_key(&name) && self.going.is_none() && self.make_room(&name) {
                    self.put(name, DEFAULT);
                }
            }
            Other::Unloads(model) => {
                let name = &self.names[model];
                if self.runners.get(name).is_some_and(|runner| runner.running == 0) {
                    self.runners.remove(name);
                }
            }
        }
        self.serve();
    }

    fn put(&mut self, name: String, context: u64) {
        self.runners.insert(name, Runner { context, running: 0, since: self.now, granted: 0 });
        assert!(self.runners.len() <= self.kind.room);
    }

    /// Makes an idle model leave if the server is full; tells whether there is room.
    fn make_room(&mut self, name: &str) -> bool {
        if self.runners.len() < self.kind.room || self.runners.contains_key(name) {
            return true;
        }
        let idle = self.runners.iter().find(|(_, runner)| runner.running == 0).map(|(name, _)| name.clone());
        let Some(idle) = idle else { return false };
        self.evicted += 1;
        self.runners.remove(&idle);
        true
    }

    /// The server goes on with the job, if it can.
    fn serve(&mut self) {
        let Some(going) = &self.going else { return };
        if going.until.is_some() {
            return;
        }
        let (id, name, is_load) = (going.job.id, going.job.model.clone(), going.is_load);
        let runner = self.runners.get(&name);
        let is_busy = runner.is_some_and(|runner| runner.running > 0);
        let context = going.job.context.unwrap_or(DEFAULT);
        let takes = if !is_load {
            if is_busy { None } else { Some(Duration::from_millis(20)) }
        } else if runner.is_some_and(|runner| runner.context == context) {
            Some(Duration::from_millis(5))
        } else if is_busy || !self.make_room(&name) {
            None
        } else {
            self.runners.remove(&name);
            let model = self.names.iter().position(|other| *other == name).unwrap();
            Some(self.kind.loads[model])
        };
        if let Some(takes) = takes {
            let until = self.now + takes;
            self.going.as_mut().unwrap().until = Some(until);
            self.later(takes, Event::Job(id));
        }
    }

    fn job_ends(&mut self, id: JobId) {
        let going = self.going.take().unwrap();
        assert_eq!(going.job.id, id);
        let name = going.job.model.clone();
        let fails = self.kind.fails > 0 && going.is_load && self.loads.len().is_multiple_of(self.kind.fails);
        if fails {
            let fault =
                JobFault { reason: "broken".to_owned(), is_memory: false, retry: self.loads.len().is_multiple_of(2) };
            self.tell_router(Input::JobEnded { id, result: Err(fault) });
            return self.tell();
        }
        if going.is_load {
            let context = going.job.context.unwrap_or(DEFAULT);
            if !self.runners.contains_key(&name) {
                // Another program may have been faster.
                if !self.make_room(&name) {
                    let fault = JobFault { reason: "no room".to_owned(), is_memory: true, retry: true };
                    self.tell_router(Input::JobEnded { id, result: Err(fault) });
                    return self.tell();
                }
                self.put(name, context);
            }
        } else {
            self.runners.remove(&name);
        }
        self.tell_router(Input::JobEnded { id, result: Ok(()) });
        self.tell();
    }

    /// Says what is in memory.
    fn tell(&mut self) {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let mut state: BackendState = ollama("o", &names);
        if self.kind.tells {
            state.slots = Some(self.kind.slots);
            state.most_loaded = Some(u32::try_from(self.kind.room).unwrap_or(u32::MAX));
        } else {
            state.slots = Some(self.kind.slots);
        }
        for model in &mut state.models {
            model.loaded = self.runners.get(&model.id).map(|runner| Loaded {
                context: Some(runner.context),
                size: None,
                size_vram: None,
                expires_at: None,
            });
        }
        self.tell_router(Input::Backends(vec![Arc::new(state)]));
    }

    fn tell_router(&mut self, input: Input) {
        self.router.handle(input, self.now);
        self.look();
    }

    /// Notes who is fed and who is hungry.
    fn feed(&mut self) {
        let wanted: BTreeSet<&String> = self.waiting.values().map(|(request, _)| &self.names[request.model]).collect();
        self.hungry.retain(|name, _| wanted.contains(name));
    }

    fn look(&mut self) {
        while let Some(output) = self.router.poll_output() {
            self.story.push(format!("{:?} {}", self.now, brief(&output)));
            match output {
                Output::Grant(key, grant) => {
                    let (request, since) = self.waiting.remove(&key).expect("asked, and not answered before");
                    assert!(self.answered.insert(key));
                    self.waits.insert(key, self.now.since(since));
                    self.verdicts.push((key, grant.verdict, grant.context));
                    let name = self.names[request.model].clone();
                    if let Some(since) = self.hungry.remove(&name) {
                        self.longest_hunger = self.longest_hunger.max(self.now.since(since));
                    }
                    if self.waiting.values().any(|(other, _)| other.model == request.model) {
                        self.hungry.insert(name.clone(), self.now);
                    }
                    let slots = self.kind.slots;
                    let is_loading = self.going.as_ref().is_some_and(|going| going.job.model == name);
                    match self.runners.get_mut(&name) {
                        Some(runner) => {
                            runner.running += 1;
                            runner.granted += 1;
                            assert!(runner.running <= slots, "{name}: more than {slots}");
                            assert!(self.has_others || grant.context == Some(runner.context), "would load again");
                        }
                        None => assert!(self.has_others, "{name} is not in memory: {}", self.end_of_story()),
                    }
                    assert!(self.has_others || !is_loading, "{name} is being loaded");
                    self.working.insert(key, name);
                    self.later(request.takes / 2, Event::Content(key));
                    self.later(request.takes, Event::Ends(key));
                }
                Output::Refuse(key, refusal) => {
                    self.waiting.remove(&key).expect("asked, and not answered before");
                    assert!(self.answered.insert(key));
                    self.refused.push((key, refusal));
                    self.feed();
                }
                Output::Move(key) => assert!(self.working.contains_key(&key)),
                Output::Load(job) => {
                    assert!(!self.working.values().any(|name| *name == job.model), "{}", self.end_of_story());
                    self.loads.push((self.now, job.model.clone(), job.context));
                    self.begin(job, true);
                }
                Output::Unload(job) => {
                    assert!(!self.working.values().any(|name| *name == job.model), "{}", self.end_of_story());
                    if let Some(runner) = self.runners.get(&job.model) {
                        let is_wanted = self.waiting.values().any(|(other, _)| self.names[other.model] == job.model);
                        let stayed = self.now.since(runner.since);
                        assert!(!is_wanted || stayed >= Duration::from_secs(1), "{} had no turn", job.model);
                        assert!(
                            !is_wanted || runner.granted > 0 || self.has_others,
                            "{} for nothing: {}",
                            job.model,
                            self.end_of_story()
                        );
                    }
                    self.unloads.push((self.now, job.model.clone()));
                    self.begin(job, false);
                }
            }
        }
    }

    fn begin(&mut self, job: Job, is_load: bool) {
        assert!(self.going.is_none(), "one job at a time");
        self.going = Some(Going { job, is_load, until: None });
        self.serve();
    }

    pub fn end_of_story(&self) -> String {
        let from = self.story.len().saturating_sub(15);
        let waiting: Vec<_> = self.waiting.values().map(|(request, _)| request.model).collect();
        let queue = self.router.queue_by_model();
        let going = &self.going.as_ref().map(|going| (&going.job.model, going.is_load, going.until));
        format!(
            "{:?} {:#?} at {:?}, waiting {waiting:?}, {going:?} {queue:?} {:?}",
            self.kind,
            &self.story[from..],
            self.now,
            self.runners,
        )
    }

    /// Nobody is left without an answer.
    pub fn is_at_rest(&self) -> bool {
        self.waiting.is_empty() && self.working.is_empty() && self.going.is_none()
    }

    pub fn name(&self, model: usize) -> ModelName {
        ModelName::new(&self.names[model])
    }
}

fn brief(output: &Output) -> String {
    match output {
        Output::Grant(key, grant) => format!("grant {key} {:?} {:?}", grant.context, grant.verdict),
        Output::Refuse(key, refusal) => format!("refuse {key}: {refusal}"),
        Output::Move(key) => format!("move {key}"),
        Output::Load(job) => format!("load {} {:?} {:?}", job.model, job.context, job.why),
        Output::Unload(job) => format!("unload {} {:?}", job.model, job.why),
    }
}

/// A small generator of numbers, so that each seed is one story.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound.max(1)
    }

    pub fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }
}
