//! Items of inputs and outputs.

use serde_json::{Map, Value, json};

use crate::request::json::Json;

/// What stands between the brackets of an array.
pub(super) fn inner(array: Json<'_>) -> &str {
    let text = array.as_str();
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or("").trim_ascii()
}

/// The items of a turn's input and then of its output, with commas between them.
pub(super) fn history(input: &[u8], response: &[u8]) -> String {
    let input = std::str::from_utf8(input).unwrap_or("");
    let response = std::str::from_utf8(response).unwrap_or("");
    let mut all = String::with_capacity(input.len() + response.len());
    all.push_str(input);
    let output = Json::parse(response).ok().and_then(|response| response.get("output"));
    for item in output.into_iter().flat_map(Json::elements) {
        if !all.is_empty() {
            all.push(',');
        }
        said(item, &mut all);
    }
    all
}

/// Writes an item of an output as one of an input.
fn said(item: Json<'_>, out: &mut String) {
    let is_thinking = item.get("type").is_some_and(|kind| kind.as_str() == "\"reasoning\"");
    let has_text = item.get("content").is_some_and(|content| content.elements().next().is_some());
    let summary = item.get("summary").filter(|_| is_thinking && !has_text);
    let texts: Vec<Json<'_>> =
        summary.into_iter().flat_map(Json::elements).filter_map(|part| part.get("text")).collect();
    if texts.is_empty() {
        out.push_str(item.as_str());
        return;
    }
    // Servers that know the call take earlier thinking from `content`: llama-server's build 10434 refuses it without.
    out.push('{');
    for (name, value) in item.members().filter(|(name, _)| name != "content") {
        out.push_str(&format!("{}:{},", Value::from(name.as_ref()), value.as_str()));
    }
    out.push_str("\"content\":[");
    for (at, text) in texts.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        out.push_str(&format!("{comma}{{\"type\":\"reasoning_text\",\"text\":{}}}", text.as_str()));
    }
    out.push_str("]}");
}

/// The items as a list shows them: each with a type, an id and a status, texts as parts. Ids that the client did not give
/// are made from the response's and the item's place, so that they stay the same.
pub(super) fn shown(response_id: &str, input: &[u8]) -> Vec<Value> {
    let array = [b"[", input, b"]"].concat();
    let items: Vec<Value> = serde_json::from_slice(&array).unwrap_or_default();
    let suffix = response_id.strip_prefix("resp_").unwrap_or(response_id);
    items.into_iter().enumerate().map(|(at, item)| shown_item(item, at, suffix)).collect()
}

fn shown_item(item: Value, at: usize, suffix: &str) -> Value {
    let Value::Object(mut item) = item else { return item };
    let kind = item.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
    let start = match kind.as_str() {
        "message" => "msg",
        "reasoning" => "rs",
        "function_call" => "fc",
        "function_call_output" => "fco",
        _ => "item",
    };
    let mut whole = Map::new();
    let id = item.remove("id").filter(|id| id.is_string());
    whole.insert("id".to_owned(), id.unwrap_or_else(|| json!(format!("{start}_in_{suffix}_{at}"))));
    item.remove("type");
    if kind == "message" {
        let is_said = item.get("role").is_some_and(|role| role == "assistant");
        if let Some(content @ Value::String(_)) = item.get_mut("content") {
            let text = content.take();
            *content = match is_said {
                true => json!([{ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }]),
                false => json!([{ "type": "input_text", "text": text }]),
            };
        }
    }
    whole.insert("type".to_owned(), json!(kind));
    whole.append(&mut item);
    let status = whole.entry("status").or_insert(Value::Null);
    if status.is_null() {
        *status = json!("completed");
    }
    Value::Object(whole)
}
