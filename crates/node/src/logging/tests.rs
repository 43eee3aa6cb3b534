//! The lines that come out of events.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::{debug, error, info, info_span, trace, warn};

use super::*;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Written;

    fn make_writer(&self) -> Written {
        self.clone()
    }
}

/// What `log` writes to the file and to stderr at `level`.
fn written(level: &str, colours: bool, log: impl FnOnce()) -> (String, String) {
    let (file, stderr) = (Written::default(), Written::default());
    let lines = Lines { file: file.clone(), stderr: stderr.clone(), colours };
    let subscriber = tracing_subscriber::registry().with(targets(level).unwrap()).with(lines);
    tracing::subscriber::with_default(subscriber, log);
    (file.text(), stderr.text())
}

fn parsed(file: &str) -> Vec<Value> {
    file.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_line_has_the_known_keys_then_the_spans_fields_then_its_own() {
    let (file, stderr) = written("debug", false, || {
        let span = info_span!("request", request = "06c0ffee", model = "tiny", queue_key = tracing::field::Empty);
        let _in = span.enter();
        span.record("queue_key", "studio:tiny");
        let _inner = info_span!("attempt", model = "large").entered();
        warn!(status = 503, slow = true, share = 0.5, backend = %"ollama", "a backend refused");
    });
    let line = &parsed(&file)[0];
    let keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    let known =
        ["ts", "level", "logger", "msg", "request_id", "model", "queue_key", "status", "slow", "share", "backend"];
    assert_eq!(keys, known);
    let time = line["ts"].as_str().unwrap();
    assert!(time.len() == 32 && time.ends_with("+00:00") && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!((&line["level"], &line["msg"]), (&"WARNING".into(), &"a backend refused".into()));
    assert_eq!(line["logger"], "node::logging::tests");
    assert_eq!((&line["model"], &line["queue_key"]), (&"large".into(), &"studio:tiny".into()));
    assert_eq!((&line["status"], &line["slow"], &line["share"]), (&503.into(), &true.into(), &0.5.into()));
    let (time, rest) = stderr.split_once(' ').unwrap();
    assert!(time.len() == 13 && time.ends_with('Z'), "{time}");
    assert_eq!(
        rest,
        " WARN a backend refused request=06c0ffee model=large queue_key=studio:tiny status=503 slow=true share=0.5 \
         backend=ollama\n"
    );
}

#[test]
fn nothing_that_is_logged_breaks_a_line_or_reaches_the_terminal() {
    let nasty: String = (0..0x300_u32)
        .chain([0x2028, 0x2029, 0x202e, 0x2066, 0x2069, 0xfeff, 0xfffd, 0x1f999])
        .filter_map(char::from_u32)
        .collect();
    let (file, stderr) = written("info", false, || {
        let _span = info_span!("request", request = %nasty).entered();
        error!(text = nasty.as_str(), shown = %nasty, listed = ?[&nasty], "{nasty}");
    });
    for (place, text) in [("file", &file), ("stderr", &stderr)] {
        let line = text.strip_suffix('\n').unwrap();
        let acting = line.chars().find(|letter| letter.is_control() || ('\u{2028}'..='\u{202e}').contains(letter));
        assert_eq!(acting, None, "{place}");
        assert!(!line.contains(['\u{2066}', '\u{2069}']), "{place}");
    }
    let line = &parsed(&file)[0];
    for key in ["msg", "text", "shown", "request_id"] {
        assert_eq!(line[key], nasty.as_str(), "{key}");
    }
}

#[test]
fn fields_cannot_pass_for_the_known_keys_and_long_ones_are_cut() {
    let (file, _) = written("info", false, || {
        info!(ts = "never", level = 1, logger = "x", msg = "y", long = "ä".repeat(5000), odd = f64::NAN, "true");
    });
    let line = &parsed(&file)[0];
    assert_eq!((&line["level"], &line["msg"]), (&"INFO".into(), &"true".into()));
    assert_eq!((&line["ts_"], &line["level_"], &line["msg_"]), (&"never".into(), &1.into(), &"y".into()));
    assert_eq!(line["long"].as_str().unwrap().len(), 4096);
    assert_eq!(line["odd"], "NaN");
}

#[test]
fn levels_hold_for_us_and_libraries_speak_from_warnings_on() {
    let all = || {
        error!("1");
        warn!("2");
        info!("3");
        debug!("4");
        trace!("5");
        warn!(target: "hyper::proto", "6");
        info!(target: "hyper::proto", "7");
        debug!(target: "store::writer", "8");
    };
    for (level, messages) in
        [("off", ""), ("error", "1"), ("warn", "126"), ("info", "1236"), ("debug", "123468"), ("trace", "1234568")]
    {
        let (file, stderr) = written(level, false, all);
        let said: String = parsed(&file).iter().map(|line| line["msg"].as_str().unwrap().to_owned()).collect();
        assert_eq!((said.as_str(), stderr.lines().count()), (messages, messages.len()), "{level}");
    }
    assert!(targets("loud").is_err());
}

#[test]
fn an_error_is_told_with_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot start")]
    struct Outer(#[source] io::Error);
    let outer = Outer(io::Error::other("port in use"));
    let (file, _) = written("info", false, || error!(error = &outer as &dyn std::error::Error, "failed"));
    assert_eq!(parsed(&file)[0]["error"], "cannot start: port in use");
}

#[test]
fn values_are_quoted_where_they_would_run_together() {
    let (_, stderr) = written("info", false, || info!(a = "two words", b = "", c = "say \"x\"", d = "plain", "m"));
    assert!(stderr.ends_with(" INFO m a=\"two words\" b=\"\" c=\"say \\\"x\\\"\" d=plain\n"), "{stderr}");
}

#[test]
fn colours_are_only_where_they_were_asked_for() {
    for colours in [false, true] {
        let (file, stderr) = written("info", colours, || info!(a = 1, "m"));
        assert_eq!((file.contains('\x1b'), stderr.contains('\x1b')), (false, colours));
    }
}

#[test]
fn an_event_inside_of_an_event_is_a_line_of_its_own() {
    struct Talkative;
    impl std::fmt::Debug for Talkative {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            info!("inner");
            f.write_str("talkative")
        }
    }
    let (file, _) = written("info", false, || info!(it = ?Talkative, "outer"));
    let said: Vec<_> = parsed(&file).iter().map(|line| line["msg"].clone()).collect();
    assert!(said.contains(&"outer".into()), "{said:?}");
}

#[test]
fn what_was_logged_is_in_the_file_when_the_guard_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let guard = start(dir.path(), "info", true).unwrap();
    info!(target: "node", answer = 42, "this line is for the file");
    assert!(start(dir.path(), "info", true).is_err(), "one process has one log");
    drop(guard);
    let file = std::fs::read_to_string(dir.path().join("logs/herd.jsonl")).unwrap();
    let line = parsed(&file).into_iter().find(|line| line["msg"] == "this line is for the file").unwrap();
    assert_eq!(line["answer"], 42);
}
