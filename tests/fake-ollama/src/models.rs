//! The models a stand-in has: what lists say of them, and what they say.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock;
use crate::names::Name;
use crate::text::sha256;

/// Which of Ollama's ways turns messages into a prompt; answers differ in small ways between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Template {
    /// A TEMPLATE in the model, filled in by Ollama: it also watches for one token repeated for ever.
    Go,
    /// The template inside the weights file, filled in by the engine: a trailing assistant text comes back first.
    Gguf,
}

/// What a model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// These tokens, then it stops.
    Words(&'static [&'static str]),
    /// These tokens over and over.
    Loop(&'static [&'static str]),
    /// Thoughts first, then an answer.
    Thoughts(&'static [&'static str], &'static [&'static str]),
    /// A few words, then a tool call when the request brought tools.
    Call(&'static [&'static str]),
    /// Nothing: it only embeds.
    Vectors,
}

const TINY: &[&str] = &["This", " reply", " comes", " from", " a", " tiny", " but", " real", " model", " ."];
const LOOP: &[&str] = &["on", " and", " on", " it", " goes", " and", " never", " ends", " by", " itself", " ;"];
const THOUGHTS: &[&str] = &["I", " ponder", " this", " slowly", " "];
const ANSWER: &[&str] = &["The", " answer", " is", " 4", " ."];
const LOOK: &[&str] = &["Let", " me", " look", " .", "\n"];
const RIVER: &[&str] = &[
    "A", " river", " is", " a", " natural", " flowing", " body", " of", " water", " that", " carries", " rain", " and",
    " melted", " snow", " from", " the", " hills", " down", " to", " a", " lake", " or", " the", " sea", ",", " and",
    " shapes", " the", " land", " it", " passes", ".",
];
const HEARD: &[&str] = &["The", " recording", " says", " hello", "."];

/// One model as a stand-in knows it.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) name: Name,
    /// The weights' SHA-256; names with equal weights share a runner.
    pub(crate) weights: String,
    /// The manifest's SHA-256, as lists show it.
    pub(crate) digest: String,
    /// Bytes on disk.
    pub(crate) size: u64,
    pub(crate) family: &'static str,
    pub(crate) parameter_count: u64,
    pub(crate) quantization: &'static str,
    /// Longest context the model was made for, tokens.
    pub(crate) trained: u64,
    /// Numbers in an embedding.
    pub(crate) width: usize,
    pub(crate) parent: String,
    pub(crate) template: Template,
    /// Whether a trailing assistant text is gone on with; else the model answers anew.
    pub(crate) goes_on: bool,
    pub(crate) template_text: String,
    pub(crate) system: String,
    pub(crate) license: String,
    /// Parameters of the Modelfile, below those of a request.
    pub(crate) parameters: Map<String, Value>,
    /// What /api/show tells.
    pub(crate) capabilities: Vec<&'static str>,
    pub(crate) says: Says,
    /// Its file tells Ollama nothing: lists leave the lengths and abilities out.
    pub(crate) unread: bool,
    /// Time since 1970.
    pub(crate) modified: Duration,
    /// A stub that forwards: the model and the host it forwards to.
    pub(crate) remote: Option<(String, String)>,
}

impl Model {
    /// Makes `name` with the abilities of the built-in `kind`; `None` when there is no such kind.
    pub(crate) fn make(name: &Name, kind: &str) -> Option<Model> {
        let plan = Kind::of(kind)?;
        let own = name.short();
        let stem = if own == format!("{kind}:latest") { plan.weights.to_owned() } else { own.clone() };
        Some(Model {
            weights: sha256(format!("weights of {stem}").as_bytes()),
            digest: sha256(format!("manifest of {own}").as_bytes()),
            name: name.clone(),
            size: plan.size,
            family: plan.family,
            parameter_count: plan.parameters,
            quantization: plan.quantization,
            trained: plan.trained,
            width: plan.width,
            parent: if plan.weights == kind { String::new() } else { format!("{}:latest", plan.weights) },
            template: plan.template,
            goes_on: plan.goes_on,
            template_text: plan.template_text().to_owned(),
            system: if kind == "smol-b" { "You are B.".to_owned() } else { String::new() },
            license: String::new(),
            parameters: if kind == "smol-b" {
                Map::from_iter([("num_ctx".to_owned(), json!(2048))])
            } else {
                Map::new()
            },
            capabilities: plan.capabilities.to_vec(),
            says: plan.says,
            unread: kind == "big",
            modified: clock::since_1970(),
            remote: None,
        })
    }

    /// What /api/tags tells: the abilities that only the template inside the weights shows are missing there.
    pub(crate) fn listed_capabilities(&self) -> Vec<&'static str> {
        let hidden = self.template == Template::Gguf;
        let keep = |name: &&&str| !(hidden && matches!(**name, "tools" | "thinking"));
        self.capabilities.iter().filter(keep).copied().collect()
    }

    /// Bytes in memory with `slots` times `context` tokens: weights, and for each token two numbers per layer and key,
    /// about 30 KiB for a small model.
    pub(crate) fn held(&self, context: u64, slots: usize) -> u64 {
        let tokens = context.saturating_mul(u64::try_from(slots).unwrap_or(u64::MAX));
        self.size.saturating_add(tokens.saturating_mul((self.size / 3200).clamp(1024, 32_768)))
    }

    /// Whether its tokenizer puts a token before every prompt; of the built-in ones, SmolLM2's does not.
    pub(crate) fn marks_start(&self) -> bool {
        self.quantization != "Q4_1"
    }

    /// Whether the template leaves a trailing assistant turn open in the prompt.
    pub(crate) fn leaves_open(&self) -> bool {
        self.goes_on && self.template == Template::Go
    }

    /// Whether the model can do `what`.
    pub(crate) fn can(&self, what: &str) -> bool {
        self.capabilities.contains(&what)
    }

    /// The parameter count as lists show it ("389K", "134.52M").
    pub(crate) fn parameter_size(&self) -> String {
        #[allow(clippy::cast_precision_loss, reason = "rounded to two digits anyway")]
        let count = self.parameter_count as f64;
        match count {
            1e9.. => format!("{:.1}B", count / 1e9),
            1e6.. => format!("{:.2}M", count / 1e6),
            1e3.. => format!("{:.0}K", count / 1e3),
            _ => format!("{count:.0}"),
        }
    }

    /// The `details` of lists, without the two lengths that only /api/tags adds.
    pub(crate) fn details(&self) -> Value {
        if self.remote.is_some() {
            return json!({"parent_model": "", "format": "", "family": "", "families": null,
                "parameter_size": "", "quantization_level": ""});
        }
        json!({"parent_model": "", "format": "gguf", "family": self.family, "families": [self.family],
            "parameter_size": self.parameter_size(), "quantization_level": self.quantization})
    }
}

struct Kind {
    /// The kind whose weights this one uses.
    weights: &'static str,
    size: u64,
    family: &'static str,
    parameters: u64,
    quantization: &'static str,
    trained: u64,
    width: usize,
    template: Template,
    goes_on: bool,
    capabilities: &'static [&'static str],
    says: Says,
}

impl Kind {
    fn of(kind: &str) -> Option<Kind> {
        let tiny = Kind {
            weights: "tiny",
            size: 790_420,
            family: "llama",
            parameters: 389_248,
            quantization: "F16",
            trained: 4096,
            width: 128,
            template: Template::Gguf,
            goes_on: false,
            capabilities: &["tools", "completion"],
            says: Says::Words(TINY),
        };
        let smol = Kind {
            weights: "smollm2",
            size: 98_362_745,
            parameters: 134_520_000,
            quantization: "Q4_1",
            trained: 8192,
            width: 576,
            template: Template::Go,
            capabilities: &["completion"],
            says: Says::Words(RIVER),
            ..tiny
        };
        let found = match kind {
            "tiny" => tiny,
            "tiny-call" => Kind { weights: "tiny-call", says: Says::Call(LOOK), ..tiny },
            "call-go" => Kind { weights: "tiny-call", template: Template::Go, says: Says::Call(LOOK), ..tiny },
            "tiny-loop" => Kind { weights: "tiny-loop", size: 790_964, says: Says::Loop(LOOP), ..tiny },
            "tiny-rep" => Kind { weights: "tiny-rep", size: 785_620, says: Says::Loop(&["na"]), ..tiny },
            "tiny-rep2" => Kind { weights: "tiny-rep", says: Says::Loop(&["na"]), ..tiny },
            "tiny-rep3" => Kind {
                weights: "tiny-rep",
                template: Template::Go,
                capabilities: &["completion", "thinking"],
                says: Says::Loop(&["na"]),
                ..tiny
            },
            "tiny-think" => {
                let capabilities = &["thinking", "completion"];
                Kind { weights: "tiny-think", capabilities, says: Says::Thoughts(THOUGHTS, ANSWER), ..tiny }
            }
            "thinker" => Kind {
                weights: "tiny-think",
                size: 790_587,
                template: Template::Go,
                capabilities: &["completion", "thinking"],
                says: Says::Thoughts(THOUGHTS, ANSWER),
                ..tiny
            },
            "tiny-see" => Kind { weights: "tiny-see", capabilities: &["completion", "vision"], ..tiny },
            "tiny-hear" => {
                Kind { weights: "tiny-hear", capabilities: &["completion", "audio"], says: Says::Words(HEARD), ..tiny }
            }
            "smollm2" | "smol-b" => smol,
            "smol-prefill" => Kind { goes_on: true, ..smol },
            "smol-gguf" => Kind { goes_on: true, template: Template::Gguf, ..smol },
            "long" => Kind {
                weights: "long",
                size: 98_362_700,
                trained: 131_072,
                capabilities: &["completion", "tools", "thinking", "insert"],
                ..smol
            },
            "big" => Kind { weights: "big", size: 471_859_348, ..tiny },
            "all-minilm" => Kind {
                weights: "all-minilm",
                size: 46_220_500,
                family: "bert",
                parameters: 22_565_376,
                trained: 512,
                width: 384,
                template: Template::Go,
                capabilities: &["embedding"],
                says: Says::Vectors,
                ..tiny
            },
            _ => return None,
        };
        Some(found)
    }

    fn template_text(&self) -> &'static str {
        match (self.template, self.says) {
            (_, Says::Vectors) => "{{ .Prompt }}",
            (Template::Go, _) => {
                "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
            }
            (Template::Gguf, _) => {
                "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{%- endfor %}<|im_start|>assistant\n"
            }
        }
    }
}

/// Reads one entry of a model list: `NAME` or `NAME=KIND`, where KIND is a built-in model whose ways NAME gets.
///
/// A name that is no built-in and names no kind says what `tiny` says. The error is a sentence for the user.
pub(crate) fn entry(text: &str) -> Result<Model, String> {
    let (name, kind) = text.split_once('=').map_or((text, None), |(name, kind)| (name, Some(kind.trim())));
    let name = Name::parse(name).ok_or_else(|| format!("{text:?} is not a model name"))?;
    let own = if name.tag == "latest" { name.model.to_ascii_lowercase() } else { String::new() };
    match kind {
        Some(kind) => Model::make(&name, kind).ok_or_else(|| format!("{kind:?} is not a built-in model")),
        None => Model::make(&name, &own).or_else(|| Model::make(&name, "tiny")).ok_or_else(|| "no model".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_on_one_file_share_weights() {
        let weights = |text: &str| entry(text).unwrap().weights;
        assert_eq!(weights("smollm2"), weights("smol-b"));
        assert_ne!(weights("tiny"), weights("tiny-loop"));
        assert_ne!(weights("llama3.2:3b=tiny"), weights("tiny"));
        assert_eq!(weights("tiny").len(), 64);
    }

    #[test]
    fn there_is_a_model_for_long_prompts_whose_template_ollama_fills_in() {
        let model = entry("qwen3:30b=long").unwrap();
        assert_eq!((model.trained, model.template), (131_072, Template::Go));
        assert!(["completion", "tools", "thinking", "insert"].iter().all(|what| model.can(what)));
    }

    #[test]
    fn lists_hide_what_only_the_weights_file_tells() {
        let model = entry("tiny").unwrap();
        assert!(model.can("tools"));
        assert_eq!(model.listed_capabilities(), ["completion"]);
        assert_eq!(entry("thinker").unwrap().listed_capabilities(), ["completion", "thinking"]);
    }

    #[test]
    fn an_unknown_name_is_a_model_like_tiny() {
        let model = entry("llama3.2:3b").unwrap();
        assert_eq!((model.name.short().as_str(), model.says), ("llama3.2:3b", Says::Words(TINY)));
        assert!(entry("x=nonsense").is_err());
        assert!(entry("a b").is_err());
    }
}
