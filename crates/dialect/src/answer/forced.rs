//! Turns the JSON that a model was made to write back into the tool call that it stands for.

use super::event::{Event, Listener};
use super::json::{escaped, filled, members, string, unescaped};
use super::to::collected::MOST_BYTES;
use crate::{Cause, Failure, ForcedTool};

/// What came so far of such a call.
#[derive(Debug)]
pub(super) enum Forced {
    /// The text is the arguments of this tool (its name as the inside of a JSON string).
    One { name: String, begun: bool },
    /// The text is an object with name and arguments; it has to be whole before the name is sure to be known.
    Any { text: String },
}

impl Forced {
    pub(super) fn new(tool: &ForcedTool) -> Forced {
        match tool {
            ForcedTool::One { name } => Forced::One { name: escaped(name), begun: false },
            ForcedTool::Any => Forced::Any { text: String::new() },
        }
    }

    /// Takes a piece of the text.
    pub(super) fn text(&mut self, piece: &str, to: &mut impl Listener) -> Result<(), Failure> {
        if piece.is_empty() {
            return Ok(());
        }
        match self {
            Forced::One { name, begun } => {
                if !std::mem::replace(begun, true) {
                    to.hear(Event::Call { id: "", name })?;
                }
                to.hear(Event::Arguments(piece))
            }
            Forced::Any { text } if text.len() + piece.len() > MOST_BYTES => {
                Err(Failure::new(Cause::BadGateway, "the backend's answer is longer than 16 MiB"))
            }
            Forced::Any { text } => {
                text.push_str(piece);
                Ok(())
            }
        }
    }

    /// The text has ended. What is no call (it was cut, or the backend does not follow schemas) is said as it came.
    pub(super) fn end(self, to: &mut impl Listener) -> Result<(), Failure> {
        let Forced::Any { text } = self else { return Ok(()) };
        if text.is_empty() {
            return Ok(());
        }
        let object = unescaped(&text);
        let (mut name, mut arguments) = (None, None);
        let is_whole = members(&object, |key, value| match key {
            "name" => name = filled(value),
            "arguments" => arguments = Some(value),
            _ => {}
        });
        let Some(name) = name.filter(|_| is_whole) else {
            return to.hear(Event::Text { text: &text, logprobs: "" });
        };
        to.hear(Event::Call { id: "", name })?;
        let arguments = arguments.unwrap_or("{}");
        match string(arguments) {
            Some(already_text) => to.hear(Event::Arguments(already_text)),
            None => to.hear(Event::Arguments(&escaped(arguments))),
        }
    }
}
