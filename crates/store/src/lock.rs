//! Keeps a data directory to one program at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

/// The lock file's name in the data directory.
const LOCK: &str = "latency.lock";

/// Bytes read of what another program wrote about itself.
const WHO_BYTES: u64 = 200;

/// Why the directory is not ours.
pub(crate) enum Refused {
    /// Another program holds it; this is what it says of itself.
    Held { who: String },
    /// The lock file cannot be used.
    Io(io::Error),
}

/// The right to write in a data directory, given back when dropped or when the program ends in whatever way.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    pub(crate) fn take(dir: &Path) -> Result<DirLock, Refused> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        owner_only(&mut options);
        let mut file = options.open(dir.join(LOCK)).map_err(Refused::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Refused::Held { who: holder(&mut file) }),
            Err(TryLockError::Error(error)) => return Err(Refused::Io(error)),
        }
        let about = format!("process {} (Herd {})\n", std::process::id(), proto::VERSION);
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(about.as_bytes()))
            .map_err(Refused::Io)?;
        Ok(DirLock { _file: file })
    }
}

/// Makes files that `options` creates readable by their owner alone, where the system knows such a thing.
pub(crate) fn owner_only(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    #[cfg(not(unix))]
    let _ = options;
}

fn holder(file: &mut File) -> String {
    let mut about = String::new();
    // Windows does not let others read a locked file: then nobody can be named.
    let read = file.take(WHO_BYTES).read_to_string(&mut about);
    let about: String = about.trim().chars().filter(|letter| !letter.is_control()).collect();
    if read.is_err() || about.is_empty() { "another program".to_owned() } else { about }
}
