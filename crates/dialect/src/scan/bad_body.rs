//! Why a body is no request, in the words that clients know.

use proto::{Api, Dialect};

use crate::reader::MOST_DEPTH;

/// Why a body is no request.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum BadBody {
    /// There is nothing in it.
    Empty,
    /// It ends in the middle of a value.
    Cut,
    /// It begins like JSON but not like an object.
    NotAnObject {
        /// What it is instead, in Go's words: `array`, `string`, `number`, `bool` or `null`.
        found: &'static str,
    },
    /// Arrays and objects are nested more than 512 deep.
    TooDeep,
    /// It is not JSON, or there is more after the object.
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
        /// The type of its value, in Go's words.
        found: &'static str,
        /// The type it should have, in Go's words.
        expected: &'static str,
    },
}

impl BadBody {
    /// What a client of `api` is told: Ollama's own text where it has one (measured on 0.33.0-rc2, November 2026).
    pub fn message(&self, api: Api) -> String {
        match self {
            BadBody::Empty if api.dialect() == Dialect::Ollama => "missing request body".to_owned(),
            BadBody::Empty => "EOF".to_owned(),
            BadBody::Cut => "unexpected EOF".to_owned(),
            BadBody::NotAnObject { found } => {
                format!("json: cannot unmarshal {found} into Go value of type {}", go_type(api))
            }
            BadBody::TooDeep => format!("the request body is nested more than {MOST_DEPTH} deep"),
            BadBody::Syntax { at } => format!("the request body is not valid JSON: byte {at} cannot be there"),
            BadBody::ModelTwice => "the request body names the model twice".to_owned(),
            BadBody::WrongType { field, found, expected } => {
                let qualified = go_type(api);
                let name = qualified.split_once('.').map_or(qualified, |(_, name)| name);
                format!("json: cannot unmarshal {found} into Go struct field {name}.{field} of type {expected}")
            }
        }
    }
}

/// The type that Ollama's decoder reads the body of `api` into.
fn go_type(api: Api) -> &'static str {
    match api {
        Api::OllamaChat => "api.ChatRequest",
        Api::OllamaGenerate => "api.GenerateRequest",
        Api::OllamaEmbed => "api.EmbedRequest",
        Api::OllamaEmbeddings => "api.EmbeddingRequest",
        Api::OllamaShow => "api.ShowRequest",
        Api::ChatCompletions => "openai.ChatCompletionRequest",
        Api::Completions => "openai.CompletionRequest",
        Api::Embeddings => "openai.EmbedRequest",
        Api::Responses => "openai.ResponsesRequest",
        Api::Transcriptions => "openai.TranscriptionRequest",
        Api::Messages => "anthropic.MessagesRequest",
        Api::CountTokens => "anthropic.CountTokensRequest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_read_the_texts_they_know() {
        let number = BadBody::WrongType { field: "model", found: "number", expected: "string" };
        let array = BadBody::NotAnObject { found: "array" };
        for (bad, api, text) in [
            (BadBody::Empty, Api::OllamaChat, "missing request body"),
            (BadBody::Empty, Api::OllamaShow, "missing request body"),
            (BadBody::Empty, Api::Completions, "EOF"),
            (BadBody::Empty, Api::Messages, "EOF"),
            (BadBody::Cut, Api::Completions, "unexpected EOF"),
            (
                number.clone(),
                Api::OllamaChat,
                "json: cannot unmarshal number into Go struct field ChatRequest.model of type string",
            ),
            (
                number,
                Api::Messages,
                "json: cannot unmarshal number into Go struct field MessagesRequest.model of type string",
            ),
            (
                array.clone(),
                Api::OllamaGenerate,
                "json: cannot unmarshal array into Go value of type api.GenerateRequest",
            ),
            (array, Api::Responses, "json: cannot unmarshal array into Go value of type openai.ResponsesRequest"),
        ] {
            assert_eq!(bad.message(api), text);
        }
    }
}
