//! What a container or a slice leaves to this program, from version 2 of control groups.
//!
//! Limits of every level from the root of the hierarchy down to our own group count, the narrowest wins. In a container
//! the root is usually the container itself. Version 1 is not read.

use std::path::{Component, Path, PathBuf};

use super::files;

/// Levels looked at; deeper ones are left out.
const MOST_LEVELS: usize = 16;

/// The groups that this program is in.
pub(super) struct Cgroup {
    /// From the root down.
    levels: Vec<PathBuf>,
}

/// Memory that may be used.
pub(super) struct MemoryLimit {
    /// The limit in bytes.
    pub(super) total: u64,
    /// What of it is left, pages counted as left that hold only copies of files not used lately.
    pub(super) left: Option<u64>,
}

/// Processor time that may be used.
pub(super) struct CoreLimit {
    /// Processors' worth of time, above zero.
    pub(super) cores: f64,
    /// Microseconds used by all in the group since it was made.
    pub(super) used_us: Option<u64>,
}

impl Cgroup {
    /// The groups of the program that `root/proc/self` is about.
    pub(super) fn new(root: &Path) -> Cgroup {
        let base = root.join("sys/fs/cgroup");
        let own = files::text(&root.join("proc/self/cgroup")).unwrap_or_default();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let mut levels = vec![base.clone()];
        let mut level = base;
        for part in Path::new(own).components().take(MOST_LEVELS) {
            // `..` stands there when the program was put in from outside: what is above is not ours to see.
            let Component::Normal(part) = part else { break };
            level.push(part);
            levels.push(level.clone());
        }
        Cgroup { levels }
    }

    /// The level that leaves least memory, if any has a limit.
    pub(super) fn memory(&self) -> Option<MemoryLimit> {
        let limits = self.levels.iter().filter_map(|level| {
            // Past `high` programs are slowed down until they are as good as stopped.
            let most = |file: &str| files::number(&level.join(file));
            let total = [most("memory.max"), most("memory.high")].into_iter().flatten().min()?;
            let left = files::number(&level.join("memory.current")).map(|used| {
                let stat = files::text(&level.join("memory.stat")).unwrap_or_default();
                let droppable = files::entry(&stat, "inactive_file").unwrap_or(0);
                total.saturating_sub(used.saturating_sub(droppable))
            });
            Some(MemoryLimit { total, left })
        });
        // A limit far down with nothing told and a wide one above with little left both bind.
        limits.reduce(|one, other| MemoryLimit {
            total: one.total.min(other.total),
            left: [one.left, other.left].into_iter().flatten().min(),
        })
    }

    /// Limit and use of swap at the level with the narrowest limit.
    pub(super) fn swap(&self) -> Option<(u64, Option<u64>)> {
        let limits = self.levels.iter().filter_map(|level| {
            let total = files::number(&level.join("memory.swap.max"))?;
            Some((total, files::number(&level.join("memory.swap.current"))))
        });
        limits.min_by_key(|(total, _)| *total)
    }

    /// The level that gives least processor time, if any has a limit.
    pub(super) fn cores(&self) -> Option<CoreLimit> {
        let limits = self.levels.iter().filter_map(|level| {
            let text = files::text(&level.join("cpu.max"))?;
            let mut words = text.split_whitespace().map(|word| word.parse::<u64>().ok());
            let (quota, period) = (words.next()??, words.next()??);
            let cores = (quota > 0 && period > 0).then(|| quota as f64 / period as f64)?;
            Some((cores, level))
        });
        let (cores, level) = limits.min_by(|one, other| one.0.total_cmp(&other.0))?;
        let used_us = files::text(&level.join("cpu.stat")).and_then(|stat| files::entry(&stat, "usage_usec"));
        Some(CoreLimit { cores, used_us })
    }
}
