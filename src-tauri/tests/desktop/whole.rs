//! The app with a node of its own.

use std::time::Duration;

use fake_ollama::{Options, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::app::{App, free_port};
use crate::panel::Panel;
use crate::{desktop, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quitting_lets_a_stream_finish() {
    let Some(session) = desktop() else { return };
    let models = vec!["tiny".to_owned()];
    let ollama =
        Server::start(Options { models, pace: Duration::from_millis(40), tokens: Some(60), ..Options::default() })
            .unwrap();
    let panel = Panel::open(&session).await;
    let port = free_port();
    let app = App::start(&session, port, &["--hidden"], &[("FLEET_BACKENDS", &ollama.url())]);
    let tray = panel.tray().await;
    tray.shows("Sharing 1 model (Ollama)").await;
    tray.shows("This machine alone · 1 model").await;

    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let body = r#"{"model":"tiny","prompt":"hello","options":{"num_predict":60}}"#;
    let request = format!(
        "POST /api/generate HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    tray.shows("Sharing · 1 request running").await;
    tray.click("Quit").await;
    tray.shows("Stopping after 1 request").await;
    tray.shows("Quit without waiting").await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"done\":true"), "{answer}");
    assert!(app.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_named_and_taken_once_it_is_free() {
    let Some(session) = desktop() else { return };
    let ollama = Server::start(Options::default()).unwrap();
    let port: u16 = ollama.url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    let panel = Panel::open(&session).await;
    let app = App::start(&session, port, &["--hidden"], &[]);
    let tray = panel.tray().await;
    tray.shows(&format!("Port {port} is taken by Ollama 0.")).await;
    assert!(tray.row("Share compute").await.is_none());
    tray.click("Open dashboard").await;
    until("a window that says so", || async { app.windows().len() == 1 }).await;
    drop(ollama);
    tray.shows("No inference server on this machine").await;
    tray.click("Quit").await;
    assert!(app.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_quit_does_not_wait() {
    let Some(session) = desktop() else { return };
    // A server that accepts, lists one model, and then never answers.
    let models = vec!["tiny".to_owned()];
    let ollama = Server::start(Options { models, pace: Duration::from_secs(5), ..Options::default() }).unwrap();
    let panel = Panel::open(&session).await;
    let port = free_port();
    let app = App::start(&session, port, &["--hidden"], &[("FLEET_BACKENDS", &ollama.url())]);
    let tray = panel.tray().await;
    tray.shows("Sharing 1 model").await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let body = r#"{"model":"tiny","prompt":"hello","options":{"num_predict":100}}"#;
    let request = format!(
        "POST /api/generate HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    tray.shows("Sharing · 1 request running").await;
    tray.click("Quit").await;
    tray.click("Quit without waiting").await;
    let ended = tokio::time::timeout(Duration::from_secs(20), app.ended()).await;
    assert!(ended.expect("it waits although it was told not to").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_display_it_says_what_to_do() {
    let Some(session) = desktop() else { return };
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_herd-desktop"));
    session.dress(&mut command).env_remove("DISPLAY");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("There is no display"));
}
