//! Model names as Ollama and its clients write them.

use std::fmt;
use std::sync::Arc;

/// A model's name in the form in which names are compared.
///
/// `llama3`, `LLAMA3:latest`, `library/llama3` and `registry.ollama.ai/library/llama3:latest` are one name (measured on
/// Ollama 0.33: look-up is case-insensitive, the tag defaults to `latest`). Ids of other servers, with slashes, colons
/// or a path in them, are names too: whatever is written twice the same way is the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName(Arc<str>);

impl ModelName {
    /// The form of `written` that equals that of every other way to write the same name.
    pub fn new(written: &str) -> ModelName {
        let written = written.trim();
        let short = strip_prefix(written, "http://").or_else(|| strip_prefix(written, "https://")).unwrap_or(written);
        let short = strip_prefix(short, "registry.ollama.ai/").unwrap_or(short);
        let short = strip_prefix(short, "library/").unwrap_or(short);
        let short = strip_suffix(short, ":latest").unwrap_or(short);
        let short = strip_suffix(short, ":local").unwrap_or(short);
        let lower = if short.bytes().any(|byte| byte.is_ascii_uppercase()) {
            short.to_ascii_lowercase().into()
        } else {
            short.into()
        };
        ModelName(lower)
    }

    /// The comparable form: lower case, without `library/` and without `:latest`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether Ollama would send a request for this name to its cloud, going by the name alone.
    pub fn is_cloud(&self) -> bool {
        match self.0.rsplit_once(':') {
            Some((_, tag)) => tag == "cloud" || tag.ends_with("-cloud"),
            None => false,
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.as_bytes().get(..prefix.len())?;
    (head.eq_ignore_ascii_case(prefix.as_bytes()) && text.len() > prefix.len()).then(|| &text[prefix.len()..])
}

fn strip_suffix<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let cut = text.len().checked_sub(suffix.len()).filter(|&cut| cut > 0)?;
    text.as_bytes()[cut..].eq_ignore_ascii_case(suffix.as_bytes()).then(|| &text[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_model_has_one_name() {
        for written in [
            "tiny",
            "TINY",
            "tiny:LATEST",
            " tiny ",
            "library/tiny",
            "registry.ollama.ai/library/tiny:latest",
            "http://registry.ollama.ai/library/tiny",
            "tiny:local",
        ] {
            assert_eq!(ModelName::new(written).as_str(), "tiny", "{written}");
        }
        for other in ["tiny:1b", "hf.co/library/tiny", "me/tiny", "/models/tiny.gguf", "", ":latest"] {
            assert_ne!(ModelName::new(other).as_str(), "tiny", "{other}");
        }
    }

    #[test]
    fn cloud_names_are_seen() {
        for (name, cloud) in [("x:cloud", true), ("x:120b-cloud", true), ("cloud", false), ("x-cloud:8b", false)] {
            assert_eq!(ModelName::new(name).is_cloud(), cloud, "{name}");
        }
    }
}
