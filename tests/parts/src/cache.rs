//! The directory that keeps what was fetched, so that each thing is fetched once per machine.
//!
//! An entry is made beside its place and renamed into it when it is whole: an entry that exists is complete. A lock file
//! per entry makes a second run wait for the first. Nothing is ever deleted; the whole directory may be, at any time.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where fetched things are kept: `$XDG_CACHE_HOME/herd`, else the system's usual place for caches.
///
/// Fails where neither that nor a home directory is known.
pub fn directory() -> Result<PathBuf> {
    locate(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
        .context("no place for a cache: set HOME or XDG_CACHE_HOME")
}

fn locate(var: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let usual = || {
        if cfg!(windows) {
            var("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            var("HOME").map(|home| home.join("Library/Caches"))
        } else {
            var("HOME").map(|home| home.join(".cache"))
        }
    };
    // A relative XDG path is to be ignored (XDG Base Directory Specification 0.8).
    var("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(usual).map(|base| base.join("herd"))
}

/// The entry `name`; if it is not there yet, `make` fills an empty directory that becomes it.
///
/// Waits, after a word to `say`, while another process makes the same entry.
pub fn entry(name: &str, say: &dyn Fn(&str), make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    entry_in(&directory()?, name, say, make)
}

fn entry_in(base: &Path, name: &str, say: &dyn Fn(&str), make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let entry = base.join(name);
    if entry.is_dir() {
        return Ok(entry);
    }
    fs::create_dir_all(base).with_context(|| format!("making the cache {}", base.display()))?;
    let lock = File::create(base.join(format!("{name}.lock"))).context("making a lock file in the cache")?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say(&format!("another run is fetching {name}; waiting for it"));
            lock.lock().context("waiting for a lock in the cache")?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context("locking the cache"),
    }
    if entry.is_dir() {
        return Ok(entry);
    }
    // Left over from a run that was killed: the lock says that nobody works on it now.
    let partial = base.join(format!("{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).context("clearing what an earlier run left in the cache")?;
    }
    fs::create_dir_all(&partial).context("making a directory in the cache")?;
    make(&partial)?;
    fs::rename(&partial, &entry).context("moving what was fetched to its place in the cache")?;
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::path::PathBuf;

    use super::{entry_in, locate};

    #[test]
    fn an_absolute_xdg_directory_wins_and_a_relative_one_is_ignored() {
        let home = |name: &str| (name == "HOME" || name == "LOCALAPPDATA").then(|| PathBuf::from("/home/me"));
        let with = |xdg: &str| {
            let xdg = PathBuf::from(xdg);
            locate(move |name| if name == "XDG_CACHE_HOME" { Some(xdg.clone()) } else { home(name) })
        };
        assert_eq!(with("/tmp/c"), Some(PathBuf::from("/tmp/c/herd")));
        assert_eq!(with("c"), locate(home));
        assert_eq!(locate(|_| None), None);
    }

    #[test]
    fn an_entry_is_made_once_and_a_failed_one_is_made_again() {
        let base = tempfile::tempdir().unwrap();
        let made = Cell::new(0);
        let attempt = |works: bool| {
            entry_in(base.path(), "thing", &|_| {}, |directory| {
                made.set(made.get() + 1);
                assert_eq!(fs::read_dir(directory)?.count(), 0, "starts empty");
                fs::write(directory.join("half"), "x")?;
                anyhow::ensure!(works, "broke");
                Ok(())
            })
        };
        assert!(attempt(false).is_err());
        assert!(!base.path().join("thing").exists());
        for _ in 0..2 {
            assert!(attempt(true).unwrap().join("half").exists());
        }
        assert_eq!(made.get(), 2);
    }

    #[test]
    fn two_that_want_the_same_entry_make_it_once() {
        let base = tempfile::tempdir().unwrap();
        let made = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    entry_in(base.path(), "thing", &|_| {}, |_| {
                        made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        Ok(())
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}
