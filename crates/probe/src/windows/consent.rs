//! Who uses a device, as the registry notes it for the privacy settings.
//!
//! Only for systems that tell in no better way: recent builds of Windows 11 keep a time of last use while the use still
//! goes on, so this misses some.

use windows_registry::{CURRENT_USER, Key};

use crate::presence::Holder;

/// Keys that are looked at; more are left out.
const MOST: usize = 512;

/// Programs that use the devices of kind `capability` now, going by the notes below `root`. `None` if there are none.
pub(super) fn holders(root: &str, capability: &str) -> Option<Vec<Holder>> {
    let notes = CURRENT_USER.open(format!("{root}\\{capability}")).ok()?;
    let mut holders = Vec::new();
    visit(&notes, &mut holders);
    // Programs that came in no package are one level down.
    if let Ok(others) = notes.open("NonPackaged") {
        visit(&others, &mut holders);
    }
    Some(holders)
}

fn visit(notes: &Key, holders: &mut Vec<Holder>) {
    for name in notes.keys().into_iter().flatten().take(MOST) {
        let Ok(note) = notes.open(&name) else { continue };
        let told = |value| note.get_u64(value).ok();
        if told("LastUsedTimeStart").is_some_and(|start| start > 0) && told("LastUsedTimeStop") == Some(0) {
            holders.push(Holder::new(app(&name), None, ""));
        }
    }
}

/// The program of a key like `C:#Program Files#Zoom#bin#Zoom.exe` or `Microsoft.WindowsCamera_8wekyb3d8bbwe`.
fn app(key: &str) -> &str {
    match key.rsplit_once('#') {
        Some((_, file)) => file.strip_suffix(".exe").unwrap_or(file),
        None => key.split('_').next().unwrap_or(key),
    }
}
