//! Reads a request body once, from front to back, and keeps what placement needs to know.

use std::ops::Range;

use proto::Api;

/// A string found in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The string itself, without quotes and escapes.
    pub text: String,
    /// Where its bytes are in the body, quotes included where it has any.
    pub range: Range<usize>,
}

/// What a request body says about placing it.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Scan {
    /// Top-level `model`, or the older `name` where that was asked for and there is no `model`.
    pub model: Option<Text>,
    /// Top-level `stream`, when true or false.
    pub stream: Option<bool>,
    /// The bytes of the value of top-level `keep_alive`.
    pub keep_alive: Option<Range<usize>>,
    /// The bytes of top-level `options`, when an object.
    pub options: Option<Range<usize>>,
    /// `options.num_ctx`, when a number of tokens.
    pub num_ctx: Option<u64>,
    /// The most tokens that the answer may have, in any dialect's word; negative ones count as absent.
    pub max_tokens: Option<u64>,
    /// Top-level `fallback_models`: the first 16.
    pub fallback_models: Vec<String>,
    /// `metadata.tags`: the first 32 strings of at most 128 bytes.
    pub tags: Vec<String>,
    /// Top-level `user`, when of at most 256 bytes.
    pub user: Option<String>,
    /// Bytes of all text that the model will read, without images.
    pub text_bytes: u64,
    /// Images, in any dialect's form.
    pub images: u32,
    /// Elements of `messages`, or of an `input` array.
    pub messages: u32,
    /// Whether there is any non-empty prompt, message or input; without one, Ollama loads or unloads the model.
    pub has_input: bool,
    /// Whether `tools` has an element.
    pub tools: bool,
    /// Whether the answer must have a given form.
    pub structured: bool,
    /// What to remove from the body so that `fallback_models` and `metadata.tags` are gone.
    pub own: Vec<Range<usize>>,
}

/// Why a body is no request.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum BadBody {
    /// There is nothing in it.
    Empty,
    /// It ends in the middle of a value.
    Cut,
    /// It is JSON but no object.
    NotAnObject,
    /// Arrays and objects are nested too deep.
    TooDeep,
    /// It is not JSON.
    Syntax {
        /// The first byte that cannot be.
        at: usize,
    },
    /// It names the model twice, so that a backend could read another one than we do.
    ModelTwice,
    /// A field that decides about placement has a value of another type.
    WrongType {
        /// The field.
        field: &'static str,
        /// The type of its value.
        found: &'static str,
        /// The type it should have.
        expected: &'static str,
    },
}

impl BadBody {
    /// What a client of `api` is told.
    pub fn message(&self, api: Api) -> String {
        format!("{api:?} {self:?}")
    }
}

/// Reads the whole `body`.
pub fn scan(body: &[u8], legacy_name: bool) -> Result<Scan, BadBody> {
    let _ = (body, legacy_name);
    Ok(Scan::default())
}

/// The model, if it can be seen in the beginning of a body, without judging the rest.
pub fn scan_start(start: &[u8]) -> Option<Text> {
    let _ = start;
    None
}
