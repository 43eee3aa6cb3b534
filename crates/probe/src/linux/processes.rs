//! Who holds a file open, as far as `/proc` shows it: everybody's files to root, one's own to others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::files;

/// Processes, or open files of one, that are looked at; the rest is left.
const MOST: usize = 1 << 16;

/// Parents that are climbed to.
const MOST_PARENTS: usize = 64;

pub(super) struct Processes {
    root: PathBuf,
    own: u32,
}

impl Processes {
    /// The processes in `root`, of which `own` and its children do not count.
    pub(super) fn new(root: &Path, own: u32) -> Processes {
        Processes { root: root.to_owned(), own }
    }

    /// Each process that holds one of `files` and counts, with the file. A file that is open when a child starts is the
    /// child's too, so children tell only what no parent of theirs tells. `None` if processes cannot be listed.
    pub(super) fn holders(&self, files: &[PathBuf]) -> Option<Vec<(u32, PathBuf)>> {
        let mut found = BTreeSet::new();
        for process in fs::read_dir(&self.root).ok()?.take(MOST).flatten() {
            let name = process.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // Another user's, or it just ended.
            let Ok(open) = fs::read_dir(process.path().join("fd")) else { continue };
            for file in open.take(MOST).flatten() {
                let Ok(target) = fs::read_link(file.path()) else { continue };
                if files.contains(&target) {
                    found.insert((pid, target));
                }
            }
        }
        let counts = |(pid, file): &(u32, PathBuf)| {
            let parents = self.parents(*pid);
            let is_heir = parents.iter().skip(1).any(|parent| found.contains(&(*parent, file.clone())));
            !is_heir && !parents.contains(&self.own)
        };
        Some(found.iter().filter(|holder| counts(holder)).cloned().collect())
    }

    /// The name of the program's file, or where that is hidden, of the process.
    pub(super) fn app(&self, pid: u32) -> String {
        let process = self.root.join(pid.to_string());
        let program = fs::read_link(process.join("exe")).ok();
        let name = program.as_deref().map(files::name).filter(|name| !name.is_empty());
        match name {
            // What the kernel adds when the file was replaced by an update.
            Some(name) => name.trim_end_matches(" (deleted)").to_owned(),
            None => files::text(&process.join("comm")).unwrap_or_default(),
        }
    }

    /// Whether it is the process that does not count, or a child of it, or a child's child.
    pub(super) fn is_own(&self, pid: u32) -> bool {
        self.parents(pid).contains(&self.own)
    }

    /// The process, its parent, and so on up, without the kernel.
    fn parents(&self, pid: u32) -> Vec<u32> {
        let next = |pid: &u32| self.parent(*pid).filter(|parent| *parent != 0);
        std::iter::successors(Some(pid).filter(|pid| *pid != 0), next).take(MOST_PARENTS).collect()
    }

    fn parent(&self, pid: u32) -> Option<u32> {
        let stat = files::text(&self.root.join(pid.to_string()).join("stat"))?;
        // The name before may hold anything, closing brackets too (proc_pid_stat(5)).
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse().ok()
    }

    /// The process that thread `id` belongs to.
    pub(super) fn of_thread(&self, id: u32) -> u32 {
        let status = files::text(&self.root.join(id.to_string()).join("status")).unwrap_or_default();
        files::entry(&status, "Tgid").and_then(|process| u32::try_from(process).ok()).unwrap_or(id)
    }
}
