//! Asks all senses in turn.

use std::sync::Arc;

use crate::sense::Senses;
use crate::{Host, Roots, Sample};

/// The senses of one machine.
///
/// Belongs to the thread that makes it, which may block: it is not `Send`, but [`Roots`] and [`Sample`] are. A sample
/// takes well under a millisecond on a healthy machine, but as long as a dead network disk or a hanging driver makes it.
/// It starts no thread and keeps nothing but the last reading of counters, and open connections to the driver, the buses
/// and the display.
pub struct Prober {
    senses: Senses,
    host: Arc<Host>,
}

impl Prober {
    /// The senses of this system, which look at `roots`. Blocks like [`Prober::sample`].
    pub fn new(roots: &Roots) -> Prober {
        #[cfg(target_os = "linux")]
        let senses = crate::linux::senses(roots);
        #[cfg(target_os = "macos")]
        let senses = crate::macos::senses(roots);
        #[cfg(windows)]
        let senses = crate::windows::senses(roots);
        #[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
        compile_error!("no senses for this system yet");
        Prober::with(senses)
    }

    /// A machine that feels by `senses`: for tests of what decides by samples.
    pub fn with(mut senses: Senses) -> Prober {
        let host = Arc::new(senses.host.host());
        Prober { senses, host }
    }

    /// What the machine is.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Feels everything once. Blocks. What is counted since the last sample is `None` in the first.
    pub fn sample(&mut self) -> Sample {
        let senses = &mut self.senses;
        Sample {
            host: Arc::clone(&self.host),
            cpu: senses.cpu.cpu(),
            memory: senses.memory.memory(),
            disks: senses.disk.disks(),
            gpus: senses.gpu.gpus(),
            power: senses.power.power(),
            heat: senses.heat.heat(),
            idle: senses.idle.idle(),
        }
    }
}
