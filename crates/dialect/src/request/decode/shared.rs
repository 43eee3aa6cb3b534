//! What OpenAI's calls have in common.

use super::super::context::Context;
use super::super::json::{Kind, Quoted};
use super::super::object::{Object, bad_request};
use crate::Failure;
use crate::canon::{Effort, Format, Message, Part, Request, Role, Thinking};

/// Takes the fields that say how tokens are chosen, with those that llama-server and vLLM have beyond OpenAI's.
pub(super) fn sampling<'a>(object: &mut Object<'a>, request: &mut Request<'a>) -> Result<(), Failure> {
    let sampling = &mut request.sampling;
    sampling.temperature = object.number("temperature")?;
    sampling.top_p = object.number("top_p")?;
    sampling.presence_penalty = object.number("presence_penalty")?;
    sampling.frequency_penalty = object.number("frequency_penalty")?;
    sampling.seed = object.integer("seed")?;
    sampling.top_k = object.integer("top_k")?;
    sampling.min_p = object.number("min_p")?;
    sampling.repeat_penalty = object.number("repeat_penalty")?;
    if let Some(penalty) = object.number("repetition_penalty")? {
        sampling.repeat_penalty = Some(penalty);
    }
    Ok(())
}

/// Takes `stream` and `stream_options`.
pub(super) fn stream<'a>(
    context: &mut Context<'_>,
    object: &mut Object<'a>,
    request: &mut Request<'a>,
) -> Result<(), Failure> {
    request.stream = object.bool("stream")?.unwrap_or(false);
    if let Some(mut options) = object.object("stream_options")? {
        request.include_usage = options.bool("include_usage")?.unwrap_or(false);
        context.rest(options)?;
    }
    Ok(())
}

/// Takes the texts that end an answer: one, or several.
pub(super) fn stop<'a>(
    context: &mut Context<'_>,
    object: &mut Object<'a>,
    name: &str,
    request: &mut Request<'a>,
) -> Result<(), Failure> {
    let Some(stop) = object.take(name) else { return Ok(()) };
    let is_one = stop.kind() == Kind::String;
    for text in stop.string().into_iter().map(Ok).chain(
        stop.elements().map(|element| element.string().ok_or_else(|| object.must_be(name, "a string or strings"))),
    ) {
        context.item()?;
        request.stop.push(text?);
    }
    if !is_one && stop.kind() != Kind::Array {
        return Err(object.must_be(name, "a string or strings"));
    }
    Ok(())
}

/// Takes a field that asks for several answers: only one can be had.
pub(super) fn only_one(context: &Context<'_>, object: &mut Object<'_>, name: &str) -> Result<(), Failure> {
    match object.count(name)? {
        None | Some(1) => Ok(()),
        Some(_) => {
            Err(bad_request(format!("`{}` above 1 is not supported with {}", object.name(name), context.quirks.called)))
        }
    }
}

/// The degree of thinking that a word of OpenAI's or Anthropic's says.
pub(super) fn effort(word: &Quoted<'_>) -> Result<Thinking, Failure> {
    Ok(match &*word.text() {
        "none" => Thinking::Off,
        "minimal" => Thinking::Effort(Effort::Minimal),
        "low" => Thinking::Effort(Effort::Low),
        "medium" => Thinking::Effort(Effort::Medium),
        "high" => Thinking::Effort(Effort::High),
        "xhigh" | "max" | "ultra" => Thinking::Effort(Effort::Max),
        other => {
            let other: String = other.chars().take(64).collect();
            let known = "\"none\", \"minimal\", \"low\", \"medium\", \"high\", \"xhigh\", or \"max\"";
            return Err(bad_request(format!("invalid reasoning value: {other:?} (must be {known})")));
        }
    })
}

/// Takes `reasoning_effort`, or `reasoning` with `effort` in it.
pub(super) fn reasoning<'a>(
    context: &mut Context<'_>,
    object: &mut Object<'a>,
    request: &mut Request<'a>,
) -> Result<(), Failure> {
    if let Some(mut reasoning) = object.object("reasoning")? {
        if let Some(word) = reasoning.string("effort")? {
            request.thinking = effort(&word)?;
        }
        context.rest(reasoning)?;
    }
    if let Some(word) = object.string("reasoning_effort")? {
        request.thinking = effort(&word)?;
    }
    Ok(())
}

/// Takes the form of an answer: `type` and the rest in one object, the schema perhaps one object deeper (`inside`).
pub(super) fn format<'a>(
    context: &mut Context<'_>,
    mut format: Object<'a>,
    inside: Option<&str>,
) -> Result<Format<'a>, Failure> {
    let Some(kind) = format.string("type")? else { return Err(format.must_be("type", "given")) };
    let found = match &*kind.text() {
        "text" => Format::Text,
        "json_object" => Format::Json,
        "json_schema" => {
            let mut about = match inside {
                None => None,
                Some(name) => match format.object(name)? {
                    Some(inner) => Some(inner),
                    None => return Err(format.must_be(name, "given")),
                },
            };
            let about = about.as_mut().unwrap_or(&mut format);
            let schema = about.take("schema").filter(|schema| schema.kind() == Kind::Object);
            let Some(schema) = schema else { return Err(about.must_be("schema", "an object")) };
            // For people; no model is shown it by any of the backends.
            about.take("description");
            Format::Schema { name: about.string("name")?, schema, strict: about.bool("strict")? }
        }
        _ => return Err(context.refusal(&format.name("type"))),
    };
    context.rest(format)?;
    Ok(found)
}

/// The role of that name; unknown ones are the user's, as for Ollama's templates.
pub(super) fn role(word: &str) -> Role {
    match word.to_ascii_lowercase().as_str() {
        "system" | "developer" => Role::System,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => Role::User,
    }
}

/// A message that says `text`.
pub(super) fn says<'a>(role: Role, text: Quoted<'a>) -> Message<'a> {
    Message { role, parts: vec![Part::Text(text)] }
}

/// Several texts as one, each on its own line.
pub(super) fn lines<'a>(texts: impl IntoIterator<Item = Quoted<'a>>) -> Quoted<'a> {
    let mut texts = texts.into_iter();
    let mut all = texts.next().unwrap_or_default();
    for text in texts {
        all.join("\n", &text);
    }
    all
}

/// The type of a part of a message's content.
pub(super) fn part_type<'a>(part: &mut Object<'a>) -> Result<Quoted<'a>, Failure> {
    part.string("type")?.ok_or_else(|| part.must_be("type", "given"))
}
