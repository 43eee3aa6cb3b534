//! A request as a backend gets it: with a few bytes changed, or translated.

use bytes::Bytes;
use dialect::{Cause, Edit, Expect, Failure, Note, Runner, Translated};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use proto::{Api, BackendKind, BackendState, Capability, Dialect};

use super::{Exchange, Payload};
use crate::door::Protection;
use crate::protection;
use crate::upstream::{Length, Outgoing, request_head};

/// What the placement decided about a request's tokens.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    /// The context to name, in tokens.
    pub(super) context: Option<u64>,
    /// Tokens of the prompt, as estimated.
    pub(super) prompt_tokens: u64,
}

/// A request that was translated: the call that was made, and what its answer is to become.
pub(super) struct Translation {
    pub(super) upstream: Api,
    pub(super) expect: Expect,
}

impl Exchange {
    /// The request as the backend gets it, and what turns its answer into the client's words where that is needed.
    pub(super) fn request(
        &mut self,
        backend: &BackendState,
        model: usize,
        placed: Placed,
    ) -> Result<(Outgoing, Option<Translation>), Failure> {
        if let Some(upstream) = dialect::way(self.api, backend.kind, backend.speaks)
            && upstream != self.api
        {
            let translated = self.translated(backend, model, placed)?;
            self.tell_protection(backend, placed);
            return Ok(translated);
        }
        let edits = self.edits(backend, model, placed)?;
        self.tell_protection(backend, placed);
        let host = backend.address.authority();
        let target = [backend.address.base_path.as_str(), self.path_and_query.as_str()];
        let token = self.worker.door().settings().token();
        let head = |length| request_head(&Method::POST, target, &host, &self.headers, length, token);
        let outgoing = match &mut self.payload {
            Payload::Kept(bytes, _) => {
                let pieces = dialect::splice(bytes, edits);
                Outgoing::kept(head(Length::Known(pieces.len())), pieces)
            }
            Payload::Flowing(flowing, _) => {
                let (start, rest) =
                    flowing.take().ok_or_else(|| Failure::new(Cause::Internal, "a body was to be sent twice"))?;
                // Edits beyond what was read are not known; those within it are.
                let edited: Vec<Bytes> = dialect::splice(&start, edits).into_iter().collect();
                let start = match <[Bytes; 1]>::try_from(edited) {
                    Ok([whole]) => whole,
                    Err(pieces) => pieces.concat().into(),
                };
                let length = match http_body::Body::size_hint(&rest).exact() {
                    Some(left) => Length::Known(start.len() as u64 + left),
                    None => Length::Chunked,
                };
                Outgoing::flowing(head(length), start, rest, length == Length::Chunked)
            }
        };
        Ok((outgoing, None))
    }

    /// The request in the words of a backend that does not know the client's.
    fn translated(
        &mut self,
        backend: &BackendState,
        model: usize,
        placed: Placed,
    ) -> Result<(Outgoing, Option<Translation>), Failure> {
        let Payload::Kept(bytes, _) = &self.payload else {
            let mut failure = Failure::new(
                Cause::Busy,
                "other large requests fill the memory for request bodies, and this one must be translated: try again",
            );
            failure.retry_after_s = Some(1);
            return Err(failure);
        };
        let known = backend.model(&self.models[model]);
        let name = known.map_or(self.asked[model].as_str(), |known| known.id.as_str());
        let thinks = known
            .filter(|known| !known.capabilities.is_empty())
            .map(|known| known.capabilities.contains(&Capability::Thinking));
        let runner = self.runner(placed.context);
        let target = dialect::Target { kind: backend.kind, model: name, thinks, runner };
        let Translated { upstream, body, notes, mut expect } = dialect::translate_for(self.api, target, bytes)?;
        let ignored = notes.iter().filter_map(|note| match note {
            Note::Ignored(field) => Some(field.as_ref()),
            Note::Emulated(_) => None,
        });
        self.ignored = ignored.collect::<Vec<&str>>().join(", ");
        expect.prompt_tokens_estimate = placed.prompt_tokens;
        let target = [backend.address.base_path.as_str(), upstream.path()];
        let token = self.worker.door().settings().token();
        // Whatever type the client gave its own body, this one is JSON.
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let length = Length::Known(body.len() as u64);
        let head = request_head(&Method::POST, target, &backend.address.authority(), &self.headers, length, token);
        Ok((Outgoing::kept(head, body.into()), Some(Translation { upstream, expect })))
    }

    /// What changes in the body on its way to this backend.
    fn edits(&mut self, backend: &BackendState, model: usize, placed: Placed) -> Result<Vec<Edit>, Failure> {
        let mut edits: Vec<Edit> =
            self.scan.own.iter().map(|range| Edit { range: range.clone(), with: Bytes::new() }).collect();
        self.ignored.clear();
        if let Payload::Kept(body, _) = &self.payload {
            edits.extend(self.scan.emulations(body, self.api, backend.kind)?);
        }
        if backend.kind == BackendKind::Ollama && self.api.dialect() == Dialect::Ollama && self.api.needs_slot() {
            let (more, ignored) = self.scan.for_runner(self.runner(placed.context));
            edits.extend(more);
            self.ignored = ignored.join(", ");
        }
        if let (Api::Responses, Some(start)) = (self.api, self.scan.start) {
            // Some store unless told not to. What is stored is stored here.
            let with = Bytes::from_static(b"\"store\":false,");
            edits.push(Edit { range: start + 1..start + 1, with });
        }
        if let (Some(text), Some(name)) = (&self.scan.model, self.name_for(backend, model)) {
            // Multipart forms have the bare name, JSON has a string.
            let with = match self.api {
                Api::Transcriptions => Bytes::from(name.to_owned()),
                _ => dialect::json_string(name),
            };
            edits.push(Edit { range: text.range.clone(), with });
        }
        Ok(edits)
    }

    /// Says in the log what of the request has to do with how the model is loaded, and was left out or may load it again.
    fn tell_protection(&self, backend: &BackendState, placed: Placed) {
        let door = self.worker.door();
        let protection = door.settings().protection;
        let fields = match protection {
            Protection::Strip => protection::protected(self.ignored.split(", ")),
            Protection::Warn if backend.kind == BackendKind::Ollama && self.api.needs_slot() => {
                let (_, would_go) = self.scan.for_runner(Runner { context: placed.context, strips: true });
                // How long a model stays is never the client's to say, so nothing comes of it.
                protection::protected(would_go.into_iter().filter(|field| *field != "keep_alive"))
            }
            Protection::Warn | Protection::Pass => return,
        };
        let (app, model) = (self.app.as_deref(), &self.record.trace().model);
        door.notices.tell(protection, app, model, &fields, door.clock().now());
    }

    /// What an Ollama is asked for about the program that holds the model.
    fn runner(&self, context: Option<u64>) -> Runner {
        Runner { context, strips: self.worker.door().settings().protection == Protection::Strip }
    }

    /// The name that the backend wants to hear instead of the one in the body, where it is another.
    ///
    /// Ollama knows all spellings of a name and repeats the client's in its answers; `llama-server` with one model does
    /// not look at it. Others know a model by one exact id.
    fn name_for<'a>(&'a self, backend: &'a BackendState, model: usize) -> Option<&'a str> {
        let by_one_id = !matches!(backend.kind, BackendKind::Ollama | BackendKind::LlamaServer);
        let wanted = match backend.model(&self.models[model]) {
            Some(known) if by_one_id => known.id.as_str(),
            _ => self.asked[model].as_str(),
        };
        let in_body = self.scan.model.as_ref().map_or(self.asked[0].as_str(), |text| text.text.as_str());
        (wanted != in_body).then_some(wanted)
    }
}
