//! Names of programs by their processes.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::presence::Holder;

/// Parents that are climbed to.
const MOST_PARENTS: usize = 64;

pub(super) struct Apps {
    system: Option<System>,
    own: u32,
}

/// What is known of a process.
struct About {
    name: String,
    parent: Option<u32>,
    /// Seconds since 1970.
    started: u64,
}

impl Apps {
    /// Of which `own` and its children do not count.
    pub(super) fn new(own: u32) -> Apps {
        Apps { system: System::new().ok(), own }
    }

    /// The program that runs as process `pid`. `None` if it does not count, or has ended.
    pub(super) fn holder(&mut self, pid: u32, device: &str) -> Option<Holder> {
        let first = self.process(pid);
        if first.is_none() && self.system.is_some() {
            return None;
        }
        let name = first.as_ref().map(|about| about.name.clone()).unwrap_or_default();
        let (mut at, mut about) = (pid, first);
        for _ in 0..MOST_PARENTS {
            if at == self.own && self.own != 0 {
                return None;
            }
            let Some(child) = about else { break };
            let Some(parent) = child.parent else { break };
            // Numbers are given out again: who is younger than the child is not its parent.
            about = self.process(parent).filter(|about| about.started <= child.started);
            if about.is_none() {
                break;
            }
            at = parent;
        }
        Some(Holder::new(name.strip_suffix(".exe").unwrap_or(&name), Some(pid), device))
    }

    fn process(&mut self, pid: u32) -> Option<About> {
        let system = self.system.as_mut()?;
        let id = Pid::from_u32(pid);
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), true, ProcessRefreshKind::nothing());
        let process = system.process(id)?;
        Some(About {
            name: process.name().to_string_lossy().into_owned(),
            parent: process.parent().map(Pid::as_u32),
            started: process.start_time(),
        })
    }
}
