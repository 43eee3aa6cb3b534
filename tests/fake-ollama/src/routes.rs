//! From a request to its handler: rules, faults, the record, the table of routes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName};
use hyper::{HeaderMap, Request};

use crate::answer::{Failure, Note, Payload, Reply, Tongue, bare, reply, with};
use crate::fake::{Call, Fake};
use crate::io::Wire;
use crate::record::{Entry, MOST_BODY};
use crate::rules::{self, Origin};
use crate::{audio, clock, control, create, embed, lists, manage, messages, native, openai, pull, responses};

/// Longest request body; a longer one is refused with 413. Blobs are not kept and have no limit.
const MOST_REQUEST: usize = 64 << 20;

/// Every path with the methods it knows, in the order that Allow lists them.
const ROUTES: &[(&str, &[&str])] = &[
    ("/", &["HEAD", "GET"]),
    ("/api/version", &["HEAD", "GET"]),
    ("/api/tags", &["HEAD", "GET"]),
    ("/api/ps", &["GET"]),
    ("/api/show", &["POST"]),
    ("/api/chat", &["POST"]),
    ("/api/generate", &["POST"]),
    ("/api/embed", &["POST"]),
    ("/api/embeddings", &["POST"]),
    ("/api/pull", &["POST"]),
    ("/api/push", &["POST"]),
    ("/api/create", &["POST"]),
    ("/api/blobs/:", &["HEAD", "POST"]),
    ("/api/copy", &["POST"]),
    ("/api/delete", &["DELETE"]),
    ("/api/status", &["GET"]),
    ("/api/me", &["POST"]),
    ("/api/signout", &["POST"]),
    ("/api/user/keys/:", &["DELETE"]),
    ("/api/experimental/web_search", &["POST"]),
    ("/api/experimental/web_fetch", &["POST"]),
    ("/api/experimental/model-recommendations", &["GET"]),
    ("/v1/chat/completions", &["POST"]),
    ("/v1/completions", &["POST"]),
    ("/v1/responses", &["POST"]),
    ("/v1/messages", &["POST"]),
    ("/v1/audio/transcriptions", &["POST"]),
    ("/v1/embeddings", &["POST"]),
    ("/v1/models", &["GET"]),
    ("/v1/models/:", &["GET"]),
];

/// Answers one request; the error drops the connection. May be dropped: the client left.
pub(crate) async fn serve(fake: Arc<Fake>, wire: Arc<Wire>, request: Request<Incoming>) -> std::io::Result<Reply> {
    let (head, incoming) = request.into_parts();
    let method = head.method.as_str().to_owned();
    let path = head.uri.path().to_owned();
    wire.begin();
    let began = clock::now();
    if method == "POST"
        && let Some(digest) = path.strip_prefix("/api/blobs/")
    {
        // A blob may be of any size, so it is hashed as it comes and its bytes are not in the record.
        let entry = Arc::new(entry(&method, head.uri.to_string(), &head.headers, &Bytes::new()));
        fake.log.add(entry.clone());
        let note = Note { entry, wire, complete: false };
        let uploaded = manage::upload(&fake, digest, incoming).await;
        return Ok(noted(uploaded.unwrap_or_else(|failure| failure.reply(Tongue::Ollama)), note));
    }
    let body = match Limited::new(incoming, MOST_REQUEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(bare(413)),
    };
    if path.starts_with("/_fake/") {
        return Ok(control::answer(&fake, &method, &path, &body));
    }
    let entry = Arc::new(entry(&method, head.uri.to_string(), &head.headers, &body));
    fake.log.add(entry.clone());
    let note = Note { entry: entry.clone(), wire: wire.clone(), complete: false };
    let model = named_model(&body);
    let effects = fake.faults.lock().unwrap_or_else(PoisonError::into_inner).effects(&method, &path, &model);
    if effects.silent {
        std::future::pending::<()>().await;
    }
    if effects.half_header {
        wire.half_header();
    }
    if effects.close_idle {
        wire.close_after();
    }
    let call = Call { fake, entry: entry.clone(), wire: wire.clone(), effects, began };
    let reply = ruled(&call, &method, &path, &head.headers, &body).await;
    if wire.is_reset() {
        return Err(std::io::ErrorKind::ConnectionReset.into());
    }
    Ok(noted(reply, note))
}

fn noted(reply: Reply, note: Note) -> Reply {
    note.entry.status.store(reply.status().as_u16(), Ordering::Relaxed);
    let (parts, payload) = reply.into_parts();
    Reply::from_parts(parts, payload.noted(note))
}

fn entry(method: &str, target: String, headers: &HeaderMap, body: &Bytes) -> Entry {
    let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Entry {
        method: method.to_owned(),
        target,
        headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: body[..body.len().min(MOST_BODY)].to_vec(),
        cut: body.len() > MOST_BODY,
        at_ms: u64::try_from(clock::since_1970().as_millis()).unwrap_or(u64::MAX),
        ..Entry::default()
    }
}

/// The model a JSON body names, for faults that are meant for one model.
fn named_model(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Named {
        #[serde(default)]
        model: String,
        #[serde(default)]
        name: String,
    }
    match serde_json::from_slice::<Named>(body) {
        Ok(named) if named.model.is_empty() => named.name,
        Ok(named) => named.model,
        Err(_) => String::new(),
    }
}

async fn ruled(call: &Call, method: &str, path: &str, headers: &HeaderMap, body: &[u8]) -> Reply {
    let allow = allowed(path);
    if !rules::host_is_welcome(headers, &call.fake.host) {
        return bare(403);
    }
    let origin = rules::origin(headers);
    if origin == Origin::Refused {
        return with_allow(bare(403), allow.filter(|_| method == "OPTIONS"));
    }
    let reply = match origin {
        Origin::Allowed(_) if method == "OPTIONS" => with_allow(preflight(), allow),
        _ => routed(call, method, path, headers, body).await,
    };
    match origin {
        Origin::Allowed(origin) => {
            let reply = with(reply, header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if method == "OPTIONS" { vary(reply) } else { with(reply, header::VARY, "Origin") }
        }
        _ => reply,
    }
}

fn preflight() -> Reply {
    let reply = with(bare(204), header::ACCESS_CONTROL_ALLOW_HEADERS, rules::ALLOWED_HEADERS);
    let reply = with(reply, header::ACCESS_CONTROL_ALLOW_METHODS, rules::ALLOWED_METHODS);
    with(reply, header::ACCESS_CONTROL_MAX_AGE, "43200")
}

fn vary(mut reply: Reply) -> Reply {
    for name in ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"] {
        reply.headers_mut().append(header::VARY, header::HeaderValue::from_static(name));
    }
    reply
}

fn with_allow(reply: Reply, methods: Option<&[&str]>) -> Reply {
    match methods {
        Some(methods) => with(reply, HeaderName::from_static("allow"), &methods.join(", ")),
        None => reply,
    }
}

/// The methods of `path`, if it is one of ours.
fn allowed(path: &str) -> Option<&'static [&'static str]> {
    let fits = |route: &str| match route.strip_suffix(':') {
        Some(stem) => path
            .strip_prefix(stem)
            .is_some_and(|rest| !rest.is_empty() && !rest.contains('/') && !rest.to_ascii_lowercase().contains("%2f")),
        None => route == path,
    };
    ROUTES.iter().find(|(route, _)| fits(route)).map(|(_, methods)| *methods)
}

async fn routed(call: &Call, method: &str, path: &str, headers: &HeaderMap, body: &[u8]) -> Reply {
    let Some(methods) = allowed(path) else { return elsewhere(method, path) };
    if !methods.contains(&method) {
        let refusal = reply(405, "text/plain", Payload::whole("405 method not allowed"));
        return with_allow(refusal, Some(methods));
    }
    let tongue = match path {
        "/v1/messages" => Tongue::Anthropic,
        _ if path.starts_with("/v1/") => Tongue::OpenAi,
        _ => Tongue::Ollama,
    };
    let form = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if call.effects.fails {
        return Failure::new(500, "flaky on purpose").reply(tongue);
    }
    handled(call, method, path, form, body).await.unwrap_or_else(|failure| failure.reply(tongue))
}

async fn handled(call: &Call, method: &str, path: &str, form: &str, body: &[u8]) -> Result<Reply, Failure> {
    match (method, path) {
        (_, "/") => Ok(reply(200, "text/plain; charset=utf-8", Payload::whole("Ollama is running"))),
        (_, "/api/version") => Ok(lists::version(call)),
        (_, "/api/tags") => Ok(lists::tags(call)),
        (_, "/api/ps") => Ok(lists::ps(call)),
        (_, "/api/show") => lists::show(call, body),
        (_, "/api/chat") => native::chat(call, body).await,
        (_, "/api/generate") => native::generate(call, body).await,
        (_, "/api/embed") => embed::embed(call, body).await,
        (_, "/api/embeddings") => embed::legacy(call, body).await,
        (_, "/api/pull") => pull::pull(call, body).await,
        (_, "/api/push") => pull::push(call, body),
        (_, "/api/create") => create::create(call, body),
        (_, "/api/copy") => manage::copy(call, body),
        (_, "/api/delete") => manage::delete(call, body),
        (_, "/api/status") => Ok(manage::status(call)),
        (_, "/api/me" | "/api/signout") => Err(Failure::new(503, "account unavailable")),
        (_, "/api/experimental/web_search" | "/api/experimental/web_fetch") => Err(call.no_cloud()),
        (_, "/api/experimental/model-recommendations") => Ok(manage::recommendations()),
        (_, "/v1/chat/completions") => openai::chat(call, body).await,
        (_, "/v1/completions") => openai::completions(call, body).await,
        (_, "/v1/responses") => responses::responses(call, body).await,
        (_, "/v1/messages") => messages::messages(call, body).await,
        (_, "/v1/audio/transcriptions") => audio::transcriptions(call, form, body).await,
        (_, "/v1/embeddings") => embed::openai(call, body).await,
        (_, "/v1/models") => Ok(lists::openai_list(call)),
        _ => match (path.strip_prefix("/v1/models/"), path.strip_prefix("/api/blobs/")) {
            (Some(id), _) => lists::openai_one(call, id),
            (None, Some(digest)) => manage::blob(call, digest),
            // What is left is /api/user/keys/:k.
            (None, None) => Err(Failure::new(503, "account unavailable")),
        },
    }
}

/// A path that is not ours: perhaps a redirect to one that is.
fn elsewhere(method: &str, path: &str) -> Reply {
    let trimmed = path.strip_suffix('/').filter(|short| allowed(short).is_some());
    let single = {
        let mut clean = path.to_owned();
        while clean.contains("//") {
            clean = clean.replace("//", "/");
        }
        (clean != path).then_some(clean)
    };
    let (status, words, to) = match (trimmed, single) {
        (Some(short), _) if method == "GET" => (301, "Moved Permanently", short.to_owned()),
        (Some(short), _) => (307, "Temporary Redirect", short.to_owned()),
        (None, Some(clean)) => (307, "Temporary Redirect", clean),
        (None, None) => return reply(404, "text/plain", Payload::whole("404 page not found")),
    };
    let page = format!("<a href=\"{to}\">{words}</a>.\n\n");
    with(reply(status, "text/html; charset=utf-8", Payload::whole(page)), header::LOCATION, &to)
}
