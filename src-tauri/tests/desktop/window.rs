//! The window: opened, focused, sent to another page, killed, and gone with the app.

use std::process::Stdio;

use fantoccini::{ClientBuilder, Locator};
use serde_json::json;

use crate::app::{App, free_port};
use crate::panel::Panel;
use crate::scripted::Herd;
use crate::session::Killed;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_works_in_the_systems_webview() {
    let Some(session) = desktop() else { return };
    let panel = Panel::open(&session).await;
    let port = free_port();
    let app = App::start(&session, port, &["--hidden"], &[]);
    panel.tray().await.shows("No inference server on this machine").await;

    let driver_port = free_port();
    let mut driver = std::process::Command::new("WebKitWebDriver");
    driver.args([&format!("--port={driver_port}"), "--host=127.0.0.1"]);
    session.dress(&mut driver).env("TAURI_AUTOMATION", "true").env("TAURI_WEBVIEW_AUTOMATION", "true");
    // Of this one the webview makes a language that is none.
    driver.env("LANG", "C.UTF-8").stdin(Stdio::null());
    let _driver = match driver.spawn() {
        Ok(driver) => Killed(driver),
        Err(missing) => {
            eprintln!("SKIPPED: WebKitWebDriver cannot be started ({missing}). apt-get install webkit2gtk-driver");
            return;
        }
    };
    until("the driver", || async { tokio::net::TcpStream::connect(("127.0.0.1", driver_port)).await.is_ok() }).await;
    let dashboard = format!("http://127.0.0.1:{port}/dashboard");
    let how = json!({ "binary": env!("CARGO_BIN_EXE_herd-desktop"), "args": ["--window", dashboard] });
    let wanted = serde_json::Map::from_iter([("webkitgtk:browserOptions".to_owned(), how)]);
    let connector = hyper_util::client::legacy::connect::HttpConnector::new();
    let address = format!("http://127.0.0.1:{driver_port}");
    let client = ClientBuilder::new(connector).capabilities(wanted).connect(&address).await.unwrap();
    let shown = client.wait().for_element(Locator::Css("#main h1")).await.unwrap();
    assert_eq!(shown.text().await.unwrap(), "Welcome to Herd");
    assert!(client.title().await.unwrap().contains("test-machine"));
    client.close().await.unwrap();
    app.quit().await;
}
