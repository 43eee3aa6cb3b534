//! NVIDIA's GPUs, by the driver's own library, which is looked for while the program runs.
//!
//! A machine without it is the normal case. On laptops the GPU is switched off while nobody uses it, and asking the
//! driver would both wake it and keep it awake: so a sleeping one is not asked, and an idle one is let go.

#[cfg(test)]
mod tests;

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;

use crate::sample::percent;
use crate::sense::GpuSense;
use crate::{Gpu, GpuVendor};

/// GPUs that are read; more are left out.
const MOST_GPUS: u32 = 32;

/// Samples until a library that was not there, or broke, is tried again: five minutes at one each 5 s.
const UNTIL_RETRY: u32 = 60;

/// Samples for which an idle GPU that may sleep is left alone: half a minute, within which it does fall asleep.
const UNTIL_LOOK: u32 = 6;

/// A GPU as the bus sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// For instance `0000:01:00.0`.
    pub(crate) address: String,
    /// Whether it is switched off when nobody uses it.
    pub(crate) may_sleep: bool,
    /// Whether it is off now.
    pub(crate) asleep: bool,
}

/// The driver's library.
pub(crate) trait Library: Send {
    /// All GPUs, each with whether some program uses it; `None` without a library or with one that does not work.
    /// Loads the library where it is not loaded.
    fn read(&mut self) -> Option<Vec<(Gpu, bool)>>;

    /// Unloads it.
    fn release(&mut self);
}

/// Asks the library, but not too often and not the sleeping.
pub(crate) struct Nvidia<L> {
    library: L,
    slots: Box<dyn Fn() -> Vec<Slot> + Send>,
    /// What the library said last.
    last: Option<Vec<Gpu>>,
    /// Samples for which the library is not asked.
    pause: u32,
}

impl<L: Library> Nvidia<L> {
    /// `slots` says what is on the bus; empty where that is not known.
    pub(crate) fn new(library: L, slots: impl Fn() -> Vec<Slot> + Send + 'static) -> Nvidia<L> {
        Nvidia { library, slots: Box::new(slots), last: None, pause: 0 }
    }

    /// What is known without asking: names and sizes of before, or where they sit.
    fn asleep(&self, slots: &[Slot]) -> Vec<Gpu> {
        let known = self.last.clone().unwrap_or_else(|| {
            let unknown = |slot: &Slot| Gpu { pci: Some(slot.address.clone()), ..Gpu::of(GpuVendor::Nvidia) };
            slots.iter().map(unknown).collect()
        });
        let lasting = |gpu: Gpu| Gpu {
            asleep: true,
            memory_used: None,
            busy_percent: None,
            celsius: None,
            throttled: None,
            ..gpu
        };
        known.into_iter().map(lasting).collect()
    }
}

impl<L: Library> GpuSense for Nvidia<L> {
    fn gpus(&mut self) -> Option<Vec<Gpu>> {
        let slots = (self.slots)();
        if !slots.is_empty() && slots.iter().all(|slot| slot.asleep) {
            self.library.release();
            // Once it wakes, somebody uses it.
            self.pause = 0;
            return Some(self.asleep(&slots));
        }
        if let Some(left) = self.pause.checked_sub(1) {
            self.pause = left;
            return self.last.clone();
        }
        let Some(read) = self.library.read() else {
            self.library.release();
            self.pause = UNTIL_RETRY;
            self.last = None;
            return None;
        };
        let may_sleep = slots.iter().any(|slot| slot.may_sleep);
        if may_sleep && !read.iter().any(|(_, used)| *used) {
            self.library.release();
            self.pause = UNTIL_LOOK;
        }
        self.last = Some(read.into_iter().map(|(gpu, _)| gpu).collect());
        self.last.clone()
    }
}

/// NVIDIA's management library (NVML).
#[derive(Default)]
pub(crate) struct Driver {
    nvml: Option<Nvml>,
}

impl Library for Driver {
    fn read(&mut self) -> Option<Vec<(Gpu, bool)>> {
        if self.nvml.is_none() {
            self.nvml = Nvml::init().ok();
        }
        let nvml = self.nvml.as_ref()?;
        let count = nvml.device_count().ok()?.min(MOST_GPUS);
        let devices = (0..count).filter_map(|index| nvml.device_by_index(index).ok());
        Some(devices.map(|device| read(&device)).collect())
    }

    fn release(&mut self) {
        self.nvml = None;
    }
}

fn read(device: &nvml_wrapper::Device<'_>) -> (Gpu, bool) {
    let memory = device.memory_info().ok();
    let hot = ThrottleReasons::HW_THERMAL_SLOWDOWN | ThrottleReasons::SW_THERMAL_SLOWDOWN;
    let busy = device.utilization_rates().ok().map(|rates| rates.gpu);
    // Programs that draw are not counted: a desktop keeps a GPU open that sleeps all the same.
    let computing = device.running_compute_processes_count().map_or(true, |count| count > 0);
    let used = computing || busy.is_none_or(|busy| busy > 0);
    let gpu = Gpu {
        name: device.name().ok(),
        pci: device.pci_info().ok().map(|told| address(&told.bus_id)),
        memory_total: memory.as_ref().map(|memory| memory.total),
        memory_used: memory.as_ref().map(|memory| memory.total.saturating_sub(memory.free)),
        busy_percent: busy.and_then(|busy| percent(busy.into())),
        celsius: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        throttled: device.current_throttle_reasons().ok().map(|reasons| reasons.intersects(hot)),
        ..Gpu::of(GpuVendor::Nvidia)
    };
    (gpu, used)
}

/// The library writes the domain with eight digits and capitals, the kernel with four and small letters.
fn address(bus_id: &str) -> String {
    let small = bus_id.to_lowercase();
    match small.strip_prefix("0000") {
        Some(rest) if rest.find(':') == Some(4) => rest.to_owned(),
        _ => small,
    }
}
