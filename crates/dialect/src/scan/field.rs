//! The names of the top-level fields that tell something.

use crate::reader::Str;

/// The top-level fields that tell something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Model,
    Name,
    Stream,
    KeepAlive,
    Options,
    MaxTokens,
    FallbackModels,
    Metadata,
    User,
    /// `prompt_cache_key`: the same for all turns of a conversation.
    Session,
    Shift,
    Truncate,
    Store,
    Previous,
    Conversation,
    Background,
    Messages,
    Input,
    Prompt,
    /// Text that the model reads but that asks nothing by itself.
    Context,
    Images,
    Tools,
    ToolChoice,
    Format,
    /// An object whose `format` gives the answer's form.
    FormatInside,
    Other,
}

impl Field {
    /// The field that a key names, without regard to case.
    pub(super) fn of(key: Str<'_>) -> Field {
        if key.shrink > 0 || key.raw.iter().any(u8::is_ascii_uppercase) {
            return Field::named(key.text().to_ascii_lowercase().as_bytes());
        }
        Field::named(key.raw)
    }

    fn named(name: &[u8]) -> Field {
        match name {
            b"model" => Field::Model,
            b"name" => Field::Name,
            b"stream" => Field::Stream,
            b"keep_alive" => Field::KeepAlive,
            b"options" => Field::Options,
            b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens" => Field::MaxTokens,
            b"fallback_models" => Field::FallbackModels,
            b"metadata" => Field::Metadata,
            b"user" => Field::User,
            b"prompt_cache_key" => Field::Session,
            b"shift" => Field::Shift,
            b"truncate" => Field::Truncate,
            b"store" => Field::Store,
            b"previous_response_id" => Field::Previous,
            b"conversation" => Field::Conversation,
            b"background" => Field::Background,
            b"messages" => Field::Messages,
            b"input" => Field::Input,
            b"prompt" => Field::Prompt,
            b"system" | b"instructions" | b"suffix" => Field::Context,
            b"images" => Field::Images,
            b"tools" => Field::Tools,
            b"tool_choice" => Field::ToolChoice,
            b"format" | b"response_format" | b"output_format" => Field::Format,
            b"text" | b"output_config" => Field::FormatInside,
            _ => Field::Other,
        }
    }
}
