//! What one look at the machine told. Sizes are bytes, shares are percent, `None` means that it is not known.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// Everything sensed at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// What does not change while the program runs.
    pub host: Arc<Host>,
    /// Processors and their load.
    pub cpu: Option<Cpu>,
    /// Main memory.
    pub memory: Option<Memory>,
    /// One entry for each place asked for, in that order.
    pub disks: Vec<Disk>,
    /// NVIDIA's first, then the others by PCI address. An empty list: looked, and there are none that tell.
    pub gpus: Option<Vec<Gpu>>,
    /// Mains or battery.
    pub power: Option<Power>,
    /// Temperature and what it costs.
    pub heat: Option<Heat>,
    /// For how long no key was pressed and no pointer moved, at least; in JSON whole seconds as `idle_s`.
    ///
    /// `None` on machines without a screen, and wherever nobody keeps count.
    #[serde(rename = "idle_s", serialize_with = "whole_seconds")]
    pub idle: Option<Duration>,
}

/// What a machine is. Read once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The host name.
    pub name: Option<String>,
    /// The system, for instance `Debian GNU/Linux`, `macOS`, `Windows`.
    pub os: Option<String>,
    /// Its version, for instance `12`.
    pub os_version: Option<String>,
    /// The kernel's version.
    pub kernel: Option<String>,
    /// The processor's architecture as this program was built for it, for instance `x86_64` or `aarch64`.
    pub arch: String,
    /// The machine's model in its maker's words, for instance `Framework Laptop 13`.
    pub model: Option<String>,
    /// The processor's name in its maker's words.
    pub chip: Option<String>,
}

/// Processors and their load.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Share of the processors that was busy since the last sample, 0 to 100: of the whole machine, or of `limit` where
    /// that is set. `None` in the first sample.
    pub percent: Option<f64>,
    /// Processors that the system schedules on.
    pub logical: Option<u32>,
    /// Cores, two threads of one core counted once.
    pub physical: Option<u32>,
    /// Processors' worth of time that a container or a slice may use, where that is limited; may be a fraction.
    pub limit: Option<f64>,
}

/// Main memory. In a container with a limit: of what the container may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// All of it.
    pub total: Option<u64>,
    /// What programs could still be given without swapping; never more than `total`.
    pub available: Option<u64>,
    /// Swap space.
    pub swap_total: Option<u64>,
    /// Swap space in use.
    pub swap_used: Option<u64>,
    /// Whether `total` is a container's or a slice's limit and not what is built in.
    pub limited: bool,
    /// Share of the last ten seconds in which some program waited for memory, 0 to 100.
    pub stalled_percent: Option<f64>,
}

/// The file system that a place is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The place as asked for. Where it does not exist yet, the rest is about the nearest directory above that does.
    pub path: PathBuf,
    /// Its size.
    pub total: Option<u64>,
    /// What this user may still write; never more than `total`.
    pub available: Option<u64>,
}

/// Who makes a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuVendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Apple.
    Apple,
    /// Intel.
    Intel,
    /// Somebody else, or not told.
    Other,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gpu {
    /// Who makes it.
    pub vendor: GpuVendor,
    /// Its name in its maker's words.
    pub name: Option<String>,
    /// Where it sits, for instance `0000:03:00.0`.
    pub pci: Option<String>,
    /// Memory of its own; where `unified`, the part of main memory that it may use at best.
    pub memory_total: Option<u64>,
    /// What of it is in use, by whomever.
    pub memory_used: Option<u64>,
    /// Main memory that it may use beyond its own.
    pub shared_total: Option<u64>,
    /// What of that is in use.
    pub shared_used: Option<u64>,
    /// Whether it has no memory of its own.
    pub unified: bool,
    /// Share of the last moment in which it was busy, 0 to 100.
    pub busy_percent: Option<f64>,
    /// Degrees Celsius.
    pub celsius: Option<f64>,
    /// Whether it runs slower than it could because of heat.
    pub throttled: Option<bool>,
    /// Whether it is switched off until somebody uses it. It was not woken to be asked, so what changes is `None`.
    pub asleep: bool,
}

impl Gpu {
    /// A GPU of which nothing else is known.
    pub fn of(vendor: GpuVendor) -> Gpu {
        Gpu {
            vendor,
            name: None,
            pci: None,
            memory_total: None,
            memory_used: None,
            shared_total: None,
            shared_used: None,
            unified: false,
            busy_percent: None,
            celsius: None,
            throttled: None,
            asleep: false,
        }
    }
}

/// Mains or battery.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Power {
    /// Whether the machine runs on a battery (or a UPS that lost its mains). A machine without one does not.
    pub on_battery: Option<bool>,
    /// Charge of all batteries together, 0 to 100; `None` without one.
    pub battery_percent: Option<f64>,
}

/// Temperature and what it costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Heat {
    /// Whether the processors ran slower because of heat since the last sample (macOS: now).
    pub throttled: Option<bool>,
    /// The processors' temperature in degrees Celsius.
    pub cpu_celsius: Option<f64>,
}

/// A share that can be shown: finite, 0 to 100, one digit after the point.
pub(crate) fn percent(share: f64) -> Option<f64> {
    share.is_finite().then(|| one_digit(share.clamp(0.0, 100.0)))
}

/// A temperature that a working machine can have, with one digit after the point.
#[cfg(target_os = "linux")]
pub(crate) fn celsius(degrees: f64) -> Option<f64> {
    (-50.0..=250.0).contains(&degrees).then(|| one_digit(degrees))
}

fn one_digit(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn whole_seconds<S: Serializer>(idle: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    idle.map(|idle| idle.as_secs()).serialize(to)
}
