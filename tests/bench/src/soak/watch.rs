//! Watches the process: memory and open files over time, and whether they grow.

use anyhow::{Result, ensure};

use crate::process_facts;
use crate::stats::median;

/// Looks that are kept; when there are more, every second one is dropped, so that a week fits.
const KEPT: usize = 4096;

/// Growth that is no growth: caches that fill, in KiB, and as a share.
const ROOM_KIB: f64 = 8.0 * 1024.0;
const ROOM_SHARE: f64 = 1.15;

/// Open files above those at the start that are no leak: connections kept for reuse.
const ROOM_FILES: usize = 64;

/// What was seen of one process.
#[derive(Debug)]
pub(super) struct Watch {
    pid: u32,
    resident: Vec<f64>,
    /// One look of this many is kept.
    every: usize,
    looks: usize,
    files_before: usize,
    files: usize,
    files_most: usize,
    files_after: usize,
}

impl Watch {
    pub(super) fn begin(pid: u32) -> Result<Self> {
        let files = process_facts::open_files(pid)?;
        Ok(Self {
            pid,
            resident: Vec::new(),
            every: 1,
            looks: 0,
            files_before: files,
            files,
            files_most: files,
            files_after: files,
        })
    }

    pub(super) fn look(&mut self) -> Result<()> {
        self.files = process_facts::open_files(self.pid)?;
        self.files_most = self.files_most.max(self.files);
        if self.looks.is_multiple_of(self.every) {
            if self.resident.len() == KEPT {
                let mut at = 0;
                self.resident.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
                self.every *= 2;
            }
            self.resident.push(kib(process_facts::memory(self.pid)?.resident));
        }
        self.looks += 1;
        Ok(())
    }

    /// Whether the process holds hardly more files open than before the traffic.
    pub(super) fn is_calm(&self) -> Result<bool> {
        Ok(process_facts::open_files(self.pid)? <= self.files_before + ROOM_FILES)
    }

    /// Takes the last look, after the traffic.
    pub(super) fn end(&mut self) -> Result<()> {
        self.files_after = process_facts::open_files(self.pid)?;
        Ok(())
    }

    pub(super) fn line(&self) -> String {
        let mb = |kib: f64| kib * 1.024 / 1000.0;
        let (early, late) = quarters(&self.resident);
        format!(
            "resident {:.1} MB now, {:.1} MB in the second quarter, {:.1} MB in the last; {} open files now, {} at most, {} before",
            mb(self.resident.last().copied().unwrap_or(0.0)),
            mb(early),
            mb(late),
            self.files,
            self.files_most,
            self.files_before
        )
    }

    /// Fails when something grew.
    pub(super) fn verdict(&self) -> Result<()> {
        let (early, late) = quarters(&self.resident);
        ensure!(late <= early * ROOM_SHARE + ROOM_KIB, "memory grew from {early:.0} to {late:.0} KiB");
        ensure!(
            self.files_after <= self.files_before + ROOM_FILES,
            "open files grew from {} to {}",
            self.files_before,
            self.files_after
        );
        Ok(())
    }
}

/// Medians of the second and the last quarter: the first is warm-up.
fn quarters(values: &[f64]) -> (f64, f64) {
    let quarter = values.len() / 4;
    let of = |part: &[f64]| median(part).unwrap_or(0.0);
    (of(&values[quarter..values.len() - 2 * quarter]), of(&values[values.len() - quarter.max(1).min(values.len())..]))
}

#[allow(clippy::cast_precision_loss, reason = "memory in KiB is far below 2^53")]
fn kib(of: u64) -> f64 {
    of as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(resident: Vec<f64>, files_after: usize) -> Watch {
        Watch { pid: 0, resident, every: 1, looks: 0, files_before: 20, files: 20, files_most: 900, files_after }
    }

    #[test]
    fn growth_is_told_from_warming_up() {
        let level =
            |from: f64, to: f64| (0..100).map(|at| from + (to - from) * f64::from(at) / 100.0).collect::<Vec<_>>();
        let mut warm = vec![10_000.0; 25];
        warm.extend([60_000.0; 75]);
        for (resident, files, fine) in [
            (vec![30_000.0; 100], 20, true),
            (warm, 80, true),
            (level(30_000.0, 90_000.0), 20, false),
            ([vec![30_000.0; 99], vec![90_000.0]].concat(), 20, true),
            (vec![30_000.0; 100], 500, false),
            (vec![], 20, true),
            (vec![1.0], 20, true),
        ] {
            assert_eq!(watch(resident.clone(), files).verdict().is_ok(), fine, "{files} files, {resident:?}");
        }
    }
}
