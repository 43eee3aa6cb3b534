//! What clients are told when something goes wrong, in each dialect's own shape.
//!
//! Shapes, types and texts are those of Ollama 0.33.0-rc2, measured in November 2026, and of the OpenAI and Anthropic
//! documents where Ollama has none.

use bytes::Bytes;
use proto::{Api, Dialect};
use serde_json::{Value, json};

use crate::BadBody;

/// The longest model name that is repeated to a client, in characters; the rest is left out.
const LONGEST_NAME: usize = 300;
/// OpenAI's word for a response that cannot be continued because it is not kept.
const PREVIOUS_NOT_FOUND: &str = "previous_response_not_found";

/// What went wrong, as far as a client can tell the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The request makes no sense: 400.
    BadRequest,
    /// No model was named: 400.
    ModelRequired,
    /// Nobody has the model: 404.
    ModelNotFound,
    /// The prompt is longer than any context that can be had: 400.
    ContextLength,
    /// The response that the request continues is not kept: 400.
    PreviousResponseNotFound,
    /// The caller may not do that: 403.
    Forbidden,
    /// The caller did not say who they are: 401.
    Unauthorized,
    /// There is nothing at this path: 404.
    NotFound,
    /// The path does not know this method: 405.
    MethodNotAllowed,
    /// The client took too long to send its request: 408.
    Timeout408,
    /// The body is too large: 413.
    TooLarge,
    /// The body is of a type nobody reads: 415.
    UnsupportedMediaType,
    /// The caller asks too often: 429.
    TooManyRequests,
    /// The request's headers are too large: 431.
    HeadersTooLarge,
    /// Nobody offers what was asked for: 501.
    Unsupported,
    /// All are busy: 503.
    Busy,
    /// Nobody is there: 503.
    Unavailable,
    /// The backend broke off or answered nonsense: 502.
    BadGateway,
    /// The backend did not answer in time: 504.
    GatewayTimeout,
    /// A fault of ours: 500.
    Internal,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 20] = [
        Cause::BadRequest,
        Cause::ModelRequired,
        Cause::ModelNotFound,
        Cause::ContextLength,
        Cause::PreviousResponseNotFound,
        Cause::Forbidden,
        Cause::Unauthorized,
        Cause::NotFound,
        Cause::MethodNotAllowed,
        Cause::Timeout408,
        Cause::TooLarge,
        Cause::UnsupportedMediaType,
        Cause::TooManyRequests,
        Cause::HeadersTooLarge,
        Cause::Unsupported,
        Cause::Busy,
        Cause::Unavailable,
        Cause::BadGateway,
        Cause::GatewayTimeout,
        Cause::Internal,
    ];

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Cause::BadRequest | Cause::ModelRequired | Cause::ContextLength | Cause::PreviousResponseNotFound => 400,
            Cause::Unauthorized => 401,
            Cause::Forbidden => 403,
            Cause::ModelNotFound | Cause::NotFound => 404,
            Cause::MethodNotAllowed => 405,
            Cause::Timeout408 => 408,
            Cause::TooLarge => 413,
            Cause::UnsupportedMediaType => 415,
            Cause::TooManyRequests => 429,
            Cause::HeadersTooLarge => 431,
            Cause::Internal => 500,
            Cause::Unsupported => 501,
            Cause::BadGateway => 502,
            Cause::Busy | Cause::Unavailable => 503,
            Cause::GatewayTimeout => 504,
        }
    }

    /// The word in `error.code` by which OpenAI's clients tell some errors from others of the same status.
    fn code(self) -> Option<&'static str> {
        match self {
            Cause::ModelNotFound => Some("model_not_found"),
            Cause::ContextLength => Some("context_length_exceeded"),
            Cause::PreviousResponseNotFound => Some(PREVIOUS_NOT_FOUND),
            Cause::Unauthorized => Some("invalid_api_key"),
            Cause::TooManyRequests => Some("rate_limit_exceeded"),
            _ => None,
        }
    }
}

/// A refusal or a breakdown, to be said in any dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub cause: Cause,
    /// One sentence for people, which known clients may compare.
    pub message: String,
    /// Seconds after which trying again makes sense.
    pub retry_after_s: Option<u32>,
}

impl Failure {
    /// A failure without advice on when to try again.
    pub fn new(cause: Cause, message: impl Into<String>) -> Failure {
        Failure { cause, message: message.into(), retry_after_s: None }
    }

    /// What a call without a model is answered: some of Ollama's calls look for the model with the empty name instead.
    pub fn model_required(api: Api) -> Failure {
        match api {
            Api::OllamaGenerate | Api::OllamaEmbed | Api::OllamaEmbeddings | Api::Completions | Api::Embeddings => {
                Failure::new(Cause::ModelNotFound, "model '' not found")
            }
            Api::OllamaChat
            | Api::OllamaShow
            | Api::ChatCompletions
            | Api::Responses
            | Api::Messages
            | Api::CountTokens
            | Api::Transcriptions => Failure::new(Cause::ModelRequired, "model is required"),
        }
    }

    /// What a call is answered whose model nobody has.
    pub fn model_not_found(api: Api, model: &str) -> Failure {
        let model = model.char_indices().nth(LONGEST_NAME).map_or(model, |(end, _)| &model[..end]);
        let text = match api {
            Api::OllamaEmbed | Api::OllamaEmbeddings | Api::Embeddings => {
                format!("model {model:?} not found, try pulling it first")
            }
            // This call alone names the tag.
            Api::OllamaShow if !model.rsplit('/').next().is_some_and(|name| name.contains(':')) => {
                format!("model '{model}:latest' not found")
            }
            _ => format!("model '{model}' not found"),
        };
        Failure::new(Cause::ModelNotFound, text)
    }

    /// What a body that cannot be read is answered.
    pub fn from_bad_body(bad: &BadBody, api: Api) -> Failure {
        Failure::new(Cause::BadRequest, bad.message(api))
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.cause.status()
    }

    /// The answer's body.
    pub fn body(&self, dialect: Dialect) -> Bytes {
        error_body(dialect, self.status(), self.cause.code(), &self.message)
    }

    /// The content type of [`body`](Failure::body).
    pub fn content_type(dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Ollama => "application/json; charset=utf-8",
            Dialect::OpenAi | Dialect::Anthropic => "application/json",
        }
    }

    /// The `error.code` of a response that failed.
    ///
    /// OpenAI's list has no word for a prompt that is too long; its own servers say this one, and Codex shortens the
    /// conversation on it.
    pub(crate) fn response_code(&self) -> &'static str {
        match self.cause {
            Cause::ContextLength => "context_length_exceeded",
            Cause::TooManyRequests => "rate_limit_exceeded",
            Cause::BadRequest | Cause::ModelRequired => "invalid_prompt",
            _ => "server_error",
        }
    }

    /// What ends a stream that has begun: the error as a record of the stream, and no sign of a good end.
    ///
    /// `mid_record` says that the stream was cut inside a record; that one is then ended first. The sequence number of a
    /// Responses stream is not known here and said to be 0; [`stream_end_after`](Failure::stream_end_after) takes it.
    pub fn stream_end(&self, api: Api, mid_record: bool) -> Bytes {
        self.stream_end_after(api, mid_record, None)
    }

    /// As [`stream_end`](Failure::stream_end), after the event with the number `sequence` ([`End::sequence`](crate::End)).
    ///
    /// A Responses object made here has id `resp_unknown` and nothing that repeats the request;
    /// [`AnswerTranslator::stream_end`](crate::AnswerTranslator::stream_end) knows better.
    pub fn stream_end_after(&self, api: Api, mid_record: bool, sequence: Option<u64>) -> Bytes {
        let (event, record) = match api {
            Api::Responses => {
                let number = sequence.map_or(0, |last| last.saturating_add(1));
                let record = crate::answer::unknown_failed(number, self.response_code(), &self.message);
                ("event: response.failed\n", Bytes::from(record))
            }
            _ if api.dialect() == Dialect::Anthropic => ("event: error\n", self.body(Dialect::Anthropic)),
            _ => ("", self.body(api.dialect())),
        };
        let is_ndjson = api.dialect() == Dialect::Ollama;
        let line_break = if is_ndjson { "\n" } else { "\n\n" };
        let mut end = Vec::with_capacity(record.len() + 48);
        if mid_record {
            end.extend_from_slice(line_break.as_bytes());
        }
        end.extend_from_slice(event.as_bytes());
        if !is_ndjson {
            end.extend_from_slice(b"data: ");
        }
        end.extend_from_slice(&record);
        end.extend_from_slice(line_break.as_bytes());
        end.into()
    }
}

/// An error of the given HTTP status in the dialect's shape. `code` is for OpenAI's clients.
pub(crate) fn error_body(dialect: Dialect, status: u16, code: Option<&str>, message: &str) -> Bytes {
    let body: Value = match dialect {
        Dialect::Ollama => json!({"error": message}),
        Dialect::OpenAi => {
            let param = (code == Some(PREVIOUS_NOT_FOUND)).then_some("previous_response_id");
            let error = json!({"message": message, "type": openai_type(status), "param": param, "code": code});
            json!({"error": error})
        }
        Dialect::Anthropic => {
            let error = json!({"type": anthropic_type(status), "message": message});
            json!({"type": "error", "error": error, "request_id": null})
        }
    };
    body.to_string().into()
}

fn openai_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_models_are_said_as_each_call_says_it() {
        for (api, status, text) in [
            (Api::OllamaChat, 400, "model is required"),
            (Api::OllamaGenerate, 404, "model '' not found"),
            (Api::OllamaEmbed, 404, "model '' not found"),
            (Api::Completions, 404, "model '' not found"),
            (Api::ChatCompletions, 400, "model is required"),
            (Api::Responses, 400, "model is required"),
            (Api::Messages, 400, "model is required"),
            (Api::OllamaShow, 400, "model is required"),
        ] {
            let failure = Failure::model_required(api);
            assert_eq!((failure.status(), failure.message.as_str()), (status, text), "{api:?}");
        }
        for (api, model, text) in [
            (Api::OllamaChat, "nope", "model 'nope' not found"),
            (Api::OllamaEmbed, "nope", "model \"nope\" not found, try pulling it first"),
            (Api::OllamaShow, "nope", "model 'nope:latest' not found"),
            (Api::OllamaShow, "nope:8b", "model 'nope:8b' not found"),
            (Api::OllamaShow, "host:5000/a/nope", "model 'host:5000/a/nope:latest' not found"),
            (Api::Messages, "nope", "model 'nope' not found"),
        ] {
            assert_eq!(Failure::model_not_found(api, model).message, text, "{api:?}");
        }
        assert!(Failure::model_not_found(Api::OllamaChat, &"x".repeat(1 << 20)).message.len() < 400);
    }

    #[test]
    fn a_stream_ends_in_a_record_of_its_own() {
        let failure = Failure::new(Cause::BadGateway, "broke \"off\"");
        for (api, mid_record, expected) in [
            (Api::OllamaChat, false, "{\"error\":\"broke \\\"off\\\"\"}\n"),
            (Api::OllamaGenerate, true, "\n{\"error\":\"broke \\\"off\\\"\"}\n"),
            (
                Api::ChatCompletions,
                false,
                "data: {\"error\":{\"message\":\"broke \\\"off\\\"\",\"type\":\"api_error\",\"param\":null,\"code\":null}}\n\n",
            ),
            (
                Api::Messages,
                true,
                "\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"broke \\\"off\\\"\"},\"request_id\":null}\n\n",
            ),
        ] {
            assert_eq!(failure.stream_end_after(api, mid_record, Some(7)), expected, "{api:?}");
        }
        let failed = failure.stream_end_after(Api::Responses, true, Some(7));
        let event = failed.strip_prefix(b"\n\nevent: response.failed\ndata: ").unwrap();
        let event: Value = serde_json::from_slice(event).unwrap();
        assert_eq!((&event["sequence_number"], &event["response"]["status"]), (&json!(8), &json!("failed")));
        let error = json!({"code": "server_error", "message": "broke \"off\""});
        assert_eq!((&event["response"]["error"], &event["response"]["output"]), (&error, &json!([])));
    }
}
