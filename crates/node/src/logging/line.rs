//! Makes lines of events: of fields that may hold anything, without letting any of it act on a terminal or end a line.

use std::error::Error;
use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::Level;
use tracing::field::{Field, Visit};

use super::python_level;

/// Most bytes of one value; the rest is left out.
const VALUE_BYTES: usize = 4096;

/// Size to which buffers shrink after an unusually long line.
pub(super) const MOST_BYTES: usize = 16 << 10;

/// What the earlier system's log calls the things that Herd's code calls otherwise.
const KNOWN_AS: [(&str, &str); 2] = [("request", "request_id"), ("node", "node_id")];

/// The message and the fields of an event, the spans' before its own. The later of two with one name counts.
#[derive(Default)]
pub(super) struct Fields {
    message: String,
    named: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Takes over the fields of a span.
    pub(super) fn add(&mut self, span: &Fields) {
        for (name, value) in &span.named {
            self.put(name, value.clone());
        }
    }

    fn put(&mut self, name: &'static str, value: Value) {
        match self.named.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.named.push((name, value)),
        }
    }

    fn put_text(&mut self, field: &Field, mut text: String) {
        text.truncate(text.floor_char_boundary(VALUE_BYTES));
        match field.name() {
            "message" => self.message = text,
            name => self.put(name, text.into()),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value[..value.floor_char_boundary(VALUE_BYTES)].to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause.filter(|_| text.len() < VALUE_BYTES) {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.put_text(field, text);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for infinity: then the text says it.
        self.put(field.name(), if value.is_finite() { value.into() } else { value.to_string().into() });
    }
}

/// Adds the line of the log file: `{"ts","level","logger","msg",…fields}`.
pub(super) fn json(line: &mut String, unix_ms: u64, level: &Level, target: &str, fields: &Fields) {
    let mut object = Map::with_capacity(4 + fields.named.len());
    object.insert("ts".to_owned(), time(unix_ms).strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string().into());
    object.insert("level".to_owned(), python_level(level).into());
    object.insert("logger".to_owned(), target.into());
    object.insert("msg".to_owned(), fields.message.as_str().into());
    for (name, value) in &fields.named {
        let name = KNOWN_AS.iter().find(|(ours, _)| ours == name).map_or(*name, |(_, known)| known);
        // A field must not pass itself off as the time or the message.
        let name = if matches!(name, "ts" | "level" | "logger" | "msg") { format!("{name}_") } else { name.to_owned() };
        object.insert(name, value.clone());
    }
    // What serde_json lets through and a terminal or a line reader may act on; outside of strings there is none of it.
    for letter in Value::Object(object).to_string().chars() {
        if acts(letter) {
            let _ = write!(line, "\\u{:04x}", u32::from(letter));
        } else {
            line.push(letter);
        }
    }
    line.push('\n');
}

/// Adds the line for people: time (UTC), level, message, fields.
pub(super) fn short(line: &mut String, unix_ms: u64, level: &Level, fields: &Fields, colours: bool) {
    let (dim, bright, plain) = if colours { ("\x1b[2m", colour(level), "\x1b[0m") } else { ("", "", "") };
    let _ = write!(line, "{dim}{}{plain} {bright}{level:>5}{plain} ", time(unix_ms).strftime("%H:%M:%S%.3fZ"));
    put_harmless(line, &fields.message);
    for (name, value) in &fields.named {
        let _ = write!(line, " {dim}{name}={plain}");
        match value {
            Value::String(text) if text.is_empty() || text.contains([' ', '"', '=']) => {
                line.push('"');
                put_harmless(line, &text.replace('"', "\\\""));
                line.push('"');
            }
            Value::String(text) => put_harmless(line, text),
            other => {
                let _ = write!(line, "{other}");
            }
        }
    }
    line.push('\n');
}

fn put_harmless(line: &mut String, text: &str) {
    for letter in text.chars() {
        if acts(letter) {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
}

/// Control characters, other line ends, and the marks that turn the direction of what follows.
fn acts(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn colour(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG | Level::TRACE => "\x1b[34m",
    }
}

fn time(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}
