//! What a request says of itself: in its body, read once, and in its headers.

use std::sync::Arc;

use dialect::{Cause, Failure, Scan};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use proto::Api;

use crate::body::Received;
use crate::headers;

pub(super) fn facts(api: Api, headers: &HeaderMap, received: &Received) -> Result<Scan, Failure> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if api == Api::Transcriptions {
        let Some(boundary) = dialect::boundary(content_type) else {
            let text = "audio is sent as multipart/form-data";
            return Err(Failure::new(Cause::UnsupportedMediaType, text));
        };
        let bytes = match received {
            Received::Kept { bytes, .. } => bytes,
            Received::Flowing { start, .. } => start,
        };
        let model = dialect::multipart_model(bytes, boundary);
        return Ok(Scan { model, has_input: true, stream: Some(false), ..Scan::default() });
    }
    if content_type.len() >= 10 && content_type.as_bytes()[..10].eq_ignore_ascii_case(b"multipart/") {
        return Err(Failure::new(Cause::UnsupportedMediaType, "this call takes application/json"));
    }
    match received {
        Received::Kept { bytes, .. } => {
            let scan = match api {
                Api::Responses => dialect::scan_responses(bytes),
                _ => dialect::scan(bytes, api == Api::OllamaShow),
            };
            scan.map_err(|bad| Failure::from_bad_body(&bad, api))
        }
        Received::Flowing { start, length, .. } => match dialect::scan_start(start) {
            Some(model) => Ok(Scan { model: Some(model), text_bytes: length.unwrap_or(0), ..Scan::default() }),
            None => {
                let mut failure = Failure::new(
                    Cause::Busy,
                    "other large requests fill the memory for request bodies, and this one does not name its model \
                     in its first 64 KiB: try again, or put \"model\" first",
                );
                failure.retry_after_s = Some(1);
                Err(failure)
            }
        },
    }
}

/// The product in a User-Agent, without its version: `ollama-python`, `OpenAI/Python`, `claude-cli`.
pub(super) fn app(headers: &HeaderMap) -> Option<Arc<str>> {
    let agent = headers.get(http::header::USER_AGENT)?.to_str().ok()?;
    let product = agent.split([' ', '(']).next().unwrap_or("");
    let name = match product.rsplit_once('/') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit() || c == 'v') => name,
        _ => product,
    };
    let name = &name[..name.len().min(64)];
    (!name.is_empty()).then(|| Arc::from(name))
}

/// Headers in which clients name the conversation, the more exact ones first: OpenCode, Codex, Open WebUI (seen in their
/// requests or sources in November 2026).
const SESSIONS: [&str; 7] = [
    "x-session-affinity",
    "x-session-id",
    "session-id",
    "session_id",
    "thread-id",
    "conversation_id",
    "x-openwebui-chat-id",
];

/// What all requests of one conversation have in common: what the client says, else how the prompt begins.
pub(super) fn session(headers: &HeaderMap, scan: &Scan) -> Option<u64> {
    let named = SESSIONS.iter().find_map(|name| headers.get(*name)).filter(|value| !value.is_empty());
    let named = named.map(|value| dialect::fingerprint(1, value.as_bytes()));
    named.or(scan.session).or(scan.opening)
}

/// Whether nobody waits for the answer: the client says so with `X-Fleet-Priority: batch`.
pub(super) fn is_batch(headers: &HeaderMap) -> bool {
    let said = headers.get(headers::PRIORITY).and_then(|value| value.to_str().ok());
    said.is_some_and(|said| said.trim().eq_ignore_ascii_case("batch"))
}

/// Tags from the body, the header and the user, in that order, without doubles.
pub(super) fn tags(mut tags: Vec<String>, headers: &HeaderMap, user: Option<&str>) -> Vec<String> {
    const MOST: usize = 32;
    if let Some(listed) = headers.get(headers::TAGS).and_then(|value| value.to_str().ok()) {
        tags.extend(
            listed.split(',').map(str::trim).filter(|tag| !tag.is_empty() && tag.len() <= 128).map(str::to_owned),
        );
    }
    if let Some(user) = user.filter(|user| !user.is_empty()) {
        tags.push(format!("user:{user}"));
    }
    let mut seen = std::collections::BTreeSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    tags.truncate(MOST);
    tags
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_app_is_known_by_its_agent() {
        for (agent, name) in [
            ("ollama-python/0.6.3 (x86_64 linux) Python/3.11", Some("ollama-python")),
            ("OpenAI/Python 3.52.0", Some("OpenAI/Python")),
            ("claude-cli/2.0.1 (external, cli)", Some("claude-cli")),
            ("curl/7.88.1", Some("curl")),
            ("litellm", Some("litellm")),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::USER_AGENT, HeaderValue::from_str(agent).unwrap());
            assert_eq!(app(&headers).as_deref(), name, "{agent}");
        }
    }

    #[test]
    fn a_session_is_what_the_client_says_or_how_the_prompt_begins() {
        let scan = |body: &str| dialect::scan(body.as_bytes(), false).unwrap();
        let plain = scan(r#"{"messages":[{"role":"user","content":"hi"}]}"#);
        let keyed = scan(r#"{"prompt_cache_key":"k","messages":[{"role":"user","content":"hi"}]}"#);
        let mut headers = HeaderMap::new();
        assert_eq!(session(&headers, &plain), plain.opening);
        assert_eq!(session(&headers, &keyed), keyed.session);
        headers.insert("session_id", HeaderValue::from_static("abc"));
        let named = session(&headers, &keyed);
        assert!(named.is_some() && named != keyed.session && named == session(&headers, &plain));
        assert_eq!(session(&HeaderMap::new(), &scan("{}")), None);
    }

    #[test]
    fn tags_come_once_and_in_order() {
        let mut headers = HeaderMap::new();
        headers.insert(headers::TAGS, HeaderValue::from_static("b, c,,a"));
        let found = tags(vec!["a".to_owned(), "b".to_owned()], &headers, Some("me"));
        assert_eq!(found, ["a", "b", "c", "user:me"]);
    }
}
