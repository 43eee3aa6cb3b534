//! Copying, deleting, uploading, and the routes of Ollama's account and cloud.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::answer::{Failure, JSON_UTF8, Payload, Reply, bare, ok, reply};
use crate::fake::{Call, Fake};
use crate::input::{self, Go, MISSING, Shape};
use crate::names::Name;
use crate::text::hex;

const COPY: Shape = Shape {
    name: "api.CopyRequest",
    empty: MISSING,
    fields: &[("source", Go::Text), ("destination", Go::Text)],
    messages: &[],
};

const DELETE: Shape = Shape {
    name: "api.DeleteRequest",
    empty: MISSING,
    fields: &[("model", Go::Text), ("name", Go::Text)],
    messages: &[],
};

/// Answers POST /api/copy.
pub(crate) fn copy(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &COPY)?;
    let name = |key: &str| {
        let text = input::text(&fields, key);
        Name::parse(text).ok_or_else(|| Failure::new(400, format!("{key} {text:?} is invalid")))
    };
    let (source, destination) = (name("source")?, name("destination")?);
    let Some(model) = call.fake.find(&source) else {
        return Err(Failure::new(404, format!("model {:?} not found", input::text(&fields, "source"))));
    };
    // The manifest is copied byte for byte, so the digest stays.
    let mut copy = (*model).clone();
    copy.name = destination;
    copy.modified = crate::clock::since_1970();
    call.fake.keep(copy)?;
    Ok(bare(200))
}

/// Answers DELETE /api/delete. A loaded model stays loaded.
pub(crate) fn delete(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &DELETE)?;
    let asked = input::model(&fields);
    if asked.is_empty() {
        return Err(Failure::new(400, "model is required"));
    }
    let gone = Name::parse(asked).is_some_and(|name| call.fake.forget(&name));
    if gone { Ok(bare(200)) } else { Err(Failure::new(404, format!("model '{asked}' not found"))) }
}

/// Answers HEAD /api/blobs/:digest.
pub(crate) fn blob(call: &Call, digest: &str) -> Result<Reply, Failure> {
    check_digest(digest)?;
    let missing = || Failure::new(404, format!("blob {digest:?} not found"));
    call.fake.blob(digest).map(|_| bare(200)).ok_or_else(missing)
}

/// Answers POST /api/blobs/:digest; reads the blob piece by piece and keeps its digest and size only.
pub(crate) async fn upload(fake: &Fake, digest: &str, mut content: Incoming) -> Result<Reply, Failure> {
    check_digest(digest)?;
    let there = fake.blob(digest).is_some();
    let mut hash = Sha256::new();
    let mut size = 0;
    while let Some(frame) = content.frame().await {
        let frame = frame.map_err(|error| Failure::new(400, error.to_string()))?;
        if let Some(bytes) = frame.data_ref() {
            hash.update(bytes);
            size += u64::try_from(bytes.len()).unwrap_or(0);
        }
    }
    if there {
        return Ok(bare(200));
    }
    let got = format!("sha256:{}", hex(&hash.finalize()));
    if got != digest {
        return Err(Failure::new(400, format!("digest mismatch, expected {digest:?}, got {got:?}")));
    }
    fake.keep_blob(digest, size);
    Ok(bare(201))
}

fn check_digest(digest: &str) -> Result<(), Failure> {
    let digits = digest.strip_prefix("sha256:").or_else(|| digest.strip_prefix("sha256-")).unwrap_or_default();
    let good = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if good { Ok(()) } else { Err(Failure::new(400, "invalid digest format")) }
}

/// Answers GET /api/status.
pub(crate) fn status(call: &Call) -> Reply {
    let disabled = call.fake.options.cloud_disabled;
    ok(&json!({"cloud": {"disabled": disabled, "source": if disabled { "env" } else { "none" }}}))
}

/// Answers GET /api/experimental/model-recommendations, as without a network.
pub(crate) fn recommendations() -> Reply {
    let one = json!({"model": "tiny", "description": "A small model", "context_length": 4096,
        "max_output_tokens": 4096, "vram_bytes": 0, "required_plan": ""});
    reply(200, JSON_UTF8, Payload::whole(crate::text::json(&json!({"recommendations": [one]}))))
}
