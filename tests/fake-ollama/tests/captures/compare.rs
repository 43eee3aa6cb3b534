//! What it means for two answers to be alike: the same words where the program chooses them, the same types elsewhere.

use serde_json::Value;

use crate::exchange::{Capture, Reply};
use crate::table::Row;

/// Headers whose value counts.
const HEADERS: &[&str] = &[
    "content-type",
    "allow",
    "location",
    "cache-control",
    "connection",
    "vary",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
];

/// Texts that differ from run to run; only their kind counts.
const CHANGING: &[&str] = &[
    "id",
    "call_id",
    "item_id",
    "request_id",
    "digest",
    "modelfile",
    "template",
    "parameter_size",
    "rendered_template",
    "quantization_level",
];

/// Times; they must look like one.
const TIMES: &[&str] = &["created_at", "modified_at", "expires_at"];

/// Numbers that are not measured.
const FIXED_NUMBERS: &[&str] = &[
    "index",
    "content_index",
    "output_index",
    "sequence_number",
    "code",
    "n_ctx",
    "eval_count",
    "completion_tokens",
    "output_tokens",
    "context_length",
];

/// Lists whose length and content depend on the machine: their first entries are compared.
const LOOSE_LISTS: &[&str] = &[
    "tensors",
    "context",
    "embedding",
    "embeddings",
    "shape",
    "logprobs",
    "top_logprobs",
    "bytes",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type",
];

/// All differences, in words.
pub(crate) fn all(capture: &Capture, reply: &Reply, row: &Row) -> Vec<String> {
    let recorded = &capture.reply;
    let mut found = Vec::new();
    if recorded.status != reply.status {
        found.push(format!("status {} became {}: {}", recorded.status, reply.status, reply.body));
        return found;
    }
    for name in HEADERS {
        let (was, is) = (values(recorded, name), values(reply, name));
        if was != is {
            found.push(format!("header {name}: {was:?} became {is:?}"));
        }
    }
    let chunked = |reply: &Reply| !values(reply, "transfer-encoding").is_empty();
    if chunked(recorded) != chunked(reply) && !row.lengths_differ {
        found.push(format!("in chunks: {} became {}", chunked(recorded), chunked(reply)));
    }
    if recorded.complete != reply.complete {
        found.push(format!("complete: {} became {}", recorded.complete, reply.complete));
    }
    let kind = values(recorded, "content-type").concat();
    if kind.contains("json") || kind.contains("event-stream") {
        bodies(recorded, reply, row, &mut found);
    } else if recorded.body.trim() != reply.body.trim() {
        found.push(format!("body {:?} became {:?}", recorded.body, reply.body));
    }
    found.truncate(8);
    found
}

fn values<'a>(reply: &'a Reply, wanted: &str) -> Vec<&'a str> {
    reply.headers.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect()
}

fn bodies(recorded: &Reply, reply: &Reply, row: &Row, found: &mut Vec<String>) {
    let (was, was_cut) = records(&recorded.body);
    let (is, is_broken) = records(&reply.body);
    if is_broken {
        found.push(format!("not JSON: {:?}", reply.body));
    }
    if !was_cut && !row.loops {
        if was.len() != is.len() {
            found.push(format!("{} records became {}", was.len(), is.len()));
        }
        if recorded.chunks != reply.chunks && !row.lengths_differ {
            found.push(format!("{} chunks became {}", recorded.chunks, reply.chunks));
        }
        for (at, (was, is)) in was.iter().zip(&is).enumerate() {
            compare(was, is, &format!("{at}"), "", row, found);
        }
        return;
    }
    if was.is_empty() {
        // The only record was cut.
        return;
    }
    // Too long or too random to compare one by one: the kinds of records, and the last one.
    let (kinds_was, kinds_is) = (kinds(&was), kinds(&is));
    if kinds_was != kinds_is {
        found.push(format!("records {kinds_was:#?} became {kinds_is:#?}"));
    } else if let ([.., before, was], Some(is)) = (was.as_slice(), is.last())
        && shape(before) != shape(was)
    {
        compare(was, is, "last", "", row, found);
    }
}

/// The JSON values of a body, and whether something in it was none. An event's name is added to its data.
fn records(body: &str) -> (Vec<Value>, bool) {
    let (mut all, mut broken, mut event) = (Vec::new(), false, None);
    for line in body.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(name) = line.strip_prefix("event: ") {
            event = Some(name);
            continue;
        }
        let data = line.strip_prefix("data: ").unwrap_or(line);
        if data == "[DONE]" {
            all.push(Value::String(data.to_owned()));
            continue;
        }
        match serde_json::from_str::<Value>(&data.replace(",…]", "]")) {
            Ok(mut value) => {
                if let (Some(event), Some(fields)) = (event.take(), value.as_object_mut()) {
                    fields.insert("(event)".to_owned(), Value::String(event.to_owned()));
                }
                all.push(value);
            }
            Err(_) => broken = true,
        }
    }
    (all, broken)
}

/// The shapes of records, each run of equal ones told once.
fn kinds(records: &[Value]) -> Vec<String> {
    let mut kinds: Vec<String> = records.iter().map(shape).collect();
    kinds.dedup();
    kinds
}

fn shape(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| match key.as_str() {
                "(event)" => format!("{value}"),
                _ => format!("{key}:{}", shape(value)),
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(" "))
        }
        Value::Array(list) => format!("[{}]", list.first().map(shape).unwrap_or_default()),
        other => kind(other).to_owned(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

fn compare(was: &Value, is: &Value, place: &str, key: &str, row: &Row, found: &mut Vec<String>) {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            let (keys, new) = (was.keys().collect::<Vec<_>>(), is.keys().collect::<Vec<_>>());
            if keys != new {
                found.push(format!("{place}: fields {keys:?} became {new:?}"));
            }
            for (key, was) in was {
                if let Some(is) = is.get(key) {
                    compare(was, is, &format!("{place}.{key}"), key, row, found);
                }
            }
        }
        (Value::Array(was), Value::Array(is)) if key == "models" => {
            for was in was {
                let name = &was["name"];
                match is.iter().find(|is| is["name"] == *name) {
                    Some(is) => compare(was, is, &format!("{place}[{name}]"), "", row, found),
                    None => found.push(format!("{place}: {name} is missing")),
                }
            }
        }
        (Value::Array(was), Value::Array(is)) if key == "capabilities" => {
            // Their order is not fixed.
            let same = was.len() == is.len() && was.iter().all(|one| is.contains(one));
            found.extend((!same).then(|| format!("{place}: {was:?} became {is:?}")));
        }
        (Value::Array(was), Value::Array(is)) if LOOSE_LISTS.contains(&key) => {
            if let (Some(was), Some(is)) = (was.first(), is.first()) {
                compare(was, is, &format!("{place}[0]"), key, row, found);
            } else if was.is_empty() != is.is_empty() {
                found.push(format!("{place}: {} entries became {}", was.len(), is.len()));
            }
        }
        (Value::Array(was), Value::Array(is)) => {
            if was.len() != is.len() {
                found.push(format!("{place}: {} entries became {}", was.len(), is.len()));
            }
            for (at, (was, is)) in was.iter().zip(is).enumerate() {
                compare(was, is, &format!("{place}[{at}]"), key, row, found);
            }
        }
        (Value::String(was), Value::String(is)) => {
            let like = match key {
                _ if TIMES.contains(&key) => is.len() >= 20 && is.contains('T') && is.ends_with('Z'),
                "parent_model" => true,
                _ if CHANGING.contains(&key) => was.is_empty() == is.is_empty(),
                _ if row.words_differ && matches!(key, "content" | "response" | "text" | "arguments" | "delta") => true,
                _ => alike(was, is),
            };
            if !like {
                found.push(format!("{place}: {was:?} became {is:?}"));
            }
        }
        (Value::Number(_), Value::Number(_)) => {
            let differs = FIXED_NUMBERS.contains(&key) && was != is && !row.words_differ;
            found.extend(differs.then(|| format!("{place}: {was} became {is}")));
        }
        _ if was != is => found.push(format!("{place}: {was} became {is}")),
        _ => {}
    }
}

/// Equal but for numbers, what was cut, what was made anonymous, and invisible letters of the recorded models.
fn alike(was: &str, is: &str) -> bool {
    let clean = |text: &str| text.replace('\u{200b}', "");
    let (was, is) = (clean(was), clean(is));
    if let Some((begin, _)) = was.split_once('…') {
        return is.starts_with(begin);
    }
    let pieces = wild(&was);
    let [first, middle @ .., last] = pieces.as_slice() else {
        return was == is;
    };
    let Some(mut rest) = is.strip_prefix(first.as_str()) else { return false };
    for piece in middle {
        let Some(at) = rest.find(piece.as_str()) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last.as_str())
}

/// The pieces of a recorded text between `<names>`, long numbers and digests, which stand for anything.
fn wild(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let hex = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if let Some(end) = rest.find('>').filter(|_| letter == '<') {
            rest = &rest[end + 1..];
            pieces.push(String::new());
        } else if digits >= 5 || hex >= 12 {
            rest = &rest[digits.max(hex)..];
            pieces.push(String::new());
        } else {
            if let Some(piece) = pieces.last_mut() {
                piece.push(letter);
            }
            rest = &rest[letter.len_utf8()..];
        }
    }
    pieces
}
