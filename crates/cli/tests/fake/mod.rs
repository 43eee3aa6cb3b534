//! A stand-in for a door, and commands run against it.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up should fail loudly")]
#![allow(dead_code, reason = "not every test file needs all of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use cli::{Program, World};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// 2026-03-04 05:06:07 UTC.
pub(crate) const NOW_MS: u64 = 1_772_600_767_000;

/// A server on loopback that gives fixed answers; what it does not know is 404.
pub(crate) struct FakeDoor {
    pub(crate) port: u16,
    seen: Arc<Seen>,
}

/// What was asked, in order.
#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    more: Condvar,
}

/// A part of an answer that comes line by line.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends a line.
    Line(Value),
    /// Waits until this was asked, as [`FakeDoor::seen`] would tell it, without the key.
    Until(&'static str),
    /// Waits until the client hangs up, and counts that as a request of the path `gone`.
    Gone,
}

#[derive(Clone)]
enum Says {
    Whole(u16, String),
    Steps(Vec<Step>),
}

impl FakeDoor {
    pub(crate) fn start(answers: &[(&str, u16, Value)]) -> FakeDoor {
        FakeDoor::of(answers, &[])
    }

    pub(crate) fn herd(answers: &[(&str, u16, Value)]) -> FakeDoor {
        FakeDoor::streaming(answers, &[])
    }

    /// A Herd that answers to this path line by line, too.
    pub(crate) fn streaming(answers: &[(&str, u16, Value)], streams: &[(&str, Vec<Step>)]) -> FakeDoor {
        let mut all = vec![("/api/version", 200, json!({"version": "0.33.0", "herd": "0.1.0"}))];
        all.extend_from_slice(answers);
        FakeDoor::of(&all, streams)
    }

    fn of(answers: &[(&str, u16, Value)], streams: &[(&str, Vec<Step>)]) -> FakeDoor {
        let whole =
            answers.iter().map(|(path, status, body)| ((*path).to_owned(), Says::Whole(*status, body.to_string())));
        let steps = streams.iter().map(|(path, steps)| ((*path).to_owned(), Says::Steps(steps.clone())));
        let says: Arc<BTreeMap<String, Says>> = Arc::new(whole.chain(steps).collect());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let door = FakeDoor { port, seen: Arc::default() };
        let seen = door.seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (says, seen) = (says.clone(), seen.clone());
                std::thread::spawn(move || answer(stream.unwrap(), &says, &seen));
            }
        });
        door
    }

    /// What was asked so far, in order: path, key, and the body where there was one.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Counts `what` as a request.
    pub(crate) fn tell(&self, what: &'static str) -> impl Fn() + Send + use<> {
        let seen = self.seen.clone();
        move || seen.add(what.to_owned())
    }

    /// Waits until this was asked, without the key.
    pub(crate) fn until(&self, wanted: &str) {
        self.seen.until(wanted);
    }

    /// The bodies that were sent to `path`, and forgets what was asked.
    pub(crate) fn bodies(&self, path: &str) -> Vec<Value> {
        let seen = std::mem::take(&mut *self.seen.requests.lock().unwrap());
        let of_path = seen.iter().filter(|line| line.split(' ').next() == Some(path));
        of_path.map(|line| serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap()).collect()
    }
}

impl Seen {
    fn add(&self, request: String) {
        self.requests.lock().unwrap().push(request);
        self.more.notify_all();
    }

    fn until(&self, wanted: &str) {
        let mut requests = self.requests.lock().unwrap();
        while !requests.iter().any(|request| split(&request.replace(" no key", "")) == split(wanted)) {
            requests = self.more.wait(requests).unwrap();
        }
    }
}

/// The words of a request and its body, in which the order of keys does not matter.
fn split(request: &str) -> (&str, Option<Value>) {
    let (words, body) = request.split_at(request.find('{').unwrap_or(request.len()));
    (words.trim_end(), serde_json::from_str(body).ok())
}

fn answer(mut stream: TcpStream, says: &BTreeMap<String, Says>, seen: &Seen) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let head: Vec<String> = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("").to_owned();
    let header = |name: &str| head.iter().find_map(|line| line.strip_prefix(name));
    let mut body = vec![0; header("content-length: ").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    let key = header("authorization: ").unwrap_or("no key");
    seen.add(format!("{path} {key} {}", String::from_utf8_lossy(&body)).trim_end().to_owned());
    let missing = Says::Whole(404, json!({"error": "not found"}).to_string());
    match says.get(&path).unwrap_or(&missing) {
        Says::Whole(status, body) => {
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())?;
        }
        Says::Steps(steps) => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked";
            write!(stream, "{head}\r\nconnection: close\r\n\r\n")?;
            for step in steps {
                match step {
                    // In two pieces, because nobody promised that lines come whole.
                    Step::Line(line) => {
                        let line = format!("{line}\n");
                        let (first, second) = line.split_at(3);
                        for piece in [first, second] {
                            write!(stream, "{:x}\r\n{piece}\r\n", piece.len())?;
                            stream.flush()?;
                        }
                    }
                    Step::Until(wanted) => seen.until(wanted),
                    Step::Gone => {
                        // An end and a reset are the same to us.
                        let _ = reader.read_to_end(&mut Vec::new());
                        seen.add("gone".to_owned());
                        return Ok(());
                    }
                }
            }
            write!(stream, "0\r\n\r\n")?;
        }
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    reader.read_to_end(&mut Vec::new()).map(drop)
}

/// A command that has ended.
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Who sits in front of a command.
#[derive(Default)]
pub(crate) struct Person {
    /// Whether at a terminal.
    pub(crate) terminal: bool,
    /// What is typed before anything was asked.
    pub(crate) ahead: &'static str,
    /// What is typed at each question.
    pub(crate) answers: Vec<&'static str>,
    /// Called when all that was typed so far was read.
    pub(crate) is_read: Option<Box<dyn Fn() + Send>>,
    /// Presses Ctrl-C as soon as this is shown.
    pub(crate) leaves_at: Option<&'static str>,
}

/// A stream that does something when a text is written to it.
struct Watched<'a> {
    written: Vec<u8>,
    looked_at: usize,
    text: &'static str,
    then: Box<dyn FnMut() + 'a>,
}

impl<'a> Watched<'a> {
    fn new(text: &'static str, then: impl FnMut() + 'a) -> Watched<'a> {
        Watched { written: Vec::new(), looked_at: 0, text, then: Box::new(then) }
    }
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.written.extend_from_slice(bytes);
        let text = self.text.as_bytes();
        while let Some(at) = self.written[self.looked_at..].windows(text.len()).position(|part| part == text) {
            self.looked_at += at + text.len();
            (self.then)();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is typed, as it is typed.
struct Keys {
    typed: std::sync::mpsc::Receiver<&'static str>,
    rest: &'static [u8],
    is_read: Option<Box<dyn Fn() + Send>>,
}

impl Read for Keys {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = self.typed.try_recv().unwrap_or_default().as_bytes();
        }
        if self.rest.is_empty() {
            self.is_read.iter().for_each(|tell| tell());
            self.rest = self.typed.recv().unwrap_or_default().as_bytes();
        }
        self.rest.read(into)
    }
}

pub(crate) fn herd(line: &str, vars: &[(&str, &str)]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    herd_in(dir.path(), line, vars)
}

pub(crate) fn herd_in(dir: &Path, line: &str, vars: &[(&str, &str)]) -> Ran {
    let args: Vec<&str> = line.split(' ').collect();
    herd_with(dir, &args, vars, Person::default())
}

pub(crate) fn herd_with(dir: &Path, args: &[&str], vars: &[(&str, &str)], person: Person) -> Ran {
    let (keys, typed) = std::sync::mpsc::channel();
    if !person.ahead.is_empty() {
        keys.send(person.ahead).unwrap();
    }
    let (leave, left) = tokio::sync::oneshot::channel();
    let mut leave = Some(leave);
    // Dropped with the last answer, so that there is an end to what is typed.
    let mut keys = Some(keys).filter(|_| !person.answers.is_empty());
    let mut answers = person.answers.into_iter();
    let mut err = Watched::new("[y/N] ", move || {
        if let (Some(keys), Some(answer)) = (&keys, answers.next()) {
            keys.send(answer).unwrap();
        }
        if answers.len() == 0 {
            keys = None;
        }
    });
    let mut out = Watched::new(person.leaves_at.unwrap_or("\0"), move || {
        let _ = leave.take().map(|leave| leave.send(()));
    });
    let ours = [("FLEET_DATA_DIR", dir.to_str().unwrap()), ("FLEET_NODE_ID", "den")];
    let mut world = World {
        vars: ours.iter().chain(vars).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        out: &mut out,
        err: &mut err,
        input: Some(Box::new(BufReader::new(Keys { typed, rest: b"", is_read: person.is_read }))),
        terminal: person.terminal,
        interrupt: Box::pin(async {
            // Without a Ctrl-C it is never there.
            if left.await.is_err() {
                std::future::pending::<()>().await;
            }
        }),
        colour: false,
        unix_ms: NOW_MS,
        zone: TimeZone::UTC,
        serve: |settings, warnings| {
            anyhow::ensure!(settings.port != 1, "port 1 is taken by Ollama 0.33.0");
            assert!(settings.never_lead && warnings.len() == 1, "{settings:?} {warnings:?}");
            Ok(())
        },
        browse: |url| !url.contains(":2/") && url.starts_with("http://localhost:"),
    };
    let code = cli::run(Program::Herd, args.iter().map(Into::into).collect(), &mut world);
    let text =
        |stream: Watched<'_>| String::from_utf8(stream.written).unwrap().replace(dir.to_str().unwrap(), "DATA_DIR");
    Ran { code, out: text(out), err: text(err) }
}

/// Runs `line` against `door`, for people and for scripts, and compares all of it with the file called `name`.
pub(crate) fn golden(name: &str, door: &FakeDoor, line: &str) {
    let people: Vec<&str> = line.split(' ').collect();
    golden_of(name, door, &[&people, &[&people[..], &["--json"]].concat()], Person::default);
}

/// Runs each of `calls` against `door` in front of a `person`, and compares all of it with the file called `name`.
pub(crate) fn golden_of(name: &str, door: &FakeDoor, calls: &[&[&str]], person: impl Fn() -> Person) {
    let mut text = String::new();
    for call in calls {
        let dir = tempfile::tempdir().unwrap();
        let port = door.port.to_string();
        let ran = herd_with(dir.path(), &[*call, &["--port", &port]].concat(), &[], person());
        let call = call.join(" ");
        let shown = format!("$ {call}\n{}== stderr\n{}== exit {}\n\n", ran.out, plain(&ran.err), ran.code);
        text.push_str(&shown.replace(&port, "11435"));
        if call.contains("--json") {
            assert!(ran.out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{}", ran.out);
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    if std::env::vars().any(|(name, value)| name == "GOLDEN" && value == "write") {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    assert_eq!(text, expected, "{name}");
}

/// What stays on the screen: each line that was written over is left out, and what was asked is a line of its own.
fn plain(text: &str) -> String {
    let is_overwritten = |part: &&str| part.starts_with("Waiting;");
    let stays: String = text.split("\r\u{1b}[K").filter(|part| !is_overwritten(part)).collect();
    stays.replace("[y/N] ", "[y/N]\n")
}

/// A port that nothing listens at; somebody could take it in between, which is unlikely.
pub(crate) fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
