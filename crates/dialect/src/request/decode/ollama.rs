//! Reads `/api/chat` and `/api/generate`.

use super::super::context::Context;
use super::super::json::{Json, Kind, Quoted};
use super::super::object::{Object, bad_request};
use super::link::link;
use super::{media, shared, tools};
use crate::canon::{Effort, Format, Message, Part, Plain, Request, Role, Thinking, ToolResult};
use crate::{Cause, Failure};

/// The chat in `object`.
pub(crate) fn chat<'a>(context: &mut Context<'_>, mut object: Object<'a>) -> Result<Request<'a>, Failure> {
    let mut request = Request::default();
    for each in object.array("messages")?.into_iter().flat_map(|messages| Object::each(messages, "messages[]")) {
        let message = message(context, each?)?;
        request.messages.push(message);
    }
    link(&mut request.messages);
    tools::nested(context, &mut object, &mut request)?;
    request.only_load = request.messages.is_empty();
    common(context, &mut object, &mut request)?;
    context.rest(object)?;
    Ok(request)
}

/// The prompt in `object`: a conversation of one question, unless it is to be continued as it is.
pub(crate) fn generate<'a>(context: &mut Context<'_>, mut object: Object<'a>) -> Result<Request<'a>, Failure> {
    let mut request = Request::default();
    let raw = object.bool("raw")?.unwrap_or(false);
    let system = object.string("system")?.filter(|system| !system.is_empty());
    let asks = |field: &str| object.peek(field).is_some_and(|value| !value.is_nothing());
    if raw && (system.is_some() || asks("template") || asks("context")) {
        return Err(bad_request("raw mode does not support template, system, or context"));
    }
    let suffix = object.string("suffix")?.filter(|suffix| !suffix.is_empty());
    let prompt = object.string("prompt")?.unwrap_or_default();
    let images = images(context, &mut object)?;
    request.only_load = prompt.is_empty() && suffix.is_none() && images.is_empty();
    if let Some(system) = system {
        if suffix.is_some() {
            return Err(context.refusal("system"));
        }
        request.messages.push(shared::says(Role::System, system));
    }
    if !request.only_load {
        let parts = images.into_iter().chain([Part::Text(prompt)]).collect();
        request.messages.push(Message { role: Role::User, parts });
    }
    if raw || suffix.is_some() {
        request.plain = Some(Plain { suffix });
    }
    common(context, &mut object, &mut request)?;
    context.rest(object)?;
    Ok(request)
}

/// Takes what both calls have.
fn common<'a>(context: &mut Context<'_>, object: &mut Object<'a>, request: &mut Request<'a>) -> Result<(), Failure> {
    request.model = object.string("model")?.unwrap_or_default();
    request.stream = object.bool("stream")?.unwrap_or(true);
    request.format = format(object)?;
    request.thinking = think(object)?;
    let top = object.count("top_logprobs")?;
    if object.bool("logprobs")? == Some(true) {
        request.logprobs = Some(u32::try_from(top.unwrap_or(0)).unwrap_or(u32::MAX));
    }
    if let Some(set) = object.object("options")? {
        options(context, set, request)?;
    }
    if let Some(span) = object.take("keep_alive") {
        if request.only_load && is_zero(span) {
            let text = format!("{} cannot be told to unload a model", context.quirks.called);
            return Err(Failure::new(Cause::Unsupported, text));
        }
        context.ignored("keep_alive");
    }
    request.truncate = object.bool("truncate")?;
    Ok(())
}

/// Takes Ollama's options: those that all know, and the rest by name. Nulls are left out, as Ollama does.
pub(crate) fn options<'a>(
    context: &mut Context<'_>,
    mut object: Object<'a>,
    request: &mut Request<'a>,
) -> Result<(), Failure> {
    let sampling = &mut request.sampling;
    for (name, value) in [
        ("temperature", &mut sampling.temperature),
        ("top_p", &mut sampling.top_p),
        ("min_p", &mut sampling.min_p),
        ("presence_penalty", &mut sampling.presence_penalty),
        ("frequency_penalty", &mut sampling.frequency_penalty),
        ("repeat_penalty", &mut sampling.repeat_penalty),
    ] {
        *value = object.number(name)?.or(*value);
    }
    sampling.top_k = object.integer("top_k")?.or(sampling.top_k);
    sampling.seed = object.integer("seed")?.or(sampling.seed);
    if let Some(most) = object.integer("num_predict")? {
        // Below zero means no limit.
        request.max_tokens = u64::try_from(most).ok();
    }
    shared::stop(context, &mut object, "stop", request)?;
    request.options = object.into_members();
    Ok(())
}

fn message<'a>(context: &mut Context<'_>, mut object: Object<'a>) -> Result<Message<'a>, Failure> {
    context.item()?;
    let role = shared::role(&object.string("role")?.unwrap_or_default().text());
    let mut parts = Vec::new();
    if let Some(thinking) = object.string("thinking")?.filter(|thinking| !thinking.is_empty()) {
        parts.push(Part::Thinking(thinking));
    }
    let images = images(context, &mut object)?;
    let text = object.string("content")?.unwrap_or_default();
    if role == Role::Tool {
        let id = object.string("tool_call_id")?.unwrap_or_default();
        let name = object.string("tool_name")?.or(object.string("name")?).filter(|name| !name.is_empty());
        let media = images.into_iter().filter_map(|part| if let Part::Media(one) = part { Some(one) } else { None });
        parts = vec![Part::ToolResult(ToolResult { id, name, text, media: media.collect() })];
    } else {
        // Ollama shows images before the text.
        parts.extend(images);
        parts.push(Part::Text(text));
    }
    for call in object.array("tool_calls")?.into_iter().flat_map(Json::elements) {
        parts.push(Part::ToolCall(tools::call(context, call)?));
    }
    context.rest(object)?;
    Ok(Message { role, parts })
}

fn images<'a>(context: &mut Context<'_>, object: &mut Object<'a>) -> Result<Vec<Part<'a>>, Failure> {
    let mut images = Vec::new();
    for image in object.array("images")?.into_iter().flat_map(Json::elements) {
        context.item()?;
        let base64 = image.string().ok_or_else(|| object.must_be("images", "strings"))?;
        images.push(Part::Media(media::bare(base64)));
    }
    Ok(images)
}

fn format<'a>(object: &mut Object<'a>) -> Result<Format<'a>, Failure> {
    let Some(format) = object.take("format") else { return Ok(Format::Text) };
    match (format.kind(), format.as_str()) {
        (Kind::Object, _) => Ok(Format::Schema { name: None, schema: format, strict: None }),
        (_, "\"\"") => Ok(Format::Text),
        (_, "\"json\"") => Ok(Format::Json),
        _ => Err(object.must_be("format", "\"json\" or a JSON schema")),
    }
}

fn think(object: &mut Object<'_>) -> Result<Thinking, Failure> {
    let Some(think) = object.take("think") else { return Ok(Thinking::Unsaid) };
    if let Some(on) = think.bool() {
        return Ok(if on { Thinking::On } else { Thinking::Off });
    }
    let word = think.string().unwrap_or_default();
    Ok(Thinking::Effort(match &*word.text() {
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "max" => Effort::Max,
        other => {
            let other: String = other.chars().take(64).collect();
            let known = r#""high", "medium", "low", "max", true, or false"#;
            return Err(bad_request(format!("invalid think value: {other:?} (must be {known})")));
        }
    }))
}

/// Whether a span of time is zero, written as a number or as text with a unit.
fn is_zero(span: Json<'_>) -> bool {
    match span.string() {
        Some(text) => {
            let text = text.text();
            text.contains('0')
                && text.bytes().all(|byte| matches!(byte, b'0' | b'.' | b'h' | b'm' | b's' | b'u' | b'n'))
        }
        None => span.number() == Some(0.0),
    }
}

/// An empty conversation's stand-in, for backends that load a model only to answer.
pub(crate) fn nothing() -> Message<'static> {
    shared::says(Role::User, Quoted::default())
}
