//! Work on models: pull, push, create, copy, delete and blobs, passed on to the Ollama of this machine.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use dialect::{Cause, Failure, Scan};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use proto::{Api, BackendKind, BackendState, Dialect, ModelName};

use crate::body::{self, Received};
use crate::headers;
use crate::reply::{self, CutOff, Reply};
use crate::upstream::{Broken, Inflow, Length, Outgoing, Upstream, request_head};
use crate::worker::Worker;

/// Bytes of a request that names models: a Modelfile's licence is the largest thing in it.
const BODY_MOST: u64 = 16 << 20;

/// What can be done with models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Pull,
    Push,
    Create,
    Copy,
    Delete,
    Blob,
}

impl Work {
    pub(crate) fn at(path: &str) -> Option<Work> {
        Some(match path {
            "/api/pull" => Work::Pull,
            "/api/push" => Work::Push,
            "/api/create" => Work::Create,
            "/api/copy" => Work::Copy,
            "/api/delete" => Work::Delete,
            _ if path.strip_prefix("/api/blobs/").is_some_and(is_digest) => Work::Blob,
            _ => return None,
        })
    }

    /// The value of an Allow header.
    pub(crate) fn allowed(self) -> &'static str {
        match self {
            Work::Delete => "DELETE",
            Work::Blob => "HEAD, POST",
            _ => "POST",
        }
    }

    pub(crate) fn allows(self, method: &Method) -> bool {
        self.allowed().split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// Whether `text` may be a blob's digest: `sha256:` and hexadecimal digits. Nothing that a server behind could take for
/// a path of its own.
fn is_digest(text: &str) -> bool {
    let (kind, digits) = text.split_at(text.find([':', '-', '%']).unwrap_or(text.len()));
    let digits = [":", "-", "%3A", "%3a"].iter().find_map(|mark| digits.strip_prefix(mark));
    kind == "sha256" && digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Passes the work on.
pub(crate) async fn answer(worker: &Arc<Worker>, work: Work, request: Request<Incoming>) -> Response<Reply> {
    match pass_on(worker, work, request).await {
        Ok(response) => response,
        Err(failure) => reply::failure(&failure, Dialect::Ollama),
    }
}

async fn pass_on(worker: &Arc<Worker>, work: Work, request: Request<Incoming>) -> Result<Response<Reply>, Failure> {
    let (parts, incoming) = request.into_parts();
    let path = parts.uri.path_and_query().map_or_else(|| parts.uri.path().to_owned(), ToString::to_string);
    let ollamas: Vec<Arc<BackendState>> = worker
        .door()
        .listings()
        .backends()
        .iter()
        .filter(|backend| backend.kind == BackendKind::Ollama && backend.health.is_up())
        .cloned()
        .collect();
    let Some(first) = ollamas.first() else {
        let text = "no Ollama answers on this machine, and only an Ollama can do this: start it with `ollama serve`";
        return Err(Failure::new(Cause::Unsupported, text));
    };
    if work == Work::Blob {
        // Blobs may have any size, so they flow. They and the create that follows go to the same Ollama: the first.
        return ask(worker, first, &parts.method, &path, parts.headers, Payload::Flowing(incoming)).await;
    }
    let body = match body::receive(incoming, BODY_MOST, worker.door().budget()).await? {
        Received::Kept { bytes, .. } => bytes,
        Received::Flowing { .. } => return Err(Failure::new(Cause::Busy, "no memory for this request now: try again")),
    };
    // Ollama says best what is wrong with a body that names no model.
    let scan = dialect::scan(&body, true).unwrap_or_else(|_| Scan::default());
    let name = scan.model.map(|text| ModelName::new(&text.text));
    let has = |backend: &&Arc<BackendState>| name.as_ref().is_some_and(|name| backend.model(name).is_some());
    let send = |backend: Arc<BackendState>| {
        let (path, headers, method, body) = (path.clone(), parts.headers.clone(), parts.method.clone(), body.clone());
        async move { ask(worker, &backend, &method, &path, headers, Payload::Kept(body)).await }
    };
    if work == Work::Delete {
        // Gone means gone from all of them, or it would still be listed.
        let mut holders: Vec<Arc<BackendState>> = ollamas.iter().filter(has).cloned().collect();
        let last = holders.pop().unwrap_or_else(|| first.clone());
        for backend in holders {
            let response = send(backend).await?;
            if !response.status().is_success() {
                return Ok(response);
            }
        }
        return send(last).await;
    }
    let chosen = ollamas.iter().find(has).unwrap_or(first);
    send(chosen.clone()).await
}

/// The body of such a request.
enum Payload {
    /// All of it.
    Kept(Bytes),
    /// Passed on while it comes in.
    Flowing(Incoming),
}

async fn ask(
    worker: &Arc<Worker>,
    backend: &Arc<BackendState>,
    method: &Method,
    path: &str,
    client_headers: HeaderMap,
    payload: Payload,
) -> Result<Response<Reply>, Failure> {
    let broke = |broken: Broken| {
        worker.door().fleet().suspect(&backend.id);
        Failure::new(Cause::BadGateway, format!("the inference server `{}` {broken}", backend.id))
    };
    // A connection of its own: this may take hours, and must not be sent twice.
    let upstream = Upstream::connect(&backend.address).await.map_err(broke)?;
    let target = [backend.address.base_path.as_str(), path];
    let token = worker.door().settings().token();
    let head = |length| request_head(method, target, &backend.address.authority(), &client_headers, length, token);
    let outgoing = match payload {
        Payload::Kept(body) => {
            Outgoing::kept(head(Length::Known(body.len() as u64)), dialect::splice(&body, Vec::new()))
        }
        Payload::Flowing(body) if *method == Method::HEAD || body.is_end_stream() => {
            Outgoing::kept(head(Length::NoBody), dialect::splice(&Bytes::new(), Vec::new()))
        }
        Payload::Flowing(body) => {
            let length = body.size_hint().exact().map_or(Length::Chunked, Length::Known);
            Outgoing::flowing(head(length), Bytes::new(), body, length == Length::Chunked)
        }
    };
    let asked = upstream.ask(outgoing, *method == Method::HEAD).await;
    let (parts, inflow) = asked.map_err(|asked| broke(asked.broken))?;
    let is_ndjson = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-ndjson"));
    let relay = Relay {
        inflow,
        is_ndjson,
        ended: false,
        changed: Changed { worker: worker.clone(), backend: backend.clone() },
    };
    let mut response = Response::new(Reply::Relay(Box::new(relay)));
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    response.headers_mut().insert(headers::BACKEND, worker.door().ready().backend(&backend.id));
    Ok(response)
}

/// What an Ollama says about its work, as it says it.
pub(crate) struct Relay {
    inflow: Inflow,
    is_ndjson: bool,
    ended: bool,
    changed: Changed,
}

/// However the work ends, the models may be others afterwards.
struct Changed {
    worker: Arc<Worker>,
    backend: Arc<BackendState>,
}

impl Drop for Changed {
    fn drop(&mut self) {
        self.worker.door().fleet().refresh(&self.backend.id);
    }
}

impl Relay {
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match self.inflow.poll_bytes(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(bytes))) => Poll::Ready(Some(Ok(bytes))),
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(broken))) => {
                self.ended = true;
                let text = format!("the inference server `{}` {broken}", self.changed.backend.id);
                Poll::Ready(Some(match self.is_ndjson {
                    true => Ok(Failure::new(Cause::BadGateway, text).stream_end(Api::OllamaChat, false)),
                    false => Err(CutOff),
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_digest_names_a_blob() {
        for (path, is_blob) in [
            ("/api/blobs/sha256:00ff", true),
            ("/api/blobs/sha256-00FF", true),
            ("/api/blobs/sha256%3A00ff", true),
            ("/api/blobs/", false),
            ("/api/blobs/sha256", false),
            ("/api/blobs/../me", false),
            ("/api/blobs/..%2fme", false),
            ("/api/blobs/sha256:/../../me", false),
        ] {
            assert_eq!(Work::at(path) == Some(Work::Blob), is_blob, "{path}");
        }
    }
}
