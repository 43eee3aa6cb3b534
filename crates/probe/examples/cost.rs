//! Measures what a sample costs: CPU time of this process, and the longest wait.
//!
//! Samples are a moment apart, as they are in life, so that caches are as cold as they will be.

#[cfg(not(unix))]
fn main() {
    println!("not measured on this system");
}

#[cfg(unix)]
fn main() {
    unix::main();
}

#[cfg(unix)]
mod unix {
    use std::path::PathBuf;
    use std::time::Duration;

    use probe::{Prober, Roots};
    use rustix::time::{ClockId, clock_gettime};

    const SAMPLES: u32 = 100;

    /// How often Herd looks.
    const EACH: Duration = Duration::from_secs(5);

    pub(crate) fn main() {
        let places = std::env::args_os().skip(1).map(PathBuf::from).collect();
        #[allow(clippy::disallowed_methods, reason = "the edge of this program")]
        let roots = Roots::new(places, |name| std::env::var(name).ok());
        let mut prober = Prober::new(&roots);
        prober.sample();
        let (mut cpu, mut longest) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..SAMPLES {
            std::thread::sleep(Duration::from_millis(50));
            let (worked, waited) = (clock(ClockId::ProcessCPUTime), clock(ClockId::Monotonic));
            prober.sample();
            cpu += clock(ClockId::ProcessCPUTime).saturating_sub(worked);
            longest = longest.max(clock(ClockId::Monotonic).saturating_sub(waited));
        }
        let each = cpu / SAMPLES;
        let share = each.as_secs_f64() / EACH.as_secs_f64() * 100.0;
        println!(
            "{each:?} of CPU time a sample, {share:.4} % of a core at one each {EACH:?}; the longest took {longest:?}"
        );
    }

    fn clock(id: ClockId) -> Duration {
        Duration::try_from(clock_gettime(id)).unwrap_or_default()
    }
}
