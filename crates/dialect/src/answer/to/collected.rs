//! Keeps what was said until it is written as a whole.

use super::super::event::Finish;
use super::super::json::{is_object, unescaped};
use super::Called;
use crate::{Cause, Failure};

/// The most bytes of one answer that are kept; longer ones fail. Far beyond what a model says before its context is full.
pub(in super::super) const MOST_BYTES: usize = 16 << 20;

/// What a block costs beside its text, so that many empty ones are bounded too.
const BLOCK_BYTES: usize = 128;

/// A run of one kind. Texts are the insides of JSON strings.
#[derive(Debug)]
pub(in super::super) enum Block {
    Thinking(String),
    Text { text: String, logprobs: String },
    Call { id: String, name: String, namespace: String, arguments: String },
}

/// What an answer said, in order.
#[derive(Debug, Default)]
pub(in super::super) struct Collected {
    pub(super) blocks: Vec<Block>,
    bytes: usize,
}

impl Collected {
    pub(super) fn thinking(&mut self, text: &str) -> Result<(), Failure> {
        self.weigh(text.len())?;
        match self.blocks.last_mut() {
            Some(Block::Thinking(so_far)) => so_far.push_str(text),
            _ => {
                self.weigh(BLOCK_BYTES)?;
                self.blocks.push(Block::Thinking(text.to_owned()));
            }
        }
        Ok(())
    }

    pub(super) fn text(&mut self, said: &str, likely: &str) -> Result<(), Failure> {
        self.weigh(said.len() + likely.len() + 1)?;
        match self.blocks.last_mut() {
            Some(Block::Text { text, logprobs }) => {
                text.push_str(said);
                if !logprobs.is_empty() && !likely.is_empty() {
                    logprobs.push(',');
                }
                logprobs.push_str(likely);
            }
            _ => {
                self.weigh(BLOCK_BYTES)?;
                self.blocks.push(Block::Text { text: said.to_owned(), logprobs: likely.to_owned() });
            }
        }
        Ok(())
    }

    pub(super) fn call(&mut self, call: Called<'_>) -> Result<(), Failure> {
        self.weigh(call.id.len() + call.name.len() + call.namespace.len() + BLOCK_BYTES)?;
        let [id, name, namespace] = [call.id, call.name, call.namespace].map(str::to_owned);
        self.blocks.push(Block::Call { id, name, namespace, arguments: String::new() });
        Ok(())
    }

    pub(super) fn arguments(&mut self, text: &str) -> Result<(), Failure> {
        self.weigh(text.len())?;
        if let Some(Block::Call { arguments, .. }) = self.blocks.last_mut() {
            arguments.push_str(text);
        }
        Ok(())
    }

    /// All that was thought.
    pub(super) fn all_thinking(&self) -> String {
        self.blocks
            .iter()
            .filter_map(|block| if let Block::Thinking(text) = block { Some(&**text) } else { None })
            .collect()
    }

    /// All that was said.
    pub(super) fn all_text(&self) -> String {
        self.blocks
            .iter()
            .filter_map(|block| if let Block::Text { text, .. } = block { Some(&**text) } else { None })
            .collect()
    }

    /// The log probabilities of all that was said: elements without brackets.
    pub(super) fn all_logprobs(&self) -> String {
        let lists = self.blocks.iter().filter_map(|block| match block {
            Block::Text { logprobs, .. } if !logprobs.is_empty() => Some(&**logprobs),
            _ => None,
        });
        lists.collect::<Vec<_>>().join(",")
    }

    /// Id, name and arguments of each call.
    pub(super) fn calls(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Call { id, name, arguments, .. } => Some((&**id, &**name, &**arguments)),
            Block::Thinking(_) | Block::Text { .. } => None,
        })
    }

    fn weigh(&mut self, bytes: usize) -> Result<(), Failure> {
        self.bytes += bytes;
        if self.bytes > MOST_BYTES {
            return Err(Failure::new(Cause::BadGateway, "the backend's answer is longer than 16 MiB"));
        }
        Ok(())
    }
}

/// The arguments of a call as the object they should be; nothing if the answer was cut inside them.
pub(super) fn object(name: &str, arguments: &str, finish: Finish) -> Result<Option<String>, Failure> {
    if arguments.is_empty() {
        return Ok(Some("{}".to_owned()));
    }
    let text = unescaped(arguments);
    if is_object(&text) {
        return Ok(Some(text));
    }
    if finish == Finish::Length {
        return Ok(None);
    }
    let name = crate::error_text::shortened(&unescaped(name));
    Err(Failure::new(Cause::BadGateway, format!("the model's arguments for the tool `{name}` are no JSON object")))
}
