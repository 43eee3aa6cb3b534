//! Requests as the apps send them, kept in files, and their replay.

use std::fmt::Write as _;
use std::path::PathBuf;

use fleet_tests::{Answer, ask};
use serde_json::Value;

/// What long texts are made of.
const SENTENCES: [&str; 8] = [
    "Say what you are about to do before you do it.",
    "Prefer the smallest change that does what was asked.",
    "Read a file before you change it.",
    "Never touch what lies outside of the folder.",
    "When a command fails, show its last lines.",
    "Ask only when there are two ways that differ for the user.",
    "Keep answers short and free of praise.",
    "Leave the tests as green as they were.",
];

/// The requests of one app, in the order in which it sends them.
pub(crate) struct Recorded {
    /// The app as traces call it.
    pub(crate) app: String,
    pub(crate) requests: Vec<Request>,
}

/// One request.
pub(crate) struct Request {
    /// What the app does with it.
    pub(crate) what: String,
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    /// Null where there is none.
    pub(crate) body: Value,
    /// The same body, packed, when it is sent so.
    packed: Option<Vec<u8>>,
    /// It is sent at the same time as the next one.
    pub(crate) with_next: bool,
    /// What traces call the app, where another library of it asks.
    pub(crate) app: Option<String>,
    /// The tags that its trace has to have.
    pub(crate) tags: Vec<String>,
    /// The model that stands in for the one asked for.
    pub(crate) serves: Option<String>,
}

/// How much of the long texts is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// All, as the apps do.
    Full,
    /// Their first words, for engines that read every one of them; and nothing that is packed, which cannot be shortened.
    Short,
}

/// Reads the requests of one app.
///
/// A text that begins with `@fill N ` stands for one of N bytes: what follows, then sentences.
pub(crate) fn recorded(name: &str, length: Length) -> Recorded {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recorded");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let request = |request: &Value| {
        let mut body = request["body"].clone();
        fill(&mut body, length);
        let headers = request["headers"].as_object().unwrap().iter();
        Request {
            what: word(&request["what"]).unwrap(),
            method: word(&request["method"]).unwrap(),
            target: word(&request["path"]).unwrap(),
            headers: headers.map(|(name, value)| (name.clone(), word(value).unwrap())).collect(),
            body,
            packed: request["packed"].as_str().map(|file| std::fs::read(folder.join(file)).unwrap()),
            with_next: request["with_next"] == true,
            app: word(&request["app"]),
            tags: texts(&request["tags"]),
            serves: word(&request["serves"]),
        }
    };
    let is_sent = |request: &Request| length == Length::Full || request.packed.is_none();
    let requests = file["requests"].as_array().unwrap().iter().map(request).filter(is_sent).collect();
    Recorded { app: word(&file["app"]).unwrap(), requests }
}

fn fill(value: &mut Value, length: Length) {
    match value {
        Value::String(text) => {
            let Some((bytes, begin)) = text.strip_prefix("@fill ").and_then(|rest| rest.split_once(' ')) else {
                return;
            };
            let bytes: usize = bytes.parse().unwrap();
            let mut filled = begin.to_owned();
            let mut number = 0;
            while length == Length::Full && filled.len() < bytes {
                write!(filled, "\n{}. {}", number + 1, SENTENCES[number % SENTENCES.len()]).unwrap();
                number += 1;
            }
            *text = filled;
        }
        Value::Array(all) => all.iter_mut().for_each(|one| fill(one, length)),
        Value::Object(all) => all.values_mut().for_each(|one| fill(one, length)),
        _ => {}
    }
}

impl Request {
    /// The path without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Whether a model has to work for it.
    pub(crate) fn is_inference(&self) -> bool {
        self.method == "POST" && !matches!(self.path(), "/api/show" | "/v1/messages/count_tokens")
    }

    /// Whether it asks for a stream, which `/api/chat` and `/api/generate` do unless they say otherwise.
    pub(crate) fn streams(&self) -> bool {
        let unsaid = matches!(self.path(), "/api/chat" | "/api/generate");
        self.body["stream"].as_bool().unwrap_or(unsaid)
    }

    /// Sends it to the server at `url`.
    pub(crate) fn send(&self, url: &str) -> Answer {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let plain = if self.body.is_null() { String::new() } else { self.body.to_string() };
        let bytes = self.packed.as_deref().unwrap_or(plain.as_bytes());
        ask(&format!("{url}{}", self.target), &self.method, &headers, bytes)
    }
}
