//! Reads `/v1/responses`.

use super::super::context::Context;
use super::super::json::Json;
use super::super::object::Object;
use super::super::writer::Writer;
use super::link::link;
use super::{responses_input, shared, tools};
use crate::Failure;
use crate::canon::{Request, Role};

/// The request in `object`, and the members of the answer that repeat it.
pub(crate) fn decode<'a>(context: &mut Context<'_>, mut object: Object<'a>) -> Result<(Request<'a>, String), Failure> {
    let members = repeated(&object);
    let mut request = Request { model: object.string("model")?.unwrap_or_default(), ..Request::default() };
    // The door has put what was said before in front of the input, and keeps the answer.
    if object.string("previous_response_id")?.is_some() {
        context.emulated("previous_response_id");
    }
    object.bool("store")?;
    if let Some(text) = object.string("instructions")?.filter(|text| !text.is_empty()) {
        request.messages.push(shared::says(Role::System, text));
    }
    let Some(input) = object.take("input") else { return Err(object.must_be("input", "given")) };
    responses_input::decode(context, input, &mut request.messages)?;
    link(&mut request.messages);
    shared::stream(context, &mut object, &mut request)?;
    request.sampling.temperature = object.number("temperature")?;
    request.sampling.top_p = object.number("top_p")?;
    request.max_tokens = object.count("max_output_tokens")?;
    shared::reasoning(context, &mut object, &mut request)?;
    if let Some(list) = object.array("tools")? {
        tools::flat(context, list, None, &mut request)?;
    }
    tools::choice(context, &mut object, &mut request)?;
    if let Some(mut text) = object.object("text")? {
        if let Some(format) = text.object("format")? {
            request.format = shared::format(context, format, None)?;
        }
        context.rest(text)?;
    }
    if let Some(word) = object.string("truncation")? {
        request.truncate = Some(match &*word.text() {
            "auto" => true,
            "disabled" => false,
            _ => return Err(object.must_be("truncation", "auto or disabled")),
        });
    }
    context.rest(object)?;
    Ok((request, members))
}

/// The members of a response object that repeat the request, with OpenAI's defaults for what it does not say.
fn repeated(object: &Object<'_>) -> String {
    let mut out = Writer::with_capacity(512);
    for (name, default) in [
        ("background", "false"),
        ("instructions", "null"),
        ("max_output_tokens", "null"),
        ("max_tool_calls", "null"),
        ("metadata", "{}"),
        ("parallel_tool_calls", "true"),
        ("previous_response_id", "null"),
        ("prompt_cache_key", "null"),
        ("safety_identifier", "null"),
        ("store", "true"),
        ("temperature", "1.0"),
        ("tool_choice", "\"auto\""),
        ("tools", "[]"),
        ("top_logprobs", "0"),
        ("top_p", "1.0"),
        ("truncation", "\"disabled\""),
        ("user", "null"),
    ] {
        out.key(name).raw(object.peek(name).map_or(default, Json::as_str));
    }
    // There is one tier.
    out.key("service_tier").raw("\"default\"");
    with_defaults(&mut out, object, "reasoning", &[("effort", "null"), ("summary", "null")]);
    with_defaults(&mut out, object, "text", &[("format", r#"{"type":"text"}"#), ("verbosity", "\"medium\"")]);
    out.into_string()
}

/// Writes an object of the request with the members that an answer always has.
fn with_defaults(out: &mut Writer, object: &Object<'_>, name: &str, defaults: &[(&str, &str)]) {
    let told = object.peek(name);
    out.key(name).open('{');
    for (member, default) in defaults {
        out.key(member).raw(told.and_then(|told| told.get(member)).map_or(default, Json::as_str));
    }
    out.close('}');
}
