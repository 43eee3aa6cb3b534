//! /api/create: a model from another one, from uploaded blobs, or as a stub of a remote one.

use std::time::Duration;

use serde_json::{Value, json};

use crate::answer::{Failure, JSON, NDJSON, Payload, Reply, reply};
use crate::clock;
use crate::fake::Call;
use crate::input::{self, Fields, Go, MISSING, Shape};
use crate::models::{Model, Template};
use crate::names::Name;
use crate::pull::no_registry;
use crate::text::{json as line, sha256};

const CREATE: Shape = Shape {
    name: "api.CreateRequest",
    empty: MISSING,
    fields: &[
        ("model", Go::Text),
        ("name", Go::Text),
        ("from", Go::Text),
        ("files", Go::Object("map[string]string")),
        ("template", Go::Text),
        ("system", Go::Text),
        ("parameters", Go::Object("map[string]interface {}")),
        ("stream", Go::Flag),
    ],
    messages: &[],
};

/// Answers POST /api/create.
pub(crate) fn create(call: &Call, body: &[u8]) -> Result<Reply, Failure> {
    let fields = input::fields(body, &CREATE)?;
    let name = Name::parse(input::model(&fields)).ok_or_else(|| Failure::new(400, "invalid model name"))?;
    let streams = input::flag(&fields, "stream").unwrap_or(true);
    let late = |text: String| Failure { late: true, ..Failure::new(400, text) };
    let template = input::text(&fields, "template");
    if template.matches("{{").count() > template.matches("}}").count() {
        return Err(late("template error: template: :1: unclosed action".to_owned()));
    }
    let from = input::text(&fields, "from");
    let files = fields.get("files").and_then(Value::as_object);
    let remote = input::text(&fields, "remote_host");
    let mut lines = Vec::new();
    let made = if !from.is_empty() && !remote.is_empty() {
        stub(&name, from, remote).ok_or_else(no_kind)?
    } else if !from.is_empty() {
        let known = Name::parse(from).and_then(|name| call.fake.find(&name));
        let Some(parent) = known else {
            let text = Name::parse(from).map_or_else(|| "invalid model name".to_owned(), |name| no_registry(&name));
            return told(streams, vec![json!({"status": "pulling manifest"})], Err(text));
        };
        lines.push(json!({"status": format!("using existing layer sha256:{}", parent.weights)}));
        Model { name: name.clone(), parent: parent.name.short(), ..(*parent).clone() }
    } else if let Some((_, digest)) = files.and_then(|files| files.iter().next()) {
        let digest = digest.as_str().unwrap_or_default();
        lines.push(json!({"status": "parsing GGUF"}));
        let Some(size) = call.fake.blob(digest) else {
            let file = digest.replace(':', "-");
            let dir = &call.fake.options.models_dir;
            return told(streams, lines, Err(format!("open {dir}/blobs/{file}: no such file or directory")));
        };
        lines.push(json!({"status": "validating GGUF model", "digest": "0000000000000000000",
            "total": size, "completed": size}));
        lines.push(json!({"status": "verifying conversion"}));
        lines.push(json!({"status": format!("using existing layer {digest}")}));
        let weights = digest.rsplit(':').next().unwrap_or(digest).to_owned();
        let model = Model::make(&name, "tiny").ok_or_else(no_kind)?;
        Model { weights, size, ..model }
    } else {
        return Err(late("neither 'from' or 'files' was specified".to_owned()));
    };
    call.fake.keep(changed(made, &fields))?;
    lines.push(json!({"status": "writing manifest"}));
    lines.push(json!({"status": "success"}));
    told(streams, lines, Ok(()))
}

fn no_kind() -> Failure {
    Failure::new(500, "no such kind of model")
}

fn changed(mut model: Model, fields: &Fields) -> Model {
    let template = input::text(fields, "template");
    if !template.is_empty() {
        template.clone_into(&mut model.template_text);
        model.template = Template::Go;
    }
    let system = input::text(fields, "system");
    if !system.is_empty() {
        system.clone_into(&mut model.system);
    }
    let parameters = fields.get("parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    model.parameters.extend(parameters);
    let content = json!([model.weights, model.template_text, model.system, model.parameters, model.parent]);
    model.digest = sha256(content.to_string().as_bytes());
    model.modified = clock::since_1970();
    model
}

fn stub(name: &Name, target: &str, host: &str) -> Option<Model> {
    let mut model = Model::make(name, "tiny")?;
    model.weights = sha256(format!("stub of {target} at {host}").as_bytes());
    model.size = 188;
    model.remote = Some((target.to_owned(), host.to_owned()));
    Some(model)
}

/// The lines so far and how it ended, as a stream or as one answer.
fn told(streams: bool, mut lines: Vec<Value>, end: Result<(), String>) -> Result<Reply, Failure> {
    match (streams, end) {
        (true, end) => {
            if let Err(text) = end {
                lines.push(json!({"error": text}));
            }
            Ok(reply(200, NDJSON, Payload::lines(lines, Duration::ZERO, || {})))
        }
        (false, Ok(())) => Ok(reply(200, JSON, Payload::whole(line(&json!({"status": "success"}))))),
        (false, Err(text)) => Ok(reply(500, JSON, Payload::whole(line(&json!({"error": text}))))),
    }
}
