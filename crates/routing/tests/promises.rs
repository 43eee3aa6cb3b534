//! What holds whatever happens: random days of a few backends, some of which fail, hang, vanish and come back.

#![allow(clippy::unwrap_used, reason = "an account that does not add up fails the test")]

mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fixture::*;
use proptest::prelude::*;
use proptest::sample::Index;
use proto::{Api, BackendState, Health, Loaded, Moment};
use routing::{Ask, Ending, Input, Job, JobFault, JobId, Key, Output, Refusal, Router, Settings};

const QUEUE_SIZE: usize = 12;
const MODELS: [&str; 4] = ["m", "n", "o", "unknown"];
const APPS: [Option<&str>; 3] = [None, Some("chat"), Some("agent")];
const APIS: [Api; 4] = [Api::OllamaChat, Api::Messages, Api::OllamaEmbed, Api::OllamaShow];

#[derive(Clone, Debug)]
enum Step {
    Arrive { api: usize, models: Vec<usize>, app: usize, tokens: u64, excluded: Option<usize> },
    Leave(Index),
    FirstContent(Index),
    Finish(Index, Ending),
    Health(usize, u8),
    Vanish(usize),
    Pass(u64),
    JobEnds { is_done: bool, is_memory: bool, retry: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let ending = prop_oneof![
        4 => Just(Ending::Answered),
        1 => Just(Ending::Failed),
        1 => Just(Ending::Busy503),
        1 => Just(Ending::Broke),
        1 => Just(Ending::Refused4xx),
        1 => Just(Ending::ClientLeft),
    ];
    let arrive = (0..APIS.len(), prop::collection::vec(0..MODELS.len(), 1..3), 0..APPS.len(), 0u64..5000);
    prop_oneof![
        12 => (arrive, prop::option::weighted(0.2, 0usize..3)).prop_map(|((api, models, app, tokens), excluded)| {
            Step::Arrive { api, models, app, tokens, excluded }
        }),
        2 => any::<Index>().prop_map(Step::Leave),
        4 => any::<Index>().prop_map(Step::FirstContent),
        8 => (any::<Index>(), ending).prop_map(|(which, ending)| Step::Finish(which, ending)),
        2 => (0usize..3, 0u8..4).prop_map(|(backend, health)| Step::Health(backend, health)),
        1 => (0usize..3).prop_map(Step::Vanish),
        4 => (0u64..40_000).prop_map(Step::Pass),
        3 => (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(is_done, is_memory, retry)| {
            Step::JobEnds { is_done, is_memory, retry }
        }),
    ]
}

/// A router beside a plain account of what it said and was told.
struct Day {
    router: Router,
    now: Moment,
    states: Vec<(BackendState, bool)>,
    next: Key,
    asked: BTreeMap<Key, Ask>,
    waiting: BTreeSet<Key>,
    working: BTreeMap<Key, (String, String, Api)>,
    has_content: BTreeSet<Key>,
    told_to_move: BTreeSet<Key>,
    /// Since when a request works whose model was in memory then.
    loaded_since: BTreeMap<Key, Moment>,
    /// Whether a backend was ever answered, and so may have more than four.
    proven: BTreeSet<String>,
    /// Jobs that run, and whether they load.
    jobs: BTreeMap<JobId, (Job, bool)>,
    memory_ended: bool,
    story: Vec<String>,
}

impl Day {
    fn new(seed: u64) -> Day {
        let states = vec![told("a", 2, &["m", "n"]), ollama("b", &["m*", "o"]), told("c", 40, &["m", "n"])];
        let settings = Settings { queue_size: QUEUE_SIZE, ..Settings::default() };
        let mut day = Day {
            router: Router::new(settings, seed),
            now: secs(1000),
            states: states.into_iter().map(|state| (state, true)).collect(),
            next: 0,
            asked: BTreeMap::new(),
            waiting: BTreeSet::new(),
            working: BTreeMap::new(),
            has_content: BTreeSet::new(),
            told_to_move: BTreeSet::new(),
            loaded_since: BTreeMap::new(),
            proven: BTreeSet::new(),
            jobs: BTreeMap::new(),
            memory_ended: false,
            story: Vec::new(),
        };
        day.tell_backends();
        day
    }

    fn tell_backends(&mut self) {
        let states = self.states.iter().filter(|(_, there)| *there).map(|(state, _)| Arc::new(state.clone())).collect();
        self.handle(Input::Backends(states));
    }

    fn handle(&mut self, input: Input) {
        self.router.handle(input, self.now);
        self.look();
    }

    /// Takes the outputs and holds them against the account.
    fn look(&mut self) {
        while let Some(output) = self.router.poll_output() {
            self.story.push(format!("{:?} {output:?}", self.now));
            match output {
                Output::Grant(key, grant) => {
                    assert!(self.waiting.remove(&key), "{key} had its answer or has left");
                    let ask = &self.asked[&key];
                    let (state, there) = self.states.iter().find(|(state, _)| state.id == grant.backend.id).unwrap();
                    assert!(*there && state.health.is_up() && !ask.excluded.contains(&state.id));
                    assert_eq!(grant.candidates[0].backend, state.id);
                    if grant.candidates[0].loaded {
                        self.loaded_since.insert(key, self.now);
                    }
                    let model = ask.models[grant.model].clone();
                    assert!(state.model(&model).is_some() && state.serves.has(ask.api));
                    self.working.insert(key, (state.id.to_string(), model.to_string(), ask.api));
                }
                Output::Refuse(key, refusal) => {
                    assert!(self.waiting.remove(&key), "{key} had its answer or has left");
                    if let Refusal::QueueFull { waiting, retry_after } = refusal {
                        assert_eq!(waiting, QUEUE_SIZE);
                        assert!(retry_after >= Duration::from_secs(1));
                    }
                }
                Output::Move(key) => {
                    let (backend, ..) = &self.working[&key];
                    let (state, there) = self.states.iter().find(|(state, _)| state.id.as_str() == backend).unwrap();
                    let is_lost = !there || matches!(state.health, Health::Hung | Health::Down { .. });
                    let waited = self.loaded_since.get(&key).map(|&since| self.now.since(since));
                    assert!(is_lost || waited.is_some_and(|waited| waited >= Duration::from_secs(20)));
                    assert!(!self.has_content.contains(&key));
                    assert!(self.told_to_move.insert(key), "once");
                }
                Output::Load(job) => {
                    self.jobs.insert(job.id, (job, true));
                }
                Output::Unload(job) => {
                    assert!(self.memory_ended, "there is room for all, as far as anybody knows");
                    self.jobs.insert(job.id, (job, false));
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        assert!(self.waiting.len() <= QUEUE_SIZE);
        assert_eq!(self.router.queued() as usize, self.waiting.len());
        assert_eq!(self.router.in_flight() as usize, self.working.len());
        let mut lanes: BTreeMap<(&str, &str), (u32, u32)> = BTreeMap::new();
        for (state, _) in &self.states {
            let here = self.working.values().filter(|(backend, ..)| backend == state.id.as_str());
            assert_eq!(self.router.load(&state.id) as usize, here.clone().count());
            let working = here.filter(|(_, _, api)| api.needs_slot());
            if !self.proven.contains(state.id.as_str()) {
                assert!(working.clone().count() <= 4, "the window of one that never answered");
            }
            for (backend, model, api) in working {
                let (all, vectors) = lanes.entry((backend, model)).or_default();
                *all += 1;
                *vectors += u32::from(*api == Api::OllamaEmbed);
            }
        }
        for ((backend, model), (all, vectors)) in lanes {
            let slots = self.router.slots(&id(backend), Some(&proto::ModelName::new(model))).unwrap();
            let is_learnt = backend == "b";
            assert!(all <= slots + u32::from(is_learnt), "{backend} {model}: {all} of {slots}");
            assert!(!is_learnt || vectors <= 1);
        }
    }

    fn one_of(&self, which: &Index) -> Option<Key> {
        (!self.working.is_empty()).then(|| *which.get(&self.working.keys().collect::<Vec<_>>()).to_owned())
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Arrive { api, models, app, tokens, excluded } => {
                let key = self.next;
                self.next += 1;
                let names: Vec<_> = models.iter().map(|&model| MODELS[model]).collect();
                let ask = Ask {
                    api: APIS[*api],
                    app: APPS[*app].map(Into::into),
                    text_bytes: *tokens * 4,
                    excluded: excluded.map(|backend| self.states[backend].0.id.clone()).into_iter().collect(),
                    ..ask(&names, self.now)
                };
                self.asked.insert(key, ask.clone());
                self.waiting.insert(key);
                self.handle(Input::Arrive(key, ask));
            }
            Step::Leave(which) => {
                if self.next > 0 {
                    let key = which.index(self.next as usize) as Key;
                    self.waiting.remove(&key);
                    self.working.remove(&key);
                    self.handle(Input::Leave(key));
                }
            }
            Step::FirstContent(which) => {
                if let Some(key) = self.one_of(which) {
                    self.has_content.insert(key);
                    self.proven.insert(self.working[&key].0.clone());
                    self.handle(Input::FirstContent(key));
                }
            }
            Step::Finish(which, ending) => {
                if let Some(key) = self.one_of(which) {
                    self.finish(key, *ending);
                }
            }
            Step::Health(backend, health) => {
                self.states[*backend].0.health = match health {
                    0 => Health::Up,
                    1 => Health::Loading,
                    2 => Health::Hung,
                    _ => Health::Down { reason: String::new() },
                };
                self.tell_backends();
            }
            Step::Vanish(backend) => {
                self.states[*backend].1 ^= true;
                self.tell_backends();
            }
            Step::JobEnds { is_done, is_memory, retry } => {
                let fault = JobFault { reason: "no".to_owned(), is_memory: *is_memory, retry: *retry };
                self.end_job(if *is_done { Ok(()) } else { Err(fault) });
            }
            Step::Pass(ms) => self.pass(Duration::from_millis(*ms)),
        }
    }

    fn finish(&mut self, key: Key, ending: Ending) {
        if let Some((backend, ..)) = self.working.remove(&key)
            && matches!(ending, Ending::Answered | Ending::Refused4xx)
        {
            self.proven.insert(backend);
        }
        self.handle(Input::Finish(key, ending));
    }

    fn end_job(&mut self, result: Result<(), JobFault>) {
        let Some((id, (job, is_load))) = self.jobs.pop_first() else { return };
        if result.is_ok()
            && let Some((state, _)) = self.states.iter_mut().find(|(state, _)| state.id == job.backend.id)
            && let Some(model) = state.models.iter_mut().find(|model| model.id == job.model)
        {
            let loaded = Loaded { context: job.context, size: None, size_vram: None, expires_at: None };
            model.loaded = is_load.then_some(loaded);
        }
        self.memory_ended |= result.as_ref().is_err_and(|fault| is_load && fault.is_memory);
        self.handle(Input::JobEnded { id, result });
        self.tell_backends();
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        for wakes in 0.. {
            let Some(wake) = self.router.poll_timeout().filter(|wake| *wake <= end) else { break };
            assert!(wake >= self.now && wakes < 10_000, "spins");
            self.now = wake;
            self.router.handle_timeout(wake);
            self.look();
        }
        self.now = end;
    }

    /// Everything is well again and every request is answered, a second each.
    fn heal(&mut self) {
        for (state, there) in &mut self.states {
            state.health = Health::Up;
            *there = true;
        }
        self.tell_backends();
        for _ in 0..200 {
            self.pass(Duration::from_secs(1));
            self.end_job(Ok(()));
            let keys: Vec<Key> = self.working.keys().copied().collect();
            for key in keys {
                self.finish(key, Ending::Answered);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn slots_windows_and_the_queue_hold_and_everybody_is_answered(steps in prop::collection::vec(step(), 0..120), seed: u64) {
        let mut day = Day::new(seed);
        for step in &steps {
            day.play(step);
        }
        day.heal();
        prop_assert!(day.waiting.is_empty() && day.working.is_empty(), "{:?}", day.waiting);
        prop_assert_eq!(day.router.poll_timeout(), None, "calm stays calm");
    }

    #[test]
    fn equal_days_are_told_alike(steps in prop::collection::vec(step(), 0..60), seed: u64) {
        let told = [(), ()].map(|()| {
            let mut day = Day::new(seed);
            steps.iter().for_each(|step| day.play(step));
            day.story
        });
        prop_assert_eq!(&told[0], &told[1]);
    }

    #[test]
    fn two_apps_that_always_want_more_get_the_same(
        costs in prop::collection::vec((0u64..3000, 0u64..3000), 40),
        head_start in 0usize..10,
        slots in 1u32..4,
    ) {
        let settings = Settings { queue_size: 200, ..Settings::default() };
        let mut bench = Bench::with(settings, vec![told("a", slots, &["m"])]);
        let mut cost = BTreeMap::new();
        let mut working = Vec::new();
        for key in 0..u64::from(slots) {
            bench.arrive(key, &["m"]);
            working.push(key);
        }
        let (first, second): (Vec<_>, Vec<_>) = costs.into_iter().unzip();
        let mut arrivals: Vec<(u64, &str, u64)> = Vec::new();
        for at in 0..40 {
            arrivals.push((100 + at as u64, "one", first[at]));
            if at >= head_start {
                arrivals.push((200 + at as u64, "two", second[at - head_start]));
            }
        }
        for (key, app, tokens) in arrivals {
            cost.insert(key, (app, tokens));
            bench.handle(Input::Arrive(key, Ask { app: Some(app.into()), text_bytes: tokens * 4, ..ask(&["m"], bench.now) }));
        }
        let mut served: BTreeMap<&str, u64> = BTreeMap::new();
        let mut turns = 0;
        while !working.is_empty() {
            bench.finish(working.remove(0), Ending::Answered);
            for (key, _) in bench.granted() {
                working.push(key);
                let (app, tokens) = cost[&key];
                *served.entry(app).or_default() += 256 + tokens;
                turns += 1;
                let (one, two) = (served.get("one").copied().unwrap_or(0), served.get("two").copied().unwrap_or(0));
                let both_wait = turns <= 30 - head_start;
                prop_assert!(!both_wait || one.abs_diff(two) <= 256 + 3000, "{one} and {two} after {turns}");
            }
        }
        prop_assert_eq!(turns, 80 - head_start);
    }

    #[test]
    fn nobody_starves(tokens in 0u64..2_000_000, newcomers in 1u64..4) {
        let mut bench = Bench::new(vec![told("a", 1, &["m"])]);
        bench.arrive(0, &["m"]);
        let slow: Ask = Ask { app: Some("slow".into()), text_bytes: tokens * 4, ..ask(&["m"], bench.now) };
        bench.handle(Input::Arrive(1, slow.clone()));
        bench.handle(Input::Arrive(2, slow));
        let mut working = 0;
        let mut next = 10;
        let begun = bench.now;
        while working != 2 {
            for _ in 0..newcomers {
                let app = Some(format!("app {next}").into());
                bench.handle(Input::Arrive(next, Ask { app, ..ask(&["m"], bench.now) }));
                next += 1;
            }
            bench.pass(Duration::from_secs(1));
            bench.finish(working, Ending::Answered);
            working = bench.granted()[0].0;
            prop_assert!(bench.now.since(begun) < Duration::from_secs(35));
        }
    }
}
