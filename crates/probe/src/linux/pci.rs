//! NVIDIA's GPUs as the PCI bus sees them: asking there wakes none of them.

use std::path::{Path, PathBuf};

use super::files;
use crate::nvidia::Slot;

pub(super) struct Slots {
    devices: PathBuf,
}

impl Slots {
    pub(super) fn new(root: &Path) -> Slots {
        Slots { devices: root.join("sys/bus/pci/devices") }
    }

    /// Graphics cards and accelerators of NVIDIA. Empty also where the bus cannot be seen.
    pub(super) fn nvidia(&self) -> Vec<Slot> {
        let devices = files::entries(&self.devices).unwrap_or_default();
        let told = |device: &Path, file: &str| files::text(&device.join(file)).unwrap_or_default();
        let ours = devices.iter().filter(|device| {
            // 0x03: display controllers (PCI Code and ID Assignment), those without a screen included.
            told(device, "vendor") == "0x10de" && told(device, "class").starts_with("0x03")
        });
        ours.map(|device| Slot {
            address: files::name(device).to_owned(),
            may_sleep: told(device, "power/control") == "auto",
            asleep: told(device, "power/runtime_status") == "suspended",
        })
        .collect()
    }
}
