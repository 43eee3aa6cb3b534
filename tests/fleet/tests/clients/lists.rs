//! Looks at what apps ask before and between: lists, versions, descriptions, counts.

use fleet_tests::Answer;
use serde_json::Value;

use crate::between::Asked;
use crate::recorded::Request;
use crate::replay::{MODEL, is_for_embedder};
use crate::verdicts::Verdicts;

/// Looks at the answer to what makes no model work; `trained` is what the model was trained for, in tokens.
pub(crate) fn look(verdicts: &mut Verdicts, request: &Request, answer: &Answer, asked: &[&Asked], trained: u64) {
    let told = answer.json();
    let names = |list: &Value, name: &str| -> Vec<String> {
        let rows = list.as_array().into_iter().flatten();
        rows.filter_map(|row| row[name].as_str().map(str::to_owned)).collect()
    };
    let length = |told: &Value| {
        let architecture = told["model_info"]["general.architecture"].as_str().unwrap_or_default().to_owned();
        told["model_info"][format!("{architecture}.context_length")].as_u64()
    };
    let is_good = match request.path() {
        "/api/version" => told["version"].as_str().is_some_and(is_new_enough),
        "/v1/models" => names(&told["data"], "id").contains(&MODEL.to_owned()) && told["object"] == "list",
        "/api/tags" => {
            let details = &told["models"][0]["details"];
            let families = ["format", "family", "parameter_size", "quantization_level"];
            names(&told["models"], "name").contains(&MODEL.to_owned())
                && families.iter().all(|name| details[name].is_string())
        }
        // Whether it is loaded depends on what was asked before.
        "/api/ps" => told["models"].is_array() && names(&told["models"], "expires_at").len() == count(&told["models"]),
        "/api/show" if is_for_embedder(request) => told["capabilities"] == serde_json::json!(["embedding"]),
        "/api/show" => {
            let can = &told["capabilities"];
            let length = length(&told);
            can.as_array().is_some_and(|can| can.contains(&"tools".into()) && can.contains(&"completion".into()))
                && length == Some(trained)
        }
        "/v1/messages/count_tokens" => told["input_tokens"].as_u64().is_some_and(|tokens| tokens > 0),
        other => panic!("nobody knows how {other} answers"),
    };
    verdicts.is(request.path(), answer.status == 200 && is_good && asked.is_empty(), || {
        format!("{}: {} {}", request.what, answer.status, answer.body)
    });
}

fn count(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

/// Whether a version is plain and not below what Codex wants, 0.13.4.
fn is_new_enough(version: &str) -> bool {
    let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    parts.is_some_and(|parts| parts.len() == 3 && parts >= vec![0, 13, 4])
}
