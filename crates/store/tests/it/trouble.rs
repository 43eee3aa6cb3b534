//! Other programs, damaged files, strange directories: the store says so and goes on.

use std::fs;

use rusqlite::Connection;
use store::{DATABASE, OpenError, Store};

use crate::fixture::*;

#[test]
fn a_second_program_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(settings(dir.path()));
    let Err(refused @ OpenError::AnotherProgram { .. }) = Store::open(settings(dir.path()), clock()) else {
        panic!("a second writer was let in")
    };
    let said = refused.to_string();
    let own = format!("process {} (Herd {})", std::process::id(), proto::VERSION);
    // Windows does not let the holder's name be read.
    assert!(said.contains(&own) || cfg!(windows), "{said}");
    first.end();
    open(settings(dir.path())).end();
}

#[test]
fn a_lock_file_full_of_nonsense_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("latency.lock"), [0xff; 5000]).unwrap();
    open(settings(dir.path())).end();
    assert!(fs::read_to_string(dir.path().join("latency.lock")).unwrap().starts_with("process "));
}

#[test]
fn a_newer_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    sql(dir.path()).execute_batch("CREATE TABLE later (x); PRAGMA user_version = 999").unwrap();
    let before = fs::read(dir.path().join(DATABASE)).unwrap();
    let Err(error) = Store::open(settings(dir.path()), clock()) else { panic!("opened") };
    assert!(matches!(error, OpenError::NewerSchema { found: 999, .. }), "{error}");
    assert_eq!(fs::read(dir.path().join(DATABASE)).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_is_moved_aside() {
    let text = b"this is not a database, it is a shopping list ".repeat(100);
    for (what, content) in [("text", text), ("a broken schema", database_with_a_broken_schema())] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DATABASE), &content).unwrap();
        let open = open(settings(dir.path()));
        open.put([chat(1, 0)]);
        assert_eq!(open.store.overview().unwrap().total_requests, 1, "{what}");
        open.end();
        let aside = dir.path().join(format!("{DATABASE}.broken-{}", NOW_MS / 1000));
        assert_eq!(fs::read(aside).unwrap(), content, "{what}");
    }
}

fn database_with_a_broken_schema() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let open = open(settings(dir.path()));
    open.put([chat(1, 0)]);
    open.end();
    let mut content = fs::read(dir.path().join(DATABASE)).unwrap();
    content[100..4096].fill(0x5a);
    content
}

#[test]
fn rows_wait_while_another_program_holds_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(settings(dir.path()));
    open.put([chat(1, 0)]);
    let other = sql(dir.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    open.store.record(chat(2, 0));
    assert!(!open.store.flush(std::time::Duration::from_millis(50)));
    assert_eq!(open.store.traces(10).unwrap().len(), 1, "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(open.store.flush(PATIENCE));
    assert_eq!((open.store.traces(10).unwrap().len(), open.store.dropped()), (2, 0));
    open.end();
}

#[test]
fn a_deleted_file_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = open(settings(dir.path()));
    open.put([chat(1, 0)]);
    for name in [DATABASE, "latency.db-wal", "latency.db-shm"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    assert!(open.store.traces(1).is_err());
    open.put([chat(2, 0)]);
    assert_eq!(open.store.traces(10).unwrap().len(), 1);
    open.end();
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let Err(error) = Store::open(settings(&dir.path().join("file/herd")), clock()) else { panic!("opened") };
    assert!(matches!(error, OpenError::Io { .. }) && error.to_string().contains("herd"), "{error}");
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("new/herd");
    fs::create_dir_all(outer.path().join("new")).unwrap();
    let open = open(settings(&dir));
    open.put([chat(1, 0)]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 5);
    open.end();
}

#[cfg(unix)]
#[test]
fn an_adopted_file_that_all_could_read_becomes_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(DATABASE);
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    open(settings(dir.path())).end();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
