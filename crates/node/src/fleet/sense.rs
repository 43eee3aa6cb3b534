//! Feels the machine when somebody asks. The senses block, so they live on a thread of their own, which sleeps until it is
//! asked. It ends with the last handle and is not waited for: a driver that hangs would hold up the end of the node.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use probe::{GpuVendor, Prober, Roots, Sample};
use proto::wire::{MAX_GPUS, Machine, MachineGpu};
use proto::{Clock, Moment, Priority};
use tokio::sync::watch;

/// A sample this young need not be taken again.
const FRESH: Duration = Duration::from_secs(2);
/// How long somebody waits for a sample; then the last one must do.
const PATIENCE: Duration = Duration::from_millis(300);

/// The senses of this machine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sense(Arc<Inner>);

struct Inner {
    clock: Clock,
    dir: PathBuf,
    latest: Arc<ArcSwapOption<(Moment, Sample)>>,
    taken: watch::Sender<()>,
    /// Asks the thread, once it was started.
    thread: Mutex<Option<SyncSender<()>>>,
}

impl Sense {
    /// The senses, which also look at the disk that `dir` is on. Nothing runs before the first question.
    pub(crate) fn new(dir: PathBuf, clock: Clock) -> Sense {
        let latest = Arc::default();
        Sense(Arc::new(Inner { clock, dir, latest, taken: watch::Sender::new(()), thread: Mutex::new(None) }))
    }

    /// Has a sample taken soon.
    pub(crate) fn nudge(&self) {
        let inner = &self.0;
        let mut thread = inner.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            *thread = start(inner.dir.clone(), inner.clock, inner.latest.clone(), inner.taken.clone());
        }
        if let Some(asks) = &*thread {
            // One question waits already: the answer to it will do.
            let _ = asks.try_send(());
        }
    }

    /// The last sample.
    pub(crate) fn latest(&self) -> Option<Machine> {
        self.0.latest.load().as_ref().map(|taken| machine(&taken.1))
    }

    /// How well this machine suits as the leader, going by the last sample.
    pub(crate) fn priority(&self) -> Priority {
        self.0.latest.load().as_ref().map_or(Priority::Normal, |taken| priority(&taken.1))
    }

    /// A fresh sample, or the last one if that takes too long.
    pub(crate) async fn look(&self) -> Option<Machine> {
        let now = self.0.clock.now();
        if self.0.latest.load().as_ref().is_none_or(|taken| now.since(taken.0) > FRESH) {
            let mut taken = self.0.taken.subscribe();
            self.nudge();
            let _ = tokio::time::timeout(PATIENCE, taken.changed()).await;
        }
        self.latest()
    }
}

fn start(
    dir: PathBuf,
    clock: Clock,
    latest: Arc<ArcSwapOption<(Moment, Sample)>>,
    taken: watch::Sender<()>,
) -> Option<SyncSender<()>> {
    let (asks, asked) = sync_channel(1);
    let feel = move || {
        #[allow(clippy::disallowed_methods, reason = "where the desktop's session can be asked is not a setting")]
        let roots = Roots::new(vec![dir], |name| std::env::var(name).ok());
        let mut prober = Prober::new(&roots);
        while asked.recv().is_ok() {
            latest.store(Some(Arc::new((clock.now(), prober.sample()))));
            taken.send_replace(());
        }
    };
    match std::thread::Builder::new().name("senses".to_owned()).spawn(feel) {
        Ok(_) => Some(asks),
        Err(error) => {
            tracing::warn!(%error, "this machine cannot be sensed");
            None
        }
    }
}

/// What others are told: rounded, so that a machine that does the same as before says the same as before.
fn machine(sample: &Sample) -> Machine {
    const SOME: u64 = 64 << 20;
    let host = &sample.host;
    let os = host.os.as_ref().map(|os| match &host.os_version {
        Some(version) => format!("{os} {version}"),
        None => os.clone(),
    });
    let (cpu, memory, disk) = (sample.cpu.as_ref(), sample.memory.as_ref(), sample.disks.first());
    let rough = |bytes: u64| bytes / SOME * SOME;
    let gpu = |gpu: &probe::Gpu| MachineGpu {
        vendor: match gpu.vendor {
            GpuVendor::Nvidia => "nvidia",
            GpuVendor::Amd => "amd",
            GpuVendor::Apple => "apple",
            GpuVendor::Intel => "intel",
            GpuVendor::Other => "other",
        }
        .to_owned(),
        name: gpu.name.clone(),
        memory_total: gpu.memory_total,
        memory_used: gpu.memory_used.map(rough),
        unified: gpu.unified,
        busy_percent: gpu.busy_percent.map(five),
    };
    Machine {
        os,
        arch: Some(host.arch.clone()),
        chip: host.chip.clone(),
        model: host.model.clone(),
        cores_logical: cpu.and_then(|cpu| cpu.logical),
        cores_physical: cpu.and_then(|cpu| cpu.physical),
        cpu_percent: cpu.and_then(|cpu| cpu.percent).map(five),
        memory_total: memory.and_then(|memory| memory.total),
        memory_available: memory.and_then(|memory| memory.available).map(rough),
        disk_total: disk.and_then(|disk| disk.total),
        disk_available: disk.and_then(|disk| disk.available).map(|bytes| bytes >> 30 << 30),
        gpus: sample.gpus.iter().flatten().take(MAX_GPUS).map(gpu).collect(),
        on_battery: sample.power.as_ref().and_then(|power| power.on_battery),
        battery_percent: sample.power.as_ref().and_then(|power| power.battery_percent).map(five),
        throttled: sample.heat.as_ref().and_then(|heat| heat.throttled),
    }
}

/// A share in steps of five.
fn five(percent: f64) -> u8 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 20")]
    let steps = (percent.clamp(0.0, 100.0) / 5.0).round() as u8;
    steps * 5
}

/// A machine that stays where it is leads better than one that is carried around.
fn priority(sample: &Sample) -> Priority {
    match sample.power.as_ref() {
        Some(power) if power.on_battery == Some(true) => Priority::Low,
        Some(power) if power.on_battery == Some(false) && power.battery_percent.is_none() => Priority::High,
        _ => Priority::Normal,
    }
}

#[cfg(test)]
mod tests {
    use probe::{Cpu, Host, Memory, Power};

    use super::*;

    fn sample() -> Sample {
        Sample {
            host: Arc::new(Host {
                os: Some("Debian".to_owned()),
                os_version: Some("12".to_owned()),
                ..Host::default()
            }),
            cpu: Some(Cpu { percent: Some(12.4), logical: Some(8), ..Cpu::default() }),
            memory: Some(Memory { available: Some((5 << 30) + 12_345), ..Memory::default() }),
            disks: Vec::new(),
            gpus: None,
            power: None,
            heat: None,
            idle: None,
        }
    }

    #[test]
    fn small_changes_are_not_told() {
        let machine = machine(&sample());
        assert_eq!((machine.os.as_deref(), machine.cpu_percent), (Some("Debian 12"), Some(10)));
        assert_eq!(machine.memory_available, Some(5 << 30));
        for (percent, told) in [(0.0, 0), (2.4, 0), (2.6, 5), (99.0, 100), (f64::NAN, 0)] {
            assert_eq!(five(percent), told, "{percent}");
        }
    }

    #[test]
    fn what_stays_where_it_is_leads_first() {
        let power = |on_battery, battery_percent| Some(Power { on_battery, battery_percent });
        for (power, expected) in [
            (None, Priority::Normal),
            (power(Some(true), Some(50.0)), Priority::Low),
            (power(Some(false), Some(50.0)), Priority::Normal),
            (power(Some(false), None), Priority::High),
        ] {
            assert_eq!(priority(&Sample { power: power.clone(), ..sample() }), expected, "{power:?}");
        }
    }

    #[tokio::test]
    async fn this_machine_can_be_felt() {
        let dir = tempfile::tempdir().unwrap();
        let sense = Sense::new(dir.path().to_owned(), crate::clock::clock());
        assert_eq!(sense.latest(), None);
        let mut taken = sense.0.taken.subscribe();
        sense.nudge();
        taken.changed().await.unwrap();
        assert!(sense.look().await.unwrap().arch.is_some());
    }
}
