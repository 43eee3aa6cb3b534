//! Windows: `sysinfo`, NVIDIA's driver, calls of the system, Core Audio and Media Foundation for who records.
//!
//! Type-checked on Linux; nobody has run it yet.

mod apps;
pub(crate) mod awake;
mod camera;
mod com;
mod consent;
mod desk;
#[allow(unsafe_code, reason = "the system calls into it, by code that `implement` writes")]
mod ear;
mod microphone;
pub(crate) mod presence;

use std::time::Duration;

use windows::Win32::System::Power::{GetSystemPowerStatus, SYSTEM_POWER_STATUS};
use windows::Win32::System::RemoteDesktop::ProcessIdToSessionId;
use windows::Win32::System::SystemInformation::GetTickCount64;
use windows::Win32::UI::Input::KeyboardAndMouse::{GetLastInputInfo, LASTINPUTINFO};

use crate::drives::Drives;
use crate::elsewhere::{Cards, Cpu, Host, Memory};
use crate::nvidia::{Driver, Nvidia};
use crate::sample::percent;
use crate::sense::{GpuSense, IdleSense, Numb, PowerSense, Senses};
use crate::{Gpu, GpuVendor, Roots};

/// All senses, looking at `roots`.
pub(crate) fn senses(roots: &Roots) -> Senses {
    Senses {
        host: Box::new(Host),
        cpu: Box::new(Cpu::new()),
        memory: Box::new(Memory::new()),
        disk: Box::new(Drives::new(&roots.places)),
        gpu: Box::new(Graphics {
            // The bus is not asked here, so a laptop's sleeping GPU is woken.
            nvidia: roots.nvidia.then(|| Nvidia::new(Driver::default(), Vec::new)),
            cards: Cards::new(),
        }),
        power: Box::new(Power),
        heat: Box::new(Numb),
        idle: Box::new(Idle),
    }
}

/// NVIDIA's GPUs by its driver, which knows how much memory all programs use; others by DirectX, which does not.
struct Graphics {
    nvidia: Option<Nvidia<Driver>>,
    cards: Cards,
}

impl GpuSense for Graphics {
    fn gpus(&mut self) -> Option<Vec<Gpu>> {
        let mut nvidia = self.nvidia.as_mut().and_then(GpuSense::gpus).unwrap_or_default();
        let Some(cards) = self.cards.gpus() else { return (!nvidia.is_empty()).then_some(nvidia) };
        let driver_told = !nvidia.is_empty();
        nvidia.extend(cards.into_iter().filter(|gpu| !(driver_told && gpu.vendor == GpuVendor::Nvidia)));
        Some(nvidia)
    }
}

struct Power;

/// `BatteryFlag`: there is no battery.
const NO_BATTERY: u8 = 128;

impl PowerSense for Power {
    #[allow(unsafe_code, reason = "a call of the system")]
    fn power(&mut self) -> Option<crate::Power> {
        let mut told = SYSTEM_POWER_STATUS::default();
        // SAFETY: it writes into the structure that it is given.
        unsafe { GetSystemPowerStatus(&mut told) }.ok()?;
        let has_none = told.BatteryFlag != 255 && told.BatteryFlag & NO_BATTERY != 0;
        let on_battery = match told.ACLineStatus {
            _ if has_none => Some(false),
            0 => Some(true),
            1 => Some(false),
            _ => None,
        };
        // 255 is "not known".
        let charge = Some(told.BatteryLifePercent).filter(|charge| *charge <= 100 && !has_none);
        Some(crate::Power { on_battery, battery_percent: charge.and_then(|charge| percent(charge.into())) })
    }
}

struct Idle;

impl IdleSense for Idle {
    #[allow(unsafe_code, reason = "calls of the system")]
    fn idle(&mut self) -> Option<Duration> {
        let mut session = 0;
        // SAFETY: it writes into the number that it is given.
        unsafe { ProcessIdToSessionId(std::process::id(), &mut session) }.ok()?;
        // Services live in session 0, where nobody types.
        if session == 0 {
            return None;
        }
        let size = u32::try_from(size_of::<LASTINPUTINFO>()).expect("it is eight bytes");
        let mut last = LASTINPUTINFO { cbSize: size, dwTime: 0 };
        // SAFETY: it writes into the structure that it is given, whose size it is told.
        let told = unsafe { GetLastInputInfo(&mut last) }.as_bool();
        // SAFETY: it takes nothing.
        let now = unsafe { GetTickCount64() };
        // The stamp has the lower half of the counter only.
        let idle = (now as u32).wrapping_sub(last.dwTime);
        told.then(|| Duration::from_millis(idle.into()))
    }
}
