//! What a conversation says, in whichever API's form: words and who says them, calls and tools.

use serde_json::Value;

use crate::sent::{pointer, short};

/// The role of the message around a place, in the words of chats.
pub(crate) fn role_of<'a>(client: &'a Value, place: &[String]) -> &'a str {
    let around = (0..place.len()).rev().filter_map(|depth| client.pointer(&pointer(&place[..depth])));
    match around.filter_map(|value| value["role"].as_str()).next() {
        None | Some("developer") => "system",
        Some(role) => role,
    }
}

/// Whether a message of that role says `text`.
pub(crate) fn is_told(body: &Value, role: &str, text: &str) -> Result<(), String> {
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let tells = |message: &&Value| {
        message.as_object().into_iter().flatten().any(|(name, value)| {
            name != "role" && name != "tool_calls" && strings(value).iter().any(|told| told.contains(text))
        })
    };
    let roles: Vec<&str> = messages.iter().filter(tells).filter_map(|message| message["role"].as_str()).collect();
    if roles.contains(&role) { Ok(()) } else { Err(format!("told by {roles:?} instead of {role}")) }
}

/// The first message from place `from` on in which `text` is said.
pub(crate) fn told_from(body: &Value, from: usize, text: &str) -> Option<usize> {
    let messages = body["messages"].as_array()?;
    (from..messages.len()).find(|&place| strings(&messages[place]).iter().any(|told| told.contains(text)))
}

/// All strings in a value.
pub(crate) fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(all) => all.iter().flat_map(strings).collect(),
        Value::Object(all) => all.values().flat_map(strings).collect(),
        Value::Null => Vec::new(),
        other => vec![other.to_string()],
    }
}

/// A call of a tool.
#[derive(Debug, PartialEq)]
struct Call {
    id: String,
    name: String,
    arguments: Value,
}

/// All calls in a conversation, in order, in whichever form.
fn calls(body: &Value) -> Vec<Call> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = |value: &Value| value.as_str().map_or(value.clone(), |t| serde_json::from_str(t).unwrap_or_default());
    let of_chat = |call: &Value| Call {
        id: word(&call["id"]),
        name: word(&call["function"]["name"]),
        arguments: object(&call["function"]["arguments"]),
    };
    let of_block =
        |block: &Value| Call { id: word(&block["id"]), name: word(&block["name"]), arguments: object(&block["input"]) };
    let of_item = |item: &Value| Call {
        id: word(&item["call_id"]),
        name: item["namespace"].as_str().map_or(String::new(), |space| format!("{space}.")) + &word(&item["name"]),
        arguments: object(&item["arguments"]),
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let typed =
        |all: Vec<Value>, kind: &str| all.into_iter().filter(move |one| one["type"] == *kind).collect::<Vec<_>>();
    let mut found = Vec::new();
    for message in list(&body["messages"]) {
        found.extend(list(&message["tool_calls"]).iter().map(of_chat));
        found.extend(typed(list(&message["content"]), "tool_use").iter().map(of_block));
    }
    found.extend(typed(list(&body["input"]), "function_call").iter().map(of_item));
    found
}

/// Whether the backend is told all calls, in order. Some clients give them no ids.
pub(crate) fn calls_arrived(client: &Value, backend: &Value) -> Result<(), String> {
    let (sent, mut got) = (calls(client), calls(backend));
    for (one, other) in sent.iter().zip(&mut got).filter(|(one, _)| one.id.is_empty()) {
        other.id.clone_from(&one.id);
    }
    if sent == got { Ok(()) } else { Err(format!("{sent:?} became {got:?}")) }
}

/// Name, description and parameters of each tool, however it is described. Tools that the client does not run are left out.
fn tools(body: &Value) -> Vec<(String, String, String)> {
    fn one(tool: &Value, prefix: &str, into: &mut Vec<(String, String, String)>) {
        let about = if tool["function"].is_object() { &tool["function"] } else { tool };
        let word = |name: &str| about[name].as_str().unwrap_or_default().to_owned();
        if let Some(inside) = tool["tools"].as_array() {
            inside.iter().for_each(|member| one(member, &format!("{}.", word("name")), into));
        } else if !word("name").is_empty() {
            let parameters = about.get("parameters").or_else(|| about.get("input_schema"));
            let name = format!("{prefix}{}", word("name"));
            into.push((name, word("description"), parameters.map(Value::to_string).unwrap_or_default()));
        }
    }
    let mut found = Vec::new();
    body["tools"].as_array().into_iter().flatten().for_each(|tool| one(tool, "", &mut found));
    found
}

/// Whether the backend got all tools, in the same order, with every byte of their parameters.
pub(crate) fn tools_arrived(client: &Value, backend: &Value) -> Result<(), String> {
    let (sent, got) = (tools(client), tools(backend));
    let odd = sent.iter().zip(&got).find(|(one, other)| one != other);
    match odd {
        Some((one, other)) => Err(format!("{} became {}", short(&format!("{one:?}")), short(&format!("{other:?}")))),
        None if sent.len() != got.len() => Err(format!("{} tools became {}", sent.len(), got.len())),
        None => Ok(()),
    }
}
