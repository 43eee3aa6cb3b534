//! Half an hour with the app: its window is opened and closed a hundred times, and what it holds is looked at.
//!
//! By hand: `cargo xtask soak --desktop`, or with `HERD_SOAK_MINUTES` for less of it.

use std::time::Duration;

use crate::app::{App, free_port};
use crate::panel::Panel;
use crate::{desktop, until};

/// How often the window is opened and closed.
const OPENINGS: u32 = 100;
/// How long each stays open at least: two that end sooner, and the app shows the dashboard in a browser instead.
const OPEN: Duration = Duration::from_secs(6);
/// What the app may hold more after the last closing than after the tenth, in KiB of proportional memory: caches of fonts
/// and icons still fill, and the node beside it works.
const MAY_GROW: u64 = 16 * 1024;

/// Proportional memory of a process, in KiB.
fn memory(pid: u32) -> u64 {
    let told = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Processor time of a process so far, in hundredths of a second.
fn ticks(pid: u32) -> u64 {
    let told = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = told.rsplit_once(')').unwrap().1;
    let numbers: Vec<u64> =
        after_name.split_whitespace().skip(11).take(2).map(|number| number.parse().unwrap()).collect();
    numbers.iter().sum()
}

/// Files that a process has open.
fn files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods, reason = "how long it takes is said where it is started")]
#[ignore = "half an hour: cargo xtask soak --desktop"]
async fn a_hundred_windows_leave_nothing_behind() {
    let Some(session) = desktop() else { return };
    let minutes: u64 = std::env::var("HERD_SOAK_MINUTES").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(30);
    let panel = Panel::open(&session).await;
    let mut app = App::start(&session, free_port(), &["--hidden"], &[]);
    let tray = panel.tray().await;
    let pid = app.pid();
    let pause = Duration::from_secs(minutes * 60) / OPENINGS / 2;
    let (mut after_ten, mut most_files) = (0, 0);
    let began = ticks(pid);
    for opening in 1..=OPENINGS {
        tray.click("Open dashboard").await;
        until("the window", || async { app.windows().len() == 1 }).await;
        tokio::time::sleep(pause.max(OPEN)).await;
        for window in app.windows() {
            assert!(std::process::Command::new("kill").arg(window.to_string()).status().unwrap().success());
        }
        until("no window", || async { app.windows().is_empty() }).await;
        tokio::time::sleep(pause).await;
        assert!(!app.has_ended(), "the app ended after {opening} windows");
        if opening == 10 {
            (after_ten, most_files) = (memory(pid), files(pid));
        }
    }
    let (now, open) = (memory(pid), files(pid));
    let share = (ticks(pid) - began) as f64 / (minutes.max(1) * 60) as f64;
    println!(
        "after ten windows {} MB and {most_files} files, after {OPENINGS} {} MB and {open} files; {share:.2} % of a core",
        after_ten / 1024,
        now / 1024,
    );
    assert!(now <= after_ten + MAY_GROW, "{now} KiB after {after_ten} KiB");
    assert!(open <= most_files + 8, "{open} open files after {most_files}");
    app.quit().await;
}
