//! Translates a client's request into the call that a backend understands.

mod context;
pub(crate) mod decode;
mod encode;
mod expect;
pub(crate) mod json;
pub(crate) mod object;
mod quirks;
pub(crate) mod writer;

use std::borrow::Cow;

use bytes::Bytes;
use context::Context;
pub use expect::{Expect, ForcedTool, RenamedTool};
use proto::{Api, BackendKind};
pub(crate) use quirks::quirks;
pub use quirks::{served, upstream, way};

use json::Json;
use object::Object;

use crate::canon::{Part, Request, Role};
use crate::{Cause, Failure, Note, Runner};

/// A request in the backend's words.
#[derive(Clone, Debug)]
pub struct Translated {
    /// The call to make. Usually [`upstream`]'s; a raw prompt of `/api/generate` goes to `/v1/completions` instead.
    pub upstream: Api,
    /// The body to send.
    pub body: Bytes,
    /// What became of fields that the backend does not know, sorted, without doubles, at most 64.
    pub notes: Vec<Note>,
    /// What the answer's translator must know.
    pub expect: Expect,
}

/// A backend, as far as a request for it depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// What kind of program it is.
    pub kind: BackendKind,
    /// The model's name there.
    pub model: &'a str,
    /// Whether the model can think, where known. A wish to think harder is dropped (and named) only if it cannot.
    pub thinks: Option<bool>,
    /// What an Ollama is asked for about the program that holds the model; means nothing for others.
    pub runner: Runner,
}

/// The `body` of a `client` call in the words of a backend of that `kind`, which calls the model `model_for_backend`.
///
/// Fails with 400 where a field asks for something that such a backend cannot do, naming the field, and where the body is
/// no request. A call for which [`upstream`] says the client's own comes back as it is.
pub fn translate(client: Api, kind: BackendKind, model_for_backend: &str, body: &[u8]) -> Result<Translated, Failure> {
    translate_for(client, Target { kind, model: model_for_backend, thinks: None, runner: Runner::default() }, body)
}

/// As [`translate`], for a backend of which more may be known.
pub fn translate_for(client: Api, target: Target<'_>, body: &[u8]) -> Result<Translated, Failure> {
    let Some(upstream) = upstream(client, target.kind) else {
        let text = format!("{} does not answer {}", quirks::quirks(target.kind).called, client.path());
        return Err(Failure::new(Cause::Unsupported, text));
    };
    // Go's decoder reads bytes that are no UTF-8 in this way too.
    let text = match std::str::from_utf8(body) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(body),
    };
    let mut object = Object::body(&text, client)?;
    if upstream == client {
        let stream = object.peek("stream").and_then(Json::bool).unwrap_or(client.streams_by_default());
        let model = object.string("model")?.unwrap_or_default().text().into_owned();
        let expect = Expect::new(client, upstream, model, stream);
        return Ok(Translated { upstream, body: Bytes::copy_from_slice(body), notes: Vec::new(), expect });
    }
    let mut context = Context::new(client, target);
    // Read by the door itself.
    object.take("fallback_models");
    if object.peek("metadata").is_some_and(|metadata| metadata.members().all(|(name, _)| name == "tags")) {
        object.take("metadata");
    }
    let capacity = body.len() + body.len() / 16 + 512;
    match client {
        Api::OllamaEmbed | Api::OllamaEmbeddings | Api::Embeddings => embed(context, upstream, object, capacity),
        _ => generation(&mut context, upstream, object, capacity).map(|(upstream, body, expect)| Translated {
            upstream,
            body,
            notes: context.notes(),
            expect,
        }),
    }
}

fn embed(mut context: Context<'_>, upstream: Api, object: Object<'_>, capacity: usize) -> Result<Translated, Failure> {
    let embed = decode::embeddings::decode(&mut context, object)?;
    let (body, dimensions) = encode::embeddings(&mut context, &embed, capacity);
    let mut expect = Expect::new(context.client, upstream, embed.model.text(), false);
    expect.embeddings_base64 = embed.base64;
    if embed.base64 {
        context.emulated("encoding_format");
    }
    expect.dimensions = dimensions;
    Ok(Translated { upstream, body: body.finish(), notes: context.notes(), expect })
}

fn generation(
    context: &mut Context<'_>,
    mut upstream: Api,
    object: Object<'_>,
    capacity: usize,
) -> Result<(Api, Bytes, Expect), Failure> {
    let client = context.client;
    let (mut echo, mut response_members) = (None, String::new());
    let mut request = match client {
        Api::OllamaChat => decode::ollama::chat(context, object)?,
        Api::OllamaGenerate => decode::ollama::generate(context, object)?,
        Api::Messages => decode::messages::decode(context, object)?,
        Api::Responses => {
            let (request, members) = decode::responses::decode(context, object)?;
            response_members = members;
            request
        }
        Api::Completions => {
            let (request, prompt) = decode::completions::decode(context, object)?;
            echo = prompt;
            request
        }
        _ => decode::chat::decode(context, object)?,
    };
    if request.only_load {
        context.emulated("loading by an empty prompt");
        request.messages.push(decode::ollama::nothing());
    }
    let prefill = prefill(context, &request);
    let mut forced_tool = None;
    let body = match upstream {
        Api::OllamaChat => {
            let (body, forced) = encode::ollama_chat(context, &request, capacity)?;
            forced_tool = forced;
            body
        }
        Api::OllamaGenerate => encode::ollama_generate(context, &request, capacity),
        _ if request.plain.is_some() => {
            upstream = Api::Completions;
            encode::completions(context, &request, capacity)?
        }
        _ => encode::chat(context, &request, capacity)?,
    };
    let mut expect = Expect::new(client, upstream, request.model.text(), request.stream);
    expect.include_usage = request.include_usage;
    expect.forced_tool = forced_tool;
    expect.one_tool_call = request.one_tool_call && !context.quirks.parallel_tool_calls;
    if expect.one_tool_call {
        context.emulated("parallel_tool_calls");
    }
    expect.renamed_tools = std::mem::take(&mut context.renamed);
    expect.logprobs = request.logprobs.is_some();
    expect.echo = echo;
    expect.prefill = prefill;
    expect.only_load = request.only_load;
    expect.response_members = response_members;
    Ok((upstream, body.finish(), expect))
}

/// The text of a last message of the assistant's, where the backend may say it again.
///
/// llama-server, and so Ollama with the templates that it leaves to its engine, goes on from such a message and begins its
/// answer with it (measured in November 2026). Ollama's own clients are used to that. Those of Anthropic are promised that
/// the answer goes on without it, whoever answers.
fn prefill(context: &Context<'_>, request: &Request<'_>) -> Option<String> {
    let repeats =
        matches!(context.target.kind, BackendKind::Ollama | BackendKind::LlamaServer | BackendKind::LlamaRouter);
    let wanted = match context.client {
        Api::OllamaChat | Api::OllamaGenerate | Api::Completions => false,
        client => repeats || client == Api::Messages,
    };
    let last = request.messages.last().filter(|last| wanted && last.role == Role::Assistant)?;
    if last.parts.iter().any(|part| matches!(part, Part::ToolCall(_) | Part::Media(_))) {
        return None;
    }
    let texts = last.parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(text.text()) } else { None });
    let text = texts.collect::<Vec<_>>().join("\n");
    (!text.is_empty()).then_some(text)
}
