//! Load, from `proc/stat` and the control groups.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::cgroup::{Cgroup, CoreLimit};
use super::files;
use crate::sample::percent;
use crate::sense::CpuSense;

pub(super) struct Cpu {
    root: PathBuf,
    cgroup: Cgroup,
    physical: Option<u32>,
    last: Last,
}

/// The counters at the last sample.
#[derive(Default)]
struct Last {
    machine: Option<Ticks>,
    /// Microseconds that our group had used, and seconds since the machine started.
    group: Option<(u64, f64)>,
}

/// Ticks of all processors since the start.
#[derive(Clone, Copy)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Cpu {
    pub(super) fn new(root: &Path) -> Cpu {
        Cpu { root: root.to_owned(), cgroup: Cgroup::new(root), physical: physical(root), last: Last::default() }
    }

    /// How much of what the group may use it did use since the last call.
    fn group_percent(&mut self, limit: &CoreLimit) -> Option<f64> {
        let uptime = files::text(&self.root.join("proc/uptime"))?;
        let now: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        let used = limit.used_us?;
        let (used_before, before) = self.last.group.replace((used, now))?;
        let given = (now - before) * 1e6 * limit.cores;
        (given > 0.0).then(|| percent(used.checked_sub(used_before)? as f64 / given * 100.0))?
    }

    fn machine_percent(&mut self, now: Ticks) -> Option<f64> {
        let before = self.last.machine.replace(now)?;
        // The kernel lets the time of waiting for disks go back now and then.
        let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
        percent(now.busy.saturating_sub(before.busy) as f64 / all as f64 * 100.0)
    }
}

impl CpuSense for Cpu {
    fn cpu(&mut self) -> Option<crate::Cpu> {
        let stat = files::text(&self.root.join("proc/stat")).unwrap_or_default();
        let limit = self.cgroup.cores();
        let whole = ticks(&stat).and_then(|ticks| self.machine_percent(ticks));
        let group = limit.as_ref().and_then(|limit| self.group_percent(limit));
        let cpu = crate::Cpu {
            // A group with a limit can be at its end on an idle machine, and have nothing left of a busy one.
            percent: if limit.is_some() {
                group.map(|group| whole.map_or(group, |whole| whole.max(group)))
            } else {
                whole
            },
            logical: logical(&stat),
            physical: self.physical,
            limit: limit.map(|limit| limit.cores),
        };
        (cpu != crate::Cpu::default()).then_some(cpu)
    }
}

/// The sums of the line `cpu  user nice system idle iowait irq softirq steal guest guest_nice` (proc(5)); a guest's time
/// is in `user` already.
fn ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let counts: Vec<u64> = line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let all = counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
    let idle = counts.get(3)?.saturating_add(counts.get(4).copied().unwrap_or(0));
    Some(Ticks { busy: all.saturating_sub(idle), all })
}

/// How many lines are about one processor.
fn logical(stat: &str) -> Option<u32> {
    let is_one =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    u32::try_from(stat.lines().filter(is_one).count()).ok().filter(|count| *count > 0)
}

/// How many different sets of sibling threads there are.
fn physical(root: &Path) -> Option<u32> {
    let processors = files::entries(&root.join("sys/devices/system/cpu"))?;
    let cores: BTreeSet<String> = processors
        .iter()
        .filter(|path| files::name(path).strip_prefix("cpu").is_some_and(|rest| rest.parse::<u32>().is_ok()))
        .filter_map(|path| files::text(&path.join("topology/thread_siblings_list")))
        .collect();
    u32::try_from(cores.len()).ok().filter(|count| *count > 0)
}
