//! What the owner chose for this desktop: `desktop.json` in the data directory. What cannot be read counts as not chosen.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tray::Preferences;

/// Bytes of the largest file that is read.
const LARGEST: u64 = 64 * 1024;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    pub(crate) tell_starved: bool,
    pub(crate) tell_asking: bool,
    pub(crate) tell_paused: bool,
    /// The rules that paused this machine before and were notified of.
    pub(crate) told: Vec<String>,
}

/// The file.
pub(crate) struct File {
    path: PathBuf,
    /// Whether there was none when it was opened: the app starts for the first time.
    pub(crate) is_new: bool,
    pub(crate) kept: Kept,
}

impl Default for Kept {
    fn default() -> Kept {
        let Preferences { tell_starved, tell_asking, tell_paused, .. } = Preferences::default();
        Kept { tell_starved, tell_asking, tell_paused, told: Vec::new() }
    }
}

impl File {
    /// Reads the file in `directory`.
    pub(crate) fn open(directory: &Path) -> File {
        let path = directory.join("desktop.json");
        let mut text = String::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
        let kept = serde_json::from_str(&text).unwrap_or_default();
        File { path, is_new: read.is_err(), kept }
    }

    /// Writes it, whole or not at all. A failure is logged: nothing that the owner waits for depends on it.
    pub(crate) fn store(&self) {
        if let Err(error) = self.written() {
            tracing::warn!(%error, file = %self.path.display(), "what was chosen for the desktop is not kept");
        }
    }

    fn written(&self) -> std::io::Result<()> {
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let other = self.path.with_extension("json.new");
        let mut file = std::fs::File::create(&other)?;
        file.write_all(&serde_json::to_vec_pretty(&self.kept)?)?;
        file.sync_all()?;
        std::fs::rename(&other, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_chosen_is_there_the_next_time() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = File::open(directory.path());
        assert!(file.is_new && file.kept == Kept::default());
        file.kept.tell_paused = false;
        file.kept.told.push("meeting".to_owned());
        file.store();
        let again = File::open(directory.path());
        assert!(!again.is_new);
        assert_eq!(again.kept, file.kept);
        std::fs::write(directory.path().join("desktop.json"), "{ broken").unwrap();
        assert_eq!(File::open(directory.path()).kept, Kept::default());
    }
}
