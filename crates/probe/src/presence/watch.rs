//! The threads that watch.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{
    Bell, CameraSense, DisplaySense, Evidence, FullScreenSense, LidSense, LockSense, MeteredSense, MicrophoneSense,
    Surroundings,
};
#[cfg(target_os = "linux")]
use crate::linux::presence as system;
#[cfg(target_os = "macos")]
use crate::macos::presence as system;
use crate::sense::{HeatSense, IdleSense, PowerSense};
#[cfg(windows)]
use crate::windows::presence as system;

/// How often what has no events is looked at. Longer, and a game started or a cable pulled is noticed late.
const SLOW: Duration = Duration::from_secs(5);

/// Watches for somebody's presence until it is dropped.
///
/// Dropping it stops the threads and waits for them: well under a second, but up to several where a message bus hangs. Who
/// drops it must hold nothing that `on_change` waits for.
pub struct Watch {
    post: Arc<Post>,
    threads: Vec<(Arc<Bell>, JoinHandle<()>)>,
}

impl Watch {
    /// Starts to watch. `on_change` is told the evidence, after each change and in the order of changes, on a thread of
    /// the watch, one call at a time: it should hand on and return. Idle time that merely grows is no change.
    ///
    /// Returns before anything was looked at; until then everything is not known. Fails when the system gives no threads
    /// or no descriptors.
    pub fn start(surroundings: &Surroundings, on_change: impl FnMut(&Evidence) + Send + 'static) -> io::Result<Watch> {
        let post = Arc::new(Post { latest: Mutex::default(), on_change: Mutex::new(Box::new(on_change)) });
        let mut watch = Watch { post, threads: Vec::new() };
        let around = surroundings.clone();
        watch.spawn("watch-camera", move |post, bell| see(system::camera(&around, bell), post, bell))?;
        let around = surroundings.clone();
        watch.spawn("watch-microphone", move |post, bell| hear(system::microphone(&around, bell), post, bell))?;
        let around = surroundings.clone();
        watch.spawn("watch-slow", move |post, bell| feel(system::slow(&around), post, bell))?;
        Ok(watch)
    }

    /// What is known now.
    pub fn evidence(&self) -> Evidence {
        self.post.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce(&Post, &Arc<Bell>) + Send + 'static) -> io::Result<()> {
        let (post, bell) = (Arc::clone(&self.post), Arc::new(Bell::new()?));
        let theirs = Arc::clone(&bell);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(&post, &theirs))?;
        self.threads.push((bell, thread));
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for (bell, _) in &self.threads {
            bell.stop();
        }
        // Whoever is told of changes may hold the last reference. The others wait for the end of that call, so that they
        // are left to end by themselves.
        if self.threads.iter().any(|(_, thread)| thread.thread().id() == thread::current().id()) {
            return;
        }
        for (_, thread) in self.threads.drain(..) {
            // One that panicked said so already.
            let _ = thread.join();
        }
    }
}

/// Where the threads leave what they found.
pub(crate) struct Post {
    latest: Mutex<Evidence>,
    /// Taken before `latest` and kept through the call, so that changes are told in order.
    on_change: Mutex<OnChange>,
}

type OnChange = Box<dyn FnMut(&Evidence) + Send>;

impl Post {
    fn tell(&self, update: impl FnOnce(&mut Evidence)) {
        let mut on_change = self.on_change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let before = latest.clone();
        update(&mut latest);
        let after = latest.clone();
        drop(latest);
        if differ(&before, &after) {
            on_change(&after);
        }
    }
}

/// Whether somebody should hear of it. Of idle time only that it was broken off, or became known or unknown.
fn differ(before: &Evidence, after: &Evidence) -> bool {
    let idle_goes_on = matches!((before.input_idle, after.input_idle), (Some(before), Some(after)) if after >= before);
    if idle_goes_on { Evidence { input_idle: after.input_idle, ..before.clone() } != *after } else { before != after }
}

fn see(mut sense: impl CameraSense, post: &Post, bell: &Bell) {
    while !bell.is_stopped() {
        let cameras = sense.cameras();
        post.tell(|evidence| evidence.cameras = cameras);
        sense.wait(bell);
    }
}

fn hear(mut sense: impl MicrophoneSense, post: &Post, bell: &Bell) {
    while !bell.is_stopped() {
        let microphones = sense.microphones();
        post.tell(|evidence| evidence.microphones = microphones);
        sense.wait(bell);
    }
}

/// The senses that have no events.
pub(crate) struct Slow {
    pub(crate) power: Box<dyn PowerSense>,
    pub(crate) lid: Box<dyn LidSense>,
    pub(crate) display: Box<dyn DisplaySense>,
    pub(crate) full_screen: Box<dyn FullScreenSense>,
    pub(crate) heat: Box<dyn HeatSense>,
    pub(crate) metered: Box<dyn MeteredSense>,
    pub(crate) idle: Box<dyn IdleSense>,
    pub(crate) lock: Box<dyn LockSense>,
}

/// What each of them is asked. Any may block, and between two of them the watch can end.
const QUESTIONS: [fn(&mut Slow, &mut Evidence); 8] = [
    |slow, evidence| {
        let power = slow.power.power().unwrap_or_default();
        evidence.on_battery = power.on_battery;
        // Shares are checked to be 0 to 100 where they are read.
        evidence.battery_percent = power.battery_percent.map(|percent| percent.round() as u8);
    },
    |slow, evidence| evidence.lid_closed = slow.lid.lid_closed(),
    |slow, evidence| evidence.display_off = slow.display.display_off(),
    |slow, evidence| evidence.full_screen = slow.full_screen.full_screen(),
    |slow, evidence| evidence.throttled = slow.heat.heat().and_then(|heat| heat.throttled),
    |slow, evidence| evidence.metered = slow.metered.metered(),
    |slow, evidence| evidence.input_idle = slow.idle.idle(),
    |slow, evidence| evidence.locked = slow.lock.locked(),
];

fn feel(mut slow: Slow, post: &Post, bell: &Bell) {
    loop {
        let mut felt = Evidence::default();
        for question in QUESTIONS {
            if bell.is_stopped() {
                return;
            }
            question(&mut slow, &mut felt);
        }
        post.tell(|evidence| {
            let (cameras, microphones) = (evidence.cameras.take(), evidence.microphones.take());
            *evidence = Evidence { cameras, microphones, ..felt };
        });
        bell.wait(SLOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_that_grows_is_no_change() {
        let idle =
            |seconds: Option<u64>| Evidence { input_idle: seconds.map(Duration::from_secs), ..Evidence::default() };
        for (before, after, expected) in [
            (Some(1), Some(6), false),
            (Some(6), Some(6), false),
            (Some(6), Some(1), true),
            (None, Some(1), true),
            (Some(1), None, true),
            (None, None, false),
        ] {
            assert_eq!(differ(&idle(before), &idle(after)), expected, "{before:?} {after:?}");
        }
        let locked = Evidence { locked: Some(true), ..idle(Some(9)) };
        assert!(differ(&idle(Some(1)), &locked));
    }
}
