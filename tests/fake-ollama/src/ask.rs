//! A request for an answer, whichever API it came by, and the start of that answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::answer::Failure;
use crate::clock;
use crate::fake::Call;
use crate::generation::{Finish, Generation, Piece, Start};
use crate::models::{Model, Template};
use crate::prompt::{OPEN, Prompt, SMALLEST_SLOT};
use crate::runner::User;
use crate::scheduler::{Need, NoRunner};
use crate::script::{Brief, Script};
use crate::text::json;
use crate::wishes::{self, Fit};

/// Tokens after which an answer that is not streamed ends, as multiples of the context.
const MOST_CONTEXTS: u64 = 10;

/// Whether a model shall think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Think {
    /// As the model likes.
    Unsaid,
    No,
    Yes,
    /// Wished for by an API that drops the wish where the model cannot.
    IfAble,
}

/// A request, parsed.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// The name as asked; answers repeat it.
    pub(crate) model: String,
    pub(crate) prompt: Prompt,
    pub(crate) tools: Vec<Value>,
    pub(crate) think: Think,
    pub(crate) format: Option<Value>,
    pub(crate) options: Map<String, Value>,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) truncate: bool,
    pub(crate) shift: bool,
    pub(crate) stream: bool,
    pub(crate) images: usize,
    /// How many likely tokens to tell with each; `None` for no probabilities.
    pub(crate) logprobs: Option<u64>,
}

/// A whole answer, collected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whole {
    pub(crate) text: String,
    pub(crate) thinking: String,
    pub(crate) tokens: Vec<String>,
    /// `None` when it ended without a word.
    pub(crate) finish: Option<Finish>,
}

impl Ask {
    pub(crate) fn new(model: &str, prompt: Prompt) -> Ask {
        Ask {
            model: model.to_owned(),
            prompt,
            tools: Vec::new(),
            think: Think::Unsaid,
            format: None,
            options: Map::new(),
            keep_alive: None,
            truncate: true,
            shift: true,
            stream: false,
            images: 0,
            logprobs: None,
        }
    }

    /// Options with the Modelfile's below them; a null counts as not said, but hides the Modelfile's value.
    pub(crate) fn merged(&self, model: &Model) -> Map<String, Value> {
        let mut all = model.parameters.clone();
        all.extend(self.options.clone());
        all
    }

    /// Checks what the model can do; in the words of the handler called `verb`.
    pub(crate) fn check(&self, model: &Model, verb: &str) -> Result<(), Failure> {
        let full = model.name.full();
        let asked = &self.model;
        if !model.can("completion") && model.remote.is_none() {
            return Err(Failure::new(400, format!("\"{asked}\" does not support {verb}")));
        }
        if self.think == Think::Yes && !model.can("thinking") {
            return Err(Failure::new(400, format!("\"{asked}\" does not support thinking")));
        }
        if !self.tools.is_empty() && !model.can("tools") {
            return Err(Failure::new(400, format!("{full} does not support tools")));
        }
        if let Some(Value::String(word)) = &self.format
            && !matches!(word.as_str(), "json" | "")
        {
            let text = format!("invalid format: {word:?}; expected \"json\" or a valid JSON Schema object");
            return Err(Failure::new(500, text));
        }
        Ok(())
    }

    /// The whole way to an answer: the model, its abilities, a runner, a slot. May be dropped: the client left.
    pub(crate) async fn start(&self, call: &Call, verb: &str) -> Result<(Arc<Model>, Generation), Failure> {
        let mut model = call.model(&self.model, verb == "chat")?;
        if let Some((target, _)) = &model.remote {
            if !call.fake.options.remotes {
                return Err(Failure::new(400, "this server cannot run this remote model"));
            }
            model = call.model(target, true)?;
        }
        self.check(&model, verb)?;
        let (user, fit) = self.runner(call, &model).await?;
        let generation = self.begin(call, &model, user, &fit).await?;
        Ok((model, generation))
    }

    /// Gets a runner, loading the model if it must. May be dropped: the client left.
    pub(crate) async fn runner(&self, call: &Call, model: &Arc<Model>) -> Result<(User, Fit), Failure> {
        let options = self.merged(model);
        wishes::check(&options).map_err(|text| Failure::new(500, text))?;
        if call.effects.busy {
            return Err(queue_full());
        }
        let default = call.fake.options.context;
        let fit = Fit::of(&options, self.shift, model, default);
        let need = Need {
            model: model.clone(),
            fit: fit.clone(),
            keep_alive: self.keep_alive,
            load_time: call.load_time(),
            load_fails: call.effects.load_fails,
        };
        match call.fake.scheduler.runner(need).await {
            Ok(user) => {
                call.entry.context.store(fit.context, Ordering::Relaxed);
                call.entry.began_load.store(user.is_first, Ordering::Relaxed);
                Ok((user, fit))
            }
            Err(NoRunner::QueueFull) => Err(queue_full()),
            Err(NoRunner::LoadFailed(text)) => Err(Failure::new(500, text)),
        }
    }

    /// Begins the answer on a runner: waits for a slot. May be dropped: the client left.
    pub(crate) async fn begin(&self, call: &Call, model: &Model, user: User, fit: &Fit) -> Result<Generation, Failure> {
        let load = clock::now().saturating_duration_since(call.began);
        let ask = self.shortened(model, fit);
        ask.refuse_images(model)?;
        let prompt_tokens = ask.prompt_tokens(model, fit)?;
        call.entry.prompt_tokens.store(prompt_tokens, Ordering::Relaxed);
        let context = fit.context.max(SMALLEST_SLOT);
        let options = self.merged(model);
        let whole = |key: &str| options.get(key).and_then(wishes::number);
        let wished = whole("num_predict").and_then(|most| u64::try_from(most).ok()).filter(|most| *most > 0);
        let bound = (!self.stream).then_some(context * MOST_CONTEXTS);
        let stops = options.get("stop").and_then(Value::as_array).into_iter().flatten();
        let chat = matches!(self.prompt, Prompt::Messages(_));
        let schema = match &self.format {
            Some(Value::Object(schema)) => Some(Value::Object(schema.clone())),
            Some(Value::String(word)) if word == "json" && model.template != Template::Gguf => {
                Some(json!({"type": "object"}))
            }
            _ => None,
        };
        let trailing = self.trailing();
        let partial = match &self.prompt {
            Prompt::Raw(prompt) => prompt.rsplit_once(OPEN).map_or("", |(_, partial)| partial),
            _ if model.goes_on => trailing,
            _ => "",
        };
        let script = Script::new(
            model.says,
            &Brief {
                tools: &self.tools,
                think: self.think != Think::No && model.can("thinking") && !matches!(self.prompt, Prompt::Raw(_)),
                schema: schema.as_ref(),
                length: call.fake.options.tokens,
                calls: call.fake.options.calls,
                partial,
                repeats: call.effects.repeats,
            },
        );
        let start = Start {
            script,
            limit: wished.or(bound),
            stops: stops.filter_map(Value::as_str).map(str::to_owned).collect(),
            echo: if model.template == Template::Gguf { trailing.to_owned() } else { String::new() },
            watches_repeats: call.effects.repeats || !chat || model.template != Template::Gguf,
            pace: call.fake.options.pace,
            effects: call.effects.clone(),
            prompt_tokens,
            began: call.began,
            load,
        };
        Ok(Generation::new(start, user.slot().await, call.entry.clone(), call.wire.clone()))
    }

    fn refuse_images(&self, model: &Model) -> Result<(), Failure> {
        let images = self.images
            + match &self.prompt {
                Prompt::Messages(messages) => messages.iter().map(|message| message.images).sum(),
                _ => 0,
            };
        if images == 0 || model.can("vision") || model.can("audio") {
            return Ok(());
        }
        let (status, message, kind) = match self.prompt {
            Prompt::Messages(_) => (
                500,
                "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
                "server_error",
            ),
            _ => (
                400,
                "Multimodal data provided, but model does not support multimodal requests.",
                "invalid_request_error",
            ),
        };
        let text = json(&json!({"error": {"code": status, "message": message, "type": kind}}));
        Err(Failure { late: self.stream, ..Failure::new(status, text) })
    }
}

/// Collects an answer that is not streamed. May be dropped: the client left.
pub(crate) async fn collect(mut generation: Generation) -> Result<Whole, Failure> {
    let mut whole = Whole::default();
    loop {
        match generation.next().await {
            Piece::Text(text) => {
                whole.text.push_str(&text);
                whole.tokens.push(text.into_owned());
            }
            Piece::Thinking(text) => whole.thinking.push_str(&text),
            Piece::End(finish) => {
                whole.finish = Some(finish);
                return Ok(whole);
            }
            Piece::Silence => return Ok(whole),
            Piece::Died | Piece::Cut => return Err(died()),
            Piece::BadCall(name) => return Err(bad_call(&name)),
        }
    }
}

/// The first piece of a stream; an answer that fails before its first token is an error with a status.
pub(crate) async fn first_of(generation: &mut Generation) -> Result<Piece, Failure> {
    match generation.next().await {
        Piece::Died | Piece::Cut => Err(Failure { late: true, ..died() }),
        Piece::BadCall(name) => Err(Failure { late: true, ..bad_call(&name) }),
        piece => Ok(piece),
    }
}

/// The failure when the engine dies.
pub(crate) fn died() -> Failure {
    Failure::new(500, "an error was encountered while running the model: unexpected EOF")
}

/// The failure when a tool call is cut.
pub(crate) fn bad_call(name: &str) -> Failure {
    let text =
        format!("llama-server returned invalid tool call arguments for \"{name}\": unexpected end of JSON input");
    Failure::new(500, text)
}

fn queue_full() -> Failure {
    Failure::new(503, "server busy, please try again.  maximum pending requests exceeded")
}
