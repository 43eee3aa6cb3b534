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
            list(vectors.take(1).next().unwrap_or("[]"), expect.dimensions, out)?;
        }
        Api::OllamaEmbed => {
            push!(out, "{\"model\":\"", &model, "\",\"embeddings\":[");
            for (at, vector) in vectors.enumerate() {
                push!(out, if at == 0 { "" } else { "," });
                list(vector, expect.dimensions, out)?;
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
                    base64(&numbers(vector, expect.dimensions)?, out);
                } else {
                    list(vector, expect.dimensions, out)?;
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

/// Writes a list of numbers; as it came, unless it has to be cut.
fn list(vector: &str, dimensions: Option<u32>, out: &mut Vec<u8>) -> Result<(), Failure> {
    if !vector.starts_with('[') {
        return Err(no_list());
    }
    let Some(dimensions) = dimensions else {
        push!(out, vector);
        return Ok(());
    };
    push!(out, "[");
    for (at, number) in numbers(vector, Some(dimensions))?.into_iter().enumerate() {
        push!(out, if at == 0 { "" } else { "," }, &number.to_string());
    }
    push!(out, "]");
    Ok(())
}

/// The numbers of a list; if they are more than `dimensions`, so many of them, brought to length 1.
fn numbers(vector: &str, dimensions: Option<u32>) -> Result<Vec<f32>, Failure> {
    let mut numbers = Vec::with_capacity(vector.len() / 10);
    let mut is_good = true;
    let is_list = elements(vector, |number| match number.parse::<f32>() {
        Ok(number) => numbers.push(number),
        Err(_) => is_good = false,
    });
    if !is_list || !is_good {
        return Err(no_list());
    }
    if let Some(most) = dimensions.map(|most| most as usize).filter(|most| *most < numbers.len()) {
        numbers.truncate(most);
        let length = numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
        if length > 0.0 {
            numbers.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
        }
    }
    // JSON has no infinity; a number too large for 32 bits becomes the largest.
    numbers.iter_mut().for_each(|number| *number = number.clamp(f32::MIN, f32::MAX));
    Ok(numbers)
}

/// Writes numbers as little-endian 32-bit floats in base64.
fn base64(numbers: &[f32], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    out.reserve(bytes.len() / 3 * 4 + 8);
    out.push(b'"');
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place > three.len() { b'=' } else { digit });
        }
    }
    out.push(b'"');
}
