//! Reads a request body once, from front to back, and keeps what placement needs to know.
//!
//! No tree is built: memory does not grow with the body, except for the strings that are kept, each bounded where it is documented.

mod bad_body;
mod emulate;
mod field;
mod fingerprint;
mod own;
mod prompt;
mod runner;
mod storing;
mod values;

use std::ops::Range;

pub use bad_body::BadBody;
use field::Field;
pub use fingerprint::fingerprint;
use own::Cuts;
use prompt::{Prompt, measured};
pub use runner::Runner;
pub use storing::Storing;
pub(crate) use values::machine_option;
use values::{Form, form, metadata, number, options, strings};

use crate::reader::{Fault, Member, Reader};

/// The most names of `fallback_models` that are kept; more are cut out of the body and forgotten.
const MOST_FALLBACKS: usize = 16;
/// The longest `user` that is kept, in bytes.
const LONGEST_USER: u64 = 256;

/// A string found in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The string itself, without quotes and escapes.
    pub text: String,
    /// Where its bytes are in the body, quotes included where it has any.
    pub range: Range<usize>,
}

/// What a request body says about placing it.
///
/// Names of top-level fields are compared without regard to case, as Go's decoder does. Of a field that is given twice the
/// last one counts, except for the model, which may be given once.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Scan {
    /// Where the object begins.
    pub start: Option<usize>,
    /// Top-level `model`, or the older `name` where that was asked for and there is no `model` or an empty one.
    pub model: Option<Text>,
    /// Top-level `stream`, when true or false.
    pub stream: Option<bool>,
    /// The bytes of the value of top-level `keep_alive`.
    pub keep_alive: Option<Range<usize>>,
    /// Whether that is more than `null`.
    pub keep_alive_is_said: bool,
    /// Where things stand in top-level `options`.
    pub options: OptionsAt,
    /// The bytes of the value of top-level `shift`, when `false`: Ollama loads the model again for it.
    pub shift: Option<Range<usize>>,
    /// Top-level `truncate`, when true or false.
    pub truncate: Option<bool>,
    /// `options.num_ctx` in tokens, fractions cut off; a negative one counts as absent.
    pub num_ctx: Option<u64>,
    /// The most tokens that the answer may have: the largest of `max_tokens`, `max_completion_tokens`, `max_output_tokens`
    /// and `options.num_predict`. Negative ones, which mean no limit, count as absent.
    pub max_tokens: Option<u64>,
    /// Top-level `fallback_models`: the first 16 strings.
    pub fallback_models: Vec<String>,
    /// `metadata.tags`, when an array: the first 32 strings of at most 128 bytes.
    pub tags: Vec<String>,
    /// Top-level `user`, when of at most 256 bytes.
    pub user: Option<String>,
    /// What stays the same over the turns of one conversation, as a [`fingerprint()`]: `prompt_cache_key`, or else
    /// `metadata.user_id`.
    pub session: Option<u64>,
    /// A [`fingerprint()`] of what stands before the model's first word: the instructions and everything up to the first
    /// message of the user; the same for all turns of a conversation. `None` where there is no prompt.
    pub opening: Option<u64>,
    /// Bytes of all strings that the model will read (under `messages`, `prompt`, `input`, `system`, `instructions` and
    /// `suffix`), escapes undone, without images, sound and files in base64; and of `tools` as they are written.
    pub text_bytes: u64,
    /// Images: elements of Ollama's `images`, OpenAI's `image_url` and `input_image` parts, Anthropic's `image` blocks.
    pub images: u32,
    /// Elements of `messages`, or of an `input` array.
    pub messages: u32,
    /// Whether there is any non-empty prompt, message or input; without one, Ollama loads or unloads the model.
    pub has_input: bool,
    /// Whether `tools` has an element.
    pub tools: bool,
    /// Whether the answer must have a given form: `format`, `response_format`, `text.format`, `output_config.format` or
    /// `output_format` is given and neither null, empty nor of the type `text`.
    pub structured: bool,
    /// The bytes of the value of `format` or `response_format`, where it asks for any JSON.
    pub any_json: Option<Range<usize>>,
    /// The bytes of the value of `tools`, when a list.
    pub tools_at: Option<Range<usize>>,
    /// The bytes of the value of `tool_choice`, when an object.
    pub tool_choice: Option<Range<usize>>,
    /// What to cut out of the body so that `fallback_models` and `metadata.tags`, when arrays, are gone, and all of
    /// `metadata` when nothing else is in it; with [`scan_responses`] also `store` and `previous_response_id`. In order,
    /// without overlaps, commas included.
    pub own: Vec<Range<usize>>,
    /// What a Responses request says of stored answers; only [`scan_responses`] reads it.
    pub storing: Storing,
}

/// Where things stand in `options`, so that what Ollama would load a model again for can be written over.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OptionsAt {
    /// Whether there are `options` of any type.
    pub is_given: bool,
    /// Where they begin, when an object.
    pub object: Option<usize>,
    /// Whether that object has no members.
    pub is_empty: bool,
    /// The bytes of the value, when `null`.
    pub null: Option<Range<usize>>,
    /// The bytes of the value of `num_ctx`.
    pub num_ctx: Option<Range<usize>>,
    /// What to cut out so that there is no `num_ctx`, commas included.
    pub num_ctx_cut: Vec<Range<usize>>,
    /// Options that describe a machine, with the bytes of their values, unless `null`; at most eight.
    pub machine: Vec<(&'static str, Range<usize>)>,
}

/// Reads the whole `body`. With `legacy_name`, the model may be called `name`, as in Ollama's older management calls.
pub fn scan(body: &[u8], legacy_name: bool) -> Result<Scan, BadBody> {
    scanned(body, legacy_name, false)
}

/// As [`scan`], for `/v1/responses`: says also what is to be stored, which is the door's business and no backend's.
pub fn scan_responses(body: &[u8]) -> Result<Scan, BadBody> {
    scanned(body, false, true)
}

fn scanned(body: &[u8], legacy_name: bool, stores: bool) -> Result<Scan, BadBody> {
    let mut reader = Reader::new(body);
    reader.skip_space();
    match reader.peek() {
        None => return Err(BadBody::Empty),
        Some(b'{') => {}
        Some(_) => {
            let found = go_kind(&reader);
            reader.value(0)?;
            return Err(BadBody::NotAnObject { found });
        }
    }
    let mut scanning = Scanning { stores, ..Scanning::default() };
    scanning.scan.start = Some(reader.at());
    reader.enter();
    let mut cuts = Cuts::default();
    let mut first = true;
    while let Some(member) = reader.next_member(&mut first)? {
        let mut inner = Vec::new();
        if scanning.field(member, &mut reader, &mut inner)? {
            cuts.keep(member.start, reader.at(), &mut scanning.scan.own);
            scanning.scan.own.append(&mut inner);
        } else {
            cuts.cut(member.start, reader.at());
        }
    }
    reader.end()?;
    cuts.finish(&mut scanning.scan.own);
    let Scanning { mut scan, name, bad_name, .. } = scanning;
    if legacy_name && scan.model.as_ref().is_none_or(|model| model.text.is_empty()) {
        if let Some(bad) = bad_name {
            return Err(bad);
        }
        scan.model = name.or(scan.model);
    }
    Ok(scan)
}

/// The top-level model of a body of which only the beginning is here: `None` if it was not seen yet, or if what is there is
/// no JSON. The rest is not judged; it may name the model again.
pub fn scan_start(start: &[u8]) -> Option<Text> {
    let mut reader = Reader::new(start);
    reader.skip_space();
    if reader.peek() != Some(b'{') {
        return None;
    }
    reader.enter();
    let mut first = true;
    while let Ok(Some(member)) = reader.next_member(&mut first) {
        if Field::of(member.key) == Field::Model && reader.peek() == Some(b'"') {
            return text(&mut reader).ok();
        }
        reader.value(1).ok()?;
    }
    None
}

#[derive(Default)]
struct Scanning {
    scan: Scan,
    model_seen: bool,
    name: Option<Text>,
    name_seen: bool,
    bad_name: Option<BadBody>,
    /// Whether what is said of stored answers is to be read.
    stores: bool,
}

impl Scanning {
    /// Reads the value of `member`. Returns whether the member stays in the body; `inner` gets what is cut out of its value.
    fn field(
        &mut self,
        member: Member<'_>,
        reader: &mut Reader<'_>,
        inner: &mut Vec<Range<usize>>,
    ) -> Result<bool, BadBody> {
        let scan = &mut self.scan;
        match Field::of(member.key) {
            Field::Model => {
                if std::mem::replace(&mut self.model_seen, true) {
                    return Err(BadBody::ModelTwice);
                }
                scan.model = model(reader, "model")?;
            }
            Field::Name => {
                // What is wrong with it matters only where it is the model, which is known at the end.
                let again = std::mem::replace(&mut self.name_seen, true);
                match model(reader, "name") {
                    Ok(name) => self.name = name,
                    Err(wrong @ BadBody::WrongType { .. }) => self.bad_name = Some(wrong),
                    Err(bad) => return Err(bad),
                }
                if again {
                    self.bad_name = Some(BadBody::ModelTwice);
                }
            }
            Field::Stream => {
                let first = reader.peek();
                reader.value(1)?;
                scan.stream = match first {
                    Some(b't') => Some(true),
                    Some(b'f') => Some(false),
                    _ => scan.stream,
                };
            }
            Field::KeepAlive => {
                scan.keep_alive_is_said = reader.peek() != Some(b'n');
                scan.keep_alive = Some(reader.value(1)?);
            }
            Field::Options => options(reader, scan)?,
            Field::MaxTokens => {
                let limit = number(reader)?;
                scan.max_tokens = scan.max_tokens.max(limit);
            }
            Field::FallbackModels => {
                let array = reader.peek() == Some(b'[');
                strings(reader, 2, MOST_FALLBACKS, u64::MAX, &mut scan.fallback_models)?;
                return Ok(!array);
            }
            Field::Metadata => return Ok(metadata(reader, scan, inner)?),
            Field::Session => {
                if reader.peek() == Some(b'"') {
                    scan.session = Some(fingerprint(0, reader.string()?.raw));
                } else {
                    reader.value(1)?;
                }
            }
            Field::Shift => {
                let is_false = reader.peek() == Some(b'f');
                let value = reader.value(1)?;
                scan.shift = is_false.then_some(value);
            }
            Field::Truncate => {
                let first = reader.peek();
                reader.value(1)?;
                scan.truncate = match first {
                    Some(b't') => Some(true),
                    Some(b'f') => Some(false),
                    _ => scan.truncate,
                };
            }
            Field::User => {
                if reader.peek() == Some(b'"') {
                    let user = reader.string()?;
                    scan.user = (user.len() <= LONGEST_USER).then(|| user.text().into_owned());
                } else {
                    reader.value(1)?;
                }
            }
            field @ (Field::Store | Field::Previous | Field::Conversation | Field::Background) => {
                if self.stores {
                    return storing::read(field, reader, &mut scan.storing);
                }
                reader.value(1)?;
            }
            field @ (Field::Messages | Field::Input | Field::Prompt | Field::Context | Field::Images) => {
                let start = reader.at();
                let prompt = measured(reader, field == Field::Images)?;
                add(scan, field, &prompt);
                if self.stores && field == Field::Input {
                    scan.storing.input = Some(start..reader.at());
                }
            }
            Field::Tools => {
                if reader.peek() != Some(b'[') {
                    reader.value(1)?;
                    return Ok(true);
                }
                let start = reader.at();
                reader.enter();
                let mut first = true;
                while reader.next_element(&mut first)? {
                    reader.value(2)?;
                }
                scan.tools = !first;
                // Templates write tools out much as they came.
                scan.text_bytes += (reader.at() - start) as u64;
                scan.tools_at = Some(start..reader.at());
            }
            Field::ToolChoice => {
                let is_object = reader.peek() == Some(b'{');
                let value = reader.value(1)?;
                scan.tool_choice = is_object.then_some(value);
            }
            Field::Format => {
                let start = reader.at();
                let form = form(reader, 1)?;
                scan.structured |= form != Form::Free;
                scan.any_json = (form == Form::AnyJson).then(|| start..reader.at());
            }
            Field::FormatInside => {
                if reader.peek() != Some(b'{') {
                    reader.value(1)?;
                    return Ok(true);
                }
                reader.enter();
                let mut first = true;
                while let Some(member) = reader.next_member(&mut first)? {
                    if member.key.text() == "format" {
                        scan.structured |= form(reader, 2)? != Form::Free;
                    } else {
                        reader.value(2)?;
                    }
                }
            }
            Field::Other => {
                reader.value(1)?;
            }
        }
        Ok(true)
    }
}

/// Adds what was measured under `field` to the whole.
fn add(scan: &mut Scan, field: Field, prompt: &Prompt) {
    scan.text_bytes += prompt.text_bytes;
    if let Some(opening) = prompt.opening {
        // Independent of which field comes first.
        scan.opening = Some(scan.opening.unwrap_or(0) ^ fingerprint(field as u64 + 1, &opening.to_le_bytes()));
    }
    scan.images = scan.images.saturating_add(prompt.images);
    if matches!(field, Field::Messages | Field::Input) {
        scan.messages = scan.messages.saturating_add(prompt.elements);
    }
    if matches!(field, Field::Messages | Field::Input | Field::Prompt) {
        scan.has_input |= prompt.filled;
    }
}

fn model(reader: &mut Reader<'_>, field: &'static str) -> Result<Option<Text>, BadBody> {
    match reader.peek() {
        Some(b'"') => Ok(Some(text(reader)?)),
        // Go leaves a field as it is when the value is null.
        Some(b'n') => {
            reader.value(1)?;
            Ok(None)
        }
        _ => {
            let found = go_kind(reader);
            reader.value(1)?;
            Err(BadBody::WrongType { field, found, expected: "string" })
        }
    }
}

/// The string that was peeked, with its place.
fn text(reader: &mut Reader<'_>) -> Result<Text, Fault> {
    let start = reader.at();
    let string = reader.string()?;
    Ok(Text { text: string.text().into_owned(), range: start..reader.at() })
}

/// What the next value is, in Go's words.
fn go_kind(reader: &Reader<'_>) -> &'static str {
    match reader.peek() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        Some(b'n') => "null",
        _ => "number",
    }
}
