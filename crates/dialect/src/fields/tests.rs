use proto::{Api, BackendKind};
use serde_json::{Value, json};

use super::table::TABLES;
use super::*;
use crate::{Note, Runner, scan, translate, upstream};

/// A model in memory that is asked for as it is, and one that makes vectors.
const LOADED: Runner = Runner { context: None, strips: true };

/// The least request of each call.
fn least(client: Api) -> Value {
    let say = json!([{"role": "user", "content": "hi"}]);
    let blocks = json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]);
    match client {
        Api::OllamaChat | Api::ChatCompletions => json!({"model": "m", "messages": say, "stream": false}),
        Api::Messages => json!({
            "model": "m", "max_tokens": 8, "messages": blocks,
            "tools": [{"name": "t", "input_schema": {"type": "object"}}],
            "system": [{"type": "text", "text": "s"}],
        }),
        Api::OllamaGenerate => json!({"model": "m", "prompt": "hi", "stream": false}),
        Api::Completions => json!({"model": "m", "prompt": "hi"}),
        Api::Responses => json!({"model": "m", "input": say, "tools": [{"type": "function", "name": "t"}]}),
        Api::OllamaEmbeddings => json!({"model": "m", "prompt": "hi"}),
        _ => json!({"model": "m", "input": "hi"}),
    }
}

/// The least request in which the field of `row` means something.
fn base(client: Api, row: &Row) -> Value {
    let mut body = least(client);
    if client == Api::ChatCompletions && (row.field == "parallel_tool_calls" || row.field == "tool_choice") {
        body["tools"] = json!([{"type": "function", "function": {"name": "t"}}]);
    }
    match row.field {
        "tool_choice.disable_parallel_tool_use" => body["tool_choice"] = json!({"type": "auto"}),
        "thinking.budget_tokens" => body["thinking"] = json!({"type": "enabled"}),
        _ => {}
    }
    body
}

/// That request with the example of `row` in it.
fn with(client: Api, row: &Row) -> Value {
    let mut body = base(client, row);
    let example: Value = serde_json::from_str(row.example).unwrap();
    // Some rows are about what a list holds, not about a member of its elements.
    if let Some((list, _)) = row.field.split_once("[]")
        && (example.get("type").is_some_and(|kind| kind != "ephemeral") || example[0].get("role").is_some())
    {
        body[list] = if example.is_array() { example } else { json!([body[list][0], example]) };
        return body;
    }
    let mut place = &mut body;
    for name in row.field.split('.') {
        place = match name.strip_suffix("[]") {
            Some(list) => &mut place[list][0],
            None => &mut place[name],
        };
    }
    *place = example;
    body
}

#[test]
fn every_field_becomes_what_the_table_says() {
    let mut wrong = Vec::new();
    for (client, rows) in TABLES {
        for row in *rows {
            for (kind, class) in KINDS.into_iter().zip(row.classes) {
                let name = format!("{} {} {kind:?}", client.path(), row.field);
                let passes = upstream(*client, kind) == Some(*client);
                let body = with(*client, row).to_string();
                if passes && kind != BackendKind::Ollama {
                    let edits =
                        scan(body.as_bytes(), false).unwrap().emulations(body.as_bytes(), *client, kind).unwrap();
                    assert_eq!(class, if edits.is_empty() { Class::Passed } else { Class::Emulated }, "{name}");
                    continue;
                }
                if passes {
                    // Of Ollama's own calls, only what the node decides is written over.
                    let (edits, ignored) = scan(body.as_bytes(), false).unwrap().for_runner(LOADED);
                    let expected = if ignored.is_empty() { Class::Passed } else { Class::Hint };
                    assert_eq!((class, edits.len()), (expected, ignored.len()), "{name}");
                    let said = |ignored: &&str| *ignored == row.field || ignored.starts_with("options.num_ctx");
                    assert!(ignored.iter().all(said), "{name}: {ignored:?}");
                    continue;
                }
                assert_ne!(class, Class::Passed, "{name}");
                let plain = translate(*client, kind, "m", base(*client, row).to_string().as_bytes()).unwrap();
                let found = translate(*client, kind, "m", with(*client, row).to_string().as_bytes());
                let found = match &found {
                    Err(failure) if failure.status() == 400 && failure.message.contains(row.field) => Class::Refused,
                    Err(failure) => panic!("{name}: {failure:?}"),
                    Ok(done) if done.notes.contains(&Note::Ignored(row.field.into())) => {
                        assert_eq!(done.body, plain.body, "{name}");
                        Class::Hint
                    }
                    Ok(done) if done.notes.iter().any(|note| matches!(note, Note::Emulated(_))) => Class::Emulated,
                    Ok(done) if done.body != plain.body || done.expect != plain.expect => Class::Honoured,
                    Ok(_) => {
                        wrong.push(format!("{name}: dropped in silence"));
                        continue;
                    }
                };
                if found != class {
                    wrong.push(format!("{name}: {found:?}, not {class:?}"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn fields_that_nobody_knows_are_named() {
    for (client, _) in TABLES {
        for kind in KINDS.into_iter().filter(|kind| upstream(*client, *kind) != Some(*client)) {
            let mut body = least(*client);
            body["new\r\nField"] = json!({"a": 1});
            body["empty"] = json!([]);
            let done = translate(*client, kind, "m", body.to_string().as_bytes()).unwrap();
            assert!(done.notes.contains(&Note::Ignored("new__field".into())), "{client:?} {:?}", done.notes);
            assert!(!done.notes.contains(&Note::Ignored("empty".into())), "{client:?}");
        }
    }
}

#[test]
fn both_ways_of_running_llama_server_are_one() {
    for row in TABLES[0].1 {
        let classes = [BackendKind::LlamaServer, BackendKind::LlamaRouter];
        let [one, other] = classes.map(|kind| class(Api::OllamaChat, kind, row.field));
        assert_eq!(one, other);
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "whether to rewrite is told to the test by its caller")]
fn the_fields_page_is_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fields.md");
    let page = fields_markdown();
    if std::env::var("GOLDEN").is_ok_and(|golden| golden == "write") {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(page, kept, "docs/fields.md differs; GOLDEN=write rewrites it");
}
