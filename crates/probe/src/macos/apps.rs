//! Names of programs by their processes.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::presence::Holder;

/// Parents that are climbed to.
const MOST_PARENTS: usize = 64;

/// The process that starts all programs.
const LAUNCHD: u32 = 1;

pub(super) struct Apps {
    system: Option<System>,
    own: u32,
}

impl Apps {
    /// Of which `own` and its children do not count.
    pub(super) fn new(own: u32) -> Apps {
        Apps { system: System::new().ok(), own }
    }

    /// The program that process `pid` belongs to: browsers record in a helper of theirs, so the uppermost process below
    /// the system's own. `None` if it does not count.
    pub(super) fn holder(&mut self, pid: u32, device: &str) -> Option<Holder> {
        let (mut app, mut at) = (String::new(), pid);
        for _ in 0..MOST_PARENTS {
            if at == self.own && self.own != 0 {
                return None;
            }
            let Some((name, parent)) = self.process(at) else { break };
            app = name;
            match parent {
                Some(parent) if parent > LAUNCHD => at = parent,
                _ => break,
            }
        }
        Some(Holder::new(&app, Some(pid), device))
    }

    fn process(&mut self, pid: u32) -> Option<(String, Option<u32>)> {
        let system = self.system.as_mut()?;
        let id = Pid::from_u32(pid);
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), true, ProcessRefreshKind::nothing());
        let process = system.process(id)?;
        Some((process.name().to_string_lossy().into_owned(), process.parent().map(Pid::as_u32)))
    }
}
