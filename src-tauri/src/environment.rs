//! What is asked of the process's surroundings before anything starts.

/// The environment; what is no Unicode cannot be ours.
pub(crate) fn variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Whether there is anything to show windows on. Asked because the toolkit ends the process where there is not.
pub(crate) fn has_display() -> bool {
    let has = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(all(unix, not(target_os = "macos"))) || has("DISPLAY") || has("WAYLAND_DISPLAY")
}

/// Must be called first thing in `main`, before there are other threads.
///
/// On Linux it keeps the toolkit from loading a driver for 3D graphics, which an icon and a quiet page never need: on the
/// first start of a session that driver is half of all memory that the tray would take, and on machines with models it takes
/// theirs. Whoever set the variable is not overruled. And where the locale is `C.UTF-8`, it becomes `C`: of the former the
/// webview makes a language called "C", which pages cannot format numbers in.
#[cfg(target_os = "linux")]
pub(crate) fn prepare() {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_MESSAGES")).or_else(|| set("LANG"));
    let is_nameless = locale.is_some_and(|locale| locale.to_string_lossy().starts_with("C."));
    let changes = [("GDK_GL", "disable", set("GDK_GL").is_none()), ("LC_ALL", "C", is_nameless)];
    for (name, value, _) in changes.into_iter().filter(|(_, _, is_due)| *is_due) {
        // SAFETY: called first thing in `main`, before any other thread exists.
        #[allow(unsafe_code, reason = "toolkit and webview read it from nowhere else")]
        unsafe {
            std::env::set_var(name, value);
        }
    }
}

/// Must be called first thing in `main`.
///
/// On Windows it gives tray and window one name, so that the taskbar takes them for one app.
#[cfg(windows)]
pub(crate) fn prepare() {
    let id = windows::core::w!("net.herd-fleet.desktop");
    // Without it there are two buttons in the taskbar, and no more.
    #[allow(unsafe_code, reason = "a call of the system")]
    // SAFETY: `id` is a constant that ends in a zero.
    let _ = unsafe { windows::Win32::UI::Shell::SetCurrentProcessExplicitAppUserModelID(id) };
}

/// Nothing to prepare.
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn prepare() {}

/// Whether somebody shows icons here. On other systems than Linux somebody always does.
#[cfg(target_os = "linux")]
pub(crate) fn has_tray() -> bool {
    use gtk::gio::{BusType, Cancellable, DBusCallFlags};
    use gtk::glib::ToVariant as _;
    let asked = || {
        let bus = gtk::gio::bus_get_sync(BusType::Session, Cancellable::NONE).ok()?;
        let name = ("org.kde.StatusNotifierWatcher",).to_variant();
        let flags = DBusCallFlags::NO_AUTO_START;
        let service = "org.freedesktop.DBus";
        let path = "/org/freedesktop/DBus";
        let answer = bus.call_sync(
            Some(service),
            path,
            service,
            "NameHasOwner",
            Some(&name),
            None,
            flags,
            1000,
            Cancellable::NONE,
        );
        answer.ok()?.get::<(bool,)>()
    };
    asked().is_some_and(|(has,)| has)
}

/// Whether somebody shows icons here. On other systems than Linux somebody always does.
#[cfg(not(target_os = "linux"))]
pub(crate) fn has_tray() -> bool {
    true
}

/// Whether the panel with the icons is light. Asked once, on the main thread, after the toolkit has started.
#[cfg(target_os = "linux")]
pub(crate) fn panel_is_light() -> bool {
    use gtk::prelude::GtkSettingsExt as _;
    // Their panels are dark whatever the theme is.
    let desktop = std::env::var_os("XDG_CURRENT_DESKTOP").unwrap_or_default().to_string_lossy().to_lowercase();
    if ["gnome", "unity", "pantheon"].iter().any(|dark| desktop.contains(dark)) {
        return false;
    }
    gtk::Settings::default().is_some_and(|settings| {
        let theme = settings.gtk_theme_name().unwrap_or_default().to_lowercase();
        !settings.is_gtk_application_prefer_dark_theme() && !theme.contains("dark")
    })
}

/// Whether the taskbar is light: the registry says it.
#[cfg(windows)]
pub(crate) fn panel_is_light() -> bool {
    windows_registry::CURRENT_USER
        .open(r"Software\Microsoft\Windows\CurrentVersion\Themes\Personalize")
        .and_then(|key| key.get_u32("SystemUsesLightTheme"))
        .is_ok_and(|light| light == 1)
}

/// macOS colours the icons itself.
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn panel_is_light() -> bool {
    false
}
