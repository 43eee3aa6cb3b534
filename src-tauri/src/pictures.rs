//! The pictures of the tray, as `icongen` drew them.

use tauri::image::Image;
use tray::Icon;

/// The picture of `icon` for a light or a dark panel of this system.
pub(crate) fn picture(icon: Icon, panel_is_light: bool) -> Option<Image<'static>> {
    Image::from_bytes(bytes(icon, panel_is_light)).ok()
}

macro_rules! pictures {
    ($kind:literal, $icon:ident) => {
        match $icon {
            Icon::Sharing => include_bytes!(concat!("../../icons/tray/sharing-", $kind, ".png")),
            Icon::Busy => include_bytes!(concat!("../../icons/tray/busy-", $kind, ".png")),
            Icon::Paused => include_bytes!(concat!("../../icons/tray/paused-", $kind, ".png")),
            Icon::Meeting => include_bytes!(concat!("../../icons/tray/meeting-", $kind, ".png")),
            Icon::Leading => include_bytes!(concat!("../../icons/tray/leading-", $kind, ".png")),
            Icon::Alone => include_bytes!(concat!("../../icons/tray/alone-", $kind, ".png")),
            Icon::Problem => include_bytes!(concat!("../../icons/tray/problem-", $kind, ".png")),
            Icon::Off => include_bytes!(concat!("../../icons/tray/off-", $kind, ".png")),
        }
    };
}

/// macOS colours a template itself.
#[cfg(target_os = "macos")]
fn bytes(icon: Icon, _panel_is_light: bool) -> &'static [u8] {
    pictures!("template-44", icon)
}

/// Each glyph has an edge of the other ink, so that a wrong guess still leaves something to see.
#[cfg(not(target_os = "macos"))]
fn bytes(icon: Icon, panel_is_light: bool) -> &'static [u8] {
    if panel_is_light { pictures!("dark-44", icon) } else { pictures!("light-44", icon) }
}
