//! AMD's GPUs, from what the kernel's `amdgpu` tells in `sys/class/drm`.

use std::path::{Path, PathBuf};

use super::files;
use crate::sample::{celsius, percent};
use crate::sense::GpuSense;
use crate::{Gpu, GpuVendor};

pub(super) struct Amd {
    cards: PathBuf,
    drivers: PathBuf,
}

impl Amd {
    pub(super) fn new(root: &Path) -> Amd {
        Amd { cards: root.join("sys/class/drm"), drivers: root.join("sys/class") }
    }
}

impl GpuSense for Amd {
    /// Sorted by PCI address. A machine without any graphics has no `drm` directory; one without `sys` tells nothing.
    fn gpus(&mut self) -> Option<Vec<Gpu>> {
        let Some(cards) = files::entries(&self.cards) else { return self.drivers.is_dir().then(Vec::new) };
        let is_card =
            |path: &&PathBuf| files::name(path).strip_prefix("card").is_some_and(|n| n.parse::<u32>().is_ok());
        let mut gpus: Vec<Gpu> = cards.iter().filter(is_card).filter_map(|card| gpu(&card.join("device"))).collect();
        gpus.sort_by(|one, other| one.pci.cmp(&other.pci));
        Some(gpus)
    }
}

fn gpu(device: &Path) -> Option<Gpu> {
    (files::text(&device.join("vendor"))? == "0x1002").then_some(())?;
    let told = |file: &str| files::number(&device.join(file));
    // Reading sensors would switch it on.
    let asleep = files::text(&device.join("power/runtime_status")).is_some_and(|status| status == "suspended");
    let awake = |file: &str| if asleep { None } else { told(file) };
    let uevent = files::text(&device.join("uevent")).unwrap_or_default();
    let pci = uevent.lines().find_map(|line| line.strip_prefix("PCI_SLOT_NAME=")).map(str::to_owned);
    let mut gpu = Gpu {
        name: files::words(&device.join("product_name")),
        pci,
        memory_total: told("mem_info_vram_total").filter(|total| *total > 0),
        memory_used: awake("mem_info_vram_used"),
        shared_total: told("mem_info_gtt_total").filter(|total| *total > 0),
        shared_used: awake("mem_info_gtt_used"),
        busy_percent: awake("gpu_busy_percent").and_then(|busy| percent(busy as f64)),
        celsius: if asleep { None } else { temperature(device) },
        asleep,
        ..Gpu::of(GpuVendor::Amd)
    };
    gpu.memory_used = gpu.memory_used.zip(gpu.memory_total).map(|(used, total)| used.min(total));
    gpu.shared_used = gpu.shared_used.zip(gpu.shared_total).map(|(used, total)| used.min(total));
    Some(gpu)
}

/// The edge temperature, in thousandths of a degree.
fn temperature(device: &Path) -> Option<f64> {
    let sensors = files::entries(&device.join("hwmon"))?;
    let thousandths = sensors.iter().find_map(|sensor| files::signed(&sensor.join("temp1_input")))?;
    celsius(thousandths as f64 / 1000.0)
}
