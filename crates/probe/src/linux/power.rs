//! Mains or battery, from `sys/class/power_supply`.

use std::path::{Path, PathBuf};

use super::files;
use crate::sample::percent;
use crate::sense::PowerSense;

pub(super) struct Power {
    supplies: PathBuf,
}

impl Power {
    pub(super) fn new(root: &Path) -> Power {
        Power { supplies: root.join("sys/class/power_supply") }
    }
}

/// A battery of the machine, or a UPS.
struct Battery {
    discharging: Option<bool>,
    percent: Option<u64>,
    /// Charge now and when full, in whatever the driver counts.
    charge: Option<(u64, u64)>,
    is_ups: bool,
}

impl PowerSense for Power {
    fn power(&mut self) -> Option<crate::Power> {
        let (mut batteries, mut mains) = (Vec::new(), None);
        for supply in files::entries(&self.supplies)? {
            let told = |file: &str| files::text(&supply.join(file)).unwrap_or_default();
            // Batteries of mice and headsets.
            if told("scope") == "Device" {
                continue;
            }
            match told("type").as_str() {
                kind @ ("Battery" | "UPS") => batteries.push(battery(&supply, kind == "UPS")),
                // A laptop charged by USB-C has a supply of type USB, and may have more sockets with nothing in them.
                "Mains" | "USB" | "Wireless" => {
                    let online = files::number(&supply.join("online")).map(|online| online > 0);
                    mains = [mains, online].into_iter().flatten().reduce(|one, other| one || other);
                }
                _ => {}
            }
        }
        let power = crate::Power { on_battery: on_battery(&batteries, mains), battery_percent: charge(&batteries) };
        (power != crate::Power::default()).then_some(power)
    }
}

fn battery(supply: &Path, is_ups: bool) -> Battery {
    let told = |file: &str| files::number(&supply.join(file));
    let pair = |now: &str, full: &str| told(now).zip(told(full)).filter(|(_, full)| *full > 0);
    let discharging = match files::text(&supply.join("status")).unwrap_or_default().as_str() {
        "Discharging" => Some(true),
        "Charging" | "Full" | "Not charging" => Some(false),
        _ => None,
    };
    Battery {
        discharging,
        percent: told("capacity").filter(|percent| *percent <= 100),
        charge: pair("energy_now", "energy_full").or_else(|| pair("charge_now", "charge_full")),
        is_ups,
    }
}

/// Mains that are there settle it, though a weak charger lets a working machine discharge all the same. Else a battery
/// that empties does; else mains that are told to be off, where there is a battery.
fn on_battery(batteries: &[Battery], mains: Option<bool>) -> Option<bool> {
    let ups_empties = batteries.iter().any(|battery| battery.is_ups && battery.discharging == Some(true));
    if batteries.is_empty() {
        return Some(false);
    } else if ups_empties {
        return Some(true);
    } else if mains == Some(true) {
        return Some(false);
    } else if batteries.iter().any(|battery| battery.discharging == Some(true)) {
        return Some(true);
    } else if batteries.iter().any(|battery| battery.discharging == Some(false)) {
        return Some(false);
    }
    mains.map(|on| !on)
}

/// Weighted by what each holds where all tell it, else the mean.
fn charge(batteries: &[Battery]) -> Option<f64> {
    let charges: Option<Vec<(u64, u64)>> = batteries.iter().map(|battery| battery.charge).collect();
    if let Some(charges) = charges.filter(|charges| !charges.is_empty()) {
        let (now, full) =
            charges.iter().fold((0.0, 0.0), |sum, (now, full)| (sum.0 + *now as f64, sum.1 + *full as f64));
        return percent(now / full * 100.0);
    }
    let told: Vec<u64> = batteries.iter().filter_map(|battery| battery.percent).collect();
    percent(told.iter().sum::<u64>() as f64 / told.len() as f64)
}
