//! Opens the database: alone, private, up to date, and in spite of damage.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::Clock;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use crate::damage::{is_damage, set_aside};
use crate::hours::Pending;
use crate::journal::Own;
use crate::lock::{DirLock, Refused, owner_only};
use crate::{DATABASE, Settings, schema};

/// How long one statement waits for another program's lock.
const BUSY_WAIT: Duration = Duration::from_millis(500);

/// Most bytes that the write-ahead log keeps after a checkpoint.
const WAL_BYTES: i64 = 4 << 20;

/// Pages copied at a time for the copy before a migration.
const COPY_PAGES: i32 = 4096;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another program has the directory open.
    #[error("{} is in use by {who}; end that program, or give this one a directory of its own (FLEET_DATA_DIR)", .dir.display())]
    AnotherProgram {
        /// The data directory.
        dir: PathBuf,
        /// What the other program says of itself, with its process id.
        who: String,
    },
    /// A newer Herd has changed the tables.
    #[error("{} was written by a newer Herd (tables of version {found}, this one knows {known}); update this Herd", .path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// The version found in it.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The directory or a file in it cannot be made, read or protected.
    #[error("cannot use {}: {source}", .path.display())]
    Io {
        /// What was to be used.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// SQLite cannot use the file for a reason other than damage.
    #[error("cannot open the database {}: {source}", .path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
}

/// What the owner of the machine should know about an opening.
///
/// Kept until the writer runs: a program has its database before its log, so that two never write to one log.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A damaged database was moved aside.
    SetAside { to: PathBuf, reason: String },
    /// A copy was kept before the tables were changed.
    Copied { to: PathBuf },
    /// A database of another program could not be rewritten, so its file will not shrink.
    CannotShrink { reason: String },
}

impl Notice {
    pub(crate) fn tell(&self) {
        match self {
            Notice::SetAside { to, reason } => {
                tracing::error!(%reason, moved_to = %to.display(), "the database was damaged: a fresh one is begun");
            }
            Notice::Copied { to } => {
                tracing::info!(copy = %to.display(), "a copy of the database was kept before its tables were changed");
            }
            Notice::CannotShrink { reason } => {
                tracing::warn!(%reason, "the database could not be rewritten: its file will not shrink");
            }
        }
    }
}

/// A database that is ready to be written.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) notices: Vec<Notice>,
    pub(crate) lock: DirLock,
    pub(crate) own: Own,
    pub(crate) pending: Pending,
}

pub(crate) fn open(settings: &Settings, clock: Clock) -> Result<Opened, OpenError> {
    private_dir(&settings.dir).map_err(|source| OpenError::Io { path: settings.dir.clone(), source })?;
    let lock = DirLock::take(&settings.dir).map_err(|refused| match refused {
        Refused::Held { who } => OpenError::AnotherProgram { dir: settings.dir.clone(), who },
        Refused::Io(source) => OpenError::Io { path: settings.dir.clone(), source },
    })?;
    let path = settings.dir.join(DATABASE);
    let mut notices = Vec::new();
    let connection = match database(&path, clock, &mut notices) {
        Err(OpenError::Sqlite { source, .. }) if is_damage(&source) => {
            let moved = set_aside(&path, clock, &source);
            notices.push(moved.map_err(|source| OpenError::Io { path: path.clone(), source })?);
            database(&path, clock, &mut notices)?
        }
        other => other?,
    };
    let failed = |source| OpenError::Sqlite { path: path.clone(), source };
    let node_key = match settings.node_key.as_str() {
        "" => kept_key(&connection).map_err(failed)?,
        given => given.to_owned(),
    };
    let own = Own::open(&connection, &settings.dir, &node_key, &settings.node_id).map_err(failed)?;
    let pending = Pending::load(&connection).map_err(failed)?;
    Ok(Opened { connection, notices, lock, own, pending })
}

/// Opens the file for writing and brings its tables up to date.
pub(crate) fn database(path: &Path, clock: Clock, notices: &mut Vec<Notice>) -> Result<Connection, OpenError> {
    private_file(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    let failed = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_WAIT).map_err(failed)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let known = schema::NEWEST as i64;
    if found > known {
        return Err(OpenError::NewerSchema { path: path.to_owned(), found, known });
    }
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if found < known && tables > 0 {
        notices.push(copy_before(&connection, path, clock)?);
    }
    prepare(&mut connection, tables > 0 && found < known, notices).map_err(failed)?;
    Ok(connection)
}

/// Opens a connection that can only read. Never migrates.
pub(crate) fn reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    Ok(connection)
}

fn prepare(connection: &mut Connection, adopted: bool, notices: &mut Vec<Notice>) -> Result<(), rusqlite::Error> {
    // Before anything is written: once the first page is, only a VACUUM changes this.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    schema::migrate(connection)?;
    let vacuum: i64 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    if adopted && vacuum != 2 {
        // Without it the file cannot shrink; that is no reason not to start.
        if let Err(error) = connection.execute_batch("VACUUM") {
            notices.push(Notice::CannotShrink { reason: error.to_string() });
        }
    }
    Ok(())
}

fn kept_key(connection: &Connection) -> Result<String, rusqlite::Error> {
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('node_key', lower(hex(randomblob(16)))) ON CONFLICT DO NOTHING",
        [],
    )?;
    connection.query_row("SELECT value FROM meta WHERE key = 'node_key'", [], |row| row.get(0))
}

fn copy_before(connection: &Connection, path: &Path, clock: Clock) -> Result<Notice, OpenError> {
    let wanted = beside(path, &format!(".before-{}", schema::NEWEST));
    let copy = if wanted.exists() {
        unused(&beside(path, &format!(".before-{}-{}", schema::NEWEST, clock.unix_ms() / 1000)))
    } else {
        wanted
    };
    private_file(&copy).map_err(|source| OpenError::Io { path: copy.clone(), source })?;
    let copied = Connection::open(&copy).and_then(|mut target| {
        Backup::new(connection, &mut target)?.run_to_completion(COPY_PAGES, Duration::ZERO, None)
    });
    if let Err(source) = copied {
        // Half a copy would be taken for a whole one.
        let _ = fs::remove_file(&copy);
        return Err(OpenError::Sqlite { path: path.to_owned(), source });
    }
    Ok(Notice::Copied { to: copy })
}

pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The path itself or, where it is taken, the first free one with a number.
pub(crate) fn unused(wanted: &Path) -> PathBuf {
    let free = (2..1000).map(|n| beside(wanted, &format!(".{n}")));
    std::iter::once(wanted.to_owned()).chain(free).find(|path| !path.exists()).unwrap_or_else(|| wanted.to_owned())
}

/// Makes the directory for its owner alone. One that is there already keeps the rights its owner gave it.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Makes sure that the file exists and is readable by its owner alone; SQLite gives its `-wal` and `-shm` the same rights.
fn private_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    owner_only(&mut options);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        for ending in ["-wal", "-shm"] {
            match fs::set_permissions(beside(path, ending), fs::Permissions::from_mode(0o600)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    drop(file);
    Ok(())
}
