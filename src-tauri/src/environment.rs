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

/// Keeps the toolkit from loading a driver for 3D graphics, which an icon and a quiet page never need: on the first start of
/// a session that driver is half of all memory that the tray would take, and on machines with models it takes theirs.
/// Whoever set the variable is not overruled.
pub(crate) fn without_3d() {
    #[cfg(target_os = "linux")]
    if std::env::var_os("GDK_GL").is_none() {
        // SAFETY: called first thing in `main`'s own thread, before any other thread exists.
        #[allow(unsafe_code, reason = "the toolkit reads it from nowhere else")]
        unsafe {
            std::env::set_var("GDK_GL", "disable");
        }
    }
}

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
