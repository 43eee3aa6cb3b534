//! Who holds a camera: the kernel tells when one of its nodes is opened or closed, and `/proc` tells by whom.
//!
//! Nodes are watched one by one: a watch on all of `/dev` would wake at each use of `/dev/null`. PipeWire holds cameras
//! open without showing anybody a picture, so it does not count; a program that gets pictures from PipeWire instead of
//! opening the camera itself is not seen.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::files;
use super::processes::Processes;
use crate::presence::{Bell, CameraSense, Holder, Surroundings, sorted};

/// Cameras that are watched; more are left out. A webcam has two to four nodes.
const MOST_NODES: usize = 64;

/// Least time between two looks, so that a program which opens and closes cameras in a loop costs little. Somebody who
/// held one for less may go unseen.
const PAUSE: Duration = Duration::from_millis(50);

/// How often to look where the kernel refuses to tell.
const BLIND: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Programs that hold cameras for others.
const SERVERS: [&str; 2] = ["pipewire", "wireplumber"];

pub(super) struct Camera {
    devices: PathBuf,
    about_devices: PathBuf,
    processes: Processes,
    events: Option<OwnedFd>,
    /// Whether something happens unheard.
    is_blind: bool,
}

impl Camera {
    pub(super) fn new(around: &Surroundings) -> Camera {
        // Open files are known by their real paths.
        let devices = fs::canonicalize(&around.devices).unwrap_or_else(|_| around.devices.clone());
        Camera {
            devices,
            about_devices: around.system.join("run/udev/data"),
            processes: Processes::new(&around.processes, around.own),
            events: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok(),
            is_blind: true,
        }
    }

    /// Cameras' nodes.
    fn nodes(&self) -> Option<Vec<PathBuf>> {
        let mut nodes: Vec<PathBuf> = fs::read_dir(&self.devices)
            .ok()?
            .flatten()
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"video"))
            .map(|entry| entry.path())
            .filter(|node| self.takes_pictures(node))
            .take(MOST_NODES)
            .collect();
        nodes.sort();
        Some(nodes)
    }

    /// Whether it is a camera as far as udev knows: chips that decode films have nodes of the same kind.
    fn takes_pictures(&self, node: &Path) -> bool {
        let Ok(number) = fs::metadata(node).map(|about| about.rdev()) else { return true };
        let name = format!("c{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
        let about = files::text(&self.about_devices.join(name)).unwrap_or_default();
        about
            .lines()
            .find_map(|line| line.strip_prefix("E:ID_V4L_CAPABILITIES="))
            .is_none_or(|can| can.contains(":capture:"))
    }

    /// Hears of what happens to `nodes` and of new ones. Watching what is watched already changes nothing.
    fn listen(&mut self, nodes: &[PathBuf]) {
        let Some(events) = &self.events else { return };
        // A device's owner is set after it was made (ATTRIB), and only then it may be watched.
        let comes_and_goes = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        let is_used = WatchFlags::OPEN | WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
        let directory = inotify::add_watch(events, &self.devices, comes_and_goes);
        let mut heard = directory.is_ok();
        for node in nodes {
            heard &= inotify::add_watch(events, node, is_used).is_ok();
        }
        self.is_blind = !heard;
    }
}

impl CameraSense for Camera {
    fn cameras(&mut self) -> Option<Vec<Holder>> {
        let nodes = self.nodes();
        self.listen(nodes.as_deref().unwrap_or_default());
        let nodes = nodes?;
        if nodes.is_empty() {
            return Some(Vec::new());
        }
        let holders = self.processes.holders(&nodes)?.into_iter().filter_map(|(pid, node)| {
            let app = self.processes.app(pid);
            (!SERVERS.contains(&app.as_str())).then(|| Holder::new(&app, Some(pid), &node.to_string_lossy()))
        });
        Some(sorted(holders.collect()))
    }

    fn wait(&mut self, bell: &Bell) {
        bell.wait(PAUSE);
        let end = bell.end();
        let Some(events) = &self.events else { return bell.wait(Duration::from_secs(5)) };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        loop {
            let mut waits = [PollFd::new(&end, PollFlags::IN), PollFd::new(events, PollFlags::IN)];
            // An interrupted sleep is as good as an event.
            let woken = poll(&mut waits, self.is_blind.then_some(&BLIND));
            if woken != Ok(0) && !waits[0].revents().is_empty() {
                return;
            }
            let mut is_about_cameras = woken != Ok(1) || waits[1].revents().is_empty();
            let mut reader = inotify::Reader::new(events.as_fd(), &mut buffer);
            while let Ok(event) = reader.next() {
                // Events without a name are of a watched node, or say that events were lost.
                is_about_cameras |= event.file_name().is_none_or(|name| name.to_bytes().starts_with(b"video"));
            }
            if is_about_cameras {
                return;
            }
        }
    }
}
