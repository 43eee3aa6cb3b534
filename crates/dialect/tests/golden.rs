//! Every error in every dialect, as clients get it. `GOLDEN=write` rewrites the files; the difference is read like code.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::path::Path;

use dialect::{Cause, Failure, heartbeat, stream_content_type};
use proto::{Api, Dialect};

#[allow(clippy::disallowed_methods, reason = "whether to rewrite is told to the test by its caller")]
fn check(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var("GOLDEN").is_ok_and(|golden| golden == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{name} differs; GOLDEN=write rewrites it");
}

#[test]
fn error_bodies() {
    let mut out = String::new();
    for dialect in [Dialect::Ollama, Dialect::OpenAi, Dialect::Anthropic] {
        writeln!(out, "# {} as {}", dialect.as_str(), Failure::content_type(dialect)).unwrap();
        for cause in Cause::ALL {
            let failure = Failure::new(cause, "what \"happened\"");
            let body = failure.body(dialect);
            writeln!(out, "{cause:?} {} {}", failure.status(), std::str::from_utf8(&body).unwrap()).unwrap();
        }
        out.push('\n');
    }
    check("errors.txt", &out);
}

#[test]
fn ends_of_streams() {
    let mut out = String::new();
    for api in Api::ALL {
        for mid_record in [false, true] {
            let end = Failure::new(Cause::BadGateway, "the backend broke off").stream_end(api, mid_record);
            let when = if mid_record { "inside a record" } else { "between records" };
            writeln!(out, "# {} {when}\n{}", api.path(), std::str::from_utf8(&end).unwrap()).unwrap();
        }
    }
    check("stream-ends.txt", &out);
}

#[test]
fn heartbeats() {
    let mut out = String::new();
    for api in Api::ALL {
        let Some(beat) = heartbeat(api, "tiny", 1_795_260_655_353) else { continue };
        writeln!(out, "# {} as {}\n{}", api.path(), stream_content_type(api), std::str::from_utf8(&beat).unwrap())
            .unwrap();
    }
    check("heartbeats.txt", &out);
}
