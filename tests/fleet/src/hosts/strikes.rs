//! Apps at all doors, and what they see of a machine that is struck.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use super::home::PATIENCE;
use super::{Home, Programs, within};
use crate::crowd::{Fate, Manner, Seen, app};

/// The model that all machines have.
pub const COMMON: &str = "common";

/// What the apps say to the common model: nobody may read it on its way.
pub const WHISPER: &str = "What do the violet zeppelins carry?";

/// Answers that each inference server gives at once.
const SLOTS: usize = 10;
/// Apps at each door: those that have a slot, and those that wait.
const APPS: usize = 15;
/// Words of an answer, and milliseconds of each.
const WORDS: (usize, usize) = (100, 40);
/// The same, of answers that a machine that hangs is to give.
const SHORT_SLOTS: usize = 8;
const SHORT_WORDS: (usize, usize) = (10, 8);
/// Before a machine hangs, and after it began to.
const USUAL: Duration = Duration::from_secs(4);
const HANGING: Duration = Duration::from_secs(8);
/// Requests of all apps together while a machine hangs.
const PER_SECOND: u32 = 30;
/// How long the apps of a machine that was cut off are watched.
const WATCHED: Duration = Duration::from_secs(6);
/// Between two requests of such an app.
const PAUSE: Duration = Duration::from_millis(500);

/// What happens to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// All on it is killed.
    Kill,
    /// Its cable is pulled.
    Pull,
    /// Its inference server accepts and never answers.
    Silent,
    /// Its Herd is stopped.
    Stop,
}

/// What the apps of some machines got.
#[derive(Clone, Debug, Default)]
pub struct Toll {
    /// Apps that asked.
    pub asked: usize,
    /// Got a whole answer.
    pub whole: usize,
    /// Got no content and no answer.
    pub lost: Vec<String>,
    /// Answers that broke off, told in an error record, where a machine that served or asked was struck.
    pub cut: usize,
    /// Answers that broke off although no struck machine had to do with them.
    pub cut_elsewhere: Vec<String>,
    /// Answers that broke off without a word.
    pub silent: Vec<String>,
    /// From asking to the first content (or, of whole answers, to the end), longest last.
    pub first: Vec<Duration>,
}

impl fmt::Display for Toll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Toll { asked, whole, lost, cut, cut_elsewhere, silent, .. } = self;
        let (lost, elsewhere, silent) = (lost.len(), cut_elsewhere.len(), silent.len());
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| self.quantile(share).as_millis());
        write!(
            f,
            "{asked} asked, {whole} whole, {lost} lost, {cut} cut ({elsewhere} elsewhere, {silent} silent); \
             first content p50 {half} ms, p99 {most} ms, last {all} ms"
        )
    }
}

impl Toll {
    /// The time that this share of the answers needed at most.
    pub fn quantile(&self, share: f64) -> Duration {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small"
        )]
        let at = (self.first.len() as f64 * share) as usize;
        self.first.get(at.min(self.first.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// Errors that apps got, of whatever kind.
    pub fn errors(&self) -> usize {
        self.asked - self.whole
    }
}

/// What a strike did.
#[derive(Clone, Debug)]
pub struct Struck {
    /// The machine.
    pub machine: u8,
    /// Answers that it was giving.
    pub running: usize,
    /// Of apps on other machines.
    pub others: Toll,
    /// Of apps on the machine itself, where they live on.
    pub own: Toll,
    /// What its own apps got of the model that only it has, from the strike on.
    pub alone: Toll,
    /// And of the model that all had.
    pub alone_in_common: Toll,
}

/// Apps that have asked.
pub struct Crowd {
    apps: Vec<(u8, JoinHandle<Seen>)>,
    begun: Arc<AtomicUsize>,
}

impl Crowd {
    /// Answers that have begun.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Waits for all; by the machine that each runs on.
    pub fn end(self) -> Vec<(u8, Seen)> {
        self.apps.into_iter().map(|(door, app)| (door, app.join().expect("an app does not fail"))).collect()
    }
}

impl Home {
    /// So many machines in one fleet that all have [`COMMON`] beside a model of their own; `None` where that is not
    /// possible. `words`: of an answer, and milliseconds of each.
    ///
    /// # Panics
    /// If something does not start, or one does not get in.
    fn in_common(hosts: u8, slots: usize, words: (usize, usize), programs: &Programs) -> Option<Home> {
        let mut home = Home::new(hosts, programs)?;
        for host in &mut home.hosts {
            let models = [format!("{}=tiny", Home::model(host.number)), format!("{COMMON}=tiny")];
            let flags = ["--parallel", &slots.to_string(), "--tokens", &words.0.to_string()].map(str::to_owned);
            let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let pace = words.1.to_string();
            flags.extend(["--token-ms", &pace]);
            host.install_with(&models, &flags);
            host.set("FLEET_BACKENDS", &format!("http://127.0.0.1:11434?slots={slots}"));
        }
        home.start();
        home.join_all(2);
        home.agree_soon(&home.all());
        let is_common = |number: &u8| {
            let tags = home.host(*number).get("/api/tags").map(|answer| answer.json()).unwrap_or_default();
            let rows = tags["models"].as_array().cloned().unwrap_or_default();
            let nodes =
                rows.iter().find(|row| row["name"] == format!("{COMMON}:latest"))?["details"]["fleet_nodes"].clone();
            nodes.as_array().filter(|nodes| nodes.len() == usize::from(home.count())).map(|_| ())
        };
        within(PATIENCE, || home.all().iter().try_for_each(is_common)).expect("all list the common model");
        // In memory everywhere, so that nobody waits for that.
        for host in &home.hosts {
            let loaded = host.tell_ollama("/api/generate", &json!({ "model": COMMON, "keep_alive": -1 }));
            assert_eq!(loaded, Some(200), "{}", host.name);
        }
        let is_loaded = |number: &u8| {
            let ps = home.host(*number).get("/api/ps")?.json();
            let rows = ps["models"].as_array()?.clone();
            rows.iter().any(|row| row["name"] == format!("{COMMON}:latest")).then_some(())
        };
        within(PATIENCE, || home.all().iter().try_for_each(is_loaded)).expect("all have it in memory");
        Some(home)
    }

    /// Has so many apps ask for [`COMMON`] at each of `doors`, all at once.
    pub fn crowd(&self, doors: &[u8], each: usize) -> Crowd {
        let begun = Arc::new(AtomicUsize::new(0));
        let mut apps = Vec::new();
        for at in 0..each {
            for door in doors {
                // The first ones are streams, so that all slots are taken by answers that run.
                let manner = if at < SLOTS { Manner::ALL[at % 3] } else { Manner::ALL[at % 4] };
                apps.push((*door, self.app(*door, manner, COMMON, begun.clone())));
            }
        }
        Crowd { apps, begun }
    }

    /// One app on machine `door`.
    fn app(&self, door: u8, manner: Manner, model: &str, begun: Arc<AtomicUsize>) -> JoinHandle<Seen> {
        let (space, model) = (self.host(door).space.clone(), model.to_owned());
        std::thread::spawn(move || {
            space.inside(|| {
                app("http://127.0.0.1:11435", manner, &model, WHISPER, || {
                    begun.fetch_add(1, Ordering::Relaxed);
                })
            })
        })
    }

    /// Strikes machine `struck`.
    pub fn strike(&mut self, struck: u8, how: Strike) {
        match how {
            Strike::Kill => self.host_mut(struck).die(),
            Strike::Pull => self.lan.pull(struck),
            Strike::Silent => {
                let told = self.host(struck).tell_ollama("/_fake/faults", &json!({ "kind": "silent" }));
                assert!(told.is_some_and(|status| status < 300), "{told:?}");
            }
            Strike::Stop => self.host(struck).herd().signal("STOP"),
        }
    }

    /// Fifty answers run, and half as many apps wait, when the leader's machine is struck.
    ///
    /// # Panics
    /// If the answers do not begin.
    pub fn strike_leader(&mut self, how: Strike) -> Struck {
        let leader = self.agree_soon(&self.all()).0;
        let slots = SLOTS * usize::from(self.count());
        let crowd = self.crowd(&self.all(), APPS);
        let most_begun = || (crowd.begun() >= slots * 4 / 5).then_some(());
        within(PATIENCE, most_begun).unwrap_or_else(|| panic!("only {} answers have begun", crowd.begun()));
        let running = self
            .host(leader)
            .get("/fleet/self")
            .map_or(0, |status| usize::try_from(status.json()["in_flight"].as_u64().unwrap_or(0)).unwrap_or(0));
        self.strike(leader, how);
        let alone = if how == Strike::Pull { self.ask_own(leader) } else { Default::default() };
        let (own, others): (Vec<_>, Vec<_>) = crowd.end().into_iter().partition(|(door, _)| *door == leader);
        Struck {
            machine: leader,
            running,
            others: self.toll(&others, leader),
            own: if how == Strike::Kill { Toll::default() } else { self.toll(&own, leader) },
            alone: self.toll(&alone[0], leader),
            alone_in_common: self.toll(&alone[1], leader),
        }
    }

    /// Three machines answer thirty short requests a second, and one of them begins to hang: what the apps got before that,
    /// and what from then on. The first machine that does not lead hangs; where its Herd does, it has no apps. `manners`: how the apps
    /// ask, in turn.
    pub fn hang(&mut self, how: Strike, manners: &'static [Manner]) -> (u8, Toll, Toll) {
        let leader = self.agree_soon(&self.all()).0;
        let struck = self.others(&[leader])[0];
        let doors = if how == Strike::Stop { self.others(&[struck]) } else { self.all() };
        let before = self.steadily(&doors, manners, USUAL).join().expect("apps do not fail");
        let after = self.steadily(&doors, manners, HANGING);
        // In the middle of some.
        std::thread::sleep(PAUSE);
        self.strike(struck, how);
        let after = after.join().expect("apps do not fail");
        if how == Strike::Stop {
            self.host(struck).herd().signal("CONT");
        }
        (struck, self.toll(&before, struck), self.toll(&after, struck))
    }

    /// Apps ask steadily at all doors while `act` does something to the machines. What they got; `struck`: the machine that
    /// it is done to, which has no apps.
    pub fn while_asking(&mut self, struck: Option<u8>, lasting: Duration, act: impl FnOnce(&mut Home)) -> Toll {
        let doors = self.others(struck.as_slice());
        let apps = self.steadily(&doors, &Manner::ALL, lasting);
        std::thread::sleep(PAUSE);
        act(self);
        let seen = apps.join().expect("apps do not fail");
        self.toll(&seen, struck.unwrap_or(0))
    }

    /// So many machines that give short answers, for [`Home::hang`] and [`Home::while_asking`].
    ///
    /// # Panics
    /// If something does not start, or one does not get in.
    pub fn quick(machines: u8, programs: &Programs) -> Option<Home> {
        Home::in_common(machines, SHORT_SLOTS, SHORT_WORDS, programs)
    }

    /// Machines for [`Home::strike_leader`].
    ///
    /// # Panics
    /// If something does not start, or one does not get in.
    pub fn five(programs: &Programs) -> Option<Home> {
        Home::in_common(5, SLOTS, WORDS, programs)
    }

    /// Apps on machine `door` ask for the model that only that has, and for the one that all have, again and again.
    fn ask_own(&self, door: u8) -> [Vec<(u8, Seen)>; 2] {
        let start = super::now();
        let begun = Arc::new(AtomicUsize::new(0));
        let (mut apps, mut common) = (Vec::new(), Vec::new());
        while start.elapsed() < WATCHED {
            apps.push(self.app(door, Manner::Ollama, &Home::model(door), begun.clone()));
            common.push(self.app(door, Manner::Ollama, COMMON, begun.clone()));
            std::thread::sleep(PAUSE);
        }
        let end = |apps: Vec<JoinHandle<Seen>>| {
            apps.into_iter().map(|app| (door, app.join().expect("an app does not fail"))).collect()
        };
        [end(apps), end(common)]
    }

    /// Asks steadily at `doors` in turn, for `lasting`.
    fn steadily(&self, doors: &[u8], manners: &'static [Manner], lasting: Duration) -> JoinHandle<Vec<(u8, Seen)>> {
        let spaces: Vec<_> = doors.iter().map(|door| (*door, self.host(*door).space.clone())).collect();
        std::thread::spawn(move || {
            let start = super::now();
            let mut apps = Vec::new();
            let mut at = 0_u32;
            while start.elapsed() < lasting {
                let (door, space) = spaces[at as usize % spaces.len()].clone();
                let manner = manners[at as usize % manners.len()];
                apps.push((
                    door,
                    std::thread::spawn(move || {
                        space.inside(|| app("http://127.0.0.1:11435", manner, COMMON, WHISPER, || {}))
                    }),
                ));
                at += 1;
                // At its time, however long the last one took to start.
                std::thread::sleep((Duration::from_secs(1) * at / PER_SECOND).saturating_sub(start.elapsed()));
            }
            apps.into_iter().map(|(door, app)| (door, app.join().expect("an app does not fail"))).collect()
        })
    }

    /// What `seen` comes to, where machine `struck` (0: none) was struck.
    pub fn toll(&self, seen: &[(u8, Seen)], struck: u8) -> Toll {
        let name = self.hosts.iter().find(|host| host.number == struck).map(|host| host.name.as_str());
        let mut toll = Toll { asked: seen.len(), ..Toll::default() };
        for (door, seen) in seen {
            let words = || format!("at {}: {seen}", self.host(*door).name);
            if seen.fate == Fate::Whole {
                toll.whole += 1;
                toll.first.extend(seen.first);
                continue;
            }
            if seen.is_lost() {
                toll.lost.push(words());
                continue;
            }
            if !matches!(seen.fate, Fate::Told(_)) {
                toll.silent.push(words());
            }
            let by = seen.id.as_ref().and_then(|id| self.served_by(*door, id));
            // An app of a machine that was cut off loses what others were giving it, and the other way round.
            let had_to_do = by.as_deref().is_some_and(|by| (Some(by) == name) != (*door == struck));
            match had_to_do {
                true => toll.cut += 1,
                false => toll.cut_elsewhere.push(format!("{} by {by:?}", words())),
            }
        }
        toll.first.sort_unstable();
        toll
    }

    /// The machine that served a request, as its door remembers.
    fn served_by(&self, door: u8, id: &str) -> Option<String> {
        let path = format!("/fleet/traces/{id}");
        let told = within(Duration::from_secs(10), || self.host(door).get(&path));
        told.and_then(|(answer, _)| answer.json()["node_id"].as_str().map(str::to_owned))
    }
}
