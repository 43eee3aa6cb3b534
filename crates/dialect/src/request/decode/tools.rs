//! Tools as OpenAI's calls describe them.

use super::super::context::Context;
use super::super::json::{Json, Kind, Quoted};
use super::super::object::Object;
use crate::Failure;
use crate::canon::{Arguments, Request, Tool, ToolCall, ToolChoice};
use crate::request::RenamedTool;

/// Takes `tools`, each with its description in `function`.
pub(super) fn nested<'a>(
    context: &mut Context<'_>,
    object: &mut Object<'a>,
    request: &mut Request<'a>,
) -> Result<(), Failure> {
    let Some(tools) = object.array("tools")? else { return Ok(()) };
    for tool in tools.elements() {
        context.item()?;
        let mut tool = Object::of(tool, "tools[]")?;
        if let Some(kind) = tool.string("type")?
            && kind != *"function"
        {
            return Err(context.refusal("tools[].type"));
        }
        let about = tool.object("function")?.ok_or_else(|| tool.must_be("function", "given"))?;
        request.tools.push(function(context, about)?);
        context.rest(tool)?;
    }
    Ok(())
}

/// Takes `tools` as the Responses call has them: described in the open, some in namespaces, some not the client's own.
pub(super) fn flat<'a>(
    context: &mut Context<'_>,
    tools: Json<'a>,
    namespace: Option<&Quoted<'a>>,
    request: &mut Request<'a>,
) -> Result<(), Failure> {
    for tool in tools.elements() {
        context.item()?;
        let mut tool = Object::of(tool, "tools[]")?;
        let Some(kind) = tool.string("type")? else { return Err(tool.must_be("type", "given")) };
        match &*kind.text() {
            "function" => {
                let mut tool = function(context, tool)?;
                if let Some(namespace) = namespace {
                    tool.name = in_namespace(context, namespace, &tool.name)?;
                }
                request.tools.push(tool);
            }
            "namespace" if namespace.is_none() => {
                let name = tool.string("name")?.ok_or_else(|| tool.must_be("name", "given"))?;
                if let Some(members) = tool.array("tools")? {
                    flat(context, members, Some(&name), request)?;
                }
                if tool.take("description").is_some_and(|text| !text.is_nothing()) {
                    context.ignored("tools[].description");
                }
                context.rest(tool)?;
            }
            // Run by OpenAI's servers; Codex sends it with each request and works without it.
            "web_search" | "web_search_preview" => context.ignored("tools[].web_search"),
            _ => return Err(context.refusal("tools[].type")),
        }
    }
    Ok(())
}

/// The one name of a tool in a namespace; remembered, because answers must tell the two apart again.
pub(super) fn in_namespace(
    context: &mut Context<'_>,
    namespace: &Quoted<'_>,
    name: &Quoted<'_>,
) -> Result<Quoted<'static>, Failure> {
    let sent = format!("{}.{}", namespace.text(), name.text());
    let renamed =
        RenamedTool { sent: sent.clone(), namespace: namespace.text().into_owned(), name: name.text().into_owned() };
    // Only the tools of one request are here: a few, and never more than its items.
    if !context.renamed.contains(&renamed) {
        context.item()?;
        context.renamed.push(renamed);
    }
    Ok(Quoted::new(&sent))
}

/// Takes `tool_choice` and `parallel_tool_calls`.
pub(super) fn choice<'a>(
    context: &mut Context<'_>,
    object: &mut Object<'a>,
    request: &mut Request<'a>,
) -> Result<(), Failure> {
    request.one_tool_call = object.bool("parallel_tool_calls")? == Some(false);
    let Some(choice) = object.take("tool_choice") else { return Ok(()) };
    if let Some(word) = choice.string() {
        request.tool_choice = match &*word.text() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" | "any" => ToolChoice::Required,
            _ => return Err(object.must_be("tool_choice", "auto, none, required or a tool")),
        };
        return Ok(());
    }
    let mut choice = Object::of(choice, "tool_choice")?;
    if let Some(kind) = choice.string("type")?
        && kind != *"function"
    {
        return Err(context.refusal("tool_choice.type"));
    }
    let name = match choice.object("function")? {
        Some(mut function) => function.string("name")?,
        None => choice.string("name")?,
    };
    let name = name.ok_or_else(|| choice.must_be("name", "given"))?;
    request.tool_choice = ToolChoice::Named(match choice.string("namespace")? {
        Some(namespace) => in_namespace(context, &namespace, &name)?,
        None => name,
    });
    Ok(())
}

/// A call in an assistant's message, with its name and arguments in `function`.
pub(super) fn call<'a>(context: &mut Context<'_>, json: Json<'a>) -> Result<ToolCall<'a>, Failure> {
    context.item()?;
    let mut call = Object::of(json, "messages[].tool_calls[]")?;
    let id = call.string("id")?.unwrap_or_default();
    let mut function = call.object("function")?.ok_or_else(|| call.must_be("function", "given"))?;
    let name = function.string("name")?.ok_or_else(|| function.must_be("name", "given"))?;
    let arguments = match function.take("arguments") {
        None => Arguments::Object(Json::EMPTY_OBJECT),
        Some(json) => match (json.kind(), json.string()) {
            (Kind::Object, _) => Arguments::Object(json),
            (_, Some(text)) => Arguments::Text(text),
            _ => return Err(function.must_be("arguments", "an object")),
        },
    };
    Ok(ToolCall { id, name, arguments })
}

fn function<'a>(context: &mut Context<'_>, mut about: Object<'a>) -> Result<Tool<'a>, Failure> {
    let name = about.string("name")?.ok_or_else(|| about.must_be("name", "given"))?;
    let parameters = about.take("parameters");
    if parameters.is_some_and(|parameters| parameters.kind() != Kind::Object) {
        return Err(about.must_be("parameters", "an object"));
    }
    let tool = Tool { name, description: about.string("description")?, parameters, strict: about.bool("strict")? };
    context.rest(about)?;
    Ok(tool)
}
