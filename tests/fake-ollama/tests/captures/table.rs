//! For each recorded exchange: the state it needs, and what is known to differ.

use std::time::Duration;

use fake_ollama::{Fault, FaultKind, Options};

/// The set-up of one exchange.
#[derive(Default)]
pub(crate) struct Row {
    change: Vec<fn(&mut Options)>,
    pub(crate) faults: Vec<Fault>,
    /// Requests made before: method, path, body.
    pub(crate) before: Vec<(&'static str, &'static str, String)>,
    /// A streamed request that is still running meanwhile: path and body.
    pub(crate) held: Option<(&'static str, String)>,
    /// Requests to /api/generate that wait meanwhile, sent one after the other.
    pub(crate) waiting: Vec<String>,
    /// A model that is deleted while the held request runs.
    pub(crate) then_deletes: Option<&'static str>,
    /// A registry with models listens on the port that was 5000.
    pub(crate) peer: bool,
    /// Which models there are, newest first.
    models: Option<&'static [&'static str]>,
    /// The path to ask, where the recorded one names a blob that is not at hand.
    pub(crate) path: Option<&'static str>,
    /// The body to send, where the recorded one was cut.
    pub(crate) body: Option<String>,
    /// The model's words, or the length of its answer, are its own.
    pub(crate) words_differ: bool,
    /// The answer is longer or shorter than Go's buffer, unlike the recorded one.
    pub(crate) lengths_differ: bool,
    /// A long stream: kinds of records are compared, not each one.
    pub(crate) loops: bool,
    /// Why the exchange is not covered.
    pub(crate) left_out: Option<&'static str>,
    /// A difference that is known and stays.
    pub(crate) known: Option<&'static str>,
}

impl Row {
    pub(crate) fn options(&self) -> Options {
        let models = [
            "tiny",
            "tiny-call",
            "tiny-loop",
            "tiny-rep",
            "tiny-rep2",
            "tiny-rep3",
            "tiny-think",
            "thinker",
            "call-go",
            "smollm2",
            "smol-b",
            "smol-prefill",
            "all-minilm",
        ];
        let models = self.models.unwrap_or(&models);
        let mut options =
            Options { models: models.iter().map(|name| (*name).to_owned()).collect(), ..Options::default() };
        options.faults.clone_from(&self.faults);
        for change in &self.change {
            change(&mut options);
        }
        options
    }

    fn with(mut self, change: fn(&mut Options)) -> Row {
        self.change.push(change);
        self
    }

    fn fault(mut self, fault: Fault) -> Row {
        self.faults.push(fault);
        self
    }

    fn after(mut self, method: &'static str, path: &'static str, body: &str) -> Row {
        self.before.push((method, path, body.to_owned()));
        self
    }

    /// `model` has been loaded.
    fn loaded(self, model: &str) -> Row {
        self.after("POST", "/api/generate", &format!("{{\"model\":\"{model}\"}}"))
    }

    fn sends(mut self, body: String) -> Row {
        self.body = Some(body);
        self
    }
}

fn plain() -> Row {
    Row::default()
}

/// The stub `rem` of `tiny` is there.
fn stub() -> Row {
    let body = r#"{"model":"rem","from":"tiny","remote_host":"http://127.0.0.1:11434","stream":false}"#;
    plain().after("POST", "/api/create", body)
}

fn left_out(reason: &'static str) -> Row {
    Row { left_out: Some(reason), ..plain() }
}

fn only(models: &'static [&'static str]) -> Row {
    Row { models: Some(models), ..plain() }
}

fn words(count: usize) -> String {
    "word ".repeat(count)
}

fn fox() -> String {
    "The quick brown fox jumps over the lazy dog. ".repeat(300)
}

/// A chat in Ollama's words, with more fields.
fn chat(model: &str, content: &str, more: &str) -> String {
    format!("{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{content}\"}}]{more}}}")
}

fn dies(after: u64) -> Row {
    Row { loops: true, ..plain().fault(Fault::new(FaultKind::RunnerDiesAfter).after(after)) }
}

fn dies_before(body: String) -> Row {
    plain().fault(Fault::new(FaultKind::RunnerDiesBefore)).sends(body)
}

/// One model may be loaded and is busy, a request waits to replace it, and two more fill the queue.
fn full_queue() -> Row {
    let mut row = plain().with(|options| {
        options.max_loaded = 1;
        options.max_queue = 2;
        options.pace = Duration::from_millis(1);
    });
    row.held = Some(("/api/generate", r#"{"model":"tiny-loop","prompt":"hi"}"#.to_owned()));
    row.waiting =
        ["tiny", "smollm2", "tiny"].map(|model| format!("{{\"model\":\"{model}\",\"prompt\":\"hi\"}}")).to_vec();
    row
}

fn peer() -> Row {
    Row { peer: true, ..plain() }
}

/// Where "abc" is uploaded to.
const ABC: &str = "/api/blobs/sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// "abc" was uploaded; `body` names its digest as DIGEST.
fn uploaded(body: &str) -> Row {
    plain().after("POST", ABC, "abc").sends(body.replace("DIGEST", ABC.trim_start_matches("/api/blobs/")))
}

/// The set-up of capture `number`.
pub(crate) fn row(number: u32) -> Row {
    let hello = r#"{"model":"tiny","prompt":"hi","stream":false"#;
    match number {
        4 => only(&[
            "tiny-think",
            "thinker",
            "tiny-rep3",
            "call-go",
            "tiny-rep",
            "big",
            "smol-prefill",
            "smol-b",
            "all-minilm",
            "tiny-loop",
            "tiny-call",
            "smollm2",
            "tiny",
        ]),
        12 => plain().loaded("tiny-call").loaded("thinker").after(
            "POST",
            "/api/generate",
            &format!("{hello},\"keep_alive\":-1}}"),
        ),
        13 => {
            let small = format!("{hello},\"options\":{{\"num_ctx\":2048}},\"keep_alive\":\"6m\"}}");
            let thinker = r#"{"model":"thinker","keep_alive":"7m"}"#;
            plain().loaded("tiny-call").after("POST", "/api/generate", &small).after("POST", "/api/generate", thinker)
        }
        14 => only(&["127.0.0.1:5000/library/tiny:latest=tiny"]),
        15 => only(&["127.0.0.1:5000/library/tiny=tiny"])
            .after("POST", "/api/copy", r#"{"source":"127.0.0.1:5000/library/tiny","destination":"tiny"}"#)
            .after("DELETE", "/api/delete", r#"{"model":"127.0.0.1:5000/library/tiny"}"#),
        16 => {
            let copy = r#"{"model":"tiny-copy","from":"tiny","parameters":{"num_ctx":1024},"system":"Be brief","stream":false}"#;
            let row = stub().after("POST", "/api/create", copy);
            Row { models: Some(&["tiny", "smol-b"]), ..row }
        }
        17 => plain().after("POST", "/api/generate", &format!("{hello},\"options\":{{\"num_ctx\":0}}}}")).after(
            "POST",
            "/api/generate",
            r#"{"model":"tiny-call","keep_alive":"9m"}"#,
        ),
        18 => plain()
            .loaded("tiny-call")
            .after("POST", "/api/generate", &format!("{hello},\"options\":{{\"num_ctx\":0}},\"keep_alive\":\"6m\"}}"))
            .after("POST", "/api/generate", r#"{"model":"smollm2","keep_alive":"7m"}"#),
        28 => stub(),
        53 => stub(),
        54 | 55 | 104 => stub().with(|options| options.remotes = true),
        56 => Row {
            known: Some("the recorded call was none to Ollama's parser: the model repeats itself there"),
            loops: true,
            ..plain()
        },
        59 => Row { words_differ: true, ..plain() },
        60 => Row { words_differ: true, loops: true, ..plain() }
            .with(|options| options.models = vec!["smollm2=smol-gguf".to_owned()]),
        80 => plain().sends(format!("{{\"model\":\"all-minilm\",\"input\":\"{}\",\"truncate\":false}}", words(1000))),
        79 => plain().sends(format!("{{\"model\":\"all-minilm\",\"input\":\"{}\"}}", words(1000))),
        94 | 109 | 112 => plain().with(|options| options.calls = 2),
        182 => plain().sends(chat("tiny", &words(30_000), ",\"stream\":false")),
        183 => plain().sends(chat("tiny", &words(30_000), ",\"truncate\":false")),
        184 => plain().sends(chat("tiny", &words(30_000), ",\"truncate\":false,\"shift\":false")),
        185 => Row { lengths_differ: true, ..plain() }.sends(format!(
            "{{\"model\":\"tiny\",\"prompt\":\"{}\",\"stream\":false,\"options\":{{\"num_predict\":3}}}}",
            words(30_000)
        )),
        186 => plain().sends(format!("{{\"model\":\"tiny\",\"prompt\":\"{}\",\"truncate\":false}}", words(30_000))),
        187 => plain().sends(chat("tiny", &words(30_000), "")),
        202 => {
            let mut row = only(&["gone=tiny-loop"]).with(|options| options.pace = Duration::from_millis(1));
            row.held = Some(("/api/generate", r#"{"model":"gone","prompt":"hi"}"#.to_owned()));
            Row { then_deletes: Some("gone"), ..row }
        }
        203..=207 => full_queue(),
        209..=217 => dies(40),
        218 => dies_before(chat("smollm2", &fox(), "")),
        219 => dies_before(chat("smollm2", &fox(), ",\"stream\":false")),
        220 => dies_before(chat("smollm2", &fox(), ",\"stream\":true")),
        221 => dies_before(chat("smollm2", &fox(), ",\"max_tokens\":9,\"stream\":true")),
        222 => dies_before(chat("smollm2", &fox(), ",\"max_tokens\":9")),
        223 => plain().fault(Fault::new(FaultKind::RunnerDiesBefore).times(1)).after(
            "POST",
            "/api/generate",
            &format!("{hello}}}"),
        ),
        224 => left_out("two pings of 10 s each: the time is all there is to see"),
        225..=227 => plain().fault(Fault::new(FaultKind::LoadDies)),
        228 => plain().fault(Fault::new(FaultKind::LoadTimesOut)),
        229..=231 => plain().fault(Fault::new(FaultKind::LoadNeverStarts)),
        232 => Row { loops: true, ..plain().fault(Fault::new(FaultKind::CutAfter).after(40)) },
        236 | 237 => Row { loops: true, ..plain() },
        240..=245 | 249 => peer(),
        251 => Row { loops: true, ..peer() },
        253 => Row { path: Some(ABC), ..plain().sends("abc".to_owned()) },
        254 => Row { path: Some(ABC), ..plain().after("POST", ABC, "abc").sends("abc".to_owned()) },
        257 => uploaded(r#"{"model":"new","files":{"tiny.gguf":"DIGEST"}}"#),
        258 => uploaded(
            r#"{"model":"new","files":{"m.gguf":"DIGEST"},"template":"{{ .Prompt }}","system":"You are B.","parameters":{"num_ctx":2048},"stream":false}"#,
        ),
        265 => only(&["gone=tiny"]),
        266 => only(&["127.0.0.1:5000/library/tiny=tiny"]),
        269 => only(&["me/other:v1"]),
        302..=304 | 306 => plain().with(|options| options.cloud_disabled = true),
        305 => stub().with(|options| options.cloud_disabled = true),
        _ => plain(),
    }
}
