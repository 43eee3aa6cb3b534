//! Reading request bodies with the complaints of Go's JSON decoder.

use serde_json::{Map, Value};

use crate::answer::Failure;

/// A Go type, for its name in complaints.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Go {
    Text,
    Flag,
    Whole,
    Float,
    /// A slice; holds its Go name.
    List(&'static str),
    /// A map or a struct; holds its Go name.
    Object(&'static str),
}

/// What a request body looks like.
pub(crate) struct Shape {
    /// Go's name of the whole ("api.ChatRequest").
    pub(crate) name: &'static str,
    /// What an empty body is answered with.
    pub(crate) empty: &'static str,
    pub(crate) fields: &'static [(&'static str, Go)],
    /// Fields of the elements of `messages`.
    pub(crate) messages: &'static [(&'static str, Go)],
}

/// What `/api/*` says of an empty body.
pub(crate) const MISSING: &str = "missing request body";
/// What `/v1/*` says of an empty body.
pub(crate) const EOF: &str = "EOF";

/// A body that was read.
pub(crate) type Fields = Map<String, Value>;

/// The JSON of `body`, whatever it is.
pub(crate) fn value(body: &[u8], empty: &str) -> Result<Value, Failure> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::early(400, empty));
    }
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) if error.is_eof() => Err(Failure::early(400, "unexpected EOF")),
        Some(Err(error)) => {
            let lines = body.split(|byte| *byte == b'\n');
            let line = lines.clone().nth(error.line().saturating_sub(1)).unwrap_or_default();
            let at = error.column().saturating_sub(1).min(line.len().saturating_sub(1));
            let letter = line.get(at).copied().map_or(' ', char::from);
            Err(Failure::early(400, format!("invalid character '{letter}' looking for beginning of value")))
        }
        None => Err(Failure::early(400, empty)),
    }
}

/// The fields of `body`, each of the type that `shape` says.
pub(crate) fn fields(body: &[u8], shape: &Shape) -> Result<Fields, Failure> {
    let value = value(body, shape.empty)?;
    let Value::Object(fields) = value else {
        if value.is_null() {
            return Ok(Fields::new());
        }
        let text = format!("json: cannot unmarshal {} into Go value of type {}", kind(&value), shape.name);
        return Err(Failure::early(400, text));
    };
    let short = shape.name.rsplit('.').next().unwrap_or(shape.name);
    for (key, value) in &fields {
        let Some((_, wanted)) = shape.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)) else { continue };
        expect(value, *wanted, &format!("{short}.{key}"))?;
    }
    let messages = fields.get("messages").and_then(Value::as_array).into_iter().flatten();
    for (key, value) in messages.filter_map(Value::as_object).flatten() {
        let Some((_, wanted)) = shape.messages.iter().find(|(name, _)| name == key) else { continue };
        expect(value, *wanted, &format!("{short}.messages.{key}"))?;
    }
    Ok(fields)
}

fn expect(value: &Value, wanted: Go, place: &str) -> Result<(), Failure> {
    let (good, name) = match wanted {
        Go::Text => (value.is_string(), "string"),
        Go::Flag => (value.is_boolean(), "bool"),
        Go::Whole => (value.as_i64().is_some() || value.as_u64().is_some(), "int"),
        Go::Float => (value.is_number(), "float64"),
        Go::List(name) => (value.is_array(), name),
        Go::Object(name) => (value.is_object(), name),
    };
    if good || value.is_null() {
        return Ok(());
    }
    let shown = match value {
        Value::Number(number) if matches!(wanted, Go::Whole) => format!("number {number}"),
        _ => kind(value).to_owned(),
    };
    let text = format!("json: cannot unmarshal {shown} into Go struct field {place} of type {name}");
    Err(Failure::early(400, text))
}

/// Go's word for what kind of JSON this is.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The text of `key`; empty when it is not there.
pub(crate) fn text<'a>(fields: &'a Fields, key: &str) -> &'a str {
    fields.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The flag `key`, if it is there.
pub(crate) fn flag(fields: &Fields, key: &str) -> Option<bool> {
    fields.get(key).and_then(Value::as_bool)
}

/// The elements of the list `key`.
pub(crate) fn list(fields: &Fields, key: &str) -> Vec<Value> {
    fields.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The model, also by its old field name.
pub(crate) fn model(fields: &Fields) -> &str {
    let model = text(fields, "model");
    if model.is_empty() { text(fields, "name") } else { model }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        name: "api.ChatRequest",
        empty: MISSING,
        fields: &[("model", Go::Text), ("options", Go::Object("map[string]interface {}"))],
        messages: &[("content", Go::Text)],
    };

    #[test]
    fn complaints_are_worded_like_go() {
        for (body, text) in [
            ("", "missing request body"),
            ("{\"model\":", "unexpected EOF"),
            ("[]", "json: cannot unmarshal array into Go value of type api.ChatRequest"),
            ("{\"model\":5}", "json: cannot unmarshal number into Go struct field ChatRequest.model of type string"),
            (
                "{\"options\":[1]}",
                "json: cannot unmarshal array into Go struct field ChatRequest.options of type map[string]interface {}",
            ),
            (
                "{\"messages\":[{\"content\":[]}]}",
                "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string",
            ),
            ("{\"a\":x}", "invalid character 'x' looking for beginning of value"),
        ] {
            assert_eq!(fields(body.as_bytes(), &SHAPE), Err(Failure::early(400, text)), "{body}");
        }
        assert!(fields(b"{\"model\":null,\"other\":1} trailing", &SHAPE).is_ok());
    }
}
