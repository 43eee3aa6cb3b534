//! Memory, from `proc/meminfo`, `proc/pressure` and the control groups.

use std::path::{Path, PathBuf};

use super::cgroup::Cgroup;
use super::files;
use crate::sample::percent;
use crate::sense::MemorySense;

pub(super) struct Memory {
    root: PathBuf,
    cgroup: Cgroup,
}

impl Memory {
    pub(super) fn new(root: &Path) -> Memory {
        Memory { root: root.to_owned(), cgroup: Cgroup::new(root) }
    }
}

impl MemorySense for Memory {
    fn memory(&mut self) -> Option<crate::Memory> {
        let told = files::text(&self.root.join("proc/meminfo")).unwrap_or_default();
        let bytes = |name: &str| files::entry(&told, name).map(|kib| kib.saturating_mul(1024));
        let mut memory = crate::Memory {
            // Nothing at all is no size that a machine can have.
            total: bytes("MemTotal").filter(|total| *total > 0),
            available: bytes("MemAvailable"),
            swap_total: bytes("SwapTotal"),
            swap_used: None,
            limited: false,
            stalled_percent: stalled(&self.root),
        };
        memory.swap_used = memory.swap_total.zip(bytes("SwapFree")).map(|(total, free)| total.saturating_sub(free));
        if let Some(limit) = self.cgroup.memory()
            && memory.total.is_none_or(|total| limit.total < total)
        {
            memory.limited = true;
            memory.total = Some(limit.total);
            // The machine around may have less left than the group may take.
            memory.available = [memory.available, limit.left].into_iter().flatten().min();
        }
        if let Some((total, used)) = self.cgroup.swap()
            && memory.swap_total.is_none_or(|whole| total < whole)
        {
            memory.swap_total = Some(total);
            memory.swap_used = used.map(|used| used.min(total));
        }
        memory.available =
            memory.available.map(|available| memory.total.map_or(available, |total| available.min(total)));
        (memory != crate::Memory::default()).then_some(memory)
    }
}

/// `some avg10=0.12 avg60=…`: where the kernel counts it.
fn stalled(root: &Path) -> Option<f64> {
    let told = files::text(&root.join("proc/pressure/memory"))?;
    let line = told.lines().find_map(|line| line.strip_prefix("some "))?;
    percent(line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()?)
}
