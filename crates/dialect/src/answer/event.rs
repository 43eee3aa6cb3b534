//! What an answer says, piece by piece, whatever its dialect.

use crate::Failure;

/// One piece of an answer. Texts are the inside of JSON strings, as they stood in the backend's record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Event<'a> {
    /// The model thinks.
    Thinking(&'a str),
    /// The model says. With it, where asked for: the elements of OpenAI's `logprobs.content`, without brackets.
    Text { text: &'a str, logprobs: &'a str },
    /// A tool call begins; the one before it is complete. The id is empty where the backend gave none.
    Call { id: &'a str, name: &'a str },
    /// More of the arguments of the call that began last.
    Arguments(&'a str),
    /// The model is done.
    Finish(Finish),
    /// The text that ended the answer, where the backend tells it.
    StopText(&'a str),
    /// What was counted so far; what is known takes the place of what was.
    Usage(Usage),
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// It was done, or a stop text came.
    Stop,
    /// The most tokens came.
    Length,
    /// It called tools.
    ToolCalls,
    /// The backend's filter cut it off.
    Filter,
    /// Ollama: the model was only loaded.
    Load,
    /// Ollama: the model was only unloaded.
    Unload,
}

/// Counts and times; what is not known is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub(super) prompt_tokens: Option<u64>,
    /// Of these, tokens that needed no work.
    pub(super) cached_tokens: Option<u64>,
    /// Tokens of the answer, thinking included.
    pub(super) completion_tokens: Option<u64>,
    /// Of these, tokens of thinking.
    pub(super) reasoning_tokens: Option<u64>,
    /// Nanoseconds in all.
    pub(super) total_ns: Option<u64>,
    /// Nanoseconds of loading.
    pub(super) load_ns: Option<u64>,
    /// Nanoseconds of reading the prompt.
    pub(super) prompt_ns: Option<u64>,
    /// Nanoseconds of generating.
    pub(super) eval_ns: Option<u64>,
}

/// Takes events in order.
pub(super) trait Listener {
    /// Takes one; an error ends the answer.
    fn hear(&mut self, event: Event<'_>) -> Result<(), Failure>;
}

/// `known` with all that `newer` knows.
pub(super) fn merged(known: Usage, newer: Usage) -> Usage {
    Usage {
        prompt_tokens: newer.prompt_tokens.or(known.prompt_tokens),
        cached_tokens: newer.cached_tokens.or(known.cached_tokens),
        completion_tokens: newer.completion_tokens.or(known.completion_tokens),
        reasoning_tokens: newer.reasoning_tokens.or(known.reasoning_tokens),
        total_ns: newer.total_ns.or(known.total_ns),
        load_ns: newer.load_ns.or(known.load_ns),
        prompt_ns: newer.prompt_ns.or(known.prompt_ns),
        eval_ns: newer.eval_ns.or(known.eval_ns),
    }
}
