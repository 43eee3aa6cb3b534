//! Screens that are on or off, from `sys/class/drm`.

use std::path::{Path, PathBuf};

use super::files;
use crate::presence::DisplaySense;

pub(super) struct Screens {
    connectors: PathBuf,
}

impl Screens {
    pub(super) fn new(root: &Path) -> Screens {
        Screens { connectors: root.join("sys/class/drm") }
    }
}

impl DisplaySense for Screens {
    /// A screen that is connected but not used is off too, so one that is on settles it.
    fn display_off(&mut self) -> Option<bool> {
        let connected = files::entries(&self.connectors)?
            .into_iter()
            .filter(|connector| files::text(&connector.join("status")).as_deref() == Some("connected"));
        let off = connected.filter_map(|connector| match files::text(&connector.join("dpms"))?.as_str() {
            "On" => Some(false),
            "Off" | "Suspend" | "Standby" => Some(true),
            _ => None,
        });
        off.reduce(|one, other| one && other)
    }
}
