//! A request for an answer, whichever API it came by, and the start of that answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::answer::Failure;
use crate::clock;
use crate::fake::Call;
use crate::generation::{Finish, Generation, Piece, Start};
use crate::models::{Model, Template};
use crate::runner::User;
use crate::scheduler::{Need, NoRunner};
use crate::script::{Brief, Script};
use crate::text::json;
use crate::wishes::{self, Fit};

/// The engine never gives a slot less than this, whatever num_ctx said (measured: num_ctx 0 answers a short prompt).
const SMALLEST_SLOT: u64 = 256;

/// Tokens at the beginning of a prompt that survive its cut when the request does not say.
const NUM_KEEP: i64 = 4;

/// What a request that must not be cut is told where Ollama fills in the template.
const TOO_LONG_TO_SHIFT: &str = "the prompt is longer than the context length currently available to the model; shorten \
the prompt, adjust the context length in settings, or use a model with a longer context length";

/// Tokens after which an answer that is not streamed ends, as multiples of the context.
const MOST_CONTEXTS: u64 = 10;

/// One turn of a conversation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) role: String,
    pub(crate) content: String,
    pub(crate) images: usize,
    /// Tool calls of an assistant's turn, as JSON.
    pub(crate) calls: Option<Value>,
}

/// What a request brings to be answered.
#[derive(Clone, Debug)]
pub(crate) enum Prompt {
    Messages(Vec<Message>),
    /// Through the template like a single message, after a system text.
    Plain {
        system: String,
        prompt: String,
    },
    /// As it is.
    Raw(String),
}

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
    fn merged(&self, model: &Model) -> Map<String, Value> {
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

    /// This request without the oldest messages that do not fit; system messages and the last one stay.
    pub(crate) fn shortened(&self, model: &Model, fit: &Fit) -> Cow<'_, Ask> {
        let Prompt::Messages(messages) = &self.prompt else { return Cow::Borrowed(self) };
        if !self.truncate || messages.len() < 2 || tokens_of(&self.render(model)) <= fit.context {
            return Cow::Borrowed(self);
        }
        let mut shorter = self.clone();
        for from in 1..messages.len() {
            let (old, new) = messages.split_at(from);
            let system = old.iter().filter(|message| message.role == "system");
            shorter.prompt = Prompt::Messages(system.chain(new).cloned().collect());
            if tokens_of(&shorter.render(model)) <= fit.context {
                break;
            }
        }
        Cow::Owned(shorter)
    }

    /// Tokens of the prompt as the engine gets it: one that is too long loses its middle in silence where Ollama fills
    /// in the template, and is refused where the engine does.
    fn prompt_tokens(&self, model: &Model, fit: &Fit) -> Result<u64, Failure> {
        let tokens = tokens_of(&self.render(model));
        let ollama_renders = !matches!(self.prompt, Prompt::Messages(_)) || model.template == Template::Go;
        // The engine never makes a slot smaller than this, whatever context Ollama asked for and goes by.
        let slot = fit.context.max(SMALLEST_SLOT);
        if ollama_renders && self.truncate && tokens >= fit.context {
            if !self.shift {
                return Err(Failure { late: self.stream, ..Failure::new(400, TOO_LONG_TO_SHIFT) });
            }
            let keep = self.merged(model).get("num_keep").and_then(wishes::number).unwrap_or(NUM_KEEP);
            return Ok(cut(fit.context, keep, model.marks_start()));
        }
        if tokens >= slot {
            return Err(Failure { late: self.stream, ..too_long(tokens, slot) });
        }
        Ok(tokens)
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

    fn trailing(&self) -> &str {
        match &self.prompt {
            Prompt::Messages(messages) => match messages.last() {
                Some(last) if last.role == "assistant" => &last.content,
                _ => "",
            },
            _ => "",
        }
    }

    /// The prompt as the engine gets it.
    pub(crate) fn render(&self, model: &Model) -> String {
        let mut out = String::new();
        let mut turn = |role: &str, content: &str| {
            out.push_str("<|im_start|>");
            out.push_str(role);
            out.push('\n');
            out.push_str(content);
            out.push_str("<|im_end|>\n");
        };
        if !self.tools.is_empty() {
            turn("system", &json(&Value::Array(self.tools.clone())));
        }
        match &self.prompt {
            Prompt::Raw(prompt) => return prompt.clone(),
            Prompt::Plain { system, prompt } => {
                let system = if system.is_empty() { &model.system } else { system };
                if !system.is_empty() {
                    turn("system", system);
                }
                turn("user", prompt);
            }
            Prompt::Messages(messages) => {
                if !model.system.is_empty() && messages.first().is_none_or(|first| first.role != "system") {
                    turn("system", &model.system);
                }
                let open = model.leaves_open() && !self.trailing().is_empty();
                let closed = messages.len() - usize::from(open);
                for message in &messages[..closed] {
                    let calls = message.calls.as_ref().map(json).unwrap_or_default();
                    turn(&message.role, &format!("{}{calls}", message.content));
                }
            }
        }
        out.push_str(OPEN);
        if model.leaves_open() {
            out.push_str(self.trailing());
        }
        out
    }
}

/// What opens the model's own turn.
const OPEN: &str = "<|im_start|>assistant\n";

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

/// Tokens that are left of a longer prompt: the first `keep` and the newest half of the rest of `context`. A negative
/// `keep` is all; a token that marks the start comes on top (llm/llama_server.go, August 2026, and measured).
fn cut(context: u64, keep: i64, marks_start: bool) -> u64 {
    let most = context.saturating_sub(1);
    let keep = u64::try_from(keep).unwrap_or(most).saturating_add(u64::from(marks_start)).min(most);
    context - ((context - keep) / 2).max(1)
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

fn too_long(prompt: u64, context: u64) -> Failure {
    let message =
        format!("request ({prompt} tokens) exceeds the available context size ({context} tokens), try increasing it");
    let inner = json!({"error": {"code": 400, "message": message, "type": "exceed_context_size_error",
        "n_prompt_tokens": prompt, "n_ctx": context}});
    Failure::new(400, json(&inner))
}

/// Tokens in a prompt, estimated: four bytes each.
pub(crate) fn tokens_of(text: &str) -> u64 {
    u64::try_from(text.len() / 4).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As measured with SmolLM2 (no token marks the start) and the tiny model (one does), November 2026.
    #[test]
    fn a_prompt_loses_its_middle() {
        for (context, keep, marks_start, left) in [
            (512, 4, false, 258),
            (512, 0, false, 256),
            (512, 100, false, 306),
            (512, -1, false, 511),
            (512, 600, false, 511),
            (512, 4, true, 259),
            (512, 100, true, 307),
            (4096, 4, true, 2051),
            (4, 4, false, 3),
            (4, 4, true, 3),
        ] {
            assert_eq!(cut(context, keep, marks_start), left, "{context} {keep} {marks_start}");
        }
    }
}
