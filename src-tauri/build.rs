//! Puts the window's fallback page, the icons and, on Windows, the manifest into the program.

fn main() {
    tauri_build::build();
}
