//! /api/pull and /api/push.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::{Failure, JSON, NDJSON, Payload, Reply, reply};
use crate::fake::{Call, NO_HOST};
use crate::input::{self, Go, MISSING, Shape};
use crate::models::{self, Model};
use crate::names::{DEFAULT_HOST, Name};
use crate::peer::Job;
use crate::text::json as line;

const PULL: Shape = Shape {
    name: "api.PullRequest",
    empty: MISSING,
    fields: &[("model", Go::Text), ("name", Go::Text), ("insecure", Go::Flag), ("stream", Go::Flag)],
    messages: &[],
};

/// Progress lines for one blob of a pull that takes its time.
const STEPS: u64 = 10;

/// Answers POST /api/pull. May be dropped: the pull stops, and nothing of it is kept.
pub(crate) async fn pull(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &PULL)?;
    let asked = input::model(&fields);
    let name = Name::parse(asked).ok_or_else(|| Failure::new(400, "invalid model name"))?;
    let streams = input::flag(&fields, "stream").unwrap_or(true);
    if name.host != DEFAULT_HOST {
        return from_peer(Job::new(call, &name, input::flag(&fields, "insecure") == Some(true)), streams).await;
    }
    let first = json!({"status": "pulling manifest"});
    let model = match offered(call, &name) {
        Ok(model) => model,
        Err(text) if streams => {
            let lines = [first, json!({"error": text})];
            return Ok(reply(200, NDJSON, Payload::lines(lines, Duration::ZERO, || {})));
        }
        Err(text) => return Ok(reply(500, JSON, Payload::whole(line(&json!({"error": text}))))),
    };
    if !streams {
        tokio::time::sleep(call.fake.options.pull).await;
        call.fake.keep(model)?;
        return Ok(reply(200, JSON, Payload::whole(line(&json!({"status": "success"})))));
    }
    let mut lines = vec![first];
    let there = call.fake.blob(&format!("sha256:{}", model.weights)).is_some();
    for step in if there { STEPS..=STEPS } else { 1..=STEPS } {
        lines.push(json!({"status": format!("pulling {}", &model.weights[..12]),
            "digest": format!("sha256:{}", model.weights), "total": model.size,
            "completed": model.size / STEPS * step + if step == STEPS { model.size % STEPS } else { 0 }}));
    }
    for status in ["verifying sha256 digest", "writing manifest", "success"] {
        lines.push(json!({"status": status}));
    }
    let pause = call.fake.options.pull / u32::try_from(lines.len()).unwrap_or(1);
    let fake = Arc::clone(&call.fake);
    Ok(reply(200, NDJSON, Payload::lines(lines, pause, move || drop(fake.keep(model)))))
}

async fn from_peer(mut job: Job, streams: bool) -> Result<Reply, Failure> {
    if streams {
        return Ok(reply(200, NDJSON, Payload::job(job)));
    }
    let mut last = Bytes::new();
    while let Some(next) = std::future::poll_fn(|cx| job.poll(cx)).await {
        last = next;
    }
    let failed = last.starts_with(b"{\"error\"");
    Ok(reply(if failed { 500 } else { 200 }, JSON, Payload::whole(last.trim_ascii_end().to_vec())))
}

/// Answers POST /api/push: nothing can be pushed from here.
pub(crate) fn push(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &PULL)?;
    let asked = input::model(&fields);
    let name = Name::parse(asked).ok_or_else(|| Failure::new(400, "invalid model name"))?;
    let first = json!({"status": "retrieving manifest"});
    let error = match call.fake.find(&name) {
        None => "pull model manifest: file does not exist".to_owned(),
        Some(model) => {
            let scheme = if input::flag(&fields, "insecure") == Some(true) { "http" } else { "https" };
            let Name { host, namespace, model: own, .. } = &name;
            let digest = &model.weights;
            let url = format!("{scheme}://{host}/v2/{namespace}/{own}/blobs/sha256:{digest}");
            format!("Head \"{url}\": dial tcp: lookup {host} {NO_HOST}")
        }
    };
    let lines: [Value; 2] = [first, json!({"error": error})];
    Ok(reply(200, NDJSON, Payload::lines(lines, Duration::ZERO, || {})))
}

/// The model called `name` as the default registry has it, or what a pull of it says.
fn offered(call: &Call, name: &Name) -> Result<Model, String> {
    let registry = &call.fake.options.registry;
    if registry.is_empty() {
        return Err(no_registry(name));
    }
    let found =
        registry.iter().filter_map(|text| models::entry(text).ok()).find(|model| model.name.key() == name.key());
    found.ok_or_else(|| "pull model manifest: file does not exist".to_owned())
}

/// What a pull says when the registry cannot be reached.
pub(crate) fn no_registry(name: &Name) -> String {
    let Name { host, namespace, model, tag, .. } = name;
    let url = format!("https://{host}/v2/{namespace}/{model}/manifests/{tag}");
    format!("pull model manifest: Get \"{url}\": dial tcp: lookup {host} {NO_HOST}")
}
