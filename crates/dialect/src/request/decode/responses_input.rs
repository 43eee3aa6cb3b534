//! Reads the items of a `/v1/responses` input.

use super::super::context::Context;
use super::super::json::{Json, Kind, Quoted};
use super::super::object::{Object, bad_request};
use super::{media, shared, tools};
use crate::Failure;
use crate::canon::{Arguments, Media, Message, Part, Role, ToolCall, ToolResult};

/// Adds what `input` says to `messages`: a text, or items. Thinking, text and calls of the model that follow each other
/// become one message, as templates expect a turn.
pub(super) fn decode<'a>(
    context: &mut Context<'_>,
    input: Json<'a>,
    messages: &mut Vec<Message<'a>>,
) -> Result<(), Failure> {
    if let Some(text) = input.string() {
        messages.push(shared::says(Role::User, text));
        return Ok(());
    }
    if input.kind() != Kind::Array {
        return Err(bad_request("`input` must be a string or items"));
    }
    for item in Object::each(input, "input[]") {
        context.item()?;
        let Some(message) = message_of(context, item?)? else { continue };
        match messages.last_mut() {
            // Instructions too: many templates take a system message only at the very beginning.
            Some(last) if last.role == message.role && matches!(last.role, Role::Assistant | Role::System) => {
                last.parts.extend(message.parts);
            }
            _ => messages.push(message),
        }
    }
    Ok(())
}

/// What an item says; `None` for what only OpenAI's servers can read.
fn message_of<'a>(context: &mut Context<'_>, mut item: Object<'a>) -> Result<Option<Message<'a>>, Failure> {
    let kind = item.string("type")?;
    // Names for the item itself, which the model is never told.
    for own in ["id", "status", "phase", "created_by"] {
        item.take(own);
    }
    let message = match kind.as_ref().map(Quoted::text).as_deref() {
        None | Some("message") => Some(message(context, &mut item)?),
        Some("reasoning") => reasoning(&mut item)?,
        Some("function_call") => Some(call(context, &mut item)?),
        Some("function_call_output") => Some(result(context, &mut item)?),
        // What a search of OpenAI's found is not in it.
        Some("web_search_call") => {
            context.ignored("input[].web_search_call");
            return Ok(None);
        }
        Some(_) => return Err(context.refusal("input[].type")),
    };
    context.rest(item)?;
    Ok(message)
}

fn message<'a>(context: &mut Context<'_>, item: &mut Object<'a>) -> Result<Message<'a>, Failure> {
    let role = shared::role(&item.string("role")?.unwrap_or_default().text());
    let Some(content) = item.take("content") else { return Err(item.must_be("content", "given")) };
    let mut parts = Vec::new();
    if let Some(text) = content.string() {
        parts.push(Part::Text(text));
    } else {
        for part in Object::each(content, "input[].content[]") {
            parts.push(content_part(context, part?)?);
        }
    }
    Ok(Message { role, parts })
}

fn content_part<'a>(context: &mut Context<'_>, mut part: Object<'a>) -> Result<Part<'a>, Failure> {
    context.item()?;
    let read = match &*shared::part_type(&mut part)?.text() {
        "input_text" | "output_text" | "text" => Part::Text(part.string("text")?.unwrap_or_default()),
        "refusal" => Part::Text(part.string("refusal")?.unwrap_or_default()),
        "input_image" if !part.has("file_id") => Part::Media(media::image_url(context, &mut part)?),
        "input_audio" => Part::Media(media::input_audio(context, &mut part)?),
        _ => return Err(context.refusal("input[].content[].type")),
    };
    context.rest(part)?;
    Ok(read)
}

/// Earlier thinking: its text, else its summary, else what stands where OpenAI puts it sealed (Ollama puts it there plain).
fn reasoning<'a>(item: &mut Object<'a>) -> Result<Option<Message<'a>>, Failure> {
    let sealed = item.string("encrypted_content")?;
    let mut texts = |field: &str| {
        let parts = item.take(field).into_iter().flat_map(Json::elements);
        let texts: Vec<_> = parts.filter_map(|part| part.get("text").and_then(Json::string)).collect();
        (!texts.is_empty()).then(|| shared::lines(texts))
    };
    let (content, summary) = (texts("content"), texts("summary"));
    let text = content.or(summary).or(sealed).filter(|text| !text.is_empty());
    Ok(text.map(|text| Message { role: Role::Assistant, parts: vec![Part::Thinking(text)] }))
}

fn call<'a>(context: &mut Context<'_>, item: &mut Object<'a>) -> Result<Message<'a>, Failure> {
    let id = item.string("call_id")?.unwrap_or_default();
    let mut name = item.string("name")?.ok_or_else(|| item.must_be("name", "given"))?;
    if let Some(namespace) = item.string("namespace")? {
        name = tools::in_namespace(context, &namespace, &name)?;
    }
    let arguments = item.string("arguments")?.map_or(Arguments::Object(Json::EMPTY_OBJECT), Arguments::Text);
    Ok(Message { role: Role::Assistant, parts: vec![Part::ToolCall(ToolCall { id, name, arguments })] })
}

fn result<'a>(context: &mut Context<'_>, item: &mut Object<'a>) -> Result<Message<'a>, Failure> {
    let id = item.string("call_id")?.unwrap_or_default();
    let (mut texts, mut media): (Vec<Quoted<'a>>, Vec<Media<'a>>) = (Vec::new(), Vec::new());
    match item.take("output") {
        None => {}
        Some(output) if output.kind() == Kind::Array => {
            for part in Object::each(output, "input[].output[]") {
                match content_part(context, part?)? {
                    Part::Text(text) => texts.push(text),
                    Part::Media(one) => media.push(one),
                    _ => return Err(context.refusal("input[].output[].type")),
                }
            }
        }
        Some(output) => texts.push(output.string().ok_or_else(|| item.must_be("output", "a string or parts"))?),
    }
    let result = ToolResult { id, name: None, text: shared::lines(texts), media };
    Ok(Message { role: Role::Tool, parts: vec![Part::ToolResult(result)] })
}
