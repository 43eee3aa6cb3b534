//! A Herd with a server behind it, and an app's day before it.

use fleet_tests::{Answer, Fake, Herd, eventually, get};
use parts::engine::{self, Running};
use parts::tiny_gguf::{self, Variant};
use serde_json::Value;

use crate::between::{Asked, Between, TRAINED};
use crate::recorded::{Length, Recorded, Request, recorded};
use crate::sent::Fate;
use crate::verdicts::Verdicts;
use crate::{REFUSED, ROWS, answers, lists, sent};

/// The model that all recordings ask for.
pub(crate) const MODEL: &str = "qwen3-coder:30b";
/// Tokens that the llama-server's model is said to have been trained for.
const STRETCHED: u64 = 65_536;
/// The one that makes vectors.
const EMBEDDER: &str = "all-minilm";
/// Headers that are of one connection, or of Herd alone.
const NOT_ONWARDS: [&str; 14] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
    "cookie",
    "origin",
    "referer",
    "accept-encoding",
    "content-encoding",
    "x-herd-tags",
];

/// What keeps the server behind Herd going.
enum Behind {
    Ollama(#[allow(dead_code, reason = "ends when dropped")] Fake),
    LlamaServer(#[allow(dead_code, reason = "ends when dropped")] (Running, tempfile::TempDir)),
}

/// A Herd, and a server behind it.
pub(crate) struct House {
    // Dropped first: a server that goes before Herd is a fault to it.
    herd: Herd,
    between: Between,
    behind: Behind,
}

impl House {
    pub(crate) fn with_ollama() -> House {
        let fake = Fake::start(&["--models", &format!("{MODEL}=call-go,{EMBEDDER}")]);
        let between = Between::start(&fake.url, true);
        let herd = Herd::start(&[&between.url]);
        // What models can do is asked for in the background; until it is known, less is refused.
        eventually("herd to know what the model can do", || {
            let models = get(&herd.at("/api/tags")).json();
            let model = models["models"].as_array()?.iter().find(|model| model["name"] == MODEL)?.clone();
            model["capabilities"].as_array()?.contains(&"thinking".into()).then_some(())
        });
        House { herd, between, behind: Behind::Ollama(fake) }
    }

    /// With one whose models hold 4096 tokens and no more.
    pub(crate) fn with_forgetful_ollama() -> House {
        let fake = Fake::start(&["--models", &format!("{MODEL}=call-go")]);
        let between = Between::start(&fake.url, false);
        let herd = Herd::start(&[&between.url]);
        House { herd, between, behind: Behind::Ollama(fake) }
    }

    /// Sends requests that no model can hold; each is refused with all of `words`, and no model works for it.
    pub(crate) fn refusal(&self, app: &'static str, requests: &[&str], words: &[&str]) -> Verdicts {
        let mut verdicts = Verdicts::new(app, "forgetful ollama");
        let recorded = recorded(app, Length::Full);
        for what in requests {
            let answer = recorded.requests.iter().find(|one| one.what == *what).unwrap().send(&self.herd.url);
            let has_worked = self.between.take().iter().any(Asked::is_inference);
            verdicts.is("refused", answer.status == 400 && !has_worked, || format!("{what}: {answer:?}"));
            verdicts.is("words", words.iter().all(|words| answer.body.contains(words)), || {
                format!("{what}: {}", answer.body)
            });
        }
        verdicts
    }

    /// With a real llama-server, where there is one to be had.
    pub(crate) fn with_llama_server() -> Option<House> {
        let Some(engine) = engine::find().unwrap() else {
            eprintln!("SKIPPED: no llama-server here; `cargo xtask test` fetches one");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let model = directory.path().join(Variant::Says.file_name());
        tiny_gguf::write(&model, Variant::Says).unwrap();
        // More than it was trained for, which is nothing: what it says next depends on its last word alone.
        let stretched = format!("llama.context_length=int:{STRETCHED}");
        let long = ["--ctx-size", "65536", "--parallel", "2", "--override-kv", &stretched];
        let running = engine.start(&model, &[&["--alias", MODEL, "--jinja"], &long[..]].concat()).unwrap();
        let between = Between::start(&running.url(), false);
        let herd = Herd::start(&[&between.url]);
        Some(House { herd, between, behind: Behind::LlamaServer((running, directory)) })
    }

    fn backend(&self) -> &'static str {
        match self.behind {
            Behind::Ollama(_) => "ollama",
            Behind::LlamaServer(_) => "llama-server",
        }
    }

    /// Sends all that `app` sends and looks at what came back and at what got through.
    pub(crate) fn replay(&self, app: &'static str, length: Length) -> Verdicts {
        let mut verdicts = Verdicts::new(app, self.backend());
        let recorded = recorded(app, length);
        let mut grown = 0;
        self.between.take();
        let is_here = |request: &&Request| self.is_ollama() || !is_for_embedder(request);
        let all: Vec<&Request> = recorded.requests.iter().filter(is_here).collect();
        for requests in all.chunk_by(|before, _| before.with_next) {
            let answers: Vec<Answer> = std::thread::scope(|scope| {
                let sent: Vec<_> = requests.iter().map(|one| scope.spawn(|| one.send(&self.herd.url))).collect();
                sent.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let asked: Vec<Asked> = self.between.take().into_iter().filter(Asked::is_inference).collect();
            for (request, answer) in requests.iter().zip(&answers) {
                grown += usize::from(answer.header("x-fleet-context") == Some("grown"));
                // Those that are sent together differ in whether they bring tools.
                let is_its = |asked: &&Asked| {
                    requests.len() == 1 || asked.body["tools"].is_array() == request.body["tools"].is_array()
                };
                let asked: Vec<&Asked> = asked.iter().filter(is_its).collect();
                match request.is_inference() {
                    true => self.look(&mut verdicts, &recorded, request, answer, &asked),
                    false => lists::look(&mut verdicts, request, answer, &asked, self.trained()),
                }
            }
        }
        if self.is_ollama() {
            let loads = self.between.loads();
            let embeds = all.iter().any(|request| is_for_embedder(request) && request.is_inference());
            verdicts.is("loads", loads <= 1 + grown + usize::from(embeds), || {
                format!("the models were loaded {loads} times, {grown} times for a prompt that was longer")
            });
        }
        verdicts
    }

    /// Tokens that the model was trained for, as the server tells.
    fn trained(&self) -> u64 {
        if self.is_ollama() { TRAINED } else { STRETCHED }
    }

    fn is_ollama(&self) -> bool {
        matches!(self.behind, Behind::Ollama(_))
    }

    fn look(&self, verdicts: &mut Verdicts, app: &Recorded, request: &Request, answer: &Answer, asked: &[&Asked]) {
        let what = &request.what;
        let refused = REFUSED.iter().find(|row| (row.0, row.1, row.2) == (verdicts.app(), self.backend(), what));
        if let Some((.., field)) = refused {
            let error = answer.json()["error"].to_string();
            verdicts.is("refusal", answer.status == 400 && error.contains(field) && asked.is_empty(), || {
                format!("{what}: not refused for `{field}`: {} {}", answer.status, answer.body)
            });
            return;
        }
        let requested = request.body["model"].as_str().unwrap_or_default();
        let served = request.serves.as_deref().unwrap_or(requested);
        verdicts.hold("answer", answers::look(request, answer, requested, served));
        let [asked] = asked else {
            let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
            verdicts.hold("one call", Err(format!("{what}: the backend was asked for {paths:?}")));
            return;
        };
        verdicts.is("one call", self.paths_of(request).contains(&asked.path.as_str()), || {
            format!("{what}: the backend was asked for {}", asked.path)
        });
        verdicts.is("model", asked.body["model"] == served, || format!("{what}: asked for {}", asked.body["model"]));
        verdicts.hold("headers", self.headers(asked).map_err(|why| format!("{what}: {why}")));
        let own = ["fallback_models", "previous_response_id"];
        let left = own.into_iter().find(|field| !asked.body[field].is_null());
        let left = left.or((!asked.body["metadata"]["tags"].is_null()).then_some("metadata.tags"));
        let left = left.or((!asked.body["keep_alive"].is_null()).then_some("keep_alive"));
        verdicts.is("own fields", left.is_none(), || format!("{what}: the backend got {left:?}"));
        // Another value of one of these than the model was loaded with loads it again.
        let reloads = ["num_gpu", "num_thread", "num_batch", "main_gpu", "use_mmap", "draft_num_predict"];
        let reload = reloads.into_iter().find(|name| !asked.body["options"][name].is_null());
        verdicts.is("machine options", !self.is_ollama() || reload.is_none(), || {
            format!("{what}: the backend got {reload:?}")
        });
        if self.is_ollama() && served != EMBEDDER {
            let verdict = answer.header("x-fleet-context").unwrap_or_default();
            let context = &asked.body["options"]["num_ctx"];
            verdicts.is("context", matches!(verdict, "kept" | "grown") && context.is_u64(), || {
                format!("{what}: num_ctx {context}, X-Fleet-Context: {verdict}")
            });
        }
        self.trace(verdicts, app, request, answer);
        self.told(verdicts, request, answer, requested, served);
        let column: fn(&sent::Row) -> sent::Fate = match self.is_ollama() {
            true => |row| row.2,
            false if asked.path == request.target => {
                |row| if matches!(row.3, Fate::Kept) { Fate::Kept } else { Fate::Same }
            }
            false => |row| row.3,
        };
        if !self.is_ollama() && request.path() == "/v1/responses" {
            let odd = asked.body["tools"].as_array().into_iter().flatten().find(|tool| tool["type"] != "function");
            verdicts
                .is("readable tools", odd.is_none(), || format!("{what}: llama-server leaves out {}", odd.unwrap()));
        }
        let ignored = answer.header("x-fleet-ignored").unwrap_or_default();
        sent::look(verdicts, ROWS, column, request.path(), &request.body, asked, ignored);
    }

    /// The calls of which the backend may get one.
    fn paths_of<'a>(&self, request: &'a Request) -> Vec<&'a str> {
        match (self.is_ollama(), request.path()) {
            (true, "/api/generate" | "/api/embed") => vec![request.path()],
            (true, _) => vec!["/api/chat"],
            (false, path) if path.starts_with("/api/") => vec!["/v1/chat/completions"],
            (false, _) => vec![&request.target, "/v1/chat/completions"],
        }
    }

    fn headers(&self, asked: &Asked) -> Result<(), String> {
        let token = std::fs::read_to_string(self.herd.dir.path().join("control.token")).unwrap_or_default();
        let value =
            |wanted: &str| asked.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        for (name, value) in &asked.headers {
            if NOT_ONWARDS.contains(&name.as_str()) || name.starts_with("x-fleet-") {
                return Err(format!("{name}: {value} was passed on"));
            }
            if !token.trim().is_empty() && value.contains(token.trim()) {
                return Err(format!("{name} has the token of this node"));
            }
        }
        if value("host") != self.between.url.strip_prefix("http://") {
            return Err(format!("host {:?}", value("host")));
        }
        match value("content-type") {
            Some("application/json") => Ok(()),
            other => Err(format!("content-type {other:?}")),
        }
    }

    /// What every answer says of itself.
    fn told(&self, verdicts: &mut Verdicts, request: &Request, answer: &Answer, requested: &str, served: &str) {
        let wanted = [
            ("x-fleet-node", Some("box")),
            ("x-fleet-backend", Some(self.backend())),
            ("x-fleet-requested-model", Some(requested)),
            ("x-fleet-served-model", Some(served)),
            ("x-fleet-fallback", (requested != served).then_some(served)),
            ("x-fleet-retries", Some("0")),
        ];
        for (name, value) in wanted {
            verdicts.is("headers of the answer", answer.header(name) == value, || {
                format!("{}: {name}: {:?} instead of {value:?}", request.what, answer.header(name))
            });
        }
    }

    fn trace(&self, verdicts: &mut Verdicts, app: &Recorded, request: &Request, answer: &Answer) {
        let Some(id) = answer.header("x-fleet-request-id") else {
            return verdicts.hold("trace", Err(format!("{}: no request id", request.what)));
        };
        let trace = self.herd.trace(id);
        let name = request.app.as_ref().unwrap_or(&app.app);
        let tags: Vec<&str> = trace["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        verdicts.is("trace", trace["app"] == **name && tags == request.tags, || {
            format!("{}: app {}, tags {tags:?} instead of {:?}", request.what, trace["app"], request.tags)
        });
        let counted = trace["completion_tokens"].as_u64().unwrap_or_default() > 0 || request.path() == "/api/embed";
        verdicts.is("trace tokens", counted && trace["status"] == "completed", || format!("{}: {trace}", request.what));
    }
}

pub(crate) fn is_for_embedder(request: &Request) -> bool {
    request.body["model"].as_str().is_some_and(|model| model.starts_with(EMBEDDER))
}
