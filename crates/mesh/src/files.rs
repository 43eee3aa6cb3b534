//! The two files of secrets in the data directory, `identity.key` and `fleet.secret`: made once, private, never half written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{Identity, Secrets, base32};

const IDENTITY: &str = "identity.key";
const SECRETS: &str = "fleet.secret";

/// Why a file of secrets could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Other users of this machine may read the file, so it may be no secret any more.
    #[error("{} can be read by other users of this machine: if they are trusted, make it private with `chmod 600`, else delete it and pair this machine again", path.display())]
    NotPrivate {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what this program wrote.
    #[error("{} is damaged: restore it from a backup, or delete it and pair this machine again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system has no randomness to make a key of.
    #[error("no randomness for a new key: {0}")]
    NoRandomness(getrandom::Error),
}

impl Identity {
    /// The identity kept in the directory `dir`; made at the first start. Two programs that start at once get the same one.
    pub fn open(dir: &Path) -> Result<Identity, FileError> {
        let path = dir.join(IDENTITY);
        if let Some(text) = read(&path)? {
            return parse(&text).map(|seed| Identity::from_seed(&seed)).ok_or(FileError::Damaged { path });
        }
        let identity = Identity::generate().map_err(FileError::NoRandomness)?;
        let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(base32::encode(&*identity.seed()))));
        if create(&path, &text)? {
            return Ok(identity);
        }
        let text = read(&path)?.ok_or_else(|| FileError::Damaged { path: path.clone() })?;
        parse(&text).map(|seed| Identity::from_seed(&seed)).ok_or(FileError::Damaged { path })
    }
}

impl Secrets {
    /// The secrets kept in the directory `dir`, one a line, the current one first; `None` if this machine is in no fleet.
    pub fn load(dir: &Path) -> Result<Option<Secrets>, FileError> {
        let path = dir.join(SECRETS);
        let Some(text) = read(&path)? else { return Ok(None) };
        let secrets: Option<Vec<_>> = text.lines().map(|line| parse(line).map(Into::into)).collect();
        secrets.and_then(Secrets::new).map(Some).ok_or(FileError::Damaged { path })
    }

    /// Keeps these secrets in the directory `dir` instead of what was there. A reader sees the old ones or the new ones.
    pub fn store(&self, dir: &Path) -> Result<(), FileError> {
        let path = dir.join(SECRETS);
        let mut text = Zeroizing::new(String::new());
        for secret in self.iter() {
            text.push_str(&Zeroizing::new(base32::encode(secret.bytes())));
            text.push('\n');
        }
        let fresh = write_beside(&path, &text)?;
        fs::rename(&fresh.0, &path).map_err(|source| FileError::Io { path: path.clone(), source })?;
        sync_directory(&path)
    }

    /// Forgets the secrets kept in `dir`: this machine is in no fleet any more.
    pub fn remove(dir: &Path) -> Result<(), FileError> {
        let path = dir.join(SECRETS);
        match fs::remove_file(&path) {
            Ok(()) => sync_directory(&path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(FileError::Io { path, source }),
        }
    }
}

fn parse(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    base32::decode(text.trim()).map(Zeroizing::new)
}

/// The text of a private file; `None` if there is none.
fn read(path: &Path) -> Result<Option<Zeroizing<String>>, FileError> {
    let failed = |source| FileError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Asked of the open file, so that nobody can change it in between.
        if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
            return Err(FileError::NotPrivate { path: path.to_owned() });
        }
    }
    let mut text = Zeroizing::new(String::new());
    // A few lines; whatever is longer is not ours.
    match file.take(4096).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(FileError::Damaged { path: path.to_owned() }),
        Err(error) => Err(failed(error)),
    }
}

/// Writes a private file that must not exist yet, all of it or nothing; false if it did exist.
fn create(path: &Path, text: &str) -> Result<bool, FileError> {
    let fresh = write_beside(path, text)?;
    // A second name for a whole file: unlike renaming, it fails if another program was faster.
    match fs::hard_link(&fresh.0, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        // File systems without a second name, such as exFAT: exclusive, but a crash in between leaves half a file.
        Err(_) => match write_new(path, text) {
            Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            result => result?,
        },
    }
    drop(fresh);
    sync_directory(path)?;
    Ok(true)
}

/// A file that is gone when this is dropped, if it still has this name.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn write_beside(path: &Path, text: &str) -> Result<Beside, FileError> {
    let mut unique = [0; 8];
    getrandom::fill(&mut unique).map_err(FileError::NoRandomness)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", base32::encode(&unique)));
    let fresh = Beside(name.into());
    write_new(&fresh.0, text)?;
    Ok(fresh)
}

/// Writes a file that must not exist, and waits until it is on the disk.
fn write_new(path: &Path, text: &str) -> Result<(), FileError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|source| FileError::Io { path: path.to_owned(), source })
}

/// Makes the name of `path` last through a power cut.
fn sync_directory(path: &Path) -> Result<(), FileError> {
    #[cfg(unix)]
    if let Some(dir) = path.parent() {
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| FileError::Io { path: dir.to_owned(), source })?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn an_identity_stays_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::open(dir.path()).unwrap();
        assert_eq!(Identity::open(dir.path()).unwrap().key(), identity.key());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let path = dir.path().join(IDENTITY);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(Identity::open(dir.path()), Err(FileError::NotPrivate { .. })));
        }
    }

    #[test]
    fn all_who_start_at_once_get_one_identity() {
        let dir = tempfile::tempdir().unwrap();
        let start = Barrier::new(8);
        let keys: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                start.wait();
                Identity::open(dir.path()).unwrap().key()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{keys:?}");
    }

    #[test]
    fn damage_is_said_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "short", &"u".repeat(52), &"0".repeat(5000)] {
            let path = dir.path().join(IDENTITY);
            let _ = fs::remove_file(&path);
            write_new(&path, text).unwrap();
            assert!(matches!(Identity::open(dir.path()), Err(FileError::Damaged { .. })), "{text}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn secrets_are_kept_in_order_and_forgotten_on_request() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Secrets::load(dir.path()).unwrap().is_none());
        let secrets = Secrets::new(vec![[1; 32].into(), [2; 32].into()]).unwrap();
        secrets.store(dir.path()).unwrap();
        let loaded = Secrets::load(dir.path()).unwrap().unwrap();
        assert_eq!(loaded.iter().map(|secret| *secret.bytes()).collect::<Vec<_>>(), [[1; 32], [2; 32]]);
        Secrets::remove(dir.path()).unwrap();
        Secrets::remove(dir.path()).unwrap();
        assert!(Secrets::load(dir.path()).unwrap().is_none());
    }
}
