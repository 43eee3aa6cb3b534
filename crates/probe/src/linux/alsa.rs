//! Who records without a sound server, from `/proc/asound`.

use std::path::{Path, PathBuf};

use super::files;

/// What goes on at the inputs of sound cards.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Inputs {
    /// Inputs that record: the card and input, and the thread that opened it.
    pub(super) recording: Vec<(String, Option<u32>)>,
    /// Whether somebody holds one open, and may start to record at any time without another event.
    pub(super) is_open: bool,
}

/// The inputs of the cards in `directory`. `None` if there is no such directory.
pub(super) fn inputs(directory: &Path) -> Option<Inputs> {
    let mut inputs = Inputs::default();
    for card in named(directory, "card")? {
        for input in named(&card, "pcm").unwrap_or_default().into_iter().filter(|path| files::name(path).ends_with('c'))
        {
            for part in named(&input, "sub").unwrap_or_default() {
                let status = files::text(&part.join("status")).unwrap_or_default();
                inputs.is_open |= !status.is_empty() && status != "closed";
                if status.lines().any(|line| line.trim() == "state: RUNNING") {
                    let owner = status.lines().find_map(|line| line.strip_prefix("owner_pid")?.split(':').nth(1));
                    let owner = owner.and_then(|number| number.trim().parse().ok());
                    inputs.recording.push((format!("{}/{}", files::name(&card), files::name(&input)), owner));
                }
            }
        }
    }
    Some(inputs)
}

fn named(directory: &Path, start: &str) -> Option<Vec<PathBuf>> {
    let mut found = files::entries(directory)?;
    found.retain(|path| files::name(path).starts_with(start));
    Some(found)
}
