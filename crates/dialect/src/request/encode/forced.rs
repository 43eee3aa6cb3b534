//! Makes a model without `tool_choice` call a tool: the form of its answer leaves nothing else.

use serde_json::{Value, json};

use super::super::context::Context;
use super::super::json::Json;
use super::super::object::bad_request;
use crate::Failure;
use crate::canon::{Request, Tool, ToolChoice};
use crate::request::ForcedTool;

/// How an answer is made to be a tool call.
pub(super) struct Forced {
    /// How the answer's text is to be read.
    pub(super) tool: ForcedTool,
    /// The schema that it follows.
    pub(super) schema: String,
    /// What the model is told.
    pub(super) orders: String,
}

/// What is to be done if `request` demands a call.
pub(super) fn plan(context: &mut Context<'_>, request: &Request<'_>) -> Result<Option<Forced>, Failure> {
    let tools: Vec<&Tool<'_>> = match &request.tool_choice {
        ToolChoice::Auto | ToolChoice::None => return Ok(None),
        ToolChoice::Required => request.tools.iter().collect(),
        ToolChoice::Named(name) => request.tools.iter().filter(|tool| tool.name.text() == name.text()).collect(),
    };
    context.emulated("tool_choice");
    let about = tools.iter().map(|tool| about(tool)).collect::<Result<Vec<_>, _>>()?;
    let forced = match &about[..] {
        [] => return Err(bad_request("`tool_choice` demands a tool that is not in `tools`")),
        [(name, about, schema)] => Forced {
            tool: ForcedTool::One { name: name.clone() },
            schema: schema.to_string(),
            orders: format!(
                "You must now call this function. Answer with nothing but its arguments, as a JSON object:\n{about}"
            ),
        },
        several => Forced {
            tool: ForcedTool::Any,
            schema: any_of(several).to_string(),
            orders: {
                let lines: Vec<String> = several.iter().map(|(_, about, _)| about.to_string()).collect();
                let form = r#"{"name":"<function>","arguments":{…}}"#;
                format!(
                    "You must now call one of these functions. Answer with nothing but a JSON object {form}:\n{}",
                    lines.join("\n")
                )
            },
        },
    };
    Ok(Some(forced))
}

/// A tool's name, what the model is told of it, and the schema of its arguments.
fn about(tool: &Tool<'_>) -> Result<(String, Value, Value), Failure> {
    let bad = || bad_request("`tools[]` has parameters that are nested too deep");
    let parameters = tool.parameters.map_or("{}", Json::as_str);
    let mut schema: Value = serde_json::from_str(parameters).map_err(|_| bad())?;
    if let Some(members) = schema.as_object_mut() {
        members.entry("type").or_insert_with(|| "object".into());
    }
    let name = tool.name.text().into_owned();
    let mut about = json!({"name": name});
    if let Some(description) = &tool.description {
        about["description"] = description.text().into();
    }
    about["parameters"] = schema.clone();
    Ok((name, about, schema))
}

/// The schema of a call of any of these tools.
fn any_of(tools: &[(String, Value, Value)]) -> Value {
    let mut definitions = serde_json::Map::new();
    let mut calls = Vec::new();
    for (at, (name, _, schema)) in tools.iter().enumerate() {
        let mut arguments = schema.clone();
        // What is referred to from a schema's root moves with that root.
        if rebase(&mut arguments, &format!("#/$defs/tool{at}")) {
            definitions.insert(format!("tool{at}"), arguments);
            arguments = json!({"$ref": format!("#/$defs/tool{at}")});
        }
        calls.push(json!({
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": arguments},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        }));
    }
    let mut schema = json!({"anyOf": calls});
    if !definitions.is_empty() {
        schema["$defs"] = definitions.into();
    }
    schema
}

/// Puts `root` in place of the root in all references; whether there was one.
fn rebase(schema: &mut Value, root: &str) -> bool {
    let mut found = false;
    match schema {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(target) if key == "$ref" && target.starts_with('#') => {
                        *target = format!("{root}{}", &target[1..]);
                        found = true;
                    }
                    _ => found |= rebase(value, root),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| found |= rebase(element, root)),
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_move_with_their_schema() {
        let plain = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let referring = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"$ref": "#"}}, "required": []});
        let tools = [("a".to_owned(), json!({}), plain.clone()), ("b".to_owned(), json!({}), referring)];
        let schema = any_of(&tools);
        assert_eq!(schema["anyOf"][0]["properties"]["arguments"], plain);
        assert_eq!(schema["anyOf"][1]["properties"]["arguments"], json!({"$ref": "#/$defs/tool1"}));
        let moved = &schema["$defs"]["tool1"];
        assert_eq!(moved["properties"]["a"]["$ref"], "#/$defs/tool1/$defs/x");
        assert_eq!(moved["$defs"]["x"]["$ref"], "#/$defs/tool1");
    }
}
