//! Log probabilities: the list of objects that chats have, and the parallel lists of `/v1/completions`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{elements, escaped, members, push, string, unescaped};

/// The elements of `logprobs.content` with every field that OpenAI's clients want, and no other. Ollama leaves out what is
/// empty, some servers leave out the bytes; those of a token that is no whole text are `unknown`.
pub(super) fn completed(list: &str, unknown: &str) -> String {
    let mut out = Vec::with_capacity(list.len() + 64);
    elements(&format!("[{list}]"), |element| {
        let begun = out.len();
        if begun > 0 {
            out.push(b',');
        }
        let Some(others) = entry(element, unknown, &mut out) else {
            out.truncate(begun);
            return;
        };
        push!(&mut out, ",\"top_logprobs\":[");
        let mut is_first = true;
        elements(others, |other| {
            let before = out.len();
            push!(&mut out, if is_first { "" } else { "," });
            match entry(other, unknown, &mut out) {
                Some(_) => {
                    is_first = false;
                    out.push(b'}');
                }
                None => out.truncate(before),
            }
        });
        push!(&mut out, "]}");
    });
    String::from_utf8(out).unwrap_or_default()
}

/// Writes an element up to its bytes, and gives the list of others that were likely. `None` if it is no object.
fn entry<'a>(element: &'a str, unknown: &str, out: &mut Vec<u8>) -> Option<&'a str> {
    let (mut token, mut value, mut bytes, mut others) = ("", "0", None, "[]");
    let is_object = members(element, |key, found| match key {
        "token" => token = string(found).unwrap_or_default(),
        "logprob" if found != "null" => value = found,
        "bytes" => bytes = Some(found).filter(|found| found.starts_with('[')),
        "top_logprobs" if found.starts_with('[') => others = found,
        _ => {}
    });
    if !is_object {
        return None;
    }
    push!(out, "{\"token\":\"", token, "\",\"logprob\":", value, ",\"bytes\":");
    match bytes {
        Some(bytes) => push!(out, bytes),
        None => push_bytes(&unescaped(token), unknown, out),
    }
    Some(others)
}

/// Writes the bytes of a token's text.
fn push_bytes(text: &str, unknown: &str, out: &mut Vec<u8>) {
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return push!(out, unknown);
    }
    out.push(b'[');
    for (at, byte) in text.bytes().enumerate() {
        push!(out, if at == 0 { "" } else { "," }, u64::from(byte));
    }
    out.push(b']');
}

/// The parallel lists for the elements in `list`; `offset` is how many characters of text came before.
pub(super) fn to_lists(list: &str, mut offset: u64) -> String {
    let (mut tokens, mut values, mut others, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    elements(&format!("[{list}]"), |element| {
        let (mut token, mut value, mut top) = ("", "null", Vec::new());
        members(element, |key, found| match key {
            "token" => token = string(found).unwrap_or_default(),
            "logprob" => value = found,
            "top_logprobs" => {
                elements(found, |other| {
                    let (mut token, mut value) = ("", "null");
                    members(other, |key, found| match key {
                        "token" => token = string(found).unwrap_or_default(),
                        "logprob" => value = found,
                        _ => {}
                    });
                    if !top.is_empty() {
                        top.push(b',');
                    }
                    push!(&mut top, "\"", token, "\":", value);
                });
            }
            _ => {}
        });
        for list in [&mut tokens, &mut values, &mut others, &mut offsets] {
            if !list.is_empty() {
                list.push(b',');
            }
        }
        push!(&mut tokens, "\"", token, "\"");
        push!(&mut values, value);
        others.push(b'{');
        others.append(&mut top);
        others.push(b'}');
        push!(&mut offsets, offset);
        offset += unescaped(token).chars().count() as u64;
    });
    let mut out = Vec::new();
    let parts = [("{\"tokens\":[", tokens), ("],\"token_logprobs\":[", values), ("],\"top_logprobs\":[", others)];
    for (name, part) in parts.into_iter().chain([("],\"text_offset\":[", offsets)]) {
        push!(&mut out, name);
        out.extend_from_slice(&part);
    }
    push!(&mut out, "]}");
    String::from_utf8(out).unwrap_or_default()
}

#[derive(Deserialize)]
struct Lists<'a> {
    #[serde(default)]
    tokens: Vec<String>,
    #[serde(borrow, default)]
    token_logprobs: Vec<&'a RawValue>,
    #[serde(default)]
    top_logprobs: Option<Vec<Option<serde_json::Map<String, serde_json::Value>>>>,
}

/// The elements of `logprobs.content` for parallel lists.
pub(super) fn from_lists(object: &str) -> String {
    let Ok(lists) = serde_json::from_str::<Lists<'_>>(object) else { return String::new() };
    let entry = |out: &mut Vec<u8>, token: &str, value: &str| {
        let bytes = token.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(",");
        push!(out, r#"{"token":""#, &escaped(token), r#"","logprob":"#, value, r#","bytes":["#, &bytes, "]");
    };
    let mut out = Vec::new();
    for (at, token) in lists.tokens.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        // The first token of an echoed prompt has none; nobody can say how likely it was.
        let value = lists.token_logprobs.get(at).map(|raw| raw.get()).filter(|raw| *raw != "null").unwrap_or("0");
        entry(&mut out, token, value);
        push!(&mut out, r#","top_logprobs":["#);
        let others = lists.top_logprobs.as_ref().and_then(|all| all.get(at)).and_then(Option::as_ref);
        for (place, (other, value)) in others.into_iter().flatten().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            entry(&mut out, other, &value.to_string());
            out.push(b'}');
        }
        push!(&mut out, "]}");
    }
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_completed() {
        for (list, full) in [
            ("", ""),
            (
                r#"{"token":"a","logprob":-1.5,"id":7},{"token":"b","logprob":-2,"bytes":[98],"top_logprobs":[]}"#,
                r#"{"token":"a","logprob":-1.5,"bytes":[97],"top_logprobs":[]},{"token":"b","logprob":-2,"bytes":[98],"top_logprobs":[]}"#,
            ),
            (
                r#"{"token":"\u00e9","logprob":null,"bytes":null,"top_logprobs":[{"token":"\ufffd","logprob":-3},7]},7"#,
                r#"{"token":"\u00e9","logprob":0,"bytes":[195,169],"top_logprobs":[{"token":"\ufffd","logprob":-3,"bytes":null}]}"#,
            ),
        ] {
            assert_eq!(completed(list, "null"), full);
        }
    }

    #[test]
    fn lists_go_there_and_back() {
        let content = r#"{"token":"é","logprob":-0.5,"bytes":[195,169],"top_logprobs":[{"token":"e","logprob":-3.0,"bytes":[101]}]},{"token":"\n","logprob":-1,"bytes":[10],"top_logprobs":[]}"#;
        let lists = to_lists(content, 7);
        assert_eq!(
            lists,
            r#"{"tokens":["é","\n"],"token_logprobs":[-0.5,-1],"top_logprobs":[{"e":-3.0},{}],"text_offset":[7,8]}"#
        );
        assert_eq!(from_lists(&lists), content);
        for bad in ["", "[]", r#"{"tokens":1}"#] {
            assert_eq!(from_lists(bad), "");
        }
    }
}
