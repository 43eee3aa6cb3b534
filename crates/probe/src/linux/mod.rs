//! Linux: files of the kernel below a root, the message buses, the sound server, X11, and NVIDIA's driver.

mod alsa;
mod amd;
pub(crate) mod awake;
mod bus;
mod camera;
mod cgroup;
mod cpu;
mod display;
mod files;
mod full_screen;
mod heat;
mod host;
mod idle;
mod lid;
mod lock;
mod memory;
mod metered;
mod microphone;
mod pci;
mod power;
pub(crate) mod presence;
mod processes;
mod pulse;
#[cfg(test)]
mod tests;
mod wire;
mod x11;

use crate::nvidia::{Driver, Nvidia};
use crate::sense::{GpuSense, Senses};
use crate::space::Space;
use crate::{Gpu, Roots};

/// All senses, looking at `roots`.
pub(crate) fn senses(roots: &Roots) -> Senses {
    let root = &roots.system;
    Senses {
        host: Box::new(host::Host::new(root)),
        cpu: Box::new(cpu::Cpu::new(root)),
        memory: Box::new(memory::Memory::new(root)),
        disk: Box::new(Space::new(&roots.places)),
        gpu: Box::new(Gpus::new(roots)),
        power: Box::new(power::Power::new(root)),
        heat: Box::new(heat::Heat::new(root)),
        idle: Box::new(idle::Idle::new(roots)),
    }
}

/// NVIDIA's GPUs by its driver, AMD's by the kernel.
struct Gpus {
    nvidia: Option<Nvidia<Driver>>,
    amd: amd::Amd,
}

impl Gpus {
    fn new(roots: &Roots) -> Gpus {
        let slots = pci::Slots::new(&roots.system);
        let nvidia = roots.nvidia.then(|| Nvidia::new(Driver::default(), move || slots.nvidia()));
        Gpus { nvidia, amd: amd::Amd::new(&roots.system) }
    }
}

impl GpuSense for Gpus {
    fn gpus(&mut self) -> Option<Vec<Gpu>> {
        let nvidia = self.nvidia.as_mut().and_then(GpuSense::gpus);
        let amd = self.amd.gpus();
        match (nvidia, amd) {
            (None, None) => None,
            (nvidia, amd) => Some(nvidia.into_iter().chain(amd).flatten().collect()),
        }
    }
}
