//! Reads `/v1/chat/completions`.

use super::super::context::Context;
use super::super::json::{Json, Kind, Quoted};
use super::super::object::{Object, bad_request};
use super::link::link;
use super::{media, ollama, shared, tools};
use crate::Failure;
use crate::canon::{Message, Part, Request, Role, Thinking, ToolResult};

/// The request in `object`.
pub(crate) fn decode<'a>(context: &mut Context<'_>, mut object: Object<'a>) -> Result<Request<'a>, Failure> {
    let mut request = Request { model: object.string("model")?.unwrap_or_default(), ..Request::default() };
    for each in object.array("messages")?.into_iter().flat_map(|messages| Object::each(messages, "messages[]")) {
        let message = message(context, each?)?;
        request.messages.push(message);
    }
    if request.messages.is_empty() {
        return Err(bad_request("[] is too short - 'messages'"));
    }
    link(&mut request.messages);
    shared::sampling(&mut object, &mut request)?;
    shared::stream(context, &mut object, &mut request)?;
    shared::stop(context, &mut object, "stop", &mut request)?;
    shared::only_one(context, &mut object, "n")?;
    shared::reasoning(context, &mut object, &mut request)?;
    tools::nested(context, &mut object, &mut request)?;
    tools::choice(context, &mut object, &mut request)?;
    let max_tokens = object.count("max_tokens")?;
    request.max_tokens = object.count("max_completion_tokens")?.or(max_tokens);
    if let Some(format) = object.object("response_format")? {
        request.format = shared::format(context, format, Some("json_schema"))?;
    }
    let top = object.count("top_logprobs")?;
    if object.bool("logprobs")? == Some(true) {
        request.logprobs = Some(u32::try_from(top.unwrap_or(0)).unwrap_or(u32::MAX));
    }
    if let Some(options) = object.object("options")? {
        ollama::options(context, options, &mut request)?;
    }
    if let Some(mut told) = object.object("chat_template_kwargs")? {
        // What llama-server and vLLM read, and so do clients written for them.
        if let Some(word) = told.string("reasoning_effort")? {
            request.thinking = shared::effort(&word)?;
        }
        match told.bool("enable_thinking")? {
            Some(false) => request.thinking = Thinking::Off,
            Some(true) if request.thinking == Thinking::Unsaid => request.thinking = Thinking::On,
            _ => {}
        }
        context.rest(told)?;
    }
    modalities(context, &mut object)?;
    context.rest(object)?;
    Ok(request)
}

fn modalities(context: &Context<'_>, object: &mut Object<'_>) -> Result<(), Failure> {
    let modalities = object.array("modalities")?;
    match modalities.is_none_or(|all| all.elements().all(|word| word.as_str() == "\"text\"")) {
        true => Ok(()),
        false => Err(context.refusal("modalities")),
    }
}

fn message<'a>(context: &mut Context<'_>, mut object: Object<'a>) -> Result<Message<'a>, Failure> {
    context.item()?;
    let role = shared::role(&object.string("role")?.unwrap_or_default().text());
    let mut parts = Vec::new();
    for field in ["reasoning_content", "reasoning", "thinking"] {
        // Servers differ in the name; clients send back what they got, sometimes twice.
        if let Some(text) = object.string(field)?
            && parts.is_empty()
            && !text.is_empty()
        {
            parts.push(Part::Thinking(text));
        }
    }
    match object.take("content") {
        None => {}
        Some(content) if content.kind() == Kind::Array => {
            for part in Object::each(content, "messages[].content[]") {
                let part = content_part(context, part?)?;
                parts.push(part);
            }
        }
        Some(content) => {
            let text = content.string().ok_or_else(|| object.must_be("content", "a string or parts"))?;
            parts.push(Part::Text(text));
        }
    }
    if role == Role::Tool {
        parts = vec![Part::ToolResult(tool_result(&mut object, parts)?)];
    }
    for call in object.array("tool_calls")?.into_iter().flat_map(Json::elements) {
        parts.push(Part::ToolCall(tools::call(context, call)?));
    }
    context.rest(object)?;
    Ok(Message { role, parts })
}

fn tool_result<'a>(object: &mut Object<'a>, parts: Vec<Part<'a>>) -> Result<ToolResult<'a>, Failure> {
    let (mut texts, mut media) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Text(text) => texts.push(text),
            Part::Media(one) => media.push(one),
            _ => {}
        }
    }
    let id = object.string("tool_call_id")?.unwrap_or_default();
    Ok(ToolResult { id, name: object.string("name")?, text: shared::lines(texts), media })
}

fn content_part<'a>(context: &mut Context<'_>, mut part: Object<'a>) -> Result<Part<'a>, Failure> {
    context.item()?;
    let read = match &*shared::part_type(&mut part)?.text() {
        "text" => Part::Text(part.string("text")?.unwrap_or_default()),
        "refusal" => Part::Text(part.string("refusal")?.unwrap_or_default()),
        "image_url" => Part::Media(media::image_url(context, &mut part)?),
        "input_audio" => Part::Media(media::input_audio(context, &mut part)?),
        _ => return Err(context.refusal("messages[].content[].type")),
    };
    context.rest(part)?;
    Ok(read)
}

/// The prompt that a request's `messages` are, as a user's text.
pub(crate) fn user_text(text: Quoted<'_>) -> Message<'_> {
    shared::says(Role::User, text)
}
