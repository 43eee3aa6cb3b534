//! Translates between the Ollama, OpenAI and Anthropic formats, whole and record by record.
//!
//! Pure: nothing here reads a clock, a socket or a file. What is read comes in as bytes, what should be sent comes out as bytes.

mod answer;
mod canon;
mod edit;
mod error_text;
mod failure;
mod fields;
mod heartbeat;
mod keep_alive;
mod multipart;
mod reader;
mod request;
mod scan;
mod stored;
mod watch;

pub use answer::AnswerTranslator;
pub use canon::Note;
pub use edit::{Edit, Pieces, json_string, splice};
pub use error_text::{error_text, reshape_error};
pub use failure::{Cause, Failure};
pub use fields::fields_markdown;
pub use heartbeat::{heartbeat, stream_content_type};
pub use keep_alive::{keep_alive, unloaded};
pub use multipart::{boundary, multipart_model};
pub use request::{
    Expect, ForcedTool, RenamedTool, Target, Translated, served, translate, translate_for, upstream, way,
};
pub use scan::{BadBody, OptionsAt, Runner, Scan, Storing, Text, fingerprint, scan, scan_responses, scan_start};
pub use stored::{Capture, Page, Turn, deleted, input_items, not_found, previous_not_found};
pub use watch::{End, Seen, Stats, StreamWatch};
