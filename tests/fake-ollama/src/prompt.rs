//! The prompt of a request: how it is written, and what becomes of one that is longer than the context.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::answer::Failure;
use crate::ask::Ask;
use crate::models::{Model, Template};
use crate::text::json;
use crate::wishes::{self, Fit};

/// The engine never gives a slot less than this, whatever num_ctx said (measured: num_ctx 0 answers a short prompt).
pub(crate) const SMALLEST_SLOT: u64 = 256;

/// Tokens at the beginning of a prompt that survive its cut when the request does not say.
const NUM_KEEP: i64 = 4;

/// What a request that must not be cut is told where Ollama fills in the template.
const TOO_LONG_TO_SHIFT: &str = "the prompt is longer than the context length currently available to the model; shorten \
the prompt, adjust the context length in settings, or use a model with a longer context length";

/// What opens the model's own turn.
pub(crate) const OPEN: &str = "<|im_start|>assistant\n";

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

impl Ask {
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
    pub(crate) fn prompt_tokens(&self, model: &Model, fit: &Fit) -> Result<u64, Failure> {
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

    pub(crate) fn trailing(&self) -> &str {
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

/// Tokens that are left of a longer prompt: the first `keep` and the newest half of the rest of `context`. A negative
/// `keep` is all; a token that marks the start comes on top (llm/llama_server.go, August 2026, and measured).
fn cut(context: u64, keep: i64, marks_start: bool) -> u64 {
    let most = context.saturating_sub(1);
    let keep = u64::try_from(keep).unwrap_or(most).saturating_add(u64::from(marks_start)).min(most);
    context - ((context - keep) / 2).max(1)
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
