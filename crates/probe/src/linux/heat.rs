//! Heat, from sensors and from what the kernel counts when it slows processors down.

use std::path::{Path, PathBuf};

use super::files;
use crate::sample::celsius;
use crate::sense::HeatSense;

/// Drivers of processors' sensors.
const SENSORS: [&str; 5] = ["coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal"];

/// Thermal zones that are about processors.
const ZONES: [&str; 6] = ["x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc-thermal", "soc_thermal", "cpu0-thermal"];

/// Counters and cooling devices that are asked; more are left out.
const MOST: usize = 16;

/// Where to look is found once: sensors do not come and go.
pub(super) struct Heat {
    thermometer: Option<PathBuf>,
    /// One for each package: how often heat slowed it down.
    counters: Vec<PathBuf>,
    /// How far processors are held back now, 0 for not at all.
    brakes: Vec<PathBuf>,
    last: Option<u64>,
}

impl Heat {
    pub(super) fn new(root: &Path) -> Heat {
        let thermal = files::entries(&root.join("sys/class/thermal")).unwrap_or_default();
        let brakes = thermal.iter().filter(|path| {
            let kind = files::text(&path.join("type")).unwrap_or_default();
            files::name(path).starts_with("cooling_device") && (kind == "Processor" || kind.contains("cpufreq"))
        });
        Heat {
            thermometer: sensor(root).or_else(|| zone(&thermal)),
            counters: counters(root),
            brakes: brakes.map(|path| path.join("cur_state")).take(MOST).collect(),
            last: None,
        }
    }

    fn throttled(&mut self) -> Option<bool> {
        let counts: Vec<u64> = self.counters.iter().filter_map(|path| files::number(path)).collect();
        let count = counts.iter().copied().reduce(u64::saturating_add);
        let before = std::mem::replace(&mut self.last, count);
        let counted = count.zip(before).map(|(count, before)| count > before);
        let braked =
            self.brakes.iter().filter_map(|path| files::number(path)).map(|state| state > 0).reduce(|a, b| a || b);
        [counted, braked].into_iter().flatten().reduce(|one, other| one || other)
    }
}

impl HeatSense for Heat {
    fn heat(&mut self) -> Option<crate::Heat> {
        let thousandths = self.thermometer.as_ref().and_then(|path| files::signed(path));
        let heat = crate::Heat {
            throttled: self.throttled(),
            cpu_celsius: thousandths.and_then(|thousandths| celsius(thousandths as f64 / 1000.0)),
        };
        (heat != crate::Heat::default()).then_some(heat)
    }
}

/// The first input of a processor's sensor: of the whole package with Intel, what steers the fans with AMD.
fn sensor(root: &Path) -> Option<PathBuf> {
    let sensors = files::entries(&root.join("sys/class/hwmon"))?;
    let ours = sensors
        .iter()
        .filter(|path| files::text(&path.join("name")).is_some_and(|name| SENSORS.contains(&name.as_str())));
    ours.map(|path| path.join("temp1_input")).find(|input| input.exists())
}

fn zone(thermal: &[PathBuf]) -> Option<PathBuf> {
    let ours = thermal.iter().filter(|path| files::name(path).starts_with("thermal_zone"));
    let mut ours =
        ours.filter(|path| files::text(&path.join("type")).is_some_and(|kind| ZONES.contains(&kind.as_str())));
    ours.next().map(|path| path.join("temp"))
}

/// Processors of one package show the same count, so one of each is asked.
fn counters(root: &Path) -> Vec<PathBuf> {
    let processors = files::entries(&root.join("sys/devices/system/cpu")).unwrap_or_default();
    let mut packages = std::collections::BTreeMap::new();
    for processor in processors {
        let count = processor.join("thermal_throttle/package_throttle_count");
        if count.exists() {
            let package = files::text(&processor.join("topology/physical_package_id")).unwrap_or_default();
            packages.entry(package).or_insert(count);
        }
    }
    packages.into_values().take(MOST).collect()
}
