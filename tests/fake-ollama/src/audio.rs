//! /v1/audio/transcriptions: a form with a file, answered by a model that can hear.

use serde_json::json;

use crate::answer::{Failure, JSON_UTF8, Payload, Reply, reply};
use crate::ask::{Ask, collect};
use crate::fake::Call;
use crate::prompt::{Message, Prompt};
use crate::text::json;

/// Answers POST /v1/audio/transcriptions.
pub(crate) async fn transcriptions(call: &Call, content_type: &str, body: &[u8]) -> Result<Reply, Failure> {
    let parts = form(content_type, body)
        .ok_or_else(|| Failure::early(400, "request Content-Type isn't multipart/form-data"))?;
    let text = |wanted: &str| {
        let part = parts.iter().find(|part| part.name == wanted);
        part.map(|part| String::from_utf8_lossy(part.content).trim().to_owned()).unwrap_or_default()
    };
    if !parts.iter().any(|part| part.name == "file" && part.is_file) {
        return Err(Failure::early(400, "file is required: http: no such file"));
    }
    if text("model").is_empty() {
        return Err(Failure::early(400, "model is required"));
    }
    let format = text("response_format");
    if !matches!(format.as_str(), "" | "json" | "text") {
        return Err(Failure::early(400, format!("unsupported response_format: {format}")));
    }
    let message = Message { role: "user".to_owned(), images: 1, ..Message::default() };
    let ask = Ask::new(&text("model"), Prompt::Messages(vec![message]));
    let (_, generation) = ask.start(call, "chat").await?;
    let heard = collect(generation).await?.text;
    Ok(match format.as_str() {
        "text" => reply(200, "text/plain; charset=utf-8", Payload::whole(heard)),
        _ => reply(200, JSON_UTF8, Payload::whole(json(&json!({"text": heard})))),
    })
}

struct Part<'a> {
    name: String,
    is_file: bool,
    content: &'a [u8],
}

/// The parts of a multipart form; `None` if it is none. At most 64 are looked at.
fn form<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    let boundary = content_type.strip_prefix("multipart/form-data")?.split("boundary=").nth(1)?;
    let boundary = boundary.split(';').next().unwrap_or_default().trim().trim_matches('"');
    if boundary.is_empty() {
        return None;
    }
    let line = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut rest = body;
    while let Some(at) = find(rest, line.as_bytes()) {
        rest = &rest[at + line.len()..];
        let end = find(rest, line.as_bytes()).unwrap_or(rest.len());
        let part = &rest[..end];
        // Lines end in CR LF, but some senders are careless.
        let (head, content) = match (find(part, b"\r\n\r\n"), find(part, b"\n\n")) {
            (Some(at), _) => (&part[..at], &part[at + 4..]),
            (None, Some(at)) => (&part[..at], &part[at + 2..]),
            (None, None) => continue,
        };
        let head = String::from_utf8_lossy(head);
        let named = |key: &str| head.split(key).nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
        let name = named(" name=\"").unwrap_or_default();
        parts.push(Part { name, is_file: named("filename=\"").is_some(), content });
        if parts.len() == 64 {
            break;
        }
    }
    Some(parts)
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_taken_apart() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ntiny\r\n--b\r\n\
            Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n";
        let parts = form("multipart/form-data; boundary=b", body).unwrap();
        let shown: Vec<_> = parts.iter().map(|part| (part.name.as_str(), part.is_file, part.content)).collect();
        assert_eq!(shown, [("model", false, &b"tiny\r\n"[..]), ("file", true, &b"RIFF\r\n"[..])]);
        assert!(form("application/json", body).is_none());
        assert!(form("multipart/form-data; boundary=", body).is_none());
    }
}
