//! The window: opened, focused, sent to another page, killed, and gone with the app.

use crate::app::App;
use crate::panel::Panel;
use crate::scripted::Herd;
use crate::{desktop, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_window_shows_the_pages_and_ends_with_the_app() {
    let Some(session) = desktop() else { return };
    let herd = Herd::start(&session.data()).await;
    let panel = Panel::open(&session).await;
    // Not hidden, and for the first time: the window opens by itself.
    let app = App::start(&session, herd.port, &[], &[]);
    let tray = panel.tray().await;
    until("the first page", || async { herd.seen() == ["/dashboard?hash=t=once"] }).await;
    let window = app.windows();
    assert_eq!(window.len(), 1);
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", window[0])).unwrap();
    assert!(!line.contains("once"), "tickets are not for everybody to read: {line}");

    tray.click("Add a device…").await;
    until("the devices", || async { herd.seen().last().unwrap() == "/dashboard/devices?add?hash=t=once" }).await;
    tray.click("Open dashboard").await;
    tray.click("Open dashboard").await;
    assert_eq!(app.windows(), window, "the same window is used");

    let pid = window[0].to_string();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    until("no window", || async { app.windows() != window }).await;
    tray.click("Open dashboard").await;
    until("a new window", || async { app.windows().len() == 1 && app.windows() != window }).await;
    let last = app.windows()[0];
    tray.click("Quit").await;
    assert!(app.ended().await.success());
    assert!(!std::path::Path::new(&format!("/proc/{last}")).exists());
}
