//! Reads what Linux tells about a process: time on the CPU, memory, open files.

use std::fs;

use anyhow::{Context, Result};

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Memory {
    /// Proportional set size: shared pages are divided among those who share them.
    pub pss: u64,
    /// Resident set size.
    pub resident: u64,
}

/// Time that all threads of `pid` have spent on a CPU, in nanoseconds.
///
/// Sums the scheduler's own count of each living thread (exact), and takes the process's account (exact to 10 ms, ended
/// threads included) when that is clearly more.
pub(crate) fn cpu_ns(pid: u32) -> Result<u64> {
    let mut living = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))? {
        // A thread may end between the listing and the look.
        if let Ok(text) = fs::read_to_string(entry?.path().join("schedstat")) {
            living += on_cpu(&text).unwrap_or(0);
        }
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("reading a process's stat")?;
    let account = ticks(&stat).unwrap_or(0) * 10_000_000;
    Ok(if account > living + 20_000_000 { account } else { living })
}

/// First field of `schedstat`: nanoseconds on the CPU.
fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

/// User and system ticks (fields 14 and 15 of `stat`; the name in field 2 may hold spaces and brackets). Linux counts
/// 100 a second towards programs, whatever it counts inside.
fn ticks(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Present memory of `pid`.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).with_context(|| format!("process {pid} is gone"))?;
    Ok(Memory { pss: field(&text, "Pss").unwrap_or(0), resident: field(&text, "Rss").unwrap_or(0) })
}

/// Highest resident size of `pid` since [`forget_peak`], in KiB.
pub(crate) fn peak_resident(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} is gone"))?;
    field(&text, "VmHWM").context("no VmHWM in status")
}

/// Starts [`peak_resident`] anew (`5` to `clear_refs`: see proc(5)).
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("resetting the peak of resident memory")
}

/// How many files and sockets `pid` has open.
pub(crate) fn open_files(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd")).with_context(|| format!("process {pid} is gone"))?.count())
}

/// The three load averages of the machine, as text.
pub(crate) fn load_average() -> String {
    fs::read_to_string("/proc/loadavg")
        .map(|text| text.split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" "))
        .unwrap_or_else(|_| "unknown".to_owned())
}

/// Number of `Name:   123 kB` in a listing of that form.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let rest = "S 1 2 3 0 -1 4194304 101 0 0 0 31 11 0 0 20 0 1 0 175840";
        for name in ["herd", "a b", "x) y", "(("] {
            assert_eq!(ticks(&format!("77 ({name}) {rest}")), Some(42), "{name}");
        }
        assert_eq!(ticks(""), None);
        assert_eq!(ticks("77 (herd) S 1"), None);
    }

    #[test]
    fn memory_fields_are_taken_whole() {
        let text = "55-7f ---p 00 [rollup]\nRss:  1780 kB\nPss:   358 kB\nPss_Dirty:  116 kB\n";
        assert_eq!(field(text, "Pss"), Some(358));
        assert_eq!(field(text, "Rss"), Some(1780));
        assert_eq!(field(text, "VmHWM"), None);
        assert_eq!(field("Name:\therd\nVmHWM:\t    2096 kB\n", "VmHWM"), Some(2096));
    }

    #[test]
    fn the_schedulers_count_is_the_first_number() {
        assert_eq!(on_cpu("167738414 277787283 65\n"), Some(167_738_414));
        assert_eq!(on_cpu(""), None);
    }

    #[test]
    fn this_process_can_be_measured() {
        let me = std::process::id();
        assert!(cpu_ns(me).unwrap() > 0);
        assert!(memory(me).unwrap().resident > 0);
        assert!(peak_resident(me).unwrap() > 0);
        assert!(open_files(me).unwrap() > 2);
        assert!(cpu_ns(u32::MAX).is_err());
    }
}
