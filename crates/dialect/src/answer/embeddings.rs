//! Translates embeddings, which always come whole.

use proto::Api;

use super::from::told;
use super::json::{count, elements, escaped, members, push};
use crate::{Cause, Expect, Failure};

/// Translates the whole answer `body`.
pub(super) fn translate(
    expect: &Expect,
    elapsed_ns: Option<u64>,
    body: &str,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut found = Found::default();
    if !members(body, |key, value| found.member(key, value)) {
        return Err(Failure::new(Cause::BadGateway, "the backend's embeddings are no JSON object"));
    }
    if found.is_error {
        return Err(told(body));
    }
    let Some(mut vectors) = found.vectors else {
        return Err(Failure::new(Cause::BadGateway, "the backend's answer has no embeddings"));
    };
    vectors.sort_by_key(|(index, _)| *index);
    let vectors = vectors.iter().map(|(_, vector)| *vector);
    let model = escaped(&expect.model);
    match expect.client {
        Api::OllamaEmbeddings => {
            push!(out, "{\"embedding\":");
            // The older call answers an empty prompt with an empty vector.
            list(vectors.take(1).next().unwrap_or("[]"), out)?;
        }
        Api::OllamaEmbed => {
            push!(out, "{\"model\":\"", &model, "\",\"embeddings\":[");
            for (at, vector) in vectors.enumerate() {
                push!(out, if at == 0 { "" } else { "," });
                list(vector, out)?;
            }
            let total_ns = found.total_ns.or(elapsed_ns).unwrap_or(0);
            push!(out, "],\"total_duration\":", total_ns, ",\"load_duration\":", found.load_ns.unwrap_or(0));
            push!(out, ",\"prompt_eval_count\":", found.prompt_tokens.unwrap_or(0));
        }
        _ => {
            push!(out, "{\"object\":\"list\",\"data\":[");
            for (at, vector) in vectors.enumerate() {
                push!(out, if at == 0 { "" } else { "," }, "{\"object\":\"embedding\",\"index\":", at as u64);
                push!(out, ",\"embedding\":");
                if expect.embeddings_base64 {
                    base64(vector, out)?;
                } else {
                    list(vector, out)?;
                }
                push!(out, "}");
            }
            let tokens = found.prompt_tokens.unwrap_or(0);
            push!(out, "],\"model\":\"", &model, "\",\"usage\":{\"prompt_tokens\":", tokens, ",\"total_tokens\":");
            push!(out, tokens, "}");
        }
    }
    push!(out, "}");
    Ok(())
}

#[derive(Default)]
struct Found<'a> {
    /// With their places.
    vectors: Option<Vec<(u64, &'a str)>>,
    prompt_tokens: Option<u64>,
    total_ns: Option<u64>,
    load_ns: Option<u64>,
    is_error: bool,
}

impl<'a> Found<'a> {
    fn member(&mut self, key: &str, value: &'a str) {
        match key {
            "embeddings" => {
                let vectors = self.vectors.insert(Vec::new());
                elements(value, |vector| vectors.push((vectors.len() as u64, vector)));
            }
            "embedding" => self.vectors = Some(vec![(0, value)]),
            "data" => {
                let vectors = self.vectors.insert(Vec::new());
                elements(value, |entry| {
                    let (mut index, mut vector) = (vectors.len() as u64, "");
                    members(entry, |key, value| match key {
                        "index" => index = count(value).unwrap_or(index),
                        "embedding" => vector = value,
                        _ => {}
                    });
                    vectors.push((index, vector));
                });
            }
            "usage" => {
                members(value, |key, value| {
                    if key == "prompt_tokens" {
                        self.prompt_tokens = count(value);
                    }
                });
            }
            "prompt_eval_count" => self.prompt_tokens = count(value),
            "total_duration" => self.total_ns = count(value),
            "load_duration" => self.load_ns = count(value),
            "error" => self.is_error = value != "null",
            _ => {}
        }
    }
}

fn no_list() -> Failure {
    Failure::new(Cause::BadGateway, "the backend's embedding is no list of numbers")
}

/// Passes a list of numbers on as it is.
fn list(vector: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
    if !vector.starts_with('[') {
        return Err(no_list());
    }
    push!(out, vector);
    Ok(())
}

/// Writes a list of numbers as little-endian 32-bit floats in base64.
fn base64(vector: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(vector.len() / 2);
    let mut is_good = true;
    let is_list = elements(vector, |number| match number.parse::<f32>() {
        Ok(number) => bytes.extend_from_slice(&number.to_le_bytes()),
        Err(_) => is_good = false,
    });
    if !is_list || !is_good {
        return Err(no_list());
    }
    out.push(b'"');
    out.reserve(bytes.len() / 3 * 4 + 8);
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place > three.len() { b'=' } else { digit });
        }
    }
    out.push(b'"');
    Ok(())
}
