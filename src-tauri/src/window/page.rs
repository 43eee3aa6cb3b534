//! The window's own process: one webview, told by standard input what to show.

use std::io::BufRead as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tauri::webview::WebviewWindow;
use tauri::{AppHandle, Manager as _, Url, WebviewUrl, WebviewWindowBuilder};

/// The one window's label.
const LABEL: &str = "main";
/// Bytes of the longest order; a longer one is cut, and then not understood.
const LONGEST: u64 = 64 * 1024;
/// How long an orderly end may take.
const GRACE: Duration = Duration::from_secs(2);
/// The exit code when the page's process has ended: the parent opens a new window at the next click.
const PAGE_ENDED: i32 = 70;

/// What the parent wants.
#[derive(Clone, Debug, PartialEq)]
enum Order {
    Show(Url),
    Notice(String),
    Focus,
}

/// Is the window until it is closed, or until standard input ends. With `url` nobody gives orders, and that is shown.
pub(crate) fn run(url: Option<String>) -> ExitCode {
    let is_ordered = url.is_none();
    let first = match url {
        Some(url) => understood(&format!("show {url}")),
        None => next(),
    };
    let Some(first) = first else {
        eprintln!("nothing to show");
        return ExitCode::from(2);
    };
    let allowed = Allowed::default();
    let built = tauri::Builder::default()
        .setup(move |app| {
            let window = build(app.handle(), &first, &allowed)?;
            end_with_the_page(&window);
            if is_ordered {
                let app = app.handle().clone();
                std::thread::Builder::new().name("orders".to_owned()).spawn(move || obey(&app, &allowed))?;
            }
            Ok(())
        })
        .build(crate::context());
    match built {
        Ok(app) => {
            app.run(|_app, _event| {
                #[cfg(target_os = "macos")]
                if let tauri::RunEvent::Reopen { .. } = _event {
                    focus(_app);
                }
            });
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the window cannot be opened: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The origin that the page may go to.
#[derive(Clone, Default)]
struct Allowed(Arc<Mutex<Option<Url>>>);

impl Allowed {
    fn set(&self, url: &Url) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.clone());
    }

    /// Whether `url` is of the same origin as what the parent showed, or a page of our own.
    fn allows(&self, url: &Url) -> bool {
        let origin = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Url::origin);
        let is_own =
            url.scheme() == "tauri" || url.host_str() == Some("tauri.localhost") || url.as_str() == "about:blank";
        is_own || origin == Some(url.origin())
    }
}

fn build(app: &AppHandle, first: &Order, allowed: &Allowed) -> tauri::Result<WebviewWindow> {
    let url = match first {
        Order::Show(url) => {
            allowed.set(url);
            WebviewUrl::External(url.clone())
        }
        Order::Notice(notice) => WebviewUrl::App(format!("index.html#{notice}").into()),
        Order::Focus => WebviewUrl::App("index.html".into()),
    };
    let allowed = allowed.clone();
    WebviewWindowBuilder::new(app, LABEL, url)
        .title("Herd")
        .inner_size(1100.0, 760.0)
        .min_inner_size(360.0, 420.0)
        .on_navigation(move |url| allowed.allows(url))
        .build()
}

/// Carries out orders until there are no more, then ends the process.
fn obey(app: &AppHandle, allowed: &Allowed) {
    while let Some(order) = next() {
        let Some(window) = app.get_webview_window(LABEL) else { break };
        // A window that is just being closed cannot be told anything, and need not.
        let _ = match order {
            Order::Show(url) => {
                allowed.set(&url);
                // A page that is there already is not loaded again, or what was typed into it would be lost.
                match window.url() {
                    Ok(now) if now == url => Ok(()),
                    _ => window.navigate(url),
                }
            }
            Order::Notice(notice) => {
                let mut url = own_page();
                url.set_fragment(Some(&notice));
                window.navigate(url)
            }
            Order::Focus => {
                focus(app);
                Ok(())
            }
        };
    }
    app.exit(0);
    std::thread::sleep(GRACE);
    // The main thread hangs, and the person wants the window gone.
    #[allow(clippy::disallowed_methods, reason = "there is nobody left to return to")]
    std::process::exit(0);
}

/// The page that shows notices, by its address in this system's webview.
fn own_page() -> Url {
    let address = if cfg!(windows) { "http://tauri.localhost/index.html" } else { "tauri://localhost/index.html" };
    Url::parse(address).expect("a constant that is an address")
}

fn focus(app: &AppHandle) {
    let Some(window) = app.get_webview_window(LABEL) else { return };
    // In this order: focusing a minimised or hidden window does nothing.
    let _ = window.unminimize();
    let _ = window.show();
    let _ = window.set_focus();
}

/// The next order; `None` when the parent has no more. Lines that are none are passed over.
fn next() -> Option<Order> {
    loop {
        let mut line = Vec::new();
        let read = std::io::Read::take(&mut std::io::stdin().lock(), LONGEST).read_until(b'\n', &mut line);
        if read.ok()? == 0 {
            return None;
        }
        if let Some(order) = understood(&String::from_utf8_lossy(&line)) {
            return Some(order);
        }
    }
}

fn understood(line: &str) -> Option<Order> {
    let (word, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
    match word {
        "show" => Url::parse(rest).ok().filter(|url| url.scheme() == "http").map(Order::Show),
        "notice" => {
            serde_json::from_str::<Value>(rest).ok()?;
            // Percent-encoded as a fragment, so that the page gets exactly this text.
            let mut url = Url::parse("tauri://localhost/").ok()?;
            url.query_pairs_mut().append_pair("n", rest);
            Some(Order::Notice(url.query()?.to_owned()))
        }
        "focus" => Some(Order::Focus),
        _ => None,
    }
}

/// Ends this process when the page's own has ended: what would stay is a blank window.
fn end_with_the_page(window: &WebviewWindow) {
    #[cfg(target_os = "linux")]
    {
        let connected = window.with_webview(|webview| {
            use webkit2gtk::WebViewExt as _;
            webview.inner().connect_web_process_terminated(|_, _| {
                #[allow(clippy::disallowed_methods, reason = "the event loop may not come back")]
                std::process::exit(PAGE_ENDED);
            });
        });
        if let Err(error) = connected {
            eprintln!("the end of the page will not be noticed: {error}");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (window, PAGE_ENDED);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_understood() {
        let url = |text: &str| Order::Show(Url::parse(text).unwrap());
        for (line, expected) in [
            ("show http://127.0.0.1:1/dashboard#t=a\n", Some(url("http://127.0.0.1:1/dashboard#t=a"))),
            ("show file:///etc/passwd\n", None),
            ("show javascript:alert(1)\n", None),
            ("focus\n", Some(Order::Focus)),
            ("focus", Some(Order::Focus)),
            ("notice {\"a b\"}\n", None),
            ("notice {\"title\":\"a b\"}\n", Some(Order::Notice("n=%7B%22title%22%3A%22a+b%22%7D".to_owned()))),
            ("quit\n", None),
            ("\n", None),
        ] {
            assert_eq!(understood(line), expected, "{line}");
        }
    }

    #[test]
    fn the_page_stays_where_it_was_sent() {
        let allowed = Allowed::default();
        let url = |text: &str| Url::parse(text).unwrap();
        assert!(!allowed.allows(&url("http://127.0.0.1:11435/dashboard")));
        allowed.set(&url("http://127.0.0.1:11435/dashboard"));
        for (address, is_allowed) in [
            ("http://127.0.0.1:11435/dashboard#/devices", true),
            ("http://127.0.0.1:11434/", false),
            ("http://example.net/", false),
            ("file:///etc/passwd", false),
            ("tauri://localhost/index.html", true),
        ] {
            assert_eq!(allowed.allows(&url(address)), is_allowed, "{address}");
        }
    }
}
