//! /api/embed, /api/embeddings and /v1/embeddings: vectors that depend on the text alone.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::answer::{Failure, JSON, JSON_UTF8, Payload, Reply, ok, reply};
use crate::ask::Ask;
use crate::clock;
use crate::fake::Call;
use crate::input::{self, EOF, Fields, Go, MISSING, Shape};
use crate::names::Name;
use crate::prompt::Prompt;
use crate::text::{push_string, to_base64};
use crate::wishes;

const EMBED: Shape = Shape {
    name: "api.EmbedRequest",
    empty: MISSING,
    fields: &[
        ("model", Go::Text),
        ("truncate", Go::Flag),
        ("dimensions", Go::Whole),
        ("options", Go::Object("map[string]interface {}")),
    ],
    messages: &[],
};

const LEGACY: Shape = Shape {
    name: "api.EmbeddingRequest",
    empty: MISSING,
    fields: &[("model", Go::Text), ("prompt", Go::Text), ("options", Go::Object("map[string]interface {}"))],
    messages: &[],
};

const OPENAI: Shape = Shape {
    name: "openai.EmbedRequest",
    empty: EOF,
    fields: &[("model", Go::Text), ("dimensions", Go::Whole), ("encoding_format", Go::Text)],
    messages: &[],
};

/// The embeddings of a list of texts.
struct Embedded {
    vectors: Vec<Vec<f32>>,
    tokens: u64,
    load: Duration,
}

/// Answers POST /api/embed.
pub(crate) async fn embed(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &EMBED)?;
    let inputs = inputs(fields.get("input"), false)?;
    let ask = ask(&fields)?;
    let done = vectors(call, &ask, &inputs, dimensions(&fields)).await?;
    let mut line = String::from("{\"model\":");
    push_string(&mut line, &ask.model);
    line.push_str(",\"embeddings\":[");
    for (at, vector) in done.vectors.iter().enumerate() {
        line.push_str(if at == 0 { "[" } else { ",[" });
        push_numbers(&mut line, vector.iter());
        line.push(']');
    }
    line.push(']');
    if !done.vectors.is_empty() {
        let total = clock::now().saturating_duration_since(call.began).as_nanos().max(1);
        let load = done.load.as_nanos().max(1);
        write!(line, ",\"total_duration\":{total},\"load_duration\":{load},\"prompt_eval_count\":{}", done.tokens)
            .expect("writing to a String cannot fail");
    }
    line.push('}');
    Ok(reply(200, JSON_UTF8, Payload::whole(line)))
}

/// Answers POST /api/embeddings, the old form with one text.
pub(crate) async fn legacy(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &LEGACY)?;
    let text = input::text(&fields, "prompt").to_owned();
    let inputs = if text.is_empty() { Vec::new() } else { vec![text] };
    let ask = ask(&fields)?;
    let done = vectors(call, &ask, &inputs, None).await?;
    let Some(vector) = done.vectors.first() else { return Ok(ok(&json!({"embedding": []}))) };
    let mut line = String::from("{\"embedding\":[");
    // The old route answers in double precision.
    push_numbers(&mut line, vector.iter().map(|number| f64::from(*number) * 1.000_000_01));
    line.push_str("]}");
    Ok(reply(200, JSON_UTF8, Payload::whole(line)))
}

/// Answers POST /v1/embeddings.
pub(crate) async fn openai(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &OPENAI)?;
    let format = input::text(&fields, "encoding_format").to_ascii_lowercase();
    if !matches!(format.as_str(), "" | "float" | "base64") {
        let known = "Supported values: ['float', 'base64'].";
        return Err(Failure::early(400, format!("Invalid value for 'encoding_format' = {format}. {known}")));
    }
    if matches!(fields.get("input"), None | Some(Value::Null)) || fields.get("input") == Some(&json!("")) {
        return Err(Failure::early(400, "invalid input"));
    }
    let inputs = inputs(fields.get("input"), true)?;
    let ask = Ask::new(input::text(&fields, "model"), Prompt::Raw(String::new()));
    let done = vectors(call, &ask, &inputs, dimensions(&fields)).await?;
    let mut line = String::from("{\"object\":\"list\",\"data\":[");
    for (at, vector) in done.vectors.iter().enumerate() {
        line.push_str(if at == 0 { "" } else { "," });
        line.push_str("{\"object\":\"embedding\",\"embedding\":");
        if format == "base64" {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            push_string(&mut line, &to_base64(&bytes));
        } else {
            line.push('[');
            push_numbers(&mut line, vector.iter());
            line.push(']');
        }
        write!(line, ",\"index\":{at}}}").expect("writing to a String cannot fail");
    }
    line.push_str("],\"model\":");
    push_string(&mut line, &ask.model);
    let tokens = done.tokens;
    write!(line, ",\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}}}}")
        .expect("writing to a String cannot fail");
    Ok(reply(200, JSON, Payload::whole(line)))
}

fn ask(fields: &Fields) -> Result<Ask, Failure> {
    let mut ask = Ask::new(input::text(fields, "model"), Prompt::Raw(String::new()));
    if let Some(value) = fields.get("keep_alive").filter(|value| !value.is_null()) {
        ask.keep_alive = Some(wishes::keep_alive(value).map_err(|text| Failure::early(400, text))?);
    }
    ask.options = fields.get("options").and_then(Value::as_object).cloned().unwrap_or_default();
    ask.truncate = input::flag(fields, "truncate").unwrap_or(true);
    Ok(ask)
}

fn dimensions(fields: &Fields) -> Option<usize> {
    let wished = fields.get("dimensions").and_then(Value::as_u64).filter(|wished| *wished > 0)?;
    usize::try_from(wished).ok()
}

fn inputs(value: Option<&Value>, openai: bool) -> Result<Vec<String>, Failure> {
    // The OpenAI-like route leaves this check to the handler behind it.
    let wrong =
        || if openai { Failure::new(400, "invalid input type") } else { Failure::early(400, "invalid input type") };
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(list)) => {
            list.iter().map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

async fn vectors(call: &Call, ask: &Ask, inputs: &[String], wished: Option<usize>) -> Result<Embedded, Failure> {
    let asked = &ask.model;
    if asked.is_empty() {
        return Err(Failure::new(404, "model '' not found"));
    }
    let unknown = || Failure::new(404, format!("model \"{asked}\" not found, try pulling it first"));
    let name = Name::parse(asked).ok_or_else(unknown)?;
    let model = call.fake.find(&name).ok_or_else(unknown)?;
    let (user, fit) = ask.runner(call, &model).await?;
    let load = clock::now().saturating_duration_since(call.began);
    if inputs.is_empty() {
        return Ok(Embedded { vectors: Vec::new(), tokens: 0, load });
    }
    if !model.can("embedding") {
        return Err(Failure::new(501, "This server does not support embeddings. Start it with `--embeddings`"));
    }
    let slot = user.slot().await;
    if call.effects.dies_before {
        slot.user.engine.dead.store(true, std::sync::atomic::Ordering::Relaxed);
        return Err(crate::ask::died());
    }
    let pace = call.effects.token_delay.unwrap_or(call.fake.options.pace);
    if !pace.is_zero() {
        tokio::time::sleep(pace).await;
    }
    let mut done = Embedded { vectors: Vec::with_capacity(inputs.len()), tokens: 0, load };
    for text in inputs {
        // A word is about a token; two more mark the ends.
        let tokens = u64::try_from(text.split_whitespace().count()).unwrap_or(u64::MAX).saturating_add(2);
        if tokens > fit.context && !ask.truncate {
            return Err(Failure::new(400, "the input length exceeds the context length"));
        }
        done.tokens += tokens.min(fit.context);
        done.vectors.push(vector(text, model.width, wished));
    }
    Ok(done)
}

/// The first `wished` of `width` numbers that belong to `text`, as a vector of length one.
fn vector(text: &str, width: usize, wished: Option<usize>) -> Vec<f32> {
    let width = wished.map_or(width, |wished| wished.min(width));
    let seed = Sha256::digest(text.as_bytes());
    let mut state = seed.iter().fold(1u64, |all, byte| all.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte));
    let mut numbers = Vec::with_capacity(width);
    for _ in 0..width {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = u16::try_from(state >> 48).unwrap_or(0);
        numbers.push(f32::from(high) / 32_768.0 - 1.0);
    }
    let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    numbers.iter().map(|number| number / length).collect()
}

fn push_numbers<T: std::fmt::Display>(line: &mut String, numbers: impl Iterator<Item = T>) {
    for (at, number) in numbers.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(line, "{comma}{number}").expect("writing to a String cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_of_length_one_and_depend_on_the_text() {
        let length = |vector: &[f32]| vector.iter().map(|number| number * number).sum::<f32>();
        let hello = vector("hello", 384, None);
        assert_eq!(hello.len(), 384);
        assert!((length(&hello) - 1.0).abs() < 1e-4);
        assert_eq!(hello, vector("hello", 384, None));
        assert_ne!(hello, vector("world", 384, None));
        let short = vector("hello", 384, Some(8));
        assert_eq!(short.len(), 8);
        assert!((length(&short) - 1.0).abs() < 1e-4, "cut vectors are made whole again");
    }
}
