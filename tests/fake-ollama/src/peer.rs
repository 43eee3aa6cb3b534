//! Pulling from a registry on loopback, request for request as Ollama does it; other hosts are never asked.
//!
//! Blobs are read and hashed, not kept: a model is its name, its digests and its small layers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, HOST, LOCATION, RANGE, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::fake::Call;
use crate::io::Io;
use crate::models::{Model, Template};
use crate::names::Name;
use crate::pull::no_registry;
use crate::text::{hex, json as line, sha256};

/// Largest manifest that is read; a larger one is an error.
const MOST_MANIFEST: usize = 4 << 20;
/// Layers up to this size are texts and are kept with the model.
const MOST_TEXT: u64 = 1 << 20;
/// Blobs from this size on tell how far they are.
const SHOWN: u64 = 1 << 20;
/// Bounds of a part's size (server/download.go, August 2026).
const PARTS: (u64, u64) = (100_000_000, 1_000_000_000);

#[derive(Deserialize)]
struct Manifest {
    config: Layer,
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Clone, Deserialize)]
struct Layer {
    #[serde(rename = "mediaType", default)]
    kind: String,
    digest: String,
    size: u64,
}

/// A pull in progress: its lines, as it makes them. Dropping it stops the pull.
pub(crate) struct Job {
    lines: mpsc::Receiver<Bytes>,
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Job {
    /// Begins the pull of `name`.
    pub(crate) fn new(call: &Call, name: &Name, insecure: bool) -> Job {
        // A reader that is slower than the pull holds it up.
        let (tell, lines) = mpsc::channel(8);
        let (call, name) = (call.clone(), name.clone());
        let work = Box::pin(async move {
            let told = tell.clone();
            if let Err(text) = fetch(&call, &name, insecure, &tell).await {
                drop(told.send(record(&json!({"error": text}))).await);
            }
        });
        Job { lines, work: Some(work) }
    }

    /// The next line; `None` when the pull is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Poll::Ready(Some(line)) = self.lines.poll_recv(cx) {
                return Poll::Ready(Some(line));
            }
            let Some(work) = &mut self.work else { return Poll::Ready(None) };
            if work.as_mut().poll(cx).is_pending() {
                return self.lines.poll_recv(cx);
            }
            self.work = None;
        }
    }
}

fn record(value: &Value) -> Bytes {
    Bytes::from(line(value) + "\n")
}

async fn status(tell: &mpsc::Sender<Bytes>, text: &str) {
    // Nobody to tell means that the client left, and then this is not polled any more.
    drop(tell.send(record(&json!({"status": text}))).await);
}

async fn fetch(call: &Call, name: &Name, insecure: bool, tell: &mpsc::Sender<Bytes>) -> Result<(), String> {
    status(tell, "pulling manifest").await;
    let Name { host, namespace, model, tag, .. } = name;
    let scheme = if insecure { "http" } else { "https" };
    let base = format!("/v2/{namespace}/{model}");
    let path = format!("{base}/manifests/{tag}");
    let url = format!("{scheme}://{host}{path}");
    let failed = |text: String| format!("pull model manifest: {text}");
    let address = host.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback());
    let address = address.ok_or_else(|| no_registry(name))?;
    let connect = TcpStream::connect(address).await;
    connect.map_err(|_| failed(format!("Get \"{url}\": dial tcp {host}: connect: connection refused")))?;
    if !insecure {
        return Err(failed(format!("Get \"{url}\": tls: first record does not look like a TLS handshake")));
    }
    let mut peer = Peer { address, connections: JoinSet::new() };
    let answer = peer.ask(Method::GET, &path, None).await.map_err(failed)?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Err(failed("file does not exist".to_owned()));
    }
    let bytes = http_body_util::Limited::new(answer.into_body(), MOST_MANIFEST).collect().await;
    let bytes = bytes.map_err(|error| failed(error.to_string()))?.to_bytes();
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    let mut layers = manifest.layers.clone();
    layers.push(manifest.config);
    let mut texts = Vec::new();
    let mut wrong = None;
    for layer in &layers {
        let blob = format!("{base}/blobs/{}", layer.digest);
        let (got, text) = match call.fake.blob(&layer.digest) {
            Some(_) => {
                progress(tell, layer, layer.size).await;
                (layer.digest.clone(), None)
            }
            None => download(&mut peer, &blob, layer, tell).await?,
        };
        if got != layer.digest && wrong.is_none() {
            wrong = Some((layer.digest.clone(), got));
        }
        texts.extend(text.map(|text| (layer.kind.clone(), text)));
    }
    status(tell, "verifying sha256 digest").await;
    if let Some((want, got)) = wrong {
        return Err(format!("digest mismatch, file must be downloaded again: want {want}, got {got}"));
    }
    for layer in &layers {
        call.fake.keep_blob(&layer.digest, layer.size);
    }
    status(tell, "writing manifest").await;
    let made = made(name, &layers, &texts, &bytes).ok_or_else(|| failed("no such kind of model".to_owned()))?;
    call.fake.keep(made).map_err(|failure| failure.text)?;
    status(tell, "success").await;
    Ok(())
}

fn made(name: &Name, layers: &[Layer], texts: &[(String, String)], manifest: &[u8]) -> Option<Model> {
    let mut model = Model::make(name, &name.model.to_ascii_lowercase()).or_else(|| Model::make(name, "tiny"))?;
    model.digest = sha256(manifest);
    model.size = layers.iter().map(|layer| layer.size).sum();
    let weights = layers.iter().find(|layer| layer.kind.ends_with(".model"));
    weights?.digest.rsplit(':').next()?.clone_into(&mut model.weights);
    for (kind, text) in texts {
        match kind.rsplit('.').next() {
            Some("template") => {
                model.template_text.clone_from(text);
                model.template = Template::Go;
            }
            Some("system") => model.system.clone_from(text),
            Some("license") => model.license.clone_from(text),
            Some("params") => model.parameters = serde_json::from_str(text).unwrap_or_default(),
            _ => {}
        }
    }
    Some(model)
}

/// Reads one blob: its digest as received and, when it is small, its text.
async fn download(
    peer: &mut Peer,
    path: &str,
    layer: &Layer,
    tell: &mpsc::Sender<Bytes>,
) -> Result<(String, Option<String>), String> {
    peer.ask(Method::HEAD, path, None).await?;
    let plain = peer.ask(Method::GET, path, None).await?;
    // The original asks for the place of the content and takes no answer without one.
    let place = plain.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let place = place.ok_or("http: no Location header in response")?.to_owned();
    drop(plain);
    let (address, path) = located(peer.address, &place);
    let part = (layer.size / 16).clamp(PARTS.0, PARTS.1);
    let (mut hash, mut text, mut done, mut shown) = (Sha256::new(), Vec::new(), 0, 0);
    while done < layer.size {
        let last = (done + part).min(layer.size) - 1;
        let mut answer = peer.ask_at(address, Method::GET, &path, Some(format!("bytes={done}-{last}"))).await?;
        let before = done;
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            let Some(bytes) = frame.data_ref() else { continue };
            hash.update(bytes);
            done += u64::try_from(bytes.len()).unwrap_or(0);
            if layer.size <= MOST_TEXT {
                text.extend_from_slice(bytes);
            }
            if layer.size >= SHOWN && done - shown >= SHOWN.max(layer.size / 64) {
                shown = done;
                progress(tell, layer, done.min(layer.size)).await;
            }
        }
        if done == before {
            return Err("unexpected EOF".to_owned());
        }
    }
    Ok((format!("sha256:{}", hex(&hash.finalize())), String::from_utf8(text).ok()))
}

async fn progress(tell: &mpsc::Sender<Bytes>, layer: &Layer, completed: u64) {
    let digest = &layer.digest;
    let short: String = digest.rsplit(':').next().unwrap_or(digest).chars().take(12).collect();
    let value = json!({"status": format!("pulling {short}"), "digest": digest, "total": layer.size,
        "completed": completed});
    drop(tell.send(record(&value)).await);
}

/// Where a Location points: a path on the same registry, or a URL of another loopback one.
fn located(address: SocketAddr, place: &str) -> (SocketAddr, String) {
    let Some(rest) = place.strip_prefix("http://") else { return (address, place.to_owned()) };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.replace("localhost", "127.0.0.1");
    let other = host.parse::<SocketAddr>().ok().filter(|other| other.ip().is_loopback());
    (other.unwrap_or(address), format!("/{path}"))
}

/// A registry that is asked. Dropping it ends its connections.
struct Peer {
    address: SocketAddr,
    connections: JoinSet<()>,
}

impl Peer {
    async fn ask(&mut self, method: Method, path: &str, range: Option<String>) -> Result<Response<Incoming>, String> {
        self.ask_at(self.address, method, path, range).await
    }

    async fn ask_at(
        &mut self,
        address: SocketAddr,
        method: Method,
        path: &str,
        range: Option<String>,
    ) -> Result<Response<Incoming>, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let io = Io::new(stream, Arc::default());
        let (mut sender, connection) = http1::handshake(io).await.map_err(|error| error.to_string())?;
        // Its end shows in the answer; those that are over are let go of.
        while self.connections.try_join_next().is_some() {}
        self.connections.spawn(async move {
            let _ = connection.await;
        });
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, address.to_string())
            .header(USER_AGENT, "Go-http-client/1.1")
            .header(ACCEPT, "application/vnd.docker.distribution.manifest.v2+json");
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        sender.send_request(request).await.map_err(|error| error.to_string())
    }
}
