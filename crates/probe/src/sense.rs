//! The senses, one trait each, so that tests of others can bring a machine of their own.
//!
//! Each may block for as long as the system takes to answer, and says `None` for what it does not know. None has to be
//! `Send`: on Windows the counters of GPUs are not.

use std::time::Duration;

use crate::{Cpu, Disk, Gpu, Heat, Host, Memory, Power};

/// Tells what the machine is.
pub trait HostSense {
    /// Its name, system and model. Asked once.
    fn host(&mut self) -> Host;
}

/// Feels the load.
pub trait CpuSense {
    /// The load since the last call.
    fn cpu(&mut self) -> Option<Cpu>;
}

/// Feels how much memory is left.
pub trait MemorySense {
    /// Memory now.
    fn memory(&mut self) -> Option<Memory>;
}

/// Feels how much space is left.
pub trait DiskSense {
    /// One entry for each place, in the order in which they were given. Blocks as long as a dead network disk does.
    fn disks(&mut self) -> Vec<Disk>;
}

/// Feels the GPUs.
pub trait GpuSense {
    /// The GPUs now; `None` if they cannot be told from there being none.
    fn gpus(&mut self) -> Option<Vec<Gpu>>;
}

/// Feels where the power comes from.
pub trait PowerSense {
    /// Mains or battery now.
    fn power(&mut self) -> Option<Power>;
}

/// Feels the heat.
pub trait HeatSense {
    /// Temperature now, throttling since the last call.
    fn heat(&mut self) -> Option<Heat>;
}

/// Feels whether somebody is there.
pub trait IdleSense {
    /// Since when no input came, at least.
    fn idle(&mut self) -> Option<Duration>;
}

/// One of each.
pub struct Senses {
    /// What the machine is.
    pub host: Box<dyn HostSense>,
    /// Load.
    pub cpu: Box<dyn CpuSense>,
    /// Memory.
    pub memory: Box<dyn MemorySense>,
    /// Disk space.
    pub disk: Box<dyn DiskSense>,
    /// GPUs.
    pub gpu: Box<dyn GpuSense>,
    /// Power.
    pub power: Box<dyn PowerSense>,
    /// Heat.
    pub heat: Box<dyn HeatSense>,
    /// Idle time.
    pub idle: Box<dyn IdleSense>,
}

/// A sense that this system lacks.
pub struct Numb;

impl GpuSense for Numb {
    fn gpus(&mut self) -> Option<Vec<Gpu>> {
        None
    }
}

impl PowerSense for Numb {
    fn power(&mut self) -> Option<Power> {
        None
    }
}

impl HeatSense for Numb {
    fn heat(&mut self) -> Option<Heat> {
        None
    }
}

impl IdleSense for Numb {
    fn idle(&mut self) -> Option<Duration> {
        None
    }
}
