//! macOS: `sysinfo`, IOKit for power, Metal for what the GPU may use, Core Graphics for the last input, Core Audio and
//! CoreMediaIO for who records.
//!
//! Type-checked on Linux; nobody has run it yet.

mod apps;
pub(crate) mod awake;
mod camera;
mod desk;
mod microphone;
pub(crate) mod presence;

use std::time::Duration;

use objc2_core_foundation::{CFArray, CFDictionary, CFNumber, CFRetained, CFString, CFType};
use objc2_core_graphics::{CGEventSource, CGEventSourceStateID, CGEventType};
use objc2_foundation::{NSProcessInfo, NSProcessInfoThermalState};
use objc2_io_kit::{
    IOPSCopyPowerSourcesInfo, IOPSCopyPowerSourcesList, IOPSGetPowerSourceDescription, IOPSGetTimeRemainingEstimate,
};
use objc2_metal::{MTLCreateSystemDefaultDevice, MTLDevice as _};

use crate::elsewhere::{Cards, Cpu, Host, Memory};
use crate::sample::percent;
use crate::sense::{GpuSense, HeatSense, IdleSense, PowerSense, Senses};
use crate::space::Space;
use crate::{Gpu, GpuVendor, Roots};

/// All senses, looking at `roots`.
pub(crate) fn senses(roots: &Roots) -> Senses {
    Senses {
        host: Box::new(Host),
        cpu: Box::new(Cpu::new()),
        memory: Box::new(Memory::new()),
        disk: Box::new(Space::new(&roots.places)),
        gpu: Box::new(Metal::new()),
        power: Box::new(Power),
        heat: Box::new(Heat),
        idle: Box::new(Idle),
    }
}

/// The GPUs, and how much memory the main one may use.
struct Metal {
    cards: Cards,
    main: Option<Main>,
}

/// The GPU that Metal takes by itself.
struct Main {
    name: String,
    /// Bytes that it can use at full speed: on Apple's own a part of main memory.
    best: u64,
    unified: bool,
}

impl Metal {
    fn new() -> Metal {
        // Let go at once: on Macs with two GPUs a device that is held keeps the hungrier one on.
        let main = MTLCreateSystemDefaultDevice().map(|device| Main {
            name: device.name().to_string(),
            best: device.recommendedMaxWorkingSetSize(),
            unified: device.hasUnifiedMemory(),
        });
        Metal { cards: Cards::new(), main }
    }
}

impl GpuSense for Metal {
    fn gpus(&mut self) -> Option<Vec<Gpu>> {
        let mut gpus = self.cards.gpus()?;
        let Some(main) = &self.main else { return Some(gpus) };
        let alone = gpus.len() == 1;
        if let Some(gpu) = gpus.iter_mut().find(|gpu| alone || gpu.name.as_ref() == Some(&main.name)) {
            gpu.memory_total = Some(main.best).filter(|best| *best > 0);
            gpu.unified = main.unified;
        } else if gpus.is_empty() {
            let vendor = if main.unified { GpuVendor::Apple } else { GpuVendor::Other };
            gpus.push(Gpu {
                name: Some(main.name.clone()),
                memory_total: Some(main.best).filter(|best| *best > 0),
                unified: main.unified,
                ..Gpu::of(vendor)
            });
        }
        Some(gpus)
    }
}

struct Power;

/// What IOKit says in place of the time that is left while power comes from outside (`kIOPSTimeRemainingUnlimited`).
const FROM_OUTSIDE: f64 = -2.0;

impl PowerSense for Power {
    fn power(&mut self) -> Option<crate::Power> {
        let on_battery = IOPSGetTimeRemainingEstimate() > FROM_OUTSIDE;
        Some(crate::Power { on_battery: Some(on_battery), battery_percent: charge() })
    }
}

/// The charge of the batteries that are built in.
#[allow(unsafe_code, reason = "IOKit tells charge in no other way")]
fn charge() -> Option<f64> {
    let told = IOPSCopyPowerSourcesInfo()?;
    // SAFETY: `told` is what this function asks for.
    let sources = unsafe { IOPSCopyPowerSourcesList(Some(&told)) }?;
    // SAFETY: IOKit's documentation: an array of objects, described by dictionaries with strings for keys.
    let sources: CFRetained<CFArray<CFType>> = unsafe { CFRetained::cast_unchecked(sources) };
    let (mut now, mut full) = (0.0, 0.0);
    for source in sources.iter() {
        // SAFETY: `source` is one of the list that was made from `told`.
        let Some(about) = (unsafe { IOPSGetPowerSourceDescription(Some(&told), Some(&source)) }) else { continue };
        // SAFETY: as above.
        let about: CFRetained<CFDictionary<CFString, CFType>> = unsafe { CFRetained::cast_unchecked(about) };
        let value = |key| about.get(&CFString::from_static_str(key));
        let number = |key| value(key)?.downcast_ref::<CFNumber>()?.as_f64();
        let kind = value("Type").and_then(|kind| kind.downcast_ref::<CFString>().map(|kind| kind.to_string()));
        if kind.as_deref() == Some("InternalBattery")
            && let (Some(has), Some(holds)) = (number("Current Capacity"), number("Max Capacity"))
        {
            now += has;
            full += holds;
        }
    }
    // Without a battery this is no number, and so nothing.
    percent(now / full * 100.0)
}

struct Heat;

impl HeatSense for Heat {
    fn heat(&mut self) -> Option<crate::Heat> {
        let state = NSProcessInfo::processInfo().thermalState();
        // "Serious": performance is impacted (Apple, "Respond to thermal state changes").
        let throttled = state.0 >= NSProcessInfoThermalState::Serious.0;
        Some(crate::Heat { throttled: Some(throttled), cpu_celsius: None })
    }
}

struct Idle;

impl IdleSense for Idle {
    fn idle(&mut self) -> Option<Duration> {
        // Every kind of input: `kCGAnyInputEventType`.
        let any = CGEventType(!0);
        let state = CGEventSourceStateID::CombinedSessionState;
        Duration::try_from_secs_f64(CGEventSource::seconds_since_last_event_type(state, any)).ok()
    }
}
