//! What `sysinfo` feels in the same way on macOS and on Windows. Built on Linux for its tests only.

#![cfg_attr(target_os = "linux", allow(dead_code, reason = "readers of its own take their place there"))]

use sysinfo::{CpuRefreshKind, Gpus, MemoryRefreshKind, Product, System};

use crate::sample::percent;
use crate::sense::{CpuSense, HostSense, MemorySense};
use crate::{Gpu, GpuVendor};

/// The load.
pub(crate) struct Cpu {
    system: Option<System>,
    physical: Option<u32>,
    has_felt: bool,
}

impl Cpu {
    pub(crate) fn new() -> Cpu {
        let physical = System::physical_core_count().ok().and_then(|count| u32::try_from(count).ok());
        Cpu { system: System::new().ok(), physical: physical.filter(|count| *count > 0), has_felt: false }
    }
}

impl CpuSense for Cpu {
    fn cpu(&mut self) -> Option<crate::Cpu> {
        let system = self.system.as_mut()?;
        system.refresh_cpu_usage();
        // The first reading has nothing to compare with and says zero.
        let felt_before = std::mem::replace(&mut self.has_felt, true);
        let busy = felt_before.then(|| percent(system.global_cpu_usage().into())).flatten();
        let logical = u32::try_from(system.cpus().len()).ok().filter(|count| *count > 0);
        Some(crate::Cpu { percent: busy, logical, physical: self.physical, limit: None })
    }
}

/// Memory and swap.
pub(crate) struct Memory {
    system: Option<System>,
}

impl Memory {
    pub(crate) fn new() -> Memory {
        Memory { system: System::new().ok() }
    }
}

impl MemorySense for Memory {
    fn memory(&mut self) -> Option<crate::Memory> {
        let system = self.system.as_mut()?;
        system.refresh_memory_specifics(MemoryRefreshKind::everything());
        // Zero is what it says when the system did not answer.
        let total = Some(system.total_memory()).filter(|total| *total > 0)?;
        Some(crate::Memory {
            total: Some(total),
            available: Some(system.available_memory().min(total)),
            swap_total: Some(system.total_swap()),
            swap_used: Some(system.used_swap().min(system.total_swap())),
            limited: false,
            stalled_percent: None,
        })
    }
}

/// What the machine is.
pub(crate) struct Host;

impl HostSense for Host {
    fn host(&mut self) -> crate::Host {
        let chip = System::new().ok().and_then(|mut system| {
            system.refresh_cpu_list(CpuRefreshKind::nothing());
            told(Some(system.cpus().first()?.brand().trim().to_owned()))
        });
        crate::Host {
            name: told(System::host_name().ok()),
            os: told(System::name().ok()),
            os_version: told(System::os_version().ok()),
            kernel: told(System::kernel_version().ok()),
            arch: std::env::consts::ARCH.to_owned(),
            model: told(Product::name().ok()),
            chip,
        }
    }
}

fn told(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The GPUs as `sysinfo` knows them, sorted by where they sit.
pub(crate) struct Cards {
    cards: Option<Gpus>,
}

impl Cards {
    pub(crate) fn new() -> Cards {
        Cards { cards: Gpus::new().ok() }
    }

    pub(crate) fn gpus(&mut self) -> Option<Vec<Gpu>> {
        let cards = self.cards.as_mut()?;
        cards.refresh(true);
        let mut gpus: Vec<Gpu> = cards.iter().map(gpu).collect();
        gpus.sort_by(|one, other| one.pci.cmp(&other.pci));
        Some(gpus)
    }
}

fn gpu(card: &sysinfo::Gpu) -> Gpu {
    let address = card.pci().to_string();
    Gpu {
        name: told(card.model().map(str::to_owned)),
        // Apple's own sit on no bus, and get an address that cannot be.
        pci: (!address.starts_with("ffffffff")).then_some(address),
        // What it says of memory in use is on Windows only what this program uses (DXGI's `CurrentUsage`).
        memory_total: card.total_memory().filter(|total| *total > 0),
        busy_percent: card.usage().and_then(|usage| percent(usage.into())),
        ..Gpu::of(vendor(card.vendor().or(card.model()).unwrap_or_default()))
    }
}

fn vendor(words: &str) -> GpuVendor {
    let words = words.to_lowercase();
    let known = [
        ("nvidia", GpuVendor::Nvidia),
        ("advanced micro", GpuVendor::Amd),
        ("amd", GpuVendor::Amd),
        ("radeon", GpuVendor::Amd),
        ("apple", GpuVendor::Apple),
        ("intel", GpuVendor::Intel),
    ];
    known.into_iter().find(|(word, _)| words.contains(word)).map_or(GpuVendor::Other, |(_, vendor)| vendor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_felt_as_its_own_readers_feel_it() {
        let memory = Memory::new().memory().unwrap();
        assert!(memory.total > Some(1 << 24), "{memory:?}");
        assert!(memory.available <= memory.total, "{memory:?}");
        let host = Host.host();
        assert!(host.name.is_some() && host.os.is_some(), "{host:?}");
        assert!(Cards::new().gpus().is_some());
    }

    #[test]
    fn the_first_load_has_nothing_to_compare_with() {
        let mut cpu = Cpu::new();
        let first = cpu.cpu().unwrap();
        assert_eq!(first.percent, None);
        assert!(first.logical.is_some());
        assert!(cpu.cpu().unwrap().percent.is_some_and(|percent| (0.0..=100.0).contains(&percent)));
    }

    #[test]
    fn makers_are_known_by_their_words() {
        for (words, maker) in [
            ("NVIDIA Corporation", GpuVendor::Nvidia),
            ("Advanced Micro Devices, Inc. [AMD/ATI]", GpuVendor::Amd),
            ("Apple M3 Max", GpuVendor::Apple),
            ("Intel Corporation", GpuVendor::Intel),
            ("", GpuVendor::Other),
        ] {
            assert_eq!(vendor(words), maker, "{words}");
        }
    }
}
