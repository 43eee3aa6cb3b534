//! Writes requests in the words of backends.

mod chat;
mod completions;
mod embeddings;
mod forced;
mod ollama;

pub(crate) use chat::chat;
pub(crate) use completions::completions;
pub(crate) use embeddings::embeddings;
pub(crate) use ollama::{ollama_chat, ollama_generate};

use super::json::{Json, Quoted};
use super::object::bad_request;
use crate::Failure;
use crate::canon::{Arguments, Part};

/// Calls `with` on the text of a call's arguments, which must be an object.
fn with_arguments(arguments: &Arguments<'_>, with: impl FnOnce(&str)) -> Result<(), Failure> {
    match arguments {
        Arguments::Object(json) => with(json.as_str()),
        Arguments::Text(text) if text.is_empty() => with("{}"),
        Arguments::Text(text) => {
            let text = text.text();
            let object = Json::parse(&text).ok().filter(|json| json.kind() == super::json::Kind::Object);
            let text = "the arguments of an earlier tool call are no JSON object";
            with(object.ok_or_else(|| bad_request(text))?.as_str());
        }
    }
    Ok(())
}

/// The texts among `parts` with a line break between two.
fn text_pieces<'p>(parts: &'p [Part<'_>]) -> impl Iterator<Item = &'p str> {
    joined(parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None }))
}

/// The thinking among `parts`, with a line break between two pieces of it.
fn thinking_pieces<'p>(parts: &'p [Part<'_>]) -> impl Iterator<Item = &'p str> {
    joined(parts.iter().filter_map(|part| if let Part::Thinking(text) = part { Some(text) } else { None }))
}

fn joined<'p, 'q: 'p>(texts: impl Iterator<Item = &'p Quoted<'q>>) -> impl Iterator<Item = &'p str> {
    texts.enumerate().flat_map(|(at, text)| [if at == 0 { "" } else { "\\n" }, text.as_quoted()])
}
