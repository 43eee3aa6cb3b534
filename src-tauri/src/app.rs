//! The tray: Tauri's event loop on the main thread, the controller on its own.

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use node::settings::Settings;
use tauri::menu::{CheckMenuItem, IsMenuItem, Menu, MenuItem, MenuItemKind, PredefinedMenuItem, Submenu};
use tauri::tray::{MouseButton, MouseButtonState, TrayIcon, TrayIconBuilder, TrayIconEvent};
use tauri::{AppHandle, RunEvent, Wry};
use tauri_plugin_autostart::ManagerExt as _;
use tauri_plugin_notification::NotificationExt as _;
use tokio::sync::mpsc;
use tray::{Icon, Kind, Notice, Row};

use crate::controller::{self, Event, Start};
use crate::desktop::{Content, Desktop, Shown};
use crate::preferences::File;
use crate::window::Window;
use crate::{clock, environment, pictures};

/// Events that may wait for the controller; it takes them in a moment, and the next click would be one of a stuck finger.
const EVENTS: usize = 64;
/// The name of the tray icon and of the app among those that start with the session.
const TRAY: &str = "herd";
const APP: &str = "Herd Fleet";

/// Is the tray until the person quits.
pub(crate) fn run(hidden: bool) -> ExitCode {
    let (events, received) = mpsc::channel(EVENTS);
    let settings = Settings::load(|_| None, environment::variables()).map_err(|error| error.to_string());
    let built = tauri::Builder::default()
        .plugin(tauri_plugin_single_instance::init({
            let events = events.clone();
            move |_, arguments, _| {
                if !arguments.iter().any(|argument| argument == "--hidden") {
                    tell(&events, Event::Opened);
                }
            }
        }))
        .plugin(tauri_plugin_autostart::Builder::new().app_name(APP).arg("--hidden").build())
        .plugin(tauri_plugin_notification::init())
        .setup(move |app| {
            #[cfg(target_os = "macos")]
            app.set_activation_policy(tauri::ActivationPolicy::Accessory);
            let desktop = TauriDesktop::new(app.handle(), &events)?;
            let directory = settings.as_ref().map(|(settings, _)| settings.data_dir.clone());
            // Without settings there is no directory either; what is chosen then is gone with the app.
            let preferences = File::open(&directory.unwrap_or_else(|_| std::env::temp_dir()));
            let opens = !hidden && (preferences.is_new || !environment::has_tray() || settings.is_err());
            if preferences.is_new {
                preferences.store();
            }
            let start = Start { desktop, settings, preferences, opens, clock: clock::clock() };
            start_controller(start, received, events.clone())?;
            Ok(())
        })
        .build(crate::context());
    match built {
        Ok(app) => {
            app.run(|_app, event| match event {
                // The last window is closed: there is none, and the tray stays.
                RunEvent::ExitRequested { api, code: None, .. } => api.prevent_exit(),
                #[cfg(target_os = "macos")]
                RunEvent::Reopen { .. } => tell_opened(_app),
                _ => {}
            });
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the desktop app cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the controller's thread. It ends when the app does.
fn start_controller(
    start: Start<TauriDesktop>,
    received: mpsc::Receiver<Event>,
    events: mpsc::Sender<Event>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    std::thread::Builder::new().name("controller".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = controller::run(start, received) => {}
                () = pass_on_signals(events) => {}
            }
        });
    })?;
    Ok(())
}

/// Takes what the system ends programs with as a wish to quit, as often as it comes.
#[cfg(unix)]
async fn pass_on_signals(events: mpsc::Sender<Event>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tell(&events, Event::Ended);
    }
}

#[cfg(not(unix))]
async fn pass_on_signals(events: mpsc::Sender<Event>) {
    while tokio::signal::ctrl_c().await.is_ok() {
        tell(&events, Event::Ended);
    }
    std::future::pending().await
}

/// Hands the controller an event. One too many is dropped: the person clicks again.
fn tell(events: &mpsc::Sender<Event>, event: Event) {
    if events.try_send(event).is_err() {
        tracing::warn!("a click was dropped");
    }
}

#[cfg(target_os = "macos")]
fn tell_opened(app: &AppHandle) {
    use tauri::Manager as _;
    if let Some(events) = app.try_state::<mpsc::Sender<Event>>() {
        tell(&events, Event::Opened);
    }
}

/// The desktop through Tauri. Its calls are handed to the main thread, and wait for it.
struct TauriDesktop {
    app: AppHandle,
    tray: TrayIcon,
    window: Window,
    /// The rows that are shown, in order, submenus' rows after the row that opens them; to be changed in place.
    rows: Vec<(&'static str, MenuItemKind<Wry>)>,
    icon: Option<Icon>,
    /// Whether the panel is light, so that glyphs are dark.
    is_light: bool,
    /// Asking the system each time would read files each time.
    at_login: Mutex<Option<Option<bool>>>,
}

impl TauriDesktop {
    fn new(app: &AppHandle, events: &mpsc::Sender<Event>) -> tauri::Result<TauriDesktop> {
        #[cfg(target_os = "macos")]
        {
            use tauri::Manager as _;
            app.manage(events.clone());
        }
        let (clicked, opened) = (events.clone(), events.clone());
        let is_light = environment::panel_is_light();
        // A tray without a menu is not shown everywhere; the controller fills it at once.
        let menu = Menu::new(app)?;
        let builder = TrayIconBuilder::with_id(TRAY).menu(&menu).show_menu_on_left_click(cfg!(target_os = "macos"));
        let builder = match pictures::picture(Icon::Off, is_light) {
            Some(picture) => builder.icon(picture),
            None => builder,
        };
        let tray = builder
            .icon_as_template(true)
            .on_menu_event(move |_, event| tell(&clicked, Event::Clicked(event.id().0.clone())))
            .on_tray_icon_event(move |_, event| {
                let is_click = matches!(
                    event,
                    TrayIconEvent::Click { button: MouseButton::Left, button_state: MouseButtonState::Up, .. }
                );
                // Macs open the menu at any click.
                if is_click && !cfg!(target_os = "macos") {
                    tell(&opened, Event::Opened);
                }
            })
            .build(app)?;
        Ok(TauriDesktop {
            app: app.clone(),
            tray,
            window: Window::new(clock::clock()),
            rows: Vec::new(),
            icon: None,
            is_light,
            at_login: Mutex::new(None),
        })
    }

    fn try_show(&mut self, shown: &Shown) -> tauri::Result<()> {
        let has_these = shown.menu.all().map(|row| row.id).eq(self.rows.iter().map(|(id, _)| *id));
        if has_these {
            for (row, (_, item)) in shown.menu.all().zip(&self.rows) {
                update(row, item)?;
            }
        } else {
            self.rows.clear();
            let menu = Menu::new(&self.app)?;
            for row in &shown.menu.rows {
                let item = self.item(row)?;
                menu.append(as_item(&item))?;
            }
            self.tray.set_menu(Some(menu))?;
        }
        if self.icon != Some(shown.icon) {
            if let Some(picture) = pictures::picture(shown.icon, self.is_light) {
                self.tray.set_icon_with_as_template(Some(picture), true)?;
            }
            self.icon = Some(shown.icon);
        }
        // Linux has no tooltips for icons in the tray.
        self.tray.set_tooltip(Some(&shown.tooltip))
    }

    /// The item of `row`, with those of its submenu; all are kept in `rows`.
    fn item(&mut self, row: &Row) -> tauri::Result<MenuItemKind<Wry>> {
        let text = escaped(&row.text);
        let app = &self.app;
        let item = match &row.kind {
            Kind::Status | Kind::Action => MenuItem::with_id(app, row.id, text, row.enabled, None::<&str>)?.kind(),
            Kind::Check(on) => CheckMenuItem::with_id(app, row.id, text, row.enabled, *on, None::<&str>)?.kind(),
            Kind::Separator => PredefinedMenuItem::separator(app)?.kind(),
            Kind::Submenu(inner) => {
                let submenu = Submenu::with_id(app, row.id, text, row.enabled)?;
                self.rows.push((row.id, submenu.kind()));
                for row in inner {
                    let item = self.item(row)?;
                    submenu.append(as_item(&item))?;
                }
                return Ok(submenu.kind());
            }
        };
        self.rows.push((row.id, item.clone()));
        Ok(item)
    }
}

/// Gives `item` the text and the marks of `row`.
fn update(row: &Row, item: &MenuItemKind<Wry>) -> tauri::Result<()> {
    let text = escaped(&row.text);
    match (item, &row.kind) {
        (MenuItemKind::MenuItem(item), _) => {
            item.set_text(text)?;
            item.set_enabled(row.enabled)
        }
        (MenuItemKind::Check(item), Kind::Check(on)) => {
            item.set_text(text)?;
            item.set_enabled(row.enabled)?;
            item.set_checked(*on)
        }
        (MenuItemKind::Submenu(item), _) => item.set_text(text),
        _ => Ok(()),
    }
}

fn as_item(kind: &MenuItemKind<Wry>) -> &dyn IsMenuItem<Wry> {
    match kind {
        MenuItemKind::MenuItem(item) => item,
        MenuItemKind::Submenu(item) => item,
        MenuItemKind::Predefined(item) => item,
        MenuItemKind::Check(item) => item,
        MenuItemKind::Icon(item) => item,
    }
}

/// In menus `&` marks a key; two of them are one that is shown.
fn escaped(text: &str) -> String {
    text.replace('&', "&&")
}

impl Desktop for TauriDesktop {
    fn show(&mut self, shown: &Shown) {
        if let Err(error) = self.try_show(shown) {
            tracing::error!(%error, "the tray cannot be changed");
        }
    }

    fn notify(&mut self, notice: &Notice) {
        let shown = self.app.notification().builder().title(&notice.title).body(&notice.text).show();
        if let Err(error) = shown {
            tracing::warn!(%error, "a notification is not shown");
        }
    }

    fn open(&mut self, content: Content) {
        self.window.open(&content);
    }

    fn focus(&mut self) -> bool {
        self.window.focus()
    }

    fn replace(&mut self, content: Content) {
        self.window.replace(&content);
    }

    fn at_login(&self) -> Option<bool> {
        let mut known = self.at_login.lock().unwrap_or_else(PoisonError::into_inner);
        *known.get_or_insert_with(|| self.app.autolaunch().is_enabled().ok())
    }

    fn set_at_login(&mut self, on: bool) {
        let manager = self.app.autolaunch();
        let set = if on { manager.enable() } else { manager.disable() };
        if let Err(error) = set {
            tracing::error!(%error, "whether to start at login could not be set");
        }
        *self.at_login.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn restart(&mut self) {
        self.window.close();
        self.app.request_restart();
    }

    fn exit(&mut self) {
        self.window.close();
        self.app.exit(0);
    }
}
