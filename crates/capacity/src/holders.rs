//! Which programs hold cameras and microphones, since when, and which of them mean a meeting.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto::Moment;

use crate::ambient::is_ambient;
use crate::evidence::Evidence;
use crate::rules::Rules;

/// Programs per kind of device that are followed, the first by name. The next ones do not count: one is enough to pause.
const MOST: usize = 64;
/// How long somebody must use a camera or a microphone who began while the session was locked: faces unlock sessions.
const LOCKED_HOLD: Duration = Duration::from_secs(10);

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
}

/// A program that holds something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What.
    pub kind: Kind,
    /// The program's name.
    pub app: String,
    /// Since when.
    pub since: Moment,
    /// Whether that is a meeting.
    pub standing: Standing,
}

/// What it means that a program holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is a meeting.
    Counts,
    /// Not yet: it may only have tried.
    Settling,
    /// No: it is known to listen all day, or it has done so for hours.
    Ambient,
    /// No: the owner said so.
    Ignored,
}

impl Standing {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Counts => "counts",
            Standing::Settling => "settling",
            Standing::Ambient => "ambient",
            Standing::Ignored => "ignored",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Held {
    since: Moment,
    /// How long it must last at least, besides what the rules say.
    least: Duration,
    /// Whether it listens all day long, by its name or because it was seen to. That lasts until it lets go.
    is_ambient: bool,
}

/// All that is held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holders {
    held: BTreeMap<(Kind, String), Held>,
    /// When a camera was last seen in use by a program that counts.
    camera_until: Option<Moment>,
    /// In lower case.
    ignored: BTreeSet<String>,
}

impl Holders {
    /// Takes in who holds what. Not known is the same as nobody.
    pub(crate) fn see(&mut self, evidence: &Evidence, now: Moment) {
        let mut present = BTreeSet::new();
        for (kind, apps) in [(Kind::Camera, &evidence.cameras), (Kind::Microphone, &evidence.microphones)] {
            let apps: BTreeSet<&String> = apps.iter().flatten().collect();
            present.extend(apps.into_iter().take(MOST).map(|app| (kind, app.clone())));
        }
        self.held.retain(|holder, _| present.contains(holder));
        let least = if evidence.locked == Some(true) { LOCKED_HOLD } else { Duration::ZERO };
        for holder in present {
            let held = |(kind, app): &(Kind, String)| Held {
                since: now,
                least,
                is_ambient: *kind == Kind::Microphone && is_ambient(app),
            };
            self.held.entry(holder).or_insert_with_key(held);
        }
    }

    /// Remembers what follows from the time. To be called before anything is asked for `now`.
    pub(crate) fn settle(&mut self, rules: &Rules, now: Moment) {
        let has_camera = self.held.iter().any(|(holder, held)| {
            holder.0 == Kind::Camera && self.standing(holder, *held, rules, now) == Standing::Counts
        });
        if has_camera {
            self.camera_until = Some(now);
        }
        let camera_until = self.camera_until;
        for ((kind, _), held) in &mut self.held {
            held.is_ambient |= *kind == Kind::Microphone && now >= ambient_at(*held, camera_until, rules);
        }
    }

    /// Whether somebody is in a meeting.
    pub(crate) fn meet(&self, rules: &Rules, now: Moment) -> bool {
        self.held.iter().any(|(holder, held)| self.standing(holder, *held, rules, now) == Standing::Counts)
    }

    /// When that may change if nothing happens.
    pub(crate) fn wakes(&self, rules: &Rules) -> impl Iterator<Item = Moment> {
        self.held.iter().flat_map(|(holder, held)| {
            let listens = holder.0 == Kind::Microphone && !held.is_ambient;
            let ambient = listens.then(|| ambient_at(*held, self.camera_until, rules));
            [Some(held.since + hold(holder.0, *held, rules)), ambient].into_iter().flatten()
        })
    }

    pub(crate) fn all(&self, rules: &Rules, now: Moment) -> impl Iterator<Item = Holder> {
        self.held.iter().map(move |(holder, held)| Holder {
            kind: holder.0,
            app: holder.1.clone(),
            since: held.since,
            standing: self.standing(holder, *held, rules, now),
        })
    }

    pub(crate) fn ignored(&self) -> &BTreeSet<String> {
        &self.ignored
    }

    pub(crate) fn ignore(&mut self, app: &str) {
        self.ignored.insert(plain(app));
    }

    pub(crate) fn heed(&mut self, app: &str) {
        self.ignored.remove(&plain(app));
    }

    fn standing(&self, (kind, app): &(Kind, String), held: Held, rules: &Rules, now: Moment) -> Standing {
        if self.ignored.contains(&plain(app)) {
            Standing::Ignored
        } else if held.is_ambient {
            Standing::Ambient
        } else if now >= held.since + hold(*kind, held, rules) {
            Standing::Counts
        } else {
            Standing::Settling
        }
    }
}

/// When a recording has lasted so long without a camera that it is no meeting.
fn ambient_at(held: Held, camera_until: Option<Moment>, rules: &Rules) -> Moment {
    held.since.max(camera_until.unwrap_or_default()) + rules.ambient_after
}

fn hold(kind: Kind, held: Held, rules: &Rules) -> Duration {
    let hold = match kind {
        Kind::Camera => rules.camera_hold,
        Kind::Microphone => rules.microphone_hold,
    };
    hold.max(held.least)
}

/// A program's name as names are compared.
fn plain(app: &str) -> String {
    let app = app.trim().to_lowercase();
    app.strip_suffix(".exe").unwrap_or(&app).to_owned()
}
