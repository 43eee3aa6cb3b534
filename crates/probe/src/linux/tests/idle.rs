//! Idle time, from a message bus made for the occasion.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::linux::bus::Bus;
use crate::linux::idle::Idle;
use crate::sense::IdleSense as _;
use crate::{Roots, sense};

/// What the service answers to a call, told by the call's bytes: the types and the bytes of the answer, or an error.
type Answer = fn(&[u8], u32) -> Option<(&'static str, Vec<u8>)>;

/// Longer than any answer takes on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves connections for as long as the test runs. `answer` is told how many calls came before.
fn bus(directory: &Path, answer: Answer) -> String {
    let path = directory.join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let calls = Arc::new(AtomicU32::new(0));
        while let Ok((stream, _)) = listener.accept() {
            let calls = Arc::clone(&calls);
            // A client that hangs up ends its connection, not the bus.
            std::thread::spawn(move || drop(serve(stream, answer, &calls)));
        }
    });
    format!("unix:path={}", path.display())
}

fn serve(stream: UnixStream, answer: Answer, calls: &AtomicU32) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    assert!(line.starts_with(b"\0AUTH EXTERNAL "), "{line:?}");
    writer.write_all(b"OK 0123456789abcdef\r\n")?;
    line.clear();
    reader.read_until(b'\n', &mut line)?;
    assert_eq!(line, b"BEGIN\r\n");
    loop {
        let mut head = [0; 16];
        reader.read_exact(&mut head)?;
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let mut rest = vec![0; (word(12) as usize).next_multiple_of(8) + word(4) as usize];
        reader.read_exact(&mut rest)?;
        let has = |name: &str| rest.windows(name.len()).any(|bytes| bytes == name.as_bytes());
        if has("Hello") {
            // A signal comes before the answer, as it does in life.
            writer.write_all(&message(4, 0, "", &[]))?;
            writer.write_all(&message(2, word(8), "s", b"\x04\0\0\0:1.2\0"))?;
            continue;
        }
        match answer(&rest, calls.fetch_add(1, Ordering::Relaxed)) {
            Some(("garbage", body)) => writer.write_all(&body)?,
            Some((signature, body)) => writer.write_all(&message(2, word(8), signature, &body))?,
            None => writer.write_all(&message(3, word(8), "", &[]))?,
        }
    }
}

fn message(kind: u8, to: u32, signature: &str, body: &[u8]) -> Vec<u8> {
    let mut fields = b"\x05\x01u\0".to_vec();
    fields.extend(to.to_le_bytes());
    fields.extend([8, 1, b'g', 0, signature.len() as u8]);
    fields.extend(signature.bytes());
    fields.push(0);
    let mut bytes = vec![b'l', kind, 0, 1];
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend((fields.len() as u32).to_le_bytes());
    bytes.extend(fields);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    bytes
}

fn says(call: &[u8], name: &str) -> bool {
    call.windows(name.len()).any(|bytes| bytes == name.as_bytes())
}

fn idle(session_bus: Option<String>, system_bus: Option<String>) -> Idle {
    let system = "/nowhere".into();
    Idle::patient(
        PATIENCE,
        &Roots { system, places: Vec::new(), session_bus, system_bus, display: None, nvidia: false },
    )
}

fn now_us() -> u64 {
    u64::try_from(Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap().as_micros()).unwrap()
}

fn flag(on: bool) -> Option<(&'static str, Vec<u8>)> {
    Some(("v", vec![1, b'b', 0, 0, on.into(), 0, 0, 0]))
}

#[test]
fn gnome_says_it_to_the_millisecond() {
    let dir = tempfile::tempdir().unwrap();
    let address =
        bus(dir.path(), |call, _| says(call, "GetIdletime").then(|| ("t", 61_234_u64.to_le_bytes().to_vec())));
    let mut idle = idle(Some(address), None);
    for _ in 0..3 {
        assert_eq!(idle.idle(), Some(Duration::from_millis(61_234)));
    }
}

#[test]
fn the_hint_counts_from_when_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let address = bus(dir.path(), |call, _| {
        if says(call, "IdleSinceHintMonotonic") {
            let since = now_us().saturating_sub(600_000_000).max(1);
            return Some(("v", [b"\x01t\0\0\0\0\0\0".as_slice(), &since.to_le_bytes()].concat()));
        }
        flag(true)
    });
    let up = Duration::from_micros(now_us());
    let felt = idle(None, Some(address)).idle().unwrap();
    assert!(felt >= up.min(Duration::from_secs(600)) - Duration::from_millis(1), "{felt:?}");
}

#[test]
fn a_hint_that_nobody_ever_gave_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let never = bus(dir.path(), |_, _| flag(false));
    assert_eq!(idle(None, Some(never)).idle(), None);

    let dir = tempfile::tempdir().unwrap();
    let nobody_there = bus(dir.path(), |call, _| match says(call, "IdleSinceHintMonotonic") {
        true => Some(("v", [b"\x01t\0\0\0\0\0\0".as_slice(), &[0; 8]].concat())),
        false => flag(true),
    });
    assert_eq!(idle(None, Some(nobody_there)).idle(), None);

    let dir = tempfile::tempdir().unwrap();
    let came_back = bus(dir.path(), |call, before| match says(call, "IdleSinceHintMonotonic") {
        true => Some(("v", [b"\x01t\0\0\0\0\0\0".as_slice(), &1_u64.to_le_bytes()].concat())),
        false => flag(before == 0),
    });
    let mut idle = idle(None, Some(came_back));
    assert!(idle.idle().is_some());
    assert_eq!(idle.idle(), Some(Duration::ZERO));
}

#[test]
fn no_bus_a_refusing_one_and_a_broken_one_are_all_not_known() {
    assert_eq!(idle(None, None).idle(), None);
    assert_eq!(idle(Some("unix:path=/nowhere/bus".to_owned()), Some("tcp:host=x".to_owned())).idle(), None);
    let answers: [Answer; 4] = [
        |_, _| None,
        |_, _| Some(("garbage", vec![0xff; 64])),
        |_, _| Some(("garbage", [b"l\x02\0\x01".as_slice(), &[0xff; 12]].concat())),
        |_, _| Some(("s", b"\x01\0\0\0x\0".to_vec())),
    ];
    for answer in answers {
        let dir = tempfile::tempdir().unwrap();
        let address = bus(dir.path(), answer);
        let mut idle = idle(Some(address.clone()), Some(address));
        assert_eq!(idle.idle(), None);
        assert_eq!(idle.idle(), None);
    }
}

#[test]
fn a_lost_bus_is_connected_to_again() {
    let dir = tempfile::tempdir().unwrap();
    let address = bus(dir.path(), |_, before| match before {
        0 => Some(("garbage", vec![0; 16])),
        _ => Some(("t", 5_000_u64.to_le_bytes().to_vec())),
    });
    let mut idle: Box<dyn sense::IdleSense> = Box::new(idle(Some(address), None));
    assert_eq!(idle.idle(), None);
    assert_eq!(idle.idle(), Some(Duration::from_secs(5)));
}

#[test]
fn a_silent_bus_is_not_waited_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bus");
    // Connections wait to be accepted, and nobody ever does.
    let _silent = UnixListener::bind(&path).unwrap();
    let address = format!("unix:path={}", path.display());
    assert!(Bus::connect(&address, Duration::from_millis(1)).is_err());
}
