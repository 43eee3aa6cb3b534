//! Translates a client's request into the call that a backend understands.

mod expect;
pub(crate) mod json;
mod quirks;

use bytes::Bytes;
pub use expect::{Expect, ForcedTool, RenamedTool};
use proto::{Api, BackendKind};
pub use quirks::upstream;

use crate::{Cause, Failure, Note};

/// A request in the backend's words.
#[derive(Clone, Debug)]
pub struct Translated {
    /// The call to make. Usually [`upstream`]'s; a raw prompt of `/api/generate` goes to `/v1/completions` instead.
    pub upstream: Api,
    /// The body to send.
    pub body: Bytes,
    /// What became of fields that the backend does not know, sorted, without doubles, at most 64.
    pub notes: Vec<Note>,
    /// What the answer's translator must know.
    pub expect: Expect,
}

/// A backend, as far as a request for it depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// What kind of program it is.
    pub kind: BackendKind,
    /// The model's name there.
    pub model: &'a str,
    /// Whether the model can think, where known. A wish to think harder is dropped (and named) only if it cannot.
    pub thinks: Option<bool>,
}

/// The `body` of a `client` call in the words of a backend of that `kind`, which calls the model `model_for_backend`.
///
/// Fails with 400 where a field asks for something that such a backend cannot do, naming the field, and where the body is
/// no request. A call for which [`upstream`] says the client's own comes back as it is.
pub fn translate(client: Api, kind: BackendKind, model_for_backend: &str, body: &[u8]) -> Result<Translated, Failure> {
    translate_for(client, Target { kind, model: model_for_backend, thinks: None }, body)
}

/// As [`translate`], for a backend of which more may be known.
pub fn translate_for(client: Api, target: Target<'_>, body: &[u8]) -> Result<Translated, Failure> {
    let _ = (client, target, body);
    Err(Failure::new(Cause::Unsupported, "not translated yet"))
}
