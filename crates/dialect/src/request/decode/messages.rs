//! Reads `/v1/messages`.

use super::super::context::Context;
use super::super::json::{Json, Kind, Quoted};
use super::super::object::{Object, bad_request};
use super::link::link;
use super::{media, shared};
use crate::Failure;
use crate::canon::{Arguments, Media, Message, Part, Request, Role, Thinking, Tool, ToolCall, ToolChoice, ToolResult};

/// The request in `object`.
pub(crate) fn decode<'a>(context: &mut Context<'_>, mut object: Object<'a>) -> Result<Request<'a>, Failure> {
    let max_tokens = object.count("max_tokens")?.filter(|&most| most > 0);
    if max_tokens.is_none() {
        return Err(bad_request("max_tokens is required and must be positive"));
    }
    let mut request = Request { model: object.string("model")?.unwrap_or_default(), max_tokens, ..Request::default() };
    if let Some(text) = system(context, &mut object)? {
        request.messages.push(shared::says(Role::System, text));
    }
    let Some(messages) = object.array("messages")? else { return Err(object.must_be("messages", "given")) };
    for each in Object::each(messages, "messages[]") {
        message(context, each?, &mut request.messages)?;
    }
    link(&mut request.messages);
    request.stream = object.bool("stream")?.unwrap_or(false);
    request.sampling.temperature = object.number("temperature")?;
    request.sampling.top_p = object.number("top_p")?;
    request.sampling.top_k = object.integer("top_k")?;
    shared::stop(context, &mut object, "stop_sequences", &mut request)?;
    tools(context, &mut object, &mut request)?;
    choice(context, &mut object, &mut request)?;
    thinking(context, &mut object, &mut request)?;
    output(context, &mut object, &mut request)?;
    context.rest(object)?;
    Ok(request)
}

fn system<'a>(context: &mut Context<'_>, object: &mut Object<'a>) -> Result<Option<Quoted<'a>>, Failure> {
    let Some(system) = object.take("system") else { return Ok(None) };
    if let Some(text) = system.string() {
        return Ok(Some(text).filter(|text| !text.is_empty()));
    }
    let mut texts = Vec::new();
    for block in Object::each(system, "system[]") {
        context.item()?;
        let mut block = block?;
        if shared::part_type(&mut block)? != *"text" {
            return Err(context.refusal("system[].type"));
        }
        texts.push(block.string("text")?.unwrap_or_default());
        context.rest(block)?;
    }
    if system.kind() != Kind::Array {
        return Err(object.must_be("system", "a string or text blocks"));
    }
    Ok((!texts.is_empty()).then(|| shared::lines(texts)))
}

/// Adds the message in `json`: one, or several where results of tools stand in it.
fn message<'a>(context: &mut Context<'_>, mut object: Object<'a>, into: &mut Vec<Message<'a>>) -> Result<(), Failure> {
    context.item()?;
    let role = shared::role(&object.string("role")?.unwrap_or_default().text());
    let content = object.take("content");
    let mut parts = Vec::new();
    if let Some(text) = content.and_then(Json::string) {
        parts.push(Part::Text(text));
    } else if let Some(content) = content.filter(|content| content.kind() == Kind::Array) {
        for block in Object::each(content, "messages[].content[]") {
            context.item()?;
            match block_part(context, block?)? {
                Some(Part::ToolResult(result)) => {
                    if !parts.is_empty() {
                        into.push(Message { role, parts: std::mem::take(&mut parts) });
                    }
                    into.push(Message { role: Role::Tool, parts: vec![Part::ToolResult(result)] });
                }
                Some(part) => parts.push(part),
                None => {}
            }
        }
    } else {
        return Err(object.must_be("content", "a string or blocks"));
    }
    if !parts.is_empty() {
        into.push(Message { role, parts });
    }
    context.rest(object)
}

/// What a block says; `None` for what no other model can read.
fn block_part<'a>(context: &mut Context<'_>, mut block: Object<'a>) -> Result<Option<Part<'a>>, Failure> {
    let part = match &*shared::part_type(&mut block)?.text() {
        "text" => Part::Text(block.string("text")?.unwrap_or_default()),
        "image" => Part::Media(image(context, &mut block)?),
        "document" => Part::Text(document(context, &mut block)?),
        "thinking" => {
            // A proof that the text is the model's own, for Anthropic's servers alone.
            // It tells Anthropic's own models that they thought this; nobody else can read it.
            if block.take("signature").is_some_and(|signature| !signature.is_nothing()) {
                context.ignored("messages[].content[].signature");
            }
            Part::Thinking(block.string("thinking")?.unwrap_or_default())
        }
        "redacted_thinking" => {
            context.ignored("messages[].content[].redacted_thinking");
            return Ok(None);
        }
        "tool_use" => {
            let name = block.string("name")?.ok_or_else(|| block.must_be("name", "given"))?;
            let input = block.take("input").unwrap_or(Json::EMPTY_OBJECT);
            if input.kind() != Kind::Object {
                return Err(block.must_be("input", "an object"));
            }
            let id = block.string("id")?.unwrap_or_default();
            Part::ToolCall(ToolCall { id, name, arguments: Arguments::Object(input) })
        }
        "tool_result" => Part::ToolResult(tool_result(context, &mut block)?),
        _ => return Err(context.refusal("messages[].content[].type")),
    };
    context.rest(block)?;
    Ok(Some(part))
}

fn image<'a>(context: &mut Context<'_>, block: &mut Object<'a>) -> Result<Media<'a>, Failure> {
    let mut source = block.object("source")?.ok_or_else(|| block.must_be("source", "given"))?;
    if shared::part_type(&mut source)? != *"base64" {
        let field = source.name("type");
        return Err(bad_request(format!("`{field}` must be base64: images are not fetched by address or file")));
    }
    let base64 = source.string("data")?.ok_or_else(|| source.must_be("data", "given"))?;
    let media_type = match source.string("media_type")? {
        Some(told) if is_media_type(&told) => told.text().into_owned().into(),
        _ => media::media_type(&base64).into(),
    };
    context.rest(source)?;
    Ok(Media { media_type, base64 })
}

fn is_media_type(told: &Quoted<'_>) -> bool {
    let told = told.as_quoted();
    told.contains('/') && told.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/+.-".contains(&byte))
}

/// A document that is text, with its title before it.
fn document<'a>(context: &mut Context<'_>, block: &mut Object<'a>) -> Result<Quoted<'a>, Failure> {
    let mut source = block.object("source")?.ok_or_else(|| block.must_be("source", "given"))?;
    if shared::part_type(&mut source)? != *"text" {
        return Err(context.refusal("messages[].content[].source.type"));
    }
    let text = source.string("data")?.unwrap_or_default();
    source.take("media_type");
    context.rest(source)?;
    let heads = [block.string("title")?, block.string("context")?].into_iter().flatten();
    Ok(shared::lines(heads.chain([text])))
}

fn tool_result<'a>(context: &mut Context<'_>, block: &mut Object<'a>) -> Result<ToolResult<'a>, Failure> {
    let id = block.string("tool_use_id")?.unwrap_or_default();
    let (mut texts, mut media) = (Vec::new(), Vec::new());
    if block.bool("is_error")? == Some(true) {
        context.emulated("messages[].content[].is_error");
        texts.push(Quoted::new("Error:"));
    }
    match block.take("content") {
        None => {}
        Some(content) if content.kind() == Kind::Array => {
            for inner in Object::each(content, "messages[].content[]") {
                context.item()?;
                match block_part(context, inner?)? {
                    Some(Part::Text(text)) => texts.push(text),
                    Some(Part::Media(one)) => media.push(one),
                    Some(_) => return Err(context.refusal("messages[].content[].content[].type")),
                    None => {}
                }
            }
        }
        Some(content) => texts.push(content.string().ok_or_else(|| block.must_be("content", "a string or blocks"))?),
    }
    Ok(ToolResult { id, name: None, text: shared::lines(texts), media })
}

fn tools<'a>(context: &mut Context<'_>, object: &mut Object<'a>, request: &mut Request<'a>) -> Result<(), Failure> {
    for json in object.array("tools")?.into_iter().flat_map(Json::elements) {
        context.item()?;
        let mut tool = Object::of(json, "tools[]")?;
        if tool.string("type")?.is_some_and(|kind| kind != *"custom") {
            return Err(context.refusal("tools[].type"));
        }
        let name = tool.string("name")?.ok_or_else(|| tool.must_be("name", "given"))?;
        let parameters = tool.take("input_schema");
        if parameters.is_some_and(|schema| schema.kind() != Kind::Object) {
            return Err(tool.must_be("input_schema", "an object"));
        }
        let description = tool.string("description")?;
        request.tools.push(Tool { name, description, parameters, strict: tool.bool("strict")? });
        context.rest(tool)?;
    }
    Ok(())
}

fn choice<'a>(context: &mut Context<'_>, object: &mut Object<'a>, request: &mut Request<'a>) -> Result<(), Failure> {
    let Some(mut choice) = object.object("tool_choice")? else { return Ok(()) };
    request.tool_choice = match &*shared::part_type(&mut choice)?.text() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.string("name")?.ok_or_else(|| choice.must_be("name", "given"))?),
        _ => return Err(choice.must_be("type", "auto, any, tool or none")),
    };
    request.one_tool_call = choice.bool("disable_parallel_tool_use")?.unwrap_or(false);
    context.rest(choice)
}

fn thinking(context: &mut Context<'_>, object: &mut Object<'_>, request: &mut Request<'_>) -> Result<(), Failure> {
    let Some(mut thinking) = object.object("thinking")? else { return Ok(()) };
    request.thinking = match &*shared::part_type(&mut thinking)?.text() {
        "enabled" | "adaptive" => Thinking::On,
        "disabled" => Thinking::Off,
        _ => return Err(thinking.must_be("type", "enabled, adaptive or disabled")),
    };
    context.rest(thinking)
}

/// Takes `output_config`, and its older form `output_format`.
fn output<'a>(context: &mut Context<'_>, object: &mut Object<'a>, request: &mut Request<'a>) -> Result<(), Failure> {
    let mut format = object.object("output_format")?;
    if let Some(mut config) = object.object("output_config")? {
        if let Some(word) = config.string("effort")? {
            let effort = shared::effort(&word)?;
            // How hard says nothing about whether: that was said.
            if request.thinking != Thinking::Off {
                request.thinking = effort;
            }
        }
        format = config.object("format")?.or(format);
        context.rest(config)?;
    }
    if let Some(format) = format {
        request.format = shared::format(context, format, None)?;
    }
    Ok(())
}
