//! A driver that does what the test says.

use std::sync::{Arc, Mutex, MutexGuard};

use super::*;

/// A machine with one GPU whose state the test changes.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    gpus: Option<Vec<(Gpu, bool)>>,
    reads: u32,
    is_loaded: bool,
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How often it was read, and whether it is loaded.
    fn seen(&self) -> (u32, bool) {
        let state = self.state();
        (state.reads, state.is_loaded)
    }

    fn nvidia(&self) -> Nvidia<Fake> {
        let bus = self.clone();
        Nvidia::new(self.clone(), move || bus.state().slots.clone())
    }
}

impl Library for Fake {
    fn read(&mut self) -> Option<Vec<(Gpu, bool)>> {
        let mut state = self.state();
        state.reads += 1;
        state.is_loaded = state.gpus.is_some();
        state.gpus.clone()
    }

    fn release(&mut self) {
        self.state().is_loaded = false;
    }
}

fn gpu() -> Gpu {
    Gpu {
        name: Some("RTX".to_owned()),
        memory_total: Some(24 << 30),
        memory_used: Some(1 << 30),
        busy_percent: Some(0.0),
        celsius: Some(50.0),
        throttled: Some(false),
        ..Gpu::of(GpuVendor::Nvidia)
    }
}

fn slot(asleep: bool) -> Slot {
    Slot { address: "0000:01:00.0".to_owned(), may_sleep: true, asleep }
}

#[test]
fn a_machine_without_the_library_is_asked_seldom() {
    let fake = Fake::default();
    let mut nvidia = fake.nvidia();
    for _ in 0..=UNTIL_RETRY {
        assert_eq!(nvidia.gpus(), None);
    }
    assert_eq!(fake.state().reads, 1);
    fake.state().gpus = Some(vec![(gpu(), true)]);
    assert_eq!(nvidia.gpus(), Some(vec![gpu()]), "the driver was installed meanwhile");
}

#[test]
fn a_gpu_that_never_sleeps_is_read_each_time() {
    let fake = Fake::default();
    fake.state().gpus = Some(vec![(gpu(), false)]);
    let mut nvidia = fake.nvidia();
    for reads in 1..5 {
        assert_eq!(nvidia.gpus(), Some(vec![gpu()]));
        assert_eq!(fake.seen(), (reads, true));
    }
}

#[test]
fn a_library_that_breaks_is_let_go_and_its_last_words_are_forgotten() {
    let fake = Fake::default();
    fake.state().gpus = Some(vec![(gpu(), true)]);
    let mut nvidia = fake.nvidia();
    nvidia.gpus();
    fake.state().gpus = None;
    assert_eq!(nvidia.gpus(), None);
    assert_eq!(nvidia.gpus(), None);
    assert_eq!(fake.seen(), (2, false));
}

#[test]
fn a_sleeping_gpu_is_not_woken() {
    let fake = Fake::default();
    fake.state().slots = vec![slot(true)];
    let mut nvidia = fake.nvidia();
    let unknown = Gpu { pci: Some("0000:01:00.0".to_owned()), asleep: true, ..Gpu::of(GpuVendor::Nvidia) };
    assert_eq!(nvidia.gpus(), Some(vec![unknown]), "it was never read");

    fake.state().slots = vec![slot(false)];
    fake.state().gpus = Some(vec![(gpu(), true)]);
    assert_eq!(nvidia.gpus(), Some(vec![gpu()]));
    fake.state().slots = vec![slot(true)];
    let slept =
        Gpu { name: Some("RTX".to_owned()), memory_total: Some(24 << 30), asleep: true, ..Gpu::of(GpuVendor::Nvidia) };
    assert_eq!(nvidia.gpus(), Some(vec![slept]), "what lasts is remembered");
    assert_eq!(fake.seen(), (1, false));
}

#[test]
fn an_idle_gpu_that_may_sleep_is_left_alone_for_a_while() {
    let fake = Fake::default();
    fake.state().slots = vec![slot(false)];
    fake.state().gpus = Some(vec![(gpu(), false)]);
    let mut nvidia = fake.nvidia();
    for _ in 0..=UNTIL_LOOK {
        assert_eq!(nvidia.gpus(), Some(vec![gpu()]));
        assert_eq!(fake.seen(), (1, false));
    }
    nvidia.gpus();
    assert_eq!(fake.state().reads, 2);
    // It slept and was woken by somebody: that is worth a look at once.
    fake.state().slots = vec![slot(true)];
    nvidia.gpus();
    fake.state().slots = vec![slot(false)];
    nvidia.gpus();
    assert_eq!(fake.state().reads, 3);
}

#[test]
fn the_driver_loads_or_says_nothing() {
    // True with a GPU and without one: it must not panic.
    let mut driver = Driver::default();
    let first = driver.read();
    driver.release();
    assert_eq!(driver.read().is_some(), first.is_some());
}

#[test]
fn addresses_are_written_as_the_kernel_does() {
    for (theirs, ours) in [
        ("00000000:0A:00.0", "0000:0a:00.0"),
        ("00010000:01:00.0", "00010000:01:00.0"),
        ("", ""),
        ("0000:01:00.0", "0000:01:00.0"),
    ] {
        assert_eq!(address(theirs), ours);
    }
}
