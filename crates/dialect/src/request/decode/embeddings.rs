//! Reads `/api/embed`, `/api/embeddings` and `/v1/embeddings`.

use super::super::context::Context;
use super::super::json::{Json, Kind, Quoted};
use super::super::object::Object;
use crate::Failure;
use proto::Api;

/// Texts that are to become vectors.
#[derive(Debug)]
pub(crate) struct Embed<'a> {
    /// The model, as the client wrote it.
    pub(crate) model: Quoted<'a>,
    /// A string, or an array of strings.
    pub(crate) input: Json<'a>,
    /// Numbers of each vector.
    pub(crate) dimensions: Option<u32>,
    /// Whether a text that is too long may be cut, where the client says.
    pub(crate) truncate: Option<bool>,
    /// Whether the client reads vectors as base64.
    pub(crate) base64: bool,
}

/// The request in `object`.
pub(crate) fn decode<'a>(context: &mut Context<'_>, mut object: Object<'a>) -> Result<Embed<'a>, Failure> {
    let legacy = context.client == Api::OllamaEmbeddings;
    let field = if legacy { "prompt" } else { "input" };
    let input = object.take(field).unwrap_or(Json::EMPTY_STRING);
    let is_text = |json: Json<'_>| json.kind() == Kind::String;
    if !is_text(input) && (legacy || input.kind() != Kind::Array || !input.elements().all(is_text)) {
        return Err(object.must_be(field, if legacy { "a string" } else { "a string or strings" }));
    }
    let dimensions = object.count("dimensions")?.filter(|&count| count > 0);
    let base64 = match object.string("encoding_format")?.as_ref().map(Quoted::text).as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(object.must_be("encoding_format", "float or base64")),
    };
    let embed = Embed {
        model: object.string("model")?.unwrap_or_default(),
        input,
        dimensions: dimensions.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        truncate: object.bool("truncate")?,
        base64,
    };
    context.rest(object)?;
    Ok(embed)
}
