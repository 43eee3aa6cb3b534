//! The small files of the data directory.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

/// The secret that lets programs of this user change things: read from `control.token`, or made.
pub(crate) fn control_token(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join("control.token");
    if let Ok(text) = fs::read_to_string(&path) {
        let text = text.trim();
        if text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(text.to_owned());
        }
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness for the control token: {error}"))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // Written beside and renamed: a reader sees the old token or the new one, never half of one.
    let fresh = dir.join("control.token.new");
    let _ = fs::remove_file(&fresh);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&fresh).with_context(|| format!("writing {}", fresh.display()))?;
    writeln!(file, "{token}").context("writing the control token")?;
    drop(file);
    fs::rename(&fresh, &path).with_context(|| format!("writing {}", path.display()))?;
    Ok(token)
}

/// Makes the data directory, for its owner alone, where it is not there yet.
pub(crate) fn make_dir(dir: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).with_context(|| format!("making the data directory {}", dir.display()))
}

/// Writes `text` to `path` instead of what is there, for its owner alone. A reader, or a crash at any moment, finds the old
/// text or the new one. Blocks until it is on the disk.
pub(crate) fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    let written = || -> std::io::Result<()> {
        let _ = fs::remove_file(fresh);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(fresh, path)?;
        #[cfg(unix)]
        if let Some(dir) = path.parent() {
            fs::File::open(dir)?.sync_all()?;
        }
        Ok(())
    };
    written().with_context(|| format!("writing {}", path.display()))
}

/// A number that differs from start to start.
pub(crate) fn seed() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        // Only ids that need not be secret hang on it.
        Err(_) => crate::clock::clock().unix_ms(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_stays_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let token = control_token(dir.path()).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(control_token(dir.path()).unwrap(), token);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(dir.path().join("control.token")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(dir.path().join("control.token"), "short").unwrap();
        assert_ne!(control_token(dir.path()).unwrap(), "short");
    }
}
