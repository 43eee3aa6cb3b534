//! For each recorded exchange: the state it needs, and what is known to differ.

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
        let mut options = Options { models: models.map(str::to_owned).to_vec(), ..Options::default() };
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

fn row_of_words() -> Row {
    Row { words_differ: true, ..Row::default() }
}

fn stub() -> Row {
    let body = r#"{"model":"rem","from":"tiny","remote_host":"http://127.0.0.1:11434","stream":false}"#;
    Row::default().after("POST", "/api/create", body)
}

fn left_out(reason: &'static str) -> Row {
    Row { left_out: Some(reason), ..Row::default() }
}

/// The set-up of capture `number`.
pub(crate) fn row(number: u32) -> Row {
    match number {
        _ => Row::default(),
    }
}
