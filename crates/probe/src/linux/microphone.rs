//! Who records: the sound server tells of its programs, `/proc/asound` of those that go round it.
//!
//! The server says when something changed. Sound cards' nodes do too when they are opened and closed, but not when a
//! recording starts, so they are looked at each second while somebody holds an input open.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::alsa::{self, Inputs};
use super::processes::Processes;
use super::pulse::Server;
use crate::presence::{Bell, Holder, MicrophoneSense, Pulse, Surroundings, sorted};

/// How long the sound server may take. It answers in well under a millisecond; on a machine that is worked hard, later.
const PATIENCE: Duration = Duration::from_secs(2);

/// Least time between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// How often to look for a sound server that is not there.
const AGAIN: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// How often to look while an input is open.
const OPEN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Sound servers: what they record they record for somebody, of whom they tell.
const SERVERS: [&str; 3] = ["pulseaudio", "pipewire", "wireplumber"];

pub(super) struct Microphone {
    at: Option<Pulse>,
    server: Option<Server>,
    cards: PathBuf,
    nodes: PathBuf,
    events: Option<OwnedFd>,
    is_open: bool,
    processes: Processes,
}

impl Microphone {
    pub(super) fn new(around: &Surroundings) -> Microphone {
        Microphone {
            at: around.pulse.clone(),
            server: None,
            cards: around.sound_cards.clone(),
            nodes: around.devices.join("snd"),
            events: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok(),
            is_open: false,
            processes: Processes::new(&around.processes, around.own),
        }
    }

    /// What the sound server tells; `None` if there is none.
    fn programs(&mut self) -> Option<Vec<Holder>> {
        if self.server.is_none() {
            self.server = Server::connect(self.at.as_ref()?, PATIENCE).ok();
        }
        match self.server.as_mut()?.recorders() {
            Ok(recorders) => Some(recorders.into_iter().map(Holder::from).collect()),
            Err(_) => {
                self.server = None;
                None
            }
        }
    }

    fn input(&self, device: &str, thread: Option<u32>) -> Holder {
        let pid = thread.map(|thread| self.processes.of_thread(thread));
        let app = pid.map(|pid| self.processes.app(pid)).unwrap_or_default();
        Holder::new(&app, pid, device)
    }
}

impl MicrophoneSense for Microphone {
    fn microphones(&mut self) -> Option<Vec<Holder>> {
        if let Some(events) = &self.events {
            // The directory may have come with the first card; watching it twice changes nothing.
            let is_used = WatchFlags::OPEN | WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
            let _ = inotify::add_watch(events, &self.nodes, is_used | WatchFlags::ONLYDIR);
        }
        let programs = self.programs();
        let inputs = alsa::inputs(&self.cards);
        if programs.is_none() && inputs.is_none() {
            return None;
        }
        let Inputs { recording, is_open } = inputs.unwrap_or_default();
        self.is_open = is_open;
        let mut holders: Vec<Holder> = recording.iter().map(|(device, thread)| self.input(device, *thread)).collect();
        if let Some(programs) = programs {
            holders.retain(|holder| !SERVERS.contains(&holder.app.as_str()));
            holders.extend(programs);
        }
        holders.retain(|holder| !holder.pid.is_some_and(|pid| self.processes.is_own(pid)));
        Some(sorted(holders))
    }

    fn wait(&mut self, bell: &Bell) {
        bell.wait(PAUSE);
        if self.server.as_ref().is_some_and(Server::has_changed) {
            return;
        }
        let end = bell.end();
        let most = match (self.is_open, &self.server) {
            (true, _) => Some(&OPEN),
            (false, None) => Some(&AGAIN),
            (false, Some(_)) => None,
        };
        let mut waits = vec![PollFd::new(&end, PollFlags::IN)];
        let events = self.events.as_ref().map(|events| PollFd::new(events, PollFlags::IN));
        let server = self.server.as_ref().map(|server| PollFd::new(server, PollFlags::IN));
        let speaks = server.is_some().then_some(waits.len() + usize::from(events.is_some()));
        waits.extend(events.into_iter().chain(server));
        // An interrupted sleep is as good as an event.
        let woken = poll(&mut waits, most).is_ok();
        let speaks = woken && speaks.is_some_and(|at| !waits[at].revents().is_empty());
        drop(waits);
        if let Some(events) = &self.events {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(events, &mut buffer);
            while reader.next().is_ok() {}
        }
        if speaks && self.server.as_mut().is_some_and(|server| server.hear().is_err()) {
            self.server = None;
        }
    }
}
