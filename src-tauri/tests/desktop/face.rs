//! The app as the face of a Herd that runs already: every row of its menu, every notification, the icon.

use serde_json::json;

use crate::app::App;
use crate::panel::Panel;
use crate::scripted::Herd;
use crate::{desktop, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_does_what_it_says() {
    let Some(session) = desktop() else { return };
    let herd = Herd::start(&session.data()).await;
    let panel = Panel::open(&session).await;
    let app = App::start(&session, herd.port, &["--hidden"], &[]);
    let tray = panel.tray().await;
    tray.shows("Sharing 4 models (Ollama)").await;
    tray.shows("Leader · 3 machines · 11 models").await;
    assert!(!tray.row("Sharing 4 models (Ollama)").await.unwrap().enabled);

    let shared = tray.picture().await;
    for (row, body, then) in [
        ("Share compute", json!({ "state": "off" }), "Not sharing"),
        ("Share compute", json!({ "state": "on" }), "Sharing 4 models"),
        ("For 30 minutes", json!({ "state": "pause", "for_s": 1800 }), "Paused"),
        ("Resume now", json!({ "state": "on" }), "Sharing 4 models"),
        ("For 1 hour", json!({ "state": "pause", "for_s": 3600 }), "Paused"),
        ("Share compute", json!({ "state": "on" }), "Sharing 4 models"),
        ("Until tomorrow", json!({ "state": "pause", "until": "tomorrow" }), "Paused"),
        ("Until I resume", json!({ "state": "pause" }), "Paused"),
        ("Resume now", json!({ "state": "on" }), "Sharing 4 models"),
        ("Finish current, then pause", json!({ "state": "finish" }), "Pausing"),
        ("Resume now", json!({ "state": "on" }), "Sharing 4 models"),
        ("Use the fleet only", json!({ "state": "fleet-only" }), "Using the fleet only"),
        ("Use the fleet only", json!({ "state": "on" }), "Sharing 4 models"),
        ("Pause in meetings", json!({ "rule": "meetings", "enabled": false }), "Sharing 4 models"),
    ] {
        tray.click(row).await;
        until(row, || async { !herd.was_told_nothing() }).await;
        assert_eq!(herd.told(), [("/fleet/share".to_owned(), body)], "{row}");
        tray.shows(then).await;
    }
    tray.is_marked("Pause in meetings", false).await;
    tray.is_marked("Share compute", true).await;

    herd.shares("paused", "meeting", true);
    tray.shows("Paused: in a meeting").await;
    tray.shows("Why paused: in a meeting").await;
    tray.is_marked("Share compute", true).await;
    until("another icon", || async { tray.picture().await != shared }).await;
    until("a notification", || async { panel.notices() == ["Herd is paused"] }).await;
    tray.click("Share anyway for an hour").await;
    tray.shows("Sharing anyway").await;
    assert_eq!(herd.told(), [("/fleet/share".to_owned(), json!({ "override_s": 3600 }))]);

    herd.says("in_flight", json!(2));
    tray.shows("Sharing anyway · 2 requests running").await;

    tray.click("Quit").await;
    assert!(app.ended().await.success());
    herd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_notified_can_be_switched_off_and_is_said_once() {
    let Some(session) = desktop() else { return };
    let herd = Herd::start(&session.data()).await;
    let panel = Panel::open(&session).await;
    let app = App::start(&session, herd.port, &["--hidden"], &[]);
    let tray = panel.tray().await;
    tray.shows("Sharing 4 models").await;

    herd.says("asking", json!({ "id": "ab12", "name": "bob-laptop" }));
    tray.shows("‘bob-laptop’ asks to join").await;
    until("a notification", || async { panel.notices() == ["A device asks to join"] }).await;
    tray.click("Let it in").await;
    until("an answer", || async { !herd.was_told_nothing() }).await;
    assert_eq!(herd.told(), [("/fleet/pair/answer".to_owned(), json!({ "id": "ab12", "allow": true }))]);
    until("no question", || async { tray.row("Let it in").await.is_none() }).await;

    herd.starves("llama3", 4e9);
    until("a notification", || async { panel.notices().len() == 2 }).await;
    assert_eq!(panel.notices()[1], "No machine could answer");

    for switch in ["A request found no machine", "A device asks to join", "Paused by a rule, the first time"] {
        tray.is_marked(switch, true).await;
        tray.click(switch).await;
        tray.is_marked(switch, false).await;
    }
    herd.says("asking", json!({ "id": "cd34", "name": "eve-laptop" }));
    herd.shares("paused", "battery", true);
    tray.shows("‘eve-laptop’ asks to join").await;
    tray.shows("Paused: on battery").await;
    tray.click("Refuse").await;
    until("an answer", || async { !herd.was_told_nothing() }).await;
    assert_eq!(herd.told(), [("/fleet/pair/answer".to_owned(), json!({ "id": "cd34", "allow": false }))]);
    assert_eq!(panel.notices().len(), 2, "{:?}", panel.notices());

    tray.click("Quit").await;
    assert!(app.ended().await.success());
    let kept = std::fs::read_to_string(session.data().join("desktop.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!((&kept["tell_asking"], &kept["told"]), (&json!(false), &json!(["battery"])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_at_login_when_told_and_runs_once() {
    let Some(session) = desktop() else { return };
    let herd = Herd::start(&session.data()).await;
    let panel = Panel::open(&session).await;
    let mut app = App::start(&session, herd.port, &["--hidden"], &[]);
    let tray = panel.tray().await;
    tray.is_marked("Start at login", false).await;
    let entries = || -> Vec<_> {
        std::fs::read_dir(session.autostart()).map(|entries| entries.flatten().collect()).unwrap_or_default()
    };
    tray.click("Start at login").await;
    until("an entry", || async { entries().len() == 1 }).await;
    tray.is_marked("Start at login", true).await;
    let entry = std::fs::read_to_string(entries()[0].path()).unwrap();
    assert!(entry.contains("herd-desktop") && entry.contains("--hidden"), "{entry}");
    tray.click("Start at login").await;
    until("no entry", || async { entries().is_empty() }).await;
    tray.is_marked("Start at login", false).await;

    let second = App::start(&session, herd.port, &["--hidden"], &[]);
    assert!(second.ended().await.success());
    assert!(!app.has_ended() && app.windows().is_empty());
    let third = App::start(&session, herd.port, &[], &[]);
    assert!(third.ended().await.success());
    until("the window of the first", || async { app.windows().len() == 1 }).await;
    until("its page", || async { herd.seen() == ["/dashboard?hash=t=once"] }).await;

    herd.stop().await;
    tray.shows("Herd is not running").await;
    tray.shows("Start Herd").await;
    tray.click("Quit").await;
    assert!(app.ended().await.success());
}
