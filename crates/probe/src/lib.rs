//! Senses the machine: load, memory, disk space, GPUs, power, heat, and for how long nobody has touched it.
//!
//! Nothing runs by itself: whoever owns a [`Prober`] calls [`Prober::sample`], which **blocks** (files of the kernel, a
//! driver, a message bus) and so belongs on a thread of its own, never on a worker of the async runtime. Readings that
//! this machine does not give are `None`, never a made-up zero. No decision is taken here, and no camera or microphone
//! is ever opened.
//!
//! [`presence`] watches, on threads of its own, for what speaks for somebody using the machine. [`KeepAwake`] keeps the
//! machine from falling asleep.
//!
//! One trait per sense ([`sense`]) and one set of readers per system: Linux from files below a root that is a parameter,
//! macOS and Windows by `sysinfo` and a few calls of the system.

mod awake;
pub mod presence;
mod prober;
mod roots;
mod sample;
pub mod sense;

#[cfg(any(test, windows))]
mod drives;
#[cfg(any(test, not(target_os = "linux")))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(any(target_os = "linux", windows))]
mod nvidia;
#[cfg(unix)]
mod space;
#[cfg(windows)]
mod windows;

pub use awake::{Guard, KeepAwake, NotHeld};
pub use prober::Prober;
pub use roots::Roots;
pub use sample::{Cpu, Disk, Gpu, GpuVendor, Heat, Host, Memory, Power, Sample};
